//! A run as one page: drawings, figures, failures, and the facts of the machine. Everything is in the one file; it
//! asks nobody for anything.

mod plot;

use std::fmt::Write;

use crate::measure::MACHINE_CPU;
use crate::record::{Record, Series, SubjectNote};
use crate::summary::number;
use plot::{Bar, Curve};

const STYLE: &str = include_str!("style.css");

/// What the figures are.
const HOW_TO_READ: &str = "<p>Figures are the medians of the rounds, whiskers and what appears under the pointer the least and the most. \
× is the median of the ratios to the baseline (the subject at ×1.00) <em>of the same round</em>, and no ratio of two medians: where the machine's pace or the scheduler's \
placement of the ends changes from round to round, as that of TCP and of request/response does, the two differ.</p>\n";

/// The page.
pub(crate) fn page(record: &Record) -> String {
    let mut out = String::new();
    let (date, command) = (escape(&record.date), escape(&record.command));
    let _ = write!(
        out,
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width\">\
         <title>vswitch benches, {date}</title><style>{STYLE}</style></head><body>\n\
         <h1>Switches compared</h1>\n<p>{date}, vswitch {}, <code>{command}</code></p>\n",
        escape(&record.version)
    );
    out += &facts(record);
    out += HOW_TO_READ;
    for family in record.families() {
        let _ = write!(out, "<h2>{}</h2>\n{}", escape(family), subjects(record, family));
        out += &drawings(record, family);
        for (measure, about) in record.measures(family) {
            out += &section(record, family, measure, about);
        }
    }
    out += &failures(record);
    out += "</body></html>\n";
    out
}

/// Text that means itself in HTML.
pub(crate) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => out += "&amp;",
            '<' => out += "&lt;",
            '>' => out += "&gt;",
            '"' => out += "&quot;",
            _ => out.push(letter),
        }
    }
    out
}

fn facts(record: &Record) -> String {
    let rows = record.machine.facts().into_iter();
    let rows = rows.map(|(name, value)| format!("<tr><th>{name}<td>{}", escape(&value)));
    format!("<table class=\"facts\">{}</table>\n", rows.collect::<String>())
}

fn in_family<'a>(
    record: &'a Record,
    family: &'a str,
) -> impl Iterator<Item = (usize, &'a SubjectNote)> {
    record.subjects.iter().filter(move |note| note.family == family).enumerate()
}

fn subjects(record: &Record, family: &str) -> String {
    let mut out = String::from("<dl>");
    for (place, note) in in_family(record, family) {
        let version = note.version.as_ref().map(|version| format!(" ({})", escape(version)));
        let absent =
            note.absent.as_ref().map(|why| format!(" <em>Not measured: {}.</em>", escape(why)));
        let _ = write!(
            out,
            "<dt><i style=\"background:{}\"></i>{}<dd>{}{}{}",
            plot::colour(place),
            escape(&note.name),
            escape(&note.about),
            version.unwrap_or_default(),
            absent.unwrap_or_default()
        );
    }
    out + "</dl>\n"
}

/// The curves of a family: by frame size, by flows, by percentile.
fn drawings(record: &Record, family: &str) -> String {
    let mut names: Vec<&str> = Vec::new();
    for spot in record.series.iter().filter_map(|series| series.spot.as_ref()) {
        if !names.contains(&&*spot.drawing) {
            names.push(&spot.drawing);
        }
    }
    let drawn = names.into_iter().filter_map(|name| drawing(record, family, name));
    format!("<div class=\"plots\">{}</div>\n", drawn.collect::<String>())
}

/// One drawing, if it has a curve: a single place is no curve.
fn drawing(record: &Record, family: &str, name: &str) -> Option<String> {
    let (mut curves, mut axes) = (Vec::new(), None);
    for (place, note) in in_family(record, family) {
        let mut points: Vec<(f64, f64)> = Vec::new();
        for series in record.series.iter().filter(|series| series.subject == note.name) {
            let Some(spot) = series.spot.as_ref().filter(|spot| spot.drawing == name) else {
                continue;
            };
            let Some(spread) = series.spread() else { continue };
            points.push((spot.at, spread.median));
            axes.get_or_insert_with(|| (spot.axis.clone(), series.metric.unit.clone()));
        }
        points.sort_by(|a, b| a.0.total_cmp(&b.0));
        if points.len() > 1 {
            let (colour, is_dashed) = (plot::colour(place), plot::is_repeated(place));
            curves.push(Curve { name: note.name.clone(), colour, is_dashed, points });
        }
    }
    let (across, up) = axes.filter(|_| !curves.is_empty())?;
    Some(plot::curves(name, &across, &up, &curves))
}

