//! [`Mappings`]: which external endpoint an internal one has.
//!
//! A mapping belongs to an internal endpoint and not to what it talks to (RFC 4787 REQ-1, RFC 5382 REQ-1,
//! RFC 5508 REQ-1): every session of the endpoint through one external address uses the same external
//! port, and no other endpoint has it (RFC 4787 REQ-3, RFC 5382 REQ-7). It lasts as long as one of its
//! sessions does, and is kept from others for 120 seconds longer (RFC 6888 REQ-8). All that an internal
//! address has is behind one external address (RFC 4787 REQ-2).
//!
//! # Structure
//! Each external address has a table of its ports, one for each protocol: one word for each port,
//! which says everything: whose it is (a host's number and its internal port), how many sessions
//! it has, or since when it has none. So a port is claimed by one compare-exchange, and an inbound packet's
//! mapping is one load. There is no second index for the other direction: an endpoint's external port is one of
//! few [candidates](super::Pool), mostly the first, so looking at these finds it.
//!
//! ```text
//!   word   state 2 | host 18 | internal port 16 | sessions, end, or attempt 28       0 = free
//! ```
//!
//! Tables are not resident until they are touched; one address costs 2 MiB of address space.
//!
//! # Claiming, and why no endpoint gets two ports
//! A worker goes through the candidates. A settled word (mapped or in quarantine) of its endpoint is joined.
//! To the first vacant one, the worker writes an *attempt* with a unique number; then it looks at all
//! candidates, and only then settles it. Anybody who meets an attempt for its own endpoint can do the
//! rest of the work, so nobody waits: whoever has seen an attempt *before* a look, and in the look finds
//! no settled word, finds it still there, first of the endpoint's attempts in the order of candidates, and
//! has withdrawn all later ones, settles it.
//!
//! Suppose that two attempts *s* and *o* of one endpoint were both settled. Each look begins with a sequentially consistent fence, so one of them, say the one for *s*, began
//! first. Its worker knew *s* by then, so the later look sees *s*, or what became of it. If *s* is
//! settled, *o* is not settled by this look. If *s* is an attempt and comes before *o*, neither. If it
//! comes after *o*, it is withdrawn before *o* is settled, and the number makes the settling of *s* fail. So
//! there are never two. Each failed exchange means that another worker has made progress.
//!
//! # Hosts
//! A host's slot holds its name and the number of its sessions and ports. Reading is by *pinning*: counting
//! a session, which is refused once the count is 0 (no host), and then comparing the name, which does not
//! change while anybody counts. A host that has had no session for longer than the quarantine may be
//! forgotten: the count is exchanged for 0, the name is overwritten, and the new count is stored with release
//! order; a pin acquires it. Who takes a session away releases what he did before, and who forgets acquires it. So whoever
//! has a pin sees the name, and everything else of a slot is relaxed: what is read without a pin is read again with one. A
//! port's word is released and acquired as well: who sees a port mapped finds its host. Entering a host that is not known
//! is for one worker at a time: one that finds the right taken does not wait but has its packet dropped
//! ([`Unclaimed::Busy`]), which takes two new containers in the same fraction of a microsecond.
//!
//! # Threads
//! Workers call [`Mappings::claim`], [`Mappings::join`], [`Mappings::find`] and [`Mappings::release`], at a
//! flow's first packet and at its end. The control thread makes the next set of addresses
//! ([`Mappings::with_addresses`]) and lists.

mod foresight;
mod hosts;
mod ports;
mod word;

#[cfg(all(test, loom))]
mod loom_tests;
#[cfg(test)]
mod tests;

use std::hash::BuildHasher;
use std::net::IpAddr;
use std::sync::Arc;

#[cfg(loom)]
use loom::sync::atomic::{AtomicU64, Ordering};
#[cfg(not(loom))]
use std::sync::atomic::{AtomicU64, Ordering};

