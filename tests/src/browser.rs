//! Pages in a real browser: Chromium, headless, without a network.
//!
//! The page forbids scripts, so that a copy of it without that rule gets one that looks at what was drawn.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::program::Program;

/// What a window is like.
#[derive(Clone, Copy, Debug)]
pub struct Window {
    /// Its width in pixels.
    pub width: u32,
    /// Whether the user prefers dark pages.
    pub dark: bool,
}

/// Looks at everything that is drawn, and leaves what it saw in the page, in letters that need no escape.
const PROBE: &str = r#"<script>
const seen = { errors: [], pictures: [], numbers: 0, wrong: [] };
window.onerror = (message) => seen.errors.push(String(message));
try {
  const json = JSON.parse(document.getElementById('result').textContent);
  const at = (path) => path.split('.').reduce((value, key) => value == null ? value : value[key], json);
  const shown = (text) => {
    const units = { us: 0.001, ms: 1, s: 1000, B: 1, KiB: 1024, MiB: 1048576, GiB: 1073741824, '': 1 };
    const long = text.match(/^(\d+) min (\d+) s$/);
    if (long) return [[(long[1] * 60 + Number(long[2])) * 1000, 1000]];
    const parts = text.match(/^(-?[\d,.]+) ?([A-Za-z]*)$/);
    if (!parts || !(parts[2] in units)) return [];
    const [number, unit] = [Number(parts[1].replaceAll(',', '')), units[parts[2]]];
    const step = 10 ** -(parts[1].split('.')[1] || '').length;
    return [[number * unit, step * unit], [number / 100, step / 100]];
  };
  for (const element of document.querySelectorAll('[data-json]')) {
    seen.numbers += 1;
    const [path, value] = [element.dataset.json, Number(element.dataset.value)];
    const same = at(path) === value;
    const text = element.closest('svg') ? '' : element.textContent;
    const near = ([number, step]) => Math.abs(number - value) <= step * 0.5001;
    if (!same || (text && !shown(text).some(near))) seen.wrong.push(`${path}: ${at(path)} is ${value}, shown as ${text}`);
  }
  for (const svg of document.querySelectorAll('figure svg[role=img]')) {
    if (svg.getBoundingClientRect().width === 0) continue;
    const marks = [...svg.querySelectorAll('.mark')];
    const drawn = marks.filter((mark) => { const box = mark.getBoundingClientRect(); return box.width > 0 || box.height > 0; });
    const words = (svg.getAttribute('aria-labelledby') || '').split(' ').map((id) => document.getElementById(id)?.textContent || '');
    const letter = svg.querySelector('text')?.getBoundingClientRect().height || 0;
    seen.pictures.push({ figure: svg.closest('figure').id, marks: marks.length, drawn: drawn.length, words, letter });
  }
  const rates = [...document.querySelectorAll('#rates svg .mark[data-json$=".records_per_second"]')]
    .map((mark) => [Number(mark.dataset.value), mark.getBoundingClientRect()])
    .filter(([, box]) => box.width > 0).map(([value, box]) => [value, box.x + box.width / 2]).sort((a, b) => a[0] - b[0]);
  seen.ordered = rates.every(([, x], i) => i === 0 || x >= rates[i - 1][1] - 0.5);
  seen.background = getComputedStyle(document.body).backgroundColor;
  seen.overflow = document.documentElement.scrollWidth - document.documentElement.clientWidth;
} catch (error) { seen.errors.push(String(error)); }
const out = document.createElement('pre');
out.id = 'seen';
out.textContent = encodeURIComponent(JSON.stringify(seen));
document.body.append(out);
</script>"#;

/// Whether Chromium is installed.
pub fn is_installed() -> bool {
    std::env::var_os("PATH").is_some_and(|path| std::env::split_paths(&path).any(|folder| folder.join("chromium").is_file()))
}

/// What is on a page in this window, as `PROBE` saw it.
pub fn look(program: &Program, page: &str, window: Window) -> Value {
    let html = fs::read_to_string(program.join(page)).expect("the page was written");
    let rule = html.lines().find(|line| line.contains("Content-Security-Policy")).expect("the page forbids scripts");
    let probed = html.replace(rule, "").replace("</body>", &format!("{PROBE}</body>"));
    let copy = program.write(&format!("probed-{page}"), probed);
    let (dom, console) = chromium(program, window, &["--dump-dom"], &copy);
    assert!(console.is_empty(), "the console of {page}: {console:#?}");
    let seen =
        dom.split_once("id=\"seen\">").and_then(|(_, rest)| rest.split_once("</pre>")).expect("the probe left its word").0;
    serde_json::from_str(&decode(seen)).expect("the probe writes JSON")
}

/// Prints the page as it is, without a probe, and gives the PDF and what the console said.
pub fn print(program: &Program, page: &str) -> (Vec<u8>, Vec<String>) {
    let pdf = program.join("page.pdf");
    let window = Window { width: 1000, dark: true };
    let to = format!("--print-to-pdf={}", pdf.display());
    let (_, console) = chromium(program, window, &[&to, "--no-pdf-header-footer"], &program.join(page));
    (fs::read(pdf).expect("there is a PDF"), console)
}

/// Standard output, and the lines of the page's console.
fn chromium(program: &Program, window: Window, words: &[&str], page: &Path) -> (String, Vec<String>) {
    let profile: PathBuf = program.join("browser");
    let output = Command::new("chromium")
        .args(["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run"])
        .args(["--disable-dev-shm-usage", "--host-resolver-rules=MAP * ~NOTFOUND", "--enable-logging=stderr", "--v=0"])
        .arg(format!("--user-data-dir={}", profile.display()))
        .arg(format!("--window-size={},1000", window.width))
        .arg(format!("--blink-settings=preferredColorScheme={}", if window.dark { 0 } else { 1 }))
        .args(words)
        .arg(format!("file://{}", page.display()))
        .output()
        .expect("chromium can be started");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "chromium failed:\n{said}");
    let console = said.lines().filter(|line| line.contains(":CONSOLE")).map(str::to_owned).collect();
    (String::from_utf8_lossy(&output.stdout).into_owned(), console)
}

/// The text that `encodeURIComponent` encoded.
fn decode(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let code = (*first == b'%').then(|| after.get(..2)).flatten().and_then(|hex| std::str::from_utf8(hex).ok());
        match code.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(byte) => (bytes.push(byte), rest = &after[2..]).1,
            None => (bytes.push(*first), rest = after).1,
        }
    }
    String::from_utf8(bytes).expect("the probe writes UTF-8")
}
