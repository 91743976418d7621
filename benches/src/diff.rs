//! Two runs compared: figure by figure, and whether the difference is more than the runs' own spread.

use comfy_table::{CellAlignment, Table, presets};

use crate::record::{Better, Record, Series};
use crate::statistics::Spread;
use crate::summary::number;

/// What became of a figure from one run to the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Better,
    Worse,
    /// The quartiles of the two runs overlap.
    Same,
}

/// What two runs have in common, for people.
pub(crate) fn text(before: &Record, after: &Record) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(["subject", "measure", "", "before", "after", "ratio", ""]);
    for old in &before.series {
        let new = after.find(&old.subject, &old.measure, &old.metric.name);
        let Some((old_spread, new_spread)) = old.spread().zip(new.and_then(Series::spread)) else {
            continue;
        };
        let verdict = match judge(old.metric.better, &old_spread, &new_spread) {
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
    if before.machine != after.machine {
        out += "The runs were made on different machines, or under different loads:\n";
        for ((name, old), (_, new)) in before.machine.facts().into_iter().zip(after.machine.facts())
        {
            if old != new {
                out += &format!("  {name}: {old} / {new}\n");
            }
        }
    }
    out += &format!(
        "before: {} ({})\nafter:  {} ({})\n",
        before.date, before.command, after.date, after.command
    );
    out + &table.to_string() + "\n"
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
    fn what_only_one_run_has_is_left_out() {
        let mut after = example([1.0; 3]);
        after.series.retain(|series| series.subject == "bridge");
        assert!(!text(&example([1.0; 3]), &after).contains("tap "), "nothing to compare");
    }
}
