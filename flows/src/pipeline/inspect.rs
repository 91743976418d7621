//! Looking into packets: those for the gateway, and those that rules apply to.
//!
//! A packet whose flow is known is transformed as was decided about the first one ([`Transform`]); the
//! first one of a flow, and what belongs to none, is [evaluated](super::evaluate).

use std::net::IpAddr;
use std::sync::Arc;

use pktio::wire::{EthernetHeader, Fragment, Layers};
use pktio::{Burst, PktBuf};

use super::bridge::{Ingress, Sender, Step};
use super::desk::Desk;
use super::evaluate::{Decision, Refusal};
use super::ruling::{Ruling, Standing};
use super::steps::take_steps;
use super::transform::{Change, Transform, Way};
use super::vlan;
use super::witness::Witness;
use crate::cache::{FlowCache, FlowKey, Hashed};
use crate::nat::{Datagram, FragmentLimits, Fragments, Later};
use crate::router::{ErrorLimiter, ErrorRate, Hold, HoldLimits, Resolver};
use crate::session::{Packet, Verdict};
use crate::{DropReason, PortIndex, Tables, Tuple, Vid};

/// Neighbours that one worker asks for at a time.
const QUESTIONS: usize = 256;

/// What a worker knows of flows, and what waits with it.
#[derive(Debug)]
pub(super) struct Memory<W> {
    pub(super) tables: Arc<Tables>,
    /// Who watches.
    pub(super) witness: W,
    /// What the first look at each frame of the burst at hand found out.
    pub(super) steps: Vec<Step>,
    pub(super) flows: FlowCache<Transform>,
    pub(super) resolver: Resolver,
    pub(super) hold: Hold,
    /// Packets that waited, to be decided about: empty between turns.
    pub(super) settled: Vec<(PortIndex, PktBuf)>,
    pub(super) fragments: Fragments,
    pub(super) errors: ErrorLimiter,
    /// Of a super-frame that is fragmented, and its pieces: empty between frames.
    pub(super) segments: Burst,
    pub(super) pieces: Burst,
}

/// A packet that is looked into.
#[derive(Clone, Copy)]
pub(super) struct Case<'a> {
    pub(super) from: Ingress<'a>,
    pub(super) vid: Vid,
    pub(super) layers: Layers,
    /// It is addressed to the gateway's station.
    pub(super) is_routed: bool,
    /// It is a fragment of a packet with this tuple, which is not in it.
    pub(super) part_of: Option<Tuple>,
}

impl Case<'_> {
    /// Whether the frame goes to a group of stations.
    pub(super) fn is_for_group(&self, frame: &PktBuf) -> bool {
        EthernetHeader::read(frame.data()).is_some_and(|header| header.dst.is_group())
    }

    /// Between whom it is, and by which ports.
    pub(super) fn tuple(&self, frame: &PktBuf) -> Option<Tuple> {
        self.part_of.or_else(|| Tuple::of(frame.data(), &self.layers))
    }

    /// Source and destination address.
    pub(super) fn addresses(&self, frame: &PktBuf) -> Result<(IpAddr, IpAddr), Refusal> {
        let addresses = self.layers.addresses(frame.data());
        addresses.ok_or(Refusal::Drop(DropReason::MalformedPacket))
    }
}

impl<W: Witness> Memory<W> {
    pub(super) fn new(tables: Arc<Tables>, witness: W, cached_flows: usize) -> Self {
        let sizes = tables.sizes();
        Self {
            tables,
            witness,
            steps: Vec::with_capacity(Burst::CAPACITY),
            flows: FlowCache::new(cached_flows, sizes.seed),
            resolver: Resolver::new(QUESTIONS),
            hold: Hold::new(HoldLimits::default()),
            settled: Vec::with_capacity(HoldLimits::default().total),
            fragments: Fragments::new(FragmentLimits::default(), sizes.seed),
            errors: ErrorLimiter::new(ErrorRate::default(), sizes.seed),
            segments: Burst::new(),
            pieces: Burst::new(),
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
            flows,
            resolver,
            hold,
            settled,
            fragments,
            errors,
            segments,
            pieces,
        } = self;
        swap(steps, &mut other.steps);
        swap(flows, &mut other.flows);
        swap(resolver, &mut other.resolver);
        swap(hold, &mut other.hold);
        swap(settled, &mut other.settled);
        swap(fragments, &mut other.fragments);
        swap(errors, &mut other.errors);
        swap(segments, &mut other.segments);
        swap(pieces, &mut other.pieces);
    }

