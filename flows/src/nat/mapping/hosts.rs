//! [`Hosts`]: a small number for each internal address, and what it uses. The memory order argument is
//! in the parent module.

use std::hash::BuildHasher;
use std::net::{IpAddr, Ipv6Addr};

#[cfg(loom)]
use loom::sync::atomic::{AtomicU32, Ordering};
#[cfg(not(loom))]
use std::sync::atomic::{AtomicU32, Ordering};

use super::Unclaimed;
use super::word::{Host, QUARANTINE_SECONDS};
use crate::lines::zeroed;
use crate::nat::pool::Quota;
use crate::nat::seeded::Seeded;
use crate::turn::Turn;
use crate::{Seconds, Zone};

/// Slots in which a host may be. With half of all slots taken, one of 10^9 new hosts finds none.
const PROBES: usize = 32;

/// Words of a slot: four of the address, the zone and IP version, and then:
const SLOT_WORDS: usize = 8;
/// Sessions and one more; 0 while the slot has no host.
const SESSIONS: usize = 5;
/// Mapped ports.
const PORTS: usize = 6;
/// When a session last ended.
const IDLE_SINCE: usize = 7;

/// Added to a counter, this takes one away.
const LESS: u32 = u32::MAX;

/// The most hosts: twice as many slots, and one more, have a host's number.
const MAX_HOSTS: u32 = 1 << 16;
const _: () = assert!(MAX_HOSTS * 2 < Host::MAX);

type Name = [u32; 5];

/// The internal addresses that have, or had, mappings.
#[derive(Debug)]
pub(super) struct Hosts {
    slots: Box<[[AtomicU32; SLOT_WORDS]]>,
    writer: Turn,
    hasher: Seeded,
}

impl Hosts {
    pub(super) fn new(hosts: u32, hasher: Seeded) -> Self {
        let count = (hosts.clamp(1, MAX_HOSTS) as usize * 2).next_power_of_two();
        Self { slots: zeroed(count), writer: Turn::new(), hasher }
    }

    /// A keyed hash of an address, the same for all that the host does.
    pub(super) fn hash(&self, zone: Zone, ip: IpAddr) -> u64 {
        self.hasher.hash_one(name(zone, ip))
    }

    /// Finds or enters a host, counts a session, and keeps the host from being forgotten.
    pub(super) fn pin(
        &self,
        zone: Zone,
        ip: IpAddr,
        quota: Quota,
        now: Seconds,
    ) -> Result<Pin<'_>, Unclaimed> {
        let name = name(zone, ip);
        loop {
            let slot = match self.search(&name) {
                Some(slot) => slot,
                None => self.enter(&name, now)?,
            };
            let limit = quota.sessions;
            let exceeded = Unclaimed::SessionQuota { ip, limit };
            match self.add_session(slot, limit, now).map_err(|Full| exceeded)? {
                // Pinned, its name cannot change any more; it may have until then.
                Some(pin) if self.is_named(slot, &name) => return Ok(pin),
                _ => (),
            }
        }
    }

    /// What a host uses; nothing if it is not known. Writes nothing.
    pub(super) fn usage(&self, zone: Zone, ip: IpAddr) -> Usage {
        let Some(slot) = self.search(&name(zone, ip)) else { return Usage::default() };
        let load = |word: usize| self.slots[slot][word].load(Ordering::Relaxed);
        Usage {
            host: u32::try_from(slot + 1).ok().map(Host),
            sessions: load(SESSIONS).saturating_sub(1),
            ports: load(PORTS),
        }
    }

    /// Keeps a host from being forgotten, whose number was found in a port's word. `None` when it has
    /// been.
    pub(super) fn pin_number(
        &self,
        host: Host,
        limit: u32,
        now: Seconds,
    ) -> Result<Option<Pin<'_>>, Full> {
        match usize::try_from(host.0).ok().and_then(|number| number.checked_sub(1)) {
            Some(slot) if slot < self.slots.len() => self.add_session(slot, limit, now),
            _ => Ok(None),
        }
    }

    fn add_session(&self, slot: usize, limit: u32, now: Seconds) -> Result<Option<Pin<'_>>, Full> {
        let sessions = &self.slots[slot][SESSIONS];
        let mut count = sessions.load(Ordering::Relaxed);
        loop {
            if count == 0 {
                return Ok(None);
            }
            if count > limit {
                return Err(Full);
            }
            match sessions.compare_exchange(count, count + 1, Ordering::Acquire, Ordering::Relaxed)
            {
                Ok(_) => return Ok(Some(Pin { hosts: self, slot, now })),
                Err(changed) => count = changed,
            }
        }
    }

    /// Takes away a session that was counted by a [`Pin`] and kept, and perhaps its port.
    pub(super) fn end_session(&self, host: Host, had_port: bool, now: Seconds) {
        let Some(slot) = (host.0 as usize).checked_sub(1).filter(|slot| *slot < self.slots.len())
        else {
            return;
        };
        if had_port {
            self.slots[slot][PORTS].fetch_add(LESS, Ordering::Relaxed);
        }
        drop(Pin { hosts: self, slot, now });
    }

    /// The slots where a host with this name may be: its own walk through the table.
    fn walk(&self, name: &Name) -> impl Iterator<Item = usize> + use<> {
        let [a, b, c, d, e, f, g, h] = self.hasher.hash_one(name).to_be_bytes();
        let mask = self.slots.len() - 1;
        let home = u32::from_be_bytes([a, b, c, d]) as usize;
        let stride = u32::from_be_bytes([e, f, g, h]) as usize | 1;
        (0..PROBES.min(self.slots.len())).map(move |step| home.wrapping_add(step * stride) & mask)
    }

    fn search(&self, name: &Name) -> Option<usize> {
        self.walk(name).find(|slot| {
            self.slots[*slot][SESSIONS].load(Ordering::Relaxed) != 0 && self.is_named(*slot, name)
        })
    }

    fn is_named(&self, slot: usize, name: &Name) -> bool {
        self.slots[slot].iter().zip(name).all(|(cell, word)| cell.load(Ordering::Relaxed) == *word)
    }

    /// Enters a host, unless another worker is entering one.
    #[cold]
    fn enter(&self, name: &Name, now: Seconds) -> Result<usize, Unclaimed> {
        let Some(_turn) = self.writer.try_take() else { return Err(Unclaimed::Busy) };
        let slot = self.search(name).or_else(|| self.enter_new(name, now));
        slot.ok_or(Unclaimed::Hosts { limit: self.slots.len() })
    }

    /// Enters a host that is not there, as the only writer.
    fn enter_new(&self, name: &Name, now: Seconds) -> Option<usize> {
        let slot = self.walk(name).find(|slot| self.is_vacant(*slot, now))?;
        let cells = &self.slots[slot];
        for (cell, word) in cells.iter().zip(name) {
            cell.store(*word, Ordering::Relaxed);
        }
        cells[IDLE_SINCE].store(now.0, Ordering::Relaxed);
        cells[SESSIONS].store(1, Ordering::Release);
        Some(slot)
    }

    /// Makes a slot vacant if nobody has been using it for so long that its ports are out of quarantine.
    fn is_vacant(&self, slot: usize, now: Seconds) -> bool {
        let cells = &self.slots[slot];
        let is_quiet =
            || now.since(Seconds(cells[IDLE_SINCE].load(Ordering::Relaxed))) > QUARANTINE_SECONDS;
        match cells[SESSIONS].load(Ordering::Relaxed) {
            0 => return true,
            1 if is_quiet() => (),
            _ => return false,
        }
        let retired =
            cells[SESSIONS].compare_exchange(1, 0, Ordering::Acquire, Ordering::Relaxed).is_ok();
        // Someone may have come and gone since. The count is added to and not stored: so whoever pins the host next still
        // acquires what was released when it was entered.
        if retired && !is_quiet() {
            cells[SESSIONS].fetch_add(1, Ordering::Relaxed);
            return false;
        }
        retired
    }
}

