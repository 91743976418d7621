//! What was really lost between two ends lately, by the ledger.

use std::net::IpAddr;
use std::time::Duration;

use ctl::response::LostPacket;
use ctl::{CtlError, Protocol, Why};
use flows::{DropSide, Ledger, Nanos, Offender, PortIndex, Tuple};

use super::why::Ends;
use crate::control::describe;
use crate::control::switch::Switch;

/// What is longer ago has nothing to do with the question any more.
const LATELY: Duration = Duration::from_secs(300);

/// The packets that a question is about, whichever way they go.
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

    /// Whether it is about a packet. With a port, it is about no others.
    fn is_about(&self, packet: &Tuple) -> bool {
        self.is_way(packet) || self.is_way(&packet.reversed())
    }

    fn is_way(&self, packet: &Tuple) -> bool {
        let Tuple { protocol, source, destination } = packet;
        let is_from = source.ip == self.ends.from.ip || Some(source.ip) == self.known_as;
        let is_to = destination.ip == self.ends.to;
        let is_asked =
            |port| Protocol::of(*protocol) == self.why.protocol && destination.port == port;
        is_from && is_to && self.why.port.is_none_or(is_asked)
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
        let is_meant = |offender: &&Offender| {
            self.is_near(question.ends, offender.port)
                && describe::tuple(offender.headers())
                    .is_some_and(|tuple| question.is_about(&tuple))
        };
        let mut lost: Vec<_> =
            ledger.offenders().iter().filter(is_lately).filter(is_meant).collect();
        lost.sort_by_key(|offender| std::cmp::Reverse(offender.at));
        // Of several workers only the last is of interest.
        let mut kinds = Vec::new();
        lost.retain(|offender| {
            let kind = (offender.port, offender.side, offender.reason);
            let is_new = !kinds.contains(&kind);
            kinds.push(kind);
            is_new
        });
        lost.into_iter().map(|offender| self.lost(offender, now)).collect()
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

    fn lost(&self, offender: &Offender, now: Nanos) -> LostPacket {
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
        }
    }
}

/// What to add to the answer for a tired person.
pub(super) fn remark(lost: &[LostPacket]) -> String {
    let Some(LostPacket { port, side, reason, milliseconds_ago, .. }) = lost.first() else {
        return String::new();
    };
    let way = if side == "in" { "coming in by" } else { "going out by" };
    let seconds = milliseconds_ago / 1000;
    format!(" (the last such packet that was really lost: {seconds} s ago, {way} {port}, {reason})")
}
