//! What was found: lines for people, JSON for programs, and the exit code.
//!
//! Texts that come from a file or a server are not trusted to be fit for a terminal: [`Report`] takes every control character out.

use std::io::Write;
use std::process::ExitCode;

use anstyle::{AnsiColor, Style};
use serde::Serialize;

/// Findings that are named; the rest are counted.
const MAX_FINDINGS: usize = 1000;

/// Longest text of one line.
const MAX_DETAIL_CHARS: usize = 500;

const SCHEMA: &str = "identityctl/report/v1";

/// How one check, or all of them, ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// It was looked at and is as it should be.
    Good,
    /// Worth knowing; changes nothing.
    Note,
    /// It could not be looked at.
    Unchecked,
    /// Tampered with, damaged, or refused.
    Bad,
}

impl State {
    fn word(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Note => "note",
            Self::Unchecked => "unchecked",
            Self::Bad => "BAD",
        }
    }

    fn style(self) -> Style {
        let colour = match self {
            Self::Good => AnsiColor::Green,
            Self::Note => AnsiColor::Cyan,
            Self::Unchecked => AnsiColor::Yellow,
            Self::Bad => AnsiColor::Red,
        };
        colour.on_default().bold()
    }
}

#[derive(Debug, Serialize)]
struct Line {
    check: &'static str,
    state: State,
    detail: String,
}

/// The report of one command, as it grows.
#[derive(Debug)]
pub struct Report {
    command: &'static str,
    lines: Vec<Line>,
    bad: usize,
    unchecked: usize,
}

#[derive(Serialize)]
struct Json<'a> {
    schema: &'static str,
    command: &'static str,
    result: State,
    exit: u8,
    findings: usize,
    checks: &'a [Line],
}

impl Report {
    pub fn new(command: &'static str) -> Self {
        Self {
            command,
            lines: Vec::new(),
            bad: 0,
            unchecked: 0,
        }
    }

    pub fn good(&mut self, check: &'static str, detail: &str) {
        self.push(check, State::Good, detail);
    }

    pub fn note(&mut self, check: &'static str, detail: &str) {
        self.push(check, State::Note, detail);
    }

    /// Something does not verify. The first thousand are named.
    pub fn bad(&mut self, check: &'static str, detail: &str) {
        self.bad += 1;
        if self.bad <= MAX_FINDINGS {
            self.push(check, State::Bad, detail);
        }
    }

    pub fn unchecked(&mut self, check: &'static str, detail: &str) {
        self.unchecked += 1;
        if self.unchecked <= MAX_FINDINGS {
            self.push(check, State::Unchecked, detail);
        }
    }

    /// How many findings there are so far, and things that could not be looked at.
    pub fn findings(&self) -> usize {
        self.bad + self.unchecked
    }

    fn push(&mut self, check: &'static str, state: State, detail: &str) {
        let detail = printable(detail);
        self.lines.push(Line {
            check,
            state,
            detail,
        });
    }

    /// Tampering outweighs what could not be checked; and a report that looked at nothing is not good.
    fn result(&self) -> State {
        if self.bad > 0 {
            State::Bad
        } else if self.unchecked > 0 || !self.lines.iter().any(|line| line.state == State::Good) {
            State::Unchecked
        } else {
            State::Good
        }
    }

    fn exit(&self) -> u8 {
        match self.result() {
            State::Good | State::Note => 0,
            State::Bad => 1,
            State::Unchecked => 2,
        }
    }

    /// Prints to standard output and says how the process must end. Colours only where a terminal shows them and NO_COLOR is not set.
    pub fn print(&self, json: bool) -> ExitCode {
        let mut out = anstream::AutoStream::auto(std::io::stdout().lock());
        let written = if json {
            self.json(&mut out)
        } else {
            self.lines(&mut out)
        };
        // A report that nobody got is no "good".
        match written.and_then(|()| out.flush()) {
            Ok(()) => ExitCode::from(self.exit()),
            Err(_) => ExitCode::from(2),
        }
    }

