//! [`Health`]: how a backend does, by what is seen of it, and by what checks find.
//!
//! Passively: sessions that it does not take count against it, until one that it takes. After so many in a row it
//! rests: it is passed over for a while, and then gets one more chance. Actively: whoever checks it says what each check
//! found. After so many bad ones in a row it is passed over until as many as it takes were good; the first check of all
//! decides by itself, since nothing is known before.
//!
//! Both make one state. What checks find counts for more: a backend that fails them stays down whatever sessions it takes,
//! and one that passes them again need not rest to the end.
//!
//! Any thread says what it saw, one alone what checks found; what is lost when two count at once does not matter. Relaxed
//! order is enough: each word is heeded by itself, and whoever shows several at once may show the moment between two.

#[cfg(loom)]
use loom::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
#[cfg(not(loom))]
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

use crate::Seconds;

/// What a backend may do wrong until it is passed over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Endurance {
    /// Sessions in a row that it does not take; 0 for any number.
    pub failures: u32,
    /// Seconds for which it is then passed over.
    pub rest_seconds: u32,
}

/// How many checks in a row change what is held of a backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Thresholds {
    /// Bad ones, until it is passed over.
    pub fall: u32,
    /// Good ones, until it is given sessions again.
    pub rise: u32,
}

/// What was wrong with a backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Fault {
    /// It refused a connection, or a datagram.
    Refused,
    /// A connection was not answered in time.
    Silent,
    /// It is not found on the link: nobody answers for its address.
    Absent,
    /// Its connection came about, and a check's request was not answered in time.
    Hanging,
    /// Its connection came about, and ended before a check's request was answered.
    Closed,
    /// What answered a check's request was no HTTP.
    NotHttp,
    /// It answered a check's request with this HTTP status.
    Status(u16),
}

/// What checks say of a backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[repr(u32)]
pub enum Checked {
    /// Nothing: there are none, or none yet.
    #[default]
    Unknown,
    /// It may get sessions.
    Passing,
    /// It may not.
    Failing,
    /// Nothing: it cannot be checked.
    Impossible,
}

/// How a backend does. It outlives configurations as long as the backend does.
#[derive(Debug, Default)]
pub struct Health {
    /// Sessions in a row that it did not take.
    failures: AtomicU32,
    /// The second until which it rests; 0 when it never had to.
    rests_until: AtomicU32,
    /// A [`Checked`].
    checked: AtomicU32,
    /// Checks in a row that speak against what is held of it.
    against: AtomicU32,
    /// The second at which it last went down, or came back by a check or by a session; 0 for never.
    turned: AtomicU32,
    /// The last [`Fault`] that took it down or keeps it there, as a word; 0 for none.
    fault: AtomicU32,
    begun: AtomicU64,
    failed: AtomicU64,
}

impl Health {
    /// Whether it may get sessions.
    pub fn is_up(&self, now: Seconds) -> bool {
        self.checked() != Checked::Failing && self.rests_until.load(Relaxed) <= now.0
    }

    /// Sessions that it was given so far.
    pub fn begun(&self) -> u64 {
        self.begun.load(Relaxed)
    }

    /// Sessions that it did not take so far.
    pub fn failed(&self) -> u64 {
        self.failed.load(Relaxed)
    }

    /// Seconds for which it rests yet, because of the sessions that it did not take.
    pub fn rests_seconds(&self, now: Seconds) -> u32 {
        self.rests_until.load(Relaxed).saturating_sub(now.0)
    }

    /// What checks say.
    pub fn checked(&self) -> Checked {
        match self.checked.load(Relaxed) {
            passing if passing == Checked::Passing as u32 => Checked::Passing,
            failing if failing == Checked::Failing as u32 => Checked::Failing,
            impossible if impossible == Checked::Impossible as u32 => Checked::Impossible,
            _ => Checked::Unknown,
        }
    }

    /// Since which second it has been up or down; `None` for as long as it is known.
    pub fn since(&self, now: Seconds) -> Option<Seconds> {
        let turned = self.turned.load(Relaxed);
        let rested = Some(self.rests_until.load(Relaxed)).filter(|end| *end <= now.0);
        Some(turned.max(rested.unwrap_or(0))).filter(|at| *at > 0).map(Seconds)
    }

