//! Tables without lines: a head, rows, columns two blanks apart.
//!
//! For people; who wants to cut columns out uses `--json`. Cells hold no colours, so
//! that widths are those of the text.

use anstyle::{AnsiColor, Style};
use comfy_table::{CellAlignment, ContentArrangement, Table, presets};

/// How a cell lies in its column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Align {
    /// Texts.
    Left,
    /// Figures.
    Right,
}

/// A table with a head, which is shown in bold.
pub fn with_head<const N: usize>(head: [(&str, Align); N], rows: Vec<[String; N]>) -> String {
    let mut table = plain(head.map(|(_, align)| align), rows);
    table.set_header(head.map(|(title, _)| title));
    let text = lines(&table);
    let (head, rest) = text.split_once('\n').unwrap_or((&text, ""));
    let bold = Style::new().bold();
    format!("{bold}{head}{bold:#}\n{rest}")
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

fn plain<const N: usize>(align: [Align; N], rows: Vec<[String; N]>) -> Table {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    // The columns appear with the first row or head.
    table.set_header(vec![""; N]);
    table.add_rows(rows);
    for (column, align) in table.column_iter_mut().zip(align) {
        column.set_padding((0, 2));
        column.set_cell_alignment(match align {
            Align::Left => CellAlignment::Left,
            Align::Right => CellAlignment::Right,
        });
    }
    table
}

fn lines(table: &Table) -> String {
    let lines: Vec<String> = table.lines().map(|line| line.trim_end().to_owned()).collect();
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_they_must() {
        let rows = vec![["größe".into(), "1 B".into()], ["b".into(), "12 kB".into()]];
        let table = with_head([("NAME", Align::Left), ("SIZE", Align::Right)], rows);
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
