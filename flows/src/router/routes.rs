//! [`Routes`]: where packets of one bridge go, by the longest prefix that their destination is in.
//!
//! One table per bridge that routes: it holds that bridge's own subnets, the subnets of the bridges that it
//! may reach, and static routes whose next hops lie there. So what a bridge may not reach is simply not
//! in its table, and subnets of unrelated bridges may overlap. One map besides, which all tables share, has the subnets
//! that containers are in: what is for one of them never leaves by another bridge or a router.
//!
//! Built whole by the control thread and immutable then; any thread looks up.

use std::net::IpAddr;
use std::sync::Arc;

use super::hash;
use super::prefix::{Prefix, PrefixMap};
use crate::BridgeIndex;

/// A router, or the destination itself, on a bridge.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NextHop {
    /// The bridge to send by.
    pub bridge: BridgeIndex,
    /// Whom to send to: the address to resolve there.
    pub ip: IpAddr,
}

/// What becomes of packets to a prefix.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// They are for the switch itself: a gateway address.
    Local,
    /// Their destination is a station of this bridge.
    Connected {
        /// The bridge.
        bridge: BridgeIndex,
    },
    /// They go through one of these routers, each flow always through the same one.
    Via {
        /// The routers.
        next_hops: Box<[NextHop]>,
    },
    /// They are for a bridge that this one may not reach.
    Apart,
    /// They are for all stations of a subnet, and dropped (RFC 2644: no directed broadcasts).
    Broadcast,
}

/// A route that was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Route<'a> {
    /// The prefix that matched.
    pub prefix: Prefix,
    /// What becomes of the packet.
    pub target: &'a Target,
}

impl Route<'_> {
    /// Whom to send a packet to. `None` when the route leads to no one.
    ///
    /// Among several routers each flow picks the one with the highest hash of the flow and the router
    /// (rendezvous hashing, RFC 2992's "highest random weight"): their order does not matter, and when
    /// one is removed only its own flows go elsewhere.
    pub fn next_hop(&self, destination: IpAddr, flow_hash: u64) -> Option<NextHop> {
        match self.target {
            Target::Connected { bridge } => Some(NextHop { bridge: *bridge, ip: destination }),
            Target::Via { .. } => self.next_hop_among(flow_hash, |_| true),
            Target::Local | Target::Apart | Target::Broadcast => None,
        }
    }

    /// The router that a flow picks among those of several that it may.
    pub fn next_hop_among(
        &self,
        flow_hash: u64,
        may: impl Fn(&NextHop) -> bool,
    ) -> Option<NextHop> {
        let Target::Via { next_hops } = self.target else { return None };
        let candidates = next_hops.iter().copied().filter(may);
        candidates.max_by_key(|hop| (weight(*hop, flow_hash), *hop))
    }
}

/// The subnets of the bridges of containers.
#[derive(Debug, Clone, Default)]
pub struct Inside(PrefixMap<Prefix>);

impl FromIterator<Prefix> for Inside {
    fn from_iter<I: IntoIterator<Item = Prefix>>(subnets: I) -> Self {
        Self(subnets.into_iter().map(|subnet| (subnet, subnet)).collect())
    }
}

/// The routes of one bridge. Of several routes for one prefix the one that was given last counts.
#[derive(Debug, Clone, Default)]
pub struct Routes {
    /// Positions in `routes`.
    map: PrefixMap<u32>,
    routes: Vec<(Prefix, Target)>,
    inside: Arc<Inside>,
    own: Option<BridgeIndex>,
}

impl Routes {
    /// The same routes, as those of a bridge from which none leads away what is for one of these subnets.
    pub fn around(self, own: BridgeIndex, inside: Arc<Inside>) -> Self {
        Self { inside, own: Some(own), ..self }
    }

    /// The route for a destination: that with the longest prefix. A subnet inside that the bridge may not reach counts where
    /// otherwise somebody would be asked on another bridge, or a router, to whom a shorter prefix leads; or nobody.
    #[inline]
    pub fn lookup(&self, destination: IpAddr) -> Option<Route<'_>> {
        let found = self.longest(destination);
        let leads_away = found.is_none_or(|route| match route.target {
            Target::Via { .. } => true,
            Target::Connected { bridge } => Some(*bridge) != self.own,
            Target::Local | Target::Apart | Target::Broadcast => false,
        });
        if !leads_away {
            return found;
        }
        let bits = found.map(|route| route.prefix.bits());
        let apart = self.inside.0.get(destination).filter(|subnet| Some(subnet.bits()) > bits);
        apart.map(|prefix| Route { prefix, target: &Target::Apart }).or(found)
    }

    fn longest(&self, destination: IpAddr) -> Option<Route<'_>> {
        let at = usize::try_from(self.map.get(destination)?).ok()?;
        let (prefix, target) = self.routes.get(at)?;
        Some(Route { prefix: *prefix, target })
    }

    /// All routes, as they were given.
    pub fn iter(&self) -> impl Iterator<Item = Route<'_>> {
        self.routes.iter().map(|(prefix, target)| Route { prefix: *prefix, target })
    }
}

impl FromIterator<(Prefix, Target)> for Routes {
    fn from_iter<I: IntoIterator<Item = (Prefix, Target)>>(routes: I) -> Self {
        let routes: Vec<_> = routes.into_iter().collect();
        let map = routes.iter().map(|(prefix, _)| *prefix).zip(0u32..).collect();
        Self { map, routes, inside: Arc::default(), own: None }
    }
}

