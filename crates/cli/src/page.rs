//! What a command says: a page for people, or one JSON object per line for programs.
//!
//! Answers go to standard output, errors and progress to standard error. Colours appear only where a terminal reads them
//! (`anstream` strips them otherwise and honours `NO_COLOR`). Everything passes [`visible`] on its way: text from a node or
//! from a file of somebody else moves no cursor and hides nothing.

use std::io::Write as _;

use anstyle::{AnsiColor, Style};
use serde::Serialize;

use crate::{
    exit::Exit,
    failure::{Failure, Result},
    visible,
};

const GOOD: Style = AnsiColor::Green.on_default().bold();
const BAD: Style = AnsiColor::Red.on_default().bold();
const WARN: Style = AnsiColor::Yellow.on_default().bold();
const LABEL: Style = Style::new().dimmed();
const COMMAND: Style = AnsiColor::Cyan.on_default();

/// An answer with its two faces.
pub(crate) trait Answer: Serialize {
    /// Writes the page for people.
    fn page(&self, page: &mut Page);
}

/// Where answers go.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Output {
    json: bool,
    quiet: bool,
}

impl Output {
    pub(crate) const fn new(json: bool, quiet: bool) -> Self {
        Self { json, quiet }
    }

    /// Whether a progress bar would reach a person's eyes.
    pub(crate) fn progress(self) -> bool {
        use std::io::IsTerminal as _;
        !self.json && !self.quiet && std::io::stderr().is_terminal()
    }

    /// Prints an answer.
    pub(crate) fn say(self, answer: &impl Answer) -> Result<()> {
        if self.json {
            let line = serde_json::to_string(answer).map_err(|error| {
                Failure::new(
                    Exit::Internal,
                    format!("an answer has no JSON form: {error}"),
                )
            })?;
            return print(&format!("{}\n", visible::json(&line)));
        }
        if self.quiet {
            return Ok(());
        }
        let mut page = Page::default();
        answer.page(&mut page);
        print(&page.finish())
    }

    /// Prints an answer on the way to one that comes last: programs read only that.
    pub(crate) fn say_unless_json(self, answer: &impl Answer) -> Result<()> {
        if self.json { Ok(()) } else { self.say(answer) }
    }

    /// Prints bytes that are meant for another program, whatever the form of answers.
    pub(crate) fn raw(self, bytes: &[u8]) -> Result<()> {
        let mut out = std::io::stdout().lock();
        written(out.write_all(bytes).and_then(|()| out.flush()))
    }

    /// Prints a failure on standard error.
    pub(crate) fn fail(self, failure: &Failure) {
        // Nothing is left to do when standard error is closed.
        let mut err = anstream::stderr().lock();
        let _ = if self.json {
            let line = serde_json::to_string(&failure.json()).unwrap_or_default();
            writeln!(err, "{}", visible::json(&line))
        } else {
            let excerpt = failure
                .lines()
                .map(|lines| format!("\n{}\n", visible::lines(lines)));
            let advice = failure.advice().map(|advice| {
                format!(
                    "{LABEL}  hint:{LABEL:#} {}\n",
                    visible::lines(advice).replace('\n', "\n        ")
                )
            });
            write!(
                err,
                "{BAD}error:{BAD:#} {}\n{}{}",
                visible::line(failure.what()),
                excerpt.unwrap_or_default(),
                advice.unwrap_or_default()
            )
        };
    }

    /// Tells a person, on standard error, what a command waits for.
    pub(crate) fn waits_for(self, what: &str) {
        if self.json || self.quiet {
            return;
        }
        // Nothing is left to do when standard error is closed.
        let _ = writeln!(
            anstream::stderr().lock(),
            "{LABEL}waiting:{LABEL:#} {}",
            visible::line(what)
        );
    }

    /// Prints a warning on standard error.
    pub(crate) fn warn(self, what: &str) {
        let mut err = anstream::stderr().lock();
        let _ = if self.json {
            let line = serde_json::json!({ "warning": what }).to_string();
            writeln!(err, "{}", visible::json(&line))
        } else {
            writeln!(err, "{WARN}warning:{WARN:#} {}", visible::line(what))
        };
    }
}

