//! [`Trail`]: how far one end of a TCP connection has come, in a word that the kernel and the switch share.
//!
//! A segment must lie within a window of what its sender has sent, and its acknowledgment within a window of what the other end
//! has (`flows::session`, which writes these words, and says after whom). So whoever carries segments needs two such
//! words, and moves one of them with each. Both sides do it by compare-exchange: what one of them has written the other has
//! seen, or its exchange fails. A trail that is *open* is the kernel's leave to carry segments; whoever closes it knows that no
//! segment is carried by it afterwards but those that the kernel has in hand.

use std::io;
use std::sync::atomic::AtomicU64;

use crate::bpf::Words;

/// `open 1 | held 1 | version 22 | 0 | window 7 | end of the sequence 32`; 0 is no trail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Trail(u64);

const WINDOW_SHIFT: u32 = 32;
const WINDOW: u64 = 0x7f << WINDOW_SHIFT;
/// Of a window, the bits of the scale.
pub(super) const SCALE_BITS: i32 = 0xf;
/// Where the class of a window is, and its bits there.
pub(super) const CLASS_SHIFT: i32 = 36;
pub(super) const CLASS_BITS: i32 = 0x7;
/// What stands above says whose the trail is, and that it is open.
pub(super) const MARK_SHIFT: i32 = 40;
const HELD: u64 = 1 << 62;
const OPEN: u64 = 1 << 63;

/// The words of a connection: one for each direction.
pub(super) const WORDS: u32 = 2;

/// A direction of a connection whose trails are in the words of [`Shortcuts::trails`](super::Shortcuts::trails).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Connection {
    /// Its place among the connections.
    pub position: u32,
    /// Which one it is of those that were there.
    pub version: u32,
    /// Whether these are the segments of its second word's end.
    pub is_second: bool,
}

impl Connection {
    /// The mark of its trails when they are open.
    pub(super) fn mark(&self) -> u32 {
        u32::try_from((Trail::of(self.version, 0, 0).opened().0) >> MARK_SHIFT).unwrap_or(0)
    }

    /// Where its word is among those of the connection, in bytes.
    pub(super) fn at(&self) -> u32 {
        u32::from(self.is_second) * 8
    }
}

impl Trail {
    /// A closed one of a connection of that version: the end of the sequence, and the window that was offered in seven bits, its class
    /// (64 KiB times four to the power of it) in the upper three and its scale in the lower four.
    #[inline]
    pub fn of(version: u32, end: u32, window: u8) -> Self {
        let version = u64::from(version) << MARK_SHIFT & (HELD - 1);
        Self(HELD | version | u64::from(window) << WINDOW_SHIFT & WINDOW | u64::from(end))
    }

    /// The trail in a word, if it is one of a connection of that version.
    #[inline]
    pub fn in_word(word: u64, version: u32) -> Option<Self> {
        let whose = !OPEN >> MARK_SHIFT << MARK_SHIFT;
        ((word ^ Self::of(version, 0, 0).0) & whose == 0).then_some(Self(word))
    }

    /// The word of this trail.
    #[inline]
    pub fn word(self) -> u64 {
        self.0
    }

    /// The end of the sequence.
    #[inline]
    #[allow(clippy::cast_possible_truncation, reason = "it is the lower half")]
    pub fn end(self) -> u32 {
        self.0 as u32
    }

    /// The window.
    #[inline]
    pub fn window(self) -> u8 {
        ((self.0 & WINDOW) >> WINDOW_SHIFT).to_le_bytes()[0]
    }

    /// The same with another end and another window.
    #[inline]
    #[must_use]
    pub fn at(self, end: u32, window: u8) -> Self {
        let kept = self.0 >> MARK_SHIFT << MARK_SHIFT;
        Self(kept | u64::from(window) << WINDOW_SHIFT & WINDOW | u64::from(end))
    }

    /// The same, with leave to carry segments.
    #[inline]
    #[must_use]
    pub fn opened(self) -> Self {
        Self(self.0 | OPEN)
    }

    /// The same without.
    #[inline]
    #[must_use]
    pub fn closed(self) -> Self {
        Self(self.0 & !OPEN)
    }
}

/// The trails of connections, by their positions.
#[derive(Debug)]
pub struct Trails(Words);

impl Trails {
    /// In those words, two for each connection.
    pub(super) fn new(words: Words) -> Self {
        Self(words)
    }

    /// Of so many connections, in words that no program shares.
    ///
    /// # Errors
    /// The kernel's, when there is no memory for them.
    pub fn own(connections: u32) -> io::Result<Self> {
        Words::own(connections as usize * WORDS as usize).map(Self)
    }

    /// The word of a direction. `None` where there is no room for a connection of that position.
    #[inline]
    pub fn word(&self, position: u32, is_second: bool) -> Option<&AtomicU64> {
        self.0.get(position as usize * WORDS as usize + usize::from(is_second))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trail_is_what_it_was_made_of_and_its_own_connections() {
        for (version, end, window) in [(0, 0, 0), (1, u32::MAX, 0x7f), (0x3f_ffff, 7, 0x35)] {
            let trail = Trail::of(version, end, window);
            for trail in [trail, trail.opened(), trail.opened().closed()] {
                assert_eq!(Trail::in_word(trail.word(), version), Some(trail));
                assert_eq!((trail.end(), trail.window()), (end, window));
                assert_eq!(Trail::in_word(trail.word(), version ^ 1), None);
            }
            assert_eq!(trail.opened().closed(), trail);
            let moved = trail.opened().at(9, 0x12);
            assert_eq!((moved.end(), moved.window()), (9, 0x12));
            assert_eq!(Trail::in_word(moved.closed().word(), version), Some(moved.closed()));
            assert_eq!(Trail::in_word(0, version), None);
        }
    }

    #[test]
    fn only_an_open_trail_has_the_mark_of_its_connection() {
        let connection = Connection { position: 3, version: 5, is_second: true };
        let mark = |trail: Trail| trail.word() >> MARK_SHIFT;
        let trail = Trail::of(5, u32::MAX, 0x7f);
        assert_eq!(mark(trail.opened()), u64::from(connection.mark()));
        for other in [trail, Trail::of(6, 1, 2).opened()] {
            assert_ne!(mark(other), u64::from(connection.mark()));
        }
    }
}
