//! One relayed TCP connection: two sockets, and for each way a pipe while something is in it.
//!
//! An end of one side's stream becomes an end of the other's (`shutdown(2)`), and the other way goes on. A side that fails
//! or is reset resets the other: neither takes for an end what is none.

use std::io::{self, ErrorKind};
use std::net::{Shutdown, SocketAddr};
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use mio::net::TcpStream;
use mio::{Interest, Registry, Token};
use rustix::net::sockopt::set_socket_linger;
use rustix::pipe::{PipeFlags, SpliceFlags, pipe_with, splice};

/// As much as a pipe holds, unless told otherwise (pipe(7)).
const PIPE_BYTES: usize = 65_536;
/// How often a way is gone before it is the others' turn: a mebibyte.
const ROUNDS: usize = 16;
/// Empty pipes that are kept for whoever is next.
const SPARE_PIPES: usize = 16;

/// Empty pipes.
#[derive(Debug, Default)]
pub(crate) struct Pipes(Vec<Pipe>);

#[derive(Debug)]
struct Pipe {
    read: OwnedFd,
    write: OwnedFd,
}

impl Pipes {
    fn take(&mut self) -> io::Result<Pipe> {
        if let Some(pipe) = self.0.pop() {
            return Ok(pipe);
        }
        let (read, write) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
        Ok(Pipe { read, write })
    }

    fn put(&mut self, pipe: Pipe) {
        if self.0.len() < SPARE_PIPES {
            self.0.push(pipe);
        }
    }
}

/// One way of a connection.
#[derive(Debug, Default)]
struct Way {
    /// Where `held` bytes wait for the sink.
    pipe: Option<Pipe>,
    held: usize,
    /// The source has said its last.
    is_ended: bool,
    /// The sink has been told so.
    is_closed: bool,
}

/// How far it got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Progress {
    /// It waits for its sockets.
    Waits,
    /// There is more to do, and nobody will say so.
    Unfinished,
    /// All is said.
    Over,
}

/// A relayed connection.
#[derive(Debug)]
pub(crate) struct Stream {
    near: TcpStream,
    far: TcpStream,
    is_connected: bool,
    outward: Way,
    inward: Way,
}

impl Stream {
    /// Connects a client to where it is to be connected to. Both sides tell `registry` of what happens, by these tokens.
    pub(crate) fn connect(
        mut near: TcpStream,
        to: SocketAddr,
        registry: &Registry,
        tokens: [Token; 2],
    ) -> io::Result<Self> {
        let both = Interest::READABLE | Interest::WRITABLE;
        let connect = || -> io::Result<TcpStream> {
            let mut far = TcpStream::connect(to)?;
            registry.register(&mut far, tokens[1], both)?;
            // What comes in pieces goes on in pieces, and nobody waits for more.
            near.set_nodelay(true)?;
            far.set_nodelay(true)?;
            Ok(far)
        };
        let far = connect().inspect_err(|_| abort(&near))?;
        let (outward, inward) = (Way::default(), Way::default());
        registry.register(&mut near, tokens[0], both)?;
        Ok(Self { near, far, is_connected: false, outward, inward })
    }

    /// Carries what there is, both ways.
    ///
    /// # Errors
    /// That of the side that failed.
    pub(crate) fn advance(&mut self, pipes: &mut Pipes) -> io::Result<Progress> {
        if let Some(error) = self.near.take_error()?.or(self.far.take_error()?) {
            return Err(error);
        }
        if !self.is_connected {
            match self.far.peer_addr() {
                Ok(_) => self.is_connected = true,
                Err(error) if error.kind() == ErrorKind::NotConnected => {
                    return Ok(Progress::Waits);
                }
                Err(error) => return Err(error),
            }
        }
        let outward = self.outward.carry(&self.near, &self.far, pipes)?;
        let inward = self.inward.carry(&self.far, &self.near, pipes)?;
        Ok(match (self.outward.is_closed && self.inward.is_closed, outward || inward) {
            (true, _) => Progress::Over,
            (false, true) => Progress::Unfinished,
            (false, false) => Progress::Waits,
        })
    }

    /// Lets neither side take it for an end in order.
    pub(crate) fn reset(self) {
        abort(&self.near);
        abort(&self.far);
    }
}

/// What is closed without lingering is reset (tcp(7), SO_LINGER in socket(7)).
pub(crate) fn abort(socket: &TcpStream) {
    let _ = set_socket_linger(socket, Some(Duration::ZERO));
}

impl Way {
    /// Carries what there is. True when there may be more, and it is the others' turn.
    fn carry(
        &mut self,
        source: &TcpStream,
        sink: &TcpStream,
        pipes: &mut Pipes,
    ) -> io::Result<bool> {
        for _ in 0..ROUNDS {
            if self.held == 0 && !self.fill(source, pipes)? {
                if self.is_ended && !self.is_closed {
                    sink.shutdown(Shutdown::Write)?;
                    self.is_closed = true;
                }
                return Ok(false);
            }
            if !self.drain(sink)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Takes something from the source. False when there is nothing now; the pipe is then somebody else's.
    fn fill(&mut self, source: &TcpStream, pipes: &mut Pipes) -> io::Result<bool> {
        if self.is_ended {
            return Ok(false);
        }
        let pipe = match self.pipe.take() {
            Some(pipe) => pipe,
            None => pipes.take()?,
        };
        let moved = pass(source, &pipe.write, PIPE_BYTES);
        match moved {
            Ok(Some(bytes)) if bytes > 0 => {
                (self.pipe, self.held) = (Some(pipe), bytes);
                Ok(true)
            }
            Ok(nothing) => {
                self.is_ended = nothing.is_some();
                pipes.put(pipe);
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    /// Gives the sink what is held. False when it does not take all of it now.
    fn drain(&mut self, sink: &TcpStream) -> io::Result<bool> {
        let Some(pipe) = &self.pipe else { return Ok(true) };
        while self.held > 0 {
            match pass(&pipe.read, sink, self.held)? {
                Some(bytes) => self.held = self.held.saturating_sub(bytes),
                None => return Ok(false),
            }
        }
        Ok(true)
    }
}

/// Moves bytes from one descriptor to another; `None` when they would have to be waited for.
fn pass(from: impl AsFd, to: impl AsFd, bytes: usize) -> io::Result<Option<usize>> {
    let flags = SpliceFlags::NONBLOCK | SpliceFlags::MOVE;
    loop {
        match splice(&from, None, &to, None, bytes, flags).map_err(io::Error::from) {
            Ok(bytes) => return Ok(Some(bytes)),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(None),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}
