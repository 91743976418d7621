//! Measures the switch, next to its peers, in one run.
//!
//! * `pipeline`: the pipeline alone, from endless 64-byte frames to nowhere, in TSC cycles per frame;
//!   with bridging, rules, routing and address translation.
//! * `compare`: real kernel traffic between two containers by every kind of port and by other switches, routers and
//!   tunnels, interleaved; medians, spread and ratios.
//! * `wake`: how long a frame takes from one container to another while the worker sleeps, and while it is awake.
//!
//! A run can be written as JSON ([`record`]), compared with another one ([`diff`]), and drawn ([`html`]).

mod compare;
mod diff;
mod features;
mod html;
mod machine;
mod measure;
mod pipeline;
mod record;
mod statistics;
mod subject;
mod summary;
mod wake;

use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use compare::Campaign;
use measure::Setting;
use netlab::Cores;
use record::Record;

#[derive(Parser)]
#[command(
    about,
    after_help = "\
Examples:
  cargo run --release -p benches -- pipeline
  cargo run --release -p benches -- wake
  cargo run --release -p benches -- list
  cargo run --release -p benches -- compare --only bridge,tap,gso --json run.json
  cargo run --release -p benches -- compare --only nft-nat,nat --measure sessions,tcp
  cargo run --release -p benches -- report run.json -o run.html
  cargo run --release -p benches -- diff before.json after.json"
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
    /// All subjects and measures of `compare`
    List,
    /// Real traffic, next to other switches
    Compare(Compare),
    /// Two runs, figure by figure
    Diff {
        /// The earlier run
        before: PathBuf,
        /// The later run
        after: PathBuf,
    },
    /// A run as a page with drawings
    Report {
        /// The run
        run: PathBuf,
        /// The HTML file to write
        #[arg(short, long)]
        output: PathBuf,
    },
}

#[derive(Args)]
struct Compare {
    /// Subjects by name, or `all` [default: those marked in `list`]
    #[arg(long, value_name = "SUBJECT", value_delimiter = ',')]
    only: Vec<String>,
    /// Measures by name, or `all` [default: those marked in `list`]
    #[arg(long, value_name = "MEASURE", value_delimiter = ',')]
    measure: Vec<String>,
    /// The subject that the others are compared with [default: each family's own]
    #[arg(long, value_name = "SUBJECT")]
    baseline: Option<String>,
    /// A smoke test of seconds, whose figures mean nothing
    #[arg(long, conflicts_with_all = ["seconds", "rounds"])]
    quick: bool,
    /// Seconds of each measurement
    #[arg(long, default_value_t = 1.0, value_parser = seconds)]
    seconds: f64,
    /// Measurements of each figure, of which median and spread are shown
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..=100))]
    rounds: u16,
    /// Write the run to this file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    #[command(flatten)]
    placement: Placement,
}

#[derive(Args)]
struct Placement {
    /// One core for everything, the switch included [default: all cores]
    #[arg(long)]
    core: Option<usize>,
    /// Core of the sending end [default: the scheduler's choice]
    #[arg(long, conflicts_with = "core")]
    sender: Option<usize>,
    /// Core of the receiving end [default: the scheduler's choice]
    #[arg(long, conflicts_with = "core")]
    receiver: Option<usize>,
}

impl Placement {
    /// Puts this process where it is wanted, and says where the ends run.
    fn take(&self) -> Cores {
        // Threads inherit it, and the switch takes its cores from those that it may use.
        netlab::cpu::pin(self.core);
        Cores { sender: self.sender, receiver: self.receiver }
    }
}

impl Compare {
    fn run(self) -> Result<(), Box<dyn Error>> {
        let (duration, cores) = (Duration::from_secs_f64(self.seconds), self.placement.take());
        let campaign = Campaign {
            only: self.only,
            measures: self.measure,
            baseline: self.baseline,
            setting: Setting { duration, cores },
            rounds: usize::from(self.rounds),
            json: self.json,
        };
        compare::run(&if self.quick { campaign.quick() } else { campaign })
    }
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
        Command::List => {
            print!("{}", compare::list());
            Ok(())
        }
        Command::Compare(compare) => compare.run(),
        Command::Diff { before, after } => difference(&before, &after),
        Command::Report { run, output } => report(&run, &output),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("benches: {error}");
            ExitCode::FAILURE
        }
    }
}

fn difference(before: &std::path::Path, after: &std::path::Path) -> Result<(), Box<dyn Error>> {
    print!("{}", diff::text(&Record::read(before)?, &Record::read(after)?));
    Ok(())
}

fn report(run: &std::path::Path, output: &std::path::Path) -> Result<(), Box<dyn Error>> {
    std::fs::write(output, html::page(&Record::read(run)?))
        .map_err(|error| format!("cannot write the page {}: {error}", output.display()).into())
}
