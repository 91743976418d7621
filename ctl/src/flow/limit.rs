//! [`Limit`]: how fast the packets of a rule may come.

use std::fmt;

use super::error::Complaint;
use crate::Rate;
use crate::names::digits;

/// How fast packets may come: `1000pps`, `10mbit`, `10mbit:burst=125000:per-source`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Limit {
    /// How many in a second.
    pub rate: LimitRate,
    /// How many packets, or bytes if the rate is in bits, may come at once; a tenth of a second's if
    /// not given.
    pub burst: Option<u32>,
    /// Whether each source has the rate for itself.
    pub per_source: bool,
}

/// Packets or bits in a second.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LimitRate {
    /// `1000pps`; at least one.
    Packets(u32),
    /// `10mbit`.
    Bits(Rate),
}

const ADVICE: &str = "write limit:1000pps or limit:10mbit, and perhaps :burst=N, in packets or bytes, and \
                      :per-source";

impl Limit {
    /// The least that a burst in bytes may be, so that a super-frame does not have to wait for a full
    /// bucket.
    pub const LEAST_BURST_BYTES: u32 = 65_536;

    /// What may come at once: packets, or bits.
    pub fn burst_units(&self) -> u64 {
        let tenth = |rate: u64| rate / 10;
        match (self.rate, self.burst) {
            (LimitRate::Packets(_), Some(packets)) => packets.into(),
            (LimitRate::Packets(rate), None) => tenth(rate.into()).max(1),
            (LimitRate::Bits(_), Some(bytes)) => u64::from(bytes) * 8,
            (LimitRate::Bits(rate), None) => {
                tenth(rate.bits_per_second()).max(u64::from(Self::LEAST_BURST_BYTES) * 8)
            }
        }
    }

    pub(super) fn parse(text: &str) -> Result<Self, Complaint> {
        let mut parts = text.split(':').map(str::trim);
        let rate = rate(parts.next().unwrap_or_default())?;
        let mut limit = Self { rate, burst: None, per_source: false };
        for part in parts {
            match part.strip_prefix("burst=") {
                Some(burst) if limit.burst.is_none() => limit.burst = Some(limit.burst(burst)?),
                None if part == "per-source" && !limit.per_source => limit.per_source = true,
                _ => return Err(Complaint::new(format!("{part:?} is no part of a limit"), ADVICE)),
            }
        }
        Ok(limit)
    }

    fn burst(&self, text: &str) -> Result<u32, Complaint> {
        let (least, unit) = match self.rate {
            LimitRate::Packets(_) => (1, "packets"),
            LimitRate::Bits(_) => (Self::LEAST_BURST_BYTES, "bytes"),
        };
        digits::<u32>(text).filter(|burst| *burst >= least).ok_or_else(|| {
            let advice = format!("use a number of {unit}, {least} or more");
            Complaint::new(format!("{text:?} is no burst"), advice)
        })
    }
}

fn rate(text: &str) -> Result<LimitRate, Complaint> {
    let Some(packets) = text.strip_suffix("pps") else {
        let wrong = |_| Complaint::new(format!("{text:?} is no rate"), ADVICE);
        return text.parse().map(LimitRate::Bits).map_err(wrong);
    };
    let packets = digits::<u32>(packets).filter(|packets| *packets > 0);
    packets
        .map(LimitRate::Packets)
        .ok_or_else(|| Complaint::new(format!("{text:?} is no rate"), "use 1pps to 4294967295pps"))
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.rate {
            LimitRate::Packets(packets) => write!(f, "{packets}pps")?,
            LimitRate::Bits(rate) => write!(f, "{rate}")?,
        }
        if let Some(burst) = self.burst {
            write!(f, ":burst={burst}")?;
        }
        if self.per_source { f.write_str(":per-source") } else { Ok(()) }
    }
}
