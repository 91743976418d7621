//! What was really lost between two ends lately, by the ledger.

use std::net::IpAddr;
use std::time::Duration;

use ctl::response::LostPacket;
use ctl::{CtlError, Protocol, Why};
use flows::{DropSide, Ledger, Nanos, Offender, PortIndex, Tuple};

use super::packet::{Turn, echo};
use super::why::Ends;
use crate::control::describe;
use crate::control::switch::Switch;

/// What is longer ago has nothing to do with the question any more.
const LATELY: Duration = Duration::from_secs(300);

/// The packets that a question is about: those that ask, and their answers.
pub(super) struct Question<'a> {
    why: &'a Why,
    ends: &'a Ends,
    /// Who `from` is to the world.
    known_as: Option<IpAddr>,
}

impl<'a> Question<'a> {
    pub(super) fn new(why: &'a Why, ends: &'a Ends, known_as: Option<IpAddr>) -> Self {
        Self { why, ends, known_as }
    }

    /// Which of them a frame is, if it is one.
    fn turn_of(&self, frame: &[u8]) -> Option<Turn> {
        let packet = describe::tuple(frame)?;
        let turns = [(Turn::Question, packet), (Turn::Answer, packet.reversed())];
        let is_it = |(turn, asking): &(Turn, Tuple)| self.asks(asking) && self.is_in(*turn, frame);
        turns.into_iter().find(is_it).map(|(turn, _)| turn)
    }

    fn asks(&self, packet: &Tuple) -> bool {
        let Tuple { protocol, source, destination } = packet;
        let is_from = source.ip == self.ends.from.ip || Some(source.ip) == self.known_as;
        let is_to = destination.ip == self.ends.to;
        let is_meant = Protocol::of(*protocol) == self.why.protocol;
        let port = self.why.port.filter(|_| self.why.protocol.has_ports());
        is_from && is_to && is_meant && port.is_none_or(|port| destination.port == port)
    }

    /// Whether a packet goes in this direction, as far as its kind tells: the numbers of a ping may be the same in both.
    fn is_in(&self, turn: Turn, frame: &[u8]) -> bool {
        let is_ping = self.why.protocol == Protocol::Icmp;
        let kind = echo(turn, self.ends.to.is_ipv4());
        !is_ping || describe::icmp_type(frame) == Some(kind)
    }
}

impl Switch {
    /// What the workers know of lost frames.
    pub(super) fn losses(&mut self) -> Result<Ledger, CtlError> {
        self.books().map(|books| books.ledger)
    }

    /// The packets that a question is about and that were lost lately, the last one first.
    pub(super) fn lost_lately(&self, ledger: &Ledger, question: &Question) -> Vec<LostPacket> {
        let now = self.fleet_ref().clock().now();
        let is_lately = |offender: &&Offender| now.since(offender.at) < LATELY;
        let meant = |offender: &'_ &Offender| {
            let turn = question.turn_of(offender.headers())?;
            self.is_near(question.ends, offender.port).then_some(turn)
        };
        let offenders = ledger.offenders().iter().filter(is_lately);
        let mut lost: Vec<_> =
            offenders.filter_map(|offender| Some((offender, meant(&offender)?))).collect();
        lost.sort_by_key(|(offender, _)| std::cmp::Reverse(offender.at));
        // Of several workers only the last is of interest.
        let mut kinds = Vec::new();
        lost.retain(|(offender, turn)| {
            let kind = (offender.port, offender.side, offender.reason, *turn);
            let is_new = !kinds.contains(&kind);
            kinds.push(kind);
            is_new
        });
        lost.into_iter().map(|(offender, turn)| self.lost(offender, turn, now)).collect()
    }

    /// Whether a port is on a bridge of either end: elsewhere the same addresses may be others'.
    fn is_near(&self, ends: &Ends, port: PortIndex) -> bool {
        let bridges = &self.numbering().bridges;
        let Some(own) = self.snapshot().port(port).map(|port| port.bridge) else { return false };
        let is_own = |name| {
            let index = bridges.get(name).map(|slot| slot.index);
            let domain = index.and_then(|index| self.snapshot().bridge(index));
            let whole = domain.and_then(|domain| domain.vlan_of).map(|own| own.bridge);
            whole.or(index) == Some(own)
        };
        ends.host.as_ref().is_none_or(|host| is_own(&host.bridge) || is_own(&ends.from.bridge))
    }

    fn lost(&self, offender: &Offender, turn: Turn, now: Nanos) -> LostPacket {
        let name = self.numbering().port_name(offender.port);
        let ago = now.since(offender.at).as_millis();
        LostPacket {
            port: name.map_or_else(|| "(removed)".to_owned(), ToString::to_string),
            side: match offender.side {
                DropSide::Ingress => "in".to_owned(),
                DropSide::Egress => "out".to_owned(),
            },
            reason: offender.reason.name().to_owned(),
            explanation: offender.reason.explain().to_owned(),
            milliseconds_ago: u64::try_from(ago).unwrap_or(u64::MAX),
            summary: describe::headers(offender.headers()),
            is_answer: turn == Turn::Answer,
        }
    }
}

/// What to add to the answer for a tired person.
pub(super) fn remark(lost: &[LostPacket]) -> String {
    let Some(LostPacket { port, side, reason, milliseconds_ago, is_answer, .. }) = lost.first()
    else {
        return String::new();
    };
    let what = if *is_answer { "answer to such a packet" } else { "such packet" };
    let way = if side == "in" { "coming in by" } else { "going out by" };
    let seconds = milliseconds_ago / 1000;
    format!(" (the last {what} that was really lost: {seconds} s ago, {way} {port}, {reason})")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::explain::packet::frame;
    use crate::control::explain::party::Host;
    use pktio::wire::MacAddr;

    #[test]
    fn a_ping_of_the_other_end_is_no_answer_whatever_its_identifier() {
        let (from, to): (IpAddr, IpAddr) =
            ("10.1.0.2".parse().unwrap(), "10.2.0.9".parse().unwrap());
        let why = Why {
            from: from.to_string().parse().unwrap(),
            to: to.to_string().parse().unwrap(),
            protocol: Protocol::Icmp,
            port: None,
        };
        let host = Host {
            port: "inner".parse().unwrap(),
            bridge: "a".parse().unwrap(),
            mac: None,
            ip: from,
            on_link: Vec::new(),
            gateways: Vec::new(),
            router: None,
        };
        let ends = Ends { from: host, to, host: None };
        let question = Question::new(&why, &ends, None);
        // 8 is the type of a query, too.
        for identifier in [8, 9] {
            let turn_of = |(from, to), turn| {
                let sketch = format!("icmp {from}:{identifier} > {to}:{identifier}");
                let macs = (MacAddr([2; 6]), MacAddr([4; 6]));
                question.turn_of(&frame(&sketch.parse().unwrap(), turn, macs))
            };
            assert_eq!(turn_of((from, to), Turn::Question), Some(Turn::Question));
            assert_eq!(turn_of((to, from), Turn::Answer), Some(Turn::Answer));
            assert_eq!(turn_of((to, from), Turn::Question), None);
            assert_eq!(turn_of((from, to), Turn::Answer), None);
        }
    }
}
