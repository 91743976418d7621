//! A session's record: sixteen words, two cache lines.

#[cfg(loom)]
use loom::sync::atomic::{AtomicU64, Ordering};
#[cfg(not(loom))]
use std::sync::atomic::{AtomicU64, Ordering};

use pktio::hint::prefetch;

use super::Direction;
use super::bits::{low8, low32};
use super::control::Control;
use super::key::{KEY_WORDS, Packed, WINDOW, WINDOW_SHIFT};
use super::tcp::Side;
use super::traffic::{Tag, Traffic};
use crate::{PortIndex, Seconds};

/// Words of a record.
pub(super) const WORDS: usize = 16;
/// Words of a direction: a cache line.
const LINE: usize = 8;

const CONTROL: usize = 0;
/// `port of the original direction 16 | port of the replies 16 | created, seconds 32`; in a free record, the next free one.
const ORIGIN: usize = LINE;
/// No port is known. Ports are counted from 1, so that the word of a living session is never one of a free record.
const NO_PORT: u16 = u16::MAX;
/// Within a direction's line.
const KEY: usize = 1;
/// Within a direction's line.
const TRAFFIC: usize = KEY + KEY_WORDS;

/// Where a direction's line begins.
#[inline]
fn line(direction: Direction) -> usize {
    direction.index() * LINE
}

/// A session's record. The layout and the memory order are explained in the parent module.
#[derive(Debug, Clone, Copy)]
pub(super) struct Record<'a>(pub(super) &'a [AtomicU64; WORDS]);