fn print(text: &str) -> Result<()> {
    let mut out = anstream::stdout().lock();
    written(out.write_all(text.as_bytes()).and_then(|()| out.flush()))
}

/// A closed pipe (`kusabi … | head`) is the reader's wish, not a fault.
fn written(result: std::io::Result<()>) -> Result<()> {
    match result {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(Failure::io(
            "written",
            std::path::Path::new("standard output"),
            &error,
        )),
        _ => Ok(()),
    }
}

/// Builds a page: headlines, aligned fields, paragraphs, commands to try.
#[derive(Debug, Default)]
pub(crate) struct Page {
    text: String,
    fields: Vec<(String, String)>,
}

impl Page {
    /// A headline whose first words say that it went well.
    pub(crate) fn good(&mut self, done: &str, rest: &str) -> &mut Self {
        self.headline(GOOD, done, rest)
    }

    /// A headline whose first words say that it did not.
    pub(crate) fn bad(&mut self, done: &str, rest: &str) -> &mut Self {
        self.headline(BAD, done, rest)
    }

    /// A headline that asks for care.
    pub(crate) fn careful(&mut self, done: &str, rest: &str) -> &mut Self {
        self.headline(WARN, done, rest)
    }

    fn headline(&mut self, style: Style, done: &str, rest: &str) -> &mut Self {
        self.flush();
        let space = if rest.is_empty() { "" } else { " " };
        let (done, rest) = (visible::line(done), visible::line(rest));
        self.text
            .push_str(&format!("{style}{done}{style:#}{space}{rest}\n"));
        self
    }

    /// A label and its value; neighbours are aligned.
    pub(crate) fn field(
        &mut self,
        label: impl Into<String>,
        value: impl Into<String>,
    ) -> &mut Self {
        let (label, value) = (label.into(), value.into());
        self.fields.push((
            visible::line(&label).into_owned(),
            visible::lines(&value).into_owned(),
        ));
        self
    }

    /// A field that may be missing.
    pub(crate) fn field_if(&mut self, label: &str, value: Option<impl Into<String>>) -> &mut Self {
        if let Some(value) = value {
            self.field(label, value);
        }
        self
    }

    /// A table: a heading, then a row per item; columns are as wide as what stands in them.
    pub(crate) fn table(&mut self, heading: &[&str], rows: &[Vec<String>]) -> &mut Self {
        self.flush();
        let rows: Vec<Vec<_>> = rows
            .iter()
            .map(|row| row.iter().map(|cell| visible::line(cell)).collect())
            .collect();
        let width = |column: usize| {
            let cells = rows.iter().filter_map(|row| row.get(column));
            let widest = cells.map(|cell| cell.chars().count()).max().unwrap_or(0);
            widest.max(heading.get(column).map_or(0, |name| name.chars().count()))
        };
        let widths: Vec<usize> = (0..heading.len()).map(width).collect();
        let line = |cells: &mut dyn Iterator<Item = &str>| {
            let mut line = String::new();
            for (cell, width) in cells.zip(&widths) {
                let pad = width - cell.chars().count().min(*width);
                line.push_str("  ");
                line.push_str(cell);
                line.push_str(&" ".repeat(pad));
            }
            line.trim_end().to_owned()
        };
        let head = line(&mut heading.iter().copied());
        self.text.push_str(&format!("{LABEL}{head}{LABEL:#}\n"));
        for row in &rows {
            self.text
                .push_str(&line(&mut row.iter().map(|cell| &**cell)));
            self.text.push('\n');
        }
        self
    }

    /// A paragraph; lines are kept as they are.
    pub(crate) fn text(&mut self, text: &str) -> &mut Self {
        self.flush();
        self.text.push_str(&visible::lines(text));
        self.text.push('\n');
        self
    }

    /// An empty line.
    pub(crate) fn gap(&mut self) -> &mut Self {
        self.flush();
        self.text.push('\n');
        self
    }

    /// A command that the reader may want to type next.
    pub(crate) fn command(&mut self, command: &str) -> &mut Self {
        self.flush();
        let command = visible::line(command);
        self.text
            .push_str(&format!("  {COMMAND}{command}{COMMAND:#}\n"));
        self
    }

