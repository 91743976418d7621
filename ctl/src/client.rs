//! [`Client`]: a connection to the daemon.

use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, socket_with};
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::wire::{Envelope, LineDecoder, MAX_RESPONSE_BYTES, Reply, parse_reply, request_line};
use crate::{CtlError, ErrorCode, Mutation, Request};

/// Where the daemon listens unless it is told otherwise.
pub const DEFAULT_SOCKET: &str = "/run/vswitch/vswitch.sock";

/// The daemon's socket where no option names one: what `VSWITCH_SOCKET` in the environment says, or [`DEFAULT_SOCKET`].
pub fn usual_socket() -> PathBuf {
    let named = std::env::var_os("VSWITCH_SOCKET").filter(|path| !path.is_empty());
    named.map_or_else(|| DEFAULT_SOCKET.into(), PathBuf::from)
}

/// How long the daemon may take for an answer.
const PATIENCE: Duration = Duration::from_secs(30);
/// And how much longer for each change of a batch: the kernel attaches one veth after the other, each takes a grace period of
/// RCU, and these are tens of milliseconds on a busy machine.
const PATIENCE_FOR_A_CHANGE: Duration = Duration::from_millis(100);

/// Why there is no answer, or what the answer says.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// Nobody listens.
    #[error(
        "cannot reach vswitchd at {path}: {source}; is it running? Start it with `vswitchd`, or name its \
         socket (--socket; \"socket\" in a configuration of CNI)",
        path = .path.display()
    )]
    Unreachable {
        /// The socket's path.
        path: PathBuf,
        /// The kernel's error.
        source: io::Error,
    },
    /// The socket does not let us in.
    #[error(
        "may not talk to vswitchd at {path}: {source}; run as root, as its user, or in the group that its \
         --socket-group names",
        path = .path.display()
    )]
    Denied {
        /// The socket's path.
        path: PathBuf,
        /// The kernel's error.
        source: io::Error,
    },
    /// The connection broke.
    #[error("lost the connection to vswitchd: {0}")]
    Lost(io::Error),
    /// No answer came in time.
    #[error(
        "vswitchd does not answer within {} s; whether it carries out the request is not known",
        .patience.as_secs()
    )]
    Silent {
        /// How long it was waited for.
        patience: Duration,
    },
    /// The answer is not understood.
    #[error("the answer of vswitchd is not understood: {0}; are both of the same release?")]
    Answer(String),
    /// The daemon refused.
    #[error(transparent)]
    Refused(#[from] CtlError),
}

impl ClientError {
    /// The exit code with which `vswitchctl` reports it.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Unreachable { .. } | Self::Lost(_) | Self::Silent { .. } => ErrorCode::NO_DAEMON,
            Self::Denied { .. } => ErrorCode::Denied.exit_code(),
            Self::Answer(_) => ErrorCode::Internal.exit_code(),
            Self::Refused(error) => error.code.exit_code(),
        }
    }
}

/// A connection to the daemon. One request at a time.
#[derive(Debug)]
pub struct Client {
    stream: UnixStream,
    decoder: LineDecoder,
    next_id: u64,
    patience: Duration,
    /// For the answer that is awaited.
    waiting: Duration,
}

impl Client {
    /// Connects to the daemon behind `socket`, and gives it half a minute for each answer, and more for many changes at
    /// once.
    ///
    /// # Errors
    /// [`ClientError::Unreachable`] or [`ClientError::Denied`].
    pub fn connect(socket: &Path) -> Result<Self, ClientError> {
        Self::connect_within(socket, PATIENCE)
    }

    /// Connects to the daemon behind `socket`, and waits so long at most for that, and for each answer; for that to a batch,
    /// longer by its changes.
    ///
    /// # Errors
    /// [`ClientError::Unreachable`], [`ClientError::Denied`], or [`ClientError::Silent`] when as many wait already as
    /// may wait.
    pub fn connect_within(socket: &Path, patience: Duration) -> Result<Self, ClientError> {
        let path = || socket.to_owned();
        let stream = connect(socket, patience).map_err(|source| match source.kind() {
            io::ErrorKind::PermissionDenied => ClientError::Denied { path: path(), source },
            io::ErrorKind::WouldBlock => ClientError::Silent { patience },
            _ => ClientError::Unreachable { path: path(), source },
        })?;
        let (decoder, waiting) = (LineDecoder::new(MAX_RESPONSE_BYTES), patience);
        Ok(Self { stream, decoder, next_id: 1, patience, waiting })
    }

    /// Sends a request and waits for its answer.
    ///
    /// # Errors
    /// [`ClientError`]; what the daemon itself says is [`ClientError::Refused`].
    pub fn call(&mut self, request: Request) -> Result<Value, ClientError> {
        self.stream(request, |_| {
            Err(ClientError::Answer("it comes in pieces, which nobody expected".to_owned()))
        })
    }

