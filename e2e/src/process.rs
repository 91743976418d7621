//! [`Process`]: a program that ends with its value.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use netlab::{Container, LabError};
use rustix::process::{Pid, Signal, kill_process};

use crate::Outcome;

/// How long anything may take to come true. Two cores may be busy with several engines.
const PATIENCE: Duration = Duration::from_secs(60);

/// Why a program does not do what it should.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProcessError {
    /// It said so.
    #[error("{command} failed: {said}")]
    Failed {
        /// What was called.
        command: String,
        /// What it said.
        said: String,
    },
}

/// A program that runs in the namespace of a host. It is killed when dropped.
#[derive(Debug)]
pub struct Process {
    child: Child,
}

impl Process {
    /// Starts a program on a host. What it says goes to a file.
    ///
    /// # Errors
    /// That it cannot be started.
    pub fn start(host: &Container, command: &mut Command, log: &Path) -> Outcome<Self> {
        let log = File::options().append(true).create(true).open(log)?;
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        // A process is born into the namespace of the thread that makes it.
        let failed = |source| LabError::Socket { operation: "start a program", source };
        let child = host.run(|| command.spawn().map_err(failed))?;
        Ok(Self { child })
    }

    /// Kills it, and does not wait for its end.
    ///
    /// # Errors
    /// That it is gone already.
    pub fn kill(&self) -> Outcome<()> {
        let pid = i32::try_from(self.child.id())?;
        Ok(kill_process(Pid::from_raw(pid).ok_or("no process")?, Signal::KILL)?)
    }

    /// Sends a signal, and waits for the end that it means.
    ///
    /// # Errors
    /// That it is gone already.
    pub fn end(&mut self, signal: Signal) -> Outcome<()> {
        let pid = i32::try_from(self.child.id())?;
        kill_process(Pid::from_raw(pid).ok_or("no process")?, signal)?;
        self.child.wait()?;
        Ok(())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs a program to its end, and returns what it says, without the last line's end.
///
/// # Errors
/// [`ProcessError::Failed`], with what it says about that.
pub fn say(command: &mut Command) -> Outcome<String> {
    let output = command.stdin(Stdio::null()).output()?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim_end().to_owned();
    if output.status.success() {
        return Ok(text(&output.stdout));
    }
    let said = format!("{} {}", text(&output.stdout), text(&output.stderr));
    Err(ProcessError::Failed { command: format!("{command:?}"), said }.into())
}

/// The same on a host, or in another namespace.
///
/// # Errors
/// [`ProcessError::Failed`], with what it says about that.
pub fn on(host: &Container, command: &mut Command) -> Outcome<String> {
    // A process is born into the namespace of the thread that makes it.
    let said = host.run(|| Ok::<_, LabError>(say(command)));
    said?
}

/// Waits for something to become true, as long as engines may take.
///
/// # Errors
/// [`LabError::Late`].
pub fn eventually(what: &str, is_so: impl FnMut() -> bool) -> Outcome<()> {
    Ok(netlab::within(PATIENCE, what, is_so)?)
}

/// One of this workspace's programs, which lie beside the test programs' directory. `cargo test --workspace` makes them.
///
/// # Errors
/// That it is not there.
pub fn ours(name: &str) -> io::Result<PathBuf> {
    let tests = std::env::current_exe()?;
    let found = tests.ancestors().skip(1).map(|directory| directory.join(name));
    let mut found = found.take(2).filter(|path| path.is_file());
    found.next().ok_or_else(|| {
        let why =
            format!("{name} is not built; run `cargo build -p vswitch -p docker -p cni` first");
        io::Error::new(io::ErrorKind::NotFound, why)
    })
}
