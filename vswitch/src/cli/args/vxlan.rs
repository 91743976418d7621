//! Tunnels, as typed.

use std::net::IpAddr;

use clap::{Args, Subcommand};
use ctl::{BridgeName, Mtu, PortName, Tos, Vni, Vxlan};

use super::change;

/// What to do with tunnels.
#[derive(Debug, Subcommand)]
pub enum VxlanCommand {
    /// Make a tunnel: a port of its bridge behind which other hosts are; safe to repeat
    #[command(after_help = "\
Examples:
  vswitchctl vxlan add vx0 --bridge br0 --vni 7 --local 192.0.2.1 --remote 192.0.2.2 --remote 192.0.2.3
  vswitchctl vxlan add vx0 --bridge br0 --vni 7 --local 2001:db8::1 --remote 2001:db8::2 --underlay-mtu 9000
  vswitchctl vxlan add flannel.1 --bridge br0 --vni 1 --local 192.0.2.1 --dstport 8472 --no-learning
  vswitchctl vxlan add vx0 --bridge br0 --vni 7 --local 192.0.2.1 --via uplink --remote 192.0.2.2")]
    Add(VxlanOptions),
    /// Remove a tunnel
    #[command(
        visible_alias = "rm",
        aliases = ["delete", "remove"],
        after_help = "Examples:\n  vswitchctl vxlan del vx0\n  vswitchctl vxlan del vx0 --if-exists"
    )]
    Del {
        /// Its name
        name: PortName,
        /// Succeed if it does not exist
        #[arg(long)]
        if_exists: bool,
    },
    /// List all tunnels
    #[command(visible_alias = "ls", after_help = "Examples:\n  vswitchctl vxlan list")]
    List,
    /// Show one tunnel, and the hosts behind it
    #[command(after_help = "Examples:\n  vswitchctl vxlan show vx0")]
    Show {
        /// Its name
        name: PortName,
    },
    /// Change a tunnel; what is not given stays
    #[command(
        group = change(&["remotes", "no_remotes", "ttl", "tos", "learning", "underlay_mtu"]),
        after_help = "\
Examples:
  vswitchctl vxlan set vx0 --remote 192.0.2.2 --remote 192.0.2.4
  vswitchctl vxlan set vx0 --tos inherit --ttl 16
  vswitchctl vxlan set vx0 --no-remotes --learning true"
    )]
    Set {
        /// Its name
        name: PortName,
        /// The other hosts, instead of the present ones (may be repeated)
        #[arg(long = "remote", value_name = "IP")]
        remotes: Vec<IpAddr>,
        /// Know no other hosts but those that are heard from
        #[arg(long, conflicts_with = "remotes")]
        no_remotes: bool,
        /// Hops of the outer packets
        #[arg(long, value_name = "HOPS")]
        ttl: Option<u8>,
        /// TOS byte of the outer packets, or `inherit` for that of the inner
        #[arg(long)]
        tos: Option<Tos>,
        /// Whether stations and hosts are learned from what arrives
        #[arg(long, value_name = "BOOL")]
        learning: Option<bool>,
        /// MTU of the network between the hosts
        #[arg(long, value_name = "BYTES")]
        underlay_mtu: Option<Mtu>,
    },
}

/// A tunnel to make.
#[derive(Debug, Args)]
pub struct VxlanOptions {
    /// Its name, which no port has
    pub name: PortName,
    /// The bridge
    #[arg(long)]
    pub bridge: BridgeName,
    /// The network's number, 0 to 16777215
    #[arg(long)]
    pub vni: Vni,
    /// The address of this host
    #[arg(long, value_name = "IP")]
    pub local: IpAddr,
    /// The bridge, with that address, over which packets travel, by its routes: an uplink of the switch's own, or one shared with
    /// the host; by default they travel by the host's own network
    #[arg(long, value_name = "BRIDGE")]
    pub via: Option<BridgeName>,
    /// The address of another host, which gets all broadcasts (may be repeated)
    #[arg(long = "remote", value_name = "IP")]
    pub remotes: Vec<IpAddr>,
    /// The UDP port, here and at the other hosts
    #[arg(long, value_name = "PORT", default_value_t = Vxlan::PORT)]
    pub dstport: u16,
    /// Hops of the outer packets
    #[arg(long, value_name = "HOPS", default_value_t = Vxlan::TTL)]
    pub ttl: u8,
    /// TOS byte of the outer packets, or `inherit` for that of the inner
    #[arg(long, default_value_t)]
    pub tos: Tos,
    /// Learn neither stations nor hosts from what arrives
    #[arg(long)]
    pub no_learning: bool,
    /// MTU of the network between the hosts
    #[arg(long, value_name = "BYTES", default_value_t)]
    pub underlay_mtu: Mtu,
}