    /// Sends a request, waits for its answer, and hands out each piece that comes before it. After the first piece
    /// there is no hurry.
    ///
    /// # Errors
    /// [`ClientError`], and what `heard` returns.
    pub fn stream<E: From<ClientError>>(
        &mut self,
        request: Request,
        mut heard: impl FnMut(Value) -> Result<(), E>,
    ) -> Result<Value, E> {
        let id = self.next_id;
        self.next_id += 1;
        self.waiting = self.patience.saturating_add(patience_for(&request));
        self.stream.set_read_timeout(Some(self.waiting)).map_err(ClientError::Lost)?;
        let line = request_line(&Envelope { id, request }).map_err(ClientError::from)?;
        // A daemon that refuses the connection says why and closes: read that even if writing fails.
        let written = self.stream.write_all(&line);
        loop {
            let line = match (&written, self.read_line()) {
                (_, Ok(line)) => line,
                (Err(error), Err(_)) => return Err(self.broken(error.kind().into()).into()),
                (Ok(()), Err(error)) => return Err(error.into()),
            };
            match reply_to(id, &line)? {
                Reply::Response(result) => return Ok(result.map_err(ClientError::from)?),
                Reply::Event(event) => heard(event)?,
            }
            self.stream.set_read_timeout(None).map_err(ClientError::Lost)?;
        }
    }

    /// What ends a [`Client::stream`] from another thread.
    ///
    /// # Errors
    /// [`ClientError::Lost`], when there are no descriptors left.
    pub fn hang_up(&self) -> Result<HangUp, ClientError> {
        self.stream.try_clone().map(HangUp).map_err(ClientError::Lost)
    }

    /// Sends a request and waits for its answer, which has a known form.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn ask<T: DeserializeOwned>(&mut self, request: Request) -> Result<T, ClientError> {
        let value = self.call(request)?;
        serde_json::from_value(value).map_err(|error| ClientError::Answer(error.to_string()))
    }

    fn read_line(&mut self) -> Result<Vec<u8>, ClientError> {
        let mut bytes = [0; 16 * 1024];
        loop {
            let line = self.decoder.next_line();
            if let Some(line) = line.map_err(|error| ClientError::Answer(error.to_string()))? {
                return Ok(line);
            }
            match self.stream.read(&mut bytes) {
                Ok(0) => return Err(ClientError::Lost(io::ErrorKind::UnexpectedEof.into())),
                Ok(count) => self.decoder.push(&bytes[..count]),
                // By a signal, which somebody else heeds: a read with a time limit is not begun again by the kernel.
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.broken(error)),
            }
        }
    }

    /// A socket that times out says that the operation would block.
    fn broken(&self, error: io::Error) -> ClientError {
        match error.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
                ClientError::Silent { patience: self.waiting }
            }
            _ => ClientError::Lost(error),
        }
    }
}

/// Ends what a client is told piece by piece.
#[derive(Debug)]
pub struct HangUp(UnixStream);

impl HangUp {
    /// Says to the daemon that there will be no more requests. It sends what it owes.
    pub fn hang_up(&self) {
        // A connection that is over needs no end.
        let _ = self.0.shutdown(Shutdown::Write);
    }
}

/// How much longer the answer to a request may take than that to others.
fn patience_for(request: &Request) -> Duration {
    match request {
        Request::Mutation(Mutation::Batch(batch)) => {
            let changes = u32::try_from(batch.changes.len()).unwrap_or(u32::MAX);
            PATIENCE_FOR_A_CHANGE.saturating_mul(changes)
        }
        _ => Duration::ZERO,
    }
}

/// What a line says about a request.
fn reply_to(id: u64, line: &[u8]) -> Result<Reply, ClientError> {
    let (answered, reply) =
        parse_reply(line).map_err(|error| ClientError::Answer(error.to_string()))?;
    // What is wrong with the connection rather than with one request has number 0.
    let is_about_connection = answered == 0 && matches!(reply, Reply::Response(Err(_)));
    if answered == id || is_about_connection {
        return Ok(reply);
    }
    Err(ClientError::Answer(format!("it is to request {answered}, not to {id}")))
}

/// A connection whose every wait is bounded: also that for a place in the queue of a daemon that accepts none
/// (unix(7)).
pub(crate) fn connect(path: &Path, patience: Duration) -> io::Result<UnixStream> {
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    for timeout in [Timeout::Send, Timeout::Recv] {
        set_socket_timeout(&socket, timeout, Some(patience))?;
    }
    rustix::net::connect(&socket, &SocketAddrUnix::new(path)?)?;
    Ok(socket.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Batch, BridgeAdd, Query};

    #[test]
    fn a_batch_is_waited_for_as_long_as_its_changes_may_take() {
        let change = Mutation::BridgeAdd(BridgeAdd::new("br0".parse().unwrap()));
        let batch = Batch { changes: vec![change.clone(); 1000] };
        let longer = |mutation| patience_for(&Request::Mutation(mutation));
        assert_eq!(longer(Mutation::Batch(batch)), PATIENCE_FOR_A_CHANGE * 1000);
        assert_eq!(longer(change), Duration::ZERO);
        assert_eq!(patience_for(&Request::Query(Query::Version)), Duration::ZERO);
    }
}
