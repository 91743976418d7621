//! Every stage and every table alone, and the whole pipeline: what each costs in cycles of the time stamp counter, and
//! in instructions.
//!
//! A [`Case`] is one stage at one place of one axis: so many entries, flows, rules, bytes, or frames of a burst. Its
//! [`Work`] is done again and again; only what it hands to the [`Meter`] counts, so that making packets and giving buffers
//! back does not. Cycles are the median of the calls of each of five rounds, without what reading the counter takes:
//! interruptions do not count.
//! Instructions are counted by callgrind ([`instructions`]) and repeat on a machine that others use.

mod bridging;
mod features;
mod forwarder;
mod frames;
mod instructions;
mod meter;
mod services;
mod stages;
mod tables;

use std::error::Error;
use std::time::Duration;

pub(crate) use features::{Traffic, UPLINK};
pub(crate) use forwarder::Forwarder;
pub(crate) use instructions::{COUNT_ALONE, count_alone};
use meter::Meter;

use pktio::buffer::BURST_FRAMES;

use crate::progress::Progress;
use crate::record::{Figure, INSTRUCTIONS, Record, SubjectNote};

/// Something that is done to some items at each call, by the meter.
type Work = Box<dyn FnMut(&mut Meter)>;
/// Work whose tables are filled.
type Made = Result<Work, Box<dyn Error>>;
/// A stage by its name, made for a place of its axis.
type Stage = (&'static str, fn(usize) -> Made);

/// Measurements of a case one after the other, so that their spread is known.
const ROUNDS: usize = 5;

/// Frames of a burst, where that is what varies.
const BURSTS: [usize; 5] = [1, 8, 32, 64, 256];

/// A burst as the pipeline gets it: what is more than a port hands over at once comes as several ones in a row.
fn parts_of(burst: usize) -> Vec<usize> {
    let whole = std::iter::repeat_n(BURST_FRAMES, burst / BURST_FRAMES);
    whole.chain(Some(burst % BURST_FRAMES).filter(|rest| *rest > 0)).collect()
}

/// Which cases.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Stages and tables, each alone.
    Stages,
    /// The whole pipeline.
    Pipeline,
}

impl Kind {
    /// All.
    pub(crate) const ALL: [Self; 2] = [Self::Stages, Self::Pipeline];

    fn title(self) -> &'static str {
        match self {
            Self::Stages => "Stages and tables alone",
            Self::Pipeline => "The pipeline alone",
        }
    }

    fn cases(self) -> Vec<Case> {
        let parts = match self {
            Self::Stages => [stages::cases(), tables::cases()],
            Self::Pipeline => [bridging::cases(), features::cases()],
        };
        parts.into_iter().flatten().collect()
    }
}

/// What is varied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Axis {
    /// Entries of a table.
    Entries,
    Stations,
    Flows,
    Rules,
    Services,
    /// Length of the frames, without check sequence.
    Bytes,
    /// Frames of a burst.
    Burst,
}

impl Axis {
    fn name(self) -> &'static str {
        match self {
            Self::Entries => "entries",
            Self::Stations => "stations",
            Self::Flows => "flows",
            Self::Rules => "rules",
            Self::Services => "services",
            Self::Bytes => "bytes",
            Self::Burst => "burst",
        }
    }

    /// A place on it, for people.
    fn about(self, at: usize) -> String {
        match (self, at) {
            (Self::Bytes, _) => format!("frames of {at} bytes"),
            (Self::Burst, _) => format!("bursts of {at}"),
            (Self::Entries, 1) => "one entry".to_owned(),
            (_, 1) => format!("one {}", self.name().trim_end_matches('s')),
            _ => format!("{at} {}", self.name()),
        }
    }
}

/// One stage, at one place of one axis.
struct Case {
    /// The stage, or what the pipeline does.
    stage: &'static str,
    axis: Axis,
    at: usize,
    build: Box<dyn Fn() -> Made>,
}

impl Case {
    fn new(
        stage: &'static str,
        (axis, at): (Axis, usize),
        build: impl Fn() -> Made + 'static,
    ) -> Self {
        Self { stage, axis, at, build: Box::new(build) }
    }

    /// By which it is told from all others.
    fn name(&self) -> String {
        format!("{}/{}-{}", self.stage, self.axis.name(), self.at)
    }
}

