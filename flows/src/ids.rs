//! Numbers with a meaning: indexes, VLANs, times.

use std::time::Duration;

/// A port's number: a dense index into the snapshot's ports and the ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PortIndex(pub u16);

impl PortIndex {
    /// The index as a position.
    #[inline]
    pub fn slot(self) -> usize {
        usize::from(self.0)
    }

    /// The index of a position, if ports can have that many.
    pub fn at(slot: usize) -> Option<Self> {
        u16::try_from(slot).ok().map(Self)
    }
}

/// A bridge's number: a dense index into the snapshot's bridges.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BridgeIndex(pub u16);

/// Where a five-tuple is unique: the number of the bridge that its packets come in by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Zone(pub u16);

impl From<BridgeIndex> for Zone {
    fn from(bridge: BridgeIndex) -> Self {
        Self(bridge.0)
    }
}

/// A VLAN within a bridge: 1 to 4094, or 0 for the domain of the ports that know no VLANs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Vid(pub u16);

impl Vid {
    /// The domain of the ports that know no VLANs.
    pub const NONE: Self = Self(0);
}

/// Counts configurations: each snapshot has the next number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Generation(pub u64);

/// A reading of the switch's clock, in nanoseconds since its start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Nanos(u64);

impl Nanos {
    /// A reading of so many nanoseconds.
    #[inline]
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// A reading of so many microseconds.
    pub const fn from_micros(micros: u64) -> Self {
        Self(micros.saturating_mul(1000))
    }

    /// A reading of so many seconds.
    pub const fn from_secs(seconds: u64) -> Self {
        Self(seconds.saturating_mul(1_000_000_000))
    }

    /// Nanoseconds since the start.
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// Time since `earlier`; zero if that is later.
    #[inline]
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    /// The reading when so much more time has passed.
    #[must_use]
    pub fn after(self, time: Duration) -> Self {
        let nanos = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        Self(self.0.saturating_add(nanos))
    }

    /// The whole seconds of the reading.
    #[inline]
    pub fn seconds(self) -> Seconds {
        Seconds(u32::try_from(self.0 / 1_000_000_000).unwrap_or(u32::MAX))
    }
}

/// Whole seconds since the switch's start: the resolution of ageing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Seconds(pub u32);

impl Seconds {
    /// Seconds since `earlier`; zero if that is later.
    #[inline]
    pub fn since(self, earlier: Self) -> u32 {
        self.0.saturating_sub(earlier.0)
    }
}
