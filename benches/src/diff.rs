//! Two runs compared: figure by figure, and whether the difference is more than the runs' own spread.

use comfy_table::{CellAlignment, Table, presets};

use crate::record::{Better, INSTRUCTIONS, Record, Series};
use crate::statistics::Spread;
use crate::summary::number;

/// What became of a figure from one run to the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Better,
    Worse,
    /// The quartiles of the two runs overlap, or nothing is known of their spread.
    Same,
}

/// Values of which there are quartiles that say something.
const LEAST_VALUES: usize = 3;

/// What two runs have in common, for people.
pub(crate) fn text(before: &Record, after: &Record) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(["subject", "measure", "", "before", "after", "ratio", ""]);
    for old in &before.series {
        let new = after.find(&old.subject, &old.measure, &old.metric.name);
        let Some((new, (old_spread, new_spread))) =
            new.and_then(|new| Some((new, old.spread().zip(new.spread())?)))
        else {
            continue;
        };
        let verdict = match verdict(old, new) {
            Verdict::Better => "better",
            Verdict::Worse => "WORSE",
            Verdict::Same => "",
        };
        table.add_row([
            old.subject.clone(),
            old.measure.clone(),
            format!("{}, {}", old.metric.name, old.metric.unit),
            number(old_spread.median),
            number(new_spread.median),
            format!("{:.2}", new_spread.median / old_spread.median),
            verdict.to_owned(),
        ]);
    }
    for column in 3..=5 {
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
    for (whose, run, other) in [("earlier", before, after), ("later", after, before)] {
        out += &only_in(whose, run, other);
    }
    out
}

/// What one run has and the other has not: nobody shall take it for unchanged.
fn only_in(whose: &str, run: &Record, other: &Record) -> String {
    let mut alone: Vec<String> = Vec::new();
    for series in run.series.iter().filter(|series| series.spread().is_some()) {
        let name = format!("{} of {}", series.measure, series.subject);
        let counterpart = other.find(&series.subject, &series.measure, &series.metric.name);
        if counterpart.and_then(Series::spread).is_none() && !alone.contains(&name) {
            alone.push(name);
        }
    }
    if alone.is_empty() {
        return String::new();
    }
    format!("only in the {whose} run: {}\n", alone.join(", "))
}

/// What became of a figure. One that varies from round to round needs rounds; one that repeats exactly does not.
fn verdict(before: &Series, after: &Series) -> Verdict {
    let is_known = |series: &Series| {
        series.metric.name == INSTRUCTIONS || series.values.iter().flatten().count() >= LEAST_VALUES
    };
    match before.spread().zip(after.spread()) {
        Some((old, new)) if is_known(before) && is_known(after) => {
            judge(before.metric.better, &old, &new)
        }
        _ => Verdict::Same,
    }
}

/// The difference counts when the middle halves of the two runs do not overlap.
fn judge(better: Better, before: &Spread, after: &Spread) -> Verdict {
    let is_more = after.lower_quartile > before.upper_quartile;
    let is_less = after.upper_quartile < before.lower_quartile;
    match (better, is_more, is_less) {
        (Better::Higher, true, _) | (Better::Lower, _, true) => Verdict::Better,
        (Better::Higher, _, true) | (Better::Lower, true, _) => Verdict::Worse,
        _ => Verdict::Same,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::tests::example;

    fn spread(values: [f64; 3]) -> Spread {
        Spread::of(values).unwrap()
    }

    #[test]
    fn only_what_is_outside_the_spread_is_better_or_worse() {
        let before = spread([1.0, 2.0, 3.0]);
        assert_eq!(judge(Better::Higher, &before, &spread([2.0, 2.4, 5.0])), Verdict::Same);
        assert_eq!(judge(Better::Higher, &before, &spread([4.0, 5.0, 6.0])), Verdict::Better);
        assert_eq!(judge(Better::Lower, &before, &spread([4.0, 5.0, 6.0])), Verdict::Worse);
        assert_eq!(judge(Better::Lower, &before, &spread([0.1, 0.2, 0.3])), Verdict::Better);
    }

    #[test]
    fn a_difference_is_shown_with_its_ratio() {
        let text = text(&example([10.0, 11.0, 12.0]), &example([20.0, 22.0, 24.0]));
        let line = text.lines().find(|line| line.contains("tap")).unwrap();
        assert!(line.contains("2.00") && line.contains("better"), "{text}");
    }

    #[test]
    fn what_only_one_run_has_is_said() {
        let mut less = example([1.0; 3]);
        less.series.retain(|series| series.subject == "bridge");
        let lost = text(&example([1.0; 3]), &less);
        assert!(lost.contains("only in the earlier run: tcp of tap\n"), "{lost}");
        assert!(!lost.contains("later run"), "{lost}");
        assert!(text(&less, &example([1.0; 3])).contains("only in the later run: tcp of tap\n"));
        assert!(!text(&less, &less).contains("only in"));
        less.series[0].values = vec![None];
        assert!(!text(&less, &less).contains("only in"), "neither has a figure");
    }

    #[test]
    fn one_value_is_no_verdict_unless_it_repeats_exactly() {
        let run = |metric: &str, value| {
            let mut record = example([1.0; 3]);
            record.enter(
                "tap",
                ("entries-1", ""),
                0,
                crate::record::Figure::lower(metric, "", value),
            );
            record
        };
        let worse = |metric| text(&run(metric, 100.0), &run(metric, 101.0)).contains("WORSE");
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
