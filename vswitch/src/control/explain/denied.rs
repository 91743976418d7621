//! What to do where a rule denies something: it may be the one that denies everything, so it stays, and another one before it lets
//! through just what was asked about.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use ctl::flow::{ConnState, FlowId, FlowRule};
use ctl::{FiveTuple, Protocol, Sketch};
use flows::{DropReason, Fate};
use pktio::wire::MacAddr;

use super::SOMEBODY;
use super::packet::{Turn, frame};
use super::party::Host;
use crate::control::switch::Switch;

/// Where the type of a message of ICMPv6 is in an untagged frame.
const ICMP6_TYPE: usize = 54;
/// A question of neighbour discovery (RFC 4861 section 4.3), and the bytes behind its first eight.
const SOLICITATION: (u8, u16) = (135, 16);

impl Switch {
    /// That a rule denies packets of a host, and how a conversation is allowed all the same. `asked` is between whom it truly is, as rules
    /// see it.
    pub(super) fn denied(
        &self,
        number: u32,
        (host, to): (&Host, IpAddr),
        asked: FiveTuple,
    ) -> String {
        let id = FlowId::try_from(number).ok();
        let rule = id.and_then(|id| self.config().flows.get(&id));
        let mut matches = rule.map(|rule| passing(rule, asked)).unwrap_or_default();
        let before = rule.and_then(|rule| rule.priority.checked_add(1));
        let Some(before) = before.filter(|_| !matches.is_empty()) else {
            return format!(
                "rule {number} denies it, and no rule for this alone can go before it; `vswitchctl flow list` shows the rules"
            );
        };
        if self.is_unheard(host, to) {
            matches.extend(neighbors(to.is_ipv4()));
        }
        let add = |matches| format!("vswitchctl flow add {before} {matches} allow");
        let commands: Vec<_> = matches.into_iter().map(add).collect();
        format!(
            "rule {number} denies it; to allow just this before it, run: {}",
            commands.join(" && ")
        )
    }

    /// Whether rules deny the question by which a host finds whom it gives packets for an address to.
    fn is_unheard(&self, host: &Host, to: IpAddr) -> bool {
        let Some(hop) = host.next_hop(to).filter(|_| host.router.is_none()) else { return false };
        let question = resolution(host.mac.unwrap_or(SOMEBODY), (host.ip, hop));
        let fate = self.index_of(&host.port).and_then(|port| {
            let (_, trace) = self.follow(&mut self.tracer()?, port, &question)?;
            Ok(trace.fate)
        });
        matches!(fate, Ok(Fate::Dropped(DropReason::RuleDenied)))
    }
}

/// What rules match that let through what this one denies: the conversation as it is asked for, and where the rule is for packets of
/// established ones, its answers. None where it is for others still.
fn passing(rule: &FlowRule, asked: FiveTuple) -> Vec<String> {
    let states = rule.matches.criteria().state;
    let denies = |state| states.is_some_and(|states| states.contains(state));
    let FiveTuple { protocol, source, destination } = asked;
    let there = matching(protocol, (source.ip(), destination.ip()), ("dport", destination));
    let back = matching(protocol, (destination.ip(), source.ip()), ("sport", destination));
    match denies(ConnState::Established) {
        true => vec![there, back],
        false if states.is_none() || denies(ConnState::New) => vec![there],
        false => Vec::new(),
    }
}

/// A match of what is between two addresses with that port, as a shell takes it.
fn matching(
    protocol: Protocol,
    (from, to): (IpAddr, IpAddr),
    (name, at): (&str, SocketAddr),
) -> String {
    let six = if from.is_ipv4() { "" } else { "6" };
    let kind = match protocol {
        Protocol::Other(number) if from.is_ipv4() => format!("ip,proto={number}"),
        Protocol::Other(number) => format!("ipv6,proto={number}"),
        known => format!("{known}{six}"),
    };
    let port = match protocol.has_ports() {
        true => format!(",{name}={}", at.port()),
        false => String::new(),
    };
    format!("'{kind},src={from},dst={to}{port}'")
}

