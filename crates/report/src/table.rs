//! Tables of text: columns as wide as what they hold, headers of two lines, nothing cut. No line is wider than a
//! terminal at least is, as long as the names leave room for a figure.

use crate::wrapped::COLUMNS;

/// How a column stands.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Align {
    /// Words.
    Left,
    /// Figures.
    Right,
}

/// A column's head.
pub struct Column {
    /// What it is, and its unit below.
    pub head: [String; 2],
    /// How it stands.
    pub align: Align,
}

impl Column {
    /// A column of words.
    pub fn words(name: &str) -> Self {
        Column { head: [String::new(), name.to_owned()], align: Align::Left }
    }

    /// A column of figures.
    pub fn figures(name: &str, unit: &str) -> Self {
        Column { head: [name.to_owned(), unit.to_owned()], align: Align::Right }
    }
}

/// Lines of text, each indented by two; columns in which no row has anything are left out. What does not fit beside the
/// first `names` columns comes in a table of its own below, with them again.
pub fn render(columns: &[Column], names: usize, rows: &[Vec<String>]) -> String {
    let used = |i: &usize| rows.iter().any(|row| row.get(*i).is_some_and(|cell| !cell.is_empty()));
    let (names, figures): (Vec<usize>, Vec<usize>) = (0..columns.len()).filter(used).partition(|i| *i < names);
    let width = |i: &usize| {
        let cells = rows.iter().filter_map(|row| row.get(*i));
        cells.chain(&columns[*i].head).map(|text| text.chars().count()).max().unwrap_or(0)
    };
    // Two blanks before each.
    let room = COLUMNS.saturating_sub(names.iter().map(|i| width(i) + 2).sum());
    let mut blocks: Vec<(Vec<usize>, usize)> = Vec::new();
    for figure in figures {
        let needs = width(&figure) + 2;
        match blocks.last_mut() {
            Some((block, taken)) if *taken + needs <= room => {
                block.push(figure);
                *taken += needs;
            }
            _ => blocks.push((vec![figure], needs)),
        }
    }
    if blocks.is_empty() {
        blocks.push((Vec::new(), 0));
    }
    let tables = blocks.iter().map(|(figures, _)| {
        let shown: Vec<(usize, usize)> = names.iter().chain(figures).map(|i| (*i, width(i))).collect();
        one_table(columns, &shown, rows)
    });
    tables.collect::<Vec<_>>().join("\n")
}

/// One table of some columns with their widths.
fn one_table(columns: &[Column], shown: &[(usize, usize)], rows: &[Vec<String>]) -> String {
    let line = |cell: &dyn Fn(usize) -> String| {
        let mut out = String::new();
        for &(column, width) in shown {
            let text = cell(column);
            out += &match columns[column].align {
                Align::Left => format!("  {text:<width$}"),
                Align::Right => format!("  {text:>width$}"),
            };
        }
        format!("{}\n", out.trim_end())
    };
    let mut out = String::new();
    let above = shown.iter().any(|(column, _)| !columns[*column].head[0].is_empty());
    for i in usize::from(!above)..2 {
        out += &line(&|column| columns[column].head[i].clone());
    }
    for row in rows {
        out += &line(&|column| row.get(column).cloned().unwrap_or_default());
    }
    out
}

/// One line of CSV (RFC 4180), with its line end.
pub fn csv_line(cells: impl Iterator<Item = String>) -> String {
    let quote = |cell: String| match cell.contains([',', '"', '\n', '\r']) {
        true => format!("\"{}\"", cell.replace('"', "\"\"")),
        false => cell,
    };
    cells.map(quote).collect::<Vec<_>>().join(",") + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_and_empty_ones_are_left_out() {
        let columns = [Column::words("name"), Column::figures("nothing", ""), Column::figures("rate", "a second")];
        let rows = [
            vec!["single".to_owned(), String::new(), "73.1".to_owned()],
            vec!["x".to_owned(), String::new(), "±4 %".to_owned()],
        ];
        let text = render(&columns, 1, &rows);
        assert_eq!(text, "              rate\n  name    a second\n  single      73.1\n  x           ±4 %\n");
    }

    #[test]
    fn what_does_not_fit_comes_below_with_its_names() {
        let mut columns = vec![Column::words("name")];
        columns.extend(["a", "b", "c"].map(|unit| Column::figures("", unit)));
        let row = |name: &str| vec![name.to_owned(), "1".repeat(30), "2".repeat(30), "3".repeat(9)];
        let text = render(&columns, 1, &[row("x"), row("y")]);
        assert!(text.lines().all(|line| line.chars().count() <= COLUMNS), "{text}");
        let tables: Vec<&str> = text.split("\n\n").collect();
        let [first, second] = tables[..] else { panic!("{text}") };
        assert!(first.contains('1') && first.contains('2') && !first.contains('3'), "{text}");
        assert_eq!(second.trim_start(), "name          c\n  x     333333333\n  y     333333333\n");
    }
}
