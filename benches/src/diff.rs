//! Two runs compared: figure by figure, and whether the difference is more than chance makes.

use std::cmp::Ordering;

use comfy_table::{CellAlignment, Table, presets};

use crate::record::{Better, INSTRUCTIONS, Metric, Record, Series};
use crate::statistics::{LEAST_VALUES, Spread, shift};
use crate::summary::number;

/// A figure of both runs.
struct Pair<'a> {
    old: &'a Series,
    /// What is compared, of each round: ratios to the baseline where there is one, as what the machine did meanwhile hit both.
    before: Vec<f64>,
    after: Vec<f64>,
    /// The baseline.
    to: &'a str,
}

/// What two runs have in common, for people.
pub(crate) fn text(before: &Record, after: &Record) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table
        .set_header(["subject", "measure", "", "before", "after", "to", "before", "after", "", ""]);
    let (mut judged, mut unjudged) = (0, 0);
    for old in &before.series {
        let new = after.find(&old.subject, &old.measure, &old.metric.name);
        let Some((new, (old_spread, new_spread))) =
            new.and_then(|new| Some((new, old.spread().zip(new.spread())?)))
        else {
            continue;
        };
        let pair = Pair::of((before, old), (after, new));
        match pair.is_judged() {
            Some(true) => judged += 1,
            Some(false) => unjudged += 1,
            None => {}
        }
        let medians = [old_spread.median, new_spread.median].map(number);
        table.add_row(
            [old.subject.clone(), old.measure.clone(), named(&old.metric)]
                .into_iter()
                .chain(medians)
                .chain(pair.cells()),
        );
    }
    for column in [3, 4, 6, 7, 8] {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    let mut out = String::new();
    let differences = before.machine.differences(&after.machine);
    if !differences.is_empty() {
        out += &format!("The runs are of different machines:\n  {}\n", differences.join("\n  "));
    }
    for (when, run) in [("before:", before), ("after: ", after)] {
        let (version, load) = (&run.version, run.machine.load_before);
        out +=
            &format!("{when} {}, vswitch {version}, load {load:.2} ({})\n", run.date, run.command);
    }
    out += &table.to_string();
    out.push('\n');
    out += &verdicts(judged, unjudged);
    for (whose, run, other) in [("earlier", before, after), ("later", after, before)] {
        out += &only_in(whose, run, other);
    }
    out
}

/// What the verdicts are worth.
fn verdicts(judged: usize, unjudged: usize) -> String {
    let mut out = String::new();
    if judged > 0 {
        out += &format!(
            "\"better\" and \"WORSE\" are what chance makes in one of a hundred figures that did not change, and {judged} were looked at\n"
        );
    }
    if unjudged > 0 {
        out += &format!(
            "{unjudged} have no verdict: it takes {LEAST_VALUES} rounds in both runs (`--rounds {LEAST_VALUES}`)\n"
        );
    }
    out
}

fn named(metric: &Metric) -> String {
    match &*metric.unit {
        "" => metric.name.clone(),
        unit => format!("{}, {unit}", metric.name),
    }
}

impl<'a> Pair<'a> {
    fn of(before: (&'a Record, &'a Series), after: (&Record, &Series)) -> Self {
        let (to, old) = (before.0.baseline(before.1), before.1);
        let ratios = (to == after.0.baseline(after.1))
            .then(|| before.0.ratios(before.1).zip(after.0.ratios(after.1)))
            .flatten()
            .filter(|(before, after)| !before.is_empty() && !after.is_empty());
        let values = |series: &Series| series.values.iter().flatten().copied().collect();
        match ratios {
            Some((before, after)) => Self { old, before, after, to },
            None => Self { old, before: values(before.1), after: values(after.1), to: "" },
        }
    }

    /// The baseline is what the others are compared with.
    fn is_baseline(&self) -> bool {
        self.to == self.old.subject
    }

    /// Of what repeats exactly one value is enough.
    fn is_exact(&self) -> bool {
        self.old.metric.name == INSTRUCTIONS
    }

