//! A campaign: all subjects take turns, round by round, and each is there only for its own turn.

use std::error::Error;
use std::path::PathBuf;

use crate::measure::Setting;
use crate::progress::Progress;
use crate::record::{Record, SubjectNote};
use crate::subject::{Rig, Subject, Wish, catalogue};
use crate::summary;

/// Who is measured, how often, and what becomes of the figures.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) subjects: Vec<Subject>,
    /// What all are compared with, instead of each family's own.
    pub(crate) baseline: Option<String>,
    pub(crate) setting: Setting,
    pub(crate) rounds: usize,
    /// Where the run is written.
    pub(crate) json: Option<PathBuf>,
}

impl Plan {
    /// The turns, round by round; rounds count from 0. Subjects that are not installed have none. Another subject begins
    /// each round: what comes first finds the machine in another state.
    pub(crate) fn turns(&self) -> Vec<(usize, Subject)> {
        let present: Vec<_> =
            self.subjects.iter().filter(|subject| subject.missing().is_none()).copied().collect();
        let in_round = |round: usize| {
            let (late, early) = present.split_at(round % present.len().max(1));
            early.iter().chain(late).map(move |subject| (round, *subject)).collect::<Vec<_>>()
        };
        (0..self.rounds).flat_map(in_round).collect()
    }

    /// Enters the sandbox and begins the run. Call it while this process has one thread.
    pub(crate) fn begin(&self) -> Result<Record, Box<dyn Error>> {
        let notes = self.subjects.iter().map(|subject| self.note(subject)).collect();
        hostnet::sandbox::enter()?;
        Ok(Record::begin(notes))
    }

    /// What the run says of a subject. It is compared with what was asked for, or its family's baseline; where that is
    /// not in the run, with the first of its family.
    fn note(&self, subject: &Subject) -> SubjectNote {
        let is_there = |other: &&Subject| other.missing().is_none();
        let family =
            || self.subjects.iter().filter(|other| other.family == subject.family).filter(is_there);
        let in_family = |name: &str| family().any(|other| other.name == name);
        let wanted = self.baseline.as_deref().filter(|name| in_family(name));
        let usual = Some(subject.family.baseline()).filter(|name| in_family(name));
        let first = family().next().map(|first| first.name);
        SubjectNote {
            name: subject.name.to_owned(),
            about: subject.about.to_owned(),
            family: subject.family.title().to_owned(),
            baseline: wanted.or(usual).or(first).unwrap_or(subject.name).to_owned(),
            version: subject.version(),
            absent: subject.missing().map(|program| format!("{program} is not installed")),
        }
    }

    /// Prints the run, and writes it if that is wanted.
    ///
    /// # Errors
    /// When a subject that is installed could not be measured at all, or the file cannot be written.
    pub(crate) fn finish(&self, record: &Record) -> Result<(), Box<dyn Error>> {
        print!("{}", summary::text(record));
        if let Some(file) = &self.json {
            record.write(file)?;
        }
        let is_measured = |name: &str| record.series.iter().any(|series| series.subject == name);
        let present = record.subjects.iter().filter(|note| note.absent.is_none());
        match present.map(|note| &*note.name).find(|name| !is_measured(name)) {
            Some(name) => Err(format!("{name} could not be measured at all").into()),
            None => Ok(()),
        }
    }
}

/// Takes so many steps with each subject in each of its turns, each on a fresh rig: `step` is given the run, the subject,
/// the rig, the round and the step. A step that fails is noted.
pub(crate) fn run_each(
    plan: &Plan,
    steps: usize,
    mut step: impl FnMut(&mut Record, &Subject, &Rig, usize, usize) -> Result<(), Box<dyn Error>>,
) -> Result<(), Box<dyn Error>> {
    let mut record = plan.begin()?;
    let turns = plan.turns();
    let progress = Progress::of(turns.len() * steps);
    for (round, subject) in turns {
        progress.at(subject.name);
        for number in 0..steps {
            let wish = Wish { monitor: true, is_durable: true, ..Wish::USUAL };
            let taken = match subject.start(&wish) {
                Ok(rig) => step(&mut record, &subject, &rig, round, number),
                Err(error) => Err(error),
            };
            if let Err(error) = taken {
                record.fail(subject.name, &format!("step {}", number + 1), &error.to_string());
            }
            progress.done(1);
        }
    }
    drop(progress);
    plan.finish(&record)
}