use super::pool::{Pool, Quota};
use super::publish::Published;
use super::seeded::Seeded;
use crate::{Endpoint, Nanos, Zone};
use hosts::{Hosts, Pin};
use ports::{Class, NoPort, PortTable};
use word::{Key, State};

/// Why an endpoint got no mapping.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unclaimed {
    /// The protocol has nothing to tell endpoints apart.
    #[error("protocol {protocol} has no ports to share an address by; route it instead")]
    Protocol {
        /// The IP protocol.
        protocol: u8,
    },
    /// The pool's address is not among [`Mappings::with_addresses`].
    #[error("{address} of the pool is not an external address (any more); drop the packet")]
    Address {
        /// The address.
        address: IpAddr,
    },
    /// No port is free.
    #[error(
        "no port of {address} is free for it; give the masquerade rule more addresses or ports"
    )]
    Ports {
        /// The external address.
        address: IpAddr,
    },
    /// The internal address has as many mappings as it may.
    #[error("{ip} has {limit} ports, as many as it may; raise its quota or close connections")]
    PortQuota {
        /// The internal address.
        ip: IpAddr,
        /// Its quota.
        limit: u32,
    },
    /// The internal address has as many sessions as it may.
    #[error("{ip} has {limit} sessions, as many as it may; raise its quota or close connections")]
    SessionQuota {
        /// The internal address.
        ip: IpAddr,
        /// Its quota.
        limit: u32,
    },
    /// There are too many internal addresses.
    #[error("{limit} internal addresses are about as many as there is room for; try again later")]
    Hosts {
        /// Room for so many.
        limit: usize,
    },
    /// Another worker is entering an internal address: the sender will send again.
    #[error("another worker is entering a new internal address; drop the packet")]
    Busy,
}

/// A mapping's name, which a session keeps for [`Mappings::release`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MappingId {
    /// The external address's number, never given twice.
    address: u32,
    class: u8,
    port: u16,
}

impl MappingId {
    /// That of a mapping that there is not: releasing it does nothing.
    pub(crate) const IMAGINED: Self = Self { address: u32::MAX, class: 0, port: 0 };
}

/// A mapping that was claimed, with one session more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Claim {
    /// What the world sees.
    pub external: Endpoint,
    /// To be released once.
    pub mapping: MappingId,
}

/// Where an inbound packet goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Inbound {
    /// The zone of the internal endpoint.
    pub zone: Zone,
    /// To whom.
    pub internal: Endpoint,
    /// The mapping.
    pub mapping: MappingId,
}

/// One mapping, as shown to people.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mapping {
    /// The zone of the internal endpoint.
    pub zone: Zone,
    /// The protocol, that of ICMP for both versions.
    pub protocol: u8,
    /// Who.
    pub internal: Endpoint,
    /// The zone of the external endpoint.
    pub outside: Zone,
    /// What the world sees.
    pub external: Endpoint,
    /// Sessions that use it.
    pub sessions: u32,
}

/// What has happened since the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Events {
    /// Sessions that got a mapping, theirs alone or shared.
    pub claimed: u64,
    /// Sessions that gave it back.
    pub released: u64,
    /// Claims refused because no port was free (`nat_ports_exhausted`).
    pub ports_exhausted: u64,
    /// Claims refused by a quota.
    pub quota_exceeded: u64,
    /// Claims refused for other reasons.
    pub refused: u64,
}

/// An external address with its ports.
#[derive(Debug, Clone)]
struct Address {
    number: u32,
    zone: Zone,
    ip: IpAddr,
    table: Arc<PortTable>,
}

/// What all configurations share.
#[derive(Debug)]
struct Shared {
    hosts: Hosts,
    hasher: Seeded,
    claimed: AtomicU64,
    released: AtomicU64,
    ports_exhausted: AtomicU64,
    quota_exceeded: AtomicU64,
    refused: AtomicU64,
}

