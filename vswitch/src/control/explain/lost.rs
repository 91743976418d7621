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

    /// Which of them a packet is, if it is one.
    fn turn_of(&self, packet: Tuple) -> Option<Turn> {
        let turns = [(Turn::Question, packet), (Turn::Answer, packet.reversed())];
        turns.into_iter().find(|(_, asking)| self.asks(asking)).map(|(turn, _)| turn)
    }

    fn asks(&self, packet: &Tuple) -> bool {
        let Tuple { protocol, source, destination } = packet;
        let is_from = source.ip == self.ends.from.ip || Some(source.ip) == self.known_as;
        let is_to = destination.ip == self.ends.to;
        let is_meant = Protocol::of(*protocol) == self.why.protocol;
        is_from && is_to && is_meant && self.port().is_none_or(|port| destination.port == port)
    }

    /// The port at which it asks, if the protocol has any: of a ping what stands for it, see [`Tuple`].
    fn port(&self) -> Option<u16> {
        match self.why.protocol {
            Protocol::Icmp => Some(echo(Turn::Question, self.ends.to.is_ipv4()).into()),
            protocol => self.why.port.filter(|_| protocol.has_ports()),
        }
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
            let tuple = describe::tuple(offender.headers())?;
            question.turn_of(tuple).filter(|_| self.is_near(question.ends, offender.port))
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
