//! [`Ruling`]: what the rules say about a packet.
//!
//! Rules are stateful: what continues, answers or reports an error about an allowed connection passes with it.
//! A rule that denies therefore is for what begins something, and for what goes on in the direction in which
//! it began: a connection is allowed for as long as its first packet would be. A rule that names connection
//! states means them, and is for every packet that is in one of them. What a rule does to packets on their
//! way it does to all that it matches, answers included.

use pktio::PktBuf;
use pktio::wire::{EthernetHeader, Fragment, Layers};

use super::bridge::{Ingress, Sender};
use super::desk::Desk;
use super::evaluate::Refusal;
use super::inspect::{Case, Memory};
use super::steps::take_steps;
use super::witness::Witness;
use crate::router::IcmpError;
use crate::rules::{ConnState, Packet, Rejection, Rule, RuleId, Verdict};
use crate::{DropReason, PortIndex, Tuple, Vid};

/// What the rules say about a packet that may pass.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Ruling {
    /// The rule that decided, if any did.
    pub(super) rule: Option<RuleId>,
    /// Steps are taken on the way.
    pub(super) has_steps: bool,
    /// The port that it is sent to, whatever its address.
    pub(super) to: Option<PortIndex>,
}

/// How a packet stands to connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// It is no IP.
    Stateless,
    /// It begins one, or the one that it belongs to was not answered yet.
    New,
    /// It goes on in the direction in which an answered one began.
    Continuing,
    /// It answers to one, or is a later piece of one of its packets.
    Answering,
    /// It reports an error about one.
    Related,
    /// It reports an error about none that is known.
    Unrelated,
    /// It does not fit the connection that it belongs to, or cannot begin the one that it would.
    Misfit,
}

impl Standing {
    fn state(self) -> Option<ConnState> {
        match self {
            Self::Stateless => None,
            Self::New => Some(ConnState::New),
            Self::Continuing | Self::Answering => Some(ConnState::Established),
            Self::Related => Some(ConnState::Related),
            Self::Unrelated | Self::Misfit => Some(ConnState::Invalid),
        }
    }
}

impl Ruling {
    /// What a rule says.
    fn of(rule: &Rule) -> Result<Self, Refusal> {
        let to = match rule.action.verdict {
            Verdict::Allow => None,
            Verdict::Forward(port) => Some(port),
            Verdict::Drop | Verdict::Reject(_) => return Err(Refusal::Denied(rule.id)),
        };
        Ok(Self { rule: Some(rule.id), has_steps: !rule.action.steps.is_empty(), to })
    }
}

impl Ingress<'_> {
    /// A frame that came in by this port, as the rules see it.
    pub(super) fn view(
        &self,
        frame: &PktBuf,
        layers: Option<&Layers>,
        vid: Vid,
    ) -> Result<Packet, Refusal> {
        let packet = Packet::read(frame.data(), layers, (self.index, self.port.bridge, vid));
        let packet = packet.ok_or(Refusal::Drop(DropReason::Runt))?;
        Ok(Packet { vni: self.port.vni, ..packet })
    }
}

impl Case<'_> {
    /// The packet as the rules see it. `tuple` is between whom it truly is, if that is known.
    fn view(&self, frame: &PktBuf, tuple: Option<Tuple>) -> Result<Packet, Refusal> {
        let packet = self.from.view(frame, Some(self.layers), self.vid)?;
        // A later piece is known by the ports of the first.
        let fragment = self.part_of.map_or(packet.fragment, |_| Fragment::Whole);
        Ok(Packet { tuple: tuple.or(packet.tuple), fragment, ..packet })
    }
}

impl Desk<'_> {
    /// Asks the rules about a packet.
    ///
    /// # Errors
    /// Why it goes no further.
    #[inline]
    pub(super) fn consult(
        &self,
        case: &Case,
        frame: &PktBuf,
        tuple: Option<Tuple>,
        standing: Standing,
    ) -> Result<Ruling, Refusal> {
        if self.snapshot.rules().is_empty() && standing != Standing::Misfit {
            return Ok(Ruling::default());
        }
        self.judge(&case.view(frame, tuple)?, standing)
    }

    /// What the rules say about a packet as they see it.
    ///
    /// # Errors
    /// Why it goes no further.
    pub(super) fn judge(&self, packet: &Packet, standing: Standing) -> Result<Ruling, Refusal> {
        let rules = self.snapshot.rules();
        let found = |state| rules.lookup(&Packet { state, ..*packet });
        let rule = found(standing.state());
        let means_it = |rule: &&Rule| rule.matches.states.is_some();
        match (standing, rule) {
            (Standing::Misfit, rule) => match rule.filter(means_it) {
                Some(rule) => Ruling::of(rule),
                None => Err(Refusal::Drop(DropReason::InvalidState)),
            },
            (_, None) => Ok(Ruling::default()),
            (_, Some(rule)) if !rule.denies() || means_it(&rule) => Ruling::of(rule),
            (Standing::Answering | Standing::Related, Some(_)) => Ok(Ruling::default()),
            (Standing::Continuing, Some(_)) => {
                found(Some(ConnState::New)).map_or(Ok(Ruling::default()), Ruling::of)
            }
            (_, Some(rule)) => Ruling::of(rule),
        }
    }

    /// Asks the rules about the first packet that is seen of a connection, which may have begun long
    /// before: then either end may be who began it, and of the rules for both ways the more important
    /// one counts. Otherwise, what is denied to one end would go on as the other's.
    ///
    /// # Errors
    /// Why it goes no further.
    pub(super) fn consult_first(
        &self,
        case: &Case,
        frame: &PktBuf,
        tuple: Tuple,
        is_midway: bool,
    ) -> Result<Ruling, Refusal> {
        let ruling = self.consult(case, frame, Some(tuple), Standing::New);
        let ruling = ruling.map_err(|refusal| match refusal {
            // Nothing but what every packet of the flow has was looked at.
            Refusal::Denied(rule) => Refusal::Banned(rule),
            refusal => refusal,
        })?;
        let rules = self.snapshot.rules();
        if !is_midway || rules.is_empty() {
            return Ok(ruling);
        }
        let answer = self.answer_to(case, &case.view(frame, Some(tuple))?);
        let other = rules.lookup(&answer).filter(|other| other.denies());
        let importance = |rule: &Rule| rule.priority;
        let own = ruling.rule.and_then(|rule| rules.get(rule)).map(importance);
        match other {
            Some(other) if Some(importance(other)) > own => Err(Refusal::Denied(other.id)),
            _ => Ok(ruling),
        }
    }

    /// The packet as its destination would send it, if that began the connection.
    fn answer_to(&self, case: &Case, packet: &Packet) -> Packet {
        let fdb = &case.from.bridge.fdb;
        let port = fdb.lookup(packet.destination_mac, case.vid, self.seconds);
        Packet {
            // Behind the gateway nobody knows by which port it would come.
            ingress: port.unwrap_or(PortIndex(u16::MAX)),
            source_mac: packet.destination_mac,
            destination_mac: packet.source_mac,
            tuple: packet.tuple.map(Tuple::reversed),
            state: Some(ConnState::New),
            ..*packet
        }
    }
}

