//! A campaign: all subjects take turns, round by round, and each is there only for its own turn.

use std::error::Error;
use std::path::PathBuf;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use crate::measure::{CATALOGUE, Measure, QUICK, Setting};
use crate::record::{Record, SubjectNote};
use crate::subject::{Family, Subject, Wish, catalogue};
use crate::summary;

/// What is asked for.
#[derive(Debug, Clone)]
pub(crate) struct Campaign {
    /// Subjects by name; those that are always measured if none are given.
    pub(crate) only: Vec<String>,
    /// Measures by name; those that are always taken if none are given.
    pub(crate) measures: Vec<String>,
    /// What all are compared with, instead of each family's own.
    pub(crate) baseline: Option<String>,
    pub(crate) setting: Setting,
    pub(crate) rounds: usize,
    /// Where the run is written.
    pub(crate) json: Option<PathBuf>,
}

impl Campaign {
    /// A smoke test: few figures, taken quickly, that mean nothing.
    pub(crate) fn quick(self) -> Self {
        let measures = if self.measures.is_empty() {
            QUICK.map(str::to_owned).to_vec()
        } else {
            self.measures
        };
        let setting = Setting { duration: Duration::from_millis(100), ..self.setting };
        Self { measures, setting, rounds: 2, ..self }
    }
}

/// Measures, prints and writes.
pub(crate) fn run(campaign: &Campaign) -> Result<(), Box<dyn Error>> {
    let subjects = chosen_subjects(&campaign.only)?;
    let measures = chosen_measures(&campaign.measures)?;
    hostnet::sandbox::enter()?;
    let notes = subjects.iter().map(|subject| note(subject, &subjects, campaign));
    let mut record = Record::begin(notes.collect());
    let present: Vec<_> =
        subjects.iter().filter(|subject| subject.missing().is_none()).copied().collect();
    measure_all(&mut record, &present, &measures, campaign);
    print!("{}", summary::text(&record));
    if let Some(file) = &campaign.json {
        record.write(file)?;
    }
    let is_measured =
        |subject: &Subject| record.series.iter().any(|series| series.subject == subject.name);
    match present.iter().find(|subject| !is_measured(subject)) {
        Some(subject) => Err(format!("{} could not be measured at all", subject.name).into()),
        None => Ok(()),
    }
}

/// All that can be asked for, for people.
pub(crate) fn list() -> String {
    let mut text = String::from("Subjects (* if none are named):\n");
    for subject in catalogue() {
        let mark = if subject.is_default { '*' } else { ' ' };
        let missing = subject.missing().map(|program| format!(" [{program} is not installed]"));
        text += &format!(
            "{mark} {:16} {}{}\n",
            subject.name,
            subject.about,
            missing.unwrap_or_default()
        );
    }
    text += "\nMeasures (* if none are named):\n";
    for measure in CATALOGUE {
        let mark = if measure.is_default { '*' } else { ' ' };
        text += &format!("{mark} {:16} {}\n", measure.name, measure.about);
    }
    text
}

fn chosen_subjects(names: &[String]) -> Result<Vec<Subject>, Box<dyn Error>> {
    let all = catalogue();
    choose("subject", names, &all, |subject| (subject.name, subject.is_default))
}

fn chosen_measures(names: &[String]) -> Result<Vec<Measure>, Box<dyn Error>> {
    choose("measure", names, CATALOGUE, |measure| (measure.name, measure.is_default))
}

/// Those that are named, `all`, or if none are named the default ones, in the catalogue's order.
fn choose<T: Copy>(
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
        if names.is_empty() {
            is_default
        } else {
            names.iter().any(|chosen| chosen == name || chosen == "all")
        }
    };
    Ok(all.iter().filter(is_chosen).copied().collect())
}

