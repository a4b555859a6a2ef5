//! Tables without lines: a head, rows, columns two blanks apart.
//!
//! For people; who wants to cut columns out uses `--json`. Cells hold no colours, so
//! that widths are those of the text.

use anstyle::{AnsiColor, Style};
use unicode_width::UnicodeWidthStr as _;

/// How a cell lies in its column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Align {
    /// Texts.
    Left,
    /// Figures.
    Right,
}

/// A table with a head, which is shown in bold.
pub fn with_head<const N: usize>(head: [(&str, Align); N], rows: &[[String; N]]) -> String {
    let mut widths = head.map(|(title, _)| title.width());
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.width());
        }
    }
    let align = head.map(|(_, align)| align);
    let bold = Style::new().bold();
    let length = widths.iter().sum::<usize>() + 2 * N;
    let mut text = String::with_capacity((rows.len() + 1) * length + 16);
    text += &bold.render().to_string();
    add_line(&mut text, head.map(|(title, _)| title), widths, align);
    text += &bold.render_reset().to_string();
    for row in rows {
        text.push('\n');
        add_line(&mut text, row.each_ref().map(String::as_str), widths, align);
    }
    text
}

fn add_line<const N: usize>(
    text: &mut String,
    cells: [&str; N],
    widths: [usize; N],
    align: [Align; N],
) {
    let start = text.len();
    for ((cell, width), align) in cells.into_iter().zip(widths).zip(align) {
        if text.len() > start {
            text.push_str("  ");
        }
        let blanks = width - cell.width();
        let (before, after) = match align {
            Align::Left => (0, blanks),
            Align::Right => (blanks, 0),
        };
        text.extend(std::iter::repeat_n(' ', before));
        text.push_str(cell);
        text.extend(std::iter::repeat_n(' ', after));
    }
    text.truncate(start + text[start..].trim_end().len());
}

/// Two columns: what it is, and the value. Values may have several lines.
pub fn facts(facts: &[(&str, String)]) -> String {
    let width = facts.iter().map(|(what, _)| what.chars().count()).max().unwrap_or(0);
    let label = AnsiColor::Cyan.on_default();
    let mut text = String::new();
    for (what, value) in facts {
        let mut values = value.lines();
        let first = values.next().unwrap_or("");
        text += format!("{label}{what:width$}{label:#}  {first}").trim_end();
        text.push('\n');
        for further in values {
            text += format!("{:width$}  {further}", "").trim_end();
            text.push('\n');
        }
    }
    text.pop();
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_they_must() {
        let rows = vec![["größe".into(), "1 B".into()], ["b".into(), "12 kB".into()]];
        let table = with_head([("NAME", Align::Left), ("SIZE", Align::Right)], &rows);
        let plain = anstream::adapter::strip_str(&table).to_string();
        assert_eq!(plain, "NAME    SIZE\ngröße    1 B\nb      12 kB");
    }

    #[test]
    fn facts_stand_side_by_side() {
        let text = facts(&[("name", "data".into()), ("recipe", "import re\n\nimport os".into())]);
        let plain = anstream::adapter::strip_str(&text).to_string();
        assert_eq!(plain, "name    data\nrecipe  import re\n\n        import os");
    }
}