/// The mappings of the switch, by a set of external addresses that does not change: a configuration with
/// other addresses has other `Mappings` over the same tables. See the module's documentation.
#[derive(Debug)]
pub struct Mappings {
    /// By number.
    addresses: Box<[Address]>,
    /// Positions of those that can be claimed, sorted by name.
    listed: Box<[(Zone, IpAddr, usize)]>,
    next_number: u32,
    shared: Arc<Shared>,
}

/// The ports of a pool's address that an internal port may have, but for published ones.
fn unpublished<'a>(
    (pool, published): (&'a Pool, &'a Published),
    (protocol, ip): (u8, IpAddr),
    port: u16,
    hash: u64,
) -> impl Iterator<Item = u16> + Clone + 'a {
    // All candidates of a new endpoint are looked at: where nothing is published, no search for each.
    let is_any = published.is_any(pool.zone(), protocol);
    pool.candidates(port, hash).filter(move |port| {
        let external = Endpoint::new(ip, *port);
        !is_any || published.lookup(pool.zone(), protocol, external, true).is_none()
    })
}

impl Mappings {
    /// No external addresses yet, and room for about `hosts` internal ones, at most 65536. `seed` keys
    /// the choice of ports, so that nobody outside can foresee it (RFC 6888 REQ-15).
    pub fn new(hosts: u32, seed: u64) -> Self {
        let hasher = Seeded(seed);
        let zero = || AtomicU64::new(0);
        let shared = Shared {
            hosts: Hosts::new(hosts, hasher),
            hasher,
            claimed: zero(),
            released: zero(),
            ports_exhausted: zero(),
            quota_exceeded: zero(),
            refused: zero(),
        };
        Self { addresses: [].into(), listed: [].into(), next_number: 0, shared: Arc::new(shared) }
    }

    /// The mappings for a configuration with these external addresses, each on the bridge of a zone.
    /// Mappings of addresses that stay, stay. Those of an address that goes, and those that workers claim before they
    /// hear of it, can still be released, and can be found again if it comes back before they all are. For the control
    /// thread, when all workers use `self`.
    #[must_use]
    pub fn with_addresses(&self, addresses: impl IntoIterator<Item = (Zone, IpAddr)>) -> Self {
        let mut next_number = self.next_number;
        let mut wanted: Vec<_> = addresses.into_iter().collect();
        wanted.sort_unstable();
        wanted.dedup();
        let is_wanted = |known: &Address| wanted.binary_search(&(known.zone, known.ip)).is_ok();
        // One that goes now may be claimed of until all workers know.
        let is_claimable = |known: &Address| self.listed(known.zone, known.ip).is_some();
        let is_kept =
            |known: &&Address| is_wanted(known) || is_claimable(known) || known.table.mapped() > 0;
        let mut all: Vec<Address> = self.addresses.iter().filter(is_kept).cloned().collect();
        for (zone, ip) in &wanted {
            if !all.iter().any(|known| (known.zone, known.ip) == (*zone, *ip)) {
                let table = Arc::new(PortTable::new());
                all.push(Address { number: next_number, zone: *zone, ip: *ip, table });
                next_number += 1;
            }
        }
        let positions = all.iter().enumerate().filter(|(_, address)| is_wanted(address));
        let mut listed: Vec<_> =
            positions.map(|(at, address)| (address.zone, address.ip, at)).collect();
        listed.sort_unstable();
        Self {
            addresses: all.into(),
            listed: listed.into(),
            next_number,
            shared: Arc::clone(&self.shared),
        }
    }

    /// The external endpoint of an internal one: the one that it has, or a new one of `pool` that is not
    /// published. The session that is begun must give it back by [`Mappings::release`].
    ///
    /// # Errors
    /// [`Unclaimed`]. Unless it is [`Unclaimed::Busy`], the sender is owed ICMP 3/13 (RFC 5508 REQ-8);
    /// nothing that exists is evicted (RFC 6888 REQ-11).
    pub fn claim(
        &self,
        zone: Zone,
        protocol: u8,
        internal: Endpoint,
        (pool, published): (&Pool, &Published),
        now: Nanos,
    ) -> Result<Claim, Unclaimed> {
        let claim = self.try_claim(zone, protocol, internal, (pool, published), now);
        let counter = match claim {
            Ok(_) => &self.shared.claimed,
            Err(Unclaimed::Ports { .. }) => &self.shared.ports_exhausted,
            Err(Unclaimed::PortQuota { .. } | Unclaimed::SessionQuota { .. }) => {
                &self.shared.quota_exceeded
            }
            Err(_) => &self.shared.refused,
        };
        counter.fetch_add(1, Ordering::Relaxed);
        claim
    }

