//! [`Conversations`]: DNS over TCP (RFC 7766), by smoltcp: a stack of its own for each connection.
//!
//! A stack knows one address, the one that was asked, and one connection. So nothing that one container sends can stand
//! in the way of another's; and how many there are, and for how long, is bounded.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use ctl::{BridgeName, PortName};
use smoltcp::iface::{Config, Interface, SocketHandle, SocketSet};
use smoltcp::phy::{Checksum, ChecksumCapabilities, Device, DeviceCapabilities, Medium};
use smoltcp::phy::{RxToken, TxToken};
use smoltcp::socket::tcp;
use smoltcp::time;
use smoltcp::wire::{HardwareAddress, IpAddress, IpCidr};

use super::upstream::whole;
use super::{Caller, datagram};

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
const RECEIVE_BYTES: usize = 4096;
const SEND_BYTES: usize = 16 * 1024;
/// What every link takes that IPv6 goes by. Answers are seldom longer.
const MTU_BYTES: usize = 1280;

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
    device: Wire,
    interface: Interface,
    sockets: SocketSet<'static>,
    socket: SocketHandle,
    began: Instant,
    heard: Instant,
    received: Vec<u8>,
    unsent: VecDeque<u8>,
    unanswered: usize,
    next: Option<Instant>,
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
            conversation.device.incoming.push_back(packet);
            conversation.poll(now);
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
            conversation.poll(now);
            let caller = &conversation.caller;
            let packets = conversation.device.outgoing.drain(..);
            let own: Vec<_> = packets.map(|packet| datagram::envelope(caller, &packet)).collect();
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
            conversation.next.map_or(end, |next| next.min(end))
        });
        next.min().map(|next| next.saturating_duration_since(now))
    }
}

impl Conversation {
    fn new(caller: Caller, now: Instant) -> Self {
        let mut device = Wire::default();
        let seed = u64::from_ne_bytes(crate::random::random());
        let mut config = Config::new(HardwareAddress::Ip);
        config.random_seed = seed;
        let mut interface = Interface::new(config, &mut device, time::Instant::ZERO);
        let own = IpAddress::from(caller.to.ip());
        let bits = if caller.to.is_ipv4() { 32 } else { 128 };
        // There is room for one address in every interface.
        interface.update_ip_addrs(|all| _ = all.push(IpCidr::new(own, bits)));
        let buffer = |bytes| tcp::SocketBuffer::new(vec![0; bytes]);
        let mut socket = tcp::Socket::new(buffer(RECEIVE_BYTES), buffer(SEND_BYTES));
        socket.set_nagle_enabled(false);
        // It can listen: it is closed, and the port is not 0.
        let _ = socket.listen(caller.to.port());
        let mut sockets = SocketSet::new(Vec::new());
        let socket = sockets.add(socket);
        Self {
            caller,
            device,
            interface,
            sockets,
            socket,
            began: now,
            heard: now,
            received: Vec::new(),
            unsent: VecDeque::new(),
            unanswered: 0,
            next: None,
        }
    }

    /// Lets the stack do what is to be done by now.
    fn poll(&mut self, now: Instant) {
        let elapsed = now.saturating_duration_since(self.began);
        let micros = i64::try_from(elapsed.as_micros()).unwrap_or(i64::MAX);
        let stamp = time::Instant::from_micros(micros);
        self.interface.poll(stamp, &mut self.device, &mut self.sockets);
        self.exchange();
        self.interface.poll(stamp, &mut self.device, &mut self.sockets);
        let delay = self.interface.poll_delay(stamp, &self.sockets);
        self.next = delay.map(|delay| now + delay.into());
    }

    /// Takes what was received, and gives what is to be sent, as far as there is room.
    fn exchange(&mut self) {
        let socket = self.sockets.get_mut::<tcp::Socket>(self.socket);
        while socket.can_recv() && self.received.len() < MAX_MESSAGE_BYTES {
            let taken = socket.recv(|bytes| (bytes.len(), bytes.to_vec()));
            self.received.extend(taken.unwrap_or_default());
        }
        while socket.can_send() && !self.unsent.is_empty() {
            let Ok(count) = socket.send_slice(self.unsent.as_slices().0) else { break };
            self.unsent.drain(..count);
        }
        let has_said_all = self.unsent.is_empty() && self.unanswered == 0;
        if !socket.may_recv() && socket.may_send() && has_said_all && self.received.is_empty() {
            socket.close();
        }
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
        let socket = self.sockets.get::<tcp::Socket>(self.socket);
        !socket.is_active()
            || socket.state() == tcp::State::TimeWait
            || now.saturating_duration_since(self.heard) > MAX_SILENCE
    }
}

/// Packets between a conversation and the switch.
#[derive(Default)]
struct Wire {
    incoming: VecDeque<Vec<u8>>,
    outgoing: Vec<Vec<u8>>,
}

impl Device for Wire {
    type RxToken<'a> = Incoming;
    type TxToken<'a> = Outgoing<'a>;

    fn receive(&mut self, _: time::Instant) -> Option<(Incoming, Outgoing<'_>)> {
        let packet = self.incoming.pop_front()?;
        Some((Incoming(packet), Outgoing(&mut self.outgoing)))
    }

    fn transmit(&mut self, _: time::Instant) -> Option<Outgoing<'_>> {
        Some(Outgoing(&mut self.outgoing))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ip;
        capabilities.max_transmission_unit = MTU_BYTES;
        // What came in was verified, or never on a wire.
        let mut checksum = ChecksumCapabilities::default();
        checksum.tcp = Checksum::Tx;
        capabilities.checksum = checksum;
        capabilities
    }
}

struct Incoming(Vec<u8>);

impl RxToken for Incoming {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, look: F) -> R {
        look(&self.0)
    }
}

struct Outgoing<'a>(&'a mut Vec<Vec<u8>>);

impl TxToken for Outgoing<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, bytes: usize, write: F) -> R {
        let mut packet = vec![0; bytes];
        let result = write(&mut packet);
        self.0.push(packet);
        result
    }
}