    /// Why it was passed over last.
    pub fn fault(&self) -> Option<Fault> {
        Fault::of_word(self.fault.load(Relaxed))
    }

    /// Says what a check found. Returns whether it goes up or down by that. To be called by one thread only.
    pub fn check(&self, found: Result<(), Fault>, thresholds: Thresholds, now: Seconds) -> bool {
        let (checked, was_up) = (self.checked(), self.is_up(now));
        // A backend that passes and rests needs as many good checks as one that fails.
        let is_against = found.is_ok() != was_up;
        let against = if is_against { self.against.load(Relaxed).saturating_add(1) } else { 0 };
        self.against.store(against, Relaxed);
        let most = if found.is_ok() { thresholds.rise } else { thresholds.fall };
        let is_known = matches!(checked, Checked::Passing | Checked::Failing);
        if is_known && against < most {
            if let (Err(fault), Checked::Failing) = (found, checked) {
                self.fault.store(fault.word(), Relaxed);
            }
            return false;
        }
        self.against.store(0, Relaxed);
        match found {
            Ok(()) => {
                self.checked.store(Checked::Passing as u32, Relaxed);
                self.failures.store(0, Relaxed);
                self.rests_until.store(0, Relaxed);
            }
            Err(fault) => {
                self.checked.store(Checked::Failing as u32, Relaxed);
                self.fault.store(fault.word(), Relaxed);
            }
        }
        if is_against {
            self.turned.store(now.0, Relaxed);
        }
        is_against
    }

    /// It is not checked, or cannot be: what checks found before does not count any longer.
    pub fn leave_unchecked(&self, is_possible: bool, now: Seconds) {
        if self.checked() == Checked::Failing {
            self.turned.store(now.0, Relaxed);
        }
        let checked = if is_possible { Checked::Unknown } else { Checked::Impossible };
        self.checked.store(checked as u32, Relaxed);
        self.against.store(0, Relaxed);
    }

    pub(crate) fn begin(&self) {
        self.begun.fetch_add(1, Relaxed);
    }

    /// It took a session.
    pub(crate) fn succeed(&self, now: Seconds) {
        // Mostly nothing is to be written.
        if self.failures.load(Relaxed) != 0 {
            self.failures.store(0, Relaxed);
            if self.rests_until.swap(0, Relaxed) > now.0 {
                self.turned.store(now.0, Relaxed);
            }
        }
    }

    /// It did not take a session.
    pub fn fail(&self, why: Fault, endurance: Endurance, now: Seconds) {
        self.failed.fetch_add(1, Relaxed);
        let Endurance { failures: most, rest_seconds } = endurance;
        let failures = self.failures.load(Relaxed).saturating_add(1);
        self.failures.store(failures, Relaxed);
        if most > 0 && failures >= most {
            if self.is_up(now) {
                self.turned.store(now.0, Relaxed);
                self.fault.store(why.word(), Relaxed);
            }
            self.rests_until.store(now.0.saturating_add(rest_seconds), Relaxed);
        }
    }
}

impl Fault {
    /// Those that say no more than that they are, in the order of their words.
    const PLAIN: [Self; 6] =
        [Self::Refused, Self::Silent, Self::Absent, Self::Hanging, Self::Closed, Self::NotHttp];
    /// What the words of HTTP statuses have besides.
    const STATUS: u32 = 1 << 16;

    fn word(self) -> u32 {
        match self {
            Self::Status(status) => Self::STATUS | u32::from(status),
            plain => {
                (1..).zip(Self::PLAIN).find(|(_, own)| *own == plain).map_or(0, |(word, _)| word)
            }
        }
    }

    fn of_word(word: u32) -> Option<Self> {
        if word & Self::STATUS != 0 {
            return u16::try_from(word & !Self::STATUS).ok().map(Self::Status);
        }
        (1..).zip(Self::PLAIN).find(|(own, _)| *own == word).map(|(_, plain)| plain)
    }
}

#[cfg(all(test, not(loom)))]
mod tests;
