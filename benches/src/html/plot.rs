//! Drawings as inline SVG: bars with whiskers, and curves over a logarithmic axis.

use std::fmt::Write;

use super::escape;
use crate::statistics::Spread;
use crate::summary::number;

/// Colours that the colour-blind can tell apart too (Okabe and Ito, "Color universal design", 2008), then lighter
/// and darker ones.
const COLOURS: [&str; 16] = [
    "#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#8c8c00", "#7b61c9",
    "#6b6b6b", "#8a4b08", "#00a5a5", "#b03060", "#5b8c3e", "#a0a0ff", "#c2185b", "#37474f",
];

/// Of a subject, by its place in its family.
pub(super) fn colour(place: usize) -> &'static str {
    COLOURS[place % COLOURS.len()]
}

/// Whether an earlier one of the family has the same colour.
pub(super) fn is_repeated(place: usize) -> bool {
    place >= COLOURS.len()
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
    /// Another curve has its colour.
    pub(super) is_dashed: bool,
    pub(super) points: Vec<(f64, f64)>,
}

/// Room for names in front of bars, at least.
const LABELS: f64 = 130.0;
const ROW: f64 = 20.0;
/// Of the longest bar.
const BARS: f64 = 440.0;
/// Behind it: a number.
const NUMBER: f64 = 70.0;

/// Room that the longest of some names takes, roughly: letters of 12 pixels are half as wide on average.
#[allow(clippy::cast_precision_loss, reason = "names are short")]
fn width_of<'a>(names: impl Iterator<Item = &'a str>) -> f64 {
    names.map(|name| name.chars().count()).max().unwrap_or(0) as f64 * 6.5
}

