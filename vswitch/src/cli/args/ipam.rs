//! Addresses, as typed.

use std::net::IpAddr;

use clap::{Args, Subcommand};
use ctl::ipam::Span;
use ctl::{BridgeName, Owner, Prefix};

/// What to do with addresses.
#[derive(Debug, Subcommand)]
pub enum IpamCommand {
    /// List the addresses that are given out
    #[command(
        visible_alias = "ls",
        after_help = "Examples:\n  vswitchctl ipam list\n  vswitchctl ipam list web"
    )]
    List(IpamFilterOptions),
    /// Find the addresses that are given out and that no port has, and the subnets that are kept and that no network has, and perhaps
    /// free them
    #[command(
        after_help = "Examples:\n  vswitchctl ipam audit\n  vswitchctl ipam audit web --free"
    )]
    Audit {
        #[command(flatten)]
        filter: IpamFilterOptions,
        /// Free them, the subnets too: also one for which somebody is just about to make a network
        #[arg(long)]
        free: bool,
    },
    /// Give an owner an address, which is his until it is released; safe to repeat
    #[command(after_help = "\
Examples:
  vswitchctl ipam request web --owner alice
  vswitchctl ipam request web --owner printer --ip 10.1.0.9
  vswitchctl ipam request --subnet 10.9.0.0/24 --owner bob")]
    Request {
        #[command(flatten)]
        filter: IpamFilterOptions,
        /// Whose it is to be
        #[arg(long)]
        owner: Owner,
        /// The address [default: the next free one]
        #[arg(long, value_name = "IP")]
        ip: Option<IpAddr>,
    },
    /// Take addresses back: what a port has goes with the port; safe to repeat
    #[command(
        group = clap::ArgGroup::new("which").args(["owner", "ip"]).required(true).multiple(true),
        after_help = "\
Examples:
  vswitchctl ipam release --owner alice
  vswitchctl ipam release web --ip 10.1.0.9"
    )]
    Release {
        #[command(flatten)]
        filter: IpamFilterOptions,
        /// Whose they are
        #[arg(long)]
        owner: Option<Owner>,
        /// This address only
        #[arg(long, value_name = "IP")]
        ip: Option<IpAddr>,
    },
    /// Keep a subnet for a network to come; `network create --subnet` takes it over with its leases; safe to repeat
    #[command(after_help = "\
Examples:
  vswitchctl ipam keep 10.9.0.0/24 --ip-range 10.9.0.100-10.9.0.199
  vswitchctl ipam keep
  vswitchctl ipam keep --ipv6")]
    Keep(Box<KeepOptions>),
    /// Give a subnet up that was kept and that no network took over
    #[command(
        after_help = "Examples:\n  vswitchctl ipam drop 10.9.0.0/24\n  vswitchctl ipam drop 10.9.0.0/24 --if-exists"
    )]
    Drop {
        /// The subnet
        subnet: Prefix,
        /// Succeed if it was not kept
        #[arg(long)]
        if_exists: bool,
    },
}

/// Which subnets are meant.
#[derive(Debug, Args)]
pub struct IpamFilterOptions {
    /// The network [default: all]
    pub network: Option<BridgeName>,
    /// The subnet [default: all]
    #[arg(long, value_name = "CIDR")]
    pub subnet: Option<Prefix>,
}

/// A subnet to keep.
#[derive(Debug, Args)]
pub struct KeepOptions {
    /// The subnet [default: a free private one]
    pub subnet: Option<Prefix>,
    /// The one that is chosen is of IPv6
    #[arg(long, conflicts_with = "subnet")]
    pub ipv6: bool,
    /// The gateway's address [default: the first]
    #[arg(long, value_name = "IP")]
    pub gateway: Option<IpAddr>,
    /// Addresses for those who ask for none, A-B or CIDR (may be repeated) [default: all]
    #[arg(long = "ip-range", value_name = "RANGE")]
    pub ranges: Vec<Span>,
    /// Addresses for nobody, A-B, CIDR or one (may be repeated)
    #[arg(long = "reserve", value_name = "RANGE")]
    pub reserved: Vec<Span>,
    /// Choose none out of this network (may be repeated); those that the host has routes to are avoided anyway
    #[arg(long = "avoid", value_name = "CIDR")]
    pub avoid: Vec<Prefix>,
}
