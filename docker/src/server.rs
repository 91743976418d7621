//! [`Server`]: the plugin's socket. One thread for each connection, of which there are [`MAX_CONNECTIONS`] at most:
//! an engine has a few open, and everybody else who may connect is root.

use std::io::{self, Read};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use ctl::{ListenError, SocketFile};

use crate::http::{Head, Refusal, Status, respond};

/// The most connections that are open at a time.
pub const MAX_CONNECTIONS: usize = 64;
/// How long a request, the rest of one, or the reader of a response is waited for.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long to wait before the next connection when this one could not be taken: descriptors ran out.
const BREATH: Duration = Duration::from_millis(100);

/// Why there is no socket.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServerError {
    /// Nobody can listen there.
    #[error("plugin socket {0}")]
    Listen(#[from] ListenError),
    /// Descriptors or threads ran out.
    #[error("cannot serve the plugin socket: {0}")]
    Serve(io::Error),
}

/// What becomes of a request: its path and body to a status and a body.
pub type Handler = dyn Fn(&str, &[u8]) -> (Status, Vec<u8>) + Send + Sync;

/// A bound socket. Dropping it removes the path.
#[derive(Debug)]
pub struct Server {
    listener: UnixListener,
    _file: SocketFile,
}

impl Server {
    /// Binds the socket, for root alone. One that a dead plugin left behind is replaced.
    ///
    /// # Errors
    /// [`ServerError::Listen`], when something else than a left-over is there or the kernel refuses.
    pub fn bind(path: &Path) -> Result<Self, ServerError> {
        SocketFile::make_directory(path)?;
        let (listener, file) = SocketFile::bind(path)?;
        Ok(Self { listener, _file: file })
    }

    /// Answers whoever connects, on threads of its own, until the process ends.
    ///
    /// # Errors
    /// [`ServerError::Serve`].
    pub fn start(&self, handler: Arc<Handler>) -> Result<(), ServerError> {
        let listener = self.listener.try_clone().map_err(ServerError::Serve)?;
        let thread = std::thread::Builder::new().name("docker-plugin".to_owned());
        thread.spawn(move || serve(&listener, &handler)).map_err(ServerError::Serve)?;
        Ok(())
    }
}

/// Answers whoever connects, for ever.
fn serve(listener: &UnixListener, handler: &Arc<Handler>) -> ! {
    let open = Arc::new(AtomicUsize::new(0));
    loop {
        let Ok((stream, _)) = listener.accept() else {
            std::thread::sleep(BREATH);
            continue;
        };
        let place = Place::take(&open);
        if place.number > MAX_CONNECTIONS {
            turn_away(stream);
            continue;
        }
        let handler = Arc::clone(handler);
        let thread = std::thread::Builder::new().name("docker-plugin".to_owned());
        // Without a thread the connection is closed with the closure, and the engine tries again.
        let spawned = thread.spawn(move || {
            let _place = place;
            if let Err(error) = converse(stream, &*handler) {
                tracing::debug!(%error, "an engine's connection ended");
            }
        });
        if let Err(error) = spawned {
            tracing::warn!(%error, "cannot start a thread for a connection");
        }
    }
}

/// One of the connections that may be open, until it is dropped.
struct Place {
    open: Arc<AtomicUsize>,
    number: usize,
}

impl Place {
    fn take(open: &Arc<AtomicUsize>) -> Self {
        let number = open.fetch_add(1, Ordering::Relaxed) + 1;
        Self { open: Arc::clone(open), number }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.open.fetch_sub(1, Ordering::Relaxed);
    }
}

fn turn_away(mut stream: UnixStream) {
    let body = br#"{"Err":"too many connections to the plugin are open"}"#;
    let told = stream
        .set_write_timeout(Some(PATIENCE))
        .and_then(|()| respond(&mut stream, Status::Unavailable, body));
    if let Err(error) = told {
        tracing::debug!(%error, "a connection was turned away without a word");
    }
}

/// Answers the request of a connection.
fn converse(mut stream: UnixStream, handler: &Handler) -> io::Result<()> {
    for patience in [UnixStream::set_read_timeout, UnixStream::set_write_timeout] {
        patience(&stream, Some(PATIENCE))?;
    }
    let mut bytes = Vec::new();
    let head = match read_head(&mut stream, &mut bytes)? {
        Ok(Some(head)) => head,
        Ok(None) => return Ok(()),
        Err(Refusal { status, why }) => {
            let body = format!(r#"{{"Err":"{why}"}}"#);
            return respond(&mut stream, status, body.as_bytes());
        }
    };
    let end = head.head_bytes + head.body_bytes;
    while bytes.len() < end {
        if read_more(&mut stream, &mut bytes)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    let (status, body) = handler(&head.path, &bytes[head.head_bytes..end]);
    respond(&mut stream, status, &body)
}

/// The head of the request; `None` when the connection ends without one.
fn read_head(
    stream: &mut UnixStream,
    bytes: &mut Vec<u8>,
) -> io::Result<Result<Option<Head>, Refusal>> {
    loop {
        match Head::parse(bytes) {
            Ok(None) => {}
            done => return Ok(done),
        }
        match read_more(stream, bytes)? {
            0 if bytes.is_empty() => return Ok(Ok(None)),
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            _ => {}
        }
    }
}

fn read_more(stream: &mut UnixStream, bytes: &mut Vec<u8>) -> io::Result<usize> {
    let mut some = [0; 16 * 1024];
    let count = stream.read(&mut some)?;
    bytes.extend_from_slice(&some[..count]);
    Ok(count)
}