/// Horizontal bars of the medians from zero, whiskers from the least to the most.
pub(super) fn bars(title: &str, bars: &[Bar]) -> String {
    let labels = (width_of(bars.iter().map(|bar| &*bar.name)) + 12.0).max(LABELS);
    let most = bars.iter().map(|bar| bar.spread.max).fold(f64::MIN_POSITIVE, f64::max);
    let x = |value: f64| labels + value / most * BARS;
    let mut out = String::new();
    let mut y = 24.0;
    for bar in bars {
        let Spread { min, median, max, .. } = bar.spread;
        let (middle, name) = (y + ROW / 2.0, escape(&bar.name));
        let _ = write!(
            out,
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{name}</text>\
             <rect x=\"{labels}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{:.1}\" fill=\"{}\"/>\
             <path class=\"whisker\" d=\"M{:.1} {middle:.1}H{:.1}\"/>\
             <text class=\"dim\" x=\"{:.1}\" y=\"{:.1}\">{}</text>",
            labels - 8.0,
            middle + 4.0,
            y + 3.0,
            x(median) - labels,
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
    frame(title, (labels + BARS + NUMBER, y + 6.0), &out)
}

const SIZE: (f64, f64) = (560.0, 320.0);
const LEFT: f64 = 60.0;
const RIGHT: f64 = SIZE.0 - 180.0;
const TOP: f64 = 42.0;
const BOTTOM: f64 = SIZE.1 - 44.0;

/// From name to name of the curves.
const LEGEND_ROW: f64 = 17.0;
/// How far apart names on the horizontal axis are at least.
const APART: f64 = 28.0;

/// Curves: the horizontal axis is logarithmic; the vertical one begins at zero, or is logarithmic too where the values
/// differ by more than a hundredfold.
pub(super) fn curves(title: &str, across: &str, up: &str, curves: &[Curve]) -> String {
    let axes = Axes::around(curves);
    let mut out = axes.grid(across, up);
    let mut below = TOP + 10.0;
    for curve in curves {
        let points = curve.points.iter();
        let line: String = points
            .map(|(at, value)| format!("{:.1},{:.1} ", axes.x(*at), axes.y(*value)))
            .collect();
        let _ = write!(
            out,
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{1}\" stroke-width=\"2\"{2}/>\
             <text x=\"{3}\" y=\"{below}\" style=\"fill:{1}\">{4}</text>",
            line.trim(),
            curve.colour,
            if curve.is_dashed { " stroke-dasharray=\"5 3\"" } else { "" },
            RIGHT + 10.0,
            escape(&curve.name)
        );
        below += LEGEND_ROW;
    }
    // However many curves there are, the drawing is as high as their names, and as wide.
    let names = RIGHT + 20.0 + width_of(curves.iter().map(|curve| &*curve.name));
    frame(title, (names.max(SIZE.0), below.max(SIZE.1)), &out)
}

/// From values to places.
struct Axes {
    /// The places on the horizontal axis that have points, in order.
    marks: Vec<f64>,
    /// The vertical axis: from here, which is zero unless it is logarithmic, ...
    least: f64,
    /// ... to here.
    most: f64,
}

impl Axes {
    fn around(curves: &[Curve]) -> Self {
        let points = || curves.iter().flat_map(|curve| &curve.points);
        let mut marks: Vec<f64> = points().map(|point| point.0.max(f64::MIN_POSITIVE)).collect();
        marks.sort_by(f64::total_cmp);
        marks.dedup();
        let least = points().map(|point| point.1).fold(f64::INFINITY, f64::min);
        let most = points().map(|point| point.1).fold(0.0, f64::max);
        let is_wide = least > 0.0 && most > least * 100.0;
        let least = if is_wide { 10f64.powf(least.log10().floor()) } else { 0.0 };
        Self { marks, least, most: if most > 0.0 { most } else { 1.0 } }
    }

    fn x(&self, value: f64) -> f64 {
        let (first, last) = self.marks.first().zip(self.marks.last()).unwrap_or((&1.0, &1.0));
        let decades = (last / first).log10().max(f64::EPSILON);
        LEFT + (value.max(*first) / first).log10() / decades * (RIGHT - LEFT)
    }

    fn y(&self, value: f64) -> f64 {
        let share = if self.least > 0.0 {
            (value / self.least).log10() / (self.most / self.least).log10()
        } else {
            value / self.most
        };
        BOTTOM - share * (BOTTOM - TOP)
    }

    fn ticks(&self) -> Vec<f64> {
        if self.least > 0.0 {
            let decades = std::iter::successors(Some(self.least), |tick| Some(tick * 10.0));
            return decades.take_while(|tick| *tick <= self.most).collect();
        }
        ticks(self.most)
    }

    /// Lines, numbers and names.
    fn grid(&self, across: &str, up: &str) -> String {
        let mut out = String::new();
        for tick in self.ticks() {
            let (y, below, text) = (self.y(tick), self.y(tick) + 4.0, number(tick));
            let _ = write!(
                out,
                "<path class=\"grid\" d=\"M{LEFT} {y:.1}H{RIGHT}\"/>\
                 <text class=\"dim\" x=\"{}\" y=\"{below:.1}\" text-anchor=\"end\">{text}</text>",
                LEFT - 6.0,
            );
        }
        let mut free = f64::MIN;
        for mark in &self.marks {
            let (x, below, text) = (self.x(*mark), BOTTOM + 16.0, short(*mark));
            if x >= free {
                free = x + APART;
                let _ = write!(
                    out,
                    "<text class=\"dim\" x=\"{x:.1}\" y=\"{below}\" text-anchor=\"middle\">{text}</text>"
                );
            }
        }
        let (middle, across, up) = ((LEFT + RIGHT) / 2.0, escape(across), escape(up));
        let _ = write!(
            out,
            "<text class=\"dim\" x=\"{middle}\" y=\"{}\" text-anchor=\"middle\">{across}</text>\
             <text class=\"dim\" x=\"{LEFT}\" y=\"{}\">{up}</text>",
            SIZE.1 - 8.0,
            TOP - 8.0,
        );
        out
    }
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

    fn curve(points: Vec<(f64, f64)>) -> Curve {
        Curve { name: "x".to_owned(), colour: colour(0), is_dashed: false, points }
    }

    #[test]
    fn a_drawing_has_room_for_the_names_of_all_its_curves() {
        let many: Vec<_> = (0..40).map(|_| curve(vec![(1.0, 1.0), (2.0, 2.0)])).collect();
        let height = |drawn: &str| {
            let (_, rest) = drawn.split_once("height=\"").unwrap();
            rest.split_once('"').unwrap().0.parse::<f64>().unwrap()
        };
        assert_eq!(height(&curves("", "", "", &many[..1])), SIZE.1);
        let drawn = curves("", "", "", &many);
        assert!(height(&drawn) > TOP + 39.0 * LEGEND_ROW, "{drawn}");
        assert!(is_repeated(16) && !is_repeated(15));
    }

    #[test]
    fn a_drawing_has_room_for_long_names() {
        let width = |drawn: &str| {
            let (_, rest) = drawn.split_once("width=\"").unwrap();
            rest.split_once('"').unwrap().0.parse::<f64>().unwrap()
        };
        let long = "buffer: taken, filled, given back, and again";
        let spread = Spread::of([1.0]).unwrap();
        let bar = |name: &str| Bar { name: name.to_owned(), colour: colour(0), spread };
        let grown = width(&bars("", &[bar(long)])) - width(&bars("", &[bar("x")]));
        assert!(grown > 100.0, "{grown}");
        let named = Curve { name: long.to_owned(), ..curve(vec![(1.0, 1.0), (2.0, 2.0)]) };
        assert!(width(&curves("", "", "", &[named])) > SIZE.0 + 50.0);
    }

    fn axes(values: [f64; 2]) -> Axes {
        let points = vec![(1.0, values[0]), (100.0, values[1])];
        Axes::around(&[curve(points)])
    }

    #[test]
    fn what_differs_a_hundredfold_has_a_logarithmic_axis() {
        assert_eq!(axes([20.0, 30_000.0]).ticks(), [10.0, 100.0, 1000.0, 10_000.0]);
        assert_eq!(axes([20.0, 30.0]).ticks()[0], 0.0);
        assert_eq!(axes([0.0, 30_000.0]).ticks()[0], 0.0, "zero has no logarithm");
    }

    #[test]
    fn curves_stay_within_their_frame() {
        for values in [[0.0, 0.0], [1.0, 5.0], [3.0, 9e5]] {
            let axes = axes(values);
            assert!(
                values.iter().all(|value| (TOP - 0.01..=BOTTOM).contains(&axes.y(*value))),
                "{values:?}"
            );
            assert_eq!([axes.x(1.0), axes.x(100.0)], [LEFT, RIGHT]);
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