    fn flush(&mut self) {
        let width = self
            .fields
            .iter()
            .map(|(label, _)| label.chars().count())
            .max()
            .unwrap_or(0);
        for (label, value) in self.fields.drain(..) {
            let pad = " ".repeat(width - label.chars().count());
            let mut lines = value.lines();
            let first = lines.next().unwrap_or("");
            self.text
                .push_str(&format!("  {LABEL}{label}{LABEL:#}{pad}  {first}\n"));
            for line in lines {
                self.text.push_str(&" ".repeat(width + 4));
                self.text.push_str(line);
                self.text.push('\n');
            }
        }
    }

    fn finish(mut self) -> String {
        self.flush();
        self.text
    }
}

/// `1234567` as `1,234,567`.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// So many of what is called `one`: `1 key`, `40 keys`.
pub(crate) fn counted(number: u64, one: &str) -> String {
    match number {
        1 => format!("1 {one}"),
        n => format!("{} {one}s", grouped(n)),
    }
}

/// Milliseconds since 1970 as `2026-11-23T05:00:00Z`: the second that has begun, never one to come.
pub(crate) fn instant(ms: u64) -> String {
    i64::try_from(ms - ms % 1_000)
        .ok()
        .and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok())
        .map_or_else(|| format!("{ms} ms after 1970"), |time| time.to_string())
}

/// A span of time in the largest unit of which there are two at least: `90 min`, `3 d`.
pub(crate) fn elapsed(ms: u64) -> String {
    const UNITS: [(u64, &str); 4] = [
        (86_400_000, "d"),
        (3_600_000, "h"),
        (60_000, "min"),
        (1_000, "s"),
    ];
    UNITS.iter().find(|(unit, _)| ms >= 2 * unit).map_or_else(
        || format!("{} ms", grouped(ms)),
        |(unit, name)| format!("{} {name}", grouped(ms / unit)),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_are_grouped() {
        for (number, text) in [
            (0, "0"),
            (999, "999"),
            (1_000, "1,000"),
            (1_234_567, "1,234,567"),
        ] {
            assert_eq!(grouped(number), text);
        }
    }

    #[test]
    fn one_is_not_many() {
        for (number, text) in [(0, "0 keys"), (1, "1 key"), (2_000, "2,000 keys")] {
            assert_eq!(counted(number, "key"), text);
        }
    }

    #[test]
    fn fields_are_aligned() {
        let mut page = Page::default();
        page.good("Made", "x.key")
            .field("a", "1")
            .field("long", "2\n3");
        let text = anstream::adapter::strip_str(&page.finish()).to_string();
        assert_eq!(text, "Made x.key\n  a     1\n  long  2\n        3\n");
    }

    #[test]
    fn tables_are_aligned() {
        let mut page = Page::default();
        let rows = [
            vec!["a".into(), "1\n".into()],
            vec!["long".into(), String::new()],
        ];
        page.table(&["name", "n"], &rows);
        let text = anstream::adapter::strip_str(&page.finish()).to_string();
        assert_eq!(text, "  name  n\n  a     1\\u{a}\n  long\n");
    }

    #[test]
    fn a_page_shows_what_would_move_the_cursor() {
        let mut page = Page::default();
        page.good("Made\x1b[2K", "x\r\ny\u{202e}")
            .field("a\x1b", "\u{9b}2K\nb")
            .text("\x08")
            .command("rm\x07");
        let text = anstream::adapter::strip_str(&page.finish()).to_string();
        assert_eq!(
            text,
            "Made\\u{1b}[2K x\\u{d}\\u{a}y\\u{202e}\n  a\\u{1b}  \\u{9b}2K\n           b\n\\u{8}\n  rm\\u{7}\n"
        );
    }

    #[test]
    fn spans_have_a_unit() {
        for (ms, text) in [
            (0, "0 ms"),
            (1_999, "1,999 ms"),
            (119_000, "119 s"),
            (5_400_000, "90 min"),
            (172_799_999, "47 h"),
            (864_000_000_000, "10,000 d"),
        ] {
            assert_eq!(elapsed(ms), text);
        }
    }

    #[test]
    fn times_are_utc() {
        assert_eq!(instant(0), "1970-01-01T00:00:00Z");
        assert_eq!(instant(1_795_410_034_499), "2026-11-23T05:00:34Z");
    }
}
