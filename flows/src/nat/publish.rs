//! [`Published`]: static mappings, by which the outside reaches containers.
//!
//! A rule publishes ports of an outside bridge's address, or of all its own addresses of one IP version, at
//! a container. A range of ports is one rule. Looking one up is two binary searches at most, whatever
//! the number of rules. Immutable: made by the control thread, read by all.

use std::net::IpAddr;
use std::ops::RangeInclusive;

use pktio::wire::field::protocol;

use crate::{Endpoint, Zone};

/// Why rules cannot be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PublishError {
    /// The protocol has no ports.
    #[error("protocol {protocol} has no ports to publish; publish tcp, udp or sctp")]
    Protocol {
        /// The IP protocol.
        protocol: u8,
    },
    /// The last port comes before the first, or a range begins at 0 or ends beyond 65535.
    #[error("ports {first}-{last} cannot be published at {internal}; check the ranges")]
    Ports {
        /// First external port.
        first: u16,
        /// Last external port.
        last: u16,
        /// Where they begin at the container.
        internal: Endpoint,
    },
    /// The two addresses are of two IP versions.
    #[error("{external} cannot be published at {internal}, which is of the other IP version")]
    TwoVersions {
        /// The external address.
        external: IpAddr,
        /// The container's.
        internal: IpAddr,
    },
    /// Two rules want the same port.
    #[error("{0} and {1} publish the same port; delete one of them first")]
    Overlap(Publish, Publish),
}

/// One rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Publish {
    zone: Zone,
    protocol: u8,
    address: Option<IpAddr>,
    first: u16,
    last: u16,
    internal: Endpoint,
}

impl Publish {
    /// Publishes the ports `ports` of `address`, or of all own addresses, on the outside bridge of `zone`
    /// at a container's ports from `internal` on.
    ///
    /// # Errors
    /// [`PublishError`], when that makes no sense.
    pub fn new(
        zone: Zone,
        protocol: u8,
        address: Option<IpAddr>,
        ports: RangeInclusive<u16>,
        internal: Endpoint,
    ) -> Result<Self, PublishError> {
        if !matches!(protocol, protocol::TCP | protocol::UDP | protocol::SCTP) {
            return Err(PublishError::Protocol { protocol });
        }
        let (first, last) = ports.into_inner();
        let end = last.checked_sub(first).and_then(|more| internal.port.checked_add(more));
        if first == 0 || internal.port == 0 || end.is_none() {
            return Err(PublishError::Ports { first, last, internal });
        }
        match address {
            Some(external) if external.is_ipv4() != internal.ip.is_ipv4() => {
                Err(PublishError::TwoVersions { external, internal: internal.ip })
            }
            _ => Ok(Self { zone, protocol, address, first, last, internal }),
        }
    }

    /// Whether a packet could be meant for both.
    pub fn overlaps(&self, other: &Self) -> bool {
        let same_address = match (self.address, other.address) {
            (Some(a), Some(b)) => a == b,
            _ => self.internal.ip.is_ipv4() == other.internal.ip.is_ipv4(),
        };
        let same_ports = self.first <= other.last && other.first <= self.last;
        self.zone == other.zone && self.protocol == other.protocol && same_address && same_ports
    }

    /// Where a packet to one of its external ports goes.
    pub fn internal_of(&self, external_port: u16) -> Endpoint {
        let step = external_port.saturating_sub(self.first);
        Endpoint { ip: self.internal.ip, port: self.internal.port.saturating_add(step) }
    }

    /// What of the outside an internal endpoint of the rule is.
    fn external_port(&self, internal: u16) -> Option<u16> {
        let step = internal.checked_sub(self.internal.port)?;
        self.first.checked_add(step).filter(|port| *port <= self.last)
    }

    fn last_internal(&self) -> u16 {
        self.internal.port + (self.last - self.first)
    }

    /// The order of external lookups.
    fn key(&self) -> Key {
        let scope = match self.address {
            Some(address) => Scope::one(address),
            None => Scope::all_like(self.internal.ip),
        };
        Key::new(self.zone, self.protocol, scope, self.first)
    }

    /// The order of internal lookups.
    fn internal_key(&self) -> (Zone, u8, IpAddr, u16) {
        (self.zone, self.protocol, self.internal.ip, self.internal.port)
    }
}

impl std::fmt::Display for Publish {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.address {
            Some(IpAddr::V6(address)) => write!(f, "[{address}]:")?,
            Some(address) => write!(f, "{address}:")?,
            None => (),
        }
        write!(f, "{}", self.first)?;
        if self.last != self.first {
            write!(f, "-{}", self.last)?;
        }
        write!(f, ":{}", self.internal)
    }
}

