//! What comes piece by piece: captures into files, real packets as they are followed. An interrupt ends it
//! in order: the daemon is told, and what it owes is still taken.

use std::fs::File;
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use ctl::response::{CaptureInfo, CapturePiece, FollowInfo, TraceInfo};
use ctl::{Client, ClientError, HangUp, Request};
use serde::de::DeserializeOwned;
use serde_json::Value;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use super::show;
use super::table::Style;
use super::{Failure, pretty};

/// Why a capture has nowhere to go.
#[derive(Debug, thiserror::Error)]
pub enum NoFile {
    /// Standard output is a terminal.
    #[error(
        "a capture is no text for a terminal; write it to a file with -w FILE, or into a pipe: \
         vswitchctl capture -w - | wireshark -k -i -"
    )]
    Terminal,
    /// The file cannot be made or written.
    #[error("cannot write {path}: {source}", path = .path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The kernel's error.
        source: io::Error,
    },
}

/// Writes what is captured, and says at the end on standard error how much that was.
pub(super) fn capture(client: &mut Client, request: Request, path: &Path) -> Result<(), Failure> {
    let to_stdout = path == Path::new("-");
    if to_stdout && io::stdout().is_terminal() {
        return Err(NoFile::Terminal.into());
    }
    end_by_signal(client.hang_up()?)?;
    let mut file: Option<Box<dyn Write>> = None;
    let failed = |source| NoFile::File { path: path.to_owned(), source };
    let answer = client.stream(request, |piece| -> Result<(), Failure> {
        let bytes = blocks(piece)?;
        let out = match &mut file {
            Some(out) => out,
            // Only now is it certain that there is something to write.
            None if to_stdout => file.insert(Box::new(io::stdout().lock())),
            None => file.insert(Box::new(File::create(path).map_err(failed)?)),
        };
        match out.write_all(&bytes).and_then(|()| out.flush()) {
            Err(error) if to_stdout => Err(error.into()),
            result => Ok(result.map_err(failed)?),
        }
    })?;
    let CaptureInfo { frames, missed } = read(answer)?;
    let _ = write!(io::stderr(), "{}", show::captured(frames, missed));
    Ok(())
}

/// Shows packets that are followed as they come.
pub(super) fn follow(
    client: &mut Client,
    request: Request,
    (json, style): (bool, Style),
) -> Result<(), Failure> {
    end_by_signal(client.hang_up()?)?;
    let mut out = io::stdout().lock();
    let answer = client.stream(request, |event| -> Result<(), Failure> {
        if json {
            writeln!(out, "{}", pretty(&event))?;
        } else {
            let way: TraceInfo = read(event)?;
            writeln!(out, "{}", show::followed(&way, style))?;
        }
        Ok(out.flush()?)
    })?;
    let FollowInfo { followed, missed } = read(answer)?;
    let _ = write!(io::stderr(), "{}", show::follow_ended(followed, missed));
    Ok(())
}

/// Whole blocks of a file.
fn blocks(piece: Value) -> Result<Vec<u8>, ClientError> {
    let CapturePiece { pcapng } = read(piece)?;
    BASE64_STANDARD.decode(pcapng).map_err(|error| ClientError::Answer(error.to_string()))
}

fn read<T: DeserializeOwned>(value: Value) -> Result<T, ClientError> {
    serde_json::from_value(value).map_err(|error| ClientError::Answer(error.to_string()))
}

/// Lets the first interrupt end it in order, and the second at once.
fn end_by_signal(hang_up: HangUp) -> Result<(), Failure> {
    let mut signals = Signals::new([SIGINT, SIGTERM])?;
    std::thread::spawn(move || {
        for (count, _) in signals.forever().enumerate() {
            if count > 0 {
                std::process::exit(1);
            }
            hang_up.hang_up();
        }
    });
    Ok(())
}