    fn json(&self, out: &mut impl Write) -> std::io::Result<()> {
        let json = Json {
            schema: SCHEMA,
            command: self.command,
            result: self.result(),
            exit: self.exit(),
            findings: self.bad,
            checks: &self.lines,
        };
        serde_json::to_writer(&mut *out, &json)?;
        writeln!(out)
    }

    fn lines(&self, out: &mut impl Write) -> std::io::Result<()> {
        for line in &self.lines {
            let (style, word) = (line.state.style(), line.state.word());
            let (check, detail) = (line.check, &line.detail);
            writeln!(out, "{style}{word:<9}{style:#} {check:<11} {detail}")?;
        }
        let (style, ending) = (self.result().style(), self.ending());
        writeln!(out, "{style}{ending}{style:#}")
    }

    fn ending(&self) -> String {
        let more = self.bad.saturating_sub(MAX_FINDINGS);
        match self.result() {
            State::Good | State::Note => "Everything that was checked is as it should be.".into(),
            State::Unchecked => {
                "Could not check everything: this says nothing about the rest.".into()
            }
            State::Bad if more > 0 => format!("{} findings; {more} are not named.", self.bad),
            State::Bad if self.bad == 1 => "1 finding. Keep everything as it is.".into(),
            State::Bad => format!("{} findings. Keep everything as it is.", self.bad),
        }
    }
}

/// Without control characters, which could move a cursor or colour a lie green, and not longer than a line may be.
fn printable(text: &str) -> String {
    let hidden = |c: char| {
        c.is_control()
            || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
    };
    text.chars()
        .take(MAX_DETAIL_CHARS)
        .map(|c| if hidden(c) { '?' } else { c })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(report: &Report) -> String {
        let mut out = Vec::new();
        report
            .lines(&mut anstream::StripStream::new(&mut out))
            .unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn tampering_outweighs_what_could_not_be_checked() {
        let mut report = Report::new("test");
        report.good("rows", "fine");
        assert_eq!(report.exit(), 0);
        report.unchecked("tree", "cannot");
        assert_eq!(report.exit(), 2);
        report.bad("rows", "altered");
        assert_eq!(report.exit(), 1);
        report.unchecked("tree", "cannot");
        assert_eq!(report.exit(), 1);
        assert_eq!(report.findings(), 3);
    }

    #[test]
    fn nothing_looked_at_is_not_good() {
        let mut report = Report::new("test");
        assert_eq!(report.exit(), 2);
        report.note("anchor", "none given");
        assert_eq!(report.exit(), 2);
    }

    #[test]
    fn a_text_from_outside_moves_no_cursor() {
        let mut report = Report::new("test");
        report.bad("rows", "\u{1b}[2K\u{1b}[32mgood\r\n\u{9b}1m\u{202e}x");
        let shown = text(&report);
        assert!(!shown.contains(['\u{1b}', '\r', '\u{9b}', '\u{202e}']));
        assert_eq!(shown.lines().count(), 2);
    }

    #[test]
    fn a_million_findings_are_counted_and_not_kept() {
        let mut report = Report::new("test");
        for _ in 0..1_000_000 {
            report.bad("rows", "x");
            report.unchecked("tree", "x");
        }
        assert_eq!(report.lines.len(), 2 * MAX_FINDINGS);
        assert!(text(&report).ends_with("1000000 findings; 999000 are not named.\n"));
    }

    #[test]
    fn the_json_has_one_shape() {
        let mut report = Report::new("verify bundle");
        report.bad("rows", "x");
        let mut out = Vec::new();
        report.json(&mut out).unwrap();
        assert_eq!(
            String::from_utf8(out).unwrap(),
            concat!(
                r#"{"schema":"identityctl/report/v1","command":"verify bundle","result":"bad","exit":1,"findings":1,"#,
                r#""checks":[{"check":"rows","state":"bad","detail":"x"}]}"#,
                "\n"
            )
        );
    }
}
