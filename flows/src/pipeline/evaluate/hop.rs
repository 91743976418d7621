//! The next hop of a packet: by which route, and whose station that is.

use std::net::IpAddr;

use pktio::PktBuf;

use super::super::desk::Desk;
use super::super::inspect::{Case, Memory};
use super::super::transform::Hop;
use super::super::witness::Witness;
use super::Refusal;
use crate::router::forward::{Obstacle, check};
use crate::router::{IcmpError, NextHop, Prefix, Resolution, Route, Target};
use crate::session::{Key, Session};
use crate::{BridgeIndex, DropReason, Endpoint, Finding};

impl<W: Witness> Memory<W> {
    /// The next hop of a packet of a session. All that go the same way have the same one.
    pub(super) fn hop_on(
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

    /// Finds the next hop of a packet that begins something.
    pub(super) fn next_hop(
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
        let (bridge, prefix) = (case.bridge(), own_prefix(route));
        self.witness.note(|| Finding::Route { bridge, destination, prefix, next });
        next.ok_or_else(|| nowhere(route))
    }

    /// The next hop of a packet by a certain bridge: that of its session.
    pub(in crate::pipeline) fn next_hop_on(
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
        let prefix = own_prefix(route);
        self.witness.note(|| Finding::Route { bridge, destination, prefix, next });
        next.filter(|next| next.bridge == bridge).ok_or_else(|| nowhere(None))
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

    /// Finds the station of a next hop.
    pub(in crate::pipeline) fn resolve(
        &mut self,
        desk: &Desk,
        next: NextHop,
    ) -> Result<Hop, Refusal> {
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
}

/// The prefix of a route that is among the bridge's.
fn own_prefix(route: Option<Route>) -> Option<Prefix> {
    route.filter(|route| *route.target != Target::Apart).map(|route| route.prefix)
}

/// What becomes of a packet whose route leads to nobody.
fn nowhere(route: Option<Route>) -> Refusal {
    match route.map(|route| route.target) {
        Some(Target::Broadcast) => Refusal::Drop(DropReason::Martian),
        Some(Target::Local) => Refusal::Local,
        Some(Target::Apart) => Refusal::Tell(DropReason::NotAllowed, IcmpError::AdminProhibited),
        Some(Target::Connected { .. } | Target::Via { .. }) | None => {
            Refusal::Tell(DropReason::NoRoute, IcmpError::NetUnreachable)
        }
    }
}

/// What is owed to the sender of a packet that may not be forwarded.
pub(super) fn obstacle(obstacle: Obstacle) -> Refusal {
    match obstacle {
        Obstacle::Expired => Refusal::Tell(DropReason::TtlExpired, IcmpError::TimeExceeded),
        Obstacle::BadChecksum => Refusal::Drop(DropReason::MalformedPacket),
        Obstacle::Martian | Obstacle::LinkLocal | Obstacle::Group => {
            Refusal::Drop(DropReason::Martian)
        }
    }
}