/// Which addresses a rule is for: one, or with `None` all of an IP version.
#[derive(Debug, Clone, Copy)]
struct Scope {
    version: u8,
    address: Option<u128>,
}

impl Scope {
    fn one(ip: IpAddr) -> Self {
        let address = match ip {
            IpAddr::V4(ip) => u32::from(ip).into(),
            IpAddr::V6(ip) => ip.into(),
        };
        Self { address: Some(address), ..Self::all_like(ip) }
    }

    fn all_like(ip: IpAddr) -> Self {
        Self { version: if ip.is_ipv4() { 4 } else { 6 }, address: None }
    }
}

/// Where a rule is in the order of external lookups; a search compares mostly the first words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    /// `zone 16 | protocol 8 | version 8 | one 8`.
    group: u64,
    address: u128,
    port: u16,
}

impl Key {
    fn new(zone: Zone, protocol: u8, scope: Scope, port: u16) -> Self {
        let one = u64::from(scope.address.is_some());
        let group = u64::from(zone.0) << 24
            | u64::from(protocol) << 16
            | u64::from(scope.version) << 8
            | one;
        Self { group, address: scope.address.unwrap_or(0), port }
    }
}

/// What of the outside a published internal endpoint is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PublishedAs {
    /// The address; `None` for any of the outside bridge's own.
    pub address: Option<IpAddr>,
    /// The port.
    pub port: u16,
}

/// All rules. See the module's documentation.
#[derive(Debug, Default)]
pub struct Published {
    /// By [`Publish::key`]; the ranges of a scope are disjoint.
    rules: Box<[Publish]>,
    /// The keys of these.
    keys: Box<[Key]>,
    /// By [`Publish::internal_key`], each with the last port that it or one before it reaches at the same
    /// address: ranges may overlap here, as one endpoint may be published twice.
    internal: Box<[(Publish, u16)]>,
}

impl Published {
    /// The rules `rules`.
    ///
    /// # Errors
    /// [`PublishError::Overlap`], when a packet could be meant for two of them.
    pub fn new(mut rules: Vec<Publish>) -> Result<Self, PublishError> {
        rules.sort_unstable_by_key(Publish::key);
        let keys = rules.iter().map(Publish::key).collect();
        let internal = by_internal(&rules);
        let published = Self { rules: rules.into(), keys, internal };
        match published.conflict() {
            Some((one, other)) => Err(PublishError::Overlap(one, other)),
            None => Ok(published),
        }
    }

    fn conflict(&self) -> Option<(Publish, Publish)> {
        let neighbours = self.rules.windows(2).map(|pair| (pair[0], pair[1]));
        // A rule for one address, and the last rule for all that begins where it ends or before.
        let across = self.rules.iter().filter(|rule| rule.address.is_some()).filter_map(|rule| {
            let all = Scope::all_like(rule.internal.ip);
            Some((*self.last_from(rule.zone, rule.protocol, all, rule.last)?, *rule))
        });
        neighbours.chain(across).find(|(one, other)| one.overlaps(other))
    }

    /// The rule of a scope that begins last at `port` or before.
    fn last_from(&self, zone: Zone, protocol: u8, scope: Scope, port: u16) -> Option<&Publish> {
        let wanted = Key::new(zone, protocol, scope, port);
        let at = self.keys.partition_point(|key| *key <= wanted).checked_sub(1)?;
        let found = self.keys.get(at)?;
        let same_scope = (found.group, found.address) == (wanted.group, wanted.address);
        self.rules.get(at).filter(|_| same_scope)
    }

    /// Whether a port of this protocol is published on the bridge of `zone`.
    pub(super) fn is_any(&self, zone: Zone, protocol: u8) -> bool {
        let of = |key: &Key| (key.group >> 24, key.group >> 16 & 0xff);
        let wanted = (u64::from(zone.0), u64::from(protocol));
        let at = self.keys.partition_point(|key| of(key) < wanted);
        self.keys.get(at).is_some_and(|key| of(key) == wanted)
    }

    /// Where a packet to `destination` goes that came in by the bridge of `zone`. `is_own`: the address
    /// is one of the bridge's own, which rules without an address are for.
    pub fn lookup(
        &self,
        zone: Zone,
        protocol: u8,
        destination: Endpoint,
        is_own: bool,
    ) -> Option<Endpoint> {
        let rule = self.rule_for(zone, protocol, destination, is_own)?;
        Some(rule.internal_of(destination.port))
    }

