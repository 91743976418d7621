//! [`Upstream`]: queries on their way to other resolvers, each by a socket of its own.
//!
//! A socket is made for one query and one resolver: its port is one that the kernel chose at random, and it hears nobody
//! but whom it is connected to. With the random identifier of the query that is what a forger would have to guess (RFC
//! 5452 section 9.2).

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsRawFd, RawFd};
use std::time::Duration;

use gateway::dns::{Sending, Ticket, Transport};
use mio::event::Source;
use mio::net::{TcpStream, UdpSocket};
use mio::{Events, Interest, Poll, Token};

/// The longest answer in one datagram: longer ones were not asked for.
const MAX_DATAGRAM_BYTES: usize = 4096;
/// More datagrams at once than any resolver answers with are somebody's who guesses: the query goes to the next
/// resolver, by another socket.
const MAX_DATAGRAMS: usize = 16;

/// The sockets of the queries that are on their way.
pub struct Upstream {
    poll: Poll,
    events: Events,
    lines: HashMap<Ticket, Line>,
    /// What was heard and not told yet: a message, or that the resolver cannot be reached.
    heard: Vec<(Ticket, Option<Vec<u8>>)>,
}

/// One query on its way.
enum Line {
    Udp(UdpSocket),
    Tcp { stream: TcpStream, unsent: Vec<u8>, received: Vec<u8> },
}

impl Upstream {
    /// No query is on its way.
    ///
    /// # Errors
    /// The kernel's error when it gives no epoll.
    pub fn new() -> io::Result<Self> {
        let (poll, events) = (Poll::new()?, Events::with_capacity(64));
        Ok(Self { poll, events, lines: HashMap::new(), heard: Vec::new() })
    }

    /// What becomes readable when there is something to hear.
    pub fn fd(&self) -> RawFd {
        self.poll.as_raw_fd()
    }

    /// Sends a query to a resolver. What was on its way by this ticket is forgotten.
    pub fn send(&mut self, sending: Sending) {
        let ticket = sending.ticket;
        self.forget(ticket);
        match self.open(sending) {
            Ok(line) => _ = self.lines.insert(ticket, line),
            Err(error) => {
                tracing::debug!("a resolver cannot be asked: {error}");
                self.heard.push((ticket, None));
            }
        }
    }

    fn open(&self, sending: Sending) -> io::Result<Line> {
        let Sending { ticket, server, transport, message } = sending;
        let token = Token(usize::try_from(ticket.0).unwrap_or(usize::MAX));
        let registry = self.poll.registry();
        let (mut line, interest) = match transport {
            Transport::Udp => {
                let any = match server {
                    SocketAddr::V4(_) => SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
                    SocketAddr::V6(_) => SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)),
                };
                let socket = UdpSocket::bind(any)?;
                socket.connect(server)?;
                socket.send(&message)?;
                (Line::Udp(socket), Interest::READABLE)
            }
            Transport::Tcp => {
                let bytes = u16::try_from(message.len()).unwrap_or(u16::MAX);
                let unsent = [&bytes.to_be_bytes()[..], &message].concat();
                let stream = TcpStream::connect(server)?;
                let line = Line::Tcp { stream, unsent, received: Vec::new() };
                (line, Interest::READABLE | Interest::WRITABLE)
            }
        };
        registry.register(line.source(), token, interest)?;
        Ok(line)
    }

    /// The query is answered, or nobody waits any more.
    pub fn forget(&mut self, ticket: Ticket) {
        if let Some(mut line) = self.lines.remove(&ticket) {
            // It is closed in any case.
            let _ = self.poll.registry().deregister(line.source());
        }
    }

    /// The next thing that was heard: a message, or that a resolver cannot be reached.
    pub fn next(&mut self) -> Option<(Ticket, Option<Vec<u8>>)> {
        if self.heard.is_empty() && !self.lines.is_empty() {
            self.listen();
        }
        self.heard.pop()
    }

    /// Listens until there is something to tell, or nothing more to hear: what is left is not announced again.
    fn listen(&mut self) {
        while self.heard.is_empty() {
            let polled = self.poll.poll(&mut self.events, Some(Duration::ZERO));
            if polled.is_err() || self.events.is_empty() {
                return;
            }
            self.hear();
        }
    }

    fn hear(&mut self) {
        for event in &self.events {
            let ticket = Ticket(u64::try_from(event.token().0).unwrap_or(u64::MAX));
            let Some(line) = self.lines.get_mut(&ticket) else { continue };
            match line.hear() {
                Ok(messages) => {
                    self.heard.extend(messages.into_iter().map(|message| (ticket, Some(message))));
                }
                Err(_) => self.heard.push((ticket, None)),
            }
        }
    }
}

impl Line {
    fn source(&mut self) -> &mut dyn Source {
        match self {
            Self::Udp(socket) => socket,
            Self::Tcp { stream, .. } => stream,
        }
    }

    /// Whole messages that came in. An error when none can come any more.
    fn hear(&mut self) -> io::Result<Vec<Vec<u8>>> {
        let mut messages = Vec::new();
        match self {
            Self::Udp(socket) => {
                let mut bytes = [0; MAX_DATAGRAM_BYTES];
                while let Some(count) = now(socket.recv(&mut bytes))? {
                    if messages.len() == MAX_DATAGRAMS {
                        return Err(io::ErrorKind::InvalidData.into());
                    }
                    messages.push(bytes[..count].to_vec());
                }
            }
            Self::Tcp { stream, unsent, received } => {
                while !unsent.is_empty() {
                    let Some(count) = now(stream.write(unsent))? else { return Ok(messages) };
                    unsent.drain(..count);
                }
                let mut bytes = [0; MAX_DATAGRAM_BYTES];
                while let Some(count) = now(stream.read(&mut bytes))? {
                    if count == 0 {
                        return Err(io::ErrorKind::UnexpectedEof.into());
                    }
                    received.extend_from_slice(&bytes[..count]);
                    if let Some(message) = whole(received) {
                        messages.push(message);
                        return Ok(messages);
                    }
                }
            }
        }
        Ok(messages)
    }
}

/// What was read or written, if anything could be now.
fn now(result: io::Result<usize>) -> io::Result<Option<usize>> {
    match result {
        Ok(count) => Ok(Some(count)),
        Err(error) => match error.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::NotConnected => Ok(None),
            _ => Err(error),
        },
    }
}

/// Takes the first whole message off a stream (RFC 1035 section 4.2.2).
pub fn whole(stream: &mut Vec<u8>) -> Option<Vec<u8>> {
    let bytes = usize::from(u16::from_be_bytes(*stream.first_chunk::<2>()?));
    let message = stream.get(2..2 + bytes)?.to_vec();
    stream.drain(..2 + bytes);
    Some(message)
}