/// Subjects by name, as people give them; the default ones if none are named.
pub(crate) fn chosen_subjects(names: &[String]) -> Result<Vec<Subject>, Box<dyn Error>> {
    choose("subject", names, &catalogue(), |subject| (subject.name, subject.is_default))
}

/// Those that are named, `all`, or if none are named the default ones, in the catalogue's order. `describe` tells name
/// and whether it is a default.
pub(crate) fn choose<T: Copy>(
    what: &str,
    names: &[String],
    all: &[T],
    describe: impl Fn(&T) -> (&'static str, bool),
) -> Result<Vec<T>, Box<dyn Error>> {
    let is_known =
        |name: &&String| *name == "all" || all.iter().any(|one| describe(one).0 == **name);
    if let Some(unknown) = names.iter().find(|name| !is_known(name)) {
        return Err(format!("there is no {what} {unknown:?}; `benches list` shows all").into());
    }
    let is_chosen = |one: &&T| {
        let (name, is_default) = describe(one);
        let is_named = || names.iter().any(|chosen| chosen == name || chosen == "all");
        if names.is_empty() { is_default } else { is_named() }
    };
    Ok(all.iter().filter(is_chosen).copied().collect())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn names(text: &str) -> Vec<String> {
        text.split(',').map(str::to_owned).collect()
    }

    fn plan(subjects: &str, baseline: Option<&str>) -> Plan {
        Plan {
            subjects: chosen_subjects(&names(subjects)).unwrap(),
            baseline: baseline.map(str::to_owned),
            setting: Setting { duration: Duration::ZERO, cores: netlab::Cores::default() },
            rounds: 3,
            json: None,
        }
    }

    #[test]
    fn subjects_are_chosen_by_name_and_unknown_ones_are_refused() {
        let chosen = chosen_subjects(&names("tap,bridge")).unwrap();
        assert_eq!(
            chosen.iter().map(|subject| subject.name).collect::<Vec<_>>(),
            ["bridge", "tap"]
        );
        let error = chosen_subjects(&names("tap,bridgge")).unwrap_err().to_string();
        assert!(error.contains("bridgge"), "{error}");
        assert_eq!(chosen_subjects(&names("all")).unwrap().len(), catalogue().len());
        assert!(chosen_subjects(&[]).unwrap().iter().all(|subject| subject.is_default));
    }

    #[test]
    fn a_subject_is_compared_with_what_is_in_the_run() {
        let of = |name: &str, baseline| {
            let plan = plan("veth,bridge,tap,vxlan", baseline);
            plan.note(plan.subjects.iter().find(|subject| subject.name == name).unwrap()).baseline
        };
        assert_eq!(of("tap", None), "bridge");
        assert_eq!(of("tap", Some("veth")), "veth");
        assert_eq!(of("vxlan", Some("veth")), "vxlan", "another family's says nothing");
    }

    #[test]
    fn what_is_not_installed_is_no_baseline() {
        let mut plan = plan("bridge,tap,gso", None);
        plan.subjects[0].needs = &["no-such-program"];
        assert_eq!(plan.subjects[0].name, "bridge");
        assert_eq!(plan.note(&plan.subjects[2]).baseline, "tap");
        plan.baseline = Some("bridge".to_owned());
        assert_eq!(plan.note(&plan.subjects[2]).baseline, "tap");
    }

    #[test]
    fn every_subject_has_its_turn_in_every_round_and_another_one_begins() {
        let turns = plan("veth,bridge,tap", None).turns();
        let names: Vec<_> = turns.iter().map(|(round, subject)| (*round, subject.name)).collect();
        assert_eq!(names[..3], [(0, "veth"), (0, "bridge"), (0, "tap")]);
        assert_eq!(names[3..6], [(1, "bridge"), (1, "tap"), (1, "veth")]);
        assert_eq!(names.len(), 9);
    }
}
