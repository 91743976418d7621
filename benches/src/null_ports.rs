//! The pipeline between null ports, next to OVS-DPDK between ports that have no device either ([`Replay`]): the same packets in the
//! same order, from memory to nowhere, by one thread on one core.
//!
//! In each round both have a turn with every load. OVS has it once by each of its [`SETTINGS`]; the best of them, by its median over the
//! rounds and for each load by itself, is what this switch is compared with.
//!
//! A packet rate is that of a second of the thread's processor time. Neither thread ever waits for anything, so on a core of its own this is
//! its packet rate; and who else wants the core is in no figure.

use std::error::Error;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use netlab::cpu;
use vswitch::sys::cycles;

use crate::micro::{Forwarder, Traffic, UPLINK};
use crate::progress::Progress;
use crate::record::{Figure, Record, SubjectNote};
use crate::subject::{Replay, worker_core};

/// What is forwarded.
struct Load {
    name: &'static str,
    about: &'static str,
    traffic: Traffic,
}

const fn load(
    name: &'static str,
    about: &'static str,
    (flows, is_masqueraded): (usize, bool),
) -> Load {
    Load { name, about, traffic: Traffic { flows, is_masqueraded } }
}

const LOADS: [Load; 4] = [
    load("bridged-1", "64-byte UDP of one flow, bridged by learned addresses", (1, false)),
    load("bridged-1000", "64-byte UDP of 1000 flows, bridged by learned addresses", (1000, false)),
    load("bridged-100000", "the same, of 100 000 flows", (100_000, false)),
    load(
        "masqueraded-1000",
        "64-byte UDP of 1000 sessions whose source address is translated (by this switch also routed)",
        (1000, true),
    ),
];

/// What OVS remembers flows by: each is the fastest of some load or machine.
struct Settings {
    name: &'static str,
    about: &'static str,
    config: [&'static str; 2],
}

const SETTINGS: [Settings; 5] = [
    Settings {
        name: "ovs-dpdk emc",
        about: "exact-match cache, into which one of a hundred misses is entered: the default",
        config: ["emc-insert-inv-prob=100", "smc-enable=false"],
    },
    Settings {
        name: "ovs-dpdk emc-1",
        about: "exact-match cache, into which every miss is entered",
        config: ["emc-insert-inv-prob=1", "smc-enable=false"],
    },
    Settings {
        name: "ovs-dpdk smc",
        about: "signature-match cache",
        config: ["emc-insert-inv-prob=0", "smc-enable=true"],
    },
    Settings {
        name: "ovs-dpdk emc+smc",
        about: "the default, with a signature-match cache behind it",
        config: ["emc-insert-inv-prob=100", "smc-enable=true"],
    },
    Settings {
        name: "ovs-dpdk plain",
        about: "megaflows only, without a cache before them",
        config: ["emc-insert-inv-prob=0", "smc-enable=false"],
    },
];

const OURS: &str = "null ports";
const BEST: &str = "ovs-dpdk";
const FAMILY: &str = "Between null ports";
/// Where the package is that has what is missing.
const PACKAGES: &str = "openvswitch-switch, openvswitch-switch-dpdk and dpdk of Debian";

/// Long enough for caches to know all flows.
const SETTLING: Duration = Duration::from_millis(400);
/// How long sessions may take to begin.
const PATIENCE: Duration = Duration::from_secs(10);

/// How it is measured.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Options {
    /// Only loads with one of these in their names: bridged-1, bridged-1000, bridged-100000, masqueraded-1000
    #[arg(long, value_name = "PART", value_delimiter = ',')]
    only: Vec<String>,
    /// Seconds of each measurement
    #[arg(long, default_value_t = 0.5, value_parser = crate::seconds)]
    seconds: f64,
    /// Measurements of each figure, of which median and spread are shown
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..=100))]
    rounds: u16,
    /// Write the run to this file
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
}

/// Measures both; this switch alone where the other is not installed.
pub(crate) fn run(options: &Options) -> Result<Record, Box<dyn Error>> {
    let loads = chosen(&options.only)?;
    let (duration, rounds) =
        (Duration::from_secs_f64(options.seconds), usize::from(options.rounds));
    hostnet::sandbox::enter()?;
    let mut record = Record::begin(notes());
    let is_installed = Replay::missing().is_none();
    let progress = Progress::of(rounds * 2);
    for round in 0..rounds {
        // Another one begins each round: what comes first finds the machine in another state.
        for turn in [round % 2, 1 - round % 2] {
            if turn == 0 {
                progress.at(OURS);
                our_turn(&mut record, round, &loads, duration);
            } else if is_installed {
                progress.at(BEST);
                let taken = their_turn(&mut record, round, &loads, duration);
                taken.unwrap_or_else(|error| record.fail(BEST, "a turn", &error.to_string()));
            }
            progress.done(1);
        }
    }
    loads.iter().for_each(|load| enter_best(&mut record, load.name));
    Ok(record)
}

