//! One self-contained page: style, pictures, tables and the JSON that they were made of. No script, nothing from a
//! network.

mod numbers;
mod phases;
mod tables;

pub use numbers::Numbers;
pub use phases::{legend as phase_legend, phase_area, stack};
pub use tables::{Cell, definitions, scrolling, table};

use serde_json::{Map, Value};

use crate::markup::{Element, escape};
use crate::svg::Room;

const STYLE: &str = include_str!("html/style.css");
/// Nothing may be loaded or run, whatever the data says.
const POLICY: &str = "default-src 'none'; style-src 'nonce-page'; img-src data:";

/// A page with this in its body; `object` is embedded as it is printed with `-o json`.
pub fn page(title: &str, body: impl IntoIterator<Item = Element>, object: &Map<String, Value>) -> String {
    // `<` only stands in strings there: this way none of them can end the element.
    let json = serde_json::to_string(object).unwrap_or_default().replace('<', "\\u003c");
    let main = Element::new("main").with_all(body);
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"{POLICY}\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n<link rel=\"icon\" href=\"data:,\">\n<title>{}</title>\n\
         <style nonce=\"page\">\n{STYLE}</style>\n</head>\n<body>\n{main}\n\
         <script type=\"application/json\" id=\"result\">{json}</script>\n</body>\n</html>\n",
        escape(title)
    )
}

/// A picture with its heading, what it shows in a sentence, and how to read it.
pub struct Figure<'a> {
    /// Unique in the page.
    pub id: &'static str,
    /// What it shows.
    pub title: &'a str,
    /// What there is to see, with the figures that matter.
    pub sentence: &'a str,
    /// How to read it.
    pub reading: &'a str,
    /// What its areas or lines mean, if they don't say so themselves.
    pub legend: Option<Element>,
}

impl Figure<'_> {
    /// With a picture that is drawn once for each room.
    pub fn drawn(self, draw: impl Fn(Room) -> Element) -> Element {
        let pictures: Vec<Element> = Room::ALL.map(draw).to_vec();
        self.holding(pictures)
    }

    /// With these pictures.
    pub fn holding(self, pictures: impl IntoIterator<Item = Element>) -> Element {
        Element::new("figure")
            .set("id", self.id)
            .with(Element::new("h2").text(self.title))
            .with(Element::new("p").text(self.sentence))
            .with_all(self.legend)
            .with_all(pictures)
            .with(Element::new("figcaption").text(self.reading))
    }
}

/// A headline and lines below it.
pub fn headline(title: &str, asked: &[String]) -> Vec<Element> {
    let lines = asked.iter().map(|line| Element::new("li").text(line));
    vec![Element::new("h1").text(title), Element::of_class("ul", "asked").with_all(lines)]
}

/// What a user should read first; nothing when there is nothing to say.
pub fn advice(sentences: &[String]) -> Option<Element> {
    let lines = sentences.iter().map(|sentence| Element::new("p").text(sentence));
    (!sentences.is_empty()).then(|| Element::of_class("section", "advice").set("aria-label", "Advice").with_all(lines))
}

/// What went wrong, first of all.
pub fn warning(text: &str) -> Element {
    Element::of_class("section", "advice warning").with(Element::new("p").text(text))
}

/// A section with a heading.
pub fn section(title: &str, inside: impl IntoIterator<Item = Element>) -> Element {
    Element::new("section").with(Element::new("h2").text(title)).with_all(inside)
}

/// What stands out, a line each; nothing when nothing does.
pub fn notes(title: &str, lines: &[String]) -> Option<Element> {
    let items = lines.iter().map(|line| Element::new("li").text(line));
    (!lines.is_empty()).then(|| section(title, [Element::of_class("ul", "note").with_all(items)]))
}

/// The last line.
pub fn footer(version: &str, words: &str) -> Element {
    Element::new("footer").text(&format!("shardlift {version}. {words} The figures are embedded in this file as JSON."))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn embedded_json_can_not_end_its_element() {
        let Value::Object(object) = json!({ "command": "</script><script>alert(1)</script><!--" }) else { panic!("an object") };
        let page = page("a <b>", [Element::new("p")], &object);
        assert_eq!(page.matches("<script").count(), 1);
        let (_, rest) = page.split_once("id=\"result\">").expect("the element");
        let (json, _) = rest.split_once("</script>").expect("its end");
        assert_eq!(serde_json::from_str::<Value>(json).expect("JSON"), Value::Object(object));
        assert!(page.contains("<title>a &lt;b&gt;</title>"));
    }

    #[test]
    fn a_page_needs_nothing_else() {
        let page = page("x", [], &Map::new());
        assert!(page.contains("default-src 'none'"));
        for far in ["http:", "https:", "src=", "@import", "url(http"] {
            assert!(!page.contains(far), "{far}");
        }
    }
}
