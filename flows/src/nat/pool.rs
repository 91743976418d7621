//! [`Pool`]: the external addresses and ports that a masquerade rule may use, and who may use how much.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::RangeInclusive;
use std::sync::Arc;

use crate::{Endpoint, Zone};

/// The most addresses of one pool: each has a table of its ports.
pub const MAX_ADDRESSES: u16 = 1024;

/// How many ports are looked at before an address counts as exhausted for an endpoint. With 9 of 10 ports
/// taken, one endpoint of a million finds none.
const LOOKED_AT: u16 = if cfg!(loom) { 3 } else { 128 };
/// Of a long range so many in a row, which are one cache line of the port table.
const ROW: u16 = 8;
/// And so many rows.
const ROWS: u16 = 16;
/// The first port of the class that needs no privilege.
const UNPRIVILEGED: u16 = 1024;

/// Why a pool cannot be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PoolError {
    /// The first and the last address are of two IP versions.
    #[error("{first} and {last} are of two IP versions; make two pools")]
    TwoVersions {
        /// First address.
        first: IpAddr,
        /// Last address.
        last: IpAddr,
    },
    /// The last address comes before the first.
    #[error("the addresses end at {last}, before they begin at {first}; exchange them")]
    NoAddress {
        /// First address.
        first: IpAddr,
        /// Last address.
        last: IpAddr,
    },
    /// Too many addresses.
    #[error("{count} addresses are more than a pool's {MAX_ADDRESSES}; make it smaller")]
    TooManyAddresses {
        /// How many there are.
        count: u128,
    },
    /// The last port comes before the first, or the first is 0.
    #[error("{first}-{last} are no ports; the range begins at 1 and goes upwards")]
    NoPort {
        /// First port.
        first: u16,
        /// Last port.
        last: u16,
    },
}

/// How much one internal address may use (RFC 6888 REQ-4 and REQ-5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quota {
    /// Mappings of all protocols together, quarantined ones not counted.
    pub ports: u32,
    /// Sessions of all mappings together.
    pub sessions: u32,
}

impl Default for Quota {
    /// Half of an address's ports for one container, and four sessions on each.
    fn default() -> Self {
        Self { ports: 1 << 15, sessions: 1 << 17 }
    }
}

/// External addresses and ports. See the module's documentation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pool {
    zone: Zone,
    /// First address and number of each range.
    ranges: Arc<[(IpAddr, u16)]>,
    addresses: u16,
    first_port: u16,
    last_port: u16,
    quota: Quota,
}

impl Pool {
    /// The pool of the addresses `addresses` and their ports `ports` on the outside bridge of `zone`. ICMP
    /// identifiers come from the same range as ports.
    ///
    /// # Errors
    /// [`PoolError`], when a range is empty or too long.
    pub fn new(
        zone: Zone,
        addresses: RangeInclusive<IpAddr>,
        ports: RangeInclusive<u16>,
        quota: Quota,
    ) -> Result<Self, PoolError> {
        Self::of_ranges(zone, [addresses], ports, quota)
    }

    /// The same of several ranges of addresses of one IP version, which have no address in common (RFC 6888 REQ-3).
    ///
    /// # Errors
    /// [`PoolError`], when a range is empty, or they are too long together.
    pub fn of_ranges(
        zone: Zone,
        ranges: impl IntoIterator<Item = RangeInclusive<IpAddr>>,
        ports: RangeInclusive<u16>,
        quota: Quota,
    ) -> Result<Self, PoolError> {
        let (first_port, last_port) = ports.into_inner();
        if first_port == 0 || first_port > last_port {
            return Err(PoolError::NoPort { first: first_port, last: last_port });
        }
        let range = |range: RangeInclusive<IpAddr>| {
            let (first, last) = range.into_inner();
            Ok((first, count(first, last)?))
        };
        let ranges = ranges.into_iter().map(range).collect::<Result<Arc<[_]>, _>>()?;
        let count: u128 = ranges.iter().map(|(_, count)| u128::from(*count)).sum();
        match u16::try_from(count) {
            Ok(addresses) if (1..=MAX_ADDRESSES).contains(&addresses) => {
                Ok(Self { zone, ranges, addresses, first_port, last_port, quota })
            }
            _ => Err(PoolError::TooManyAddresses { count }),
        }
    }

    /// The zone of the outside bridge.
    pub fn zone(&self) -> Zone {
        self.zone
    }

    /// The ports of each address.
    pub fn ports(&self) -> RangeInclusive<u16> {
        self.first_port..=self.last_port
    }

    /// How much one internal address may use.
    pub fn quota(&self) -> Quota {
        self.quota
    }

