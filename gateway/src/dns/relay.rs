//! [`Relay`]: queries on their way to other resolvers.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::answer::{Query, Transport};

/// Queries that may be on their way at the same time.
pub const MAX_OUTSTANDING: usize = 1024;
/// Those of one asker.
pub const MAX_OUTSTANDING_EACH: usize = 64;
/// How long one resolver is waited for. With the most attempts that is less than an asker's patience, 5 s.
const PATIENCE: Duration = Duration::from_millis(1500);
/// Resolvers that are asked for one query, and how often a single one is.
const MAX_ATTEMPTS: usize = 3;
const MIN_ATTEMPTS: usize = 2;
/// The answers after which the next resolver is asked: it failed, or refused.
const UNHELPFUL: [u8; 2] = [2, 5];

/// Identifies a query on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Ticket(pub u64);

/// Something to send, from a port that nobody can guess: to this resolver only, and heard from it only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sending {
    /// The query.
    pub ticket: Ticket,
    /// The resolver.
    pub server: SocketAddr,
    /// By what.
    pub transport: Transport,
    /// What.
    pub message: Vec<u8>,
}

/// What comes of what was heard, or was not.
#[derive(Debug, PartialEq, Eq)]
pub enum Heard<A> {
    /// This is the asker's answer. Its ticket is void.
    Answer(A, Vec<u8>),
    /// Another one is to be asked, instead of the one before.
    Next(Sending),
    /// It was not the answer.
    Nothing,
}

/// Queries on their way. Every one that is taken in is answered once, at the latest when its last resolver's time is
/// over. `A` is who asked, `W` on whose account.
#[derive(Debug)]
pub struct Relay<A, W> {
    outstanding: HashMap<Ticket, Outstanding<A, W>>,
    last: u64,
}

#[derive(Debug)]
struct Outstanding<A, W> {
    asker: A,
    whose: W,
    query: Query,
    /// What the query is known by to those who are asked.
    id: u16,
    servers: Vec<SocketAddr>,
    attempt: usize,
    deadline: Instant,
}

impl<A, W> Default for Relay<A, W> {
    fn default() -> Self {
        Self { outstanding: HashMap::new(), last: 0 }
    }
}

impl<A, W: Eq + Hash> Relay<A, W> {
    /// Takes a query in, to be sent to the first of some resolvers with an identifier that nobody can guess.
    ///
    /// # Errors
    /// Asker and query, when too many are on their way, or nobody is there to ask.
    pub fn ask(
        &mut self,
        (asker, whose): (A, W),
        query: Query,
        servers: &[SocketAddr],
        id: u16,
        now: Instant,
    ) -> Result<Sending, (A, Query)> {
        let own = self.outstanding.values().filter(|other| other.whose == whose).count();
        let is_full = self.outstanding.len() >= MAX_OUTSTANDING || own >= MAX_OUTSTANDING_EACH;
        if is_full || servers.is_empty() {
            return Err((asker, query));
        }
        self.last += 1;
        let ticket = Ticket(self.last);
        let servers = servers.to_vec();
        let deadline = now + PATIENCE;
        let outstanding = Outstanding { asker, whose, query, id, servers, attempt: 0, deadline };
        let sending = outstanding.sending(ticket);
        self.outstanding.insert(ticket, outstanding);
        Ok(sending)
    }

    /// Somebody who was asked says something.
    pub fn hear(&mut self, ticket: Ticket, message: Vec<u8>, now: Instant) -> Heard<A> {
        let Some(outstanding) = self.outstanding.get(&ticket) else { return Heard::Nothing };
        if !outstanding.query.is_answered_by(outstanding.id, &message) {
            return Heard::Nothing;
        }
        let rcode = message.get(3).map_or(0, |flags| flags & 15);
        if UNHELPFUL.contains(&rcode) && outstanding.has_other() {
            return self.fail(ticket, now);
        }
        match self.outstanding.remove(&ticket) {
            Some(Outstanding { asker, query, .. }) => Heard::Answer(asker, query.deliver(message)),
            None => Heard::Nothing,
        }
    }

    /// Who was asked cannot be reached, or did not answer in time: the next one is asked.
    pub fn fail(&mut self, ticket: Ticket, now: Instant) -> Heard<A> {
        let Some(outstanding) = self.outstanding.get_mut(&ticket) else { return Heard::Nothing };
        outstanding.attempt += 1;
        if outstanding.attempt < outstanding.attempts() {
            outstanding.deadline = now + PATIENCE;
            return Heard::Next(outstanding.sending(ticket));
        }
        match self.outstanding.remove(&ticket) {
            Some(Outstanding { asker, query, .. }) => Heard::Answer(asker, query.failure()),
            None => Heard::Nothing,
        }
    }

    /// Those whose time is over; [`fail`](Self::fail) is what comes of each.
    pub fn overdue(&self, now: Instant) -> Vec<Ticket> {
        let overdue = self.outstanding.iter().filter(|(_, query)| query.deadline <= now);
        overdue.map(|(ticket, _)| *ticket).collect()
    }

    /// When somebody's time is over.
    pub fn deadline(&self) -> Option<Instant> {
        self.outstanding.values().map(|query| query.deadline).min()
    }

    /// How many are on their way.
    pub fn len(&self) -> usize {
        self.outstanding.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.outstanding.is_empty()
    }
}

impl<A, W> Outstanding<A, W> {
    fn attempts(&self) -> usize {
        self.servers.len().clamp(MIN_ATTEMPTS, MAX_ATTEMPTS)
    }

    /// Whether there is somebody else to ask.
    fn has_other(&self) -> bool {
        self.attempt + 1 < self.servers.len().min(MAX_ATTEMPTS)
    }

    fn sending(&self, ticket: Ticket) -> Sending {
        Sending {
            ticket,
            server: self.servers[self.attempt % self.servers.len()],
            transport: self.query.transport(),
            message: self.query.with_id(self.id),
        }
    }
}
