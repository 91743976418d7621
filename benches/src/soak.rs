//! Pressure for as long as one likes: the same mixed traffic again and again, while memory and descriptors stay flat and
//! every frame is accounted for.
//!
//! The switch runs in this process, so its memory is the process', the ends' included. A first part of the samples is
//! warm-up, in which tables fill; of the rest, the later half must not need more than the earlier one.

use std::error::Error;
use std::fs;
use std::time::{Duration, Instant};

use ctl::response::Stats;
use ctl::{Client, Query, Request};

use crate::measure::{Measure, Setting, by_name};
use crate::progress::Progress;
use crate::record::{Figure, Record};
use crate::subject::{Family, Rig, Subject, Wish};

/// What every cycle does.
const MIX: [&str; 5] = ["tcp4", "tcp-back", "imix", "flows1k", "rr"];
/// And where no quota of ports ends it: thousands of connections a second.
const CONNECTIONS: &str = "crr";
/// The least samples that say anything.
const LEAST_SAMPLES: usize = 10;
/// Memory that may come and go: what the allocator and the kernel keep.
const TOLERANCE_KIB: u64 = 4096;

/// The state of this process at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Sample {
    memory_kib: u64,
    descriptors: u64,
}

impl Sample {
    fn take() -> Result<Self, Box<dyn Error>> {
        Ok(Self {
            memory_kib: memory_kib()?,
            descriptors: u64::try_from(fs::read_dir("/proc/self/fd")?.count())?,
        })
    }
}

/// Memory of this process that is in use (`VmRSS` of proc(5)).
pub(crate) fn memory_kib() -> Result<u64, Box<dyn Error>> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let number = line.and_then(|line| line.split_whitespace().next());
    Ok(number.ok_or("/proc/self/status has no VmRSS")?.parse()?)
}

/// Runs the mix on this switch for so long, and says what grew, if something did.
///
/// # Errors
/// When a frame is missing, or nothing passes any more.
pub(crate) fn run(
    subject: &Subject,
    time: Duration,
    setting: Setting,
) -> Result<(Record, Option<String>), Box<dyn Error>> {
    hostnet::sandbox::enter()?;
    let mut record = Record::begin_alone(subject.about);
    let rig = subject.start(&Wish::USUAL)?;
    if rig.controls.is_empty() {
        return Err(format!(
            "{} is not this switch: nothing shows where its frames are",
            subject.name
        )
        .into());
    }
    let connections = Some(CONNECTIONS).filter(|_| subject.family != Family::Nat);
    let mix: Vec<_> = MIX.into_iter().chain(connections).filter_map(by_name).collect();
    let progress = Progress::of(usize::try_from(time.as_secs())?);
    let (begun, mut samples) = (Instant::now(), Vec::new());
    while begun.elapsed() < time || samples.len() < LEAST_SAMPLES {
        cycle(&rig, &mix, setting, &mut record)?;
        let sample = Sample::take()?;
        enter(&mut record, samples.len(), sample)?;
        samples.push(sample);
        progress.reached(begun.elapsed().as_secs());
        progress.at(format!("{} KiB, {} descriptors", sample.memory_kib, sample.descriptors));
    }
    let grown = growth(&samples).map(|what| format!("after {} cycles {what}", samples.len()));
    Ok((record, grown))
}

/// The mix once. What fails while the rest passes is noted: the machine may be busy, and a run of hours does not end by
/// that.
fn cycle(
    rig: &Rig,
    mix: &[&Measure],
    setting: Setting,
    record: &mut Record,
) -> Result<(), Box<dyn Error>> {
    let mut has_passed = false;
    for measure in mix {
        match measure.take(rig, setting) {
            Ok(_) => has_passed = true,
            Err(error) => record.fail("vswitchd", measure.name, &error.to_string()),
        }
    }
    if !has_passed {
        return Err("nothing passes any more".into());
    }
    reconcile(rig)
}

fn enter(record: &mut Record, cycle: usize, sample: Sample) -> Result<(), Box<dyn Error>> {
    let memory = f64::from(u32::try_from(sample.memory_kib)?) / 1024.0;
    let descriptors = f64::from(u32::try_from(sample.descriptors)?);
    let figures =
        [Figure::lower("memory", "MiB", memory), Figure::lower("descriptors", "", descriptors)];
    for figure in figures {
        record.enter("vswitchd", ("soak", "after each cycle of mixed traffic"), cycle, figure);
    }
    Ok(())
}

/// Every frame of every port is where it should be.
fn reconcile(rig: &Rig) -> Result<(), Box<dyn Error>> {
    for socket in &rig.controls {
        let stats: Stats = Client::connect(socket)?.ask(Request::Query(Query::stats()))?;
        if let Some(what) = stats.discrepancy {
            return Err(format!("frames are missing: {what}").into());
        }
        for port in &stats.ports {
            let of = &port.counters;
            let kept = of.forwarded + of.answered + of.held;
            if of.received != kept + of.dropped_in || of.offered != of.transmitted + of.dropped_out
            {
                return Err(format!("the counters of {} do not add up: {of:?}", port.port).into());
            }
        }
    }
    Ok(())
}

/// What grew, if something did: the most of the last part against the most of the part before, after a warm-up.
fn growth(samples: &[Sample]) -> Option<String> {
    let warm = &samples[samples.len() / 3..];
    let (earlier, later) = warm.split_at(warm.len() / 2);
    let most = |part: &[Sample], of: fn(&Sample) -> u64| part.iter().map(of).max().unwrap_or(0);
    let [before, after] = [earlier, later].map(|part| most(part, |sample| sample.memory_kib));
    if after > before + TOLERANCE_KIB {
        return Some(format!("memory grew from {before} to {after} KiB"));
    }
    let [before, after] = [earlier, later].map(|part| most(part, |sample| sample.descriptors));
    (after > before).then(|| format!("open descriptors grew from {before} to {after}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples(memory: impl Fn(u64) -> u64, descriptors: impl Fn(u64) -> u64) -> Vec<Sample> {
        let sample = |at| Sample { memory_kib: memory(at), descriptors: descriptors(at) };
        (0..30).map(sample).collect()
    }

    #[test]
    fn what_fills_up_and_stays_is_flat() {
        assert_eq!(growth(&samples(|at| 50_000 + at.min(8) * 10_000, |_| 40)), None);
        assert_eq!(growth(&samples(|at| 50_000 + at % 3 * 1000, |at| 40 + at % 2)), None);
    }

    #[test]
    fn what_grows_is_found() {
        let leak = growth(&samples(|at| 50_000 + at * 1000, |_| 40)).unwrap();
        assert!(leak.contains("memory"), "{leak}");
        let leak = growth(&samples(|_| 50_000, |at| 40 + at)).unwrap();
        assert!(leak.contains("descriptors"), "{leak}");
    }
}
