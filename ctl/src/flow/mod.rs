//! Rules as people write them: `PRIORITY MATCH ACTIONS`.
//!
//! ```text
//!   200 in_port=web0,tcp,src=10.0.0.0/8,dport={22,80-90},state=new  limit:1000pps,allow
//!   100 tcp,src=10.0.0.0/8,dport=80                                 allow
//!   priority=100,tcp,nw_src=10.0.0.0/8,tp_dst=80,actions=NORMAL     the same, as OVS has it
//! ```
//!
//! A word of OVS is understood if it has one meaning, and is otherwise refused with what to write.
//! `tcp`, `udp`, `icmp` and `ip` are of IPv4, as there; `tcp6`, `udp6`, `icmp6` and `ipv6` of IPv6;
//! `proto=tcp` of both. Whatever was written, our words are printed, and what is printed reads as the
//! same: so a match and a list of actions are strings in the protocol and in the state.
//!
//! Nothing that exists contradicts itself: reading checks, and there is no other way to make a
//! [`Match`] or [`Actions`]. Whether the ports and bridges that a rule names exist is not known here.

mod actions;
mod error;
mod fields;
mod file;
mod limit;
mod matches;
mod rule;
mod value;

pub use actions::{Actions, Step, Verdict};
pub use error::FlowSyntax;
pub use file::{BadLine, BadRules, RuleDiff, diff, parse_rules};
pub use limit::{Limit, LimitRate};
pub use matches::{Criteria, Match, VlanMatch};
pub use rule::{FlowId, FlowRule};
pub use value::{AddressSet, ConnState, FlagsMatch, MacMatch, PortSet, StateSet};

/// Whether a name is that of a port which OVS has always and which is none of ours.
fn is_reserved(port: &str) -> bool {
    const RESERVED: [&str; 8] =
        ["LOCAL", "NORMAL", "FLOOD", "ALL", "CONTROLLER", "IN_PORT", "TABLE", "ANY"];
    RESERVED.contains(&port)
}
