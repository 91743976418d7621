//! [`Translation`]: the address translation of a configuration.

mod masquerades;
mod owners;

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use pktio::wire::field::protocol;

use crate::nat::{Inbound, MappingId, Mappings, Nptv6, Pool, Publish, Published};
use crate::router::PrefixSet;
use crate::service::{Backend, Choice, Listener, Service, Services};
use crate::session::{Key, Session, TcpPolicy, Timeouts};
use crate::{BridgeIndex, Endpoint, Nanos, Tuple, Zone};

pub use masquerades::Masquerades;
pub use owners::Owners;

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
    /// The destinations that see the stations as they are (RFC 6888 REQ-6).
    pub except: PrefixSet,
    /// How much it is used.
    pub usage: Arc<Usage>,
}

impl Masquerade {
    /// A rule whose use nobody asks about.
    pub fn new(from: BridgeIndex, pool: Pool, filtering: Filtering) -> Self {
        let (except, usage) = (PrefixSet::default(), Arc::new(Usage::of(u32::MAX)));
        Self { from, pool, filtering, except, usage }
    }
}

/// Gives the stations of one bridge addresses of another prefix on another bridge, one to one (RFC 6296).
#[derive(Debug, Clone)]
pub struct PrefixRule {
    /// The inside.
    pub from: BridgeIndex,
    /// The outside.
    pub to: BridgeIndex,
    /// What becomes of addresses.
    pub prefixes: Nptv6,
    /// Other addresses do not go there: what opened the way is this rule, and it is for those that it translates.
    pub is_only_way: bool,
    /// How much it is used.
    pub usage: Arc<Usage>,
}

/// Where the station of a published port is.
#[derive(Debug, Clone)]
pub struct Home {
    /// Its bridge.
    pub bridge: BridgeIndex,
    /// How much the rule is used.
    pub usage: Arc<Usage>,
}

/// How much a rule of address translation is used. It outlives configurations as long as the rule does. Any
/// thread counts, once for each session.
#[derive(Debug)]
pub struct Usage {
    rule: u32,
    begun: AtomicU64,
    refused: AtomicU64,
}

impl Usage {
    /// That of the rule of this number, which is new.
    pub fn of(rule: u32) -> Self {
        Self { rule, begun: AtomicU64::new(0), refused: AtomicU64::new(0) }
    }

    /// The rule's number.
    pub fn rule(&self) -> u32 {
        self.rule
    }

    /// Sessions that it began.
    pub fn begun(&self) -> u64 {
        self.begun.load(Ordering::Relaxed)
    }

    /// Packets that would have begun one, and for which no port was free or allowed.
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    pub(crate) fn begin(&self) {
        self.begun.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn refuse(&self) {
        self.refused.fetch_add(1, Ordering::Relaxed);
    }
}

/// What the destination of a new session sees as its source.
#[derive(Debug, Clone, Copy)]
pub enum Outward<'a> {
    /// This endpoint, by a rule that is used so much, or by none.
    As(Endpoint, Option<&'a Usage>),
    /// One that is to be claimed of a pool.
    Claimed(&'a Masquerade),
    /// Nothing: the address is none that can be translated (RFC 6296 section 3.7), or none that would be where only
    /// those go that are.
    Nothing,
}

/// Whom a packet to an address of the switch is really for.
#[derive(Debug, Clone, Copy)]
pub struct Inward<'a> {
    /// Where the station is.
    pub bridge: BridgeIndex,
    /// The station and its port.
    pub internal: Endpoint,
    /// It is let in by a mapping, which is somebody's for a while, and by no rule that says so.
    pub is_mapped: bool,
    /// The mapping that the session uses, and has to give back.
    pub mapping: Option<MappingId>,
    /// How much the rule is used that says so.
    pub usage: &'a Usage,
    /// The service that says so, and the backend that the station is.
    pub service: Option<(&'a Service, &'a Backend)>,
}

/// Why the first packet of a session to a service's address is for nobody.
#[derive(Debug, Clone, Copy)]
pub enum Undelivered<'a> {
    /// The service has no backend that takes it.
    NoBackend(&'a Service),
    /// The service does not listen at that port.
    Closed,
}

/// All address translation of a configuration, immutable. The mappings' tables are shared by all
/// configurations.
#[derive(Debug)]
pub struct Translation {
    /// Which endpoints are taken.
    pub mappings: Mappings,
    /// Masquerading rules; the first that fits counts.
    pub masquerades: Masquerades,
    /// What stations whose ports are published, or that serve, are hidden behind when they reach each other by these.
    pub hairpins: Masquerades,
    /// Published ports, by the bridge on which the world finds them.
    pub published: Published,
    /// Where the stations of published ports are.
    pub homes: HashMap<Publish, Home>,
    /// Services. Node ports are among the published ports, and lead to these.
    pub services: Arc<Services>,
    /// Translation of prefixes; the first rule that fits counts.
    pub prefixes: Vec<PrefixRule>,
    /// Whose the addresses of the switch are.
    pub owners: Owners,
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
            masquerades: Masquerades::default(),
            hairpins: Masquerades::default(),
            published: Published::default(),
            homes: HashMap::new(),
            services: Arc::default(),
            prefixes: Vec::new(),
            owners: Owners::default(),
            tcp: TcpPolicy::default(),
            timeouts: Timeouts::default(),
        }
    }
}