    /// Whether there are rounds enough for a verdict. `None` where there is nothing to judge.
    fn is_judged(&self) -> Option<bool> {
        let is_enough = self.before.len().min(self.after.len()) >= LEAST_VALUES;
        (!self.is_baseline()).then_some(is_enough || self.is_exact())
    }

    /// The baseline, the ratios to it, how they changed, and whether for the better.
    fn cells(&self) -> [String; 5] {
        let medians = Spread::of(self.before.iter().copied())
            .zip(Spread::of(self.after.iter().copied()))
            .map(|(before, after)| (before.median, after.median));
        let Some((before, after)) = medians.filter(|_| !self.is_baseline()) else {
            return Default::default();
        };
        let change = if before == 0.0 { String::new() } else { format!("×{:.2}", after / before) };
        let verdict = self.verdict(before, after).to_owned();
        let [old, new] = match self.to {
            "" => Default::default(),
            _ => [before, after].map(number),
        };
        [self.to.to_owned(), old, new, change, verdict]
    }

    /// Whether a figure is another one, and a better one.
    fn verdict(&self, before: f64, after: f64) -> &'static str {
        let order = if self.is_exact() {
            after.total_cmp(&before)
        } else {
            shift(&self.before, &self.after)
        };
        match (self.old.metric.better, order) {
            (_, Ordering::Equal) => "",
            (Better::Higher, Ordering::Greater) | (Better::Lower, Ordering::Less) => "better",
            _ => "WORSE",
        }
    }
}

/// What one run has and the other has not: nobody shall take it for unchanged.
fn only_in(whose: &str, run: &Record, other: &Record) -> String {
    let is_alone = |series: &&Series| {
        let counterpart = other.find(&series.subject, &series.measure, &series.metric.name);
        series.spread().is_some() && counterpart.and_then(Series::spread).is_none()
    };
    let mut alone: Vec<(&str, Vec<&str>)> = Vec::new();
    for Series { subject, measure, .. } in run.series.iter().filter(is_alone) {
        match alone.iter_mut().find(|(known, _)| known == subject) {
            Some((_, measures)) if measures.contains(&&**measure) => {}
            Some((_, measures)) => measures.push(measure),
            None => alone.push((subject, vec![measure])),
        }
    }
    if alone.is_empty() {
        return String::new();
    }
    let all: Vec<_> =
        alone.iter().map(|(subject, measures)| summed_up(subject, measures, other)).collect();
    format!("only in the {whose} run: {}\n", all.join("; "))
}

