//! Looking into packets: those for the gateway, and those that rules apply to.
//!
//! A packet whose flow is [known](super::known) is transformed as was decided about the first one ([`Transform`]); the
//! first one of a flow, and what belongs to none, is [evaluated](super::evaluate).

use std::net::IpAddr;
use std::sync::Arc;

use pktio::wire::field::protocol;
use pktio::wire::{EthernetHeader, Fragment, Layers};
use pktio::{Burst, PktBuf};

use super::bridge::{Ingress, Sender, Step};
use super::desk::Desk;
use super::evaluate::{Decision, Refusal};
use super::gateway::Visitor;
use super::ruling::{Ruling, Standing};
use super::service;
use super::sight::Sight;
use super::steps::take_steps;
use super::transform::{Change, Flows, Transform, Way};
use super::tunnel::Tunnelled;
use super::witness::Witness;
use crate::cache::Sought;
use crate::nat::{Datagram, FragmentLimits, Fragments};
use crate::offer::Offers;
use crate::router::{ErrorLimiter, ErrorRate, Hold, HoldLimits, Resolver, VisitLimiter};
use crate::session::{Direction, Packet, Session, SessionRef, Verdict};
use crate::{BridgeIndex, DropReason, PortIndex, RouterPort, Tables, Tuple, Vid};

/// Neighbours that one worker asks for at a time.
const QUESTIONS: usize = 256;

/// What deciding takes besides the configuration: what a worker shares with others, and what waits with it.
#[derive(Debug)]
pub(super) struct Memory<W> {
    pub(super) tables: Arc<Tables>,
    /// Who watches.
    pub(super) witness: W,
    /// What the first look at each frame of the burst at hand found out.
    pub(super) steps: Vec<Step>,
    /// What the second look at those found out that are looked into, at the same positions.
    pub(super) sights: Vec<Sight>,
    pub(super) resolver: Resolver,
    pub(super) hold: Hold,
    /// Packets that waited, to be decided about: empty between turns.
    pub(super) settled: Vec<(PortIndex, PktBuf)>,
    pub(super) fragments: Fragments,
    pub(super) errors: ErrorLimiter,
    /// Packets for services of gateways, to be handed to whoever serves: empty between turns.
    pub(super) visitors: Vec<Visitor>,
    pub(super) visits: VisitLimiter,
    /// Packets for endpoints of tunnels, to be unwrapped: empty between turns.
    pub(super) tunnelled: Vec<Tunnelled>,
    /// Of a super-frame that is fragmented, and its pieces: empty between frames.
    pub(super) segments: Burst,
    pub(super) pieces: Burst,
    pub(super) offers: Offers,
}

/// A packet that is looked into.
#[derive(Clone, Copy)]
pub(super) struct Case<'a> {
    pub(super) from: &'a Ingress<'a>,
    pub(super) vid: Vid,
    pub(super) layers: &'a Layers,
    /// It is addressed to the gateway's station.
    pub(super) is_routed: bool,
    /// It is a fragment of a packet with this tuple, which is not in it.
    pub(super) part_of: Option<Tuple>,
}

impl<'a> Case<'a> {
    /// The number of the bridge that it is in, or of the VLAN if that is a domain of its own.
    #[inline]
    pub(super) fn bridge(&self) -> BridgeIndex {
        self.from.number(self.vid)
    }

    /// The router that its sender has.
    pub(super) fn router(&self) -> Option<&'a RouterPort> {
        self.from.router(self.vid)
    }

    /// Whether the frame goes to a group of stations.
    pub(super) fn is_for_group(&self, frame: &PktBuf) -> bool {
        EthernetHeader::read(frame.data()).is_some_and(|header| header.dst.is_group())
    }

    /// The port that it came in by, if that is one of a container or a link. A tunnel's remote has another number
    /// whenever it is heard of again.
    pub(super) fn entrance(&self) -> Option<PortIndex> {
        Some(self.from.index).filter(|_| self.from.port.vni.is_none())
    }

    /// Between whom it is, and by which ports.
    pub(super) fn tuple(&self, frame: &PktBuf) -> Option<Tuple> {
        self.part_of.or_else(|| Tuple::of(frame.data(), self.layers))
    }

    /// Source and destination address.
    pub(super) fn addresses(&self, frame: &PktBuf) -> Result<(IpAddr, IpAddr), Refusal> {
        let addresses = self.layers.addresses(frame.data());
        addresses.ok_or(Refusal::Drop(DropReason::MalformedPacket))
    }
}

impl<W: Witness> Memory<W> {
    pub(super) fn new(tables: Arc<Tables>, witness: W) -> Self {
        let sizes = tables.sizes();
        Self {
            tables,
            witness,
            steps: Vec::with_capacity(Burst::CAPACITY),
            sights: vec![Sight::NONE; Burst::CAPACITY],
            resolver: Resolver::new(QUESTIONS),
            hold: Hold::new(HoldLimits::default()),
            settled: Vec::with_capacity(HoldLimits::default().total),
            fragments: Fragments::new(FragmentLimits::default(), sizes.seed),
            errors: ErrorLimiter::new(ErrorRate::default(), sizes.seed),
            visitors: Vec::with_capacity(Burst::CAPACITY),
            visits: VisitLimiter::default(),
            tunnelled: Vec::with_capacity(Burst::CAPACITY),
            segments: Burst::new(),
            pieces: Burst::new(),
            offers: Offers::new(),
        }
    }

