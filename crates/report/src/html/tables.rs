//! Tables of figures, and lists of names with what they mean.

use super::Numbers;
use crate::markup::Element;

/// A column of figures: two lines of its head, the name within a result, and how a figure is shown.
pub struct Cell {
    /// What it is.
    pub head: &'static str,
    /// Its unit.
    pub unit: &'static str,
    /// The name within a row's object.
    pub name: &'static str,
    /// How a figure is shown.
    pub show: fn(f64) -> String,
}

/// A table with a row for each `(path, name)`; columns in which no row has a figure are left out.
pub fn table(numbers: &Numbers<'_>, caption: &str, first: &str, columns: &[Cell], rows: &[(String, String)]) -> Element {
    let has = |column: &&Cell| rows.iter().any(|(path, _)| numbers.get(&format!("{path}.{}", column.name)).is_some());
    let columns: Vec<&Cell> = columns.iter().filter(has).collect();
    let heads = columns.iter().map(|column| {
        let unit = Element::new("small").text(column.unit);
        Element::new("th").set("scope", "col").text(column.head).with(Element::new("br")).with(unit)
    });
    let head = Element::new("tr").with(Element::of_class("th", "words").set("scope", "col").text(first)).with_all(heads);
    let row = |(path, name): &(String, String)| {
        let cells = columns.iter().map(|column| numbers.cell(&format!("{path}.{}", column.name), column.show));
        Element::new("tr").with(Element::new("th").set("scope", "row").text(name)).with_all(cells)
    };
    let table = Element::new("table")
        .with(Element::new("caption").text(caption))
        .with(Element::new("thead").with(head))
        .with(Element::new("tbody").with_all(rows.iter().map(row)));
    scrolling(caption, table)
}

/// What may be wider than a phone scrolls by itself, with keys too.
pub fn scrolling(name: &str, table: Element) -> Element {
    Element::of_class("div", "scroll").set("tabindex", 0).set("role", "region").set("aria-label", name).with(table)
}

/// Names and what they mean; a name without a meaning is left out.
pub fn definitions(pairs: &[(&str, String)]) -> Element {
    let pairs = pairs.iter().filter(|(_, meaning)| !meaning.is_empty());
    let items = pairs.flat_map(|(name, meaning)| [Element::new("dt").text(name), Element::new("dd").text(meaning)]);
    Element::new("dl").with_all(items)
}
