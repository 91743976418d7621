//! Measures the switch, next to its peers, in one run.
//!
//! * `stages`, `pipeline`: every stage and table alone, and the whole pipeline without ports, in TSC cycles and in
//!   instructions; `micro`: both ([`micro`]).
//! * `null-ports`: the pipeline between null ports, next to OVS-DPDK between such ports of its own ([`null_ports`]).
//! * `compare`: real kernel traffic between two containers by every kind of port and by other switches, routers and
//!   tunnels, interleaved; medians, spread and ratios.
//! * `control`: how long a change of the configuration takes with much configured.
//! * `wake`: how long a frame takes from one container to another while the worker sleeps, and while it is awake.
//! * `idle`: what switches with many ports take when nothing is sent.
//! * `rfc2544`, `rfc2889`: the tests of these documents (and of RFC 8204), of any subject.
//! * `full`: everything that a report is made of.
//! * `soak`, `scale`: this switch under pressure for long, and with many ports, networks, stations and sessions.
//!
//! A run can be written as JSON ([`record`]), compared with another one ([`diff`]), and drawn ([`html`]).

mod campaign;
mod compare;
mod control;
mod diff;
mod full;
mod html;
mod idle;
mod machine;
mod measure;
mod micro;
mod null_ports;
mod progress;
mod record;
mod rfc2544;
mod rfc2889;
mod scale;
mod search;
mod soak;
mod stations;
mod statistics;
mod subject;
mod summary;
mod wake;

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use campaign::{Plan, chosen_subjects};
use clap::{Args, Parser, Subcommand};
use measure::Setting;
use netlab::Cores;
use record::Record;

#[derive(Parser)]
#[command(
    about,
    after_help = "\
Examples:
  cargo run --release -p benches -- stages --only stations,sessions --instructions
  cargo run --release -p benches -- pipeline
  cargo run --release -p benches -- null-ports --only bridged-1000 --rounds 9
  cargo run --release -p benches -- wake
  cargo run --release -p benches -- control
  cargo run --release -p benches -- idle --only tap,gso,ovs-packet
  cargo run --release -p benches -- list
  cargo run --release -p benches -- compare --only bridge,tap,gso --json run.json
  cargo run --release -p benches -- compare --only nft-nat,nat --measure sessions,tcp
  cargo run --release -p benches -- rfc2544 --only bridge,tap --frame-bytes 64,1518
  cargo run --release -p benches -- soak --minutes 60
  cargo run --release -p benches -- full -o report.html --json report.json
  cargo run --release -p benches -- report run.json -o run.html
  cargo run --release -p benches -- diff before.json after.json"
)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Every stage and every table alone: cycles per frame, or per entry
    Stages(Micro),
    /// The whole pipeline without ports: cycles per frame
    Pipeline(Micro),
    /// `stages` and `pipeline`: what `cargo bench` runs
    Micro(Micro),
    /// The pipeline between null ports, next to OVS-DPDK from a capture to a null port: packets a second
    NullPorts(null_ports::Options),
    /// Does one case of `stages` or `pipeline` where callgrind counts
    #[command(name = micro::COUNT_ALONE, hide = true)]
    CountAlone { case: String },
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
    /// Processor time and wake-ups of switches with many ports, when nothing is sent
    Idle(Idle),
    /// All subjects and measures of `compare`
    List,
    /// Real traffic, next to other switches
    Compare(Compare),
    /// The tests of RFC 2544: throughput, latency, frame loss, back-to-back frames
    Rfc2544 {
        /// Lengths of the frames, check sequence included [default: those of section 9.1]
        #[arg(long, value_name = "BYTES", value_delimiter = ',',
              value_parser = clap::value_parser!(u16).range(64..))]
        frame_bytes: Vec<u16>,
        /// Percent of the frames that may be lost in the throughput test
        #[arg(long, default_value_t = 0.0, value_parser = percent)]
        loss: f64,
        /// How precisely the throughput is found, in percent of the highest rate
        #[arg(long, default_value_t = 2.0, value_parser = percent)]
        resolution: f64,
        #[command(flatten)]
        how: How,
    },
    /// The tests of RFC 2889 for switches, and the many flows of RFC 8204
    Rfc2889 {
        /// Stations to learn in the test of the address caching capacity
        #[arg(long, default_value_t = 16_384, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
        stations: u32,
        #[command(flatten)]
        how: How,
    },
    /// Mixed traffic for long; fails if memory or descriptors grow, or a frame is not accounted for
    Soak {
        /// For how long; at least ten cycles are made
        #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u16).range(0..=10_000))]
        minutes: u16,
        #[command(flatten)]
        how: How,
    },
    /// Many ports, networks, stations and sessions: set-up, memory, cost per packet
    Scale {
        /// Only these: ports, veths, networks, stations, sessions [default: all]
        #[arg(long, value_name = "DIMENSION", value_delimiter = ',')]
        of: Vec<String>,
        /// A tenth of the full size
        #[arg(long)]
        tenth: bool,
        #[command(flatten)]
        how: How,
    },
    /// The whole report, in one go: all that is installed, side by side, and this switch under pressure (20 to 30 minutes, most
    /// measurements a fifth of a second, five rounds)
    Full {
        /// The HTML file to write
        #[arg(short, long)]
        output: PathBuf,
        /// Write the run to this file
        #[arg(long, value_name = "FILE")]
        json: Option<PathBuf>,
        /// A smoke test of all parts, whose figures mean nothing
        #[arg(long)]
        quick: bool,
    },
    /// Two runs, figure by figure: ratios to the baseline where there is one, and what is better or worse than chance makes
    Diff {
        /// The earlier run
        before: PathBuf,
        /// The later run
        after: PathBuf,
    },
    /// Runs as a page with drawings
    Report {
        /// The runs, of one machine
        #[arg(required = true)]
        runs: Vec<PathBuf>,
        /// The HTML file to write
        #[arg(short, long)]
        output: PathBuf,
    },
}