fn chosen(only: &[String]) -> Result<Vec<&'static Load>, Box<dyn Error>> {
    let is_wanted =
        |load: &&Load| only.is_empty() || only.iter().any(|part| load.name.contains(part));
    let loads: Vec<_> = LOADS.iter().filter(is_wanted).collect();
    if loads.is_empty() {
        let names = LOADS.map(|load| load.name).join(", ");
        return Err(
            format!("no load has {} in its name; there are {names}", only.join(" or ")).into()
        );
    }
    Ok(loads)
}

fn notes() -> Vec<SubjectNote> {
    let absent = Replay::missing()
        .map(|program| format!("{program} is not installed; {PACKAGES} have what it takes"));
    let version = Replay::version();
    let note = |name: &str, about: String| SubjectNote {
        about,
        baseline: BEST.to_owned(),
        ..SubjectNote::alone(name, FAMILY)
    };
    let best = "OVS-DPDK from a capture file to a null port, without huge pages, a polling thread on the last core; of \
                the settings below, those that are the fastest for a load";
    let ours = "this switch's pipeline between null ports, a thread on the last core";
    let others = SETTINGS.iter().map(|settings| {
        note(settings.name, format!("{} ({})", settings.about, settings.config.join(", ")))
    });
    let best = SubjectNote { version, absent, ..note(BEST, best.to_owned()) };
    [best, note(OURS, ours.to_owned())].into_iter().chain(others).collect()
}

/// A moment of a thread that forwards.
#[derive(Debug, Clone, Copy)]
struct Moment {
    packets: u64,
    /// Processor time of the thread.
    worked: Duration,
    at: Instant,
    cycles: u64,
}

impl Moment {
    /// Where the packets cannot be counted at once, the time is that in the middle of it.
    fn take(
        packets: impl FnOnce() -> Result<u64, Box<dyn Error>>,
        worked: impl Fn() -> Result<Duration, Box<dyn Error>>,
    ) -> Result<Self, Box<dyn Error>> {
        let begun = (Instant::now(), cycles(), worked()?);
        let packets = packets()?;
        let half = begun.0.elapsed() / 2;
        let worked = (begun.2 + worked()?) / 2;
        Ok(Self { packets, worked, at: begun.0 + half, cycles: begun.1.midpoint(cycles()) })
    }

    /// What was done since an earlier one.
    fn since(self, earlier: Self) -> Result<Effort, Box<dyn Error>> {
        let count = |number: u64| u32::try_from(number).map(f64::from);
        let packets = count(self.packets - earlier.packets)?;
        if packets == 0.0 {
            return Err("nothing was forwarded".into());
        }
        let seconds = self.worked.saturating_sub(earlier.worked).as_secs_f64();
        let elapsed = (self.at - earlier.at).as_secs_f64();
        // Thousands of them, so that those of many seconds can be told.
        let kilocycles = count((self.cycles - earlier.cycles) / 1000)?;
        Ok(Effort { packets, seconds, elapsed, frequency: kilocycles * 1000.0 / elapsed })
    }
}

/// What a thread did in a while.
#[derive(Debug, Clone, Copy)]
struct Effort {
    packets: f64,
    /// Of processor time.
    seconds: f64,
    elapsed: f64,
    /// Of the time stamp counter.
    frequency: f64,
}

impl Effort {
    fn figures(self, load: &Load) -> [Figure; 3] {
        let Self { packets, seconds, elapsed, frequency } = self;
        let rate = Figure::higher("rate", "Mpps", packets / seconds / 1e6);
        let flows = f64::from(u32::try_from(load.traffic.flows).unwrap_or(u32::MAX));
        [
            if load.traffic.is_masqueraded {
                rate
            } else {
                rate.at("packets by flows, bridged between null ports", "flows", flows)
            },
            Figure::lower("cycles", "per packet", frequency * seconds / packets),
            Figure::higher("core", "%", seconds / elapsed * 100.0),
        ]
    }
}

type Measured = Result<Effort, Box<dyn Error>>;

fn enter(record: &mut Record, subject: &str, load: &Load, round: usize, measured: Measured) {
    match measured {
        Err(error) => record.fail(subject, load.name, &error.to_string()),
        Ok(effort) => effort.figures(load).into_iter().for_each(|figure| {
            record.enter(subject, (load.name, load.about), round, figure);
        }),
    }
}

fn our_turn(record: &mut Record, round: usize, loads: &[&Load], duration: Duration) {
    for load in loads {
        // A thread of its own: this one keeps the core that it is on.
        let forward = || ours(load.traffic, duration).map_err(|error| error.to_string());
        let measured = thread::scope(|scope| scope.spawn(forward).join());
        let measured = measured.unwrap_or_else(|_| Err("the thread ended".to_owned()));
        enter(record, OURS, load, round, measured.map_err(Into::into));
    }
}

fn ours(traffic: Traffic, duration: Duration) -> Measured {
    cpu::pin(Some(worker_core()?));
    let mut forwarder = Forwarder::new(traffic)?;
    let mut forward_for = |time: Duration| {
        let begun = Instant::now();
        while begun.elapsed() < time {
            forwarder.forward();
        }
        Moment::take(|| forwarder.forwarded(), || Ok(cpu::thread_time()))
    };
    let before = forward_for(SETTLING)?;
    forward_for(duration)?.since(before)
}

