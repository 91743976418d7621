//! [`Word`]: all there is to know about one external port, in one word that is replaced as a whole.

use crate::Seconds;

const STATE_SHIFT: u32 = 62;
const HOST_SHIFT: u32 = 44;
const HOST_MASK: u64 = (1 << 18) - 1;
const PORT_SHIFT: u32 = 28;
const COUNT_MASK: u64 = (1 << PORT_SHIFT) - 1;

/// How long a port is kept from other endpoints after its last session (RFC 6888 REQ-8).
pub(super) const QUARANTINE_SECONDS: u32 = 120;

/// A host's number; no host has 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Host(pub u32);

impl Host {
    /// The largest number.
    #[allow(clippy::cast_possible_truncation, reason = "18 bits")]
    pub(super) const MAX: u32 = HOST_MASK as u32;
}

/// The inside's end of a mapping.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Key {
    pub(super) host: Host,
    pub(super) port: u16,
}

/// What an external port is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// Nobody's, and never was anybody's.
    Free,
    /// Somebody's attempt, with its number. See the module's documentation.
    Tentative,
    /// Mapped, with so many sessions.
    Mapped(u32),
    /// Mapped once, until then.
    Quarantined(Seconds),
}

/// `state 2 | host 18 | internal port 16 | sessions, end of use in seconds, or number of the attempt 28`.
/// Seconds beyond 2^28 (8 years) start over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Word(pub(super) u64);

impl Word {
    pub(super) const FREE: Self = Self(0);

    fn new(state: u64, key: Key, count: u32) -> Self {
        Self(
            state << STATE_SHIFT
                | u64::from(key.host.0) << HOST_SHIFT
                | u64::from(key.port) << PORT_SHIFT
                | u64::from(count) & COUNT_MASK,
        )
    }

    pub(super) fn tentative(key: Key, attempt: u32) -> Self {
        Self::new(1, key, attempt)
    }

    pub(super) fn mapped(key: Key, sessions: u32) -> Self {
        Self::new(2, key, sessions)
    }

    pub(super) fn quarantined(key: Key, now: Seconds) -> Self {
        Self::new(3, key, now.0)
    }

    pub(super) fn state(self) -> State {
        let count = lower(self.0 & COUNT_MASK);
        match self.0 >> STATE_SHIFT {
            0 => State::Free,
            1 => State::Tentative,
            2 => State::Mapped(count),
            _ => State::Quarantined(Seconds(count)),
        }
    }

    pub(super) fn key(self) -> Key {
        let [.., high, low] = (self.0 >> PORT_SHIFT).to_be_bytes();
        let host = Host(lower(self.0 >> HOST_SHIFT & HOST_MASK));
        Key { host, port: u16::from_be_bytes([high, low]) }
    }

    /// Whether it is, or was, the mapping of this endpoint.
    pub(super) fn belongs_to(self, key: Key) -> bool {
        self != Self::FREE && self.key() == key
    }

    /// Whether an endpoint that it does not belong to may have it.
    pub(super) fn is_vacant(self, now: Seconds) -> bool {
        match self.state() {
            State::Free => true,
            State::Tentative | State::Mapped(_) => false,
            State::Quarantined(since) => {
                // Another worker's clock may be ahead of ours.
                let age = now.0.wrapping_sub(since.0) & lower(COUNT_MASK);
                age >= QUARANTINE_SECONDS && age <= lower(COUNT_MASK >> 1)
            }
        }
    }
}

/// The lower half of a word.
fn lower(word: u64) -> u32 {
    let [.., a, b, c, d] = word.to_be_bytes();
    u32::from_be_bytes([a, b, c, d])
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_word_gives_back_what_went_in(host in 0..=Host::MAX, port: u16, count in 0u32..1 << 28) {
            let key = Key { host: Host(host), port };
            for (word, state) in [
                (Word::tentative(key, count), State::Tentative),
                (Word::mapped(key, count), State::Mapped(count)),
                (Word::quarantined(key, Seconds(count)), State::Quarantined(Seconds(count))),
            ] {
                prop_assert_eq!((word.key(), word.state()), (key, state));
                prop_assert!(word.belongs_to(key));
            }
        }
    }

    #[test]
    fn a_quarantine_lasts_120_seconds_whatever_the_clock_says() {
        let key = Key { host: Host(1), port: 1 };
        for end in [0, 1000, (1 << 28) - 60, u32::MAX - 60] {
            let word = Word::quarantined(key, Seconds(end));
            assert!(!word.is_vacant(Seconds(end.wrapping_sub(1))));
            assert!(!word.is_vacant(Seconds(end.wrapping_add(119))));
            assert!(word.is_vacant(Seconds(end.wrapping_add(120))));
        }
    }
}
