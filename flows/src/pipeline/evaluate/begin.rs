//! The first packet of a session: what the session takes before it begins, and how it is entered.

use std::net::IpAddr;

use pktio::PktBuf;

use super::super::desk::Desk;
use super::super::inspect::{Case, Memory};
use super::super::ruling::Ruling;
use super::super::service;
use super::super::transform::{Transform, Way};
use super::super::witness::Witness;
use super::hop::obstacle;
use super::{Decision, Refusal, rewrite};
use crate::nat::{MappingId, Unclaimed};
use crate::router::IcmpError;
use crate::router::forward::check;
use crate::rules::Field;
use crate::service::Backend;
use crate::session::{Direction, InsertError, Inserted, Key, NewSession, Packet, Session};
use crate::{
    BridgeIndex, DropReason, Endpoint, Inward, Nanos, Outward, Translation, Tuple, Usage, Zone,
};

impl<W: Witness> Memory<W> {
    /// Decides about the first packet of a session.
    pub(super) fn begin(
        &mut self,
        desk: &Desk,
        case: &Case,
        frame: &PktBuf,
        key: Key,
        packet: Packet,
    ) -> Result<Decision, Refusal> {
        let tuple = key.tuple;
        let is_midway = packet.is_midway();
        if !case.is_routed {
            let ruling = self.consult_first(desk, case, frame, tuple, is_midway)?;
            let claims = Claims::none(desk);
            return self.establish(desk, case, frame, key, Plan::bridged(key, ruling), claims);
        }
        let translation = desk.snapshot.translation();
        let now = desk.now.seconds();
        let inward = self.witness.inward(&self.tables, translation, &key, now);
        let inward = inward.map_err(|why| service::refusal(why, key.tuple.protocol))?;
        if inward.is_none() && translation.may_be_claimed(key) {
            return Err(Refusal::Drop(DropReason::NotTranslated));
        }
        let mut claims = Claims::none(desk);
        claims.mappings[0] = inward.and_then(|inward| inward.mapping);
        claims.usages[0] = inward.map(|inward| inward.usage);
        claims.backend = inward.and_then(|inward| inward.service).map(|(_, backend)| backend);
        let destination = inward.map_or(tuple.destination, |to| to.internal);
        let inside = Tuple { destination, ..tuple };
        let ruling = self.consult_first(desk, case, frame, inside, is_midway);
        let ruling = ruling.map_err(|refusal| match refusal {
            // Whom it is for may be another tomorrow.
            Refusal::Banned(rule) if !translation.is_settled(&key) => Refusal::Denied(rule),
            refusal => refusal,
        })?;
        if ruling.to.is_some() {
            let claims = Claims::none(desk);
            return self.establish(desk, case, frame, key, Plan::bridged(key, ruling), claims);
        }
        let next = match inward {
            Some(to) => {
                check(frame.data(), case.layers).map_err(obstacle)?;
                self.next_hop_on(desk, to.bridge, destination, tuple.spread())?
            }
            None => self.next_hop(desk, case, frame, destination.ip, tuple.spread())?,
        };
        let hop = self.resolve(desk, next).inspect_err(|refusal| {
            if let Some(served) = inward.and_then(|to| to.service).filter(|_| !W::IS_DRY) {
                service::put_off(served, refusal, now);
            }
        })?;
        let to = (next.bridge, destination.ip);
        let source = self.leave_as(desk, key, to, inward.as_ref(), &mut claims)?;
        let outside = Tuple { source, ..inside };
        let plan = Plan { zone: next.bridge.into(), outside, way: Way::Route(hop), ruling };
        self.establish(desk, case, frame, key, plan, claims)
    }

    /// Enters a session, and compiles what becomes of its packets.
    fn establish(
        &mut self,
        desk: &Desk,
        case: &Case,
        frame: &PktBuf,
        key: Key,
        plan: Plan,
        claims: Claims,
    ) -> Result<Decision, Refusal> {
        let new = NewSession {
            initiator: key,
            responder: Key { zone: plan.zone, tuple: plan.outside.reversed() },
            entrance: case.entrance(),
            packet: Packet::of(frame.data(), case.layers),
        };
        let rewrite = rewrite(&key.tuple, &plan.outside, plan.way)?;
        let Claims { translation, now, .. } = claims;
        let mut has_ended_an_offered = false;
        let evict = |evicted: &Session| {
            // What is offered was decided about a second packet.
            has_ended_an_offered |= evicted.original.packets.max(evicted.reply.packets) > 1;
            translation.release(evicted, now);
        };
        let (witness, tables, policy) = (&mut self.witness, &self.tables, translation.tcp);
        let inserted = witness.insert(tables, &new, now.seconds(), policy, evict);
        if has_ended_an_offered && desk.snapshot.takes_shortcuts() {
            self.offers.note_move();
        }
        match inserted.map_err(refused)? {
            Inserted::New(session) => {
                if !W::IS_DRY {
                    claims.keep();
                }
                let session = Some((session, Direction::Original));
                let transform = desk.transform(plan.way, plan.ruling);
                let awaits_answer = desk.snapshot.rules().fields().contains(Field::State);
                Ok(Decision {
                    transform: Transform { rewrite, session, awaits_answer, ..transform },
                    is_tracked: true,
                    quote: None,
                })
            }
            Inserted::Existing(found) => {
                drop(claims);
                self.go_on(desk, case, frame, key.tuple, found)
            }
        }
    }

