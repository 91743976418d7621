//! The control socket: where it is, who may connect, and that there is only one daemon behind it.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};

use ctl::{ListenError, SocketFile};
use mio::net::{UnixListener, UnixStream};
use rustix::net::sockopt::socket_peercred;

/// Why there is no control socket.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SocketError {
    /// Nobody can listen there.
    #[error("control socket {0}")]
    Listen(#[from] ListenError),
    /// The kernel refused an operation.
    #[error("cannot {operation} control socket {path}: {source}", path = .path.display())]
    Io {
        /// What was attempted.
        operation: &'static str,
        /// The socket's path.
        path: PathBuf,
        /// The kernel's error.
        source: io::Error,
    },
}

/// A bound control socket. Dropping it removes the path, unless something else is there by then.
#[derive(Debug)]
pub struct ControlSocket {
    /// Where clients arrive.
    pub listener: UnixListener,
    group: Option<u32>,
    _file: SocketFile,
}

impl ControlSocket {
    /// Binds `path` with mode 0600, or 0660 and owned by `group`. A socket that a dead daemon left behind
    /// is replaced, and a living one's is not.
    ///
    /// # Errors
    /// [`SocketError`], when another daemon serves the path or the kernel refuses.
    pub fn bind(path: &Path, group: Option<u32>) -> Result<Self, SocketError> {
        let io = |operation, source| SocketError::Io { operation, path: path.to_owned(), source };
        SocketFile::make_directory(path)?;
        let (listener, file) = SocketFile::bind(path)?;
        listener.set_nonblocking(true).map_err(|source| io("configure", source))?;
        if let Some(group) = group {
            let opened = chown(path, None, Some(group))
                .and_then(|()| fs::set_permissions(path, Permissions::from_mode(0o660)));
            opened.map_err(|source| io("set the permissions of", source))?;
        }
        let listener = UnixListener::from_std(listener);
        Ok(Self { listener, group, _file: file })
    }

    /// Whether the process at the other end may give orders: root, the daemon's own user, or, where a
    /// group was configured, whoever the file's mode let in.
    ///
    /// # Errors
    /// The user id that may not.
    pub fn admit(&self, client: &UnixStream) -> Result<(), u32> {
        let Ok(peer) = socket_peercred(client) else { return Err(u32::MAX) };
        let uid = peer.uid.as_raw();
        let ours = rustix::process::geteuid().as_raw();
        if uid == 0 || uid == ours || self.group.is_some() { Ok(()) } else { Err(uid) }
    }
}
