//! Measures the switch, next to its peers, in one run.
//!
//! * `pipeline`: the pipeline alone, from endless 64-byte frames to nowhere, in TSC cycles per frame;
//!   with bridging, rules, routing and address translation.
//! * `compare`: real kernel traffic between two containers by every kind of port and by a Linux bridge,
//!   interleaved; medians and ratios.
//! * `control`: how long a change of the configuration takes with much configured.
//! * `wake`: how long a frame takes from one container to another while the worker sleeps, and while it is awake.

mod compare;
mod control;
mod features;
mod pipeline;
mod wake;
mod wire;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};
use compare::Setting;
use netlab::Cores;

#[derive(Parser)]
#[command(
    about,
    after_help = "\
Examples:
  cargo run --release -p benches -- pipeline
  cargo run --release -p benches -- wake
  cargo run --release -p benches -- control
  cargo run --release -p benches -- compare --seconds 1 --rounds 5
  cargo run --release -p benches -- compare --core 0"
)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// The pipeline alone, in cycles per frame
    Pipeline,
    /// What a frame waits for a sleeping worker, by percentiles
    Wake {
        /// Frames of each measurement
        #[arg(long, default_value_t = 2000, value_parser = clap::value_parser!(u32).range(100..=1_000_000))]
        frames: u32,
    },
    /// What one change of the configuration costs with much configured
    Control {
        /// Changes of each kind
        #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=10_000))]
        rounds: u32,
        /// Where the state is kept: the disk counts
        #[arg(long, default_value = "/var/tmp", value_name = "DIR")]
        state: PathBuf,
    },
    /// Real traffic, next to a Linux bridge
    Compare {
        /// Seconds of each measurement
        #[arg(long, default_value_t = 1.0, value_parser = seconds)]
        seconds: f64,
        /// Measurements of each figure, of which the median is shown
        #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
        rounds: u32,
        /// Workers never sleep
        #[arg(long)]
        busy: bool,
        /// One core for everything, the switch included [default: all cores]
        #[arg(long)]
        core: Option<usize>,
        /// Core of the sending end [default: the scheduler's choice]
        #[arg(long, conflicts_with = "core")]
        sender: Option<usize>,
        /// Core of the receiving end [default: the scheduler's choice]
        #[arg(long, conflicts_with = "core")]
        receiver: Option<usize>,
    },
}

fn seconds(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(seconds) if (0.05..=60.0).contains(&seconds) => Ok(seconds),
        _ => Err("use 0.05 to 60 seconds".to_owned()),
    }
}

fn main() -> ExitCode {
    let result = match Arguments::parse().command {
        Command::Pipeline => pipeline::run().and_then(|()| features::run()),
        Command::Wake { frames } => wake::run(frames),
        Command::Control { rounds, state } => control::run(&state, rounds),
        Command::Compare { seconds, rounds, busy, core, sender, receiver } => {
            // Threads inherit it, and the switch takes its cores from those that it may use.
            netlab::cpu::pin(core);
            let cores = Cores { sender, receiver };
            let setting = Setting { duration: Duration::from_secs_f64(seconds), cores };
            compare::run(setting, rounds, busy)
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("benches: {error}");
            ExitCode::FAILURE
        }
    }
}