    /// Decides about a frame by more than its addresses on the link.
    pub(super) fn inspect(&mut self, desk: &mut Desk, from: Ingress, mut frame: PktBuf, vid: Vid) {
        let Some(header) = EthernetHeader::read(frame.data()) else {
            return desk.refuse(frame, DropReason::Runt);
        };
        let is_routed = from.bridge.router.is_some() && header.dst == from.bridge.gateway_mac;
        // What the router sends on has no tag until it leaves by a port that wants one.
        if is_routed && !vlan::untag(&mut frame) {
            return desk.refuse(frame, DropReason::NoBuffer);
        }
        let layers = match Layers::parse(frame.data()) {
            Ok(layers) => layers,
            Err(_) => return desk.refuse(frame, DropReason::MalformedPacket),
        };
        if let Some(guard) = &from.port.guard
            && !guard.admits(frame.data(), layers.as_ref())
        {
            return desk.refuse(frame, DropReason::SpoofGuard);
        }
        match layers {
            Some(layers) if is_routed || from.port.is_inspected => {
                let case = Case { from, vid, layers, is_routed, part_of: None };
                match layers.fragment {
                    Fragment::Whole => self.inspect_packet(desk, case, frame),
                    _ => self.inspect_fragment(desk, case, frame),
                }
            }
            None if from.port.is_inspected => self.inspect_stateless(desk, from, frame, vid),
            _ => self.pass(desk, from, frame, layers.as_ref(), vid),
        }
    }

    /// Decides about a fragment: all of a datagram go the way of its first one, which alone says by which
    /// ports it goes.
    fn inspect_fragment(&mut self, desk: &mut Desk, case: Case, frame: PktBuf) {
        let zone = case.from.port.bridge.into();
        let Some(datagram) = Datagram::of(zone, frame.data(), &case.layers) else {
            return desk.refuse(frame, DropReason::MalformedPacket);
        };
        if case.layers.fragment == Fragment::First {
            if let Some(tuple) = case.tuple(&frame) {
                for (ingress, waited) in self.fragments.first(datagram, tuple, desk.now) {
                    desk.ledger.port_mut(ingress).held -= 1;
                    self.settled.push((ingress, waited));
                }
            }
            return self.inspect_packet(desk, case, frame);
        }
        match self.fragments.later(datagram, case.from.index, frame, desk.now) {
            Later::Known(frame, tuple) => {
                self.inspect_packet(desk, Case { part_of: Some(tuple), ..case }, frame);
            }
            Later::Held => desk.hold(case.from.index),
            Later::Refused(frame) => desk.refuse(frame, DropReason::FragmentsFull),
        }
    }

    /// Decides about an IP packet.
    fn inspect_packet(&mut self, desk: &mut Desk, case: Case, frame: PktBuf) {
        let flow = self.flow_of(desk, &case, &frame);
        if !W::ASKS_WHY
            && let Some(transform) = flow.and_then(|flow| self.flows.find(&flow).copied())
            && self.holds(desk, &transform)
        {
            match self.track(desk, &case, &frame, &transform) {
                Verdict::Valid => return self.apply(desk, case, frame, &transform),
                Verdict::Invalid(_) => return self.misfit(desk, case, frame, &transform),
                Verdict::Superseding | Verdict::Ended => {}
            }
        }
        self.decide(desk, case, frame, flow);
    }

    /// Decides about a packet by the slow path, and remembers what comes out.
    fn decide(&mut self, desk: &mut Desk, case: Case, frame: PktBuf, flow: Option<Hashed>) {
        let decision = match self.evaluate_and_track(desk, &case, &frame) {
            Ok(decision) => decision,
            Err(refusal) => return self.refuse(desk, case, frame, refusal),
        };
        let Decision { transform, is_tracked, quote } = decision;
        if !is_tracked {
            return self.misfit(desk, case, frame, &transform);
        }
        if let Some(flow) = flow {
            self.flows.put(flow, transform);
        }
        match (quote, transform.way) {
            (Some((embedded, was)), Way::Route(hop)) => {
                self.send_hop(desk, case, frame, hop, Change::Quote(embedded, was));
            }
            _ => self.apply(desk, case, frame, &transform),
        }
    }

