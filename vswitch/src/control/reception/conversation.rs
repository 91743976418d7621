//! [`Conversations`]: DNS over TCP (RFC 7766), by smoltcp: a stack of its own for each connection.
//!
//! How many there are, and for how long, is bounded.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use ctl::{BridgeName, PortName};
use smoltcp::socket::tcp;

use super::Caller;
use super::datagram::envelope;
use super::upstream::whole;
use crate::control::stack::{Room, Stack};

/// Conversations at the same time.
const MAX_CONVERSATIONS: usize = 256;
/// Those of one port.
const MAX_EACH: usize = 16;
/// After so much silence a conversation is over (RFC 7766 section 6.2.3: a few seconds).
const MAX_SILENCE: Duration = Duration::from_secs(10);
/// Queries of one conversation that may be unanswered.
const MAX_UNANSWERED: usize = 16;
/// Answers that somebody has not read yet, beyond which no more of his queries are.
const MAX_UNSENT_BYTES: usize = 64 * 1024;
/// The longest message, with its length before it.
const MAX_MESSAGE_BYTES: usize = 2 + u16::MAX as usize;
const ROOM: Room = Room { receive_bytes: 4096, send_bytes: 16 * 1024 };

/// Identifies a conversation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ConversationId(u64);

/// Between whom it is.
type Ends = (BridgeName, SocketAddr, SocketAddr);

/// All conversations.
#[derive(Default)]
pub struct Conversations {
    by_ends: BTreeMap<Ends, ConversationId>,
    all: BTreeMap<ConversationId, Conversation>,
    last: u64,
    /// It is not known when it is to be turned to again.
    is_due: bool,
}

struct Conversation {
    caller: Caller,
    stack: Stack,
    heard: Instant,
    received: Vec<u8>,
    unsent: VecDeque<u8>,
    unanswered: usize,
}

impl Conversations {
    /// A packet of a conversation, or of a new one.
    pub fn hear(&mut self, caller: &Caller, packet: Vec<u8>, now: Instant) {
        let ends = (caller.network.clone(), caller.from, caller.to);
        let id = match self.by_ends.get(&ends) {
            Some(id) => *id,
            None if self.has_room(&caller.name) => {
                self.last += 1;
                let id = ConversationId(self.last);
                self.by_ends.insert(ends, id);
                self.all.insert(id, Conversation::new(caller.clone(), now));
                id
            }
            None => return,
        };
        if let Some(conversation) = self.all.get_mut(&id) {
            conversation.heard = now;
            conversation.stack.hear(packet);
            conversation.turn(now);
        }
        self.is_due = true;
    }

    fn has_room(&self, port: &PortName) -> bool {
        let own = self.all.values().filter(|other| other.caller.name == *port).count();
        self.all.len() < MAX_CONVERSATIONS && own < MAX_EACH
    }

    /// The next whole message that somebody sent.
    pub fn next_message(&mut self) -> Option<(ConversationId, Caller, Vec<u8>)> {
        self.all.iter_mut().find_map(|(id, conversation)| {
            let message = conversation.next_message()?;
            Some((*id, conversation.caller.clone(), message))
        })
    }

    /// Answers.
    pub fn say(&mut self, id: ConversationId, answer: &[u8]) {
        let Some(conversation) = self.all.get_mut(&id) else { return };
        conversation.unanswered = conversation.unanswered.saturating_sub(1);
        let bytes = u16::try_from(answer.len()).unwrap_or(u16::MAX);
        conversation.unsent.extend(bytes.to_be_bytes());
        conversation.unsent.extend(answer.iter().take(bytes.into()));
        self.is_due = true;
    }

    /// What there is to send now. Those that are over are forgotten.
    pub fn turn(&mut self, now: Instant) -> Vec<(Caller, Vec<Vec<u8>>)> {
        if !self.is_due && self.timeout(now).is_none_or(|left| left > Duration::ZERO) {
            return Vec::new();
        }
        self.is_due = false;
        let mut frames = Vec::new();
        for conversation in self.all.values_mut() {
            conversation.turn(now);
            let Conversation { caller, stack, .. } = conversation;
            let ends = (caller.gateway, caller.mac);
            let own: Vec<_> = stack.said().map(|packet| envelope(ends, &packet)).collect();
            if !own.is_empty() {
                frames.push((caller.clone(), own));
            }
        }
        self.all.retain(|_, conversation| !conversation.is_over(now));
        self.by_ends.retain(|_, id| self.all.contains_key(id));
        frames
    }

    /// How long it is until one of them is to be turned to.
    pub fn timeout(&self, now: Instant) -> Option<Duration> {
        if self.is_due {
            return Some(Duration::ZERO);
        }
        let next = self.all.values().map(|conversation| {
            let end = conversation.heard + MAX_SILENCE;
            conversation.stack.next().map_or(end, |next| next.min(end))
        });
        next.min().map(|next| next.saturating_duration_since(now))
    }
}

impl Conversation {
    fn new(caller: Caller, now: Instant) -> Self {
        Self {
            stack: Stack::listening(caller.to, ROOM, now),
            caller,
            heard: now,
            received: Vec::new(),
            unsent: VecDeque::new(),
            unanswered: 0,
        }
    }

    /// Takes what was received, and gives what is to be sent, as far as there is room.
    fn turn(&mut self, now: Instant) {
        let Self { stack, received, unsent, unanswered, .. } = self;
        stack.turn(now, |socket| {
            while socket.can_recv() && received.len() < MAX_MESSAGE_BYTES {
                let taken = socket.recv(|bytes| (bytes.len(), bytes.to_vec()));
                received.extend(taken.unwrap_or_default());
            }
            while socket.can_send() && !unsent.is_empty() {
                let Ok(count) = socket.send_slice(unsent.as_slices().0) else { break };
                unsent.drain(..count);
            }
            let has_said_all = unsent.is_empty() && *unanswered == 0;
            if !socket.may_recv() && socket.may_send() && has_said_all && received.is_empty() {
                socket.close();
            }
        });
    }

    fn next_message(&mut self) -> Option<Vec<u8>> {
        if self.unanswered >= MAX_UNANSWERED || self.unsent.len() > MAX_UNSENT_BYTES {
            return None;
        }
        let message = whole(&mut self.received)?;
        self.unanswered += 1;
        Some(message)
    }

    /// Whether nothing is to be expected any more.
    fn is_over(&self, now: Instant) -> bool {
        let socket = self.stack.socket();
        !socket.is_active()
            || socket.state() == tcp::State::TimeWait
            || now.saturating_duration_since(self.heard) > MAX_SILENCE
    }
}
