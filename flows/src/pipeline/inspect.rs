//! Looking into packets: those for the gateway, and those that rules apply to.
//!
//! A packet whose flow is known is transformed as was decided about the first one ([`Transform`]); the
//! first one of a flow, and what belongs to none, is [evaluated](super::evaluate).

use std::sync::Arc;

use pktio::wire::{EthernetHeader, Layers};
use pktio::{Burst, PktBuf};

use super::bridge::{Ingress, Sender};
use super::desk::Desk;
use super::transform::{Transform, Way};
use super::vlan;
use crate::cache::{FlowCache, FlowKey, Hashed};
use crate::router::{ErrorLimiter, ErrorRate, Hold, HoldLimits, Resolver};
use crate::{DropReason, Tables, Vid};

/// Neighbours that one worker asks for at a time.
const QUESTIONS: usize = 256;

/// What a worker knows of flows, and what waits with it.
#[derive(Debug)]
pub(super) struct Memory {
    pub(super) tables: Arc<Tables>,
    pub(super) flows: FlowCache<Transform>,
    pub(super) resolver: Resolver,
    pub(super) hold: Hold,
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
}

impl Memory {
    pub(super) fn new(tables: Arc<Tables>) -> Self {
        let sizes = tables.sizes();
        Self {
            tables,
            flows: FlowCache::new(sizes.cached_flows, sizes.seed),
            resolver: Resolver::new(QUESTIONS),
            hold: Hold::new(HoldLimits::default()),
            errors: ErrorLimiter::new(ErrorRate::default()),
            segments: Burst::new(),
            pieces: Burst::new(),
        }
    }

    /// Decides about a frame by more than its addresses on the link.
    pub(super) fn inspect(&mut self, desk: &mut Desk, from: Ingress, mut frame: PktBuf, vid: Vid) {
        let Some(header) = EthernetHeader::read(frame.data()) else {
            return desk.refuse(frame, DropReason::Runt);
        };
        let is_routed = header.dst == from.bridge.gateway_mac;
        // What the router sends on has no tag until it leaves by a port that wants one.
        if is_routed && !vlan::untag(&mut frame) {
            return desk.refuse(frame, DropReason::NoBuffer);
        }
        match Layers::parse(frame.data()) {
            Ok(Some(layers)) => {
                self.inspect_packet(desk, Case { from, vid, layers, is_routed }, frame);
            }
            Ok(None) => self.inspect_link(desk, from, frame, vid),
            Err(_) => desk.refuse(frame, DropReason::MalformedPacket),
        }
    }

    /// Decides about an IP packet.
    fn inspect_packet(&mut self, desk: &mut Desk, case: Case, frame: PktBuf) {
        let flow = self.flow_of(desk, &case, &frame);
        if let Some(transform) = flow.and_then(|flow| self.flows.find(&flow).copied())
            && self.holds(desk, &transform)
        {
            return self.apply(desk, case, frame, &transform);
        }
        match self.evaluate(desk, &case, &frame) {
            Ok(transform) => {
                if let Some(flow) = flow {
                    self.flows.put(flow, transform);
                }
                self.apply(desk, case, frame, &transform);
            }
            Err(refusal) => self.refuse(desk, case, frame, refusal),
        }
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
            Way::Bridge | Way::Drop(_) => true,
        };
        hop_holds && transform.generation == desk.snapshot.generation()
    }

    /// Carries out a decision.
    #[inline]
    fn apply(&mut self, desk: &mut Desk, case: Case, frame: PktBuf, transform: &Transform) {
        match transform.way {
            Way::Drop(reason) => desk.refuse(frame, reason),
            Way::Bridge => self.send_on(desk, case, frame),
            Way::Route(hop) => self.send_hop(desk, case, frame, hop, transform.rewrite),
        }
    }

    /// Decides about what is no IP packet.
    fn inspect_link(&mut self, desk: &mut Desk, from: Ingress, frame: PktBuf, vid: Vid) {
        let result = desk.deliver(Sender::Port(from), from.bridge, frame, vid);
        desk.settle(result);
    }

    /// Sends a frame on in its own bridge.
    fn send_on(&mut self, desk: &mut Desk, case: Case, frame: PktBuf) {
        let result = desk.deliver(Sender::Port(case.from), case.from.bridge, frame, case.vid);
        desk.settle(result);
    }
}
