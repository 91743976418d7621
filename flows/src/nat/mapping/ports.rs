//! [`PortTable`]: the ports of one external address, and how one of them is claimed. The argument why no
//! endpoint gets two is in the parent module.

use std::ops::ControlFlow;

#[cfg(loom)]
use loom::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};
#[cfg(not(loom))]
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};

use pktio::wire::field::protocol;

use super::hosts::Pin;
use super::word::{Host, Key, State, Word};
use crate::Seconds;
use crate::lines::zeroed;

/// Ports of one protocol.
const PORTS: usize = if cfg!(loom) { 4 } else { 1 << 16 };

/// The protocols with ports, or with identifiers that take their place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(super) enum Class {
    Tcp,
    Udp,
    Sctp,
    /// Of either version, as an address has but one.
    Icmp,
}

impl Class {
    pub(super) const ALL: [Self; 4] = [Self::Tcp, Self::Udp, Self::Sctp, Self::Icmp];

    pub(super) fn of(kind: u8) -> Option<Self> {
        match kind {
            protocol::TCP => Some(Self::Tcp),
            protocol::UDP => Some(Self::Udp),
            protocol::SCTP => Some(Self::Sctp),
            protocol::ICMP | protocol::ICMPV6 => Some(Self::Icmp),
            _ => None,
        }
    }

    /// The protocol to show; for ICMP that of version 4.
    pub(super) fn protocol(self) -> u8 {
        match self {
            Self::Tcp => protocol::TCP,
            Self::Udp => protocol::UDP,
            Self::Sctp => protocol::SCTP,
            Self::Icmp => protocol::ICMP,
        }
    }
}

/// Why no port was claimed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NoPort {
    /// None of the candidates is vacant.
    Taken,
    /// The host has as many as it may.
    Quota,
}

/// What became of a session that ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Released {
    /// Whose it was.
    pub(super) host: Host,
    /// Whether it was the mapping's last.
    pub(super) was_last: bool,
}

/// What a look at all candidates found.
enum Found {
    /// The endpoint's mapping, in use or in quarantine.
    Settled(u16, Word),
    /// The first attempt to map the endpoint, after which all others were withdrawn.
    Tentative(u16, Word),
    /// No mapping, and this is the first vacant port.
    Vacant(u16, Word),
    /// No mapping, and no vacant port.
    Nothing,
    /// Another worker is ahead: look again.
    Changed,
}

/// The ports of one external address. See the module's documentation.
#[derive(Debug)]
pub(super) struct PortTable {
    words: [Box<[AtomicU64]>; Class::ALL.len()],
    mapped: AtomicU32,
    attempts: AtomicU32,
}

impl PortTable {
    pub(super) fn new() -> Self {
        Self {
            words: Class::ALL.map(|_| zeroed(PORTS)),
            mapped: AtomicU32::new(0),
            attempts: AtomicU32::new(0),
        }
    }

    /// Mapped ports, those in quarantine not counted.
    pub(super) fn mapped(&self) -> u32 {
        self.mapped.load(Ordering::Relaxed)
    }

    /// What a port is now.
    pub(super) fn load(&self, class: Class, port: u16) -> Word {
        Word(self.cell(class, port).load(Ordering::Acquire))
    }

    fn cell(&self, class: Class, port: u16) -> &AtomicU64 {
        &self.words[class as usize][usize::from(port) % PORTS]
    }

    fn replace(&self, class: Class, port: u16, old: Word, new: Word) -> bool {
        self.cell(class, port)
            .compare_exchange(old.0, new.0, Ordering::Release, Ordering::Relaxed)
            .is_ok()
    }

    /// Adds a session to the mapping of a pinned host's port, or maps it to one of the candidates.
    pub(super) fn claim(
        &self,
        class: Class,
        (pin, quota): (&Pin<'_>, u32),
        port: u16,
        candidates: impl Iterator<Item = u16> + Clone,
        now: Seconds,
    ) -> Result<u16, NoPort> {
        let key = Key { host: pin.host(), port };
        let mut claim = Claim { table: self, class, key, pin, quota, ours: None };
        let claimed = claim.run(candidates, now);
        claim.withdraw();
        claimed
    }

    /// Adds a session to the mapping of an external port, if it is the one that `word` says.
    pub(super) fn join(&self, class: Class, port: u16, key: Key) -> bool {
        let mut word = self.load(class, port);
        while let (State::Mapped(sessions), true) = (word.state(), word.belongs_to(key)) {
            if self.replace(class, port, word, Word::mapped(key, sessions + 1)) {
                return true;
            }
            word = self.load(class, port);
        }
        false
    }

    /// Takes a session away from a mapping. `None` when it had none.
    pub(super) fn release(&self, class: Class, port: u16, now: Seconds) -> Option<Released> {
        loop {
            let word = self.load(class, port);
            let State::Mapped(sessions) = word.state() else { return None };
            let key = word.key();
            let was_last = sessions <= 1;
            let less = if was_last {
                Word::quarantined(key, now)
            } else {
                Word::mapped(key, sessions - 1)
            };
            if self.replace(class, port, word, less) {
                if was_last {
                    self.mapped.fetch_sub(1, Ordering::Relaxed);
                }
                return Some(Released { host: key.host, was_last });
            }
        }
    }

    /// The mapped ports of a protocol, as they were when the iterator passed them.
    pub(super) fn iter(&self, class: Class) -> impl Iterator<Item = (u16, Key, u32)> + '_ {
        (0..=u16::MAX).take(PORTS).filter_map(move |port| {
            let word = self.load(class, port);
            match word.state() {
                State::Mapped(sessions) => Some((port, word.key(), sessions)),
                _ => None,
            }
        })
    }
}