/// One measure: bars with whiskers of what it is about and of what it costs, and a table of everything.
fn section(record: &Record, family: &str, measure: &str, about: &str) -> String {
    let mut metrics: Vec<&Series> = Vec::new();
    for series in record.series.iter().filter(|series| series.measure == measure) {
        if !metrics.iter().any(|known| known.metric.name == series.metric.name) {
            metrics.push(series);
        }
    }
    let drawn =
        metrics.iter().take(1).chain(metrics.iter().skip(1).filter(|series| is_drawn(series)));
    let bars: String = drawn.map(|series| bars(record, family, series)).collect();
    // What is compared with nothing is in the curves, and its table for those who ask.
    let is_compared = in_family(record, family).any(|(_, note)| !note.baseline.is_empty());
    let rounds = metrics.iter().map(|series| series.values.len()).max().unwrap_or(0);
    format!(
        "<details{}><summary>{} <small>{rounds} {}</small></summary>{bars}{}</details>\n",
        if is_compared { " open" } else { "" },
        escape(about),
        if rounds == 1 { "round" } else { "rounds" },
        table(record, family, measure, &metrics)
    )
}

/// What else has bars: what a user pays.
fn is_drawn(series: &Series) -> bool {
    series.metric.name == MACHINE_CPU
}

/// A metric of a measure, of every subject that has it.
fn bars(record: &Record, family: &str, of: &Series) -> String {
    let mut bars = Vec::new();
    for (place, note) in in_family(record, family) {
        let series = record.find(&note.name, &of.measure, &of.metric.name);
        if let Some(spread) = series.and_then(Series::spread) {
            bars.push(Bar { name: note.name.clone(), colour: plot::colour(place), spread });
        }
    }
    plot::bars(&format!("{}, {}", of.metric.name, of.metric.unit), &bars)
}

fn table(record: &Record, family: &str, measure: &str, metrics: &[&Series]) -> String {
    let mut out = String::from("<table><tr><th>");
    for series in metrics {
        let _ =
            write!(out, "<th>{}<br>{}", escape(&series.metric.name), escape(&series.metric.unit));
    }
    for (_, note) in in_family(record, family) {
        let cell = |known: &&Series| {
            let series = record.find(&note.name, measure, &known.metric.name)?;
            let spread = series.spread()?;
            let ratio =
                record.ratio(series).map(|ratio| format!("<small>×{:.2}</small>", ratio.median));
            let title = format!("{} to {}", number(spread.min), number(spread.max));
            Some(format!(
                "<td title=\"{title}\">{} {}",
                number(spread.median),
                ratio.unwrap_or_default()
            ))
        };
        let cells: Vec<_> = metrics.iter().map(cell).collect();
        if cells.iter().any(Option::is_some) {
            let _ = write!(out, "<tr><th>{}", escape(&note.name));
            cells.into_iter().for_each(|cell| out += &cell.unwrap_or_else(|| "<td>".to_owned()));
        }
    }
    out + "</table>"
}

fn failures(record: &Record) -> String {
    if record.failures.is_empty() {
        return String::new();
    }
    let row = |failure: &crate::record::Failure| {
        let [subject, measure, why] =
            [&failure.subject, &failure.measure, &failure.why].map(|text| escape(text));
        format!("<tr><th>{subject}<td>{measure}<td class=\"words\">{why}")
    };
    let rows: String = record.failures.iter().map(row).collect();
    format!("<h2>What could not be measured</h2><table>{rows}</table>\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::tests::example;

    #[test]
    fn a_page_needs_nothing_else_and_escapes_what_it_is_given() {
        let page = page(&example([5.0, 20.0, 80.0]));
        assert!(page.contains("the &lt;tap&gt;") && !page.contains("<tap>"));
        for outside in ["src=", "href=", "http:", "https:", "@import", "url("] {
            assert!(!page.contains(outside), "{outside}");
        }
        assert!(page.contains("×1.00") && page.contains("<svg") && page.contains("3 rounds"));
    }

    #[test]
    fn what_the_machine_pays_has_bars_too() {
        let mut record = example([1.0; 3]);
        let bars = |record: &Record| page(record).matches("<rect").count();
        let before = bars(&record);
        let figure = crate::record::Figure::lower(MACHINE_CPU, "CPU s/Gbit", 0.1);
        record.enter("tap", ("tcp", ""), 0, figure);
        assert_eq!(bars(&record), before + 1);
    }

    #[test]
    fn one_place_is_no_curve_and_two_are_one() {
        let mut record = example([1.0; 3]);
        assert!(drawing(&record, "One network", "TCP by streams").is_none());
        let figure = crate::record::Figure::higher("throughput", "Gbit/s", 7.0);
        record.enter("tap", ("tcp4", ""), 0, figure.at("TCP by streams", "streams", 4.0));
        let drawing = drawing(&record, "One network", "TCP by streams").unwrap();
        assert_eq!(drawing.matches("<polyline").count(), 1, "{drawing}");
    }
}
