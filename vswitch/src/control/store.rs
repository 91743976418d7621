//! The desired state on disk: one JSON file, replaced atomically.
//!
//! Writing: a new file beside the old one, `fsync`, `rename`, `fsync` of the directory. Whenever the
//! process or the machine dies, either the old or the new state is there, whole (POSIX `rename`).
//! A lock file keeps a second daemon away from the same directory; the kernel releases the lock when
//! the daemon dies, however it dies.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use ctl::Config;

use super::lock::{LockError, hold};

/// The file that holds the state.
const STATE_FILE: &str = "state.json";
/// The file that the next state is written to before it takes the old one's place.
const NEXT_FILE: &str = "state.json.next";
/// The file whose lock says that a daemon uses the directory.
const LOCK_FILE: &str = "lock";

/// Why the state cannot be read or kept.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// Another daemon has the directory.
    #[error("state directory {directory}: {source}", directory = .directory.display())]
    Locked {
        /// The directory.
        directory: PathBuf,
        /// Who has it.
        source: LockError,
    },
    /// The kernel refused an operation.
    #[error("cannot {operation} {path}: {source}", path = .path.display())]
    Io {
        /// What was attempted.
        operation: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// The kernel's error.
        source: io::Error,
    },
    /// The file is not a state that this version understands.
    #[error(
        "the state in {path} cannot be used: {why}; mend the file, or move it away to start empty",
        path = .path.display()
    )]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
}

/// The state directory of one daemon, locked.
#[derive(Debug)]
pub struct Store {
    directory: PathBuf,
    _lock: OwnedFd,
}

impl Store {
    /// Opens and locks `directory`, making it if need be.
    ///
    /// # Errors
    /// [`StoreError`], when another daemon has it or the file system refuses.
    pub fn open(directory: &Path) -> Result<Self, StoreError> {
        fs::create_dir_all(directory).map_err(|source| io_error("create", directory, source))?;
        let lock = hold(&directory.join(LOCK_FILE))
            .map_err(|source| StoreError::Locked { directory: directory.to_owned(), source })?;
        Ok(Self { directory: directory.to_owned(), _lock: lock })
    }

    /// The state kept last; the empty one when none was.
    ///
    /// # Errors
    /// [`StoreError`], when the file cannot be read or understood.
    pub fn load(&self) -> Result<Config, StoreError> {
        let path = self.directory.join(STATE_FILE);
        let text = match fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Config::default()),
            Err(source) => return Err(io_error("read", &path, source)),
        };
        Config::from_json(&text)
            .map_err(|error| StoreError::Unreadable { path, why: error.to_string() })
    }

    /// Keeps `config`. When this returns it survives a crash of the process or the machine.
    ///
    /// # Errors
    /// [`StoreError`]; the state kept before is then still there.
    pub fn save(&self, config: &Config) -> Result<(), StoreError> {
        let next = self.directory.join(NEXT_FILE);
        let path = self.directory.join(STATE_FILE);
        write_synced(&next, config.to_json().as_bytes())
            .map_err(|source| io_error("write", &next, source))?;
        fs::rename(&next, &path).map_err(|source| io_error("replace", &path, source))?;
        File::open(&self.directory)
            .and_then(|directory| directory.sync_all())
            .map_err(|source| io_error("sync", &self.directory, source))
    }
}

fn write_synced(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = File::create(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

fn io_error(operation: &'static str, path: &Path, source: io::Error) -> StoreError {
    StoreError::Io { operation, path: path.to_owned(), source }
}
