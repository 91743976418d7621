//! Programs of others: finding them, running them on a host of a rig, ending them.
//!
//! A program is born into the namespace of its host and has a directory of its own under `/run`, which is private to
//! this process. It is ended by its own process number when its [`Program`] is dropped.

use std::error::Error;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use netlab::{Container, LabError};

/// How long a program may take to be ready.
const PATIENCE: Duration = Duration::from_secs(20);
/// Where Debian keeps what is not for everybody's `PATH`.
const MORE_PLACES: [&str; 3] = ["/usr/sbin", "/sbin", "/usr/lib/openvswitch-switch-dpdk"];

/// Where a program is, if it is installed.
pub(super) fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let places = std::env::split_paths(&path).chain(MORE_PLACES.map(PathBuf::from));
    places.map(|place| place.join(program)).find(|file| file.is_file())
}

/// The first line of what a program says of its version.
pub(super) fn version(program: &str) -> Option<String> {
    let output =
        Command::new(find(program)?).arg("--version").stdin(Stdio::null()).output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let first = text.lines().map(str::trim).find(|line| !line.is_empty())?;
    // Some explain their usage instead.
    first.contains(|letter: char| letter.is_ascii_digit()).then(|| first.to_owned())
}

fn command(program: &str) -> Result<Command, Box<dyn Error>> {
    Ok(Command::new(find(program).ok_or_else(|| format!("{program} is not installed"))?))
}

/// Runs a program on a host until it ends, with this input.
pub(super) fn run_in(
    host: &Container,
    program: &str,
    arguments: &[&str],
    input: &str,
) -> Result<String, Box<dyn Error>> {
    let mut command = command(program)?;
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let output: Result<Output, LabError> = host.run(|| {
        let failed = |source| LabError::Socket { operation: "run a program", source };
        let mut child = command.spawn().map_err(failed)?;
        if let Some(mut stdin) = child.stdin.take() {
            stdin.write_all(input.as_bytes()).map_err(failed)?;
        }
        child.wait_with_output().map_err(failed)
    });
    let output = output?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let why = String::from_utf8_lossy(&output.stderr).into_owned();
    Err(format!("{program} {} ended with {}: {}", arguments.join(" "), output.status, why.trim())
        .into())
}

/// A directory that nobody else has.
pub(super) fn fresh_directory(name: &str) -> Result<PathBuf, Box<dyn Error>> {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let directory = PathBuf::from(format!("/run/bench-{name}-{number}"));
    std::fs::create_dir_all(&directory)?;
    Ok(directory)
}

/// A program that runs. Dropping it ends it.
#[derive(Debug)]
pub(super) struct Program {
    name: String,
    log: PathBuf,
    child: Child,
}

impl Program {
    /// Starts a program on a host; what it says goes to a file in `directory`. Its input stays open.
    pub(super) fn start(
        host: &Container,
        directory: &Path,
        program: &str,
        arguments: &[&str],
        environment: &[(&str, &str)],
    ) -> Result<Self, Box<dyn Error>> {
        let log = directory.join(format!("{program}.out"));
        let output = std::fs::File::create(&log)?;
        let mut command = command(program)?;
        command.args(arguments).envs(environment.iter().copied()).current_dir(directory);
        command.stdin(Stdio::piped()).stdout(output.try_clone()?).stderr(output);
        let child: Result<Child, LabError> = host.run(|| {
            command
                .spawn()
                .map_err(|source| LabError::Socket { operation: "start a program", source })
        });
        Ok(Self { name: program.to_owned(), log, child: child? })
    }

    /// Its process number.
    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits until something is so.
    pub(super) fn await_that(
        &mut self,
        mut is_so: impl FnMut() -> bool,
    ) -> Result<(), Box<dyn Error>> {
        let begun = Instant::now();
        while !is_so() {
            if let Some(status) = self.child.try_wait()? {
                return Err(
                    format!("{} ended with {status}: {}", self.name, self.last_words()).into()
                );
            }
            if begun.elapsed() > PATIENCE {
                return Err(format!("{} is not ready: {}", self.name, self.last_words()).into());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    fn last_words(&self) -> String {
        let said = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<_> = said.lines().rev().take(3).collect();
        lines.into_iter().rev().collect::<Vec<_>>().join("; ")
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
