//! What a neighbour's address is bound to, packed into one word that is replaced as a whole, and the
//! rules by which it changes.

use pktio::wire::MacAddr;

use super::{Claim, NeighborState};

const MAC_SHIFT: u32 = 16;
const STATE_SHIFT: u32 = 13;
const STATE: u64 = 7 << STATE_SHIFT;
const VERSION: u64 = (1 << STATE_SHIFT) - 1;

/// `mac 48 | state 3 | version 13`. The version moves on whenever the MAC changes or the slot is freed.
/// Zero is a slot that never held anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Binding(pub(super) u64);

impl Binding {
    fn new(mac: MacAddr, state: NeighborState, version: u16) -> Self {
        let version = u64::from(version) & VERSION;
        Self(mac.to_bits() << MAC_SHIFT | (state as u64) << STATE_SHIFT | version)
    }

    #[inline]
    pub(super) fn mac(self) -> MacAddr {
        MacAddr::from_bits(self.0 >> MAC_SHIFT)
    }

    /// `None` for a slot without an entry.
    #[inline]
    pub(super) fn state(self) -> Option<NeighborState> {
        match (self.0 & STATE) >> STATE_SHIFT {
            1 => Some(NeighborState::Incomplete),
            2 => Some(NeighborState::Reachable),
            3 => Some(NeighborState::Stale),
            4 => Some(NeighborState::Probe),
            5 => Some(NeighborState::Failed),
            6 => Some(NeighborState::Permanent),
            7 => Some(NeighborState::Retry),
            _ => None,
        }
    }

    /// Whether what is decided by it holds for a while.
    pub(super) fn is_in_use(self) -> bool {
        use NeighborState::{Permanent, Probe, Reachable};
        matches!(self.state(), Some(Permanent | Reachable | Probe))
    }

    #[inline]
    pub(super) fn version(self) -> u16 {
        let [.., high, low] = (self.0 & VERSION).to_be_bytes();
        u16::from_be_bytes([high, low])
    }

    /// The same MAC, in another state.
    pub(super) fn in_state(self, state: NeighborState) -> Self {
        Self::new(self.mac(), state, self.version())
    }

    /// A freed slot.
    pub(super) fn vacated(self) -> Self {
        Self(u64::from(self.version() + 1) & VERSION)
    }

    /// What fills a vacant slot.
    pub(super) fn filled(self, mac: MacAddr, state: NeighborState) -> Self {
        Self::new(mac, state, self.version())
    }

    /// What a neighbour's claim makes of it (RFC 4861 sections 7.2.3 and 7.2.5; ARP by the same rules).
    /// `None` when that changes nothing and confirms nothing.
    pub(super) fn after(self, claim: &Claim) -> Option<Self> {
        use NeighborState::{Failed, Incomplete, Permanent, Reachable, Retry, Stale};
        let learned = if claim.solicited { Reachable } else { Stale };
        match self.state()? {
            Permanent => None,
            Incomplete | Failed | Retry => claim.mac.map(|mac| self.moved_to(mac, learned)),
            state => {
                let other = claim.mac.filter(|mac| *mac != self.mac());
                match other {
                    Some(_) if !claim.overrides => {
                        (state == Reachable).then(|| self.in_state(Stale))
                    }
                    Some(mac) => Some(self.moved_to(mac, learned)),
                    None if claim.solicited => Some(self.in_state(Reachable)),
                    None => None,
                }
            }
        }
    }

    /// Another MAC, with another version, or the same one.
    pub(super) fn moved_to(self, mac: MacAddr, state: NeighborState) -> Self {
        let version = if mac == self.mac() { self.version() } else { self.version() + 1 };
        Self::new(mac, state, version)
    }
}

/// When something last happened to an entry, and how often it has been asked for since: `milliseconds 56
/// | tries 8`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Times(pub(super) u64);

impl Times {
    pub(super) fn at(ms: u64, tries: u8) -> Self {
        Self(ms << 8 | u64::from(tries))
    }

    #[inline]
    pub(super) fn ms(self) -> u64 {
        self.0 >> 8
    }

    /// Milliseconds that have passed since.
    #[inline]
    pub(super) fn age_ms(self, now_ms: u64) -> u64 {
        now_ms.saturating_sub(self.ms())
    }

    pub(super) fn tries(self) -> u8 {
        let [.., tries] = self.0.to_be_bytes();
        tries
    }
}