    /// The rule for a packet to `destination` that came in by the bridge of `zone`.
    pub fn rule_for(
        &self,
        zone: Zone,
        protocol: u8,
        destination: Endpoint,
        is_own: bool,
    ) -> Option<&Publish> {
        let within = |scope| {
            let rule = self.last_from(zone, protocol, scope, destination.port)?;
            (destination.port <= rule.last).then_some(rule)
        };
        let for_all = || is_own.then(|| within(Scope::all_like(destination.ip))).flatten();
        within(Scope::one(destination.ip)).or_else(for_all)
    }

    /// What of the outside bridge of `zone` an internal endpoint is published as, if it is: the source of
    /// what it sends there (RFC 4787 REQ-1), and of hairpinned packets (REQ-9a). To be asked before
    /// [`Mappings::claim`](super::Mappings::claim).
    pub fn external_of(&self, zone: Zone, protocol: u8, internal: Endpoint) -> Option<PublishedAs> {
        let group = (zone, protocol, internal.ip);
        let key = (zone, protocol, internal.ip, internal.port);
        let after = self.internal.partition_point(|(rule, _)| rule.internal_key() <= key);
        let before = self.internal[..after].iter().rev();
        let candidates = before.take_while(|(rule, reach)| {
            let (zone, protocol, ip, _) = rule.internal_key();
            (zone, protocol, ip) == group && *reach >= internal.port
        });
        candidates.map(|(rule, _)| rule).find_map(|rule| {
            let port = rule.external_port(internal.port)?;
            Some(PublishedAs { address: rule.address, port })
        })
    }

    /// The rules, sorted.
    pub fn iter(&self) -> impl Iterator<Item = &Publish> {
        self.rules.iter()
    }
}