/// Measures of a subject that the other run has not: those of one that it has nothing of are not named, and neither are many.
fn summed_up(subject: &str, measures: &[&str], other: &Record) -> String {
    const NAMED: usize = 4;
    match measures.len() {
        _ if !other.series.iter().any(|series| series.subject == subject) => subject.to_owned(),
        ..=NAMED => format!("{} of {subject}", measures.join(", ")),
        more => format!("{more} measures of {subject}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::tests::example;

    /// Five rounds of `tap` and the bridge.
    fn run(tap: [f64; 5], bridge: [f64; 5]) -> Record {
        let mut record = example([1.0; 3]);
        for (series, values) in record.series.iter_mut().zip([bridge, tap]) {
            series.values = values.map(Some).to_vec();
        }
        record
    }

    fn line_of<'a>(text: &'a str, subject: &str) -> &'a str {
        text.lines().map(str::trim).find(|line| line.starts_with(subject)).unwrap()
    }

    #[test]
    fn ratios_to_the_baseline_of_the_same_round_are_compared() {
        let before = run([10.0, 11.0, 12.0, 13.0, 14.0], [10.0; 5]);
        // The machine is half as fast, and so is everything on it.
        let slower = text(&before, &run([5.0, 5.5, 6.0, 6.5, 7.0], [5.0; 5]));
        let line = line_of(&slower, "tap");
        assert!(line.contains("12.0") && line.contains("6.00") && line.contains("×1.00"), "{line}");
        assert!(!line.ends_with("WORSE"), "{line}");
        let worse = text(&before, &run([5.0, 5.5, 6.0, 6.5, 7.0], [10.0; 5]));
        let line = line_of(&worse, "tap");
        assert!(line.contains("bridge") && line.contains("×0.50"), "{line}");
        assert!(line.ends_with("WORSE"), "{line}");
        assert!(!line_of(&worse, "bridge").contains('×'), "{worse}");
        let better = text(&run([5.0, 5.5, 6.0, 6.5, 7.0], [10.0; 5]), &before);
        assert!(line_of(&better, "tap").ends_with("better"), "{better}");
    }

    #[test]
    fn with_another_baseline_the_figures_themselves_are_compared() {
        let (before, mut after) = (run([10.0; 5], [10.0; 5]), run([5.0; 5], [5.0; 5]));
        after.subjects.iter_mut().for_each(|note| note.baseline = "veth".to_owned());
        let text = text(&before, &after);
        assert!(line_of(&text, "tap").contains("×0.50"), "{text}");
    }

    #[test]
    fn a_figure_of_nothing_has_no_ratio() {
        let text = text(&run([0.0; 5], [1.0; 5]), &run([1.0; 5], [1.0; 5]));
        assert!(!text.contains("inf") && !text.contains("NaN"), "{text}");
    }

    #[test]
    fn too_few_rounds_are_said_to_be_no_verdict() {
        let text = text(&example([10.0, 11.0, 12.0]), &example([20.0, 22.0, 24.0]));
        let line = line_of(&text, "tap");
        assert!(line.contains("×2.00") && !line.contains("better"), "{text}");
        assert!(text.contains("1 have no verdict: it takes 5 rounds in both runs"), "{text}");
    }

    #[test]
    fn what_only_one_run_has_is_said() {
        let mut less = example([1.0; 3]);
        less.series.retain(|series| series.subject == "bridge");
        let lost = text(&example([1.0; 3]), &less);
        assert!(lost.contains("only in the earlier run: tap\n"), "{lost}");
        assert!(!lost.contains("later run"), "{lost}");
        let mut more = example([1.0; 3]);
        for measure in ["a", "b", "c", "d"] {
            more.enter("tap", (measure, ""), 0, crate::record::Figure::higher("rate", "", 1.0));
        }
        assert!(
            text(&example([1.0; 3]), &more).contains("only in the later run: a, b, c, d of tap\n")
        );
        more.enter("tap", ("e", ""), 0, crate::record::Figure::higher("rate", "", 1.0));
        assert!(text(&more, &example([1.0; 3])).contains("run: 5 measures of tap\n"));
        assert!(text(&less, &example([1.0; 3])).contains("only in the later run: tap\n"));
        assert!(!text(&less, &less).contains("only in"));
        less.series[0].values = vec![None];
        assert!(!text(&less, &less).contains("only in"), "neither has a figure");
    }

    #[test]
    fn one_value_is_no_verdict_unless_it_repeats_exactly() {
        let run = |metric: &str, value| {
            let mut record = example([1.0; 3]);
            let figure = crate::record::Figure::lower(metric, "", value);
            record.enter("tap", ("entries-1", ""), 0, figure);
            record
        };
        let worse = |metric| {
            let text = text(&run(metric, 100.0), &run(metric, 101.0));
            text.lines().any(|line| line.trim().ends_with("WORSE"))
        };
        assert!(!worse("cycles") && worse(INSTRUCTIONS));
    }

    #[test]
    fn how_busy_a_machine_was_makes_it_no_other_machine() {
        let (before, mut after) = (example([1.0; 3]), example([1.0; 3]));
        after.machine.load_before = before.machine.load_before + 5.0;
        assert!(!text(&before, &after).contains("different machines"));
        after.machine.kernel = "another".to_owned();
        assert!(text(&before, &after).contains("different machines:\n  kernel: "));
    }
}