    /// A packet that does not fit its session is lost, unless a rule for such packets lets it pass.
    #[cold]
    fn misfit(&mut self, desk: &mut Desk, case: Case, frame: PktBuf, transform: &Transform) {
        match self.consult(desk, &case, &frame, None, Standing::Misfit) {
            Ok(Ruling { rule, has_steps, .. }) => {
                let transform = Transform { rule, has_steps, ..*transform };
                self.apply(desk, case, frame, &transform);
            }
            Err(refusal) => self.refuse(desk, case, frame, refusal),
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
            if decision.is_tracked {
                return Ok(decision);
            }
            match self.track(desk, case, frame, &decision.transform) {
                Verdict::Valid => return Ok(Decision { is_tracked: true, ..decision }),
                Verdict::Invalid(_) => return Ok(decision),
                Verdict::Superseding | Verdict::Ended => {}
            }
        }
        Err(Refusal::Drop(DropReason::InvalidState))
    }

    /// Tells a packet's session of it.
    #[inline]
    fn track(&self, desk: &Desk, case: &Case, frame: &PktBuf, transform: &Transform) -> Verdict {
        let Some((session, direction)) = transform.session else { return Verdict::Valid };
        let packet = Packet::of(frame.data(), &case.layers);
        let (now, policy) = (desk.now.seconds(), desk.snapshot.translation().tcp);
        let whose = (session, direction);
        let verdict = self.witness.track(&self.tables, whose, &packet, now, policy);
        if verdict == Verdict::Superseding {
            self.end(desk, session);
        }
        verdict
    }

    fn flow_of(&self, desk: &Desk, case: &Case, frame: &PktBuf) -> Option<Hashed> {
        let data = frame.data();
        let header = EthernetHeader::read(data)?;
        let (ingress, fields) = (case.from.index, desk.snapshot.key_fields());
        let key = FlowKey::of(ingress, case.vid, &header, data, &case.layers, fields)?;
        Some(self.flows.prepare(key))
    }

    /// Whether everything that a decision was made from is as it was.
    #[inline]
    fn holds(&self, desk: &Desk, transform: &Transform) -> bool {
        let hop_holds = match transform.way {
            Way::Route(hop) => self.tables.neighbors.is_current(hop.neighbor, desk.now),
            Way::Bridge | Way::Port(_) => true,
        };
        hop_holds
            && transform.generation == desk.snapshot.generation()
            && !(transform.awaits_answer && self.is_answered(desk, transform))
    }

    #[cold]
    fn is_answered(&self, desk: &Desk, transform: &Transform) -> bool {
        let session = transform.session.map(|(session, _)| session);
        let session = session.and_then(|at| self.tables.sessions.get(at, desk.now.seconds()));
        session.is_some_and(|session| session.is_replied)
    }

    /// Carries out a decision.
    #[inline]
    fn apply(&mut self, desk: &mut Desk, mut case: Case, mut frame: PktBuf, by: &Transform) {
        if let Some(rule) = by.rule {
            self.count(desk, rule, &frame);
            if by.has_steps {
                let Case { from, layers, vid, .. } = case;
                match take_steps::<W>(desk, from, Some(&layers), &mut frame, vid, rule) {
                    Ok(onward) => case.vid = onward,
                    Err(reason) => return desk.refuse(frame, reason),
                }
            }
        }
        match by.way {
            Way::Bridge => self.pass(desk, case.from, frame, Some(&case.layers), case.vid),
            Way::Port(to) => {
                let result = desk.forward(Sender::Port(case.from), frame, to, case.vid);
                self.settle(desk, case.from, case.vid, result);
            }
            Way::Route(hop) => {
                let change = by.rewrite.map_or(Change::Hop, Change::Rewrite);
                self.send_hop(desk, case, frame, hop, change);
            }
        }
    }
}
