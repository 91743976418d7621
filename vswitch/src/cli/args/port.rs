//! Ports, as typed.

use std::net::IpAddr;
use std::str::FromStr;

use clap::{ArgGroup, Args, Subcommand};
use ctl::{
    BridgeName, IfName, IpCidr, MacAddr, Mtu, NetdevMode, NetnsRef, PortName, Rate, VlanId, VlanIds,
};

use super::change;

/// What to do with ports.
#[derive(Debug, Subcommand)]
pub enum PortCommand {
    /// Make a port: a new interface (--tap), or one that exists already (--netdev); safe to repeat
    #[command(after_help = "\
Examples:
  vswitchctl port add web0 --bridge br0 --tap --netns web --ip 10.0.0.2/24 --gateway 10.0.0.1
  vswitchctl port add web1 --bridge br0 --tap --netns 4711 --ifname net1 --mtu 9000 --queues 2
  vswitchctl port add web2 --bridge br0 --tap --netns web --ip 10.0.0.3/24 --guard --egress-rate 100mbit
  vswitchctl port add host0 --bridge br0 --host vswitch0 --ip 10.0.0.250/24
  vswitchctl port add v0 --bridge br0 --netdev veth0
  vswitchctl port add up0 --bridge br0 --netdev eth1 --mode xdp --trunk 10-20 --native 1
  vswitchctl port add up0 --netdev eth0 --shared")]
    Add(Box<PortOptions>),
    /// Remove a port
    #[command(
        visible_alias = "rm",
        aliases = ["delete", "remove"],
        after_help = "Examples:\n  vswitchctl port del web0\n  vswitchctl port del web0 --if-exists"
    )]
    Del {
        /// Its name
        name: PortName,
        /// Succeed if it does not exist
        #[arg(long)]
        if_exists: bool,
    },
    /// List ports: all, or those of a bridge
    #[command(
        visible_alias = "ls",
        after_help = "Examples:\n  vswitchctl port list\n  vswitchctl port list br0"
    )]
    List {
        /// Of this bridge
        bridge: Option<BridgeName>,
    },
    /// Show one port: its device, offloads and workers
    #[command(after_help = "Examples:\n  vswitchctl port show web0")]
    Show {
        /// Its name
        name: PortName,
    },
    /// Change a port; what is not given stays
    #[command(
        group = change(&["access", "trunk", "no_vlans", "isolated", "hairpin", "mac_limit", "mtu", "guard", "egress_rate", "ingress_rate", "ips",
            "no_ip", "gateways", "no_gateway", "netns"]),
        after_help = "\
Examples:
  vswitchctl port set web0 --access 10
  vswitchctl port set web0 --no-vlans
  vswitchctl port set web0 --isolated true --mtu 1450
  vswitchctl port set web0 --mtu bridge
  vswitchctl port set web0 --guard true
  vswitchctl port set web0 --egress-rate 100mbit --egress-queue 262144
  vswitchctl port set web0 --egress-rate none
  vswitchctl port set web0 --ingress-rate 50mbit --ingress-burst 1000000
  vswitchctl port set web0 --ip 10.0.0.7/24 --gateway 10.0.0.1"
    )]
    Set {
        /// Its name
        name: PortName,
        #[command(flatten)]
        vlan: VlanOptions,
        /// Handle VLANs no longer
        #[arg(long, conflicts_with_all = ["access", "trunk"])]
        no_vlans: bool,
        /// Whether it talks to no other isolated port
        #[arg(long, value_name = "BOOL")]
        isolated: Option<bool>,
        /// Whether frames may go back to the port that they came from
        #[arg(long, value_name = "BOOL")]
        hairpin: Option<bool>,
        /// Learn at most so many stations on it; `bridge` for its bridge's limit
        #[arg(long, value_name = "COUNT")]
        mac_limit: Option<OrBridge<u32>>,
        /// Its MTU; `bridge` for its bridge's
        #[arg(long, value_name = "BYTES")]
        mtu: Option<OrBridge<Mtu>>,
        /// Whether only its own addresses may send by it, and no DHCP server or router
        #[arg(long, value_name = "BOOL")]
        guard: Option<bool>,
        /// How fast frames leave by it, such as 100mbit; `none` for no limit
        #[arg(long, value_name = "RATE")]
        egress_rate: Option<OrNone>,
        /// Bytes that may wait for it [default: 50 ms at the rate]
        #[arg(long, value_name = "BYTES", requires = "egress_rate")]
        egress_queue: Option<u32>,
        /// How fast frames may come in by it, such as 50mbit, or they are dropped; `none` for no limit
        #[arg(long, value_name = "RATE")]
        ingress_rate: Option<OrNone>,
        /// Bytes that may come in at once [default: 50 ms at the rate]
        #[arg(long, value_name = "BYTES", requires = "ingress_rate")]
        ingress_burst: Option<u32>,
        /// Where the engine took the interface to that it was handed over
        #[arg(long, value_name = "NETNS")]
        netns: Option<NetnsRef>,
        /// An address of the container, instead of those that it has (may be repeated); its sessions end
        #[arg(long = "ip", value_name = "CIDR")]
        ips: Vec<IpCidr>,
        /// No address
        #[arg(long, conflicts_with = "ips")]
        no_ip: bool,
        /// The container's default gateway, instead of what it has (one of each IP version)
        #[arg(long = "gateway", value_name = "IP")]
        gateways: Vec<IpAddr>,
        /// No default gateway
        #[arg(long, conflicts_with = "gateways")]
        no_gateway: bool,
    },
    /// Let another worker serve a port, until the daemon ends (`perf` shows how busy they are)
    #[command(after_help = "Examples:\n  vswitchctl port move web0 --worker 1")]
    Move {
        /// Its name
        name: PortName,
        /// The worker, counted from 0 in the order of --cores
        #[arg(long, value_name = "NUMBER")]
        worker: u16,
    },
}