/// How much a flow wants a router.
fn weight(hop: NextHop, flow_hash: u64) -> u64 {
    let [high, low] = hash::words(hop.ip);
    // The flow comes last once more: routers with addresses in a row differ by few bits, which one
    // round more has to spread.
    hash::keyed(flow_hash, [u64::from(hop.bridge.0), high, low, flow_hash])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prefix(text: &str) -> Prefix {
        let (ip, bits) = text.split_once('/').unwrap();
        Prefix::new(ip.parse().unwrap(), bits.parse().unwrap()).unwrap()
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn hop(last: u8) -> NextHop {
        NextHop { bridge: BridgeIndex(7), ip: [10, 0, 0, last].into() }
    }

    fn via(last: &[u8]) -> Target {
        Target::Via { next_hops: last.iter().copied().map(hop).collect() }
    }

    #[test]
    fn the_longest_prefix_decides() {
        let routes: Routes = [
            (prefix("0.0.0.0/0"), via(&[1])),
            (prefix("10.0.0.0/24"), Target::Connected { bridge: BridgeIndex(7) }),
            (prefix("10.0.0.1/32"), Target::Local),
            (prefix("10.0.0.255/32"), Target::Broadcast),
            (prefix("192.168.0.0/16"), via(&[2])),
        ]
        .into_iter()
        .collect();
        let found = |to| routes.lookup(ip(to)).unwrap();
        assert_eq!(found("8.8.8.8").next_hop(ip("8.8.8.8"), 0), Some(hop(1)));
        assert_eq!(found("10.0.0.9").next_hop(ip("10.0.0.9"), 0), Some(hop(9)));
        assert_eq!(found("10.0.0.9").prefix, prefix("10.0.0.0/24"));
        assert_eq!(found("10.0.0.1").target, &Target::Local);
        assert_eq!(found("10.0.0.255").target, &Target::Broadcast);
        assert_eq!(found("192.168.3.4").next_hop(ip("192.168.3.4"), 0), Some(hop(2)));
        assert!(routes.lookup(ip("fd00::1")).is_none(), "there is no route for IPv6");
    }

    #[test]
    fn what_is_for_a_subnet_inside_is_led_away_by_no_router_that_knows_less_of_it() {
        let inside = [
            "10.0.0.0/24",
            "10.0.0.128/25",
            "10.1.0.0/24",
            "10.2.0.0/24",
            "10.3.0.0/24",
            "fd01::/64",
        ];
        let routes: Routes = [
            (prefix("0.0.0.0/0"), via(&[1])),
            (prefix("10.0.0.0/24"), Target::Connected { bridge: BridgeIndex(7) }),
            (prefix("10.2.0.0/24"), via(&[2])),
            (prefix("10.2.0.128/25"), Target::Connected { bridge: BridgeIndex(8) }),
            (prefix("10.3.0.0/16"), Target::Connected { bridge: BridgeIndex(9) }),
        ]
        .into_iter()
        .collect();
        let routes =
            routes.around(BridgeIndex(7), Arc::new(inside.map(prefix).into_iter().collect()));
        for (to, expected) in [
            ("8.8.8.8", "0.0.0.0/0"),
            ("10.0.0.9", "10.0.0.0/24"),
            ("10.1.0.9", "apart"),
            ("10.2.0.9", "10.2.0.0/24"),
            ("10.2.0.200", "10.2.0.128/25"),
            ("10.3.0.9", "apart"),
            ("10.3.1.9", "10.3.0.0/16"),
            ("10.0.0.129", "10.0.0.0/24"),
            ("fd01::9", "apart"),
            ("fd02::9", "none"),
        ] {
            let found = match routes.lookup(ip(to)) {
                Some(Route { target: Target::Apart, .. }) => "apart".to_owned(),
                Some(route) => route.prefix.to_string(),
                None => "none".to_owned(),
            };
            assert_eq!(found, expected, "{to}");
        }
    }

    #[test]
    fn the_last_of_equal_routes_counts() {
        let routes: Routes =
            [(prefix("::/0"), via(&[1])), (prefix("::/0"), via(&[2]))].into_iter().collect();
        assert_eq!(routes.lookup(ip("::5")).unwrap().next_hop(ip("::5"), 3), Some(hop(2)));
        assert_eq!(routes.iter().count(), 2);
    }

    fn picks(target: &Target) -> Vec<NextHop> {
        let route = Route { prefix: prefix("0.0.0.0/0"), target };
        (0..3000).map(|flow| route.next_hop(ip("8.8.8.8"), flow).unwrap()).collect()
    }

    #[test]
    fn flows_spread_evenly_and_the_order_of_next_hops_does_not_matter() {
        let picked = picks(&via(&[1, 2, 3]));
        assert_eq!(picked, picks(&via(&[3, 1, 2])));
        for last in 1..=3 {
            let share = picked.iter().filter(|found| **found == hop(last)).count();
            assert!((900..=1100).contains(&share), "{share} of 3000 flows");
        }
    }

    #[test]
    fn a_next_hop_that_goes_moves_only_its_own_flows() {
        for (before, after) in picks(&via(&[1, 2, 3])).into_iter().zip(picks(&via(&[1, 3]))) {
            assert!(before == after || before == hop(2));
        }
    }
}
