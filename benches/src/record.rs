//! A run: what was measured, where, when and with what outcome. The JSON that is written, compared and drawn.

use std::error::Error;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::machine::{Machine, now};
use crate::statistics::{Spread, ratios};

/// Raised when a reader of the old form would misunderstand the new one.
const FORM: u32 = 1;

/// The metric that repeats exactly, whatever else the machine does: one value is enough.
pub(crate) const INSTRUCTIONS: &str = "instructions";

/// A run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Record {
    form: u32,
    /// The command line.
    pub(crate) command: String,
    /// When it began (RFC 3339, UTC).
    pub(crate) date: String,
    pub(crate) version: String,
    pub(crate) machine: Machine,
    pub(crate) subjects: Vec<SubjectNote>,
    pub(crate) series: Vec<Series>,
    /// What could not be measured.
    pub(crate) failures: Vec<Failure>,
}

/// A subject of a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SubjectNote {
    pub(crate) name: String,
    /// What it is, and its settings.
    pub(crate) about: String,
    /// The heading that it belongs under.
    pub(crate) family: String,
    /// The subject that it is compared with; empty if with none.
    pub(crate) baseline: String,
    /// What its program says of its version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) version: Option<String>,
    /// Why it was not measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) absent: Option<String>,
}

/// What a figure is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Metric {
    /// Within its measure: `throughput`, `p99`, ...
    pub(crate) name: String,
    pub(crate) unit: String,
    pub(crate) better: Better,
}

/// Which of two figures is the better one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Better {
    Higher,
    Lower,
}

/// Where a series is drawn: a curve of its subject, at this place.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Spot {
    /// Of the drawing.
    pub(crate) drawing: String,
    /// What is along the horizontal axis.
    pub(crate) axis: String,
    pub(crate) at: f64,
}

/// The values of one metric of one measure of one subject, one for each round.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Series {
    pub(crate) subject: String,
    pub(crate) measure: String,
    /// What the measure is, for people.
    pub(crate) about: String,
    #[serde(flatten)]
    pub(crate) metric: Metric,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) spot: Option<Spot>,
    /// By round; a gap where it failed.
    pub(crate) values: Vec<Option<f64>>,
}

impl SubjectNote {
    /// Something that is compared with nothing else.
    pub(crate) fn alone(name: &str, family: &str) -> Self {
        let (name, family) = (name.to_owned(), family.to_owned());
        let (about, baseline) = (String::new(), String::new());
        Self { name, about, family, baseline, version: None, absent: None }
    }
}

impl Series {
    /// Middle and spread of the rounds.
    pub(crate) fn spread(&self) -> Option<Spread> {
        Spread::of(self.values.iter().flatten().copied())
    }

    fn is(&self, subject: &str, measure: &str, metric: &str) -> bool {
        self.subject == subject && self.measure == measure && self.metric.name == metric
    }
}

/// Something that could not be measured.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Failure {
    pub(crate) subject: String,
    pub(crate) measure: String,
    pub(crate) why: String,
}

/// One figure, as a measure yields it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Figure {
    pub(crate) metric: Metric,
    pub(crate) value: f64,
    pub(crate) spot: Option<Spot>,
}

impl Figure {
    /// One of which more is better.
    pub(crate) fn higher(name: &str, unit: &str, value: f64) -> Self {
        Self::new(name, unit, Better::Higher, value)
    }

    /// One of which less is better.
    pub(crate) fn lower(name: &str, unit: &str, value: f64) -> Self {
        Self::new(name, unit, Better::Lower, value)
    }

    fn new(name: &str, unit: &str, better: Better, value: f64) -> Self {
        let metric = Metric { name: name.to_owned(), unit: unit.to_owned(), better };
        Self { metric, value, spot: None }
    }

    /// The same, drawn at a place.
    pub(crate) fn at(self, drawing: &str, axis: &str, at: f64) -> Self {
        let (drawing, axis) = (drawing.to_owned(), axis.to_owned());
        Self { spot: Some(Spot { drawing, axis, at }), ..self }
    }
}

impl Record {
    /// A run that begins now, of this process' command line.
    pub(crate) fn begin(subjects: Vec<SubjectNote>) -> Self {
        Self {
            form: FORM,
            command: command_line(),
            date: now(),
            version: version(),
            machine: Machine::examine(),
            subjects,
            series: Vec::new(),
            failures: Vec::new(),
        }
    }

    /// A run about this switch alone.
    pub(crate) fn begin_alone(about: &str) -> Self {
        let about = about.to_owned();
        Self::begin(vec![SubjectNote { about, ..SubjectNote::alone("vswitchd", "This switch") }])
    }

    /// Enters a figure of a round; rounds count from 0.
    pub(crate) fn enter(
        &mut self,
        subject: &str,
        (measure, about): (&str, &str),
        round: usize,
        figure: Figure,
    ) {
        let is_it = |series: &Series| series.is(subject, measure, &figure.metric.name);
        let place = self.series.iter().position(is_it).unwrap_or_else(|| {
            self.series.push(Series {
                subject: subject.to_owned(),
                measure: measure.to_owned(),
                about: about.to_owned(),
                metric: figure.metric.clone(),
                spot: figure.spot.clone(),
                values: Vec::new(),
            });
            self.series.len() - 1
        });
        let values = &mut self.series[place].values;
        values.resize(values.len().max(round + 1), None);
        values[round] = figure.value.is_finite().then_some(figure.value);
    }

