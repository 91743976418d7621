//! The slow path: what becomes of a packet whose flow is not in the cache.
//!
//! In this order: the session that the packet belongs to; if it begins one, who its destination truly is
//! (published ports), what the rules say, which way it goes, and whom it seems to come from (masquerading). What
//! comes out is a [`Transform`], or a [`Refusal`] that says what is owed to the sender.

mod begin;
mod hop;

use pktio::PktBuf;
use pktio::wire::field::protocol;

use super::desk::Desk;
use super::inspect::{Case, Memory};
use super::ruling::{Ruling, Standing};
use super::service;
use super::transform::{Transform, Way};
use super::witness::Witness;
use crate::nat::{Embedded, Rewrite, embedded_tuple};
use crate::router::{IcmpError, NextHop};
use crate::rules::{Field, RuleId};
use crate::session::{Direction, Found, Key, Packet, Session, SessionRef};
use crate::{DropReason, Finding, Tuple};

/// Why a packet does not go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    /// It is lost without a word.
    Drop(DropReason),
    /// A rule denies it.
    Denied(RuleId),
    /// A rule denies it, and whatever else belongs to its flow, as long as the configuration is the same and no
    /// session takes it in.
    Banned(RuleId),
    /// It is lost, and its sender is told.
    Tell(DropReason, IcmpError),
    /// It is lost, and its sender's TCP is told.
    Reset(DropReason),
    /// It waits for the address of its next hop.
    Hold(NextHop),
    /// It is for the gateway itself.
    Local,
    /// It answers a check of a backend.
    Checked,
}

impl<W: Witness> Memory<W> {
    /// Decides about a packet.
    pub(super) fn evaluate(
        &mut self,
        desk: &Desk,
        case: &Case,
        frame: &PktBuf,
    ) -> Result<Decision, Refusal> {
        let Some(tuple) = case.tuple(frame).filter(|_| !case.is_for_group(frame)) else {
            return self.evaluate_apart(desk, case, frame);
        };
        let key = Key::new(case.bridge(), tuple);
        if let Some(found) = self.witness.find(&self.tables, &key) {
            return self.go_on(desk, case, frame, tuple, found);
        }
        let packet = Packet::of(frame.data(), case.layers);
        if desk.answers_check(case, &key, &packet) {
            return Err(Refusal::Checked);
        }
        if packet.can_begin(desk.snapshot.translation().tcp) {
            self.begin(desk, case, frame, key, packet)
        } else {
            self.let_by(desk, case, frame, Standing::Misfit)
        }
    }

    /// Decides about a packet that begins no session: to a group, a fragment of nothing known, and ICMP
    /// other than queries.
    fn evaluate_apart(
        &mut self,
        desk: &Desk,
        case: &Case,
        frame: &PktBuf,
    ) -> Result<Decision, Refusal> {
        if let Some(embedded) = embedded_tuple(frame, case.layers) {
            let key = Key::new(case.bridge(), embedded.tuple.reversed());
            if let Some(found) = self.witness.find(&self.tables, &key) {
                return self.relate(desk, case, frame, embedded, found);
            }
            return self.let_by(desk, case, frame, Standing::Unrelated);
        }
        self.let_by(desk, case, frame, Standing::New)
    }

    /// Decides about a packet that no session knows of, and none will.
    fn let_by(
        &mut self,
        desk: &Desk,
        case: &Case,
        frame: &PktBuf,
        standing: Standing,
    ) -> Result<Decision, Refusal> {
        let ruling = self.consult(desk, case, frame, None, standing)?;
        if !case.is_routed || ruling.to.is_some() {
            return Ok(desk.transform(Way::bridged(ruling.to), ruling).into());
        }
        let (source, destination) = case.addresses(frame)?;
        let next = self.next_hop(desk, case, frame, destination, 0)?;
        let from = case.bridge();
        if desk.snapshot.translation().hides((from, source), (next.bridge, destination)) {
            return Err(Refusal::Drop(DropReason::NotTranslated));
        }
        let hop = self.resolve(desk, next)?;
        Ok(desk.transform(Way::Route(hop), ruling).into())
    }

    /// Decides about an ICMP error about a packet of a session: it goes the way of the answers to that.
    fn relate(
        &mut self,
        desk: &Desk,
        case: &Case,
        frame: &PktBuf,
        embedded: Embedded,
        found: Found,
    ) -> Result<Decision, Refusal> {
        let session = self.witness.session(&self.tables, found, desk.now.seconds());
        let session = session.ok_or(Refusal::Drop(DropReason::InvalidState))?;
        let is_first = found.direction == Direction::Reply && !found.is_replied;
        if is_first
            && embedded.is_unreachable()
            && !W::IS_DRY
            && self.is_about_what_was_sent(frame, &embedded, found.session)
            && let Some(served) = desk.snapshot.translation().served_by(&session)
        {
            service::hear(served, &session, true, desk.now.seconds());
        }
        let ruling = self.consult(desk, case, frame, None, Standing::Related)?;
        if !case.is_routed || ruling.to.is_some() {
            return Ok(desk.transform(Way::bridged(ruling.to), ruling).into());
        }
        let onward = onward(&session, found.direction);
        let hop = self.hop_on(desk, case, frame, &session, onward)?;
        let transform = desk.transform(Way::Route(hop), ruling);
        let quote = Some((embedded, onward.tuple.reversed()));
        Ok(Decision { transform, is_tracked: false, quote })
    }

