//! [`Masquerades`]: masquerading rules, found by whom they hide and by what they are behind, however many there are.

use std::collections::HashMap;
use std::net::IpAddr;
use std::ops::RangeInclusive;

use super::Masquerade;
use crate::{BridgeIndex, Endpoint, Zone};

/// Masquerading rules, immutable. Of those of one bridge the first that fits counts, in the order in which they were
/// collected.
#[derive(Debug, Default)]
pub struct Masquerades {
    /// By bridge, in order within each.
    rules: Box<[Masquerade]>,
    /// The ports of all pools together at each address outside, in order, with others between them.
    ports: HashMap<(Zone, IpAddr), Vec<RangeInclusive<u16>>>,
}

impl Masquerades {
    /// Those that hide the stations of a bridge, in order.
    pub fn of(&self, inside: BridgeIndex) -> impl Iterator<Item = &Masquerade> {
        let first = self.rules.partition_point(|rule| rule.from < inside);
        self.rules[first..].iter().take_while(move |rule| rule.from == inside)
    }

    /// Whether somebody may be seen as an endpoint outside.
    pub fn may_hold(&self, outside: Zone, external: Endpoint) -> bool {
        let Some(ranges) = self.ports.get(&(outside, external.ip)) else { return false };
        let at = ranges.partition_point(|range| *range.end() < external.port);
        ranges.get(at).is_some_and(|range| range.contains(&external.port))
    }
}

impl FromIterator<Masquerade> for Masquerades {
    fn from_iter<I: IntoIterator<Item = Masquerade>>(rules: I) -> Self {
        let mut rules: Box<[Masquerade]> = rules.into_iter().collect();
        rules.sort_by_key(|rule| rule.from);
        let mut ports = HashMap::<_, Vec<_>>::new();
        for pool in rules.iter().map(|rule| &rule.pool) {
            for ip in pool.addresses() {
                ports.entry((pool.zone(), ip)).or_default().push(pool.ports());
            }
        }
        ports.values_mut().for_each(merge);
        Self { rules, ports }
    }
}

/// Puts ranges in order, and those together between which there is nothing.
fn merge(ranges: &mut Vec<RangeInclusive<u16>>) {
    ranges.sort_by_key(|range| *range.start());
    ranges.dedup_by(|next, range| {
        let is_one = *next.start() <= range.end().saturating_add(1);
        if is_one {
            *range = *range.start()..=*range.end().max(next.end());
        }
        is_one
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nat::{Pool, Quota};
    use crate::translation::Filtering;

    const OUTSIDE: BridgeIndex = BridgeIndex(7);

    /// Hides a bridge behind so many addresses from that one on.
    fn rule(from: u16, (first, count): (u8, u8), ports: RangeInclusive<u16>) -> Masquerade {
        let address = |last| IpAddr::from([192, 0, 2, last]);
        let addresses = address(first)..=address(first + count - 1);
        let pool = Pool::new(OUTSIDE.into(), addresses, ports, Quota::default()).unwrap();
        Masquerade::new(BridgeIndex(from), pool, Filtering::ByAddress)
    }

    fn some() -> Masquerades {
        [
            rule(3, (1, 1), 1024..=65535),
            rule(1, (1, 1), 1024..=65535),
            rule(3, (2, 3), 1..=1023),
            rule(2, (2, 1), 2000..=2999),
            rule(3, (9, 1), 5..=5),
            rule(4, (9, 1), 2000..=3000),
            rule(5, (9, 1), 1024..=2500),
            rule(5, (9, 1), 1..=4),
            rule(6, (10, 1), 3000..=65535),
            rule(6, (10, 1), 65535..=65535),
        ]
        .into_iter()
        .collect()
    }

    #[test]
    fn rules_of_a_bridge_are_found_in_the_order_in_which_they_came() {
        let rules = some();
        let firsts = |from| -> Vec<_> {
            let pools = rules.of(BridgeIndex(from)).map(|rule| &rule.pool);
            pools.map(|pool| pool.addresses().next().unwrap().to_string()).collect()
        };
        assert_eq!(firsts(3), ["192.0.2.1", "192.0.2.2", "192.0.2.9"]);
        assert_eq!(firsts(1), ["192.0.2.1"]);
        assert_eq!(firsts(2), ["192.0.2.2"]);
        assert_eq!([firsts(0), firsts(7)], [const { Vec::<String>::new() }; 2]);
        assert_eq!(rules.rules.len(), 10);
    }

    #[test]
    fn an_endpoint_may_be_held_that_some_pool_has() {
        let rules = some();
        for zone in [OUTSIDE, BridgeIndex(8)].map(Zone::from) {
            for (last, port) in [1, 2, 3, 4, 5, 9, 10].into_iter().flat_map(|last| {
                [1, 5, 6, 1023, 1024, 1999, 2000, 3000, 3001, 65535].map(|port| (last, port))
            }) {
                let external = Endpoint::new(IpAddr::from([192, 0, 2, last]), port);
                let has =
                    |rule: &Masquerade| rule.pool.zone() == zone && rule.pool.contains(external);
                assert_eq!(
                    rules.may_hold(zone, external),
                    rules.rules.iter().any(has),
                    "{external:?}"
                );
            }
        }
    }
}