    /// Changes places with somebody else who knows something: all but who watches.
    pub(super) fn exchange<V>(&mut self, other: &mut Memory<V>) {
        use std::mem::swap;
        // By name, so that whatever else is known one day is thought of.
        let Self {
            tables: _,
            witness: _,
            steps,
            sights,
            resolver,
            hold,
            settled,
            fragments,
            errors,
            visitors,
            visits,
            tunnelled,
            segments,
            pieces,
            offers,
        } = self;
        swap(steps, &mut other.steps);
        swap(sights, &mut other.sights);
        swap(resolver, &mut other.resolver);
        swap(hold, &mut other.hold);
        swap(settled, &mut other.settled);
        swap(fragments, &mut other.fragments);
        swap(errors, &mut other.errors);
        swap(visitors, &mut other.visitors);
        swap(visits, &mut other.visits);
        swap(tunnelled, &mut other.tunnelled);
        swap(segments, &mut other.segments);
        swap(pieces, &mut other.pieces);
        swap(offers, &mut other.offers);
    }

    /// Decides about a frame by more than its addresses on the link.
    #[inline(never)]
    pub(super) fn inspect(
        &mut self,
        desk: &mut Desk,
        flows: &mut Flows,
        from: &Ingress,
        frame: PktBuf,
        sight: &Sight,
    ) {
        let Sight { vid, is_routed, ref layers, ref flow } = *sight;
        if is_routed
            && let Ok(Some(layers)) = layers
            && let Some(endpoint) = from.endpoint_of(&frame, layers, vid)
        {
            return self.take_out(desk, frame, layers, endpoint);
        }
        match layers {
            Ok(Some(layers)) if is_routed || from.port.is_inspected => {
                let case = Case { from, vid, layers, is_routed, part_of: None };
                match layers.fragment {
                    Fragment::Whole => self.decide(desk, flows, &case, frame, flow.as_ref()),
                    _ => self.inspect_fragment(desk, flows, &case, frame),
                }
            }
            Ok(None) if from.port.is_inspected => self.inspect_stateless(desk, from, frame, vid),
            Ok(layers) => self.pass(desk, from, frame, layers.as_ref(), vid),
            Err(reason) => desk.refuse(frame, *reason),
        }
    }

    /// Decides about a fragment: all of a datagram go the way of its first one, which alone says by which
    /// ports it goes.
    fn inspect_fragment(
        &mut self,
        desk: &mut Desk,
        flows: &mut Flows,
        case: &Case,
        mut frame: PktBuf,
    ) {
        let zone = case.bridge().into();
        let Some(datagram) = Datagram::of(zone, frame.data(), case.layers) else {
            return desk.refuse(frame, DropReason::MalformedPacket);
        };
        if case.layers.fragment == Fragment::First {
            if let Some(tuple) = case.tuple(&frame) {
                for (ingress, waited) in self.fragments.first(datagram, tuple, desk.now) {
                    desk.ledger.port_mut(ingress).held -= 1;
                    self.settled.push((ingress, waited));
                }
            }
            return self.decide(desk, flows, case, frame, None);
        }
        if let Some(tuple) = self.fragments.tuple_of(&datagram, desk.now) {
            let case = Case { part_of: Some(tuple), ..*case };
            return self.decide(desk, flows, &case, frame, None);
        }
        if !case.from.restore(&mut frame, case.vid) {
            return desk.refuse(frame, DropReason::NoBuffer);
        }
        match self.fragments.hold(datagram, case.from.index, frame, desk.now) {
            Ok(()) => desk.hold(case.from.index),
            Err(frame) => desk.refuse(frame, DropReason::FragmentsFull),
        }
    }

    /// Decides about a packet by the slow path, and remembers what comes out.
    #[inline(never)]
    fn decide(
        &mut self,
        desk: &mut Desk,
        flows: &mut Flows,
        case: &Case,
        frame: PktBuf,
        flow: Option<&Sought>,
    ) {
        let decision = match self.evaluate_and_track(desk, case, &frame) {
            Ok(decision) => decision,
            Err(refusal) => {
                if let (Refusal::Banned(rule), Some(flow)) = (refusal, flow) {
                    flows.put(flow, desk.ban(rule));
                }
                return self.refuse(desk, *case, frame, refusal);
            }
        };
        let Decision { transform, is_tracked, quote } = decision;
        if !is_tracked {
            return self.misfit(desk, case, frame, &transform);
        }
        if let Some(flow) = flow {
            flows.put(flow, transform);
        }
        match (&quote, &transform.way) {
            (Some((embedded, was)), Way::Route(hop)) => {
                self.send_hop(desk, case, frame, hop, Change::Quote(embedded, *was));
            }
            _ => self.apply(desk, case, frame, &transform),
        }
    }

