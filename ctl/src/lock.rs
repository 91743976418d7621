//! One program at a time: a lock on a file, held by the kernel for as long as the process lives.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Seek, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, OFlags, flock};

/// How long the holder of a lock may take to write down who it is.
const PATIENCE: Duration = Duration::from_secs(1);

/// Why a lock is not ours.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LockError {
    /// Another process holds it.
    #[error(
        "in use by another program (pid {pid}, lock {path}); stop that one, or choose another place",
        path = .path.display()
    )]
    Held {
        /// The lock file.
        path: PathBuf,
        /// What the holder wrote into it.
        pid: String,
    },
    /// The kernel refused an operation.
    #[error("cannot {operation} lock file {path}: {source}", path = .path.display())]
    Io {
        /// What was attempted.
        operation: &'static str,
        /// The lock file.
        path: PathBuf,
        /// The kernel's error.
        source: io::Error,
    },
}

/// Locks `path`, making it if need be, until the result is dropped or the process ends. The file stays,
/// and holds the process id of its last owner.
///
/// # Errors
/// [`LockError::Held`] when another process has it; it is never waited for.
pub fn hold(path: &Path) -> Result<OwnedFd, LockError> {
    let io = |operation, source| LockError::Io { operation, path: path.to_owned(), source };
    let mut file = OpenOptions::new()
        .create(true)
        .read(true)
        .write(true)
        .truncate(false)
        .mode(0o600)
        // What a link leads to would be emptied.
        .custom_flags(OFlags::NOFOLLOW.bits().cast_signed())
        .open(path)
        .map_err(|source| io("open", source))?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(rustix::io::Errno::WOULDBLOCK) => {
            return Err(LockError::Held { path: path.to_owned(), pid: holder(path) });
        }
        Err(errno) => return Err(io("take", errno.into())),
    }
    write_pid(&mut file).map_err(|source| io("write", source))?;
    Ok(file.into())
}

/// Who holds a lock. Who has only just taken it is about to say so; until then the file names who had it before, and has ended.
fn holder(path: &Path) -> String {
    let asked = Instant::now();
    loop {
        let written = fs::read_to_string(path).unwrap_or_default();
        let pid = written.strip_suffix('\n').filter(|pid| is_running(pid));
        if let Some(pid) = pid {
            return pid.to_owned();
        }
        if asked.elapsed() > PATIENCE {
            return "unknown".to_owned();
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Whether there is a process of this number.
fn is_running(pid: &str) -> bool {
    let is_number = !pid.is_empty() && pid.bytes().all(|byte| byte.is_ascii_digit());
    is_number && Path::new("/proc").join(pid).exists()
}

/// Over what was there, so that the file names somebody at any moment.
fn write_pid(file: &mut File) -> io::Result<()> {
    file.write_all(format!("{}\n", std::process::id()).as_bytes())?;
    let end = file.stream_position()?;
    file.set_len(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_is_refused_while_held_and_granted_after() {
        let directory = tempdir("held");
        let path = directory.join("lock");
        let held = hold(&path).unwrap();
        let refused = hold(&path).unwrap_err();
        assert!(refused.to_string().contains(&std::process::id().to_string()), "{refused}");
        drop(held);
        hold(&path).unwrap();
        fs::remove_dir_all(directory).unwrap();
    }

    #[test]
    fn who_had_a_lock_before_and_has_ended_is_not_said_to_hold_it() {
        let directory = tempdir("ended");
        let path = directory.join("lock");
        let mut before = std::process::Command::new("true").spawn().unwrap();
        before.wait().unwrap();
        let held = hold(&path).unwrap();
        // Another one that has taken it, and has not said so yet.
        fs::write(&path, format!("{}\n", before.id())).unwrap();
        assert!(hold(&path).unwrap_err().to_string().contains("pid unknown"));
        let late = std::thread::spawn({
            let path = path.clone();
            move || hold(&path).unwrap_err().to_string()
        });
        fs::write(&path, format!("{}\n", std::process::id())).unwrap();
        let told = late.join().unwrap();
        assert!(told.contains(&format!("pid {}", std::process::id())), "{told}");
        drop(held);
        fs::remove_dir_all(directory).unwrap();
    }

    fn tempdir(name: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("vswitch-lock-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        path
    }
}
