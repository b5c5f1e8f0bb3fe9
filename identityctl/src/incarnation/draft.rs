//! `identityctl incarnation draft`: what there is to declare, as a text for both parties to sign.

use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use anchor_worker::config::Config;
use anchor_worker::incarnation::{self, Draft};
use tokio::runtime::Builder;

use super::{tell, trouble};
use crate::cli;
use crate::report::Report;

pub fn run(arguments: &cli::Draft) -> Report {
    let mut report = Report::new("incarnation draft");
    let config = match Config::read(&arguments.config) {
        Ok(config) => config,
        Err(mistakes) => {
            for mistake in mistakes {
                report.unchecked("config", &mistake.to_string());
            }
            return report;
        }
    };
    let Ok(runtime) = Builder::new_current_thread().enable_all().build() else {
        report.unchecked("start", "no runtime could be started");
        return report;
    };
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let now = now.ok().and_then(|now| i64::try_from(now.as_micros()).ok());
    let drafted = incarnation::draft(&config, &arguments.reason, now.unwrap_or_default());
    match runtime.block_on(drafted) {
        Ok(draft) => write(&draft, &arguments.output, &mut report),
        Err(found) => trouble(&mut report, "draft", &found),
    }
    report
}

fn write(draft: &Draft, output: &Path, report: &mut Report) {
    let declaration = &draft.declaration;
    tell(declaration, report);
    let anchored = match &draft.anchored {
        Some(tree) => format!(
            "what was anchored at {} leaves is in the database",
            tree.size
        ),
        None => "nothing was anchored that is small enough to be compared".into(),
    };
    let kept = declaration.kept.size;
    let (kept, size) = match draft.size - kept {
        0 => (anchored, String::new()),
        more => (
            anchored,
            format!(
                "; {more} of the {} that the database has come after that and were never anchored",
                draft.size
            ),
        ),
    };
    match create(output, &declaration.text()) {
        Ok(()) => {
            report.good("kept", &format!("{kept}{size}"));
            let text = format!("{} is to be signed by both parties", output.display());
            report.good("draft", &text);
        }
        Err(error) => {
            report.unchecked("draft", &format!("{}: {error}", output.display()));
        }
    }
}

/// A file that must not be there yet.
fn create(file: &Path, text: &str) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).open(file)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}