#[derive(Args)]
struct Micro {
    /// Only cases with one of these in their names, as `flows-1000` or `sessions: found`
    #[arg(long, value_name = "PART", value_delimiter = ',')]
    only: Vec<String>,
    /// Count instructions too, by valgrind's callgrind: seconds for each case, minutes for one of a million flows
    #[arg(long)]
    instructions: bool,
    /// Seconds of each case
    #[arg(long, default_value_t = 0.3, value_parser = seconds)]
    seconds: f64,
    /// Write the run to this file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

#[derive(Args)]
struct Idle {
    /// Ports of each switch
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u16).range(2..=1000))]
    ports: u16,
    /// Subjects by name, or `all` [default: tap, gso, ovs-packet, ovs-tap]
    #[arg(long, value_name = "SUBJECT", value_delimiter = ',')]
    only: Vec<String>,
    /// Seconds of each measurement
    #[arg(long, default_value_t = 30.0, value_parser = seconds)]
    seconds: f64,
    /// Measurements of each figure
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=100))]
    rounds: u16,
    /// Write the run to this file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

#[derive(Args)]
struct Compare {
    /// Measures by name, or `all` [default: those marked in `list`]
    #[arg(long, value_name = "MEASURE", value_delimiter = ',')]
    measure: Vec<String>,
    /// A smoke test of seconds, whose figures mean nothing
    #[arg(long, conflicts_with_all = ["seconds", "rounds"])]
    quick: bool,
    #[command(flatten)]
    how: How,
}

/// What all campaigns have in common.
#[derive(Args)]
struct How {
    /// Subjects by name, or `all` [default: those marked in `list`]
    #[arg(long, value_name = "SUBJECT", value_delimiter = ',')]
    only: Vec<String>,
    /// The subject that the others are compared with [default: each family's own]
    #[arg(long, value_name = "SUBJECT")]
    baseline: Option<String>,
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

impl How {
    fn setting(&self) -> Setting {
        let (duration, cores) = (Duration::from_secs_f64(self.seconds), self.placement.take());
        Setting { duration, cores }
    }

