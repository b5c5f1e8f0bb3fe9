//! The answer of `ledger_verify` as it grows: a line for each finding, and one for each check that has none.

use std::collections::BTreeMap;

use identity_core::replay::Finding;

use crate::answer::{Rows as Answer, value};
use crate::query::Rows;
use crate::sql_function::Arguments;

/// Findings that are named; the rest are counted.
const MAX_FINDINGS: u64 = 1000;

pub struct Report {
    answer: Answer,
    findings: u64,
    of: BTreeMap<&'static str, u64>,
}

impl Report {
    pub fn of(call: Arguments) -> Self {
        Self {
            answer: Answer::of(call),
            findings: 0,
            of: BTreeMap::new(),
        }
    }

    pub fn finding(&mut self, check: &'static str, detail: &str) {
        self.findings += 1;
        *self.of.entry(check).or_default() += 1;
        if self.findings <= MAX_FINDINGS {
            self.answer
                .push(&[value(check), value(false), value(detail)]);
        }
    }

    /// A finding for each event whose access id is in the first column.
    pub fn events(&mut self, check: &'static str, rows: &Rows, what: &str) {
        for id in (0..rows.count).filter_map(|row| rows.get::<i64>(row, 1)) {
            self.finding(check, &format!("access_id {id}: {what}"));
        }
    }

    /// A finding for each subject whose id, as text, is in the first column.
    pub fn subjects(&mut self, check: &'static str, rows: &Rows, what: &str) {
        for id in (0..rows.count).filter_map(|row| rows.get::<&str>(row, 1)) {
            self.finding(check, &format!("subject {id}: {what}"));
        }
    }

    /// The same for a finding of a replay.
    pub fn found(&mut self, finding: &Finding) {
        self.finding(finding.fault.check().as_str(), &finding.to_string());
    }

    /// Closes a check: one line that it is good, if nothing was found; how much was found, if not all of it was named.
    pub fn close(&mut self, check: &'static str, good: &str) {
        match self.of.get(check) {
            None => self.answer.push(&[value(check), value(true), value(good)]),
            Some(found) if self.findings > MAX_FINDINGS => {
                let detail = format!("{found} findings in all");
                self.answer
                    .push(&[value(check), value(false), value(detail)]);
            }
            Some(_) => {}
        }
    }
}
