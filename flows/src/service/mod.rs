//! [`Services`]: one address for many backends, as kube-proxy's ClusterIP.
//!
//! A service has an address of its own (VIP) and a port, which belong to no bridge. The first packet of a session
//! to it is given to a backend, and the session then is translated as that of a published port: what follows costs
//! what any session's packets cost, with any number of services. A node port is a
//! [published port](crate::nat::Published) that leads to a service's address.
//!
//! * Who gets a session ([`Service::choose`]): the backend that its client had lately, if the service is [affine](Affinities);
//!   otherwise the next one ([`Balance::RoundRobin`]), or the one that the [`Maglev`] table names. A backend that drains
//!   or is [down](Health) is passed over.
//! * What outlives configurations is shared by reference: whose turn it is, how backends do, and the affinities.
//! * Immutable but for that: made by the control thread, read by all workers, who never wait for each other.

mod affinity;
mod health;
mod maglev;

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::sync::Arc;
#[cfg(not(loom))]
use std::sync::atomic::{AtomicU32, Ordering};

#[cfg(loom)]
use loom::sync::atomic::{AtomicU32, Ordering};

use crate::router::hash::{keyed, words};
use crate::{BridgeIndex, Endpoint, Seconds, Tuple, Usage, Zone};

pub use affinity::Affinities;
pub use health::{Checked, Endurance, Fault, Health, Thresholds};
pub use maglev::Maglev;

/// The most backends of one service.
pub const MAX_BACKENDS: usize = 256;

/// The ports of gateways from which backends are checked. Masquerading uses none of them unless it is told to, and
/// neither do the ends of a hairpin.
pub const CHECK_PORTS: RangeInclusive<u16> = 512..=1023;

/// How sessions are divided among backends.
#[derive(Debug, Clone)]
pub enum Balance {
    /// Each has its turn.
    RoundRobin(Arc<Turn>),
    /// By a hash of who talks to whom, so that every switch, and this one after a restart, chooses the same.
    Maglev(Arc<Maglev>),
}

/// Whose turn it is. Any thread counts.
#[derive(Debug, Default)]
pub struct Turn(AtomicU32);

/// Who serves.
#[derive(Debug, Clone)]
pub struct Backend {
    /// Its address and port.
    pub endpoint: Endpoint,
    /// Its bridge.
    pub bridge: BridgeIndex,
    /// By which affinities know it; unique within the service, and its own for as long as it is a backend.
    pub number: u16,
    /// It gets no new sessions.
    pub is_draining: bool,
    /// How it does.
    pub health: Arc<Health>,
}

/// One service.
#[derive(Debug, Clone)]
pub struct Service {
    /// How much it is used, by its number.
    pub usage: Arc<Usage>,
    /// The IP protocol.
    pub protocol: u8,
    /// Its address and port.
    pub vip: Endpoint,
    /// The bridges whose stations find it, sorted; `None` for all.
    pub on: Option<Arc<[BridgeIndex]>>,
    /// Who serves, [`MAX_BACKENDS`] at most. [`Balance::Maglev`] is made for these, in this order.
    pub backends: Box<[Backend]>,
    /// How sessions are divided.
    pub balance: Balance,
    /// For how many seconds after its last session began a client keeps its backend; `None` for not at all.
    pub affinity_seconds: Option<u32>,
    /// What a backend may do wrong until it is passed over.
    pub endurance: Endurance,
    /// Its backends are checked, from the gateways of their bridges.
    pub is_checked: bool,
}

