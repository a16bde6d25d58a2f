//! Tables of text: columns as wide as what they hold, headers of two lines, nothing cut.

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

/// Lines of text, each indented by two; columns in which no row has anything are left out.
pub fn render(columns: &[Column], rows: &[Vec<String>]) -> String {
    let used = |i: &usize| rows.iter().any(|row| row.get(*i).is_some_and(|cell| !cell.is_empty()));
    let kept: Vec<usize> = (0..columns.len()).filter(used).collect();
    let width = |i: usize| {
        let cells = rows.iter().filter_map(|row| row.get(i));
        cells.chain(&columns[i].head).map(|text| text.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = kept.iter().map(|i| width(*i)).collect();
    let line = |cell: &dyn Fn(usize) -> String| {
        let mut out = String::from(" ");
        for (column, width) in kept.iter().zip(&widths) {
            let text = cell(*column);
            out += &match columns[*column].align {
                Align::Left => format!(" {text:<width$} "),
                Align::Right => format!(" {text:>width$} "),
            };
        }
        format!("{}\n", out.trim_end())
    };
    let mut out = String::new();
    for i in 0..2 {
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
        let text = render(&columns, &rows);
        assert_eq!(text, "              rate\n  name    a second\n  single      73.1\n  x           ±4 %\n");
    }
}
