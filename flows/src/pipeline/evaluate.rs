//! The slow path: what becomes of a packet whose flow is not known.
//!
//! It only reads: the outcome is a [`Transform`], or a [`Refusal`] that says what is owed to the sender.

use pktio::PktBuf;

use super::desk::Desk;
use super::inspect::{Case, Memory};
use super::transform::{Hop, Transform, Way};
use crate::router::{IcmpError, NextHop, Obstacle, Resolution, Target, check};
use crate::{DropReason, Tuple};

/// Why a packet does not go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    /// It is lost without a word.
    Drop(DropReason),
    /// It is lost, and its sender is told.
    Tell(DropReason, IcmpError),
    /// It waits for the address of its next hop.
    Hold(NextHop),
    /// It is for the gateway itself.
    Local,
}

impl Memory {
    /// Decides about a packet.
    pub(super) fn evaluate(
        &mut self,
        desk: &Desk,
        case: &Case,
        frame: &PktBuf,
    ) -> Result<Transform, Refusal> {
        let way = if case.is_routed { self.route(desk, case, frame)? } else { Way::Bridge };
        Ok(Transform { generation: desk.snapshot.generation(), way, rewrite: None })
    }

    /// Finds the way of a packet that is addressed to the gateway's station.
    fn route(&mut self, desk: &Desk, case: &Case, frame: &PktBuf) -> Result<Way, Refusal> {
        let router =
            case.from.bridge.router.as_deref().ok_or(Refusal::Drop(DropReason::NoRoute))?;
        let addresses = case.layers.addresses(frame.data());
        let (_, destination) = addresses.ok_or(Refusal::Drop(DropReason::MalformedPacket))?;
        let route = router.routes.lookup(destination);
        if route.is_some_and(|route| *route.target == Target::Local) {
            return Err(Refusal::Local);
        }
        check(frame.data(), &case.layers).map_err(obstacle)?;
        let unreachable = Refusal::Tell(DropReason::NoRoute, IcmpError::NetUnreachable);
        let route = route.ok_or(unreachable)?;
        let hash = Tuple::of(frame.data(), &case.layers).map_or(0, |tuple| tuple.spread());
        match route.next_hop(destination, hash) {
            Some(next) => self.resolve(desk, next).map(Way::Route),
            None if *route.target == Target::Broadcast => Err(Refusal::Drop(DropReason::Martian)),
            None => Err(unreachable),
        }
    }

    /// Finds the station of a next hop.
    fn resolve(&mut self, desk: &Desk, next: NextHop) -> Result<Hop, Refusal> {
        let from = desk.snapshot.bridge(next.bridge).map(|bridge| bridge.gateway_mac);
        let from = from.ok_or(Refusal::Drop(DropReason::NoRoute))?;
        let neighbors = &self.tables.neighbors;
        match self.resolver.resolve(neighbors, next.bridge, next.ip, desk.now) {
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
