//! The router's neighbours, as typed.

use std::net::IpAddr;

use clap::{Args, Subcommand};
use ctl::{BridgeName, MacAddr};

/// What to do with neighbours.
#[derive(Debug, Subcommand)]
pub enum NeighborCommand {
    /// Show neighbours
    #[command(
        after_help = "Examples:\n  vswitchctl neighbor show\n  vswitchctl neighbor show br0 --ip 10.0.0.2"
    )]
    Show(NeighborFilterOptions),
    /// Forget resolved neighbours: they are asked again
    #[command(after_help = "Examples:\n  vswitchctl neighbor flush br0")]
    Flush(NeighborFilterOptions),
    /// Enter a neighbour by hand: it is not asked, and does not age
    #[command(after_help = "Examples:\n  vswitchctl neighbor add br0 10.0.0.2 02:00:00:00:00:01")]
    Add {
        /// The bridge
        bridge: BridgeName,
        /// Its IP address
        ip: IpAddr,
        /// Its MAC address
        mac: MacAddr,
    },
    /// Remove a neighbour, entered or resolved
    #[command(
        visible_alias = "rm",
        aliases = ["delete", "remove"],
        after_help = "Examples:\n  vswitchctl neighbor del br0 10.0.0.2"
    )]
    Del {
        /// The bridge
        bridge: BridgeName,
        /// Its IP address
        ip: IpAddr,
    },
}

/// Which neighbours.
#[derive(Debug, Args)]
pub struct NeighborFilterOptions {
    /// On this bridge only
    pub bridge: Option<BridgeName>,
    /// With this address only
    #[arg(long)]
    pub ip: Option<IpAddr>,
}