/// What the run says of a subject. It is compared with what was asked for, or its family's baseline; where that is
/// not in the run, with the first of its family.
fn note(subject: &Subject, subjects: &[Subject], campaign: &Campaign) -> SubjectNote {
    let in_family = |name: &str| {
        subjects.iter().any(|other| other.name == name && other.family == subject.family)
    };
    let wanted = campaign.baseline.as_deref().filter(|name| in_family(name));
    let usual = Some(subject.family.baseline()).filter(|name| in_family(name));
    let first =
        subjects.iter().find(|other| other.family == subject.family && other.missing().is_none());
    let baseline = wanted.or(usual).or(first.map(|first| first.name)).unwrap_or(subject.name);
    SubjectNote {
        name: subject.name.to_owned(),
        about: subject.about.to_owned(),
        family: subject.family.title().to_owned(),
        baseline: baseline.to_owned(),
        version: subject.version(),
        absent: subject.missing().map(|program| format!("{program} is not installed")),
    }
}

fn measure_all(
    record: &mut Record,
    subjects: &[Subject],
    measures: &[Measure],
    campaign: &Campaign,
) {
    let turns = subjects.iter().map(|subject| applicable(measures, subject.family).count());
    let total = turns.sum::<usize>() * campaign.rounds;
    let bar = progress(u64::try_from(total).unwrap_or(u64::MAX));
    for round in 0..campaign.rounds {
        // Another one begins each time: what comes first finds the machine in another state.
        let first = round % subjects.len().max(1);
        let (late, early) = subjects.split_at(first);
        for subject in early.iter().chain(late) {
            turn(record, subject, measures, round, campaign.setting, &bar);
        }
    }
    bar.finish_and_clear();
}

fn applicable(measures: &[Measure], family: Family) -> impl Iterator<Item = &Measure> {
    measures.iter().filter(move |measure| measure.is_for(family))
}

/// Progress with the time left; nothing where nobody looks.
pub(crate) fn progress(steps: u64) -> ProgressBar {
    let style = ProgressStyle::with_template("{bar:30} {pos}/{len}, {eta} left: {msg}");
    ProgressBar::new(steps).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

/// One subject's turn in a round: every measure, on a rig of the MTU that the measure needs.
fn turn(
    record: &mut Record,
    subject: &Subject,
    measures: &[Measure],
    round: usize,
    setting: Setting,
    bar: &ProgressBar,
) {
    let mut mtus: Vec<u32> =
        applicable(measures, subject.family).map(|measure| measure.mtu).collect();
    mtus.sort_unstable();
    mtus.dedup();
    for mtu in mtus {
        let wanted: Vec<_> =
            applicable(measures, subject.family).filter(|measure| measure.mtu == mtu).collect();
        bar.set_message(format!("{} starts", subject.name));
        let rig = match subject.start(&Wish { mtu }) {
            Ok(rig) => rig,
            Err(error) => {
                record.fail(subject.name, "start", &error.to_string());
                bar.inc(u64::try_from(wanted.len()).unwrap_or(0));
                continue;
            }
        };
        for measure in wanted {
            bar.set_message(format!("{}, {}", subject.name, measure.about));
            match measure.take(&rig, setting) {
                Err(error) => record.fail(subject.name, measure.name, &error.to_string()),
                Ok(figures) => {
                    let described = (measure.name, measure.about);
                    figures
                        .into_iter()
                        .for_each(|figure| record.enter(subject.name, described, round, figure));
                }
            }
            bar.inc(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(text: &str) -> Vec<String> {
        text.split(',').map(str::to_owned).collect()
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
        let campaign = |baseline: Option<&str>| Campaign {
            only: Vec::new(),
            measures: Vec::new(),
            baseline: baseline.map(str::to_owned),
            setting: Setting { duration: Duration::ZERO, cores: netlab::Cores::default() },
            rounds: 1,
            json: None,
        };
        let chosen = chosen_subjects(&names("veth,bridge,tap,vxlan")).unwrap();
        let of = |name: &str, baseline| {
            let subject = chosen.iter().find(|subject| subject.name == name).unwrap();
            note(subject, &chosen, &campaign(baseline)).baseline
        };
        assert_eq!(of("tap", None), "bridge");
        assert_eq!(of("tap", Some("veth")), "veth");
        assert_eq!(of("vxlan", Some("veth")), "vxlan", "another family's says nothing");
    }
}
