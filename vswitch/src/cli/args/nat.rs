//! Address translation, as typed.

use clap::{ArgAction, Args, Subcommand};
use ctl::{
    AddressRanges, BridgeName, Filtering, Forward, PortName, PortRange, Prefix, RuleName,
    TimeoutsSet,
};

/// What to do with address translation.
#[derive(Debug, Subcommand)]
pub enum NatCommand {
    /// Let many inside share few addresses outside
    #[command(subcommand)]
    Masquerade(MasqueradeCommand),
    /// Let ports outside lead to containers
    #[command(subcommand)]
    Publish(PublishCommand),
    /// Translate IPv6 prefixes one to one, without state (NPTv6)
    #[command(subcommand)]
    Prefix(PrefixCommand),
    /// List all rules
    #[command(visible_alias = "ls", after_help = "Examples:\n  vswitchctl nat list")]
    List,
    /// Remove a rule, and end the sessions that depend on it
    #[command(
        visible_alias = "rm",
        aliases = ["delete", "remove"],
        after_help = "Examples:\n  vswitchctl nat del br0-to-up\n  vswitchctl nat del up-8080-tcp --if-exists"
    )]
    Del(RuleRemoval),
    /// How long silent sessions are kept
    #[command(subcommand)]
    Timeouts(TimeoutsCommand),
    /// Change how sessions are kept
    #[command(after_help = "Examples:\n  vswitchctl nat set --window-checks false")]
    Set {
        /// Whether TCP segments outside of the window are invalid
        #[arg(long, value_name = "BOOL", required = true, action = ArgAction::Set)]
        window_checks: bool,
    },
}

/// A rule to remove.
#[derive(Debug, Args)]
pub struct RuleRemoval {
    /// Its name, as `nat list` shows it
    pub name: RuleName,
    /// Succeed if it does not exist
    #[arg(long)]
    pub if_exists: bool,
}

/// What to do with masquerade.
#[derive(Debug, Subcommand)]
pub enum MasqueradeCommand {
    /// Masquerade what goes from one bridge to another; safe to repeat
    #[command(after_help = "\
Examples:
  vswitchctl nat masquerade add --from br0 --to up
  vswitchctl nat masquerade add web --from br0 --to up --addresses 192.0.2.10-192.0.2.20 --ports 20000-60000
  vswitchctl nat masquerade add --from br0 --to up --except 10.0.0.0/8 --except 192.168.0.0/16
  vswitchctl nat masquerade add --from br0 --to up --ipv6 --filtering endpoint-independent --port-quota 1000")]
    Add(Box<MasqueradeOptions>),
    /// List these rules, of what `nat list` shows
    #[command(visible_alias = "ls", after_help = "Examples:\n  vswitchctl nat masquerade list")]
    List,
    /// Remove a rule, like `nat del`
    #[command(
        visible_alias = "rm",
        aliases = ["delete", "remove"],
        after_help = "Examples:\n  vswitchctl nat masquerade del br0-to-up"
    )]
    Del(RuleRemoval),
}

/// A masquerade to add.
#[derive(Debug, Args)]
pub struct MasqueradeOptions {
    /// Its name [default: FROM-to-TO]
    pub name: Option<RuleName>,
    /// The bridge inside
    #[arg(long, value_name = "BRIDGE")]
    pub from: BridgeName,
    /// The bridge outside
    #[arg(long, value_name = "BRIDGE")]
    pub to: BridgeName,
    /// The addresses outside, A-B or several such, A-B,C,D-E [default: the gateway addresses of the bridge outside]
    #[arg(long, value_name = "RANGES")]
    pub addresses: Option<AddressRanges>,
    /// The ports outside, LO-HI
    #[arg(long, value_name = "RANGE", default_value_t = PortRange::UNPRIVILEGED)]
    pub ports: PortRange,
    /// Who outside may answer: address (those that were spoken to) or endpoint-independent (everybody)
    #[arg(long, default_value_t)]
    pub filtering: Filtering,
    /// The most ports of one address inside
    #[arg(long, value_name = "COUNT")]
    pub port_quota: Option<u32>,
    /// The most sessions of one address inside
    #[arg(long, value_name = "COUNT")]
    pub session_quota: Option<u32>,
    /// Masquerade IPv6 too, which otherwise takes `route allow`
    #[arg(long)]
    pub ipv6: bool,
    /// Let packets to this network, which has a route back, go as they are (may be repeated)
    #[arg(long, value_name = "PREFIX")]
    pub except: Vec<Prefix>,
}