    fn try_claim(
        &self,
        zone: Zone,
        protocol: u8,
        internal: Endpoint,
        (pool, published): (&Pool, &Published),
        now: Nanos,
    ) -> Result<Claim, Unclaimed> {
        let class = Class::of(protocol).ok_or(Unclaimed::Protocol { protocol })?;
        let ip = pool.paired_with(self.shared.hosts.hash(zone, internal.ip));
        let address = self.listed(pool.zone(), ip).ok_or(Unclaimed::Address { address: ip })?;
        let (quota, now) = (pool.quota(), now.seconds());
        let pin = self.shared.hosts.pin(zone, internal.ip, quota, now)?;
        let hash = self.shared.hasher.hash_one((zone, protocol, internal));
        let candidates = unpublished((pool, published), (protocol, ip), internal.port, hash);
        let port = address
            .table
            .claim(class, (&pin, quota.ports), internal.port, candidates, now)
            .map_err(|why| match why {
                NoPort::Taken => Unclaimed::Ports { address: ip },
                NoPort::Quota => Unclaimed::PortQuota { ip: internal.ip, limit: quota.ports },
            })?;
        pin.keep();
        Ok(Claim { external: Endpoint::new(ip, port), mapping: address.mapping(class, port) })
    }

    /// Whose an external endpoint is: where a packet to it goes. Changes nothing: for ICMP errors and
    /// explanations.
    pub fn find(&self, outside: Zone, protocol: u8, external: Endpoint) -> Option<Inbound> {
        self.inbound(outside, protocol, external, u32::MAX).map(|(inbound, ..)| inbound)
    }

    /// The mapping between an internal endpoint and an external one, each in its zone. Finds those of addresses
    /// that cannot be claimed any more, too; and, since configurations change, one of an equal external
    /// address in another zone if there is none in this.
    pub fn between(
        &self,
        inside: (Zone, Endpoint),
        protocol: u8,
        (outside, external): (Zone, Endpoint),
    ) -> Option<MappingId> {
        let class = Class::of(protocol)?;
        let equal = || self.addresses.iter().filter(|address| address.ip == external.ip);
        let here = equal().filter(|address| address.zone == outside);
        let elsewhere = equal().filter(|address| address.zone != outside);
        here.chain(elsewhere).find_map(|address| {
            let (found, ..) = self.inbound_at(address, class, external.port, u32::MAX)?;
            ((found.zone, found.internal) == inside).then_some(found.mapping)
        })
    }

    /// Begins an inbound session of a mapping that exists, where filtering is endpoint-independent. It
    /// must give the mapping back by [`Mappings::release`]. `None` when there is no such mapping, or its
    /// internal address has as many sessions as it may.
    pub fn join(
        &self,
        outside: Zone,
        protocol: u8,
        external: Endpoint,
        quota: Quota,
    ) -> Option<Inbound> {
        let class = Class::of(protocol)?;
        let (inbound, pin, key) = self.inbound(outside, protocol, external, quota.sessions)?;
        let address = self.listed(outside, external.ip)?;
        // It may have ended since it was looked at.
        address.table.join(class, external.port, key).then(|| {
            pin.keep();
            self.shared.claimed.fetch_add(1, Ordering::Relaxed);
            inbound
        })
    }

