//! Bridges, as typed.

use clap::{Args, Subcommand};
use ctl::{Advertise, BridgeName, IpCidr, MacAddr, Mtu, Prefix, VlanId};

use super::change;

/// What to do with bridges.
#[derive(Debug, Subcommand)]
pub enum BridgeCommand {
    /// Make a bridge
    #[command(after_help = "\
Examples:
  vswitchctl bridge add br0
  vswitchctl bridge add br0 --mtu 9000 --ageing 60 --may-exist
  vswitchctl bridge add br0 --gateway 10.0.0.1/24 --gateway fd00::1/64 --advertise
  vswitchctl bridge add staff --of br0 --vlan 20 --gateway 10.0.20.1/24")]
    Add {
        /// Its name
        name: BridgeName,
        /// It is a VLAN of this bridge, which the router takes for a bridge: with addresses, routes and rules of its own
        #[arg(long = "of", value_name = "BRIDGE", requires = "vlan")]
        whole: Option<BridgeName>,
        /// Which VLAN of that bridge it is
        #[arg(long, value_name = "VLAN", requires = "whole")]
        vlan: Option<VlanId>,
        #[command(flatten)]
        settings: BridgeSettings,
        #[command(flatten)]
        router: RouterOptions,
        /// Succeed if it exists already
        #[arg(long)]
        may_exist: bool,
    },
    /// Remove a bridge without ports
    #[command(
        visible_alias = "rm",
        aliases = ["delete", "remove"],
        after_help = "Examples:\n  vswitchctl bridge del br0\n  vswitchctl bridge del br0 --if-exists"
    )]
    Del {
        /// Its name
        name: BridgeName,
        /// Succeed if it does not exist
        #[arg(long)]
        if_exists: bool,
    },
    /// List all bridges
    #[command(visible_alias = "ls", after_help = "Examples:\n  vswitchctl bridge list")]
    List,
    /// Show one bridge
    #[command(after_help = "Examples:\n  vswitchctl bridge show br0")]
    Show {
        /// Its name
        name: BridgeName,
    },
    /// Change a bridge; what is not given stays
    #[command(
        group = change(&[
            "ageing", "mac_limit", "mtu", "gateways", "no_gateway", "gateway_mac", "advertise",
            "no_advertise", "proxy", "no_proxy",
        ]),
        after_help = "\
Examples:
  vswitchctl bridge set br0 --ageing 60
  vswitchctl bridge set br0 --gateway 10.0.0.1/24 --gateway fd00::1/64
  vswitchctl bridge set br0 --advertise
  vswitchctl bridge set br0 --advertise=interval=60,lifetime=0,dns=fd00::53
  vswitchctl bridge set br0 --no-gateway --no-advertise
  vswitchctl bridge set br0 --proxy 10.0.7.0/24"
    )]
    Set {
        /// Its name
        name: BridgeName,
        #[command(flatten)]
        settings: BridgeSettings,
        #[command(flatten)]
        router: Box<RouterSettings>,
    },
}

/// Settings of a bridge.
#[derive(Debug, Args)]
pub struct BridgeSettings {
    /// Forget a silent station after so many seconds [default: 300]
    #[arg(long, value_name = "SECONDS")]
    pub ageing: Option<u32>,
    /// Learn at most so many stations [default: 8192]
    #[arg(long, value_name = "COUNT")]
    pub mac_limit: Option<u32>,
    /// MTU of ports that have none of their own [default: 1500]
    #[arg(long, value_name = "BYTES")]
    pub mtu: Option<Mtu>,
}

/// What the router is on a new bridge.
#[derive(Debug, Args)]
pub struct RouterOptions {
    /// An address of the router, which makes the bridge one of its interfaces (may be repeated)
    #[arg(long = "gateway", value_name = "CIDR")]
    pub gateways: Vec<IpCidr>,
    /// The router's MAC address [default: made of the bridge's name]
    #[arg(long, value_name = "MAC")]
    pub gateway_mac: Option<MacAddr>,
    /// Send router advertisements; settings such as interval=600,lifetime=1800,managed,other,no-autonomous,dns=IP
    #[arg(long, value_name = "SETTINGS", num_args = 0..=1, require_equals = true,
          default_missing_value = "")]
    pub advertise: Option<Advertise>,
    /// Answer ARP and neighbour solicitations for these addresses, which are elsewhere (may be repeated)
    #[arg(long, value_name = "PREFIX")]
    pub proxy: Vec<Prefix>,
}

/// What the router is to be on a bridge.
#[derive(Debug, Args)]
pub struct RouterSettings {
    /// The router's addresses, instead of the present ones (may be repeated)
    #[arg(long = "gateway", value_name = "CIDR")]
    pub gateways: Vec<IpCidr>,
    /// The router has no address any more
    #[arg(long, conflicts_with = "gateways")]
    pub no_gateway: bool,
    /// The router's MAC address; `auto` for the one made of the bridge's name
    #[arg(long, value_name = "MAC")]
    pub gateway_mac: Option<OrAuto>,
    /// Send router advertisements; settings such as interval=600,lifetime=1800,managed,other,no-autonomous,dns=IP
    #[arg(long, value_name = "SETTINGS", num_args = 0..=1, require_equals = true,
          default_missing_value = "")]
    pub advertise: Option<Advertise>,
    /// Send no router advertisements
    #[arg(long, conflicts_with = "advertise")]
    pub no_advertise: bool,
    /// The addresses for which the router answers, instead of the present ones (may be repeated)
    #[arg(long, value_name = "PREFIX")]
    pub proxy: Vec<Prefix>,
    /// The router answers for no addresses but its own
    #[arg(long, conflicts_with = "proxy")]
    pub no_proxy: bool,
}

/// A MAC address, or none: the one made of the bridge's name.
#[derive(Debug, Clone, Copy)]
pub struct OrAuto(pub Option<MacAddr>);

impl std::str::FromStr for OrAuto {
    type Err = ctl::BadName;

    fn from_str(text: &str) -> Result<Self, ctl::BadName> {
        if text == "auto" { Ok(Self(None)) } else { text.parse().map(|mac| Self(Some(mac))) }
    }
}
