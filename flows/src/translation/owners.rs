//! [`Owners`]: whose the addresses of the switch are.

use std::collections::HashMap;
use std::net::IpAddr;

use crate::BridgeIndex;

/// The bridge on which the stations of a bridge find an address of the switch: a gateway's or a pool's. Immutable.
#[derive(Debug, Default)]
pub struct Owners {
    of: HashMap<(BridgeIndex, IpAddr), BridgeIndex>,
    /// The lowest address of each version (`true`: IPv4) that a bridge has itself.
    first: HashMap<(BridgeIndex, bool), IpAddr>,
}

impl Owners {
    /// Where the stations of a bridge find an address, if it is one of the switch.
    pub fn of(&self, from: BridgeIndex, ip: IpAddr) -> Option<BridgeIndex> {
        self.of.get(&(from, ip)).copied()
    }

    /// The lowest address of a version that a bridge has itself.
    pub fn first_on(&self, bridge: BridgeIndex, is_ipv4: bool) -> Option<IpAddr> {
        self.first.get(&(bridge, is_ipv4)).copied()
    }
}

impl FromIterator<((BridgeIndex, IpAddr), BridgeIndex)> for Owners {
    /// Of what is said twice of an address the last counts.
    fn from_iter<I: IntoIterator<Item = ((BridgeIndex, IpAddr), BridgeIndex)>>(owners: I) -> Self {
        let of: HashMap<_, _> = owners.into_iter().collect();
        let mut first = HashMap::new();
        for (&(from, ip), _) in of.iter().filter(|((from, _), owner)| from == *owner) {
            let lowest = first.entry((from, ip.is_ipv4())).or_insert(ip);
            *lowest = ip.min(*lowest);
        }
        Self { of, first }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bridge_has_the_lowest_of_its_own_addresses_and_knows_those_of_others() {
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        let [here, there] = [1, 2].map(BridgeIndex);
        let owners: Owners = [
            ((here, ip("10.0.0.9")), here),
            ((here, ip("10.0.0.1")), here),
            ((here, ip("fd00::1")), here),
            ((here, ip("9.9.9.9")), there),
            ((there, ip("9.9.9.9")), here),
            ((there, ip("9.9.9.9")), there),
        ]
        .into_iter()
        .collect();
        assert_eq!(owners.of(here, ip("9.9.9.9")), Some(there));
        assert_eq!(owners.of(there, ip("9.9.9.9")), Some(there), "said last");
        assert_eq!(owners.of(there, ip("10.0.0.1")), None);
        assert_eq!(owners.first_on(here, true), Some(ip("10.0.0.1")));
        assert_eq!(owners.first_on(here, false), Some(ip("fd00::1")));
        assert_eq!(owners.first_on(there, true), Some(ip("9.9.9.9")));
        assert_eq!(owners.first_on(there, false), None);
    }
}
