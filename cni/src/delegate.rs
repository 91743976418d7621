//! [`Delegate`]: another plugin that gives the addresses, such as `host-local`.
//!
//! It is run as the runtime would run it: found by `CNI_PATH`, with our environment and what we were given on
//! standard input (SPEC.md, section 4, "Plugin delegation").

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::{Map, Value};

use crate::{CniError, Outcome};

/// A plugin that gives addresses.
#[derive(Debug)]
pub struct Delegate<'a> {
    name: &'a str,
    program: PathBuf,
    input: &'a [u8],
}

impl<'a> Delegate<'a> {
    /// Finds the plugin of this name in the first directory that has it.
    ///
    /// # Errors
    /// [`CniError::Delegate`], when none has.
    pub fn find(name: &'a str, path: &[PathBuf], input: &'a [u8]) -> Result<Self, CniError> {
        let mut programs = path.iter().map(|directory| directory.join(name));
        match programs.find(|program| program.is_file()) {
            Some(program) => Ok(Self { name, program, input }),
            None => {
                let directories: Vec<_> =
                    path.iter().map(|path| path.display().to_string()).collect();
                let why = format!("no directory of CNI_PATH has it ({})", directories.join(", "));
                Err(CniError::Delegate { plugin: name.to_owned(), why })
            }
        }
    }

    /// Asks it for addresses. If it fails it is told to release what it may have given.
    ///
    /// # Errors
    /// [`CniError::Delegate`] or [`CniError::Delegated`].
    pub fn add(&self) -> Result<Outcome, CniError> {
        let outcome = self.run("ADD").and_then(|said| Outcome::read(self.object(&said)?));
        if outcome.is_err() {
            self.undo();
        }
        outcome
    }

    /// Takes back what ADD gave, after a failure of ours: that is reported, and not this.
    pub fn undo(&self) {
        let _ = self.run("DEL");
    }

    /// Passes a command on that has no result.
    ///
    /// # Errors
    /// [`CniError::Delegate`] or [`CniError::Delegated`].
    pub fn pass(&self, command: &str) -> Result<(), CniError> {
        self.run(command).map(drop)
    }

    fn run(&self, command: &str) -> Result<Vec<u8>, CniError> {
        let output = run(&self.program, command, self.input)
            .map_err(|error| self.not_run(error.to_string()))?;
        if output.status.success() { Ok(output.stdout) } else { Err(self.refusal(&output)) }
    }

    fn object(&self, said: &[u8]) -> Result<Map<String, Value>, CniError> {
        serde_json::from_slice(said)
            .map_err(|error| self.not_run(format!("its result cannot be decoded: {error}")))
    }

    fn not_run(&self, why: String) -> CniError {
        CniError::Delegate { plugin: self.name.to_owned(), why }
    }

    /// What it says about its failure, or that it ended without saying anything.
    fn refusal(&self, output: &Output) -> CniError {
        let said = self.object(&output.stdout).unwrap_or_default();
        let text =
            |key: &str| said.get(key).and_then(Value::as_str).filter(|text| !text.is_empty());
        let code = said.get("code").and_then(Value::as_u64).and_then(|code| code.try_into().ok());
        let (Some(code), Some(message)) = (code, text("msg")) else {
            return self.not_run(format!("it failed ({})", output.status));
        };
        let details = text("details").map(|details| format!(" ({details})"));
        let message = format!("{message}{}", details.unwrap_or_default());
        CniError::Delegated { plugin: self.name.to_owned(), code, message }
    }
}

/// Runs a plugin; what it logs goes to where our log goes.
fn run(program: &Path, command: &str, input: &[u8]) -> io::Result<Output> {
    let mut child = Command::new(program)
        .env("CNI_COMMAND", command)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let stdin = child.stdin.take();
    std::thread::scope(|scope| {
        // A plugin that does not care for its input, and closes it, is no failure of ours.
        scope.spawn(move || stdin.map(|mut stdin| stdin.write_all(input)));
        child.wait_with_output()
    })
}