impl<W: Witness> Memory<W> {
    /// Decides about a frame that is no IP, in a place where rules apply.
    pub(super) fn inspect_stateless(
        &mut self,
        desk: &mut Desk,
        from: &Ingress,
        mut frame: PktBuf,
        mut vid: Vid,
    ) {
        let seen = from.view(&frame, None, vid);
        let ruling = match seen.and_then(|seen| desk.judge(&seen, Standing::Stateless)) {
            Ok(ruling) => ruling,
            Err(Refusal::Denied(rule)) => {
                let frame = self.last_steps(desk, from, None, frame, vid, rule);
                return desk.refuse(frame, DropReason::RuleDenied);
            }
            Err(_) => return desk.refuse(frame, DropReason::Runt),
        };
        if let Some(rule) = ruling.rule {
            self.count(desk, rule, &frame);
            match take_steps::<W>(desk, from, None, &mut frame, vid, rule) {
                Ok(onward) => vid = onward,
                Err(reason) => return desk.refuse(frame, reason),
            }
        }
        match ruling.to {
            Some(to) => {
                let result = desk.forward(Sender::Port(from), frame, to, vid);
                desk.settle(result);
            }
            None => self.pass(desk, from, frame, None, vid),
        }
    }

    /// A rule denies a packet: its sender is told if the rule says so.
    pub(super) fn deny(&mut self, desk: &mut Desk, case: Case, frame: PktBuf, rule: RuleId) {
        let how = desk.snapshot.rules().get(rule).map(|rule| rule.action.verdict);
        let frame = self.last_steps(desk, case.from, Some(case.layers), frame, case.vid, rule);
        let is_tcp = case.layers.protocol == pktio::wire::field::protocol::TCP;
        let refusal = match how {
            Some(Verdict::Reject(Rejection::ResetOrIcmp)) if is_tcp => {
                Refusal::Reset(DropReason::RuleDenied)
            }
            Some(Verdict::Reject(_)) => {
                Refusal::Tell(DropReason::RuleDenied, IcmpError::AdminProhibited)
            }
            _ => Refusal::Drop(DropReason::RuleDenied),
        };
        self.refuse(desk, case, frame, refusal);
    }

    /// Counts a packet that a rule denies, and lets others have their copies of it.
    fn last_steps(
        &self,
        desk: &mut Desk,
        from: &Ingress,
        layers: Option<&Layers>,
        mut frame: PktBuf,
        vid: Vid,
        rule: RuleId,
    ) -> PktBuf {
        self.count(desk, rule, &frame);
        // It is lost whether or not it comes too fast as well.
        let _ = take_steps::<W>(desk, from, layers, &mut frame, vid, rule);
        frame
    }

    /// A frame goes on in its bridge, to whom it is addressed. What all hear, and what is no IP, may be for
    /// the gateway as well.
    pub(super) fn pass(
        &mut self,
        desk: &mut Desk,
        from: &Ingress,
        mut frame: PktBuf,
        layers: Option<&Layers>,
        vid: Vid,
    ) {
        let to = EthernetHeader::read(frame.data()).map(|header| header.dst);
        if layers.is_none() || to.is_some_and(|to| to.is_group()) {
            match self.attend(desk, from, frame, layers, vid) {
                Some(passed) => frame = passed,
                None => return,
            }
        }
        if to.is_some_and(|to| from.is_gateways(to, vid)) {
            return desk.refuse(frame, DropReason::Unserved);
        }
        self.witness.note(|| desk.link(from.port.bridge, &frame, vid));
        let result = desk.deliver(Sender::Port(from), from.bridge, frame, vid);
        self.settle(desk, from, vid, result);
    }
}