/// What a host uses.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Usage {
    /// Its number, if it is known.
    pub(super) host: Option<Host>,
    pub(super) sessions: u32,
    pub(super) ports: u32,
}

/// Too many sessions.
#[derive(Debug)]
pub(super) struct Full;

/// A session of a host, counted; taken away again on drop, unless it is kept.
pub(super) struct Pin<'a> {
    hosts: &'a Hosts,
    slot: usize,
    now: Seconds,
}

impl<'a> Pin<'a> {
    /// The host's number.
    pub(super) fn host(&self) -> Host {
        // Below `Host::MAX` by the table's size.
        Host(u32::try_from(self.slot + 1).unwrap_or(0))
    }

    /// The host's zone and address.
    pub(super) fn address(&self) -> (Zone, IpAddr) {
        let word = |at: usize| self.hosts.slots[self.slot][at].load(Ordering::Relaxed);
        address([word(0), word(1), word(2), word(3), word(4)])
    }

    /// Counts a port of the host. `None` when it has as many as it may.
    pub(super) fn lease(&self, limit: u32) -> Option<Lease<'a>> {
        let ports = &self.hosts.slots[self.slot][PORTS];
        let more = |count: u32| (count < limit).then_some(count + 1);
        ports.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).ok()?;
        Some(Lease { ports })
    }

    /// Leaves the session counted, until [`Hosts::end_session`].
    pub(super) fn keep(self) {
        std::mem::forget(self);
    }
}

impl Drop for Pin<'_> {
    fn drop(&mut self) {
        let cells = &self.hosts.slots[self.slot];
        cells[IDLE_SINCE].fetch_max(self.now.0, Ordering::Relaxed);
        cells[SESSIONS].fetch_add(LESS, Ordering::Release);
    }
}

/// A port of a host, counted; taken away again on drop, unless it is kept.
pub(super) struct Lease<'a> {
    ports: &'a AtomicU32,
}

impl Lease<'_> {
    /// Leaves the port counted, until [`Hosts::end_session`].
    pub(super) fn keep(self) {
        std::mem::forget(self);
    }
}

impl Drop for Lease<'_> {
    fn drop(&mut self) {
        self.ports.fetch_add(LESS, Ordering::Relaxed);
    }
}

fn name(zone: Zone, ip: IpAddr) -> Name {
    let (bits, version) = match ip {
        IpAddr::V4(ip) => (ip.to_ipv6_mapped(), 0),
        IpAddr::V6(ip) => (ip, 1),
    };
    let [a, b, c, d, e, f, g, h] = bits.segments().map(u32::from);
    [a << 16 | b, c << 16 | d, e << 16 | f, g << 16 | h, version << 16 | u32::from(zone.0)]
}

fn address([a, b, c, d, e]: Name) -> (Zone, IpAddr) {
    let [_, version, high, low] = e.to_be_bytes();
    let bits = [a, b, c, d].into_iter().fold(0, |bits, word| bits << 32 | u128::from(word));
    let ip = Ipv6Addr::from(bits);
    let ip = if version == 0 { ip.to_canonical() } else { ip.into() };
    (Zone(u16::from_be_bytes([high, low])), ip)
}
