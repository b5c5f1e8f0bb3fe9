//! `identityctl keys rotate`: notes how things are, has a new key made and put to use, and looks whether all is well.

use std::path::Path;

use anchor_worker::config::Config;
use anchor_worker::rotate::{Before, Key, Request, Rotation};
use anchor_worker::trouble::{Kind, Trouble};
use tokio::runtime::Builder;

use crate::cli;
use crate::report::Report;

pub fn run(arguments: &cli::Rotate) -> Report {
    let mut report = Report::new("keys rotate");
    let Some(config) = config(&arguments.config, &mut report) else {
        return report;
    };
    let request = Request {
        kind: arguments.kind,
        reason: arguments.reason,
        witness: arguments.witness.clone(),
    };
    match Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime.block_on(rotate(&config, request, &mut report)),
        Err(_) => report.unchecked("start", "no runtime could be started"),
    }
    report
}

fn config(file: &Path, report: &mut Report) -> Option<Config> {
    match Config::read(file) {
        Ok(config) => Some(config),
        Err(mistakes) => {
            for mistake in mistakes {
                report.unchecked("config", &mistake.to_string());
            }
            None
        }
    }
}

async fn rotate(config: &Config, request: Request, report: &mut Report) {
    let mut rotation = match Rotation::open(config, request).await {
        Ok(rotation) => rotation,
        Err(trouble) => return tell(report, "start", &trouble),
    };
    work(&mut rotation, report).await;
    rotation.close().await;
}

async fn work(rotation: &mut Rotation, report: &mut Report) {
    let before = match rotation.before().await {
        Ok(before) => before,
        Err(trouble) => return tell(report, "before", &trouble),
    };
    note(&before, report);
    let new = match rotation.bring(&before).await {
        Ok(new) => new,
        Err(trouble) => return tell(report, "new key", &trouble),
    };
    report.note("new key", &named(&new));
    if let Err(trouble) = rotation.swap(&before, &new).await {
        return tell(report, "rotation", &trouble);
    }
    report.good(
        "rotation",
        &format!(
            "{} is in use in the place of {}",
            new.version, before.active.version
        ),
    );
    for (check, found) in rotation.after(&before, &new).await {
        match found {
            Ok(text) => report.good(check, &text),
            Err(trouble) => tell(report, check, &trouble),
        }
    }
}

fn note(before: &Before, report: &mut Report) {
    report.good("before", "the vault serves calls");
    report.note("old key", &named(&before.active));
    let (size, root) = (before.tree.size, &before.tree.root);
    let root: String = root.iter().map(|byte| format!("{byte:02x}")).collect();
    report.note("old tree", &format!("{size} leaves, root {root}"));
    if let Some(waiting) = &before.waiting {
        let text = format!(
            "{} was enrolled by {} at {} and is taken; if somebody could have got it since, rotate once more",
            waiting.version, waiting.enrolled_by, waiting.created_at
        );
        report.note("waiting", &text);
    }
}

fn named(key: &Key) -> String {
    format!("version {}, check value {}", key.version, key.check_value)
}

/// What is not what it must be is a finding; anything else could not be done.
fn tell(report: &mut Report, check: &'static str, trouble: &Trouble) {
    if trouble.kind == Kind::Untrue {
        report.bad(check, &trouble.text);
    } else {
        report.unchecked(check, &trouble.text);
    }
}
