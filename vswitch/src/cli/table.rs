//! Tables and figures for people.

use comfy_table::{CellAlignment, Table, presets};

/// How output looks.
#[derive(Debug, Clone, Copy)]
pub struct Style {
    /// With colours.
    pub color: bool,
}

impl Style {
    /// Text that says that all is well.
    pub fn good(self, text: &str) -> String {
        self.paint("32", text)
    }

    /// Text that says that something is not.
    pub fn bad(self, text: &str) -> String {
        self.paint("31", text)
    }

    /// A heading.
    pub fn bold(self, text: &str) -> String {
        self.paint("1", text)
    }

    fn paint(self, code: &str, text: &str) -> String {
        if self.color { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

/// Columns two spaces apart, numbers (named by `right`) to the right.
pub fn aligned(headings: &[&str], right: &[usize], rows: Vec<Vec<String>>) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(headings.iter().map(|heading| heading.to_uppercase()));
    for row in rows {
        table.add_row(row.iter().map(|cell| printable(cell)));
    }
    for (number, column) in table.column_iter_mut().enumerate() {
        column.set_padding((0, 2));
        if right.contains(&number) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    trimmed(&table.to_string())
}

/// Names and values, one pair on each line.
pub fn facts(rows: &[(&str, String)]) -> String {
    let width = rows.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    let lines = rows.iter().map(|(name, value)| format!("{name:width$}  {}\n", printable(value)));
    trimmed(&lines.collect::<String>())
}

fn trimmed(text: &str) -> String {
    text.lines().map(|line| line.trim_end().to_owned() + "\n").collect()
}

/// Text from outside, with whatever a terminal would obey made visible: control characters, and those that
/// are not seen or that change the order of others.
pub fn printable(text: &str) -> String {
    let obeyed = |c: char| {
        c.is_control()
            || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
    };
    text.chars().fold(String::with_capacity(text.len()), |mut shown, c| {
        if obeyed(c) {
            shown.extend(c.escape_default())
        } else {
            shown.push(c)
        }
        shown
    })
}

/// A count, in groups of three digits.
pub fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(' ');
        }
        text.push(digit);
    }
    text
}

/// A number of bytes, in the unit that suits it.
#[allow(clippy::cast_precision_loss, reason = "a figure for people")]
pub fn bytes(number: u64) -> String {
    let mut value = number as f64;
    for unit in ["B", "KiB", "MiB", "GiB"] {
        if value < 1024.0 {
            return if unit == "B" { format!("{number} B") } else { format!("{value:.1} {unit}") };
        }
        value /= 1024.0;
    }
    format!("{value:.1} TiB")
}

/// A time that passed, in the two units that suit it.
pub fn duration(milliseconds: u64) -> String {
    let seconds = milliseconds / 1000;
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    match seconds {
        0 => format!("{milliseconds} ms"),
        1..60 => format!("{seconds} s"),
        60..3600 => format!("{minutes} min {} s", seconds % 60),
        3600..86_400 => format!("{hours} h {} min", minutes % 60),
        _ => format!("{days} d {} h", hours % 24),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_and_numbers_stand_right() {
        let rows = vec![
            vec!["a".to_owned(), "1".to_owned(), "x".to_owned()],
            vec!["longer".to_owned(), "1000".to_owned(), String::new()],
        ];
        let expected = "\
NAME    FRAMES  END
a            1  x
longer    1000
";
        assert_eq!(aligned(&["name", "frames", "end"], &[1], rows), expected);
    }

    #[test]
    fn names_and_values_are_aligned() {
        let rows = [("port", "p0".to_owned()), ("MTU", "1500".to_owned()), ("x", String::new())];
        assert_eq!(facts(&rows), "port  p0\nMTU   1500\nx\n");
    }

    #[test]
    fn what_a_terminal_would_obey_is_shown_instead() {
        assert_eq!(printable("a\x1b[31mb\n"), "a\\u{1b}[31mb\\n");
        assert_eq!(printable("\u{9b}2J\u{202e}x"), "\\u{9b}2J\\u{202e}x");
        assert_eq!(printable("Gr\u{fc}n \u{2713} \\"), "Gr\u{fc}n \u{2713} \\");
    }

    #[test]
    fn a_name_cannot_break_out_of_its_cell() {
        let rows = vec![vec!["a\nb".to_owned(), "c".to_owned()]];
        assert_eq!(aligned(&["x", "y"], &[], rows), "X     Y\na\\nb  c\n");
    }

    #[test]
    fn figures_are_readable() {
        assert_eq!([0, 999, 1000, 1_234_567].map(count), ["0", "999", "1 000", "1 234 567"]);
        assert_eq!([0, 1023, 1536, 1 << 50].map(bytes), ["0 B", "1023 B", "1.5 KiB", "1024.0 TiB"]);
        let times = [0, 999, 1000, 61_000, 3_660_000, 90_000_000].map(duration);
        assert_eq!(times, ["0 ms", "999 ms", "1 s", "1 min 1 s", "1 h 1 min", "1 d 1 h"]);
    }

    #[test]
    fn colours_are_there_when_they_apply() {
        assert_eq!(Style { color: true }.bad("x"), "\x1b[31mx\x1b[0m");
        assert_eq!(Style { color: false }.bad("x"), "x");
    }
}
