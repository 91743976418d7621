//! Clients of UDP ports, each with a socket of its own towards where the port leads.
//!
//! There is no end of a conversation by UDP: a client is forgotten when nothing was said for a while, or when another one
//! needs its place and it has been silent the longest.

use std::collections::HashMap;
use std::io::{self, ErrorKind};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::{Duration, Instant};

use mio::net::UdpSocket;
use mio::{Interest, Registry, Token};

use crate::aside::Answers;

/// The longest datagram.
const DATAGRAM_BYTES: usize = 65_536;
/// Datagrams of one socket before it is the others' turn.
const AT_ONCE: usize = 64;

/// Who sent to which port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Client {
    port: usize,
    from: SocketAddr,
}

#[derive(Debug)]
struct Conversation {
    client: Client,
    far: UdpSocket,
    heard: Instant,
}

/// A port of the host.
#[derive(Debug)]
pub(crate) struct Port {
    pub(crate) number: usize,
    pub(crate) near: UdpSocket,
    pub(crate) answers: Option<Answers>,
    pub(crate) to: SocketAddr,
}

impl Port {
    fn answer(&self, payload: &[u8], to: SocketAddr) -> io::Result<()> {
        match &self.answers {
            Some(answers) => answers.send(payload, to),
            None => self.near.send_to(payload, to).map(|_| ()),
        }
    }
}

/// All clients of all UDP ports, by the numbers of their sockets.
#[derive(Debug)]
pub(crate) struct Clients {
    conversations: HashMap<usize, Conversation>,
    numbers: HashMap<Client, usize>,
    most: usize,
    buffer: Box<[u8]>,
}

impl Clients {
    pub(crate) fn new(most: usize) -> Self {
        let buffer = vec![0; DATAGRAM_BYTES].into_boxed_slice();
        Self { conversations: HashMap::new(), numbers: HashMap::new(), most, buffer }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.conversations.is_empty()
    }

    /// The port by which the client with a socket came.
    pub(crate) fn port_of(&self, number: usize) -> Option<usize> {
        Some(self.conversations.get(&number)?.client.port)
    }

    /// Passes on what came to a port. True when there may be more. `next` gives sockets their numbers and tokens.
    pub(crate) fn outward(
        &mut self,
        port: &Port,
        registry: &Registry,
        mut next: impl FnMut() -> (usize, Token),
    ) -> bool {
        for _ in 0..AT_ONCE {
            let (bytes, from) = match port.near.recv_from(&mut self.buffer) {
                Ok(received) => received,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return false,
                Err(_) => continue,
            };
            let client = Client { port: port.number, from };
            let known = self.numbers.get(&client).copied();
            let number = known.map_or_else(|| self.welcome(client, port.to, registry, next()), Ok);
            match number {
                Ok(number) => self.say(number, bytes),
                Err(error) => tracing::debug!(%error, %from, "a datagram is not relayed"),
            }
        }
        true
    }

    fn say(&mut self, number: usize, bytes: usize) {
        let Some(conversation) = self.conversations.get_mut(&number) else { return };
        conversation.heard = Instant::now();
        // It is UDP: what is not taken is lost, and an error is that of an earlier one.
        let _ = conversation.far.send(&self.buffer[..bytes]);
    }

    fn welcome(
        &mut self,
        client: Client,
        to: SocketAddr,
        registry: &Registry,
        (number, token): (usize, Token),
    ) -> io::Result<usize> {
        if self.conversations.len() >= self.most {
            let heard = |(_, conversation): &(&usize, &Conversation)| conversation.heard;
            let silent = self.conversations.iter().min_by_key(heard).map(|(number, _)| *number);
            silent.into_iter().for_each(|number| self.forget(number));
        }
        let any = if to.is_ipv4() {
            SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0))
        } else {
            SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0))
        };
        let mut far = UdpSocket::bind(any)?;
        far.connect(to)?;
        registry.register(&mut far, token, Interest::READABLE)?;
        let heard = Instant::now();
        self.conversations.insert(number, Conversation { client, far, heard });
        self.numbers.insert(client, number);
        Ok(number)
    }

    /// Passes on what came for a client. True when there may be more.
    pub(crate) fn inward(&mut self, number: usize, port: &Port) -> bool {
        let Some(conversation) = self.conversations.get_mut(&number) else { return false };
        for _ in 0..AT_ONCE {
            match conversation.far.recv(&mut self.buffer) {
                Ok(bytes) => {
                    conversation.heard = Instant::now();
                    let _ = port.answer(&self.buffer[..bytes], conversation.client.from);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return false,
                // An ICMP error about what was sent: nobody listens there now.
                Err(_) => {}
            }
        }
        true
    }

    /// Forgets who has been silent for so long.
    pub(crate) fn forget_silent(&mut self, silence: Duration) {
        let now = Instant::now();
        self.forget_if(|conversation| now - conversation.heard >= silence);
    }

    /// Forgets who came by a port.
    pub(crate) fn forget_port(&mut self, port: usize) {
        self.forget_if(|conversation| conversation.client.port == port);
    }

    fn forget_if(&mut self, is_meant: impl Fn(&Conversation) -> bool) {
        let meant = self.conversations.iter().filter(|(_, one)| is_meant(one));
        let meant: Vec<_> = meant.map(|(number, _)| *number).collect();
        meant.into_iter().for_each(|number| self.forget(number));
    }

    fn forget(&mut self, number: usize) {
        if let Some(conversation) = self.conversations.remove(&number) {
            self.numbers.remove(&conversation.client);
        }
    }
}