    /// Asks the rules about the first packet that is seen of a connection.
    fn consult_first(
        &mut self,
        desk: &Desk,
        case: &Case,
        frame: &PktBuf,
        tuple: Tuple,
        is_midway: bool,
    ) -> Result<Ruling, Refusal> {
        let ruling = desk.consult_first(case, frame, tuple, is_midway);
        self.note_ruling(desk, &ruling);
        ruling
    }

    /// The endpoint that a session's destination sees as its source. What that takes is claimed.
    fn leave_as<'a>(
        &mut self,
        desk: &Desk<'a>,
        key: Key,
        to: (BridgeIndex, IpAddr),
        inward: Option<&Inward<'_>>,
        claims: &mut Claims<'a>,
    ) -> Result<Endpoint, Refusal> {
        let Tuple { protocol, source, .. } = key.tuple;
        let translation = desk.snapshot.translation();
        let rule = match translation.outward(&key, to, inward) {
            Outward::As(endpoint, usage) => {
                claims.usages[1] = usage;
                return Ok(endpoint);
            }
            Outward::Nothing => {
                let reason = DropReason::NoExternalAddress;
                return Err(Refusal::Tell(reason, IcmpError::SourceRefused));
            }
            Outward::Claimed(rule) => rule,
        };
        let inside = (key.zone, protocol, source);
        let offer = (&rule.pool, &translation.published);
        let claim = self.witness.claim(&translation.mappings, inside, offer, desk.now);
        let claim = claim.map_err(|error| {
            if !W::IS_DRY {
                rule.usage.refuse();
            }
            match error {
                Unclaimed::Busy => Refusal::Drop(DropReason::NatExhausted),
                Unclaimed::Protocol { .. } => {
                    Refusal::Tell(DropReason::NotTranslated, IcmpError::AdminProhibited)
                }
                _ => Refusal::Tell(DropReason::NatExhausted, IcmpError::AdminProhibited),
            }
        })?;
        claims.usages[1] = Some(&rule.usage);
        claims.mappings[1] = Some(claim.mapping);
        Ok(claim.external)
    }
}

/// The mappings that a session claims before it begins. If it does not begin, they are given back.
struct Claims<'a> {
    translation: &'a Translation,
    now: Nanos,
    mappings: [Option<MappingId>; 2],
    /// Of the rules that translate its destination and its source.
    usages: [Option<&'a Usage>; 2],
    /// Who serves it.
    backend: Option<&'a Backend>,
}

impl<'a> Claims<'a> {
    fn none(desk: &Desk<'a>) -> Self {
        let (translation, now) = (desk.snapshot.translation(), desk.now);
        Self { translation, now, mappings: [None; 2], usages: [None; 2], backend: None }
    }

    /// The session began: they are its own.
    fn keep(mut self) {
        self.mappings = [None; 2];
        self.usages.into_iter().flatten().for_each(Usage::begin);
        self.backend.iter().for_each(|backend| backend.health.begin());
    }
}

impl Drop for Claims<'_> {
    fn drop(&mut self) {
        for mapping in self.mappings.into_iter().flatten() {
            self.translation.mappings.release(mapping, self.now);
        }
    }
}

/// What a session begins with.
struct Plan {
    /// Where its replies come in.
    zone: Zone,
    /// Its packets as they go out.
    outside: Tuple,
    way: Way,
    ruling: Ruling,
}

impl Plan {
    /// Of a session between stations of one bridge.
    fn bridged(key: Key, ruling: Ruling) -> Self {
        let way = Way::bridged(ruling.to);
        Self { zone: key.zone, outside: key.tuple, way, ruling }
    }
}

/// Why a session could not be entered.
fn refused(error: InsertError) -> Refusal {
    Refusal::Drop(match error {
        InsertError::Full { .. } => DropReason::SessionsFull,
        InsertError::Clash { .. } => DropReason::NatExhausted,
        InsertError::Invalid(_) | InsertError::Ended => DropReason::InvalidState,
    })
}