    /// A mapping, whose host is kept as long as the pin is.
    fn inbound(
        &self,
        outside: Zone,
        protocol: u8,
        external: Endpoint,
        session_limit: u32,
    ) -> Option<(Inbound, Pin<'_>, Key)> {
        let class = Class::of(protocol)?;
        let address = self.listed(outside, external.ip)?;
        self.inbound_at(address, class, external.port, session_limit)
    }

    fn inbound_at(
        &self,
        address: &Address,
        class: Class,
        port: u16,
        session_limit: u32,
    ) -> Option<(Inbound, Pin<'_>, Key)> {
        let load = || address.table.load(class, port);
        let mapped = |word: word::Word| matches!(word.state(), State::Mapped(_));
        let key = Some(load()).filter(|word| mapped(*word))?.key();
        let pinned =
            self.shared.hosts.pin_number(key.host, session_limit, Nanos::default().seconds());
        let pin = pinned.inspect_err(|_| {
            self.shared.quota_exceeded.fetch_add(1, Ordering::Relaxed);
        });
        let pin = pin.ok()??;
        // Still its host's, who now cannot have been forgotten.
        Some(load()).filter(|word| mapped(*word) && word.belongs_to(key))?;
        let (zone, ip) = pin.address();
        let mapping = address.mapping(class, port);
        Some((Inbound { zone, internal: Endpoint::new(ip, key.port), mapping }, pin, key))
    }

    /// Ends a session of a mapping. With the last one, the external port goes into quarantine, from which
    /// only the same internal endpoint gets it back. Of a mapping that has no sessions, nothing.
    pub fn release(&self, mapping: MappingId, now: Nanos) {
        let now = now.seconds();
        let Some(address) = self.numbered(mapping.address) else { return };
        let Some(class) = Class::ALL.get(usize::from(mapping.class)) else { return };
        if let Some(released) = address.table.release(*class, mapping.port, now) {
            self.shared.hosts.end_session(released.host, released.was_last, now);
            self.shared.released.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Number of mappings.
    pub fn len(&self) -> usize {
        let mapped = |address: &Address| usize::try_from(address.table.mapped()).unwrap_or(0);
        self.addresses.iter().map(mapped).sum()
    }

    /// Whether there is no mapping.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Every mapping, as it was when the iterator passed it. For the control thread: it reads all ports of the
    /// addresses that have any.
    pub fn iter(&self) -> impl Iterator<Item = Mapping> + '_ {
        let used = self.addresses.iter().filter(|address| address.table.mapped() > 0);
        let tables = used.flat_map(|address| Class::ALL.map(|class| (address, class)));
        tables.flat_map(move |(address, class)| {
            address.table.iter(class).filter_map(move |(port, key, sessions)| {
                let pin =
                    self.shared.hosts.pin_number(key.host, u32::MAX, Nanos::default().seconds());
                let (zone, ip) = pin.ok()??.address();
                Some(Mapping {
                    zone,
                    protocol: class.protocol(),
                    internal: Endpoint::new(ip, key.port),
                    outside: address.zone,
                    external: Endpoint::new(address.ip, port),
                    sessions,
                })
            })
        })
    }

    /// What has happened so far.
    pub fn events(&self) -> Events {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Events {
            claimed: read(&self.shared.claimed),
            released: read(&self.shared.released),
            ports_exhausted: read(&self.shared.ports_exhausted),
            quota_exceeded: read(&self.shared.quota_exceeded),
            refused: read(&self.shared.refused),
        }
    }

    fn listed(&self, zone: Zone, ip: IpAddr) -> Option<&Address> {
        let found = self.listed.binary_search_by_key(&(zone, ip), |(zone, ip, _)| (*zone, *ip));
        let (_, _, at) = self.listed.get(found.ok()?)?;
        self.addresses.get(*at)
    }

    fn numbered(&self, number: u32) -> Option<&Address> {
        let found = self.addresses.binary_search_by_key(&number, |address| address.number);
        self.addresses.get(found.ok()?)
    }
}

impl Address {
    fn mapping(&self, class: Class, port: u16) -> MappingId {
        MappingId { address: self.number, class: class as u8, port }
    }
}
