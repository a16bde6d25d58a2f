//! The figures of a page: each is taken from the object that the page embeds, and says from where, so that what is
//! shown can be held against it.

use serde_json::{Map, Value};

use crate::markup::Element;

/// The embedded object.
#[derive(Clone, Copy, Debug)]
pub struct Numbers<'a>(pub &'a Map<String, Value>);

impl Numbers<'_> {
    /// The number at a path such as `results.3.records_per_second`; `None` where there is none.
    pub fn get(&self, path: &str) -> Option<f64> {
        let mut parts = path.split('.');
        let mut found = self.0.get(parts.next()?)?;
        for part in parts {
            found = match found {
                Value::Array(list) => list.get(part.parse::<usize>().ok()?)?,
                Value::Object(map) => map.get(part)?,
                _ => return None,
            };
        }
        found.as_f64()
    }

    /// The same element with the path and the exact number at it.
    pub fn mark(&self, element: Element, path: &str) -> Element {
        match self.get(path) {
            Some(value) => element.set("data-json", path).set("data-value", value),
            None => element,
        }
    }

    /// A table's cell with the number at a path, shown this way; an empty one where there is none.
    pub fn cell(&self, path: &str, show: impl Fn(f64) -> String) -> Element {
        let text = self.get(path).map(show).unwrap_or_default();
        self.mark(Element::new("td"), path).text(&text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn numbers_are_found_by_their_path() {
        let Value::Object(object) = json!({ "results": [{ "a": { "b": 7.5 }, "c": null }] }) else { panic!("an object") };
        let numbers = Numbers(&object);
        assert_eq!(numbers.get("results.0.a.b"), Some(7.5));
        for nothing in ["results.1.a.b", "results.0.c", "results.0.a", "results.x", "", "results.0.a.b.c"] {
            assert_eq!(numbers.get(nothing), None, "{nothing}");
        }
        let cell = numbers.cell("results.0.a.b", |value| format!("{value:.2}")).to_string();
        assert_eq!(cell, "<td data-json=\"results.0.a.b\" data-value=\"7.5\">7.50</td>");
        assert_eq!(numbers.cell("results.0.c", |value| value.to_string()).to_string(), "<td></td>");
    }
}
