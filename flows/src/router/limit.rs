//! [`ErrorLimiter`]: how many ICMP errors and resets may be sent (RFC 1812 section 4.3.2.8, RFC 4443
//! section 2.4 f). [`VisitLimiter`]: how many packets of one port come to the services of gateways.
//!
//! Two token buckets must agree: one for all errors, and one per destination, so that one sender of
//! garbage cannot use up what the others' path MTU discovery needs. Destinations share a fixed number of
//! buckets by a keyed hash: two that share one get less, never more.
//!
//! One per worker; nothing is shared.

use std::net::IpAddr;

use super::hash;
use crate::{Nanos, PortIndex};

const SECOND_NS: u64 = 1_000_000_000;
/// Buckets for destinations.
const DESTINATIONS: usize = 256;
/// Buckets for ports.
const PORTS: usize = 256;
/// Packets per second that one port may have for the services of gateways: more than any resolver of a container asks, and
/// a small part of what is attended to.
const VISITS_PER_SECOND: u32 = 2000;

/// How many errors may be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ErrorRate {
    /// Per second, to all destinations together.
    pub per_second: u32,
    /// Per second, to one destination.
    pub per_destination_per_second: u32,
}

impl Default for ErrorRate {
    /// 1000 errors a second, 10 to each destination.
    fn default() -> Self {
        Self { per_second: 1000, per_destination_per_second: 10 }
    }
}

/// Tokens that come back at a steady rate; as many as one second brings can be saved up. Kept as the
/// time at which the bucket would be full again (the "theoretical arrival time" of ITU-T I.371), so
/// that a bucket of zero is a full one.
#[derive(Debug, Clone, Copy, Default)]
struct Bucket {
    full_at_ns: u64,
}

impl Bucket {
    /// When the bucket would be full again after one more token is taken. `None` when none is left.
    fn after_one(self, per_second: u32, now: Nanos) -> Option<Self> {
        let token_ns = SECOND_NS.checked_div(u64::from(per_second))?;
        let now_ns = now.as_nanos();
        let full_at_ns = self.full_at_ns.max(now_ns) + token_ns;
        (full_at_ns - now_ns <= SECOND_NS).then_some(Self { full_at_ns })
    }
}

/// Says whether another error may be sent.
#[derive(Debug)]
pub struct ErrorLimiter {
    rate: ErrorRate,
    all: Bucket,
    destinations: Box<[Bucket; DESTINATIONS]>,
    seed: u64,
}

impl ErrorLimiter {
    /// A limiter with all tokens there. `seed` keys the hash, so that nobody outside can choose whom to
    /// share with.
    pub fn new(rate: ErrorRate, seed: u64) -> Self {
        Self {
            rate,
            all: Bucket::default(),
            destinations: Box::new([Bucket::default(); DESTINATIONS]),
            seed,
        }
    }

    /// Whether an error may be sent to this destination now; if so, it is counted as sent.
    pub fn allow(&mut self, destination: IpAddr, now: Nanos) -> bool {
        let [slot, ..] = hash::keyed(self.seed, hash::words(destination)).to_be_bytes();
        let own = &mut self.destinations[usize::from(slot)];
        let taken = own
            .after_one(self.rate.per_destination_per_second, now)
            .zip(self.all.after_one(self.rate.per_second, now));
        if let Some((one, all)) = taken {
            *own = one;
            self.all = all;
        }
        taken.is_some()
    }
}

/// Says whether another packet may come to a service of a gateway, so that one port that asks all the time leaves its
/// neighbours theirs. Ports of equal last bytes share a bucket.
#[derive(Debug)]
pub struct VisitLimiter(Box<[Bucket; PORTS]>);

impl Default for VisitLimiter {
    /// All tokens are there.
    fn default() -> Self {
        Self(Box::new([Bucket::default(); PORTS]))
    }
}

impl VisitLimiter {
    /// Whether a packet of this port may come now; if so, it is counted.
    pub fn allow(&mut self, port: PortIndex, now: Nanos) -> bool {
        let bucket = &mut self.0[port.slot() % PORTS];
        let taken = bucket.after_one(VISITS_PER_SECOND, now);
        *bucket = taken.unwrap_or(*bucket);
        taken.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_that_asks_all_the_time_leaves_its_neighbours_theirs() {
        let mut limiter = VisitLimiter::default();
        let mut allowed =
            |port, at, tries| (0..tries).filter(|_| limiter.allow(PortIndex(port), at)).count();
        let now = Nanos::from_secs(5);
        assert_eq!(allowed(1, now, 10_000), 2000);
        assert_eq!(allowed(2, now, 10), 10);
        assert_eq!(allowed(1, Nanos::from_micros(5_100_000), 10_000), 200);
    }

    fn allowed(limiter: &mut ErrorLimiter, destination: [u8; 4], at: Nanos, tries: usize) -> usize {
        (0..tries).filter(|_| limiter.allow(destination.into(), at)).count()
    }

    #[test]
    fn one_destination_gets_its_rate_and_leaves_the_rest_to_others() {
        let mut limiter = ErrorLimiter::new(ErrorRate::default(), 7);
        let now = Nanos::from_secs(5);
        assert_eq!(allowed(&mut limiter, [10, 0, 0, 1], now, 100), 10);
        let others: usize =
            (0..=255).map(|host| allowed(&mut limiter, [10, 0, 1, host], now, 1)).sum();
        assert!(others > 200, "{others} of 256 others");
    }

    #[test]
    fn all_destinations_together_get_the_rate() {
        let rate = ErrorRate { per_second: 50, per_destination_per_second: 1 };
        let mut limiter = ErrorLimiter::new(rate, 7);
        let mut sent = |at| -> usize {
            (0..=255).map(|host| allowed(&mut limiter, [10, 0, 1, host], at, 4)).sum()
        };
        assert_eq!(sent(Nanos::from_secs(5)), 50);
        assert_eq!(sent(Nanos::from_micros(5_500_000)), 25, "half a second brings half the tokens");
    }

    #[test]
    fn tokens_come_back_with_time_up_to_a_second_of_them() {
        let mut limiter = ErrorLimiter::new(ErrorRate::default(), 7);
        assert_eq!(allowed(&mut limiter, [10, 0, 0, 1], Nanos::from_secs(5), 100), 10);
        assert_eq!(allowed(&mut limiter, [10, 0, 0, 1], Nanos::from_micros(5_200_000), 100), 2);
        assert_eq!(allowed(&mut limiter, [10, 0, 0, 1], Nanos::from_secs(500), 100), 10);
    }

    #[test]
    fn a_rate_of_zero_allows_nothing() {
        let rate = ErrorRate { per_second: 1000, per_destination_per_second: 0 };
        assert!(!ErrorLimiter::new(rate, 7).allow([10, 0, 0, 1].into(), Nanos::from_secs(1)));
    }
}
