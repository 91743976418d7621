//! [`SocketFile`]: the file of a listening socket, and what it may take the place of.
//!
//! Every socket at which this project listens is bound here: a path is anybody's to name, and what is there may be
//! anybody's too.

use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::client::connect;
use crate::lock::{LockError, hold};

/// How long to ask whether somebody listens there. Who does not accept even in that time does, and is busy.
const PATIENCE: Duration = Duration::from_secs(1);

/// Why nobody can listen at a path.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ListenError {
    /// Something else than a socket is there.
    #[error("{path}: there is a file that is no socket; move it away, or name another path", path = .path.display())]
    Occupied {
        /// The path.
        path: PathBuf,
    },
    /// A symbolic link is there, which could lead anywhere.
    #[error("{path}: there is a symbolic link, which is not followed; remove it, or name the path that it leads to", path = .path.display())]
    Link {
        /// The path.
        path: PathBuf,
    },
    /// Another program has it, or is about to.
    #[error("{path}: {source}", path = .path.display())]
    Locked {
        /// The socket's path.
        path: PathBuf,
        /// Who has it.
        source: LockError,
    },
    /// Another program, which knows nothing of the lock, listens there.
    #[error("{path}: another program listens there; end it, or name another path", path = .path.display())]
    Served {
        /// The socket's path.
        path: PathBuf,
    },
    /// The kernel refused an operation.
    #[error("{path}: cannot {operation}: {source}{}", may_not(.source), path = .path.display())]
    Io {
        /// What was attempted.
        operation: &'static str,
        /// The socket's path.
        path: PathBuf,
        /// The kernel's error.
        source: io::Error,
    },
}

/// The file of a listening socket. Dropping it removes the file, unless something else is there by then; the lock beside it,
/// `PATH.lock`, stays.
#[derive(Debug)]
pub struct SocketFile {
    path: PathBuf,
    /// The file's device and inode.
    identity: (u64, u64),
    _lock: OwnedFd,
}

impl SocketFile {
    /// Makes the directory of a socket, if it is not there.
    ///
    /// # Errors
    /// [`ListenError::Io`].
    pub fn make_directory(path: &Path) -> Result<(), ListenError> {
        let Some(directory) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) else {
            return Ok(());
        };
        let made = DirBuilder::new().recursive(true).mode(0o755).create(directory);
        made.map_err(|source| failed(path, "make its directory", source))
    }

    /// Listens at `path`, where only the own user may connect. Of what may be there already, a socket at which nobody
    /// listens any more is replaced, and nothing else. Of several programs that begin at once one has it: the lock beside it
    /// is held from before somebody looks until the file is gone.
    ///
    /// # Errors
    /// [`ListenError`]; what is at `path` is what it was.
    pub fn bind(path: &Path) -> Result<(UnixListener, Self), ListenError> {
        // What is no socket is nobody's to lock.
        is_socket(path)?;
        let lock = hold(&lock_path(path))
            .map_err(|source| ListenError::Locked { path: path.to_owned(), source })?;
        clear(path)?;
        let listener =
            UnixListener::bind(path).map_err(|source| failed(path, "bind it", source))?;
        let identity = identity(path).map_err(|source| failed(path, "look at it", source))?;
        let file = Self { path: path.to_owned(), identity, _lock: lock };
        fs::set_permissions(path, Permissions::from_mode(0o600))
            .map_err(|source| failed(path, "set its permissions", source))?;
        Ok((listener, file))
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if identity(&self.path).is_ok_and(|found| found == self.identity) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// What to do where a file may not be made.
fn may_not(source: &io::Error) -> &'static str {
    match source.kind() {
        io::ErrorKind::PermissionDenied => {
            "; run as root, or give --socket and --state of directories that you may write"
        }
        _ => "",
    }
}

fn lock_path(socket: &Path) -> PathBuf {
    let mut name = socket.as_os_str().to_owned();
    name.push(".lock");
    name.into()
}

fn failed(path: &Path, operation: &'static str, source: io::Error) -> ListenError {
    ListenError::Io { operation, path: path.to_owned(), source }
}

/// Whether there is a socket. Anything else is in the way.
fn is_socket(path: &Path) -> Result<bool, ListenError> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(failed(path, "look at it", error)),
        Ok(found) if found.file_type().is_symlink() => {
            Err(ListenError::Link { path: path.to_owned() })
        }
        Ok(found) if !found.file_type().is_socket() => {
            Err(ListenError::Occupied { path: path.to_owned() })
        }
        Ok(_) => Ok(true),
    }
}

/// Removes the socket that a dead program left behind, and nothing else.
fn clear(path: &Path) -> Result<(), ListenError> {
    if !is_socket(path)? {
        return Ok(());
    }
    match connect(path, PATIENCE).map_err(|error| (error.kind(), error)) {
        Err((io::ErrorKind::ConnectionRefused, _)) => {
            fs::remove_file(path).map_err(|source| failed(path, "replace the left-over", source))
        }
        Ok(_) | Err((io::ErrorKind::WouldBlock, _)) => {
            Err(ListenError::Served { path: path.to_owned() })
        }
        Err((_, source)) => Err(failed(path, "look who listens", source)),
    }
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    let found = fs::symlink_metadata(path)?;
    Ok((found.dev(), found.ino()))
}
