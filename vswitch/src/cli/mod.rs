//! `vswitchctl`: what it understands (`args`), what it asks for (`requests`), what it shows (`show`).

mod args;
mod requests;
mod show;
pub(crate) mod table;

use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;

use clap::{CommandFactory, Parser};
use ctl::{Client, ClientError};
use serde_json::Value;

pub use args::{Arguments, Command, DemoOptions};

/// Runs `vswitchctl` with the process's arguments.
pub fn main() -> ExitCode {
    let words = std::env::args().collect();
    let arguments = Arguments::parse_from(args::translate_aliases(words));
    match execute(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure::BrokenPipe) => ExitCode::SUCCESS,
        Err(Failure::Told(code)) => code,
        Err(Failure::Client(error)) => {
            eprintln!("vswitchctl: {}", table::printable(&error.to_string()));
            ExitCode::from(error.exit_code())
        }
    }
}

/// Why a command did not succeed.
enum Failure {
    Client(ClientError),
    /// Whoever read our output had enough.
    BrokenPipe,
    /// What went wrong was told already.
    Told(ExitCode),
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        Self::Client(error)
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            return Self::BrokenPipe;
        }
        eprintln!("vswitchctl: cannot write: {error}");
        Self::Told(ExitCode::FAILURE)
    }
}

fn execute(arguments: &Arguments) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    let request = match &arguments.command {
        Command::Completions { shell } => {
            clap_complete::generate(*shell, &mut Arguments::command(), "vswitchctl", &mut out);
            return Ok(());
        }
        Command::Demo(options) => {
            drop(out);
            return match crate::demo::run(options, arguments.json) {
                Ok(()) => Ok(()),
                Err(error) => {
                    eprintln!("vswitchctl: demo: {error}");
                    Err(Failure::Told(ExitCode::FAILURE))
                }
            };
        }
        command => requests::of(command).map_err(ClientError::Refused)?,
    };
    let answer = Client::connect(&arguments.socket)?.call(request)?;
    if arguments.json {
        writeln!(out, "{}", pretty(&answer))?;
    } else {
        let style = table::Style { color: arguments.color.applies(io::stdout().is_terminal()) };
        write!(out, "{}", show::text(&arguments.command, answer, style)?)?;
    }
    Ok(out.flush()?)
}

fn pretty(value: &Value) -> String {
    serde_json::to_string_pretty(value).unwrap_or_default()
}
