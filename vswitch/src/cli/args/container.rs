//! Containers, as typed.

use std::net::IpAddr;

use clap::Args;
use ctl::{BridgeName, IfName, IpCidr, MacAddr, Mtu, NetnsRef};

use super::VlanOptions;

/// A container to attach.
#[derive(Debug, Args)]
pub struct AttachOptions {
    /// Its namespace: a name, a path or a process id
    pub netns: NetnsRef,
    /// The bridge
    #[arg(long)]
    pub bridge: BridgeName,
    /// The interface's name in the container
    #[arg(long, default_value_t)]
    pub ifname: IfName,
    /// The interface's MAC address [default: chosen]
    #[arg(long)]
    pub mac: Option<MacAddr>,
    /// An address of the interface (may be repeated)
    #[arg(long = "ip", value_name = "CIDR")]
    pub ips: Vec<IpCidr>,
    /// The container's default gateway (one of each IP version)
    #[arg(long = "gateway", value_name = "IP")]
    pub gateways: Vec<IpAddr>,
    /// The MTU [default: the bridge's]
    #[arg(long, value_name = "BYTES")]
    pub mtu: Option<Mtu>,
    #[command(flatten)]
    pub vlan: VlanOptions,
}

/// A container to detach.
#[derive(Debug, Args)]
pub struct DetachOptions {
    /// Its namespace, as it was given to `attach`
    pub netns: NetnsRef,
    /// The interface's name in the container
    #[arg(long, default_value_t)]
    pub ifname: IfName,
}
