//! [`Fragments`]: which datagram a fragment without ports belongs to (RFC 4787 REQ-14).
//!
//! Only the first fragment of a datagram has ports. Its tuple is remembered for as long as the receiver
//! would wait for the rest (30 s for IPv4, 60 s for IPv6 by RFC 8200 section 4.5), so that later ones are treated
//! like it, without reassembly. Those that come before it are held until it does.
//!
//! # Memory
//! All of it is allocated at the start. Tuples are in a ring: a new one displaces the oldest, whose
//! fragments have all passed long ago unless the ring is flooded. Held frames are bounded in number and
//! bytes, altogether and for each source (REQ-14a: no container can use up what others need);
//! what goes beyond is given back to be dropped.
//!
//! # Duplicates and overlaps
//! A first fragment that comes again changes nothing. One that says other ports than before begins another
//! datagram with a reused identification, and counts from then on. What overlaps is the receiver's to refuse (RFC
//! 5722): each fragment is translated, none is put together here.
//!
//! # Threads
//! The fragments of a datagram come in by one port, and so on one worker: each has its own, nothing is
//! shared.

use std::collections::HashMap;
use std::net::IpAddr;

use pktio::PktBuf;
use pktio::wire::field::{be16, be32, ipv4, ipv6, protocol};
use pktio::wire::{Fragment, Layers, Network};

use super::seeded::Seeded;
use crate::{Nanos, PortIndex, Seconds, Tuple, Zone};

const V4_SECONDS: u32 = 30;
const V6_SECONDS: u32 = 60;

/// What tells datagrams apart: of IPv4 the protocol too (RFC 791), of IPv6 not (RFC 8200).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Datagram {
    zone: Zone,
    source: IpAddr,
    destination: IpAddr,
    protocol: u8,
    id: u32,
}

impl Datagram {
    /// The datagram of a fragment that came in by the bridge of `zone`. `None` for a whole packet.
    pub fn of(zone: Zone, frame: &[u8], layers: &Layers) -> Option<Self> {
        if layers.fragment == Fragment::Whole {
            return None;
        }
        let (source, destination) = layers.addresses(frame)?;
        let l3 = usize::from(layers.l3);
        let (protocol, id) = match layers.network {
            Network::V4 => (layers.protocol, be16(frame, l3 + ipv4::ID)?.into()),
            Network::V6 => (0, v6_id(frame, layers)?),
        };
        Some(Self { zone, source, destination, protocol, id })
    }

    fn lifetime_seconds(&self) -> u32 {
        if self.source.is_ipv4() { V4_SECONDS } else { V6_SECONDS }
    }
}

/// The identification in the IPv6 fragment header, which is in front of [`Layers::l4`] and perhaps of
/// further extension headers.
fn v6_id(frame: &[u8], layers: &Layers) -> Option<u32> {
    let l3 = usize::from(layers.l3);
    let mut next = *frame.get(l3 + ipv6::NEXT_HEADER)?;
    let mut at = l3 + ipv6::BYTES;
    while at < usize::from(layers.l4) {
        if next == protocol::FRAGMENT {
            return be32(frame, at + 4);
        }
        next = *frame.get(at)?;
        at += (usize::from(*frame.get(at + 1)?) + 1) * 8;
    }
    None
}

/// How much may be remembered and held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FragmentLimits {
    /// Datagrams remembered.
    pub datagrams: u16,
    /// Frames held.
    pub frames: u16,
    /// Bytes held.
    pub bytes: usize,
    /// Frames held of one source address.
    pub frames_per_source: u16,
}

impl Default for FragmentLimits {
    /// A datagram of 64 KiB is 45 fragments of 1500 bytes; a tenth of a worker's small buffers.
    fn default() -> Self {
        Self { datagrams: 8192, frames: 256, bytes: 1 << 20, frames_per_source: 64 }
    }
}

/// A frame that waits for its first fragment.
#[derive(Debug)]
struct Held {
    datagram: Datagram,
    port: PortIndex,
    deadline: Seconds,
    frame: PktBuf,
}

/// What the first fragment said.
#[derive(Debug, Clone, Copy)]
struct Known {
    datagram: Datagram,
    tuple: Tuple,
    /// The identification that its fragments have on the other side of a translation.
    id: Option<u16>,
    deadline: Seconds,
}

/// The fragmented datagrams that pass one worker. See the module's documentation.
#[derive(Debug)]
pub struct Fragments {
    limits: FragmentLimits,
    /// Positions in the ring.
    by_datagram: HashMap<Datagram, usize, Seeded>,
    ring: Box<[Option<Known>]>,
    oldest: usize,
    /// In the order in which they came.
    held: Vec<Held>,
    held_bytes: usize,
}

