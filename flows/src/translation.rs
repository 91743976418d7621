//! [`Translation`]: the address translation of a configuration.

use std::collections::HashMap;
use std::net::IpAddr;

use pktio::wire::field::protocol;

use crate::nat::{MappingId, Mappings, Pool, Published};
use crate::session::{Key, Session, TcpPolicy, Timeouts};
use crate::{BridgeIndex, Endpoint, Nanos, Tuple, Zone};

/// Who may answer through a mapping.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Filtering {
    /// Whom the container has talked to: address and port (RFC 4787 section 5, the strict kind).
    #[default]
    ByAddress,
    /// Everybody (RFC 4787 REQ-8, the transparent kind).
    EndpointIndependent,
}

/// Hides the stations of one bridge behind addresses on another.
#[derive(Debug, Clone)]
pub struct Masquerade {
    /// The inside.
    pub from: BridgeIndex,
    /// What the outside sees. Its zone is the bridge outside.
    pub pool: Pool,
    /// Who may answer.
    pub filtering: Filtering,
}

/// Whom a packet to an address of the switch is really for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Inward {
    /// Where the station is.
    pub bridge: BridgeIndex,
    /// The station and its port.
    pub internal: Endpoint,
    /// The mapping that the session uses, and has to give back.
    pub mapping: Option<MappingId>,
}

/// All address translation of a configuration, immutable. The mappings' tables are shared by all
/// configurations.
#[derive(Debug)]
pub struct Translation {
    /// Which endpoints are taken.
    pub mappings: Mappings,
    /// Masquerading rules; the first that fits counts.
    pub masquerades: Vec<Masquerade>,
    /// What stations whose ports are published are hidden behind when they reach each other by these.
    pub hairpins: Vec<Masquerade>,
    /// Published ports, by the bridge on which the world finds them.
    pub published: Published,
    /// Where the stations of published ports are.
    pub homes: HashMap<(Zone, IpAddr), BridgeIndex>,
    /// The bridge on which the stations of a bridge find an address of the switch: a gateway's or a
    /// pool's.
    pub owners: HashMap<(BridgeIndex, IpAddr), BridgeIndex>,
    /// How strictly TCP is tracked.
    pub tcp: TcpPolicy,
    /// How long silent sessions live.
    pub timeouts: Timeouts,
}

impl Default for Translation {
    /// None.
    fn default() -> Self {
        Self {
            mappings: Mappings::new(1, 0),
            masquerades: Vec::new(),
            hairpins: Vec::new(),
            published: Published::default(),
            homes: HashMap::new(),
            owners: HashMap::new(),
            tcp: TcpPolicy::default(),
            timeouts: Timeouts::default(),
        }
    }
}

impl Translation {
    /// The pool for packets of an IP version from one bridge to another.
    pub fn masquerade(
        &self,
        from: BridgeIndex,
        to: BridgeIndex,
        is_ipv4: bool,
    ) -> Option<&Masquerade> {
        let fits = |rule: &&Masquerade| rule.pool.zone() == to.into() && rule.is_ipv4() == is_ipv4;
        self.masquerades.iter().filter(|rule| rule.from == from).find(fits)
    }

    /// The pool for packets that go back to the bridge that they came from: any that hides this bridge.
    pub fn hairpin(&self, bridge: BridgeIndex, is_ipv4: bool) -> Option<&Masquerade> {
        let fits = |rule: &&Masquerade| rule.from == bridge && rule.is_ipv4() == is_ipv4;
        self.masquerades.iter().chain(&self.hairpins).find(fits)
    }

    /// What the world knows a published endpoint by, on the bridge of `outside`.
    pub fn published_as(
        &self,
        outside: Zone,
        protocol: u8,
        internal: Endpoint,
    ) -> Option<Endpoint> {
        let known = self.published.external_of(outside, protocol, internal)?;
        let is_ipv4 = internal.ip.is_ipv4();
        let own = || {
            let bridge = BridgeIndex(outside.0);
            let own = self
                .owners
                .iter()
                .filter(|((from, _), owner)| *from == bridge && **owner == bridge);
            own.map(|((_, ip), _)| *ip).filter(|ip| ip.is_ipv4() == is_ipv4).min()
        };
        Some(Endpoint { ip: known.address.or_else(own)?, port: known.port })
    }