/// A setting of a port's own, or none: its bridge's.
#[derive(Debug, Clone, Copy)]
pub struct OrBridge<T>(pub Option<T>);

impl<T: FromStr> FromStr for OrBridge<T> {
    type Err = T::Err;

    fn from_str(text: &str) -> Result<Self, T::Err> {
        if text == "bridge" { Ok(Self(None)) } else { text.parse().map(|own| Self(Some(own))) }
    }
}

/// A rate, or none.
#[derive(Debug, Clone, Copy)]
pub struct OrNone(pub Option<Rate>);

impl FromStr for OrNone {
    type Err = ctl::BadName;

    fn from_str(text: &str) -> Result<Self, ctl::BadName> {
        if text == "none" { Ok(Self(None)) } else { text.parse().map(|rate| Self(Some(rate))) }
    }
}

/// How fast frames leave, and come in.
#[derive(Debug, Clone, Args)]
pub struct RateOptions {
    /// How fast frames leave by it, such as 100mbit [default: no limit]
    #[arg(long, value_name = "RATE")]
    pub egress_rate: Option<Rate>,
    /// Bytes that may wait for it [default: 50 ms at the rate]
    #[arg(long, value_name = "BYTES", requires = "egress_rate")]
    pub egress_queue: Option<u32>,
    /// How fast frames may come in by it, such as 50mbit, or they are dropped [default: no limit]
    #[arg(long, value_name = "RATE")]
    pub ingress_rate: Option<Rate>,
    /// Bytes that may come in at once [default: 50 ms at the rate]
    #[arg(long, value_name = "BYTES", requires = "ingress_rate")]
    pub ingress_burst: Option<u32>,
}

