//! [`Reservations`]: published ports that masquerading must not claim (RFC 4787 REQ-3).

use std::collections::BTreeSet;

use flows::Nanos;
use flows::nat::Mappings;

use crate::control::compile::Reserved;

/// The ports that are to be kept from masquerading, and those that are. A port that a container holds by a mapping
/// when it is published stays the container's until its sessions have ended.
#[derive(Debug, Default)]
pub(super) struct Reservations {
    wanted: BTreeSet<Reserved>,
    held: BTreeSet<Reserved>,
}

impl Reservations {
    /// Keeps these ports, and no others any more. `old` and `new` are the mappings of the configurations before
    /// and after; their ports are the same.
    pub(super) fn change(
        &mut self,
        wanted: BTreeSet<Reserved>,
        old: &Mappings,
        new: &Mappings,
        now: Nanos,
    ) {
        for (zone, protocol, external) in self.held.difference(&wanted) {
            old.unreserve(*zone, *protocol, *external);
        }
        self.held.retain(|port| wanted.contains(port));
        self.wanted = wanted;
        self.retry(new, now);
    }

    /// Tries to get the ports that were taken.
    pub(super) fn retry(&mut self, mappings: &Mappings, now: Nanos) {
        for port in self.wanted.difference(&self.held).copied().collect::<Vec<_>>() {
            let (zone, protocol, external) = port;
            if mappings.reserve(zone, protocol, external, now) {
                self.held.insert(port);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flows::nat::{Pool, Quota};
    use flows::{Endpoint, Zone};
    use std::net::Ipv4Addr;

    const TCP: u8 = 6;
    const OUTSIDE: Zone = Zone(2);
    const WORLD: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);

    fn claim(mappings: &Mappings, host: u8, port: u16, now: Nanos) -> flows::nat::Claim {
        let range = WORLD.into()..=WORLD.into();
        let pool = Pool::new(OUTSIDE, range, 1024..=u16::MAX, Quota::default()).unwrap();
        let internal = Endpoint::new(Ipv4Addr::new(10, 0, 0, host), port);
        mappings.claim(Zone(1), TCP, internal, &pool, now).unwrap()
    }

    #[test]
    fn a_published_port_is_not_claimed_until_it_is_withdrawn() {
        let none = Mappings::new(16, 1);
        let mappings = none.with_addresses([(OUTSIDE, WORLD.into())]);
        let (mut reservations, now) = (Reservations::default(), Nanos::from_secs(1));
        let port = (OUTSIDE, TCP, Endpoint::new(WORLD, 8080));
        reservations.change([port].into(), &none, &mappings, now);
        assert_ne!(claim(&mappings, 2, 8080, now).external.port, 8080);
        reservations.change(BTreeSet::new(), &mappings, &mappings, now);
        assert_eq!(claim(&mappings, 3, 8080, now).external.port, 8080);
    }

    #[test]
    fn a_port_that_is_in_use_is_reserved_when_it_is_free_again() {
        let mappings = Mappings::new(16, 1).with_addresses([(OUTSIDE, WORLD.into())]);
        let (mut reservations, now) = (Reservations::default(), Nanos::from_secs(1));
        let held = claim(&mappings, 2, 8080, now);
        let port = (OUTSIDE, TCP, held.external);
        reservations.change([port].into(), &mappings, &mappings, now);
        assert!(reservations.held.is_empty());
        mappings.release(held.mapping, now);
        let later = Nanos::from_secs(1000);
        reservations.retry(&mappings, later);
        assert_eq!(reservations.held, [port].into());
    }
}
