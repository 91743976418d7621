//! Everything in the catalogue of measures, of everything in that of subjects.

use std::error::Error;
use std::fmt::Write;
use std::time::Duration;

use crate::campaign::{Plan, choose};
use crate::measure::{CATALOGUE, Measure, QUICK, Setting};
use crate::progress::Progress;
use crate::record::Record;
use crate::subject::{Family, Subject, Wish, catalogue};

/// A smoke test: few figures, taken quickly, that mean nothing.
///
/// # Errors
/// When anything could not be measured.
pub(crate) fn quick(plan: Plan, measures: &[String]) -> Result<(), Box<dyn Error>> {
    let setting = Setting { duration: Duration::from_millis(100), ..plan.setting };
    let few = QUICK.map(str::to_owned);
    let measures = if measures.is_empty() { &few } else { measures };
    let record = run(&Plan { setting, rounds: 2, ..plan }, measures)?;
    match record.failures.first() {
        Some(first) => {
            Err(format!("{}, {} could not be measured", first.subject, first.measure).into())
        }
        None => Ok(()),
    }
}

/// Measures, prints and writes.
///
/// # Errors
/// When a subject that is installed could not be measured at all, or the file cannot be written.
pub(crate) fn run(plan: &Plan, measures: &[String]) -> Result<Record, Box<dyn Error>> {
    let measures =
        choose("measure", measures, CATALOGUE, |measure| (measure.name, measure.is_default))?;
    let mut record = plan.begin()?;
    let turns = plan.turns();
    let steps = turns.iter().map(|(_, subject)| applicable(&measures, subject.family).count());
    let progress = Progress::of(steps.sum());
    for (round, subject) in turns {
        turn(&mut record, &subject, &measures, round, plan.setting, &progress);
    }
    drop(progress);
    plan.finish(&record)?;
    Ok(record)
}

/// All that can be asked for, for people.
pub(crate) fn list() -> String {
    let mark = |is_default| if is_default { '*' } else { ' ' };
    let mut text = String::from("Subjects (* if none are named):\n");
    for subject in catalogue() {
        let missing = subject.missing().map(|program| format!(" [{program} is not installed]"));
        let (mark, missing) = (mark(subject.is_default), missing.unwrap_or_default());
        let _ = writeln!(text, "{mark} {:16} {}{missing}", subject.name, subject.about);
    }
    text += "\nMeasures (* if none are named):\n";
    for measure in CATALOGUE {
        let _ =
            writeln!(text, "{} {:16} {}", mark(measure.is_default), measure.name, measure.about);
    }
    text
}

fn applicable(measures: &[Measure], family: Family) -> impl Iterator<Item = &Measure> {
    measures.iter().filter(move |measure| measure.is_for(family))
}

/// One subject's turn in a round: every measure, on a rig of the MTU that the measure needs.
fn turn(
    record: &mut Record,
    subject: &Subject,
    measures: &[Measure],
    round: usize,
    setting: Setting,
    progress: &Progress,
) {
    let mut mtus: Vec<u32> =
        applicable(measures, subject.family).map(|measure| measure.mtu).collect();
    mtus.sort_unstable();
    mtus.dedup();
    for mtu in mtus {
        let wanted: Vec<_> =
            applicable(measures, subject.family).filter(|measure| measure.mtu == mtu).collect();
        progress.at(format!("{} starts", subject.name));
        let rig = match subject.start(&Wish { mtu, ..Wish::USUAL }) {
            Ok(rig) => rig,
            Err(error) => {
                record.fail(subject.name, "start", &error.to_string());
                progress.done(wanted.len());
                continue;
            }
        };
        for measure in wanted {
            progress.at(format!("{}, {}", subject.name, measure.about));
            match measure.take(&rig, setting) {
                Err(error) => record.fail(subject.name, measure.name, &error.to_string()),
                Ok(figures) => {
                    let described = (measure.name, measure.about);
                    let enter = |figure| record.enter(subject.name, described, round, figure);
                    figures.into_iter().for_each(enter);
                }
            }
            progress.done(1);
        }
    }
}