/// What rules match by which stations find each other.
fn neighbors(is_ipv4: bool) -> Vec<String> {
    let matches: &[&str] = match is_ipv4 {
        true => &["arp"],
        false => &["icmp6,icmp_type=135", "icmp6,icmp_type=136"],
    };
    matches.iter().map(|matches| (*matches).to_owned()).collect()
}

/// The frame by which a station asks for the address of another one.
fn resolution(mac: MacAddr, ends: (IpAddr, IpAddr)) -> Vec<u8> {
    match ends {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            let head = [&[0xff; 6][..], &mac.0, &[8, 6, 0, 1, 8, 0, 6, 4, 0, 1]].concat();
            [&head[..], &mac.0, &from.octets(), &[0; 6], &to.octets()].concat()
        }
        (from, IpAddr::V6(to)) => solicitation(mac, from, to),
        (IpAddr::V6(_), IpAddr::V4(_)) => Vec::new(),
    }
}

/// Neighbour discovery's: to the group of all whose addresses end alike (RFC 4291 section 2.7.1).
fn solicitation(mac: MacAddr, from: IpAddr, to: Ipv6Addr) -> Vec<u8> {
    let [.., a, b, c] = to.octets();
    let group = Ipv6Addr::from([0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, a, b, c]);
    let (kind, payload_bytes) = SOLICITATION;
    let sketch = Sketch::first_of(FiveTuple {
        protocol: Protocol::Icmp,
        source: SocketAddr::new(from, 0),
        destination: SocketAddr::new(group.into(), 0),
    });
    let sketch = Sketch { payload_bytes, ttl: u8::MAX, ..sketch };
    let ends = (mac, MacAddr([0x33, 0x33, 0xff, a, b, c]));
    let mut bytes = frame(&sketch, Turn::Question, ends);
    if let Some(at) = bytes.get_mut(ICMP6_TYPE) {
        *at = kind;
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn advised(rule: &str, asked: &str) -> Vec<String> {
        passing(&rule.parse().unwrap(), asked.parse().unwrap())
    }

    #[test]
    fn what_is_advised_are_matches_of_just_the_conversation() {
        let v4 = "tcp 10.0.0.3:49152 > 10.0.0.2:81";
        let there = "'tcp,src=10.0.0.3,dst=10.0.0.2,dport=81'";
        let back = "'tcp,src=10.0.0.2,dst=10.0.0.3,sport=81'";
        assert_eq!(advised("1 any drop", v4), [there]);
        assert_eq!(advised("1 any,state=new reject", v4), [there], "answers pass");
        assert_eq!(advised("1 any,state={new,established} drop", v4), [there, back]);
        assert_eq!(advised("1 state=established drop", v4), [there, back]);
        assert!(advised("1 state=invalid drop", v4).is_empty());
        for asked in [
            v4,
            "udp [fd00::2]:4000 > [fd01::3]:53",
            "sctp 10.0.0.2:1 > 10.1.0.3:2",
            "icmp 10.0.0.2:9 > 10.1.0.3:9",
            "icmp [fd00::2]:9 > [fd01::3]:9",
            "proto-47 10.0.0.2 > 10.1.0.3",
        ] {
            let all = advised("1 state={new,established} drop", asked);
            let all = all.into_iter().chain([true, false].into_iter().flat_map(neighbors));
            for advised in all {
                let quoted = advised.trim_matches('\'');
                assert!(quoted.parse::<ctl::flow::Match>().is_ok(), "{advised}");
            }
        }
    }

    #[test]
    fn the_question_for_a_neighbour_is_one() {
        let mac = MacAddr([2, 0, 0, 0, 0, 1]);
        let ends = |from: &str, to: &str| (from.parse().unwrap(), to.parse().unwrap());
        let arp = resolution(mac, ends("10.0.0.3", "10.0.0.2"));
        assert_eq!((arp.len(), &arp[12..14], &arp[38..]), (42, &[8, 6][..], &[10, 0, 0, 2][..]));
        let asked = resolution(mac, ends("fd00::3", "fd00::2"));
        let layers = pktio::wire::Layers::parse(&asked).unwrap().unwrap();
        assert_eq!(usize::from(layers.l4), ICMP6_TYPE);
        assert_eq!((asked.len(), asked[ICMP6_TYPE]), (ICMP6_TYPE + 8 + 16, 135));
    }
}