    /// Notes a failure, once.
    pub(crate) fn fail(&mut self, subject: &str, measure: &str, why: &str) {
        let failure = Failure {
            subject: subject.to_owned(),
            measure: measure.to_owned(),
            why: why.to_owned(),
        };
        if !self.failures.contains(&failure) {
            self.failures.push(failure);
        }
    }

    /// Takes in another run of the same machine: what it measured, and of what.
    ///
    /// # Errors
    /// When they are of different machines, or both have figures of the same: these are for `diff`.
    pub(crate) fn absorb(&mut self, other: Self) -> Result<(), String> {
        let differences = self.machine.differences(&other.machine);
        if !differences.is_empty() {
            return Err(format!("the runs are of different machines ({})", differences.join("; ")));
        }
        let is_known =
            |new: &&Series| self.find(&new.subject, &new.measure, &new.metric.name).is_some();
        if let Some(both) = other.series.iter().find(is_known) {
            let (subject, measure) = (&both.subject, &both.measure);
            return Err(format!(
                "both runs have {measure} of {subject}; `benches diff` compares them"
            ));
        }
        self.command += " && ";
        self.command += &other.command;
        for note in other.subjects {
            if !self.subjects.iter().any(|known| known.name == note.name) {
                self.subjects.push(note);
            }
        }
        self.series.extend(other.series);
        self.failures.extend(other.failures);
        // A family is a heading: what belongs under it is in one place, in the order in which they came.
        let families: Vec<String> = self.families().into_iter().map(str::to_owned).collect();
        self.subjects.sort_by_key(|note| families.iter().position(|one| *one == note.family));
        Ok(())
    }

    /// A series.
    pub(crate) fn find(&self, subject: &str, measure: &str, metric: &str) -> Option<&Series> {
        self.series.iter().find(|series| series.is(subject, measure, metric))
    }

    /// A series compared with the baseline's, pair by pair.
    pub(crate) fn ratio(&self, series: &Series) -> Option<Spread> {
        Spread::of(self.ratios(series)?)
    }

    /// The same, each ratio. `None` without a baseline.
    pub(crate) fn ratios(&self, series: &Series) -> Option<Vec<f64>> {
        let baseline = self.find(self.baseline(series), &series.measure, &series.metric.name)?;
        Some(ratios(&series.values, &baseline.values))
    }

    /// The subject that a series is compared with; empty if with none.
    pub(crate) fn baseline(&self, series: &Series) -> &str {
        let note = self.subjects.iter().find(|note| note.name == series.subject);
        note.map_or("", |note| &note.baseline)
    }

    /// The measures of the subjects of a family, in the order in which they were taken, with what they are.
    pub(crate) fn measures(&self, family: &str) -> Vec<(&str, &str)> {
        let mut measures: Vec<(&str, &str)> = Vec::new();
        for series in self.series.iter().filter(|series| self.family(&series.subject) == family) {
            if !measures.iter().any(|(measure, _)| *measure == series.measure) {
                measures.push((&series.measure, &series.about));
            }
        }
        measures
    }

    /// The families, in order.
    pub(crate) fn families(&self) -> Vec<&str> {
        let mut families: Vec<&str> = Vec::new();
        for note in &self.subjects {
            if !families.contains(&&*note.family) {
                families.push(&note.family);
            }
        }
        families
    }

    fn family(&self, subject: &str) -> &str {
        self.subjects.iter().find(|note| note.name == subject).map_or("", |note| &note.family)
    }

    /// Reads a run.
    pub(crate) fn read(file: &Path) -> Result<Self, Box<dyn Error>> {
        let failed = |why: String| format!("cannot read the run {}: {why}", file.display());
        let text = std::fs::read_to_string(file).map_err(|error| failed(error.to_string()))?;
        let record: Self = serde_json::from_str(&text)
            .map_err(|error| failed(format!("it is no run that `--json` has written ({error})")))?;
        if record.form == FORM {
            return Ok(record);
        }
        Err(failed(format!("it has form {}, and this program reads form {FORM}", record.form))
            .into())
    }

    /// Writes it.
    pub(crate) fn write(&self, file: &Path) -> Result<(), Box<dyn Error>> {
        let text = serde_json::to_string_pretty(self)? + "\n";
        let failed = |error| format!("cannot write the run {}: {error}", file.display());
        Ok(std::fs::write(file, text).map_err(failed)?)
    }
}

/// How this process was asked for what it does: what becomes of the figures is left out.
pub(crate) fn command_line() -> String {
    let words: Vec<_> = std::env::args().skip(1).collect();
    ["benches"].into_iter().chain(without_files(&words)).collect::<Vec<_>>().join(" ")
}