fn their_turn(
    record: &mut Record,
    round: usize,
    loads: &[&Load],
    duration: Duration,
) -> Result<(), Box<dyn Error>> {
    let replay = Replay::start(UPLINK)?;
    for load in loads {
        replay.play(&load.traffic.packets(), load.traffic.is_masqueraded)?;
        for settings in &SETTINGS {
            let measured = theirs(&replay, load, settings, duration);
            enter(record, settings.name, load, round, measured);
        }
        replay.stop()?;
    }
    Ok(())
}

fn theirs(replay: &Replay, load: &Load, settings: &Settings, duration: Duration) -> Measured {
    replay.set(&settings.config)?;
    thread::sleep(SETTLING);
    if load.traffic.is_masqueraded {
        await_sessions(replay, load.traffic.flows)?;
    }
    let moment = || Moment::take(|| replay.sent(), || replay.worked());
    let before = moment()?;
    thread::sleep(duration);
    moment()?.since(before)
}

fn await_sessions(replay: &Replay, wanted: usize) -> Result<(), Box<dyn Error>> {
    let begun = Instant::now();
    loop {
        let there = replay.sessions()?;
        if there == wanted {
            return Ok(());
        }
        if begun.elapsed() > PATIENCE {
            return Err(format!("OVS has {there} sessions instead of {wanted}").into());
        }
        thread::sleep(SETTLING);
    }
}

/// Enters the figures of the best settings of a load as the ones to compare with.
fn enter_best(record: &mut Record, load: &str) {
    let rate = |settings: &Settings| {
        let spread = record.find(settings.name, load, "rate")?.spread()?;
        Some((settings.name, spread.median))
    };
    let best = SETTINGS.iter().filter_map(rate).max_by(|(_, a), (_, b)| a.total_cmp(b));
    let Some((best, _)) = best else { return };
    let is_its = |series: &&crate::record::Series| series.subject == best && series.measure == load;
    let mut copies: Vec<_> = record.series.iter().filter(is_its).cloned().collect();
    copies.iter_mut().for_each(|series| BEST.clone_into(&mut series.subject));
    record.series.extend(copies);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fastest_settings_of_each_load_are_what_is_compared_with() {
        let mut record = Record::begin(notes());
        for (round, [first, second]) in [[9.0, 5.0], [1.0, 6.0], [2.0, 4.0]].into_iter().enumerate()
        {
            for (subject, rate) in
                [(SETTINGS[0].name, first), (SETTINGS[3].name, second), (OURS, 10.0)]
            {
                let figure = Figure::higher("rate", "Mpps", rate);
                record.enter(subject, ("bridged-1", ""), round, figure);
            }
        }
        enter_best(&mut record, "bridged-1");
        enter_best(&mut record, "bridged-1000");
        let best = record.find(BEST, "bridged-1", "rate").unwrap();
        assert_eq!(best.values, [Some(5.0), Some(6.0), Some(4.0)], "by the median");
        let ratio = record.ratio(record.find(OURS, "bridged-1", "rate").unwrap()).unwrap();
        assert_eq!(ratio.median, 2.0);
        assert!(record.find(BEST, "bridged-1000", "rate").is_none());
    }

    #[test]
    fn loads_are_chosen_by_a_part_of_their_names() {
        let names = |only: &[&str]| {
            let only: Vec<_> = only.iter().map(|part| (*part).to_owned()).collect();
            chosen(&only).map(|loads| loads.iter().map(|load| load.name).collect::<Vec<_>>())
        };
        assert_eq!(names(&[]).unwrap().len(), LOADS.len());
        assert_eq!(names(&["masq", "bridged-1000"]).unwrap().len(), 3);
        assert!(names(&["routed"]).unwrap_err().to_string().contains("masqueraded-1000"));
    }

    #[test]
    fn a_rate_is_of_processor_time_whoever_else_wants_the_core() {
        let earlier =
            Moment { packets: 5, worked: Duration::ZERO, at: Instant::now(), cycles: 1_000_000 };
        let later = Moment {
            packets: 2_000_005,
            worked: Duration::from_millis(500),
            at: earlier.at + Duration::from_secs(2),
            cycles: 4_001_000_000,
        };
        let [rate, cycles, core] = later.since(earlier).unwrap().figures(&LOADS[0]);
        assert_eq!((rate.value, cycles.value, core.value), (4.0, 500.0, 25.0));
        let error = earlier.since(earlier).unwrap_err().to_string();
        assert!(error.contains("nothing was forwarded"), "{error}");
    }

    /// Both at once, and nothing comes of nothing.
    #[test]
    fn this_switch_forwards_every_load() {
        for load in &LOADS {
            let effort = ours(load.traffic, Duration::from_millis(1)).unwrap();
            assert!(effort.packets > 0.0, "{}", load.name);
        }
    }
}