/// How a backend is to be chosen.
#[derive(Debug, Clone, Copy)]
pub enum Choice<'a> {
    /// For a session that begins: it is remembered, and the turn is the next one's.
    Made(&'a Affinities, Seconds),
    /// As it would be made; nothing comes of it.
    Foreseen(&'a Affinities, Seconds),
    /// For a session that was given to this endpoint: none but that.
    Known(Endpoint),
}

impl Service {
    /// The backend for a session whose first packet is that of `tuple`, if there is one that takes it.
    pub fn choose(&self, tuple: &Tuple, choice: Choice<'_>) -> Option<&Backend> {
        match choice {
            Choice::Made(affinities, now) => {
                let kept = self.kept(tuple.source.ip, affinities, now);
                let chosen = kept.or_else(|| self.next(tuple, now, Turn::take))?;
                Some(self.keep(tuple.source.ip, chosen, affinities, now))
            }
            Choice::Foreseen(affinities, now) => {
                let kept = self.kept(tuple.source.ip, affinities, now);
                kept.or_else(|| self.next(tuple, now, Turn::current))
            }
            Choice::Known(endpoint) => self.backend(endpoint),
        }
    }

    /// The session that took a turn does not begin yet: the turn is the next one's again.
    pub(crate) fn give_back_turn(&self) {
        if let (Balance::RoundRobin(turn), None) = (&self.balance, self.affinity_seconds) {
            turn.give_back();
        }
    }

    /// The backend at an endpoint.
    pub fn backend(&self, endpoint: Endpoint) -> Option<&Backend> {
        self.backends.iter().find(|backend| backend.endpoint == endpoint)
    }

    /// The backend that a client had lately, if it still takes sessions.
    fn kept(&self, client: IpAddr, affinities: &Affinities, now: Seconds) -> Option<&Backend> {
        let number = affinities.find((self.usage.rule(), client), self.affinity_seconds?, now)?;
        let kept = self.backends.iter().find(|backend| backend.number == number);
        kept.filter(|backend| backend.takes(now))
    }

    /// Remembers a client's backend. If another worker chose one for it at the same time, that is its.
    fn keep<'a>(
        &'a self,
        client: IpAddr,
        chosen: &'a Backend,
        affinities: &Affinities,
        now: Seconds,
    ) -> &'a Backend {
        let Some(seconds) = self.affinity_seconds else { return chosen };
        let key = (self.usage.rule(), client);
        let takes = |number| self.backends.iter().any(|it| it.number == number && it.takes(now));
        let number = affinities.keep(key, chosen.number, seconds, now, takes);
        self.backends.iter().find(|backend| backend.number == number).unwrap_or(chosen)
    }

    /// The backend whose session this is by the way that sessions are divided.
    fn next(&self, tuple: &Tuple, now: Seconds, turn: fn(&Turn) -> u32) -> Option<&Backend> {
        let count = self.backends.iter().filter(|backend| backend.takes(now)).count();
        let count = u32::try_from(count).ok().filter(|count| *count > 0)?;
        match &self.balance {
            Balance::RoundRobin(whose) => {
                let at = usize::try_from(turn(whose) % count).ok()?;
                self.backends.iter().filter(|backend| backend.takes(now)).nth(at)
            }
            Balance::Maglev(table) => {
                let mut named = table.from(self.hash(tuple));
                named.find_map(|at| self.backends.get(at).filter(|backend| backend.takes(now)))
            }
        }
    }

    /// What is the same for all packets of who is to get the same backend: a client, or a session.
    fn hash(&self, tuple: &Tuple) -> u64 {
        let [high, low] = words(tuple.source.ip);
        let client = keyed(u64::from(self.protocol), [high, low]);
        if self.affinity_seconds.is_some() {
            return client;
        }
        let [high, low] = words(tuple.destination.ip);
        let ports = u64::from(tuple.source.port) << 16 | u64::from(tuple.destination.port);
        keyed(client, [high, low, ports])
    }
}

impl Turn {
    fn take(&self) -> u32 {
        self.0.fetch_add(1, Ordering::Relaxed)
    }

    fn current(&self) -> u32 {
        self.0.load(Ordering::Relaxed)
    }

