//! Drawings as inline SVG: bars with whiskers, and curves over a logarithmic axis.

use std::fmt::Write;

use super::escape;
use crate::statistics::Spread;
use crate::summary::number;

/// Colours that the colour-blind can tell apart too (Okabe and Ito, "Color universal design", 2008), then lighter
/// and darker ones.
const COLOURS: [&str; 12] = [
    "#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#8c8c00", "#7b61c9",
    "#6b6b6b", "#8a4b08", "#00a5a5", "#b03060",
];

/// Of a subject, by its place in its family.
pub(super) fn colour(place: usize) -> &'static str {
    COLOURS[place % COLOURS.len()]
}

/// A figure with its spread.
pub(super) struct Bar {
    pub(super) name: String,
    pub(super) colour: &'static str,
    pub(super) spread: Spread,
}

/// A line through points, from left to right.
pub(super) struct Curve {
    pub(super) name: String,
    pub(super) colour: &'static str,
    pub(super) points: Vec<(f64, f64)>,
}

const LABELS: f64 = 130.0;
const ROW: f64 = 20.0;

/// Horizontal bars of the medians from zero, whiskers from the least to the most.
pub(super) fn bars(title: &str, bars: &[Bar]) -> String {
    const WIDTH: f64 = 640.0;
    let most = bars.iter().map(|bar| bar.spread.max).fold(f64::MIN_POSITIVE, f64::max);
    let x = |value: f64| LABELS + value / most * (WIDTH - LABELS - 70.0);
    let mut out = String::new();
    let mut y = 24.0;
    for bar in bars {
        let Spread { min, median, max, .. } = bar.spread;
        let (middle, name) = (y + ROW / 2.0, escape(&bar.name));
        let _ = write!(
            out,
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{name}</text>\
             <rect x=\"{LABELS}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{:.1}\" fill=\"{}\"/>\
             <path class=\"whisker\" d=\"M{:.1} {middle:.1}H{:.1}\"/>\
             <text class=\"dim\" x=\"{:.1}\" y=\"{:.1}\">{}</text>",
            LABELS - 8.0,
            middle + 4.0,
            y + 3.0,
            x(median) - LABELS,
            ROW - 6.0,
            bar.colour,
            x(min),
            x(max),
            x(max) + 6.0,
            middle + 4.0,
            number(median),
        );
        y += ROW;
    }
    frame(title, (WIDTH, y + 6.0), &out)
}

const SIZE: (f64, f64) = (540.0, 320.0);
const LEFT: f64 = 60.0;
const RIGHT: f64 = SIZE.0 - 130.0;
const TOP: f64 = 34.0;
const BOTTOM: f64 = SIZE.1 - 44.0;

/// Curves: the horizontal axis is logarithmic, the vertical one begins at zero.
pub(super) fn curves(title: &str, across: &str, up: &str, curves: &[Curve]) -> String {
    let points = || curves.iter().flat_map(|curve| &curve.points);
    let most = points().map(|point| point.1).fold(f64::MIN_POSITIVE, f64::max);
    let least_x =
        points().map(|point| point.0).fold(f64::INFINITY, f64::min).max(f64::MIN_POSITIVE);
    let most_x = points().map(|point| point.0).fold(f64::MIN_POSITIVE, f64::max);
    let decades = (most_x / least_x).log10().max(f64::EPSILON);
    let x = |value: f64| LEFT + (value / least_x).log10() / decades * (RIGHT - LEFT);
    let y = |value: f64| BOTTOM - value / most * (BOTTOM - TOP);
    let mut out = String::new();
    for step in ticks(most) {
        let _ = write!(
            out,
            "<path class=\"grid\" d=\"M{LEFT} {0:.1}H{RIGHT}\"/>\
             <text class=\"dim\" x=\"{1}\" y=\"{2:.1}\" text-anchor=\"end\">{3}</text>",
            y(step),
            LEFT - 6.0,
            y(step) + 4.0,
            number(step)
        );
    }
    let mut marks: Vec<f64> = points().map(|point| point.0).collect();
    marks.sort_by(f64::total_cmp);
    marks.dedup();
    for mark in marks {
        let (at, below, text) = (x(mark), BOTTOM + 16.0, short(mark));
        let _ = write!(
            out,
            "<text class=\"dim\" x=\"{at:.1}\" y=\"{below}\" text-anchor=\"middle\">{text}</text>"
        );
    }
    for (place, curve) in (0u8..).zip(curves) {
        let line: String = curve
            .points
            .iter()
            .map(|(at, value)| format!("{:.1},{:.1} ", x(*at), y(*value)))
            .collect();
        let _ = write!(
            out,
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{1}\" stroke-width=\"2\"/>\
             <text x=\"{2}\" y=\"{3}\" style=\"fill:{1}\">{4}</text>",
            line.trim(),
            curve.colour,
            RIGHT + 10.0,
            TOP + 10.0 + f64::from(place) * 17.0,
            escape(&curve.name)
        );
    }
    let axes = format!(
        "<text class=\"dim\" x=\"{}\" y=\"{}\" text-anchor=\"middle\">{}</text>\
         <text class=\"dim\" x=\"{LEFT}\" y=\"{}\">{}</text>",
        (LEFT + RIGHT) / 2.0,
        SIZE.1 - 8.0,
        escape(across),
        TOP - 4.0,
        escape(up)
    );
    frame(title, SIZE, &(out + &axes))
}

fn frame(title: &str, (width, height): (f64, f64), inside: &str) -> String {
    format!(
        "<svg viewBox=\"0 0 {width} {height}\" width=\"{width}\" height=\"{height}\" role=\"img\">\
         <text class=\"title\" x=\"4\" y=\"15\">{}</text>{inside}</svg>\n",
        escape(title)
    )
}

/// Round numbers from zero up to a value, four to eight of them.
fn ticks(most: f64) -> Vec<f64> {
    let decade = 10f64.powf((most / 4.0).log10().floor());
    let step =
        [5.0, 2.0, 1.0].map(|times| times * decade).into_iter().find(|step| most / step >= 4.0);
    let step = step.unwrap_or(decade);
    (0u8..=8).map(|number| f64::from(number) * step).filter(|tick| *tick <= most).collect()
}

/// A place on an axis, in few letters.
fn short(value: f64) -> String {
    match value {
        value if value >= 1e6 => format!("{}M", value / 1e6),
        value if value >= 9999.5 => format!("{}k", (value / 1e3).round()),
        value => format!("{}", value.round()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_not_too_many() {
        assert_eq!(ticks(10.0), [0.0, 2.0, 4.0, 6.0, 8.0, 10.0]);
        assert_eq!(ticks(4.2), [0.0, 1.0, 2.0, 3.0, 4.0]);
        for most in [0.013, 0.7, 1.0, 19.0, 333.0, 8e6] {
            assert!((5..=9).contains(&ticks(most).len()), "{most}: {:?}", ticks(most));
        }
    }

    #[test]
    fn a_bar_is_as_long_as_its_share_of_the_longest() {
        let bar = |value| Bar {
            name: "x".to_owned(),
            colour: colour(0),
            spread: Spread::of([value]).unwrap(),
        };
        let drawn = bars("", &[bar(50.0), bar(100.0)]);
        assert!(drawn.contains("width=\"220.0\"") && drawn.contains("width=\"440.0\""), "{drawn}");
    }
}