impl Translation {
    /// What a new session's source becomes on its way to its destination, which is on a bridge or behind it. What comes
    /// back to the bridge that it came from (`inward`) is always hidden: its answers would not come by the switch.
    pub fn outward(
        &self,
        key: &Key,
        (to, destination): (BridgeIndex, IpAddr),
        inward: Option<&Inward<'_>>,
    ) -> Outward<'_> {
        let from = BridgeIndex(key.zone.0);
        let Tuple { protocol, source, .. } = key.tuple;
        if let Some((rule, internal)) = self.prefix_rule(from, to, source.ip) {
            return rule.prefixes.outward(internal).map_or(Outward::Nothing, |ip| {
                Outward::As(Endpoint::new(ip, source.port), Some(&rule.usage))
            });
        }
        let is_ipv4 = source.ip.is_ipv4();
        let rule = match inward {
            Some(inward) if from == to => self.hairpin(to, is_ipv4, inward.is_mapped),
            _ => self.masquerade(from, to, destination),
        };
        let Some(rule) = rule else {
            let is_confined = inward.is_none() && self.is_confined(from, to, destination);
            return if is_confined { Outward::Nothing } else { Outward::As(source, None) };
        };
        match self.published_as(rule.pool.zone(), protocol, source) {
            Some(known) => Outward::As(known, Some(&rule.usage)),
            None => Outward::Claimed(rule),
        }
    }

    /// Whether an address of one bridge is not to be seen by a destination on another, or behind it, so that what
    /// belongs to no session does not go there.
    pub fn hides(
        &self,
        (from, source): (BridgeIndex, IpAddr),
        (to, destination): (BridgeIndex, IpAddr),
    ) -> bool {
        self.prefix_rule(from, to, source).is_some()
            || self.masquerade(from, to, destination).is_some()
            || self.is_confined(from, to, destination)
    }

    /// Whether only addresses of certain prefixes go from one bridge to a destination on another, or behind it.
    fn is_confined(&self, from: BridgeIndex, to: BridgeIndex, destination: IpAddr) -> bool {
        let confines = |rule: &PrefixRule| (rule.from, rule.to) == (from, to) && rule.is_only_way;
        destination.is_ipv6() && self.prefixes.iter().any(confines)
    }

    /// The rule by which an address of one bridge has another prefix on another.
    fn prefix_rule(
        &self,
        from: BridgeIndex,
        to: BridgeIndex,
        ip: IpAddr,
    ) -> Option<(&PrefixRule, Ipv6Addr)> {
        let IpAddr::V6(ip) = ip else { return None };
        let fits = |rule: &&PrefixRule| {
            (rule.from, rule.to) == (from, to) && rule.prefixes.is_internal(ip)
        };
        Some((self.prefixes.iter().find(fits)?, ip))
    }

    /// The pool for packets from one bridge to a destination on another, or behind it.
    fn masquerade(
        &self,
        from: BridgeIndex,
        to: BridgeIndex,
        destination: IpAddr,
    ) -> Option<&Masquerade> {
        let fits = |rule: &&Masquerade| {
            rule.pool.zone() == to.into() && rule.is_ipv4() == destination.is_ipv4()
        };
        let rule = self.masquerades.of(from).find(fits);
        rule.filter(|rule| !rule.except.contains(destination))
    }

    /// The pool for packets that go back to the bridge that they came from. Who calls a neighbour's mapping is seen by his
    /// own (RFC 4787 REQ-9a); by a published port and a service he stays on the bridge, and is seen as its gateway.
    fn hairpin(&self, bridge: BridgeIndex, is_ipv4: bool, is_mapped: bool) -> Option<&Masquerade> {
        let fits = |rule: &&Masquerade| rule.is_ipv4() == is_ipv4;
        let outside = || self.masquerades.of(bridge).find(fits);
        let beside = || self.hairpins.of(bridge).find(fits);
        if is_mapped { outside().or_else(beside) } else { beside().or_else(outside) }
    }

    /// What the world knows a published endpoint by, on the bridge of `outside`.
    fn published_as(&self, outside: Zone, protocol: u8, internal: Endpoint) -> Option<Endpoint> {
        let known = self.published.external_of(outside, protocol, internal)?;
        let own = || self.owners.first_on(BridgeIndex(outside.0), internal.ip.is_ipv4());
        Some(Endpoint { ip: known.address.or_else(own)?, port: known.port })
    }

    /// Whom the first packet of a session is really for, if it is not for whom it is addressed to. Where that is
    /// [made](Choice::Made) a choice, a mapping that lets it in is claimed for the session.
    ///
    /// # Errors
    /// [`Undelivered`], when it is for a service and nobody there takes it.
    pub fn inward(
        &self,
        key: &Key,
        choice: Choice<'_>,
    ) -> Result<Option<Inward<'_>>, Undelivered<'_>> {
        let forwarded = self.forwarded(key);
        let (zone, mut tuple) = (key.zone, key.tuple);
        let service = match forwarded {
            // A node port leads to its service's address.
            Some(to) => {
                tuple.destination = to.internal;
                self.services.at(tuple.protocol, to.internal)
            }
            None => match self.services.listener(zone, tuple.protocol, tuple.destination) {
                Listener::Service(service) => Some(service),
                Listener::Closed => return Err(Undelivered::Closed),
                Listener::Nobody => None,
            },
        };
        match service {
            Some(service) => {
                let backend = service.choose(&tuple, choice);
                backend.map(|it| Some(it.inward(service))).ok_or(Undelivered::NoBackend(service))
            }
            None => Ok(forwarded.or_else(|| self.let_in(key, choice))),
        }
    }

    /// Whom a packet is for by a mapping that lets it in.
    fn let_in(&self, key: &Key, choice: Choice<'_>) -> Option<Inward<'_>> {
        let (found, rule) = self.mapped(key)?;
        let Choice::Made(..) = choice else { return Some(rule.inward(&found, None)) };
        let (protocol, external) = (key.tuple.protocol, key.tuple.destination);
        let (outside, quota) = (rule.pool.zone(), rule.pool.quota());
        let inbound = self.mappings.join(outside, protocol, external, quota)?;
        Some(rule.inward(&inbound, Some(inbound.mapping)))
    }

    /// The service and the backend that a session was given to, as long as it is one.
    pub fn served_by(&self, session: &Session) -> Option<(&Service, &Backend)> {
        let backend = session.responder.tuple.source;
        if self.services.is_empty() || backend == session.initiator.tuple.destination {
            return None;
        }
        self.inward(&session.initiator, Choice::Known(backend)).ok()??.service
    }

    /// Whom a packet is for by what is always open to the outside: published ports and prefixes.
    fn forwarded(&self, key: &Key) -> Option<Inward<'_>> {
        let (protocol, external) = (key.tuple.protocol, key.tuple.destination);
        if let Some(found) = self.prefixes.iter().find_map(|rule| rule.inward(key)) {
            return Some(found);
        }
        let rule = self.published.rule_for(self.owner(key)?, protocol, external, true)?;
        let Home { bridge, usage } = self.homes.get(rule)?;
        let internal = rule.internal_of(external.port);
        Some(Inward::by_rule(*bridge, internal, usage))
    }

    /// The mapping by which a packet comes in that nobody inside asked for, if it may, and its rule.
    fn mapped(&self, key: &Key) -> Option<(Inbound, &Masquerade)> {
        let (protocol, external) = (key.tuple.protocol, key.tuple.destination);
        // Who is asked by an ICMP query has no identifier: any mapping would be another query's.
        if matches!(protocol, protocol::ICMP | protocol::ICMPV6) {
            return None;
        }
        let outside = self.owner(key)?;
        let found = self.mappings.find(outside, protocol, external)?;
        let rule = self.rule_of(found.zone, outside, external.ip)?;
        // Neighbours are no strangers: they reach each other's mappings whatever the filter says (RFC 4787
        // REQ-9), as they reach each other.
        let may = rule.filtering == Filtering::EndpointIndependent || found.zone == key.zone;
        may.then_some((found, rule))
    }

    /// The bridge on which the destination of a packet is an address of the switch.
    fn owner(&self, key: &Key) -> Option<Zone> {
        self.owners.of(BridgeIndex(key.zone.0), key.tuple.destination.ip).map(Zone::from)
    }

    /// The rule by which an inside has mappings at an address outside.
    pub fn rule_of(&self, inside: Zone, outside: Zone, external: IpAddr) -> Option<&Masquerade> {
        let fits =
            |rule: &&Masquerade| rule.pool.zone() == outside && rule.pool.has_address(external);
        self.masquerades.of(BridgeIndex(inside.0)).find(fits)
    }

    /// Whether what comes in by the bridge of a zone is addressed to an endpoint that somebody may be
    /// masqueraded as. What nobody takes there is dropped without a word, since its receiver may be about
    /// to open the way for it from inside (RFC 5382 REQ-4).
    pub fn may_be_claimed(&self, key: Key) -> bool {
        let Tuple { protocol, destination, .. } = key.tuple;
        matches!(protocol, protocol::TCP | protocol::UDP)
            && self.masquerades.may_hold(key.zone, destination)
    }

    /// Whether a packet from outside of all sessions is for its destination itself: nothing is published there, and
    /// nobody could be masqueraded as it.
    pub fn is_unclaimed(&self, key: &Key) -> bool {
        let Tuple { protocol, destination, .. } = key.tuple;
        let listener = self.services.listener(key.zone, protocol, destination);
        self.forwarded(key).is_none()
            && !self.may_be_claimed(*key)
            && matches!(listener, Listener::Nobody)
    }

    /// Whether whom the first packet of a session is for is a matter of the configuration alone: of no mapping that
    /// may come or go, and of no choice among backends.
    pub(crate) fn is_settled(&self, key: &Key) -> bool {
        let Tuple { protocol, destination, .. } = key.tuple;
        match self.forwarded(key) {
            Some(to) => self.services.at(protocol, to.internal).is_none(),
            None => {
                let listener = self.services.listener(key.zone, protocol, destination);
                self.owner(key).is_none() && matches!(listener, Listener::Nobody)
            }
        }
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
        self.owners.of(BridgeIndex(zone.0), external).map_or(zone, Zone::from)
    }
}

