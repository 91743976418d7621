//! A run as text: a table for each measure, with ratios to the baseline.

use comfy_table::{CellAlignment, Table, presets};

use crate::record::{Record, Series};
use crate::statistics::Spread;

/// All of a run.
pub(crate) fn text(record: &Record) -> String {
    let mut out = format!("vswitch {}, {}\n", record.version, record.date);
    for (name, value) in record.machine.facts() {
        out += &format!("{name}: {value}\n");
    }
    for family in record.families() {
        let notes = record.subjects.iter().filter(|note| note.family == family);
        let baseline = notes.clone().next().map_or("", |note| &note.baseline);
        out += &match baseline {
            "" => format!("\n{family}\n"),
            _ => format!(
                "\n{family}; ratios are to {baseline}, pair by pair; [least, most] of the rounds\n"
            ),
        };
        for note in notes {
            if let Some(why) = &note.absent {
                out += &format!("not measured: {}: {why}\n", note.name);
            }
        }
        for (measure, about) in record.measures(family) {
            out += &format!("\n{measure}: {about}\n{}\n", table(record, family, measure));
        }
    }
    for failure in &record.failures {
        out += &format!("\nfailed: {}, {}: {}", failure.subject, failure.measure, failure.why);
    }
    if !record.failures.is_empty() {
        out.push('\n');
    }
    out
}

/// One measure: a row for each subject, a column for each metric.
fn table(record: &Record, family: &str, measure: &str) -> String {
    let mut metrics: Vec<(&str, &str)> = Vec::new();
    for series in record.series.iter().filter(|series| series.measure == measure) {
        if !metrics.iter().any(|(name, _)| *name == series.metric.name) {
            metrics.push((&series.metric.name, &series.metric.unit));
        }
    }
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    let headings = metrics.iter().map(|(name, unit)| match *unit {
        "" => (*name).to_owned(),
        unit => format!("{name}, {unit}"),
    });
    table.set_header(std::iter::once(String::new()).chain(headings));
    for note in record.subjects.iter().filter(|note| note.family == family) {
        let cells: Vec<_> = metrics
            .iter()
            .enumerate()
            .map(|(column, (metric, _))| {
                let series = record.find(&note.name, measure, metric);
                series.map_or_else(String::new, |series| cell(record, series, column == 0))
            })
            .collect();
        if cells.iter().any(|cell| !cell.is_empty()) {
            table.add_row(std::iter::once(note.name.clone()).chain(cells));
        }
    }
    for column in 1..=metrics.len() {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table.to_string()
}

/// The median; of what a measure is about, also the spread and the ratio.
fn cell(record: &Record, series: &Series, is_first: bool) -> String {
    let Some(spread) = series.spread() else { return String::new() };
    let Spread { min, median, max, .. } = spread;
    let ratio =
        record.ratio(series).map(|ratio| format!(" ×{:.2}", ratio.median)).unwrap_or_default();
    if is_first && series.values.len() > 1 {
        format!("{} [{}, {}]{ratio}", number(median), number(min), number(max))
    } else {
        format!("{}{ratio}", number(median))
    }
}

/// Three digits that matter.
pub(crate) fn number(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 || size == 0.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        size if size >= 1.0 => format!("{value:.2}"),
        size if size >= 0.001 => format!("{value:.3}"),
        _ => format!("{value:.1e}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::tests::example;

    #[test]
    fn numbers_have_three_digits_that_matter() {
        let shown = [0.0, 123.4, 12.34, 1.234, 0.1234, 0.000_012_34].map(number);
        assert_eq!(shown, ["0", "123", "12.3", "1.23", "0.123", "1.2e-5"]);
    }

    #[test]
    fn a_summary_has_median_spread_and_ratio() {
        let text = text(&example([5.0, 20.0, 80.0]));
        assert!(text.contains("tcp: TCP, one stream"), "{text}");
        assert!(text.contains("20.0 [5.00, 80.0] ×1.00"), "{text}");
    }
}
