//! [`Probe`]: one check of one backend, as a conversation: a TCP connection, and, if it is to be, a request by HTTP
//! (RFC 9112). The status line of the answer is all that is read of it.
//!
//! A probe that knows enough resets its connection: nobody has to remember it.

use std::net::SocketAddr;
use std::time::Instant;

use ctl::Probe as Question;
use flows::service::Fault;
use smoltcp::socket::tcp;

use crate::control::stack::{Room, Stack};

const ROOM: Room = Room { receive_bytes: 2048, send_bytes: 1024 };
/// A status line is shorter by far.
const MAX_ANSWER_BYTES: usize = 8192;

/// See the module's documentation.
pub struct Probe {
    stack: Stack,
    /// What is to be asked when the connection has come about. `None` if that it has is all there is to know.
    request: Option<Vec<u8>>,
    received: Vec<u8>,
    is_connected: bool,
}

impl Probe {
    /// Begins to ask a backend from an address and port.
    pub fn new(question: &Question, own: SocketAddr, at: SocketAddr, now: Instant) -> Self {
        let request = match question {
            Question::Tcp => None,
            Question::Http(path) => Some(request(path, at).into_bytes()),
        };
        let stack = Stack::calling(own, at, ROOM, now);
        Self { stack, request, received: Vec::new(), is_connected: false }
    }

    /// A packet of the backend's, from the IP header on.
    pub fn hear(&mut self, packet: Vec<u8>) {
        self.stack.hear(packet);
    }

    /// Goes on. Says what was found, if that is known.
    pub fn turn(&mut self, now: Instant) -> Option<Result<(), Fault>> {
        let Self { stack, request, received, is_connected } = self;
        let mut found = None;
        stack.turn(now, |socket| {
            *is_connected |= socket.may_send();
            found = exchange(socket, request.as_mut(), received, *is_connected);
            if found.is_some() {
                socket.abort();
            }
        });
        found
    }

    /// Ends it without an answer. Says what that means.
    pub fn give_up(&mut self, now: Instant) -> Fault {
        self.stack.turn(now, |socket| socket.abort());
        if self.is_connected { Fault::Hanging } else { Fault::Silent }
    }

    /// The packets that it has to send, from their IP headers on.
    pub fn said(&mut self) -> impl Iterator<Item = Vec<u8>> + '_ {
        self.stack.said()
    }

    /// When it is to have another turn, whether it hears anything or not.
    pub fn next(&self) -> Option<Instant> {
        self.stack.next()
    }
}

fn request(path: &str, at: SocketAddr) -> String {
    let version = env!("CARGO_PKG_VERSION");
    format!(
        "GET {path} HTTP/1.1\r\nHost: {at}\r\nUser-Agent: vswitchd/{version}\r\nAccept: */*\r\n\
         Connection: close\r\n\r\n"
    )
}

/// Asks what is to be asked, and hears the answer.
fn exchange(
    socket: &mut tcp::Socket,
    request: Option<&mut Vec<u8>>,
    received: &mut Vec<u8>,
    is_connected: bool,
) -> Option<Result<(), Fault>> {
    if !is_connected {
        return (socket.state() == tcp::State::Closed).then_some(Err(Fault::Refused));
    }
    let Some(request) = request else { return Some(Ok(())) };
    if socket.can_send() && !request.is_empty() {
        let count = socket.send_slice(request).unwrap_or(0);
        request.drain(..count);
    }
    while socket.can_recv() && received.len() < MAX_ANSWER_BYTES {
        let taken = socket.recv(|bytes| (bytes.len(), bytes.to_vec()));
        received.extend(taken.unwrap_or_default());
    }
    verdict(received).or_else(|| (!socket.may_recv()).then_some(Err(Fault::Closed)))
}

/// What an answer means, as far as it has come.
fn verdict(answer: &[u8]) -> Option<Result<(), Fault>> {
    let mut response = httparse::Response::new(&mut []);
    // The status comes before what there is no room for, and what else may be wrong.
    let parsed = response.parse(answer);
    match (response.code, parsed) {
        (Some(200..=399), _) => Some(Ok(())),
        (Some(status), _) => Some(Err(Fault::Status(status))),
        (None, Ok(_)) if answer.len() < MAX_ANSWER_BYTES => None,
        _ => Some(Err(Fault::NotHttp)),
    }
}

#[cfg(test)]
mod tests;
