//! Stations, as typed.

use std::net::IpAddr;

use clap::{Args, Subcommand};
use ctl::{BridgeName, MacAddr, PortName, VlanId};

/// What to do with stations.
#[derive(Debug, Subcommand)]
pub enum FdbCommand {
    /// Show stations
    #[command(
        after_help = "Examples:\n  vswitchctl fdb show\n  vswitchctl fdb show br0 --port web0\n  vswitchctl fdb/show br0"
    )]
    Show(FdbFilterOptions),
    /// Enter a station by hand: it does not age or move
    #[command(after_help = "\
Examples:
  vswitchctl fdb add br0 02:00:00:00:00:01 --port web0
  vswitchctl fdb add br0 02:00:00:00:00:01 --port up0 --vlan 10
  vswitchctl fdb add br0 02:00:00:00:00:01 --port vx0 --vtep 192.0.2.2")]
    Add {
        /// The bridge
        bridge: BridgeName,
        /// The station's address
        mac: MacAddr,
        /// The port that it is behind
        #[arg(long)]
        port: PortName,
        /// Its VLAN, on a VLAN-aware port
        #[arg(long)]
        vlan: Option<VlanId>,
        /// The host that it is on, behind a tunnel
        #[arg(long, value_name = "IP")]
        vtep: Option<IpAddr>,
    },
    /// Remove a station, entered or learned
    #[command(
        visible_alias = "rm",
        aliases = ["delete", "remove"],
        after_help = "Examples:\n  vswitchctl fdb del br0 02:00:00:00:00:01"
    )]
    Del {
        /// The bridge
        bridge: BridgeName,
        /// The station's address
        mac: MacAddr,
        /// Its VLAN, on a VLAN-aware port
        #[arg(long)]
        vlan: Option<VlanId>,
    },
    /// Forget learned stations
    #[command(
        after_help = "Examples:\n  vswitchctl fdb flush\n  vswitchctl fdb flush br0 --port web0"
    )]
    Flush(FdbFilterOptions),
}

/// Which stations.
#[derive(Debug, Args)]
pub struct FdbFilterOptions {
    /// Of this bridge only
    pub bridge: Option<BridgeName>,
    /// Behind this port only
    #[arg(long)]
    pub port: Option<PortName>,
    /// In this VLAN only
    #[arg(long)]
    pub vlan: Option<VlanId>,
}