    fn plan(self) -> Result<Plan, Box<dyn Error>> {
        let (setting, subjects) = (self.setting(), chosen_subjects(&self.only)?);
        let Self { baseline, json, rounds, .. } = self;
        Ok(Plan { subjects, baseline, setting, rounds: usize::from(rounds), json })
    }
}

impl Micro {
    fn run(self, kinds: &[micro::Kind]) -> Result<(), Box<dyn Error>> {
        let duration = Duration::from_secs_f64(self.seconds);
        let options = micro::Options { only: self.only, instructions: self.instructions, duration };
        keep(&micro::run(kinds, &options)?, self.json.as_deref())
    }
}

impl Idle {
    fn run(self) -> Result<(), Box<dyn Error>> {
        let duration = Duration::from_secs_f64(self.seconds);
        let plan = Plan {
            subjects: idle::chosen(&self.only)?,
            baseline: None,
            setting: Setting { duration, cores: Cores::default() },
            rounds: usize::from(self.rounds),
            json: self.json,
        };
        idle::run(&plan, self.ports)
    }
}

impl Compare {
    fn run(self) -> Result<(), Box<dyn Error>> {
        let plan = self.how.plan()?;
        if self.quick {
            compare::quick(plan, &self.measure)
        } else {
            compare::run(&plan, &self.measure).map(drop)
        }
    }
}

/// Prints a run, and writes it if that is wanted.
fn keep(record: &Record, json: Option<&Path>) -> Result<(), Box<dyn Error>> {
    print!("{}", summary::text(record));
    json.map_or(Ok(()), |file| record.write(file))
}

fn percent(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(percent) if (0.0..=50.0).contains(&percent) => Ok(percent),
        _ => Err("use 0 to 50 percent".to_owned()),
    }
}

fn seconds(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(seconds) if (0.05..=60.0).contains(&seconds) => Ok(seconds),
        _ => Err("use 0.05 to 60 seconds".to_owned()),
    }
}

