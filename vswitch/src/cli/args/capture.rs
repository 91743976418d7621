//! What to capture, as typed.

use std::num::{NonZeroU32, NonZeroU64};
use std::path::PathBuf;

use clap::Args;
use ctl::PortName;
use ctl::flow::Match;

/// Frames to capture.
#[derive(Debug, Args)]
pub struct CaptureOptions {
    /// The ports and tunnels; all if none is named
    pub ports: Vec<PortName>,
    /// Only frames that match this, written as for `flow add`, such as tcp,dport=80. It means them as they are
    /// where they are captured, before or after their translation
    #[arg(long, value_name = "MATCH")]
    pub filter: Option<Match>,
    /// Frames that are lost, with the reason as comment, instead of those that come in and go out
    #[arg(long)]
    pub drops: bool,
    /// End after so many frames
    #[arg(short = 'c', long, value_name = "COUNT")]
    pub count: Option<NonZeroU64>,
    /// Keep so many bytes of each frame
    #[arg(short = 's', long, value_name = "BYTES")]
    pub snaplen: Option<NonZeroU32>,
    /// The file to write, in pcapng; - for standard output
    #[arg(short = 'w', long = "write", value_name = "FILE")]
    pub file: PathBuf,
}
