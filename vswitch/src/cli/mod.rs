//! `vswitchctl`: what it understands (`args`, `aliases`), what it asks for (`requests`), what it shows
//! (`show`, `table`), and what comes piece by piece (`feed`). `examples` puts examples into every help.

mod aliases;
mod args;
mod examples;
mod feed;
mod requests;
mod show;
pub(crate) mod table;
#[cfg(test)]
mod tests;

use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;

use clap::FromArgMatches;
use ctl::{Client, ClientError, ErrorCode};
use serde_json::Value;

use args::TraceOptions;
pub use args::{Arguments, Color, Command, DemoOptions};

/// Runs `vswitchctl` with the process's arguments.
pub fn main() -> ExitCode {
    let words = std::env::args_os().collect();
    let matches = examples::illustrated().get_matches_from(aliases::translate(words));
    let arguments = Arguments::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    match execute(&arguments) {
        // Whoever reads our output and has had enough is content.
        Err(Failure::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => {
            ExitCode::SUCCESS
        }
        Err(failure) => {
            // There is nobody to tell that standard error is closed.
            let _ = writeln!(io::stderr(), "vswitchctl: {}", failure.printable());
            ExitCode::from(failure.exit_code())
        }
        Ok(()) => ExitCode::SUCCESS,
    }
}

/// Why a command did not succeed.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error(transparent)]
    Request(#[from] requests::NoRequest),
    #[error(transparent)]
    Batch(#[from] requests::Refused),
    #[error(transparent)]
    File(#[from] feed::NoFile),
    #[error("demo: {0}")]
    Demo(#[from] crate::demo::DemoError),
    #[error("cannot write the answer: {0}")]
    Output(#[from] io::Error),
}

impl Failure {
    fn exit_code(&self) -> u8 {
        match self {
            Self::Client(error) => error.exit_code(),
            Self::Batch(refused) => refused.code.exit_code(),
            Self::Request(_) | Self::File(feed::NoFile::Terminal) => ErrorCode::Invalid.exit_code(),
            Self::File(_) | Self::Demo(_) | Self::Output(_) => 1,
        }
    }

    /// What is shown of it. Only what this program itself says has lines.
    fn printable(&self) -> String {
        let text = self.to_string();
        match self {
            Self::Request(_) => text.lines().map(table::printable).collect::<Vec<_>>().join("\n"),
            _ => table::printable(&text),
        }
    }
}

fn execute(arguments: &Arguments) -> Result<(), Failure> {
    let text = match &arguments.command {
        Command::Demo(options) => return Ok(crate::demo::run(options, arguments.json)?),
        Command::Completions { shell } => completions(*shell),
        command => ask(arguments, command)?,
    };
    let mut out = io::stdout().lock();
    out.write_all(&text)?;
    Ok(out.flush()?)
}

/// Completions, whole before the first byte is written: their generator panics when it cannot write.
fn completions(shell: clap_complete::Shell) -> Vec<u8> {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut examples::illustrated(), "vswitchctl", &mut text);
    text
}

/// Asks the daemon, and puts its answer into words.
fn ask(arguments: &Arguments, command: &Command) -> Result<Vec<u8>, Failure> {
    let (request, lines) = match command {
        Command::Batch { file } => {
            let script = requests::Script::read(file)?;
            (script.request, Some(script.lines))
        }
        command => (requests::of(command)?, None),
    };
    let mut client = Client::connect(&arguments.socket)?;
    let no_color = std::env::var_os("NO_COLOR");
    let color = arguments.color.applies(io::stdout().is_terminal(), no_color.as_deref());
    let style = table::Style { color };
    match command {
        Command::Capture(options) => {
            feed::capture(&mut client, request, &options.file)?;
            return Ok(Vec::new());
        }
        Command::Trace(TraceOptions { live: Some(_), .. }) => {
            feed::follow(&mut client, request, (arguments.json, style))?;
            return Ok(Vec::new());
        }
        _ => {}
    }
    let answer = client.call(request).map_err(|error| match (error, lines) {
        (ClientError::Refused(error), Some(lines)) => Failure::Batch(lines.refused(&error)),
        (error, _) => Failure::Client(error),
    })?;
    let answer = show::narrowed(command, answer);
    for note in show::notes(&answer) {
        let _ = writeln!(io::stderr(), "vswitchctl: note: {note}");
    }
    if arguments.json {
        return Ok(format!("{}\n", pretty(&answer)).into_bytes());
    }
    Ok(show::text(command, answer, style)?.into_bytes())
}

fn pretty(value: &Value) -> String {
    // Control characters are escaped in JSON; the alternate form is indented.
    format!("{value:#}")
}
