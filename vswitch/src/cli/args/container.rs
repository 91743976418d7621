//! Containers, as typed.

use std::net::IpAddr;
use std::str::FromStr;

use clap::{ArgGroup, Args};
use ctl::{BadName, BridgeName, HostName, IfName, IpCidr, MacAddr, Mtu, NetnsRef};

use super::VlanOptions;

/// A container to attach.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("to").required(true).args(["bridge", "network"]))]
pub struct AttachOptions {
    /// Its namespace: a name, a path or a process id
    pub netns: NetnsRef,
    /// The bridge
    #[arg(long)]
    pub bridge: Option<BridgeName>,
    /// The network, which gives it address, gateway and MTU: like `network connect`
    #[arg(long, conflicts_with_all = ["gateways", "mtu", "access", "trunk"])]
    pub network: Option<BridgeName>,
    /// The interface's name in the container
    #[arg(long, default_value_t)]
    pub ifname: IfName,
    /// The interface's MAC address [default: chosen]
    #[arg(long)]
    pub mac: Option<MacAddr>,
    /// An address of the interface, with its prefix length on a bridge and without it on a network (may be repeated)
    #[arg(long = "ip", value_name = "IP")]
    pub ips: Vec<TypedAddress>,
    /// A name by which others on the network find it (may be repeated)
    #[arg(long = "alias", value_name = "NAME", conflicts_with = "bridge")]
    pub aliases: Vec<HostName>,
    /// On a network: it asks for its IPv4 addresses and routes by itself, by DHCP
    #[arg(long, conflicts_with = "bridge")]
    pub dhcp: bool,
    /// The container's default gateway (one of each IP version)
    #[arg(long = "gateway", value_name = "IP")]
    pub gateways: Vec<IpAddr>,
    /// The MTU [default: the bridge's]
    #[arg(long, value_name = "BYTES")]
    pub mtu: Option<Mtu>,
    #[command(flatten)]
    pub vlan: VlanOptions,
}

/// An address as it is typed: with the length of its subnet's prefix where nobody else knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TypedAddress {
    /// `10.0.0.2/24`.
    Interface(IpCidr),
    /// `10.0.0.2`.
    Alone(IpAddr),
}

impl FromStr for TypedAddress {
    type Err = BadName;

    fn from_str(text: &str) -> Result<Self, BadName> {
        const RULE: &str = "write 10.0.0.2 on a network, and 10.0.0.2/24 on a bridge";
        let (addr, prefix_len) =
            text.split_once('/').map_or((text, None), |(addr, len)| (addr, Some(len)));
        match (addr.parse(), prefix_len) {
            (Err(_), _) => Err(BadName { what: "address", text: text.to_owned(), rule: RULE }),
            (Ok(addr), None) => Ok(Self::Alone(addr)),
            (Ok::<IpAddr, _>(_), Some(_)) => text.parse().map(Self::Interface),
        }
    }
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
