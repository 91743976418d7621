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

/// Aligned columns, numbers (named by `right`) to the right.
pub fn aligned(headings: &[&str], right: &[usize], rows: Vec<Vec<String>>) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(headings.iter().map(|heading| heading.to_uppercase()));
    for row in rows {
        table.add_row(row.iter().map(|cell| printable(cell)));
    }
    for column in right {
        if let Some(column) = table.column_mut(*column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    let lines = table.to_string();
    lines.lines().map(|line| line.trim_end().to_owned() + "\n").collect()
}

/// Text from outside, with whatever a terminal would obey made visible.
pub fn printable(text: &str) -> String {
    text.chars()
        .flat_map(|c| {
            let escape = c.is_control() && c != '\n';
            let plain = (!escape).then_some(c);
            plain.into_iter().chain(c.escape_default().take(if escape { 10 } else { 0 }))
        })
        .collect()
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

/// A time that passed, in the unit that suits it.
pub fn ago(milliseconds: u64) -> String {
    match milliseconds {
        0..1000 => format!("{milliseconds} ms"),
        1000..60_000 => format!("{} s", milliseconds / 1000),
        60_000..3_600_000 => format!("{} min", milliseconds / 60_000),
        _ => format!("{} h", milliseconds / 3_600_000),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_and_numbers_stand_right() {
        let rows = vec![
            vec!["a".to_owned(), "1".to_owned()],
            vec!["longer".to_owned(), "1000".to_owned()],
        ];
        let expected = " NAME    FRAMES\n a            1\n longer    1000\n";
        assert_eq!(aligned(&["name", "frames"], &[1], rows), expected);
    }

    #[test]
    fn what_a_terminal_would_obey_is_shown_instead() {
        assert_eq!(printable("a\x1b[31mb"), "a\\u{1b}[31mb");
    }

    #[test]
    fn figures_are_readable() {
        assert_eq!(count(1_234_567), "1 234 567");
        assert_eq!(bytes(1536), "1.5 KiB");
        assert_eq!(ago(61_000), "1 min");
    }
}