/// The words of a command line without the files that it writes.
fn without_files(words: &[String]) -> Vec<&str> {
    const FILES: [&str; 3] = ["--json", "--output", "-o"];
    let mut kept = Vec::new();
    let mut words = words.iter().map(String::as_str);
    while let Some(word) = words.next() {
        if FILES.contains(&word) {
            words.next();
        } else if !FILES.iter().any(|file| word.split('=').next() == Some(file)) {
            kept.push(word);
        }
    }
    kept
}

/// What was measured, how it was built if that was said (`tools/pgo-build`), and whether as it is used.
fn version() -> String {
    let number = env!("CARGO_PKG_VERSION");
    if cfg!(debug_assertions) {
        format!("{number} (debug build: the figures mean nothing; build with --release)")
    } else {
        option_env!("VSWITCH_BUILD").map_or(number.to_owned(), |how| format!("{number} ({how})"))
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A run of `tap` against `bridge`: TCP, three rounds.
    pub(crate) fn example(tap: [f64; 3]) -> Record {
        let note = |name: &str| SubjectNote {
            name: name.to_owned(),
            about: format!("the <{name}>"),
            family: "One network".to_owned(),
            baseline: "bridge".to_owned(),
            version: None,
            absent: None,
        };
        let mut record = Record::begin(vec![note("bridge"), note("tap")]);
        for (subject, values) in [("bridge", [10.0, 20.0, 40.0]), ("tap", tap)] {
            for (round, value) in values.into_iter().enumerate() {
                let about = ("tcp", "TCP, one stream");
                let figure = Figure::higher("throughput", "Gbit/s", value);
                record.enter(subject, about, round, figure.at("TCP by streams", "streams", 1.0));
            }
        }
        record
    }

    #[test]
    fn ratios_are_to_the_baseline_of_the_same_round() {
        let record = example([5.0, 20.0, 80.0]);
        let ratio = record.ratio(record.find("tap", "tcp", "throughput").unwrap()).unwrap();
        assert_eq!((ratio.min, ratio.median, ratio.max), (0.5, 1.0, 2.0));
    }

    #[test]
    fn a_run_says_what_was_asked_and_not_where_it_was_written() {
        let asked = "full --quick --json /tmp/run.json -o page.html --output=x --only tap";
        let words: Vec<_> = asked.split(' ').map(str::to_owned).collect();
        assert_eq!(without_files(&words), ["full", "--quick", "--only", "tap"]);
    }

    #[test]
    fn a_round_that_failed_leaves_a_gap() {
        let mut record = example([1.0; 3]);
        record.enter("tap", ("udp", ""), 2, Figure::higher("rate", "Mpps", 3.0));
        assert_eq!(record.find("tap", "udp", "rate").unwrap().values, [None, None, Some(3.0)]);
        record.enter("tap", ("udp", ""), 0, Figure::higher("rate", "Mpps", f64::NAN));
        assert_eq!(record.find("tap", "udp", "rate").unwrap().values[0], None);
    }

    #[test]
    fn a_run_that_is_taken_in_keeps_its_figures_and_its_headings() {
        let (mut record, mut other) = (example([1.0; 3]), example([2.0; 3]));
        other.subjects = vec![SubjectNote::alone("nat", "Translation"), other.subjects.remove(1)];
        let figure = Figure::higher("sessions", "k/s", 9.0);
        other.series.clear();
        other.enter("nat", ("sessions", ""), 0, figure);
        other.fail("nat", "tcp", "why");
        record.absorb(other).unwrap();
        let names: Vec<_> = record.subjects.iter().map(|note| &*note.name).collect();
        assert_eq!(names, ["bridge", "tap", "nat"]);
        assert_eq!(record.families(), ["One network", "Translation"]);
        assert!(record.find("nat", "sessions", "sessions").is_some());
        assert_eq!((record.failures.len(), record.series.len()), (1, 3));
    }

    #[test]
    fn runs_that_have_the_same_figures_or_are_of_different_machines_are_not_put_together() {
        let mut record = example([1.0; 3]);
        let before = record.clone();
        let error = record.absorb(example([2.0; 3])).unwrap_err();
        assert!(error.contains("tcp of bridge") && error.contains("diff"), "{error}");
        let mut other = example([2.0; 3]);
        other.series.clear();
        other.machine.cores += 1;
        let error = record.absorb(other.clone()).unwrap_err();
        assert!(error.contains("cores"), "{error}");
        assert_eq!(record, before, "nothing was taken in");
        other.machine = Machine { load_before: 99.0, ..before.machine.clone() };
        assert_eq!(record.absorb(other), Ok(()), "however busy it was");
    }

    #[test]
    fn what_is_written_is_read_again() {
        let record = example([1.0, 2.0, 3.0]);
        let text = serde_json::to_string(&record).unwrap();
        assert_eq!(serde_json::from_str::<Record>(&text).unwrap(), record);
        assert_eq!(record.measures("One network"), [("tcp", "TCP, one stream")]);
        assert_eq!(record.families(), ["One network"]);
    }
}
