//! The slow path: what becomes of a packet whose flow is not in the cache.
//!
//! In this order: the session that the packet belongs to; if it begins one, who its destination truly is
//! (published ports), what the rules say, which way it goes, and whom it seems to come from (masquerading). What
//! comes out is a [`Transform`], or a [`Refusal`] that says what is owed to the sender.

use std::net::IpAddr;

use pktio::PktBuf;
use pktio::wire::field::protocol;

use super::desk::Desk;
use super::inspect::{Case, Memory};
use super::ruling::{Ruling, Standing};
use super::service;
use super::transform::{Hop, Transform, Way};
use super::witness::Witness;
use crate::nat::{Embedded, MappingId, Rewrite, Unclaimed, embedded_tuple};
use crate::router::forward::{Obstacle, check};
use crate::router::{IcmpError, NextHop, Resolution, Route, Target};
use crate::rules::{Field, RuleId};
use crate::service::Backend;
use crate::session::{
    Direction, Found, InsertError, Inserted, Key, NewSession, Packet, Session, SessionRef,
};
use crate::{
    BridgeIndex, DropReason, Endpoint, Finding, Nanos, Outward, Translation, Tuple, Usage, Zone,
};

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

const NO_ROUTE: Refusal = Refusal::Tell(DropReason::NoRoute, IcmpError::NetUnreachable);

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

    /// The next hop of a packet of a session. All that go the same way have the same one.
    fn hop_on(
        &mut self,
        desk: &Desk,
        case: &Case,
        frame: &PktBuf,
        session: &Session,
        onward: Key,
    ) -> Result<Hop, Refusal> {
        check(frame.data(), case.layers).map_err(obstacle)?;
        let bridge = BridgeIndex(onward.zone.0);
        let spread = session.initiator.tuple.spread();
        let next = self.next_hop_on(desk, bridge, onward.tuple.destination, spread)?;
        self.resolve(desk, next)
    }

    /// Decides about the first packet of a session.
    fn begin(
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
        let source = self.leave_as(desk, key, (next.bridge, destination.ip), &mut claims)?;
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

    /// Finds the next hop of a packet that begins something.
    fn next_hop(
        &mut self,
        desk: &Desk,
        case: &Case,
        frame: &PktBuf,
        destination: IpAddr,
        spread: u64,
    ) -> Result<NextHop, Refusal> {
        let router = case.router().ok_or(Refusal::Drop(DropReason::NoRoute))?;
        if router.gateway.is_own(destination) {
            return Err(Refusal::Local);
        }
        check(frame.data(), case.layers).map_err(obstacle)?;
        let route = router.routes.lookup(destination);
        let next = route.and_then(|route| self.choose(desk, &route, destination, spread));
        let (bridge, prefix) = (case.bridge(), route.map(|route| route.prefix));
        self.witness.note(|| Finding::Route { bridge, destination, prefix, next });
        let route = route.ok_or(NO_ROUTE)?;
        match next {
            Some(next) => Ok(next),
            None if *route.target == Target::Broadcast => Err(Refusal::Drop(DropReason::Martian)),
            None if *route.target == Target::Local => Err(Refusal::Local),
            None => Err(NO_ROUTE),
        }
    }

    /// The next hop of a packet by a certain bridge: that of its session.
    pub(super) fn next_hop_on(
        &mut self,
        desk: &Desk,
        bridge: BridgeIndex,
        to: Endpoint,
        spread: u64,
    ) -> Result<NextHop, Refusal> {
        let destination = to.ip;
        let router = desk.snapshot.bridge(bridge).and_then(|bridge| bridge.router.as_deref());
        let route = router.and_then(|router| router.routes.lookup(destination));
        let next = route.and_then(|route| self.choose(desk, &route, destination, spread));
        let prefix = route.map(|route| route.prefix);
        self.witness.note(|| Finding::Route { bridge, destination, prefix, next });
        next.filter(|next| next.bridge == bridge).ok_or(NO_ROUTE)
    }

    /// The next hop of a flow: another one of the route than it would pick for as long as that does not answer. It goes on
    /// being asked for, so that its flows come back to it.
    fn choose(
        &mut self,
        desk: &Desk,
        route: &Route,
        destination: IpAddr,
        spread: u64,
    ) -> Option<NextHop> {
        let first = route.next_hop(destination, spread)?;
        let neighbors = &self.tables.neighbors;
        let is_silent = |next: &NextHop| neighbors.is_silent(next.bridge, next.ip);
        if !is_silent(&first) {
            return Some(first);
        }
        let other = route.next_hop_among(spread, |next| !is_silent(next));
        if other.is_some() {
            self.witness.resolve(&mut self.resolver, neighbors, first, desk.now);
        }
        other.or(Some(first))
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

    /// Finds the station of a next hop.
    pub(super) fn resolve(&mut self, desk: &Desk, next: NextHop) -> Result<Hop, Refusal> {
        let from = desk.snapshot.bridge(next.bridge).map(|bridge| bridge.gateway_mac);
        let from = from.ok_or(Refusal::Drop(DropReason::NoRoute))?;
        let neighbors = &self.tables.neighbors;
        match self.witness.resolve(&mut self.resolver, neighbors, next, desk.now) {
            Resolution::Known(neighbor) => {
                Ok(Hop { bridge: next.bridge, from, to: neighbor.mac, neighbor: neighbor.version })
            }
            Resolution::Pending => Err(Refusal::Hold(next)),
            Resolution::Unreachable => {
                Err(Refusal::Tell(DropReason::Unresolved, IcmpError::HostUnreachable))
            }
            Resolution::Busy => Err(Refusal::Drop(DropReason::HoldFull)),
        }
    }

    /// The endpoint that a session's destination sees as its source. What that takes is claimed.
    fn leave_as<'a>(
        &mut self,
        desk: &Desk<'a>,
        key: Key,
        to: (BridgeIndex, IpAddr),
        claims: &mut Claims<'a>,
    ) -> Result<Endpoint, Refusal> {
        let Tuple { protocol, source, .. } = key.tuple;
        let translation = desk.snapshot.translation();
        let rule = match translation.outward(&key, to, claims.usages[0].is_some()) {
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

/// What is owed to the sender of a packet that may not be forwarded.
fn obstacle(obstacle: Obstacle) -> Refusal {
    match obstacle {
        Obstacle::Expired => Refusal::Tell(DropReason::TtlExpired, IcmpError::TimeExceeded),
        Obstacle::BadChecksum => Refusal::Drop(DropReason::MalformedPacket),
        Obstacle::Martian | Obstacle::LinkLocal | Obstacle::Group => {
            Refusal::Drop(DropReason::Martian)
        }
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
