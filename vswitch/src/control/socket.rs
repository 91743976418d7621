//! The control socket: where it is, who may connect, and that there is only one daemon behind it.

use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};

use mio::net::{UnixListener, UnixStream};
use rustix::net::sockopt::socket_peercred;

use super::lock::{LockError, hold};

/// Why there is no control socket.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SocketError {
    /// Another daemon serves it.
    #[error("control socket {path}: {source}", path = .path.display())]
    Locked {
        /// The socket's path.
        path: PathBuf,
        /// Who has it.
        source: LockError,
    },
    /// Something else than a socket is there.
    #[error(
        "control socket {path}: there is a file that is no socket; move it away, or name another path with --socket",
        path = .path.display()
    )]
    Occupied {
        /// The path.
        path: PathBuf,
    },
    /// Another program listens there.
    #[error(
        "control socket {path}: another program listens there; end it, or name another path with --socket",
        path = .path.display()
    )]
    Served {
        /// The socket's path.
        path: PathBuf,
    },
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
    path: PathBuf,
    /// The file's device and inode.
    file: (u64, u64),
    group: Option<u32>,
    _lock: OwnedFd,
}

impl ControlSocket {
    /// Binds `path` with mode 0600, or 0660 and owned by `group`. The lock beside it decides whose the
    /// path is, so that a socket that a dead daemon left behind is replaced and a living one's is not.
    ///
    /// # Errors
    /// [`SocketError`], when another daemon serves the path or the kernel refuses.
    pub fn bind(path: &Path, group: Option<u32>) -> Result<Self, SocketError> {
        let io = |operation, source| SocketError::Io { operation, path: path.to_owned(), source };
        if let Some(directory) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            DirBuilder::new()
                .recursive(true)
                .mode(0o755)
                .create(directory)
                .map_err(|source| io("make the directory of", source))?;
        }
        let lock = hold(&lock_path(path))
            .map_err(|source| SocketError::Locked { path: path.to_owned(), source })?;
        clear(path)?;
        let listener = UnixListener::bind(path).map_err(|source| io("bind", source))?;
        let file = identity(path).map_err(|source| io("look at", source))?;
        let socket = Self { listener, path: path.to_owned(), file, group, _lock: lock };
        socket.restrict().map_err(|source| io("set the permissions of", source))?;
        Ok(socket)
    }

    fn restrict(&self) -> io::Result<()> {
        let mode = if self.group.is_some() { 0o660 } else { 0o600 };
        if self.group.is_some() {
            chown(&self.path, None, self.group)?;
        }
        fs::set_permissions(&self.path, Permissions::from_mode(mode))
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

impl Drop for ControlSocket {
    fn drop(&mut self) {
        if identity(&self.path).is_ok_and(|file| file == self.file) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Removes the socket that a dead daemon left behind, and nothing else.
fn clear(path: &Path) -> Result<(), SocketError> {
    let io = |operation, source| SocketError::Io { operation, path: path.to_owned(), source };
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(io("look at", error)),
        Ok(found) if !found.file_type().is_socket() => {
            return Err(SocketError::Occupied { path: path.to_owned() });
        }
        Ok(_) => {}
    }
    match std::os::unix::net::UnixStream::connect(path) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            fs::remove_file(path).map_err(|source| io("replace the left-over", source))
        }
        Err(source) => Err(io("look who listens at", source)),
        Ok(_) => Err(SocketError::Served { path: path.to_owned() }),
    }
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    let found = fs::symlink_metadata(path)?;
    Ok((found.dev(), found.ino()))
}

fn lock_path(socket: &Path) -> PathBuf {
    let mut name = socket.as_os_str().to_owned();
    name.push(".lock");
    name.into()
}