    /// Whom the first packet of a session is really for, if it is addressed to the switch. A mapping that
    /// lets it in is claimed for the session.
    pub fn inward(&self, key: Key) -> Option<Inward> {
        let (protocol, external) = (key.tuple.protocol, key.tuple.destination);
        let outside = *self.owners.get(&(BridgeIndex(key.zone.0), external.ip))?;
        if let Some(internal) = self.published.lookup(outside.into(), protocol, external, true) {
            let bridge = *self.homes.get(&(outside.into(), internal.ip))?;
            return Some(Inward { bridge, internal, mapping: None });
        }
        // Who is asked by an ICMP query has no identifier: any mapping would be another query's.
        if matches!(protocol, protocol::ICMP | protocol::ICMPV6) {
            return None;
        }
        let found = self.mappings.find(outside.into(), protocol, external)?;
        let rule = self.rule_of(found.zone, outside.into(), external.ip)?;
        // Neighbours are no strangers: they reach each other's mappings whatever the filter says (RFC 4787
        // REQ-9), as they reach each other.
        if rule.filtering == Filtering::ByAddress && found.zone != key.zone {
            return None;
        }
        let quota = rule.pool.quota();
        let inbound = self.mappings.join(outside.into(), protocol, external, quota)?;
        let (bridge, mapping) = (BridgeIndex(inbound.zone.0), Some(inbound.mapping));
        Some(Inward { bridge, internal: inbound.internal, mapping })
    }

    /// The rule by which an inside has mappings at an address outside.
    fn rule_of(&self, inside: Zone, outside: Zone, external: IpAddr) -> Option<&Masquerade> {
        self.masquerades.iter().find(|rule| {
            Zone::from(rule.from) == inside
                && rule.pool.zone() == outside
                && rule.pool.addresses().any(|ip| ip == external)
        })
    }

    /// Whether what comes in by the bridge of a zone is addressed to an endpoint that somebody may be
    /// masqueraded as. What nobody takes there is dropped without a word, since its receiver may be about
    /// to open the way for it from inside (RFC 5382 REQ-4).
    pub fn may_be_claimed(&self, key: Key) -> bool {
        let Tuple { protocol, destination, .. } = key.tuple;
        matches!(protocol, protocol::TCP | protocol::UDP)
            && self
                .masquerades
                .iter()
                .any(|rule| rule.pool.zone() == key.zone && rule.pool.contains(destination))
    }

    /// Gives back what a session had that ended.
    pub fn release(&self, session: &Session, now: Nanos) {
        let [begun, answered] = [session.initiator, session.responder];
        let protocol = begun.tuple.protocol;
        let [source, destination] = [begun.tuple.source, begun.tuple.destination];
        let translated = [
            ((begun.zone, source), (answered.zone, answered.tuple.destination)),
            ((answered.zone, answered.tuple.source), (begun.zone, destination)),
        ];
        for (inside, (zone, external)) in translated {
            let outside = (self.outside_of(zone, external.ip), external);
            // A published port is in no mapping, or was in somebody else's before it was published.
            let is_translated = inside.1 != external;
            let mapping = is_translated.then(|| self.mappings.between(inside, protocol, outside));
            if let Some(mapping) = mapping.flatten() {
                self.mappings.release(mapping, now);
            }
        }
    }

    /// The bridge on which an address that packets of a zone are sent to is external.
    fn outside_of(&self, zone: Zone, external: IpAddr) -> Zone {
        self.owners.get(&(BridgeIndex(zone.0), external)).map_or(zone, |owner| (*owner).into())
    }
}

impl Masquerade {
    fn is_ipv4(&self) -> bool {
        self.pool.addresses().next().is_some_and(|ip| ip.is_ipv4())
    }
}
