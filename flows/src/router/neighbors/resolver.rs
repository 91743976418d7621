//! [`Resolver`]: who asks for neighbours, and when.

use std::net::IpAddr;
use std::time::Duration;

use pktio::wire::MacAddr;

use super::super::routes::NextHop;
use super::binding::{Binding, Times};
use super::table::{Key, Slot};
use super::{Heard, Lookup, Neighbor, NeighborState, Neighbors, millis};
use crate::{BridgeIndex, Nanos};

/// How long before it is stale a neighbour is asked after by who keeps it.
const AHEAD: Duration = Duration::from_secs(10);

/// A question to be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Solicitation {
    /// The bridge to ask on.
    pub bridge: BridgeIndex,
    /// Whose MAC is asked for.
    pub ip: IpAddr,
    /// The station to ask; everybody when `None`.
    pub to: Option<MacAddr>,
}

/// How a packet's next hop can be reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resolution {
    /// Send it.
    Known(Neighbor),
    /// Hold the packet: an answer or a failure will come.
    Pending,
    /// Nobody answers: "host unreachable".
    Unreachable,
    /// Too much is being asked for already, or the table is full: drop the packet.
    Busy,
}

/// The neighbours that this worker asks for: the one that first needed a neighbour asks until there is an
/// answer, or none. So each question is sent once however many workers wait for it, and nobody searches
/// the table for what is due. Bounded, so that a scan of absent addresses neither floods a bridge with
/// questions nor fills the table (RFC 6583).
///
/// One per worker; only [`Neighbors`] is shared.
#[derive(Debug)]
pub struct Resolver {
    asking: Vec<(BridgeIndex, IpAddr)>,
    capacity: usize,
}

impl Resolver {
    /// Asks for up to `capacity` neighbours at a time.
    pub fn new(capacity: usize) -> Self {
        Self { asking: Vec::with_capacity(capacity), capacity }
    }

    /// How to reach a next hop. Sees to it that one that is not known is asked for, and one that was not
    /// heard of lately is asked after.
    pub fn resolve(
        &mut self,
        neighbors: &Neighbors,
        bridge: BridgeIndex,
        ip: IpAddr,
        now: Nanos,
    ) -> Resolution {
        match neighbors.lookup(bridge, ip, now) {
            Lookup::Known(neighbor) => {
                if neighbor.wants_probe {
                    self.begin(neighbors, bridge, ip, now);
                }
                Resolution::Known(neighbor)
            }
            Lookup::Resolving => Resolution::Pending,
            Lookup::Failed => Resolution::Unreachable,
            Lookup::Unknown if self.begin(neighbors, bridge, ip, now) => Resolution::Pending,
            // Another worker may have begun in between.
            Lookup::Unknown => match neighbors.lookup(bridge, ip, now) {
                Lookup::Resolving => Resolution::Pending,
                _ => Resolution::Busy,
            },
        }
    }

    /// Sees to it that a next hop is asked for, or asked after if it will be stale soon, so that who uses it without
    /// anybody noticing does not have to wait.
    pub fn seek(&mut self, neighbors: &Neighbors, next: NextHop, now: Nanos) {
        let NextHop { bridge, ip } = next;
        match neighbors.lookup(bridge, ip, now.after(AHEAD)) {
            Lookup::Known(neighbor) if !neighbor.wants_probe => {}
            Lookup::Known(_) => _ = self.begin(neighbors, bridge, ip, now),
            _ => _ = self.resolve(neighbors, bridge, ip, now),
        }
    }

    fn begin(
        &mut self,
        neighbors: &Neighbors,
        bridge: BridgeIndex,
        ip: IpAddr,
        now: Nanos,
    ) -> bool {
        let begun = self.asking.len() < self.capacity && neighbors.begin(bridge, ip, now);
        if begun {
            self.asking.push((bridge, ip));
        }
        begun
    }

    /// Whether there is anything to ask for.
    #[inline]
    pub fn is_idle(&self) -> bool {
        self.asking.is_empty()
    }

    /// Calls `ask` for each question that is to be sent now, at most `budget` of them. Call it each turn
    /// in which the resolver is not idle.
    pub fn due(
        &mut self,
        neighbors: &Neighbors,
        now: Nanos,
        mut budget: usize,
        mut ask: impl FnMut(Solicitation),
    ) {
        self.asking.retain(|(bridge, ip)| {
            if budget == 0 {
                return true;
            }
            match neighbors.ask(*bridge, *ip, now) {
                Asked::Now(question) => {
                    budget -= 1;
                    ask(question);
                    true
                }
                Asked::Waiting => true,
                Asked::Over => false,
            }
        });
    }
}

impl Neighbors {
    /// Begins to ask for a neighbour that is not known or failed, or after one that is to be probed. True
    /// for the one worker that has to ask from now on.
    pub(super) fn begin(&self, bridge: BridgeIndex, ip: IpAddr, now: Nanos) -> bool {
        let key = Key::new(bridge, ip);
        let times = Times::at(millis(now), 0);
        let Some((slot, binding)) = self.table.find(&key) else {
            let (mac, state) = (MacAddr::default(), NeighborState::Incomplete);
            return self.try_insert(&key, mac, state, times) == Heard::Learned;
        };
        let old = self.table.times(slot);
        let asking = match binding.state() {
            Some(NeighborState::Failed) => {
                binding.moved_to(MacAddr::default(), NeighborState::Retry)
            }
            Some(NeighborState::Reachable | NeighborState::Stale) => {
                binding.in_state(NeighborState::Probe)
            }
            Some(NeighborState::Incomplete | NeighborState::Retry | NeighborState::Probe) => {
                let is_orphaned = self.is_orphaned(old.age_ms(millis(now)));
                return is_orphaned && self.table.restamp(slot, old, times);
            }
            _ => return false,
        };
        self.table.stamp(slot, times);
        self.table.replace(slot, binding, asking)
    }

    /// Asks once more, if it is time to, or gives up.
    fn ask(&self, bridge: BridgeIndex, ip: IpAddr, now: Nanos) -> Asked {
        let Some((slot, binding)) = self.table.find(&Key::new(bridge, ip)) else {
            return Asked::Over;
        };
        let is_probe = match binding.state() {
            Some(NeighborState::Incomplete | NeighborState::Retry) => false,
            Some(NeighborState::Probe) => true,
            _ => return Asked::Over,
        };
        let (times, now_ms) = (self.table.times(slot), millis(now));
        let tries = times.tries();
        if tries > 0 && times.age_ms(now_ms) < self.timers.retransmit_ms {
            return Asked::Waiting;
        }
        if tries >= self.timers.tries {
            self.fail(slot, binding, now_ms);
            return Asked::Over;
        }
        if !self.table.restamp(slot, times, Times::at(now_ms, tries + 1)) {
            return Asked::Waiting;
        }
        let is_last = tries + 1 == self.timers.tries;
        let to = (is_probe && !is_last).then(|| binding.mac());
        Asked::Now(Solicitation { bridge, ip, to })
    }

    fn fail(&self, slot: Slot, binding: Binding, now_ms: u64) {
        self.table.stamp(slot, Times::at(now_ms, 0));
        if self.table.replace(slot, binding, binding.in_state(NeighborState::Failed)) {
            self.note_loss(binding);
        }
    }
}

/// What there is to do about a neighbour that is being asked for.
enum Asked {
    /// To ask now.
    Now(Solicitation),
    /// Nothing yet.
    Waiting,
    /// Nothing any more.
    Over,
}