/// An endpoint's way to a port.
struct Claim<'a> {
    table: &'a PortTable,
    class: Class,
    key: Key,
    pin: &'a Pin<'a>,
    quota: u32,
    /// Our own attempt.
    ours: Option<(u16, Word)>,
}

impl Claim<'_> {
    fn run(
        &mut self,
        candidates: impl Iterator<Item = u16> + Clone,
        now: Seconds,
    ) -> Result<u16, NoPort> {
        // An attempt may be settled by whoever saw it before a look at everything.
        let mut seen = None;
        loop {
            let found = match seen {
                None => self.glance(candidates.clone(), now),
                Some(_) => self.look(candidates.clone(), now),
            };
            match found {
                Found::Settled(port, word) if self.join(port, word)? => return Ok(port),
                Found::Tentative(port, word) if seen == Some((port, word)) => {
                    if self.settle(port, word)? {
                        return Ok(port);
                    }
                }
                Found::Tentative(port, word) => seen = Some((port, word)),
                Found::Vacant(port, word) => seen = self.attempt(port, word),
                Found::Nothing => return Err(NoPort::Taken),
                Found::Settled(..) | Found::Changed => (),
            }
        }
    }

    /// Looks as far as the first port that is the endpoint's or that it may have.
    fn glance(&self, mut candidates: impl Iterator<Item = u16>, now: Seconds) -> Found {
        let found = candidates.find_map(|port| {
            let word = self.table.load(self.class, port);
            if !word.belongs_to(self.key) {
                return word.is_vacant(now).then_some(Found::Vacant(port, word));
            }
            let is_tentative = word.state() == State::Tentative;
            Some(if is_tentative {
                Found::Tentative(port, word)
            } else {
                Found::Settled(port, word)
            })
        });
        found.unwrap_or(Found::Nothing)
    }

    /// Looks at everything, and withdraws all attempts but the first.
    fn look(&self, mut candidates: impl Iterator<Item = u16>, now: Seconds) -> Found {
        fence(Ordering::SeqCst);
        let (mut tentative, mut vacant) = (None, None);
        let end = candidates.try_for_each(|port| {
            let word = self.table.load(self.class, port);
            if !word.belongs_to(self.key) {
                if vacant.is_none() && word.is_vacant(now) {
                    vacant = Some((port, word));
                }
            } else if word.state() != State::Tentative {
                return ControlFlow::Break(Found::Settled(port, word));
            } else if tentative.is_none() {
                tentative = Some((port, word));
            } else if !self.table.replace(self.class, port, word, Word::FREE) {
                return ControlFlow::Break(Found::Changed);
            }
            ControlFlow::Continue(())
        });
        match (end, tentative, vacant) {
            (ControlFlow::Break(found), ..) => found,
            (_, Some((port, word)), _) => Found::Tentative(port, word),
            (_, None, Some((port, word))) => Found::Vacant(port, word),
            (_, None, None) => Found::Nothing,
        }
    }

    /// Adds a session to a settled mapping; takes it out of quarantine, if it is there.
    fn join(&self, port: u16, word: Word) -> Result<bool, NoPort> {
        let State::Mapped(sessions) = word.state() else { return self.settle(port, word) };
        let joined = Word::mapped(self.key, sessions + 1);
        Ok(self.table.replace(self.class, port, word, joined))
    }

    /// Makes a word that is ours to take a mapping with one session.
    fn settle(&self, port: u16, word: Word) -> Result<bool, NoPort> {
        let lease = self.pin.lease(self.quota).ok_or(NoPort::Quota)?;
        let settled = self.table.replace(self.class, port, word, Word::mapped(self.key, 1));
        if settled {
            self.table.mapped.fetch_add(1, Ordering::Relaxed);
            lease.keep();
        }
        Ok(settled)
    }

    /// Makes an attempt at a vacant port, unless somebody else gets it.
    fn attempt(&mut self, port: u16, word: Word) -> Option<(u16, Word)> {
        let number = self.table.attempts.fetch_add(1, Ordering::Relaxed);
        let attempt = Word::tentative(self.key, number);
        let made = self.table.replace(self.class, port, word, attempt);
        self.ours = made.then_some((port, attempt));
        self.ours
    }

    /// Withdraws our attempt, unless it was settled, or somebody did it.
    fn withdraw(&self) {
        if let Some((port, attempt)) = self.ours {
            self.table.replace(self.class, port, attempt, Word::FREE);
        }
    }
}
