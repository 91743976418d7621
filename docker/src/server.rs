//! [`Server`]: the plugin's socket. One thread for each connection, of which there are [`MAX_CONNECTIONS`] at most:
//! an engine keeps a few open, and everybody else who may connect is root.

use std::fs::{self, DirBuilder, Permissions};
use std::io::{self, Read};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::http::{Head, Refusal, Status, respond};

/// The most connections that are open at a time.
pub const MAX_CONNECTIONS: usize = 64;
/// How long a connection may be silent between two requests. Engines keep theirs for later.
const IDLE: Duration = Duration::from_secs(600);
/// How long the rest of a request, or the reader of a response, is waited for.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long to wait before the next connection when this one could not be taken: descriptors ran out.
const BREATH: Duration = Duration::from_millis(100);

/// Why there is no socket.
#[derive(Debug, thiserror::Error)]
#[error("cannot {operation} plugin socket {path}: {source}", path = .path.display())]
pub struct ServerError {
    /// What was attempted.
    operation: &'static str,
    /// The socket's path.
    path: PathBuf,
    /// The kernel's error.
    source: io::Error,
}

/// What becomes of a request: its path and body to a status and a body.
pub type Handler = dyn Fn(&str, &[u8]) -> (Status, Vec<u8>) + Send + Sync;

/// A bound socket. Dropping it removes the path.
#[derive(Debug)]
pub struct Server {
    listener: UnixListener,
    path: PathBuf,
}

impl Server {
    /// Binds the socket, for root alone. One that a dead plugin left behind is replaced.
    ///
    /// # Errors
    /// [`ServerError`], when a living plugin serves it or the kernel refuses.
    pub fn bind(path: &Path) -> Result<Self, ServerError> {
        let failed = |operation, source| ServerError { operation, path: path.to_owned(), source };
        if let Some(directory) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            let made = DirBuilder::new().recursive(true).mode(0o755).create(directory);
            made.map_err(|source| failed("make the directory of", source))?;
        }
        if UnixStream::connect(path).is_ok() {
            return Err(failed("take over", io::ErrorKind::AddrInUse.into()));
        }
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(failed("replace the left-over", error));
            }
            _ => {}
        }
        let listener = UnixListener::bind(path).map_err(|source| failed("bind", source))?;
        let server = Self { listener, path: path.to_owned() };
        fs::set_permissions(path, Permissions::from_mode(0o600))
            .map_err(|source| failed("set the permissions of", source))?;
        Ok(server)
    }

    /// Answers whoever connects, on threads of its own, until the process ends.
    ///
    /// # Errors
    /// [`ServerError`], when descriptors or threads run out.
    pub fn start(&self, handler: Arc<Handler>) -> Result<(), ServerError> {
        let failed = |source| ServerError { operation: "serve", path: self.path.clone(), source };
        let listener = self.listener.try_clone().map_err(failed)?;
        let thread = std::thread::Builder::new().name("docker-plugin".to_owned());
        thread.spawn(move || serve(&listener, &handler)).map_err(failed)?;
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
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
        .and_then(|()| respond(&mut stream, Status::Unavailable, body, false));
    if let Err(error) = told {
        tracing::debug!(%error, "a connection was turned away without a word");
    }
}

/// Answers the requests of one connection, one after the other.
fn converse(mut stream: UnixStream, handler: &Handler) -> io::Result<()> {
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut bytes = Vec::new();
    loop {
        let head = match read_head(&mut stream, &mut bytes)? {
            Ok(Some(head)) => head,
            Ok(None) => return Ok(()),
            Err(Refusal { status, why }) => {
                let body = format!(r#"{{"Err":"{why}"}}"#);
                return respond(&mut stream, status, body.as_bytes(), false);
            }
        };
        let end = head.head_bytes + head.body_bytes;
        while bytes.len() < end {
            if read_more(&mut stream, &mut bytes, PATIENCE)? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        let (status, body) = handler(&head.path, &bytes[head.head_bytes..end]);
        respond(&mut stream, status, &body, head.keep_alive)?;
        if !head.keep_alive {
            return Ok(());
        }
        bytes.drain(..end);
    }
}

/// The head of the next request; `None` when the connection ends between two.
fn read_head(
    stream: &mut UnixStream,
    bytes: &mut Vec<u8>,
) -> io::Result<Result<Option<Head>, Refusal>> {
    loop {
        match Head::parse(bytes) {
            Ok(None) => {}
            done => return Ok(done),
        }
        let patience = if bytes.is_empty() { IDLE } else { PATIENCE };
        match read_more(stream, bytes, patience)? {
            0 if bytes.is_empty() => return Ok(Ok(None)),
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            _ => {}
        }
    }
}

fn read_more(
    stream: &mut UnixStream,
    bytes: &mut Vec<u8>,
    patience: Duration,
) -> io::Result<usize> {
    let mut some = [0; 16 * 1024];
    stream.set_read_timeout(Some(patience))?;
    let count = stream.read(&mut some)?;
    bytes.extend_from_slice(&some[..count]);
    Ok(count)
}
