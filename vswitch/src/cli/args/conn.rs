//! Sessions, as typed.

use clap::{ArgGroup, Args, Subcommand};
use ctl::{BridgeName, ConnState, FiveTuple, Limit, Prefix, Protocol, TopBy};

/// What to do with sessions.
#[derive(Debug, Subcommand)]
pub enum ConnCommand {
    /// List sessions
    #[command(
        visible_alias = "ls",
        after_help = "\
What is bridged belongs to a session only where rules or the router need it.

Examples:
  vswitchctl conn list
  vswitchctl conn list --from 10.0.0.2 --proto tcp --port 443 --state established
  vswitchctl --json conn list --bridge br0 --limit 10000 | jq '.sessions | length'"
    )]
    List {
        #[command(flatten)]
        filter: ConnFilterOptions,
        /// List at most so many
        #[arg(long, value_name = "COUNT", default_value_t)]
        limit: Limit,
        /// Go on where the list before ended
        #[arg(long, value_name = "NUMBER")]
        after: Option<u64>,
    },
    /// Show one session, by either direction of it
    #[command(after_help = "Examples:\n  vswitchctl conn show 'tcp 10.0.0.2:4000 > 10.1.0.3:80'")]
    Show {
        /// Who talks to whom, as `conn list` shows it
        tuple: FiveTuple,
        /// On this bridge
        #[arg(long)]
        bridge: Option<BridgeName>,
    },
    /// End sessions: whoever goes on talking begins a new one
    #[command(
        group = ArgGroup::new("which").required(true).multiple(true)
            .args(["from", "to", "port", "proto", "bridge", "state", "all"]),
        after_help = "\
Examples:
  vswitchctl conn flush --from 10.0.0.2
  vswitchctl conn flush --to 10.1.0.0/24 --proto udp --port 53
  vswitchctl conn flush --all"
    )]
    Flush {
        #[command(flatten)]
        filter: ConnFilterOptions,
        /// All of them
        #[arg(long, conflicts_with_all = ["from", "to", "port", "proto", "bridge", "state"])]
        all: bool,
    },
    /// Who has the most sessions, or moves the most
    #[command(after_help = "\
Examples:
  vswitchctl conn top
  vswitchctl conn top --by bytes --bridge br0 --limit 3")]
    Top {
        #[command(flatten)]
        filter: ConnFilterOptions,
        /// The most of what: sessions, bytes or packets
        #[arg(long, default_value_t)]
        by: TopBy,
        /// Show at most so many
        #[arg(long, value_name = "COUNT", default_value = "10")]
        limit: Limit,
    },
}

/// Which sessions.
#[derive(Debug, Args)]
pub struct ConnFilterOptions {
    /// Begun by this address or network only
    #[arg(long, value_name = "IP")]
    pub from: Option<Prefix>,
    /// To this address or network only, before it is translated or after
    #[arg(long, value_name = "IP")]
    pub to: Option<Prefix>,
    /// To this port only, before it is translated or after
    #[arg(long)]
    pub port: Option<u16>,
    /// Of this protocol only: tcp, udp, sctp, icmp or proto-NUMBER
    #[arg(long)]
    pub proto: Option<Protocol>,
    /// From or to this bridge only
    #[arg(long)]
    pub bridge: Option<BridgeName>,
    /// In this state only: unreplied, established or closing
    #[arg(long)]
    pub state: Option<ConnState>,
}
