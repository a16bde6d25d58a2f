//! Lines at the bottom of a terminal that are drawn again and again, and log lines above them.
//!
//! The cursor rests at the start of the line below the last one drawn, so that what the terminal itself echoes there
//! (`^C`) moves nothing. No thread ticks: a frame is drawn when it is asked for, in one write.

use std::fmt::Write as _;
use std::io::Write as _;

/// To the end of the line; to the end of the screen.
const CLEAR_LINE: &str = "\x1b[K";
const CLEAR_BELOW: &str = "\x1b[J";

/// What is drawn now.
#[derive(Debug, Default)]
pub struct Screen {
    drawn: Vec<String>,
}

impl Screen {
    /// Draws these lines in the place of those before. None may be wider than the terminal, nor may there be more than
    /// it has rows.
    pub fn draw(&mut self, lines: Vec<String>) {
        put(&self.frame(lines));
    }

    /// Prints a text above the lines.
    pub fn print_above(&mut self, text: &str) {
        put(&self.above(text));
    }

    /// Takes the lines away.
    pub fn clear(&mut self) {
        if !self.drawn.is_empty() {
            let text = format!("{}{CLEAR_BELOW}", self.to_top());
            self.drawn.clear();
            put(&text);
        }
    }

    fn frame(&mut self, lines: Vec<String>) -> String {
        let mut out = self.to_top();
        self.drawn = lines;
        self.append_lines(&mut out);
        out
    }

    fn above(&mut self, text: &str) -> String {
        let mut out = self.to_top() + CLEAR_BELOW;
        out.push_str(text);
        out.push_str("\r\n");
        self.append_lines(&mut out);
        out
    }

    fn to_top(&self) -> String {
        match self.drawn.len() {
            0 => "\r".to_owned(),
            count => format!("\r\x1b[{count}A"),
        }
    }

    fn append_lines(&self, out: &mut String) {
        for line in &self.drawn {
            // Cleared first: after a full line the cursor hangs at its end, and clearing would take its last character.
            let _ = write!(out, "{CLEAR_LINE}{line}\r\n");
        }
        out.push_str(CLEAR_BELOW);
    }
}

fn put(text: &str) {
    // A closed stderr is no reason to stop a migration.
    drop(std::io::stderr().write_all(text.as_bytes()));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|text| (*text).to_owned()).collect()
    }

    #[test]
    fn a_frame_replaces_the_one_before() {
        let mut screen = Screen::default();
        assert_eq!(screen.frame(lines(&["a", "b"])), "\r\x1b[Ka\r\n\x1b[Kb\r\n\x1b[J");
        assert_eq!(screen.frame(lines(&["c"])), "\r\x1b[2A\x1b[Kc\r\n\x1b[J");
        assert_eq!(screen.frame(lines(&["d"])), "\r\x1b[1A\x1b[Kd\r\n\x1b[J");
    }

    #[test]
    fn a_text_above_leaves_the_lines_below_it() {
        let mut screen = Screen::default();
        screen.frame(lines(&["a"]));
        assert_eq!(screen.above("log"), "\r\x1b[1A\x1b[Jlog\r\n\x1b[Ka\r\n\x1b[J");
        assert_eq!(screen.to_top(), "\r\x1b[1A");
    }
}
