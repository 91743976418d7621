//! [`Hold`]: where packets wait for their next hop's MAC (RFC 4861 section 7.2.2, RFC 1122 section
//! 2.3.2.2).
//!
//! A packet waits in the form in which it came in, with the port it came in by, and is decided about
//! anew when its next hop is known: nothing that was decided before could have become wrong meanwhile.
//!
//! Bounded twice: of packets to one neighbour the latest wait, and all together take only so many
//! buffers. One per worker; nothing is shared. A worker looks after it in each turn in which something waits.

use std::net::IpAddr;
use std::time::Duration;

use pktio::PktBuf;

use crate::{BridgeIndex, Nanos, PortIndex};

/// A packet that waits, or waited.
#[derive(Debug)]
pub struct Held {
    /// The bridge of its next hop.
    pub bridge: BridgeIndex,
    /// Its next hop.
    pub next_hop: IpAddr,
    /// The port it came in by.
    pub ingress: PortIndex,
    /// The packet, as it came in.
    pub frame: PktBuf,
    since: Nanos,
}

/// How many packets may wait, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HoldLimits {
    /// For one neighbour.
    pub per_neighbor: usize,
    /// For all neighbours: super-frames are among them, so this is also what waiting packets may take of
    /// the packet memory.
    pub total: usize,
    /// How long a packet waits: a little longer than a neighbour is asked for.
    pub patience: Duration,
}

impl Default for HoldLimits {
    /// 8 packets for each neighbour, 64 in total, 3.5 s.
    fn default() -> Self {
        Self { per_neighbor: 8, total: 64, patience: Duration::from_millis(3500) }
    }
}

/// Packets that wait for their next hop's MAC, in the order in which they came.
#[derive(Debug)]
pub struct Hold {
    waiting: Vec<Held>,
    limits: HoldLimits,
}

impl Hold {
    /// Nothing waits yet.
    pub fn new(limits: HoldLimits) -> Self {
        Self { waiting: Vec::with_capacity(limits.total), limits }
    }

    /// Lets a packet wait. Returns the packet that has to go for it: the oldest for the same neighbour if
    /// that has its share, or the new one itself if there is no room.
    #[must_use]
    pub fn hold(
        &mut self,
        bridge: BridgeIndex,
        next_hop: IpAddr,
        ingress: PortIndex,
        frame: PktBuf,
        now: Nanos,
    ) -> Option<Held> {
        let new = Held { bridge, next_hop, ingress, frame, since: now };
        let same = |held: &Held| (held.bridge, held.next_hop) == (bridge, next_hop);
        let share = self.waiting.iter().filter(|held| same(held)).count();
        let displaced = if share > 0 && share >= self.limits.per_neighbor {
            self.waiting.iter().position(same).map(|oldest| self.waiting.remove(oldest))
        } else if self.waiting.len() >= self.limits.total {
            return Some(new);
        } else {
            None
        };
        self.waiting.push(new);
        displaced
    }

    /// Takes out the packets whose next hop `is_settled` says is known by now or failed, in order, and
    /// gives them to `settle`.
    pub fn release(
        &mut self,
        mut is_settled: impl FnMut(BridgeIndex, IpAddr) -> bool,
        settle: impl FnMut(Held),
    ) {
        self.waiting.extract_if(.., |held| is_settled(held.bridge, held.next_hop)).for_each(settle);
    }

    /// Takes out the packets that waited too long, to be answered with "host unreachable".
    pub fn expire(&mut self, now: Nanos, give_up: impl FnMut(Held)) {
        let patience = self.limits.patience;
        self.waiting.extract_if(.., |held| now.since(held.since) > patience).for_each(give_up);
    }

