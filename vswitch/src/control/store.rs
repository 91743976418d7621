//! The desired state on disk: a JSON file, replaced atomically, and a journal of what changed since ([`journal`]).
//!
//! A change costs a line of the journal and an `fsync`, however much is configured. The file is written anew when the
//! daemon begins and ends, and when the journal has become longer than it: a new file beside the old one, `fsync`,
//! `rename`, `fsync` of the directory. Whenever the process or the machine dies, the file is there, whole (POSIX
//! `rename`), and so is every line of the journal whose change was answered.
//!
//! A lock file keeps a second daemon away from the same directory; the kernel releases the lock when
//! the daemon dies, however it dies. Used by the control thread only.

mod journal;

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use ctl::{Action, Config, LockError, hold};

/// The file that holds the state.
const STATE_FILE: &str = "state.json";
/// The file that the next state is written to before it takes the old one's place.
const NEXT_FILE: &str = "state.json.next";
/// The file of what changed since.
const JOURNAL_FILE: &str = "state.journal";
/// A journal of this many bytes is not too long, however short the state is.
const JOURNAL_BYTES: u64 = 256 * 1024;
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
    /// The journal, once the state was written whole.
    journal: Option<Journal>,
    _lock: OwnedFd,
}

/// The open journal of a state.
#[derive(Debug)]
struct Journal {
    file: File,
    /// How long it is.
    bytes: u64,
    /// How long the state is that it begins with.
    state_bytes: u64,
    /// The revision after its last line.
    revision: u64,
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
        Ok(Self { directory: directory.to_owned(), journal: None, _lock: lock })
    }

    /// The state kept last; the empty one when none was.
    ///
    /// # Errors
    /// [`StoreError`], when the files cannot be read or understood.
    pub fn load(&self) -> Result<Config, StoreError> {
        let (state, journal) = (self.directory.join(STATE_FILE), self.directory.join(JOURNAL_FILE));
        let mut config = match read(&state)? {
            Some(text) => Config::from_json(&text).map_err(|error| unreadable(state, &error))?,
            None => Config::default(),
        };
        let changes = read(&journal)?.unwrap_or_default();
        let changed = journal::replay(&mut config, &changes);
        changed.map_err(|why| StoreError::Unreadable { path: journal.clone(), why })?;
        config.check().map_err(|error| unreadable(journal, &error))?;
        Ok(config)
    }

    /// Keeps a change, of which the steps lead to `next`. When this returns it survives a crash of the process or the
    /// machine.
    ///
    /// # Errors
    /// [`StoreError`]; the state kept before is then still there.
    pub fn keep(&mut self, next: &Config, steps: &[Action]) -> Result<(), StoreError> {
        let path = self.directory.join(JOURNAL_FILE);
        let failed = |source| io_error("write", &path, source);
        let line = journal::line(next.revision, steps).map_err(failed)?;
        let Some(journal) = self.journal.as_mut().filter(|own| own.takes(&line, next.revision))
        else {
            return self.write(next);
        };
        let kept = journal.append(&line, next.revision);
        if kept.is_err() && journal.mend().is_err() {
            // Then the state is written whole next time.
            self.journal = None;
        }
        kept.map_err(failed)
    }

    /// Writes the state whole, and begins the journal anew.
    ///
    /// # Errors
    /// [`StoreError`]; the state kept before is then still there.
    pub fn write(&mut self, config: &Config) -> Result<(), StoreError> {
        // Whatever fails, the journal does not go on from a state of which it is not known whether it is in place.
        self.journal = None;
        let next = self.directory.join(NEXT_FILE);
        let path = self.directory.join(STATE_FILE);
        let journal = self.directory.join(JOURNAL_FILE);
        let text = config.to_json();
        write_synced(&next, text.as_bytes()).map_err(|source| io_error("write", &next, source))?;
        let file = OpenOptions::new().create(true).append(true).open(&journal);
        let file = file.map_err(|source| io_error("open", &journal, source))?;
        fs::rename(&next, &path).map_err(|source| io_error("replace", &path, source))?;
        File::open(&self.directory)
            .and_then(|directory| directory.sync_all())
            .map_err(|source| io_error("sync", &self.directory, source))?;
        let state_bytes = u64::try_from(text.len()).unwrap_or(u64::MAX);
        // One that cannot be emptied says nothing that the state does not, and is not used.
        self.journal = file.set_len(0).ok().map(|()| Journal {
            file,
            bytes: 0,
            state_bytes,
            revision: config.revision,
        });
        Ok(())
    }
}

impl Journal {
    /// Whether a line goes on from the last one, and does not make the journal too long.
    fn takes(&self, line: &[u8], revision: u64) -> bool {
        let bytes = self.bytes + u64::try_from(line.len()).unwrap_or(u64::MAX);
        bytes <= self.state_bytes.max(JOURNAL_BYTES) && revision == self.revision + 1
    }

    fn append(&mut self, line: &[u8], revision: u64) -> io::Result<()> {
        self.file.write_all(line)?;
        self.file.sync_data()?;
        self.bytes += u64::try_from(line.len()).unwrap_or(u64::MAX);
        self.revision = revision;
        Ok(())
    }

    /// Takes away what a failed attempt to append left behind.
    fn mend(&self) -> io::Result<()> {
        self.file.set_len(self.bytes)?;
        self.file.sync_data()
    }
}

fn read(path: &Path) -> Result<Option<Vec<u8>>, StoreError> {
    match fs::read(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(io_error("read", path, source)),
    }
}

fn unreadable(path: PathBuf, error: &dyn std::error::Error) -> StoreError {
    StoreError::Unreadable { path, why: error.to_string() }
}

fn write_synced(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = File::create(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

fn io_error(operation: &'static str, path: &Path, source: io::Error) -> StoreError {
    StoreError::Io { operation, path: path.to_owned(), source }
}

#[cfg(test)]
mod tests;
