//! The value of an entry, packed into one word that is replaced as a whole.

use crate::{PortIndex, Seconds};

const PORT_SHIFT: u32 = 48;
const STATIC: u64 = 1 << 40;
const VERSION_SHIFT: u32 = 32;
const VERSION: u64 = 0xff << VERSION_SHIFT;
const SEEN: u64 = 0xffff_ffff;

/// `port 16 | flags 8 | version 8 | last seen 32`. The version moves on whenever the port changes or the
/// slot is freed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Value(pub(super) u64);

impl Value {
    /// The port of a slot that has no entry (yet).
    pub(super) const VACANT: PortIndex = PortIndex(u16::MAX);

    pub(super) fn learned(port: PortIndex, now: Seconds) -> Self {
        Self(u64::from(port.0) << PORT_SHIFT | u64::from(now.0))
    }

    pub(super) fn fixed(port: PortIndex) -> Self {
        Self(u64::from(port.0) << PORT_SHIFT | STATIC)
    }

    #[inline]
    pub(super) fn port(self) -> PortIndex {
        let [high, low, ..] = self.0.to_be_bytes();
        PortIndex(u16::from_be_bytes([high, low]))
    }

    #[inline]
    pub(super) fn seen(self) -> Seconds {
        let [.., a, b, c, d] = self.0.to_be_bytes();
        Seconds(u32::from_be_bytes([a, b, c, d]))
    }

    #[inline]
    pub(super) fn version(self) -> u64 {
        self.0 & VERSION
    }

    #[inline]
    pub(super) fn is_static(self) -> bool {
        self.0 & STATIC != 0
    }

    #[inline]
    pub(super) fn is_vacant(self) -> bool {
        self.port() == Self::VACANT
    }

    /// Whether nothing has to be written for a frame from `port` at `now`.
    #[inline]
    pub(super) fn is_at(self, port: PortIndex, now: Seconds) -> bool {
        self.port() == port && (self.seen() >= now || self.is_static())
    }

    pub(super) fn seen_at(self, now: Seconds) -> Self {
        Self(self.0 & !SEEN | u64::from(now.0))
    }

    pub(super) fn moved_to(self, port: PortIndex, now: Seconds) -> Self {
        Self::learned(port, now).with_version_after(self)
    }

    /// What a freed slot holds.
    pub(super) fn vacated(self) -> Self {
        Self(u64::from(Self::VACANT.0) << PORT_SHIFT).with_version_after(self)
    }

    /// This value with the version that follows `before`'s.
    pub(super) fn with_version_after(self, before: Self) -> Self {
        let version = before.version().wrapping_add(1 << VERSION_SHIFT) & VERSION;
        Self(self.0 & !VERSION | version)
    }
}