impl Record<'_> {
    #[inline]
    fn load(self, word: usize) -> u64 {
        self.0[word].load(Ordering::Acquire)
    }

    #[inline]
    fn store(self, word: usize, value: u64) {
        self.0[word].store(value, Ordering::Release);
    }

    #[inline]
    pub(super) fn control(self) -> Control {
        Control(self.load(CONTROL))
    }

    /// Asks for what a packet of a direction is tracked by: the control word and its own line. (TCP, of which the
    /// other line is needed too, has fewer and larger frames.)
    #[inline]
    pub(super) fn warm(self, from: Direction) {
        prefetch(&self.0[CONTROL]);
        prefetch(&self.0[line(from)]);
    }

    /// Makes a session visible, in a record that nobody else may write to.
    pub(super) fn publish(self, control: Control) {
        self.store(CONTROL, control.0);
    }

    /// Replaces the control word unless it changed meanwhile.
    #[inline]
    pub(super) fn replace(self, old: Control, new: Control) -> bool {
        self.0[CONTROL].compare_exchange(old.0, new.0, Ordering::Release, Ordering::Relaxed).is_ok()
    }

    /// Changes the control word while the session of that version lives. False when it does not.
    #[inline]
    pub(super) fn update(self, version: u32, change: impl Fn(Control) -> Control) -> bool {
        loop {
            let old = self.control();
            let new = change(old);
            if !old.is(version) {
                return false;
            }
            if new == old || self.replace(old, new) {
                return true;
            }
        }
    }

    /// Whether this is the key of that direction.
    #[inline]
    pub(super) fn has_key(self, direction: Direction, key: &Packed) -> bool {
        let at = line(direction) + KEY;
        let differs = |word: usize| self.load(at + word) ^ key.0[word];
        let others = (1..KEY_WORDS).fold(0, |sum, word| sum | differs(word));
        differs(0) & !WINDOW | others == 0
    }

    pub(super) fn key(self, direction: Direction) -> Packed {
        let at = line(direction) + KEY;
        let mut words = std::array::from_fn(|word| self.load(at + word));
        words[0] &= !WINDOW;
        Packed(words)
    }

    #[inline]
    pub(super) fn protocol(self) -> u8 {
        Packed::protocol(self.load(KEY))
    }

    /// Writes the key of a direction, and its sender's window, into a record that nobody else may
    /// write to.
    pub(super) fn set_key(self, direction: Direction, key: &Packed, side: Side) {
        let at = line(direction) + KEY;
        for (word, value) in key.0.iter().enumerate().skip(1) {
            self.store(at + word, *value);
        }
        self.store(at, key.0[0] | u64::from(side.pack()) << WINDOW_SHIFT);
    }

    /// The ports by which each direction comes in, and the time of creation.
    pub(super) fn origin(self) -> ([Option<PortIndex>; 2], Seconds) {
        let word = self.load(ORIGIN);
        (Direction::BOTH.map(|direction| entrance_in(word, direction)), Seconds(low32(word)))
    }

    /// What is known at first: no answer has come in by any port yet.
    pub(super) fn set_origin(self, entrance: Option<PortIndex>, created: Seconds) {
        let word = with_entrance(u64::from(created.0), Direction::Reply, None);
        self.store(ORIGIN, with_entrance(word, Direction::Original, entrance));
    }

    /// Notes the port by which a direction comes in, while the session of that version lives.
    pub(super) fn note_entrance(self, version: u32, from: Direction, port: PortIndex) {
        let old = self.load(ORIGIN);
        // Loaded after the word: it was this session's. Should that end now, the word is another as long as the record is free,
        // and in the next session too, but for one that began in the same second by the same ports.
        if self.control().is(version) && entrance_in(old, from) != Some(port) {
            let new = with_entrance(old, from, Some(port));
            // Whoever was faster noted a port too; the next packet that is decided about anew says which.
            let _ = self.0[ORIGIN].compare_exchange(old, new, Ordering::Release, Ordering::Relaxed);
        }
    }

    /// In a free record, the next free one.
    pub(super) fn next(self) -> u32 {
        low32(self.load(ORIGIN))
    }

    pub(super) fn set_next(self, next: u32) {
        self.store(ORIGIN, u64::from(next));
    }

    /// What was counted of a direction's packets in the session of that tag.
    #[inline]
    pub(super) fn traffic(self, direction: Direction, tag: Tag) -> Traffic {
        let at = line(direction) + TRAFFIC;
        Traffic::from_words([self.load(at), self.load(at + 1)], tag)
    }

    #[inline]
    pub(super) fn set_traffic(self, direction: Direction, traffic: Traffic, tag: Tag) {
        let at = line(direction) + TRAFFIC;
        let [upper, lower] = traffic.into_words(tag);
        self.store(at, upper);
        self.store(at + 1, lower);
    }

    /// Counts a packet of a direction.
    #[inline(always)]
    pub(super) fn count(self, direction: Direction, tag: Tag, bytes: u32) {
        let at = line(direction) + TRAFFIC;
        let words = [self.load(at), self.load(at + 1)];
        match Traffic::with_packet_added(words, tag, bytes) {
            Some([upper, lower]) => {
                self.store(at, upper);
                self.store(at + 1, lower);
            }
            None => self.count_closely(direction, tag, bytes),
        }
    }

    /// Counts the first packet of a direction, and one of very many.
    #[inline(never)]
    fn count_closely(self, direction: Direction, tag: Tag, bytes: u32) {
        let traffic = self.traffic(direction, tag).with_packet(bytes);
        self.set_traffic(direction, traffic, tag);
    }

    /// What is known of the numbers of a TCP sender.
    #[inline]
    pub(super) fn side(self, direction: Direction, tag: Tag) -> Side {
        let head = self.load(line(direction) + KEY);
        let end = Traffic::end_in(self.load(line(direction) + TRAFFIC), tag);
        Side::unpack(end, low8((head & WINDOW) >> WINDOW_SHIFT))
    }

    /// Notes the window of a sender in the session of that version, unless it has ended. It rarely changes.
    pub(super) fn set_window(self, version: u32, direction: Direction, side: Side) {
        let at = line(direction) + KEY;
        let head = self.load(at);
        if !self.control().is(version) {
            return;
        }
        let new = head & !WINDOW | u64::from(side.pack()) << WINDOW_SHIFT;
        // Whoever was faster noted a window of the same sender, or the session ended.
        let _ = self.0[at].compare_exchange(head, new, Ordering::Relaxed, Ordering::Relaxed);
    }
}

/// Where the port of a direction is in the word of the origin.
fn entrance_shift(direction: Direction) -> u32 {
    match direction {
        Direction::Original => 48,
        Direction::Reply => 32,
    }
}

fn entrance_in(word: u64, direction: Direction) -> Option<PortIndex> {
    let [.., high, low] = (word >> entrance_shift(direction)).to_be_bytes();
    let number = Some(u16::from_be_bytes([high, low])).filter(|number| *number != NO_PORT);
    number.and_then(|number| number.checked_sub(1)).map(PortIndex)
}

fn with_entrance(word: u64, direction: Direction, port: Option<PortIndex>) -> u64 {
    let number = port.map_or(NO_PORT, |port| port.0.saturating_add(1));
    let shift = entrance_shift(direction);
    word & !(u64::from(u16::MAX) << shift) | u64::from(number) << shift
}