impl Fragments {
    /// Nothing known, with room for what `limits` allow. `seed` keys the hash.
    pub fn new(limits: FragmentLimits, seed: u64) -> Self {
        let datagrams = usize::from(limits.datagrams.max(1));
        // Twice the room: then the map never grows, whatever its deletions leave behind.
        let by_datagram = HashMap::with_capacity_and_hasher(datagrams * 2, Seeded(seed));
        Self {
            limits,
            by_datagram,
            ring: vec![None; datagrams].into(),
            oldest: 0,
            held: Vec::with_capacity(limits.frames.into()),
            held_bytes: 0,
        }
    }

    /// Notes the tuple of a datagram's first fragment, and gives back the fragments that waited for it, in
    /// the order in which they came, each with the port that it came in by. They are to follow the first.
    pub fn first(
        &mut self,
        datagram: Datagram,
        tuple: Tuple,
        now: Nanos,
    ) -> impl Iterator<Item = (PortIndex, PktBuf)> + '_ {
        self.remember(datagram, tuple, now.seconds());
        self.take_held(move |held| held.datagram == datagram)
    }

    /// The tuple of the flow that a datagram belongs to, if its first fragment was seen. The ports are not in later
    /// ones.
    pub fn tuple_of(&self, datagram: &Datagram, now: Nanos) -> Option<Tuple> {
        let known = self.ring.get(*self.by_datagram.get(datagram)?)?.as_ref()?;
        (now.seconds() < known.deadline).then_some(known.tuple)
    }

    /// The identification that the fragments of a datagram have on the other side of a translation: drawn for the first
    /// of them that passes. `None` when its first fragment was not seen.
    pub fn renumbered(&mut self, datagram: &Datagram, draw: impl FnOnce() -> u16) -> Option<u16> {
        let known = self.ring.get_mut(*self.by_datagram.get(datagram)?)?.as_mut()?;
        Some(*known.id.get_or_insert_with(draw))
    }

    /// Lets a later fragment, which came in by `port`, wait for the first one.
    ///
    /// # Errors
    /// The fragment, to be dropped: there is no room for it.
    pub fn hold(
        &mut self,
        datagram: Datagram,
        port: PortIndex,
        frame: PktBuf,
        now: Nanos,
    ) -> Result<(), PktBuf> {
        let now = now.seconds();
        let of_source = |held: &&Held| {
            (held.datagram.zone, held.datagram.source) == (datagram.zone, datagram.source)
        };
        let is_full = self.held.len() >= self.limits.frames.into()
            || self.held_bytes + frame.len() > self.limits.bytes
            || self.held.iter().filter(of_source).count() >= self.limits.frames_per_source.into();
        if is_full {
            return Err(frame);
        }
        let deadline = Seconds(now.0.saturating_add(datagram.lifetime_seconds()));
        self.held_bytes += frame.len();
        self.held.push(Held { datagram, port, deadline, frame });
        Ok(())
    }

    /// Gives up the frames whose first fragment did not come in time: to be dropped. Once a second is
    /// enough.
    pub fn expire(&mut self, now: Nanos) -> impl Iterator<Item = (PortIndex, PktBuf)> + '_ {
        let now = now.seconds();
        self.take_held(move |held| held.deadline <= now)
    }

    /// Gives up the frames that came in by a port that goes.
    pub fn remove(&mut self, port: PortIndex) -> impl Iterator<Item = (PortIndex, PktBuf)> + '_ {
        self.take_held(move |held| held.port == port)
    }

    /// Frames that wait.
    pub fn held(&self) -> usize {
        self.held.len()
    }

    fn take_held<'a>(
        &'a mut self,
        mut is_due: impl FnMut(&Held) -> bool + 'a,
    ) -> impl Iterator<Item = (PortIndex, PktBuf)> + 'a {
        let held_bytes = &mut self.held_bytes;
        self.held.extract_if(.., move |held| is_due(held)).map(move |held| {
            *held_bytes -= held.frame.len();
            (held.port, held.frame)
        })
    }

    fn remember(&mut self, datagram: Datagram, tuple: Tuple, now: Seconds) {
        let deadline = Seconds(now.0.saturating_add(datagram.lifetime_seconds()));
        let mut known = Known { datagram, tuple, id: None, deadline };
        if let Some(at) = self.by_datagram.get(&datagram) {
            let before = self.ring[*at].filter(|before| before.tuple == tuple);
            known.id = before.and_then(|before| before.id);
            self.ring[*at] = Some(known);
            return;
        }
        if let Some(displaced) = self.ring[self.oldest].replace(known) {
            self.by_datagram.remove(&displaced.datagram);
        }
        self.by_datagram.insert(datagram, self.oldest);
        self.oldest = (self.oldest + 1) % self.ring.len();
    }
}

#[cfg(test)]
mod tests;