    fn give_back(&self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Backend {
    /// Whether it takes new sessions.
    pub fn takes(&self, now: Seconds) -> bool {
        !self.is_draining && self.health.is_up(now)
    }
}

/// Who listens at an address.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Listener<'a> {
    /// It is no service's.
    Nobody,
    /// It is a service's, which does not listen there.
    Closed,
    /// A service.
    Service(&'a Service),
}

/// All services of a configuration.
#[derive(Debug, Default)]
pub struct Services {
    by_address: HashMap<IpAddr, Vip>,
    /// The bridges of backends, sorted, and of those that are checked.
    homes: Box<[BridgeIndex]>,
    checked_on: Box<[BridgeIndex]>,
}

/// An address of services.
#[derive(Debug, Default)]
struct Vip {
    /// By protocol and port.
    services: Vec<Arc<Service>>,
    /// The bridges whose stations find one of them, sorted; `None` for all.
    on: Option<Arc<[BridgeIndex]>>,
}

impl Vip {
    fn new(mut services: Vec<Arc<Service>>) -> Self {
        services.sort_by_key(|service| (service.protocol, service.vip.port));
        let each: Option<Vec<_>> = services.iter().map(|service| service.on.clone()).collect();
        let on = each.map(|each| match each.as_slice() {
            // Mostly there is one, which many share.
            [one, rest @ ..] if rest.iter().all(|other| Arc::ptr_eq(one, other)) => Arc::clone(one),
            _ => each
                .iter()
                .flat_map(|on| on.iter().copied())
                .collect::<BTreeSet<_>>()
                .into_iter()
                .collect(),
        });
        Self { services, on }
    }

    fn find(&self, protocol: u8, port: u16) -> Option<&Service> {
        let wanted = (protocol, port);
        let at = self.services.partition_point(|own| (own.protocol, own.vip.port) < wanted);
        let found = self.services.get(at)?;
        ((found.protocol, found.vip.port) == wanted).then_some(found.as_ref())
    }
}

/// Whether a bridge is one of these, sorted, or of all.
fn includes(on: Option<&[BridgeIndex]>, zone: Zone) -> bool {
    on.is_none_or(|on| on.binary_search(&BridgeIndex(zone.0)).is_ok())
}

impl Services {
    /// These services; of two with the same address, protocol and port, the first counts.
    pub fn new<S: Into<Arc<Service>>>(services: impl IntoIterator<Item = S>) -> Self {
        let mut by_address: HashMap<IpAddr, Vec<Arc<Service>>> = HashMap::new();
        let (mut homes, mut checked_on) = (BTreeSet::new(), BTreeSet::new());
        for service in services.into_iter().map(Into::into) {
            let bridges = service.backends.iter().map(|backend| backend.bridge);
            if service.is_checked {
                checked_on.extend(bridges.clone());
            }
            homes.extend(bridges);
            by_address.entry(service.vip.ip).or_default().push(service);
        }
        let vips = by_address.into_iter().map(|(ip, services)| (ip, Vip::new(services)));
        let [homes, checked_on] = [homes, checked_on].map(|set| set.into_iter().collect());
        Self { by_address: vips.collect(), homes, checked_on }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.by_address.is_empty()
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Service> {
        self.by_address.values().flat_map(|vip| &vip.services).map(Arc::as_ref)
    }

    /// The bridges of their backends, sorted.
    pub fn homes(&self) -> &[BridgeIndex] {
        &self.homes
    }

    /// Who listens at an endpoint that stations of a bridge send to: one lookup, with any number of services.
    pub(crate) fn listener(&self, zone: Zone, protocol: u8, at: Endpoint) -> Listener<'_> {
        let vip = self.by_address.get(&at.ip).filter(|vip| includes(vip.on.as_deref(), zone));
        let Some(vip) = vip else { return Listener::Nobody };
        let service = vip.find(protocol, at.port);
        match service.filter(|service| includes(service.on.as_deref(), zone)) {
            Some(service) => Listener::Service(service),
            None => Listener::Closed,
        }
    }

    /// Whether any backends are checked.
    pub fn are_checked(&self) -> bool {
        !self.checked_on.is_empty()
    }

    /// Whether backends on a bridge are checked.
    pub(crate) fn are_checked_on(&self, zone: Zone) -> bool {
        self.checked_on.binary_search(&BridgeIndex(zone.0)).is_ok()
    }

    /// The service of an endpoint.
    pub fn at(&self, protocol: u8, at: Endpoint) -> Option<&Service> {
        self.by_address.get(&at.ip)?.find(protocol, at.port)
    }
}

#[cfg(all(test, not(loom)))]
mod tests;