impl<'a> Inward<'a> {
    /// By what is always open.
    fn by_rule(bridge: BridgeIndex, internal: Endpoint, usage: &'a Usage) -> Self {
        Self { bridge, internal, is_mapped: false, mapping: None, usage, service: None }
    }
}

impl Masquerade {
    fn is_ipv4(&self) -> bool {
        self.pool.addresses().next().is_some_and(|ip| ip.is_ipv4())
    }

    fn inward(&self, inbound: &Inbound, mapping: Option<MappingId>) -> Inward<'_> {
        let by_rule = Inward::by_rule(BridgeIndex(inbound.zone.0), inbound.internal, &self.usage);
        Inward { is_mapped: true, mapping, ..by_rule }
    }
}

impl PrefixRule {
    fn inward(&self, key: &Key) -> Option<Inward<'_>> {
        let Endpoint { ip: IpAddr::V6(ip), port } = key.tuple.destination else { return None };
        let internal = self.prefixes.inward(ip).filter(|_| key.zone == self.to.into())?;
        let internal = Endpoint::new(internal, port);
        Some(Inward::by_rule(self.from, internal, &self.usage))
    }
}

impl Backend {
    fn inward<'a>(&'a self, service: &'a Service) -> Inward<'a> {
        let by_rule = Inward::by_rule(self.bridge, self.endpoint, &service.usage);
        Inward { service: Some((service, self)), ..by_rule }
    }
}