    /// The addresses, in order.
    pub fn addresses(&self) -> impl Iterator<Item = IpAddr> + '_ {
        (0..self.addresses).map(|step| self.address(step))
    }

    /// Whether an address is among them.
    pub fn has_address(&self, ip: IpAddr) -> bool {
        let is_in = |(first, count): &(IpAddr, u16)| {
            ip.is_ipv4() == first.is_ipv4() && (*first..=nth(*first, count - 1)).contains(&ip)
        };
        self.ranges.iter().any(is_in)
    }

    /// Whether an external endpoint can be one of the pool's.
    pub fn contains(&self, external: Endpoint) -> bool {
        self.ports().contains(&external.port) && self.has_address(external.ip)
    }

    fn address(&self, mut step: u16) -> IpAddr {
        for (first, count) in &*self.ranges {
            match step.checked_sub(*count) {
                Some(beyond) => step = beyond,
                None => return nth(*first, step),
            }
        }
        // Not reached: steps are below the number of addresses.
        self.ranges[0].0
    }

    /// The address for everything of the host with this hash: "paired" pooling (RFC 4787 REQ-2).
    pub(super) fn paired_with(&self, hash: u64) -> IpAddr {
        self.address(below(hash, self.addresses))
    }

    /// The external ports that an internal port may have, best first, none twice: the same (RFC 4787
    /// section 4.2.1), then others that the hash chooses, of the same class (REQ-3a) and first those of the
    /// same parity (REQ-4). Where the pool has none of the class, any will do.
    pub(super) fn candidates(&self, port: u16, hash: u64) -> impl Iterator<Item = u16> + Clone {
        let preserved = self.ports().contains(&port).then_some(port);
        let rows = rows(self.of_class(port), hash);
        let others = (0..2).flat_map(move |other_parity| {
            rows.into_iter().flat_map(move |(start, count)| {
                let skipped = (start ^ port ^ other_parity) & 1;
                (skipped..count).step_by(2).map(move |step| start + step)
            })
        });
        preserved.into_iter().chain(others.filter(move |other| *other != port))
    }

    /// The part of the port range that is of a port's class.
    fn of_class(&self, port: u16) -> (u16, u16) {
        let (first, last) = (self.first_port, self.last_port);
        let class = if port < UNPRIVILEGED {
            (first, last.min(UNPRIVILEGED - 1))
        } else {
            (first.max(UNPRIVILEGED), last)
        };
        if class.0 <= class.1 { class } else { (first, last) }
    }
}

/// The ports to look at in a range: rows, each with its first port and its length, none of which overlap.
/// A short range is gone through from anywhere on. A long one is cut into parts with a row in each: as
/// ports are preserved, those that are taken are close together, and a single row would mostly be free or
/// mostly taken.
fn rows((first, last): (u16, u16), hash: u64) -> [(u16, u16); ROWS as usize] {
    // The range cannot be all of 0 to 65535, since a pool's begins at 1.
    let span = last - first + 1;
    let mut rows = [(first, 0); ROWS as usize];
    if span <= LOOKED_AT {
        let start = below(hash, span);
        rows[0] = (first + start, span - start);
        rows[1] = (first, start);
        return rows;
    }
    let part_span = span / ROWS;
    let first_part = below(hash, ROWS);
    for (row, step) in rows.iter_mut().zip(0..) {
        let part = (first_part + step) % ROWS;
        let start = below(hash.rotate_left(4 * u32::from(part + 1)), part_span - (ROW - 1));
        *row = (first + part * part_span + start, ROW);
    }
    rows
}

/// The address so many steps behind another.
fn nth(first: IpAddr, step: u16) -> IpAddr {
    match first {
        IpAddr::V4(first) => Ipv4Addr::from(u32::from(first) + u32::from(step)).into(),
        IpAddr::V6(first) => Ipv6Addr::from(u128::from(first) + u128::from(step)).into(),
    }
}

/// A number below `limit`, by the upper half of a hash.
fn below(hash: u64, limit: u16) -> u16 {
    u16::try_from(((hash >> 32) * u64::from(limit)) >> 32).unwrap_or(0)
}

