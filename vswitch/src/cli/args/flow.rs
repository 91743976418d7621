//! Rules, as typed.

use std::path::PathBuf;

use clap::Subcommand;
use ctl::flow::FlowId;
use ctl::{FlowKey, Limit};

/// What to do with rules.
#[derive(Debug, Subcommand)]
pub enum FlowCommand {
    /// Add a rule, or change the one of the same priority and match; safe to repeat
    #[command(after_help = "\
A match is `any`, or what all has to be so:
  in_port=PORT bridge=BR src_mac=MAC[/MASK] dst_mac=MAC[/MASK] ethertype=N vlan=N|none src=NET dst=NET
  tcp|udp|sctp|icmp|tcp6|udp6|sctp6|icmp6|arp|ip|ipv6 proto=NAME|N sport=PORTS dport=PORTS
  tcp_flags=+syn-ack icmp_type=N icmp_code=N dscp=N state=new|established|related|invalid vni=N
  A set is written {A,B,C}. The names of OVS (nw_src, tp_dst, dl_vlan, ct_state, ...) are understood.

Actions are steps and, at the end, a verdict:
  count mirror:PORT[/BYTES] set_vlan:N set_src:MAC set_dst:MAC set_dscp:N limit:RATE[:burst=N][:per-source]
  allow drop reject reject:icmp forward:PORT

Examples:
  vswitchctl flow add 100 in_port=web0,tcp,dport=80-90 allow
  vswitchctl flow add 100 'src=10.0.0.0/8,udp,dport={53,123},state=new' limit:1000pps:per-source,allow
  vswitchctl flow add 1 any drop
  vswitchctl flow add 50 bridge=br0,icmp mirror:ids/128,allow idle_timeout=60
  vswitchctl flow add priority=100,in_port=web0,tcp,tp_dst=80,actions=drop")]
    Add {
        /// PRIORITY MATCH ACTIONS [idle_timeout=S] [hard_timeout=S], or priority=N,MATCH,actions=ACTIONS
        #[arg(required = true, value_name = "RULE")]
        rule: Vec<String>,
    },
    /// Remove a rule by its number (not its priority), or those of just this match
    #[command(
        visible_alias = "rm",
        aliases = ["delete", "remove"],
        after_help = "Examples:\n  vswitchctl flow del 17\n  vswitchctl flow del in_port=web0,tcp,dport=80-90"
    )]
    Del {
        /// The number that `flow list` shows, or a match
        #[arg(value_name = "ID|MATCH")]
        which: FlowKey,
    },
    /// List the rules, and how much they were used
    #[command(
        visible_alias = "ls",
        after_help = "Examples:\n  vswitchctl flow list\n  vswitchctl flow list --limit 10000 --after 999"
    )]
    List {
        /// List at most so many
        #[arg(long, value_name = "COUNT", default_value_t)]
        limit: Limit,
        /// List those behind this one
        #[arg(long, value_name = "ID")]
        after: Option<FlowId>,
    },
    /// Make the rules those of a file, at once; those that are in it already keep their numbers and counters
    #[command(after_help = "\
A line of the file is a rule as for `flow add`; # begins a comment.

Examples:
  vswitchctl flow replace /etc/vswitch/rules
  vswitchctl flow replace - < rules")]
    Replace {
        /// The file; - for standard input
        file: PathBuf,
    },
}
