//! Routes, as typed.

use std::net::IpAddr;

use clap::Subcommand;
use ctl::{BridgeName, Destination};

/// What to do with routes.
#[derive(Debug, Subcommand)]
pub enum RouteCommand {
    /// Add a route; safe to repeat
    #[command(after_help = "\
Examples:
  vswitchctl route add default --on up --via 192.0.2.254
  vswitchctl route add 10.9.0.0/16 --on up --via 192.0.2.2,192.0.2.3
  vswitchctl route add fd09::/48 --on up --via fe80::1")]
    Add {
        /// Where it leads to: a network, or `default`
        #[arg(value_name = "PREFIX")]
        to: Destination,
        /// The bridge on which its next hops are
        #[arg(long, value_name = "BRIDGE")]
        on: BridgeName,
        /// The next hops, among which conversations are divided
        #[arg(long, value_name = "IP", value_delimiter = ',', required = true)]
        via: Vec<IpAddr>,
    },
    /// Remove a route
    #[command(
        visible_alias = "rm",
        aliases = ["delete", "remove"],
        after_help = "\
Examples:
  vswitchctl route del default --on up
  vswitchctl route del 10.9.0.0/16 --on up --if-exists"
    )]
    Del {
        /// Where it leads to: a network, or `default`
        #[arg(value_name = "PREFIX")]
        to: Destination,
        /// The bridge on which its next hops are
        #[arg(long, value_name = "BRIDGE")]
        on: BridgeName,
        /// Succeed if it does not exist
        #[arg(long)]
        if_exists: bool,
    },
    /// List all routes, and which bridges may reach which
    #[command(visible_alias = "ls", after_help = "Examples:\n  vswitchctl route list")]
    List,
    /// Let the containers of one bridge reach those of another; safe to repeat
    #[command(after_help = "Examples:\n  vswitchctl route allow br0 br1")]
    Allow {
        /// The bridge of those that begin
        from: BridgeName,
        /// The bridge of those that answer
        to: BridgeName,
    },
    /// Take that back; safe to repeat
    #[command(
        visible_alias = "disallow",
        after_help = "Examples:\n  vswitchctl route deny br0 br1"
    )]
    Deny {
        /// The bridge of those that begin
        from: BridgeName,
        /// The bridge of those that answer
        to: BridgeName,
    },
}