fn count(first: IpAddr, last: IpAddr) -> Result<u16, PoolError> {
    let numbers = match (first, last) {
        (IpAddr::V4(a), IpAddr::V4(b)) => (u128::from(u32::from(a)), u128::from(u32::from(b))),
        (IpAddr::V6(a), IpAddr::V6(b)) => (u128::from(a), u128::from(b)),
        _ => return Err(PoolError::TwoVersions { first, last }),
    };
    let steps = numbers.1.checked_sub(numbers.0).ok_or(PoolError::NoAddress { first, last })?;
    let count = steps.saturating_add(1);
    match u16::try_from(count) {
        Ok(small) if small <= MAX_ADDRESSES => Ok(small),
        _ => Err(PoolError::TooManyAddresses { count }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn v4(last: u8) -> IpAddr {
        Ipv4Addr::new(203, 0, 113, last).into()
    }

    fn pool(ports: RangeInclusive<u16>) -> Pool {
        Pool::new(Zone(2), v4(1)..=v4(4), ports, Quota::default()).unwrap()
    }

    #[test]
    fn a_pool_that_cannot_be_is_refused() {
        let make = |addresses, ports| Pool::new(Zone(0), addresses, ports, Quota::default());
        let v6 = IpAddr::from(Ipv6Addr::LOCALHOST);
        let (first, last) = (v4(9), v4(1));
        assert_eq!(make(v4(1)..=v6, 1..=2), Err(PoolError::TwoVersions { first: v4(1), last: v6 }));
        assert_eq!(make(first..=last, 1..=2), Err(PoolError::NoAddress { first, last }));
        assert_eq!(make(v4(1)..=v4(1), 0..=2), Err(PoolError::NoPort { first: 0, last: 2 }));
        let (first, last) = (3, 2);
        assert_eq!(make(v4(1)..=v4(1), first..=last), Err(PoolError::NoPort { first, last }));
        let wide = IpAddr::from(Ipv6Addr::UNSPECIFIED)..=IpAddr::from(Ipv6Addr::from(u128::MAX));
        assert_eq!(make(wide, 1..=2), Err(PoolError::TooManyAddresses { count: u128::MAX }));
    }

    #[test]
    fn a_pool_has_its_first_and_its_last_address() {
        assert_eq!(pool(1..=2).addresses().collect::<Vec<_>>(), [v4(1), v4(2), v4(3), v4(4)]);
    }

    #[test]
    fn rfc6888_req_3_a_pool_may_have_gaps() {
        let one = |last| v4(last)..=v4(last);
        let make = |ranges: Vec<_>| Pool::of_ranges(Zone(2), ranges, 1..=2, Quota::default());
        let pool = make(vec![v4(1)..=v4(2), one(7), one(5)]).unwrap();
        let all = [v4(1), v4(2), v4(7), v4(5)];
        assert_eq!(pool.addresses().collect::<Vec<_>>(), all);
        assert!((0..=9).all(|last| pool.has_address(v4(last)) == all.contains(&v4(last))));
        let paired = |hash: u64| pool.paired_with(hash << 62);
        assert_eq!([0, 1, 2, 3].map(paired), all);
        assert_eq!(make(Vec::new()), Err(PoolError::TooManyAddresses { count: 0 }));
    }

    #[test]
    fn rfc4787_req_3a_and_4_candidates_keep_class_and_parity_as_long_as_they_can() {
        let all: Vec<u16> = pool(1..=65535).candidates(5060, 77).collect();
        assert_eq!(all[0], 5060);
        assert!(all.iter().all(|port| *port >= 1024));
        let even = all.iter().take_while(|port| *port % 2 == 0).count();
        assert!(all[even..].iter().all(|port| port % 2 == 1) && even >= 63, "{even}");
        assert!(pool(1..=65535).candidates(123, 77).all(|port| port < 1024));
        assert!(pool(40000..=40010).candidates(123, 77).count() == 11);
    }

    #[test]
    fn candidates_are_spread_over_a_long_range() {
        let pool = pool(1024..=65535);
        for hash in 0..1000 {
            let all = pool.candidates(4000, u64::MAX / 1000 * hash).skip(1);
            let parts: std::collections::HashSet<u16> =
                all.map(|port| (port - 1024) / 4032).collect();
            assert_eq!(parts.len(), 16);
        }
    }

    proptest! {
        #[test]
        fn candidates_are_in_the_range_and_none_comes_twice(
            first in 1u16.., span: u16, port: u16, hash: u64
        ) {
            let ports = first..=first.saturating_add(span);
            let mut all: Vec<u16> = pool(ports.clone()).candidates(port, hash).collect();
            prop_assert!(all.iter().all(|port| ports.contains(port)));
            prop_assert!(!all.is_empty());
            prop_assert_eq!(all.contains(&port), ports.contains(&port));
            let count = all.len();
            all.sort_unstable();
            all.dedup();
            prop_assert_eq!(all.len(), count);
        }

        #[test]
        fn a_small_range_is_looked_at_as_a_whole(first in 1024u16..65000, port in 1024u16.., hash: u64) {
            let all = pool(first..=first + 99).candidates(port, hash).count();
            prop_assert_eq!(all, 100);
        }
    }
}