/// How the cases are measured.
#[derive(Debug, Clone)]
pub(crate) struct Options {
    /// Only cases whose name contains one of these; all if none is given.
    pub(crate) only: Vec<String>,
    /// Instructions too, by callgrind.
    pub(crate) instructions: bool,
    /// Of each case.
    pub(crate) duration: Duration,
}

/// Measures the cases of these kinds.
pub(crate) fn run(kinds: &[Kind], options: &Options) -> Result<Record, Box<dyn Error>> {
    let all = kinds.iter().flat_map(|kind| kind.cases().into_iter().map(|case| (*kind, case)));
    let chosen = chosen(all.collect(), &options.only)?;
    let mut record = Record::begin(notes(&chosen));
    let progress = Progress::of(chosen.len());
    for (_, case) in &chosen {
        progress.at(case.name());
        if let Err(error) = measure(case, options, &mut record) {
            record.fail(case.stage, &case.name(), &error.to_string());
        }
        progress.done(1);
    }
    Ok(record)
}

fn chosen(
    mut cases: Vec<(Kind, Case)>,
    only: &[String],
) -> Result<Vec<(Kind, Case)>, Box<dyn Error>> {
    let is_wanted = |name: &str| only.is_empty() || only.iter().any(|part| name.contains(part));
    cases.retain(|(_, case)| is_wanted(&case.name()));
    if cases.is_empty() {
        return Err(format!("no case has {} in its name", only.join(" or ")).into());
    }
    Ok(cases)
}

fn notes(cases: &[(Kind, Case)]) -> Vec<SubjectNote> {
    let mut notes: Vec<SubjectNote> = Vec::new();
    for (kind, case) in cases {
        if !notes.iter().any(|note| note.name == case.stage) {
            notes.push(SubjectNote::alone(case.stage, kind.title()));
        }
    }
    notes
}

fn measure(case: &Case, options: &Options, record: &mut Record) -> Result<(), Box<dyn Error>> {
    let axis = case.axis.name();
    let (measure, about) = (format!("{axis}-{}", case.at), case.axis.about(case.at));
    let mut enter = |name: &str, round, value| {
        let at = f64::from(u32::try_from(case.at.max(1))?);
        let figure = Figure::lower(name, "per item", value);
        let figure = figure.at(&format!("{name} by {axis}"), axis, at);
        record.enter(case.stage, (&measure, &about), round, figure);
        Ok::<_, Box<dyn Error>>(())
    };
    let mut work = (case.build)()?;
    for round in 0..ROUNDS {
        let part = options.duration / u32::try_from(ROUNDS)?;
        enter("cycles", round, meter::cycles(&mut work, part)?)?;
    }
    if options.instructions {
        enter(INSTRUCTIONS, 0, instructions::of(&case.name())?)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_case_has_a_name_of_its_own() {
        let names: Vec<_> =
            Kind::ALL.into_iter().flat_map(Kind::cases).map(|case| case.name()).collect();
        let different: std::collections::BTreeSet<_> = names.iter().collect();
        assert_eq!(different.len(), names.len());
    }

    #[test]
    fn cases_are_chosen_by_a_part_of_their_names() {
        let cases =
            || Kind::Pipeline.cases().into_iter().map(|case| (Kind::Pipeline, case)).collect();
        let some = chosen(cases(), &["flows-1000".to_owned()]).unwrap();
        assert!(some.iter().all(|(_, case)| case.name().contains("flows-1000")));
        assert!(!some.is_empty());
        assert!(chosen(cases(), &["nothing such".to_owned()]).is_err());
    }

    #[test]
    fn a_burst_that_no_port_hands_over_comes_as_several() {
        assert_eq!(parts_of(1), [1]);
        assert_eq!(parts_of(64), [64]);
        assert_eq!(parts_of(256), [64; 4]);
        assert_eq!(parts_of(100), [64, 36]);
    }

    /// Everything but the largest tables: these only differ in their size.
    #[test]
    fn every_case_can_be_built_and_does_something() {
        for kind in Kind::ALL {
            for case in kind.cases().iter().filter(|case| case.at <= 1518) {
                let mut work =
                    (case.build)().unwrap_or_else(|error| panic!("{}: {error}", case.name()));
                let mut meter = Meter::counting();
                work(&mut meter);
                assert!(meter.items() > 0, "{}", case.name());
                assert_eq!(meter.verdict(), Ok(()), "{}", case.name());
            }
        }
    }
}