    /// Whether an ICMP error quotes what may be on its way, of TCP by its number (RFC 5927 section 4.1): who makes it up
    /// does not know that.
    fn is_about_what_was_sent(
        &self,
        frame: &PktBuf,
        embedded: &Embedded,
        session: SessionRef,
    ) -> bool {
        let may_await =
            |sequence| self.tables.sessions.may_await(session, Direction::Original, sequence);
        embedded.tuple.protocol != protocol::TCP || embedded.sequence(frame).is_some_and(may_await)
    }

    /// Decides about a packet of a session.
    fn go_on(
        &mut self,
        desk: &Desk,
        case: &Case,
        frame: &PktBuf,
        tuple: Tuple,
        found: Found,
    ) -> Result<Decision, Refusal> {
        let now = desk.now.seconds();
        let Some(session) = self.witness.session(&self.tables, found, now) else {
            return Err(Refusal::Drop(DropReason::InvalidState));
        };
        let is_first = found.direction == Direction::Reply && !found.is_replied;
        let is_tracked = is_first && !W::IS_DRY && self.hear_backend(desk, case, frame, &session);
        let onward = onward(&session, found.direction);
        let standing = match found.direction {
            Direction::Reply => Standing::Answering,
            Direction::Original if case.part_of.is_some() => Standing::Answering,
            Direction::Original if found.is_replied => Standing::Continuing,
            Direction::Original => Standing::New,
        };
        let inside = Tuple { source: tuple.source, ..onward.tuple };
        let ruling = self.consult(desk, case, frame, Some(inside), standing);
        if ruling.is_err() && found.direction == Direction::Original {
            // It is not allowed any more.
            self.end(desk, found.session);
        }
        let ruling = ruling?;
        let way = if case.is_routed && ruling.to.is_none() {
            Way::Route(self.hop_on(desk, case, frame, &session, onward)?)
        } else {
            Way::bridged(ruling.to)
        };
        let rewrite = rewrite(&tuple, &onward.tuple, way)?;
        let session = Some((found.session, found.direction));
        let awaits_answer =
            !found.is_replied && desk.snapshot.rules().fields().contains(Field::State);
        let transform =
            Transform { rewrite, session, awaits_answer, ..desk.transform(way, ruling) };
        Ok(Decision { is_tracked, ..transform.into() })
    }

    /// Asks the rules about a packet.
    pub(super) fn consult(
        &mut self,
        desk: &Desk,
        case: &Case,
        frame: &PktBuf,
        tuple: Option<Tuple>,
        standing: Standing,
    ) -> Result<Ruling, Refusal> {
        let ruling = desk.consult(case, frame, tuple, standing);
        self.note_ruling(desk, &ruling);
        ruling
    }

    fn note_ruling(&mut self, desk: &Desk, ruling: &Result<Ruling, Refusal>) {
        let rules = desk.snapshot.rules();
        let rule = match ruling {
            Ok(ruling) => ruling.rule,
            Err(Refusal::Denied(rule) | Refusal::Banned(rule)) => Some(*rule),
            Err(_) => None,
        };
        let decided = rule.and_then(|rule| rules.get(rule));
        let decided = || decided.map(|rule| (rule.id, rule.action.verdict));
        if !rules.is_empty() {
            self.witness.note(|| Finding::Rule { decided: decided() });
        }
    }

    /// Counts a packet for a rule.
    #[inline]
    pub(super) fn count(&self, desk: &Desk, rule: RuleId, frame: &PktBuf) {
        self.witness.count(rule, frame.len() as u64, desk.now);
    }

    /// Ends a session, and gives back what it had.
    pub(super) fn end(&self, desk: &Desk, session: SessionRef) {
        if let Some(ended) = self.witness.end(&self.tables, session, desk.now.seconds()) {
            desk.snapshot.translation().release(&ended, desk.now);
        }
    }
}

/// What was decided about a packet.
pub(super) struct Decision {
    /// What becomes of it, and of those that follow it.
    pub(super) transform: Transform,
    /// Its session has counted it already: it began it, or was a backend's first word in it.
    pub(super) is_tracked: bool,
    /// It is an ICMP error, and this is what it quotes, and what the quoted packet was before it was
    /// translated.
    pub(super) quote: Option<(Embedded, Tuple)>,
}

impl From<Transform> for Decision {
    fn from(transform: Transform) -> Self {
        Self { transform, is_tracked: false, quote: None }
    }
}

impl Desk<'_> {
    /// What becomes of the packets of a flow that a rule denies.
    pub(super) fn ban(&self, rule: RuleId) -> Transform {
        self.transform(Way::Nowhere(rule), Ruling::default())
    }

    fn transform(&self, way: Way, ruling: Ruling) -> Transform {
        Transform {
            generation: self.snapshot.generation(),
            way,
            rewrite: None,
            session: None,
            rule: ruling.rule,
            has_steps: ruling.has_steps,
            awaits_answer: false,
            exit: None,
        }
    }
}

/// What packets of a session's direction become, and where they go out.
fn onward(session: &Session, direction: Direction) -> Key {
    let far = match direction {
        Direction::Original => session.responder,
        Direction::Reply => session.initiator,
    };
    Key { zone: far.zone, tuple: far.tuple.reversed() }
}

/// The rewrite from one tuple to another, by a router. Bridged packets stay as they are.
fn rewrite(old: &Tuple, new: &Tuple, way: Way) -> Result<Option<Rewrite>, Refusal> {
    if !matches!(way, Way::Route(_)) {
        return Ok(None);
    }
    let rewrite = Rewrite::between(old, new).ok_or(Refusal::Drop(DropReason::MalformedPacket))?;
    Ok(Some(rewrite.taking_a_hop()))
}