fn main() -> ExitCode {
    // As the daemon does, which is measured in this process.
    vswitch::sys::map_large_pieces();
    let Arguments { command } = Arguments::parse();
    let checked = command.files().try_for_each(check_writable);
    match checked.and_then(|()| run(command)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("benches: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<(), Box<dyn Error>> {
    match command {
        Command::Stages(micro) => micro.run(&[micro::Kind::Stages]),
        Command::Pipeline(micro) => micro.run(&[micro::Kind::Pipeline]),
        Command::Micro(micro) => micro.run(&micro::Kind::ALL),
        Command::NullPorts(options) => {
            null_ports::run(&options).and_then(|record| keep(&record, options.json.as_deref()))
        }
        Command::Idle(idle) => idle.run(),
        Command::CountAlone { case } => micro::count_alone(&case).map(|items| println!("{items}")),
        Command::Wake { frames } => wake::run(frames),
        Command::Control { rounds, state } => control::run(&state, rounds),
        Command::List => {
            print!("{}", compare::list());
            Ok(())
        }
        Command::Compare(compare) => compare.run(),
        Command::Rfc2544 { frame_bytes, loss, resolution, how } => {
            let lengths =
                if frame_bytes.is_empty() { rfc2544::FRAME_BYTES.to_vec() } else { frame_bytes };
            let (loss, resolution) = (loss / 100.0, resolution / 100.0);
            let limits = rfc2544::Limits { frame_bytes: lengths, loss, resolution };
            how.plan().and_then(|plan| rfc2544::run(&plan, &limits))
        }
        Command::Rfc2889 { stations, how } => {
            how.plan().and_then(|plan| rfc2889::run(&plan, stations))
        }
        Command::Soak { minutes, how } => soak(minutes, &how),
        Command::Scale { of, tenth, how } => {
            let divisor = if tenth { 10 } else { 1 };
            scale::run(&of, divisor, how.setting())
                .and_then(|record| keep(&record, how.json.as_deref()))
        }
        Command::Diff { before, after } => difference(&before, &after),
        Command::Report { runs, output } => {
            full::merged(&runs).and_then(|record| draw(&record, &output))
        }
        Command::Full { output, json, quick } => full(&output, json.as_deref(), quick),
    }
}

impl Command {
    /// The files that it will write.
    fn files(&self) -> impl Iterator<Item = &Path> {
        let (page, json) = match self {
            Self::Stages(micro) | Self::Pipeline(micro) | Self::Micro(micro) => (None, &micro.json),
            Self::NullPorts(options) => (None, &options.json),
            Self::Idle(idle) => (None, &idle.json),
            Self::Compare(compare) => (None, &compare.how.json),
            Self::Rfc2544 { how, .. }
            | Self::Rfc2889 { how, .. }
            | Self::Soak { how, .. }
            | Self::Scale { how, .. } => (None, &how.json),
            Self::Full { output, json, .. } => (Some(output), json),
            Self::Report { output, .. } => (Some(output), &None),
            Self::CountAlone { .. }
            | Self::Wake { .. }
            | Self::Control { .. }
            | Self::List
            | Self::Diff { .. } => (None, &None),
        };
        page.into_iter().chain(json).map(PathBuf::as_path)
    }
}

/// Whoever has waited for a run shall not hear then that it cannot be written. Leaves nothing behind.
fn check_writable(file: &Path) -> Result<(), Box<dyn Error>> {
    let is_new = !file.exists();
    let opened = std::fs::OpenOptions::new().create(true).append(true).open(file);
    opened.map_err(|error| format!("cannot write {}: {error}", file.display()))?;
    if is_new { Ok(std::fs::remove_file(file)?) } else { Ok(()) }
}

fn soak(minutes: u16, how: &How) -> Result<(), Box<dyn Error>> {
    let names = if how.only.is_empty() { &["nat".to_owned()] } else { &how.only[..] };
    let subjects = chosen_subjects(names)?;
    let [subject] = subjects.as_slice() else { return Err("name one subject with --only".into()) };
    let time = Duration::from_secs(u64::from(minutes) * 60);
    let (record, grown) = soak::run(subject, time, how.setting())?;
    keep(&record, how.json.as_deref())?;
    grown.map_or(Ok(()), |what| Err(what.into()))
}

fn difference(before: &Path, after: &Path) -> Result<(), Box<dyn Error>> {
    print!("{}", diff::text(&Record::read(before)?, &Record::read(after)?));
    Ok(())
}

fn draw(record: &Record, output: &Path) -> Result<(), Box<dyn Error>> {
    std::fs::write(output, html::page(record))
        .map_err(|error| format!("cannot write the page {}: {error}", output.display()).into())
}

fn full(output: &Path, json: Option<&Path>, is_quick: bool) -> Result<(), Box<dyn Error>> {
    let record = full::run(is_quick)?;
    draw(&record, output)?;
    json.map_or(Ok(()), |file| record.write(file))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_cannot_be_written_is_told_before_anything_is_measured() {
        let directory = std::env::temp_dir().join(format!("benches-test-{}", std::process::id()));
        let file = directory.join("run.json");
        let error = check_writable(&file).unwrap_err().to_string();
        assert!(error.contains("run.json"), "{error}");
        std::fs::create_dir(&directory).unwrap();
        check_writable(&file).unwrap();
        assert!(!file.exists(), "nothing is left behind");
        std::fs::write(&file, "a run").unwrap();
        check_writable(&file).unwrap();
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "a run");
        std::fs::remove_dir_all(&directory).unwrap();
    }

    #[test]
    fn every_file_that_a_command_writes_is_known() {
        let files = |line: &str| {
            let Arguments { command } = Arguments::try_parse_from(line.split(' ')).unwrap();
            command.files().map(|file| file.display().to_string()).collect::<Vec<_>>()
        };
        for kind in [
            "idle",
            "micro",
            "stages",
            "pipeline",
            "null-ports",
            "compare",
            "rfc2544",
            "rfc2889",
            "soak",
            "scale",
        ] {
            assert_eq!(files(&format!("benches {kind} --json a")), ["a"], "{kind}");
        }
        assert_eq!(files("benches full -o page --json a"), ["page", "a"]);
        assert_eq!(files("benches report a b -o page"), ["page"]);
        assert!(files("benches diff a b").is_empty());
    }
}