fn by_internal(rules: &[Publish]) -> Box<[(Publish, u16)]> {
    let mut sorted = rules.to_vec();
    sorted.sort_by_key(Publish::internal_key);
    let mut before: Option<(Publish, u16)> = None;
    let with_reach = sorted.into_iter().map(|rule| {
        let same_address = |other: &Publish| {
            (other.zone, other.protocol, other.internal.ip)
                == (rule.zone, rule.protocol, rule.internal.ip)
        };
        let reach = before.filter(|(other, _)| same_address(other)).map_or(0, |(_, reach)| reach);
        let entry = (rule, reach.max(rule.last_internal()));
        before = Some(entry);
        entry
    });
    with_reach.collect()
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use pktio::wire::field::protocol::{ICMP, TCP, UDP};
    use proptest::prelude::*;

    use super::*;

    const ZONE: Zone = Zone(2);

    fn v4(last: u8) -> IpAddr {
        Ipv4Addr::new(203, 0, 113, last).into()
    }

    fn container(last: u8, port: u16) -> Endpoint {
        Endpoint::new(Ipv4Addr::new(10, 0, 0, last), port)
    }

    fn rule(address: Option<u8>, ports: RangeInclusive<u16>, internal: Endpoint) -> Publish {
        Publish::new(ZONE, TCP, address.map(v4), ports, internal).unwrap()
    }

    #[test]
    fn it_is_known_whether_anything_of_a_protocol_is_published() {
        let rules = Published::new(vec![rule(None, 80..=80, container(2, 80))]).unwrap();
        let Publish { zone, protocol, .. } = *rules.iter().next().unwrap();
        assert!(rules.is_any(zone, protocol));
        assert!(!rules.is_any(zone, protocol + 1) && !rules.is_any(zone, protocol - 1));
        assert!(!rules.is_any(Zone(zone.0 + 1), protocol));
        assert!(!Published::default().is_any(zone, protocol));
    }

    #[test]
    fn a_range_is_published_port_by_port() {
        let rules = Published::new(vec![rule(None, 8000..=8009, container(2, 80))]).unwrap();
        let lookup = |port| rules.lookup(ZONE, TCP, Endpoint::new(v4(1), port), true);
        assert_eq!(lookup(7999), None);
        assert_eq!(lookup(8000), Some(container(2, 80)));
        assert_eq!(lookup(8009), Some(container(2, 89)));
        assert_eq!(lookup(8010), None);
        assert_eq!(rules.lookup(ZONE, UDP, Endpoint::new(v4(1), 8000), true), None);
        assert_eq!(rules.lookup(Zone(3), TCP, Endpoint::new(v4(1), 8000), true), None);
    }

    #[test]
    fn a_rule_without_an_address_is_for_own_addresses_of_its_ip_version() {
        let rules = Published::new(vec![rule(None, 80..=80, container(2, 80))]).unwrap();
        let own = |ip: IpAddr, is_own| rules.lookup(ZONE, TCP, Endpoint::new(ip, 80), is_own);
        assert_eq!(own(v4(1), true), Some(container(2, 80)));
        assert_eq!(own(v4(1), false), None);
        assert_eq!(own("2001:db8::1".parse().unwrap(), true), None);
    }

    #[test]
    fn rules_that_make_no_sense_are_refused() {
        let make = |kind, address, ports, to| Publish::new(ZONE, kind, address, ports, to);
        let to = container(2, 80);
        assert_eq!(make(ICMP, None, 1..=2, to), Err(PublishError::Protocol { protocol: ICMP }));
        let (first, last) = (9, 8);
        for (first, last, internal) in
            [(first, last, to), (0, 8, to), (1, 8, container(2, 0)), (1, 8, container(2, 65530))]
        {
            let error = PublishError::Ports { first, last, internal };
            assert_eq!(make(TCP, None, first..=last, internal), Err(error));
        }
        let external = "2001:db8::1".parse().unwrap();
        let error = PublishError::TwoVersions { external, internal: to.ip };
        assert_eq!(make(TCP, Some(external), 1..=2, to), Err(error));
    }

    #[test]
    fn two_rules_for_one_port_are_refused_also_across_addresses() {
        let all = rule(None, 80..=90, container(2, 80));
        let one = rule(Some(1), 85..=85, container(3, 80));
        let error = Published::new(vec![one, all]).unwrap_err();
        assert_eq!(error, PublishError::Overlap(all, one));
        assert_eq!(
            error.to_string(),
            "80-90:10.0.0.2:80 and 203.0.113.1:85:10.0.0.3:80 publish the same port; delete one of them first"
        );
        assert!(Published::new(vec![rule(Some(2), 85..=85, container(2, 80)), one]).is_ok());
    }

    #[test]
    fn rfc4787_req_9a_a_published_endpoint_is_seen_by_its_external_one() {
        let wide = rule(Some(1), 7000..=7999, container(2, 1000));
        let inner = rule(Some(1), 80..=80, container(2, 1500));
        let rules = Published::new(vec![wide, inner]).unwrap();
        let external = |port| rules.external_of(ZONE, TCP, container(2, port));
        let address = Some(v4(1));
        assert_eq!(external(1000), Some(PublishedAs { address, port: 7000 }));
        assert_eq!(external(1500), Some(PublishedAs { address, port: 80 }));
        assert_eq!(external(1999), Some(PublishedAs { address, port: 7999 }));
        assert_eq!(external(2000), None);
        assert_eq!(rules.external_of(ZONE, TCP, container(3, 1000)), None);
    }

    fn rules() -> impl Strategy<Value = Vec<Publish>> {
        let one = (0u16..2, prop::option::of(1u8..3), 1u16..60, 0u16..5, 2u8..4, 1u16..60);
        let rule = one.prop_map(|(zone, address, first, more, to, port)| {
            let ports = first..=first + more;
            Publish::new(Zone(zone), TCP, address.map(v4), ports, container(to, port)).unwrap()
        });
        prop::collection::vec(rule, 0..12)
    }

    proptest! {
        #[test]
        fn rules_behave_as_a_list_that_is_searched_from_end_to_end(
            rules in rules(), zone in 0u16..2, address in 1u8..4, port in 0u16..70, is_own: bool,
            to in 2u8..4
        ) {
            let pairs = |rule: &Publish| rules.iter().filter(|other| rule.overlaps(other)).count();
            let is_sound = rules.iter().all(|rule| pairs(rule) == 1);
            let published = Published::new(rules.clone());
            prop_assert_eq!(published.is_ok(), is_sound);
            let Ok(published) = published else { return Ok(()) };
            let (zone, destination) = (Zone(zone), Endpoint::new(v4(address), port));
            let matching = |rule: &&Publish| {
                rule.zone == zone
                    && rule.address.map_or(is_own, |address| address == destination.ip)
                    && (rule.first..=rule.last).contains(&port)
            };
            let expected = rules.iter().find(matching).map(|rule| {
                Endpoint { port: rule.internal.port + port - rule.first, ..rule.internal }
            });
            prop_assert_eq!(published.lookup(zone, TCP, destination, is_own), expected);

            let internal = container(to, port);
            let external = published.external_of(zone, TCP, internal);
            let possible: Vec<_> = rules
                .iter()
                .filter(|rule| rule.zone == zone && rule.internal.ip == internal.ip)
                .filter_map(|rule| Some(PublishedAs {
                    address: rule.address, port: rule.external_port(port)?
                }))
                .collect();
            prop_assert_eq!(external.is_some(), !possible.is_empty());
            prop_assert!(external.is_none_or(|external| possible.contains(&external)));
        }
    }
}