    /// The next hop of each packet that waits.
    pub fn awaited(&self) -> impl Iterator<Item = (BridgeIndex, IpAddr)> + '_ {
        self.waiting.iter().map(|held| (held.bridge, held.next_hop))
    }

    /// Takes out the packets that came in by a port that goes.
    pub fn remove(&mut self, ingress: PortIndex, give_up: impl FnMut(Held)) {
        self.waiting.extract_if(.., |held| held.ingress == ingress).for_each(give_up);
    }

    /// Whether nothing waits.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Number of packets that wait.
    pub fn len(&self) -> usize {
        self.waiting.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pktio::{Pool, PoolConfig};

    const BRIDGE: BridgeIndex = BridgeIndex(1);
    const PORT: PortIndex = PortIndex(5);

    struct Bench {
        pool: Pool,
        hold: Hold,
    }

    impl Bench {
        fn new() -> Self {
            let pool = Pool::new(PoolConfig { small: 32, slabs: 1 }).unwrap();
            let limits = HoldLimits { per_neighbor: 3, total: 5, ..HoldLimits::default() };
            Self { pool, hold: Hold::new(limits) }
        }

        /// Holds a packet with this number for a host; the number of the one that went for it.
        fn hold(&mut self, host: u8, number: u8, ms: u64) -> Option<u8> {
            let frame = self.pool.frame_from(&[number]).unwrap();
            let now = Nanos::from_micros(ms * 1000);
            let gone = self.hold.hold(BRIDGE, [10, 0, 0, host].into(), PORT, frame, now);
            gone.map(|held| held.frame.data()[0])
        }

        fn release(&mut self, host: u8) -> Vec<u8> {
            let mut numbers = Vec::new();
            let is_it = |bridge, ip| (bridge, ip) == (BRIDGE, IpAddr::from([10, 0, 0, host]));
            self.hold.release(is_it, |held| {
                assert_eq!(held.ingress, PORT);
                numbers.push(held.frame.data()[0]);
            });
            numbers
        }
    }

    #[test]
    fn packets_are_released_in_order_and_only_their_neighbours() {
        let mut bench = Bench::new();
        for (host, number) in [(1, 1), (2, 2), (1, 3)] {
            assert_eq!(bench.hold(host, number, 0), None);
        }
        assert_eq!(bench.release(1), [1, 3]);
        assert_eq!(bench.release(1), []);
        assert_eq!(bench.release(2), [2]);
        assert!(bench.hold.is_empty());
    }

    #[test]
    fn the_latest_packets_for_a_neighbour_wait() {
        let mut bench = Bench::new();
        let gone: Vec<_> = (1..=5).map(|number| bench.hold(1, number, 0)).collect();
        assert_eq!(gone, [None, None, None, Some(1), Some(2)]);
        assert_eq!(bench.release(1), [3, 4, 5]);
    }

    #[test]
    fn no_more_than_the_total_wait() {
        let mut bench = Bench::new();
        let gone: Vec<_> = (1..=6).map(|host| bench.hold(host, host, 0)).collect();
        assert_eq!(gone, [None, None, None, None, None, Some(6)]);
        assert_eq!(bench.hold.len(), 5);
    }

    #[test]
    fn packets_wait_only_so_long() {
        let mut bench = Bench::new();
        bench.hold(1, 1, 0);
        bench.hold(1, 2, 1000);
        let mut given_up = Vec::new();
        bench.hold.expire(Nanos::from_micros(3_500_000), |held| given_up.push(held.frame));
        assert!(given_up.is_empty());
        bench.hold.expire(Nanos::from_micros(3_500_001), |held| given_up.push(held.frame));
        assert_eq!(given_up.len(), 1);
        assert_eq!(bench.release(1), [2]);
    }

    #[test]
    fn a_share_of_nothing_holds_nothing_beyond_the_total() {
        let limits = HoldLimits { per_neighbor: 0, total: 0, ..HoldLimits::default() };
        let mut bench = Bench { hold: Hold::new(limits), ..Bench::new() };
        assert_eq!(bench.hold(1, 1, 0), Some(1));
    }
}
