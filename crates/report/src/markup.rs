//! Elements of HTML and SVG: names, attributes and text, escaped; nothing about what they mean.

use std::fmt::{self, Display, Write as _};

use migration::printable::printable_lines;

/// An element with everything in it.
#[derive(Clone, Debug)]
pub struct Element {
    name: &'static str,
    attributes: String,
    inside: String,
}

impl Element {
    /// An empty element.
    pub fn new(name: &'static str) -> Self {
        Element { name, attributes: String::new(), inside: String::new() }
    }

    /// The same with a class.
    pub fn of_class(name: &'static str, class: &str) -> Self {
        Element::new(name).set("class", class)
    }

    /// With an attribute.
    pub fn set(mut self, name: &str, value: impl Display) -> Self {
        let _ = write!(self.attributes, " {name}=\"{}\"", escape(&value.to_string()));
        self
    }

    /// With an attribute that is a length or a place: two decimals are finer than any screen.
    pub fn put(self, name: &str, value: f64) -> Self {
        let rounded = (value * 100.0).round() / 100.0;
        self.set(name, if rounded == 0.0 { 0.0 } else { rounded })
    }

    /// With text in it.
    pub fn text(mut self, text: &str) -> Self {
        self.inside += &escape(text);
        self
    }

    /// With an element in it.
    pub fn with(mut self, child: Element) -> Self {
        let _ = write!(self.inside, "{child}");
        self
    }

    /// With elements in it.
    pub fn with_all(mut self, children: impl IntoIterator<Item = Element>) -> Self {
        for child in children {
            self = self.with(child);
        }
        self
    }
}

impl Display for Element {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.name == "br" {
            return f.write_str("<br>");
        }
        write!(f, "<{}{}>{}</{}>", self.name, self.attributes, self.inside, self.name)
    }
}

/// Text that markup can hold, in an attribute too; what would not be shown as itself is written out.
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in printable_lines(text).chars() {
        match c {
            '&' => out += "&amp;",
            '<' => out += "&lt;",
            '>' => out += "&gt;",
            '"' => out += "&quot;",
            '\'' => out += "&#39;",
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_attributes_can_not_break_out() {
        let hostile = "\"><script>alert('x')</script>&\u{0}";
        let element = Element::new("p").set("title", hostile).text(hostile).with(Element::of_class("b", "c").text("bold"));
        let safe = "&quot;&gt;&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;&amp;\\0";
        assert_eq!(element.to_string(), format!("<p title=\"{safe}\">{safe}<b class=\"c\">bold</b></p>"));
    }

    #[test]
    fn places_have_two_decimals_and_no_negative_zero() {
        assert_eq!(
            Element::new("g").put("x", 1.0 / 3.0).put("y", -0.001).put("z", 4.0).to_string(),
            "<g x=\"0.33\" y=\"0\" z=\"4\"></g>"
        );
    }
}
