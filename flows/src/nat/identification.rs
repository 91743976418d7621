//! [`Identifications`]: what tells the datagrams apart that have one source after translation (RFC 7857 section 10).
//!
//! The fragments of a datagram are found by source, destination, protocol and the identification that the sender chose (RFC
//! 791). Stations that share an address choose without each other, so that what they send to one destination could be put
//! together there as one datagram. Whoever changes an address is therefore the source (RFC 6864 section 5.3.1), and
//! gives all datagrams that may be fragmented, or are, numbers of its own. Those that may not (DF) keep theirs, which
//! nobody looks at (section 4.1).
//!
//! Datagrams of equal source, destination and protocol count up by one counter, so that a number comes again after all 65 536. Others may
//! share it by a keyed hash, which brings that nearer, and nothing else; the counters begin anywhere.
//!
//! Shared by all workers, as the datagrams of one source come in by many ports. A number is taken by one addition that waits for nobody
//! and orders nothing.

use std::sync::atomic::{AtomicU16, Ordering};

use pktio::PktBuf;
use pktio::wire::Layers;
use pktio::wire::field::{be16, ipv4};

use crate::hash::{fold, secrets};

/// As many as Linux has at most for the same end.
const COUNTERS: usize = if cfg!(loom) { 8 } else { 1 << 12 };

/// Counters for the identification of IPv4 datagrams. See the module's documentation.
#[derive(Debug)]
pub struct Identifications {
    next: Box<[AtomicU16]>,
    key: u64,
}

impl Identifications {
    /// Counters that begin anywhere. `seed` keys the hash.
    pub fn new(seed: u64) -> Self {
        let [key, start] = secrets(seed);
        let begin = |number: usize| {
            let [.., high, low] = fold(start, number as u64 + 1).to_be_bytes();
            AtomicU16::new(u16::from_be_bytes([high, low]))
        };
        Self { next: (0..COUNTERS).map(begin).collect(), key }
    }

    /// The first of so many numbers for the datagrams in a frame, which has its new addresses: a super-frame is many.
    pub fn draw(&self, frame: &[u8], layers: &Layers, datagrams: u16) -> u16 {
        let at = usize::from(layers.l3) + ipv4::ADDRESSES.start;
        let addresses = frame.get(at..).and_then(<[u8]>::first_chunk);
        let addresses = u64::from_be_bytes(addresses.copied().unwrap_or_default());
        let hash = fold(self.key ^ addresses, u64::from(layers.protocol) | 1 << 32);
        let counter = usize::try_from(hash >> 32).unwrap_or(0) % COUNTERS;
        self.next[counter].fetch_add(datagrams, Ordering::Relaxed)
    }
}

/// Whether a datagram is whole and stays so ("atomic", RFC 6864 section 4): its identification says nothing.
#[inline]
pub fn is_atomic(frame: &[u8], layers: &Layers) -> bool {
    let field = be16(frame, usize::from(layers.l3) + ipv4::FRAGMENT);
    let is_whole_for_good =
        |field| field & (ipv4::DONT_FRAGMENT | ipv4::FRAGMENTED) == ipv4::DONT_FRAGMENT;
    field.is_none_or(is_whole_for_good)
}

/// How many datagrams a frame is on the wire.
pub fn datagrams(frame: &PktBuf, layers: &Layers) -> u16 {
    let bytes = frame.len().saturating_sub(layers.l4.into());
    let segments = frame.offload.gso.segment_bytes().map(|each| bytes.div_ceil(each.max(1).into()));
    segments.and_then(|segments| u16::try_from(segments).ok()).unwrap_or(1)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use pktio::wire::field::protocol::UDP;

    use super::*;
    use crate::Tuple;
    use crate::nat::sample::{Shape, layers, packet, tuple};

    fn between(source: u8, destination: u8) -> Tuple {
        tuple(UDP, ([192, 0, 2, source], 4000), ([198, 51, 100, destination], 53))
    }

    fn draw(identifications: &Identifications, tuple: &Tuple, datagrams: u16) -> u16 {
        let frame = packet(tuple, &Shape::plain(b"x"));
        identifications.draw(&frame, &layers(&frame), datagrams)
    }

    #[test]
    fn rfc6864_a_number_comes_again_after_all_others() {
        let identifications = Identifications::new(7);
        let drawn: HashSet<_> =
            (0..=u16::MAX).map(|_| draw(&identifications, &between(1, 1), 1)).collect();
        assert_eq!(drawn.len(), 1 << 16);
    }

    #[test]
    fn a_super_frame_takes_a_number_for_each_of_its_datagrams() {
        let identifications = Identifications::new(7);
        let first = draw(&identifications, &between(1, 1), 45);
        assert_eq!(draw(&identifications, &between(1, 1), 1), first.wrapping_add(45));
    }

    #[test]
    fn destinations_mostly_have_counters_of_their_own_which_begin_anywhere() {
        let identifications = Identifications::new(7);
        let first: HashSet<_> =
            (1..=100).map(|host| draw(&identifications, &between(1, host), 1)).collect();
        assert!(first.len() > 90, "{first:?}");
        let other = Identifications::new(8);
        assert_ne!(
            draw(&other, &between(1, 1), 1),
            draw(&Identifications::new(7), &between(1, 1), 1)
        );
    }
}