/// What to do with published ports.
#[derive(Debug, Subcommand)]
pub enum PublishCommand {
    /// Let a port outside, or a range, lead to a container; safe to repeat
    #[command(after_help = "\
Examples:
  vswitchctl nat publish add 8080:10.0.0.2:80/tcp --on up
  vswitchctl nat publish add 192.0.2.1:5000-5010:10.0.0.2/udp --on up --name voice
  vswitchctl nat publish add [2001:db8::1]:443:[fd00::2]:8443/tcp --on up --to br0
  vswitchctl nat publish add 127.0.0.1:9000:10.0.0.2:9000/tcp --on br0")]
    Add {
        /// From where to where: [IP:]PORT[-END]:CONTAINER-IP[:PORT]/tcp|udp|sctp. At a loopback address (127.0.0.1, ::1) the
        /// daemon relays it for programs of the host itself, and so it does at any address where the host shares the interface
        forward: Forward,
        /// The bridge outside; any for a loopback address
        #[arg(long, value_name = "BRIDGE")]
        on: BridgeName,
        /// The container's bridge [default: the one whose subnet its address is in]
        #[arg(long, value_name = "BRIDGE")]
        to: Option<BridgeName>,
        /// The container's port: the rule goes when it goes
        #[arg(long)]
        port: Option<PortName>,
        /// The rule's name [default: made of the bridge, the port, the protocol and, if it is so, IPv6]
        #[arg(long)]
        name: Option<RuleName>,
    },
    /// List these rules, of what `nat list` shows
    #[command(visible_alias = "ls", after_help = "Examples:\n  vswitchctl nat publish list")]
    List,
    /// Remove a rule, like `nat del`
    #[command(
        visible_alias = "rm",
        aliases = ["delete", "remove"],
        after_help = "Examples:\n  vswitchctl nat publish del up-8080-tcp"
    )]
    Del(RuleRemoval),
}

/// What to do with prefixes.
#[derive(Debug, Subcommand)]
pub enum PrefixCommand {
    /// Translate a prefix inside to one outside; safe to repeat. Other addresses stay inside, unless `route allow` lets them out
    #[command(after_help = "\
Examples:
  vswitchctl nat prefix add fd00:1::/48 2001:db8:1::/48 --from br0 --to up")]
    Add {
        /// The prefix inside
        inside: Prefix,
        /// The prefix outside, of the same length
        outside: Prefix,
        /// The bridge inside
        #[arg(long, value_name = "BRIDGE")]
        from: BridgeName,
        /// The bridge outside
        #[arg(long, value_name = "BRIDGE")]
        to: BridgeName,
        /// The rule's name [default: made of the bridge and the prefix inside]
        #[arg(long)]
        name: Option<RuleName>,
    },
    /// List these rules, of what `nat list` shows
    #[command(visible_alias = "ls", after_help = "Examples:\n  vswitchctl nat prefix list")]
    List,
    /// Remove a rule, like `nat del`
    #[command(
        visible_alias = "rm",
        aliases = ["delete", "remove"],
        after_help = "Examples:\n  vswitchctl nat prefix del br0-fd00-1---48"
    )]
    Del(RuleRemoval),
}

/// What to do with timeouts.
#[derive(Debug, Subcommand)]
pub enum TimeoutsCommand {
    /// Show them
    #[command(after_help = "Examples:\n  vswitchctl nat timeouts show")]
    Show,
    /// Change some; what is not given stays
    #[command(after_help = "Examples:\n  vswitchctl nat timeouts set udp=300 tcp-established=7440")]
    Set {
        /// udp, udp-unreplied, tcp-established, tcp-opening, tcp-closing, icmp or other, and seconds
        #[arg(value_name = "NAME=SECONDS", required = true)]
        timeouts: Vec<TimeoutsSet>,
    },
}