    /// A packet that does not fit its session is lost, unless a rule for such packets lets it pass.
    #[cold]
    pub(super) fn misfit(
        &mut self,
        desk: &mut Desk,
        case: &Case,
        frame: PktBuf,
        transform: &Transform,
    ) {
        match self.consult(desk, case, &frame, None, Standing::Misfit) {
            Ok(Ruling { rule, has_steps, .. }) => {
                let transform = Transform { rule, has_steps, ..*transform };
                self.apply(desk, case, frame, &transform);
            }
            Err(refusal) => self.refuse(desk, *case, frame, refusal),
        }
    }

    /// Decides about a packet, and tells its session of it: the decision is untracked if it does not fit.
    /// A packet whose session is over begins another.
    fn evaluate_and_track(
        &mut self,
        desk: &Desk,
        case: &Case,
        frame: &PktBuf,
    ) -> Result<Decision, Refusal> {
        for _ in 0..2 {
            let decision = self.evaluate(desk, case, frame)?;
            let verdict = match decision.is_tracked {
                true => Verdict::Valid,
                false => self.track(desk, || *case, frame, &decision.transform),
            };
            match verdict {
                Verdict::Valid => {
                    self.note_entrance(case, &decision.transform);
                    return Ok(Decision { is_tracked: true, ..decision });
                }
                Verdict::Invalid(_) => return Ok(decision),
                Verdict::Superseding | Verdict::Ended => {}
            }
        }
        Err(Refusal::Drop(DropReason::InvalidState))
    }

    /// Tells a packet's session by which port it came in.
    fn note_entrance(&self, case: &Case, transform: &Transform) {
        if let (Some((session, direction)), Some(port)) = (transform.session, case.entrance())
            && !W::IS_DRY
        {
            self.tables.sessions.note_entrance(session, direction, port);
        }
    }

    /// Hears the first answer in a session, if that was given to a backend. Returns whether the session was told of it:
    /// that is before it is known whether the client can be reached, so that clients who are not there are not held
    /// against the backend. What does not fit the session is not the backend's word.
    pub(super) fn hear_backend(
        &self,
        desk: &Desk,
        case: &Case,
        frame: &PktBuf,
        session: &Session,
    ) -> bool {
        let Some((service, backend)) = desk.snapshot.translation().served_by(session) else {
            return false;
        };
        let whose = (session.reference, Direction::Reply);
        if self.track_closely(desk, case, frame, whose) != Verdict::Valid {
            return false;
        }
        let refuses = Packet::of(frame.data(), case.layers).is_reset();
        service::hear((service, backend), session, refuses, desk.now.seconds());
        true
    }

    /// Tells a packet's session of it.
    #[inline(always)]
    pub(super) fn track<'a>(
        &self,
        desk: &Desk,
        case: impl Fn() -> Case<'a>,
        frame: &PktBuf,
        transform: &Transform,
    ) -> Verdict {
        let Some((session, direction)) = &transform.session else { return Verdict::Valid };
        match case().layers.protocol {
            protocol::TCP | protocol::ICMP | protocol::ICMPV6 => {
                self.track_closely(desk, &case(), frame, (*session, *direction))
            }
            _ => {
                let packet = Packet::plain(frame.len());
                let policy = desk.snapshot.translation().tcp;
                let whose = (*session, *direction);
                self.witness.track(&self.tables, whose, &packet, desk.seconds, policy)
            }
        }
    }

    /// Tells a session of a packet whose transport header matters to it.
    #[inline(never)]
    fn track_closely(
        &self,
        desk: &Desk,
        case: &Case,
        frame: &PktBuf,
        whose: (SessionRef, Direction),
    ) -> Verdict {
        let packet = Packet::of(frame.data(), case.layers);
        let policy = desk.snapshot.translation().tcp;
        let verdict = self.witness.track(&self.tables, whose, &packet, desk.seconds, policy);
        if verdict == Verdict::Superseding {
            self.end(desk, whose.0);
        }
        verdict
    }

    /// Carries out a decision.
    #[inline(never)]
    pub(super) fn apply(
        &mut self,
        desk: &mut Desk,
        case: &Case,
        mut frame: PktBuf,
        by: &Transform,
    ) {
        let Case { from, layers, mut vid, .. } = *case;
        if let Some(rule) = by.rule {
            self.count(desk, rule, &frame);
            if by.has_steps {
                match take_steps::<W>(desk, from, Some(layers), &mut frame, vid, rule) {
                    Ok(onward) => vid = onward,
                    Err(reason) => return desk.refuse(frame, reason),
                }
            }
        }
        match &by.way {
            Way::Bridge => self.pass(desk, from, frame, Some(layers), vid),
            Way::Port(to) => {
                let result = desk.forward(Sender::Port(from), frame, *to, vid);
                self.settle(desk, from, vid, result);
            }
            Way::Route(hop) => {
                self.send_hop(desk, case, frame, hop, by.change());
            }
            Way::Nowhere(rule) => self.refuse(desk, *case, frame, Refusal::Denied(*rule)),
        }
    }
}
