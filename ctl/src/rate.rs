//! [`Rate`]: bits per second, as people write them.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::names::{BadName, as_string, bad, digits};

/// A rate in bits per second, of whole frames without their checksum: `100mbit`, `2500mbit`, `10gbit`. Units are powers of 1000,
/// as in tc(8).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Rate(u64);

/// The units, the largest first.
const UNITS: [(&str, u64); 4] =
    [("gbit", 1_000_000_000), ("mbit", 1_000_000), ("kbit", 1_000), ("bit", 1)];

impl Rate {
    /// The least: one full frame every other second.
    pub const MIN_BITS: u64 = 8_000;
    /// The most, which is more than anything here carries.
    pub const MAX_BITS: u64 = 1_000_000_000_000;

    /// The rate in bits per second.
    pub fn bits_per_second(self) -> u64 {
        self.0
    }
}

impl FromStr for Rate {
    type Err = BadName;

    fn from_str(text: &str) -> Result<Self, BadName> {
        const RULE: &str =
            "use 8kbit to 1000gbit, in bit, kbit, mbit or gbit per second, such as 100mbit";
        let lower = text.to_ascii_lowercase();
        let in_unit = |(unit, bits): &(&str, u64)| {
            let number: u64 =
                lower.strip_suffix(unit).filter(|n| !n.is_empty()).and_then(digits)?;
            number.checked_mul(*bits)
        };
        // `bit` last: it ends every other unit as well, and what is left of those is no number.
        let bits = UNITS.iter().find_map(in_unit);
        bits.filter(|bits| (Self::MIN_BITS..=Self::MAX_BITS).contains(bits))
            .map(Self)
            .ok_or_else(|| bad("rate", text, RULE))
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fits = |(_, bits): &&(&str, u64)| self.0.is_multiple_of(*bits);
        let (unit, bits) = UNITS.iter().find(fits).copied().unwrap_or(("bit", 1));
        f.pad(&format!("{}{unit}", self.0 / bits))
    }
}

as_string!(Rate);