/// How a port handles VLANs.
#[derive(Debug, Clone, Args)]
pub struct VlanOptions {
    /// Untagged frames belong to this VLAN
    #[arg(long, value_name = "VLAN", conflicts_with = "trunk")]
    pub access: Option<VlanId>,
    /// Carry these VLANs tagged, such as 1,2,10-20
    #[arg(long, value_name = "VLANS")]
    pub trunk: Option<VlanIds>,
    /// On a trunk, untagged frames belong to this VLAN
    #[arg(long, value_name = "VLAN", requires = "trunk")]
    pub native: Option<VlanId>,
}

/// A port to make.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("kind").required(true).args(["tap", "host", "netdev"]))]
pub struct PortOptions {
    /// Its name
    pub name: PortName,
    /// The bridge; with --shared one of the port's name unless given, which is made if it is not there
    #[arg(long, required_unless_present = "shared")]
    pub bridge: Option<BridgeName>,
    /// Make a new interface, and move it into the container
    #[arg(long)]
    pub tap: bool,
    /// Make a new interface for the host itself, by which it and the containers reach each other; on a network it gets the next
    /// addresses unless --ip says which
    #[arg(
        long,
        value_name = "IFNAME",
        num_args = 0..=1,
        default_missing_value = "vswitch0",
        conflicts_with_all = ["netns", "ifname", "handover", "mode"],
    )]
    pub host: Option<IfName>,
    /// Take an interface that exists already
    #[arg(long, value_name = "DEV")]
    pub netdev: Option<IfName>,
    /// How frames of an existing interface are moved: auto, gso or xdp
    #[arg(long, value_name = "MODE", default_value_t, conflicts_with = "tap")]
    pub mode: NetdevMode,
    /// Leave the interface to the host, with its addresses, and take from it only packets to published ports and of
    /// masqueraded connections
    #[arg(long, requires = "netdev", conflicts_with_all = ["netns", "mtu", "egress_rate"])]
    pub shared: bool,
    /// The container's namespace: a name, a path or a process id
    #[arg(long, value_name = "NETNS")]
    pub netns: Option<NetnsRef>,
    #[command(flatten)]
    pub interface: InterfaceOptions,
    #[command(flatten)]
    pub vlan: VlanOptions,
    /// Queues, each of which may be served by another worker
    #[arg(long, value_name = "COUNT", default_value_t = 1, conflicts_with = "netdev")]
    pub queues: u16,
    /// Leave it in the daemon's own namespace for an engine, which takes it to the container and configures it there. It
    /// outlives the daemon
    #[arg(long, requires = "tap", conflicts_with = "netns")]
    pub handover: bool,
    /// Talk to no other isolated port
    #[arg(long)]
    pub isolated: bool,
    /// Frames may go back to the port that they came from
    #[arg(long)]
    pub hairpin: bool,
    /// Learn at most so many stations on it
    #[arg(long, value_name = "COUNT")]
    pub mac_limit: Option<u32>,
    /// Its MTU [default: the bridge's]
    #[arg(long, value_name = "BYTES")]
    pub mtu: Option<Mtu>,
    /// Only its own addresses may send by it, and no DHCP server or router
    #[arg(long, conflicts_with = "netdev")]
    pub guard: bool,
    #[command(flatten)]
    pub rates: RateOptions,
}

/// An interface to make.
#[derive(Debug, Args)]
pub struct InterfaceOptions {
    /// The interface's name in the container
    #[arg(long, default_value_t, conflicts_with = "netdev")]
    pub ifname: IfName,
    /// The interface's MAC address [default: chosen]
    #[arg(long, conflicts_with = "netdev")]
    pub mac: Option<MacAddr>,
    /// An address of the interface (may be repeated)
    #[arg(long = "ip", value_name = "CIDR", conflicts_with = "netdev")]
    pub ips: Vec<IpCidr>,
    /// The container's default gateway (one of each IP version)
    #[arg(long = "gateway", value_name = "IP", conflicts_with = "netdev")]
    pub gateways: Vec<IpAddr>,
}
