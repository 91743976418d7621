//! [`Health`]: how a backend does, by what is seen of it.
//!
//! Passively: sessions that it does not take count against it, until one that it takes. After so many in a row it is
//! passed over for a while, and then gets one more chance. Actively: whoever checks it says whether it passes. Any thread;
//! what is lost when two count at once does not matter.

#[cfg(loom)]
use loom::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};
#[cfg(not(loom))]
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};

use crate::Seconds;

/// What a backend may do wrong until it is passed over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Endurance {
    /// Sessions in a row that it does not take; 0 for any number.
    pub failures: u32,
    /// Seconds for which it is then passed over.
    pub rest_seconds: u32,
}

/// How a backend does. It outlives configurations as long as the backend does.
#[derive(Debug, Default)]
pub struct Health {
    /// Sessions in a row that it did not take.
    failures: AtomicU32,
    /// The second at which it gets another chance; 0 when it needs none.
    rests_until: AtomicU32,
    /// Who checks it says that it does not pass.
    is_failing: AtomicBool,
    begun: AtomicU64,
    failed: AtomicU64,
}

impl Health {
    /// Whether it may get sessions.
    pub fn is_up(&self, now: Seconds) -> bool {
        !self.is_failing.load(Relaxed) && self.rests_until.load(Relaxed) <= now.0
    }

    /// Sessions that it was given so far.
    pub fn begun(&self) -> u64 {
        self.begun.load(Relaxed)
    }

    /// Sessions that it did not take so far.
    pub fn failed(&self) -> u64 {
        self.failed.load(Relaxed)
    }

    /// Seconds for which it is passed over yet, because of the sessions that it did not take.
    pub fn rests_seconds(&self, now: Seconds) -> u32 {
        self.rests_until.load(Relaxed).saturating_sub(now.0)
    }

    /// Whether it did not pass the last check.
    pub fn is_failing(&self) -> bool {
        self.is_failing.load(Relaxed)
    }

    /// Says what a check found.
    pub fn check(&self, passes: bool) {
        self.is_failing.store(!passes, Relaxed);
    }

    pub(crate) fn begin(&self) {
        self.begun.fetch_add(1, Relaxed);
    }

    /// It took a session.
    pub(crate) fn succeed(&self) {
        // Mostly nothing is to be written.
        if self.failures.load(Relaxed) != 0 {
            self.failures.store(0, Relaxed);
            self.rests_until.store(0, Relaxed);
        }
    }

    /// It did not take a session.
    pub fn fail(&self, endurance: Endurance, now: Seconds) {
        self.failed.fetch_add(1, Relaxed);
        let Endurance { failures: most, rest_seconds } = endurance;
        let failures = self.failures.load(Relaxed).saturating_add(1);
        self.failures.store(failures, Relaxed);
        if most > 0 && failures >= most {
            self.rests_until.store(now.0.saturating_add(rest_seconds), Relaxed);
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    const THREE: Endurance = Endurance { failures: 3, rest_seconds: 10 };

    #[test]
    fn a_backend_rests_after_failures_in_a_row_and_gets_one_more_chance() {
        let health = Health::default();
        let is_up = |now| health.is_up(Seconds(now));
        health.fail(THREE, Seconds(100));
        health.fail(THREE, Seconds(100));
        health.succeed();
        health.fail(THREE, Seconds(100));
        health.fail(THREE, Seconds(100));
        assert!(is_up(100), "not three in a row");
        health.fail(THREE, Seconds(101));
        assert!(!is_up(101) && !is_up(110) && is_up(111));
        assert_eq!(health.rests_seconds(Seconds(105)), 6);
        health.fail(THREE, Seconds(120));
        assert!(!is_up(129), "one more chance was enough");
        health.succeed();
        assert!(is_up(121));
        assert_eq!(health.failed(), 6);
    }

    #[test]
    fn no_number_of_failures_matters_where_none_is_given() {
        let health = Health::default();
        (0..100).for_each(|now| health.fail(Endurance { failures: 0, ..THREE }, Seconds(now)));
        assert!(health.is_up(Seconds(50)));
    }

    #[test]
    fn a_check_that_does_not_pass_counts_until_one_does() {
        let health = Health::default();
        health.check(false);
        health.succeed();
        assert!(!health.is_up(Seconds(u32::MAX)) && health.is_failing());
        health.check(true);
        assert!(health.is_up(Seconds(0)));
    }
}
