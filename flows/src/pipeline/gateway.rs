//! What is for the gateway itself: address resolution, pings, and what nobody serves.

use pktio::wire::Layers;
use pktio::{Burst, PktBuf};

use super::Saying;
use super::bridge::{Ingress, Sender};
use super::desk::Desk;
use super::evaluate::Refusal;
use super::inspect::{Case, Memory};
use super::witness::Witness;
use crate::router::{Lookup, Outcome, Scene};
use crate::{BridgeIndex, DropReason, Fate, Finding, Nanos, PortIndex, Vid};

/// A packet for a service of a gateway.
#[derive(Debug)]
pub struct Visitor {
    /// The port that it came in by.
    pub port: PortIndex,
    /// Its VLAN.
    pub vid: Vid,
    /// The frame.
    pub frame: PktBuf,
}

impl<W: Witness> Memory<W> {
    /// Lets the gateway of a VLAN of the ingress bridge attend to a frame that could concern it. What does not, or
    /// not only, comes back.
    pub(super) fn attend(
        &mut self,
        desk: &mut Desk,
        from: &Ingress,
        mut frame: PktBuf,
        layers: Option<&Layers>,
        vid: Vid,
    ) -> Option<PktBuf> {
        let Some(router) = from.router(vid) else { return Some(frame) };
        let neighbors = &self.tables.neighbors;
        let (bridge, now) = (from.number(vid), desk.now);
        // Nobody stands in for whom the asker can hear himself.
        let is_on_askers_port = |ip| match neighbors.lookup(bridge, ip, now) {
            Lookup::Known(neighbor) => from.is_behind(neighbor.mac, vid, now),
            _ => false,
        };
        let learned = self.witness.acquaintances(neighbors);
        let is_on_askers_port = &is_on_askers_port;
        let scene = Scene { bridge, neighbors: learned, now, is_on_askers_port };
        let outcome = router.gateway.attend(&mut frame, layers, &scene);
        if outcome != Outcome::Pass {
            self.witness.note(|| Finding::Gateway(outcome));
        }
        match (outcome, layers) {
            (Outcome::Pass, _) => return Some(frame),
            (Outcome::Reply, _) => desk.reply(from, frame, vid),
            (Outcome::Serve, _) => self.receive(desk, Visitor { port: from.index, vid, frame }),
            (Outcome::Refuse(error), Some(layers)) => {
                let case = Case { from, vid, layers, is_routed: true, part_of: None };
                self.refuse(desk, case, frame, Refusal::Tell(DropReason::Unserved, error));
            }
            (Outcome::Reset, Some(layers)) => {
                let case = Case { from, vid, layers, is_routed: true, part_of: None };
                self.refuse(desk, case, frame, Refusal::Reset(DropReason::Unserved));
            }
            (Outcome::Done | Outcome::Refuse(_) | Outcome::Reset, _) => desk.absorb(frame),
        }
        None
    }

    /// Lets the gateway of a bridge, if it has one, say something to all its stations.
    pub(super) fn say(&mut self, desk: &mut Desk, bridge: BridgeIndex, saying: Saying) {
        let Some(bridge) = desk.snapshot.bridge(bridge) else { return };
        let Some(router) = bridge.router.as_deref() else { return };
        match saying {
            Saying::Announcement => router.gateway.announce(desk.pool, &mut self.pieces),
            Saying::Advertisement => self.pieces.extend(router.gateway.advertisement(desk.pool)),
            Saying::Farewell => self.pieces.extend(router.gateway.farewell(desk.pool)),
        }
        self.pieces.drain(..).for_each(|frame| desk.originate(bridge, frame, bridge.vid()));
    }

    /// Puts a packet for a service where whoever serves fetches it. It is entered into the books by then.
    fn receive(&mut self, desk: &mut Desk, visitor: Visitor) {
        if W::IS_DRY {
            return desk.absorb(visitor.frame);
        }
        let has_room = self.visitors.len() < Burst::CAPACITY;
        if !has_room || !self.visits.allow(visitor.port, desk.now) {
            return desk.refuse(visitor.frame, DropReason::ServiceBusy);
        }
        desk.fate = Fate::Answered;
        self.visitors.push(visitor);
    }

    /// Hands what answers a check to whoever checks. The gateway serves it, whatever rules say of its sender.
    pub(super) fn hear(&mut self, desk: &mut Desk, case: Case, frame: PktBuf) {
        self.witness.note(|| Finding::Gateway(Outcome::Serve));
        self.receive(desk, Visitor { port: case.from.index, vid: case.vid, frame });
    }

    /// Sends a packet of the gateway's own, whose next hop is known.
    pub(super) fn emit(&mut self, desk: &mut Desk, bridge: BridgeIndex, frame: PktBuf) {
        match desk.snapshot.bridge(bridge) {
            Some(bridge) => desk.originate(bridge, frame, bridge.vid()),
            None => desk.pool.recycle(frame),
        }
    }

    /// Answers a packet for the gateway itself.
    pub(super) fn answer(&mut self, desk: &mut Desk, case: Case, frame: PktBuf) {
        let Case { from, vid, layers, .. } = case;
        if let Some(frame) = self.attend(desk, from, frame, Some(layers), vid) {
            desk.refuse(frame, DropReason::NotTranslated);
        }
    }
}

impl Ingress<'_> {
    /// Whether a station is known to be behind this port.
    fn is_behind(&self, station: pktio::wire::MacAddr, vid: Vid, now: Nanos) -> bool {
        self.bridge.fdb.lookup(station, vid, now.seconds()) == Some(self.index)
    }
}

impl Desk<'_> {
    /// Takes a received frame that was for the switch itself.
    pub(super) fn absorb(&mut self, frame: PktBuf) {
        self.take();
        self.pool.recycle(frame);
    }

    /// Sends what a service of the gateway says to a port.
    pub(super) fn convey(&mut self, to: PortIndex, vid: Vid, frame: PktBuf) {
        if let Err(undelivered) = self.forward(Sender::Gateway, frame, to, vid) {
            self.pool.recycle(undelivered.frame);
        }
    }

    /// Sends what a received frame has become back to where it came from.
    fn reply(&mut self, from: &Ingress, frame: PktBuf, vid: Vid) {
        self.take();
        self.convey(from.index, vid, frame);
    }
}
