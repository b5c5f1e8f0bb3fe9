//! What the database says of itself, as far as it is let through.
//!
//! The database is not trusted: it must not pass its numbers off as the worker's, which are what tells of a database that lies.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use prometheus::core::Collector;
use prometheus::proto::MetricFamily;
use prometheus::{CounterVec, GaugeVec, Opts, Registry};

use super::help;

/// More than there can be of purposes at their caps, and little for a machine.
pub(super) const MAX_ROWS: usize = 5000;
const MAX_NAME_BYTES: usize = 100;
const MAX_VALUE_BYTES: usize = 200;
const MAX_LABELS: usize = 8;

const OURS: &str = "identity_worker_";
const THEIRS: &str = "identity_";
const COUNTER: &str = "_total";

/// One row of `identity.metrics()`.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Row {
    pub name: String,
    pub labels: BTreeMap<String, String>,
    pub value: f64,
}

/// Rows as they are told. `None` if one of them is not what the extension writes.
pub(super) fn families(rows: Vec<Row>) -> Option<Vec<MetricFamily>> {
    if rows.len() > MAX_ROWS {
        return None;
    }
    let mut by_name = BTreeMap::<String, Vec<Row>>::new();
    for row in rows {
        if !is_honest(&row) {
            return None;
        }
        by_name.entry(row.name.clone()).or_default().push(row);
    }
    let registry = Registry::new();
    for (name, rows) in &by_name {
        let different: BTreeSet<_> = rows.iter().map(|row| &row.labels).collect();
        if different.len() < rows.len() {
            return None;
        }
        family(&registry, name, rows).ok()?;
    }
    Some(registry.gather())
}

fn is_honest(row: &Row) -> bool {
    let Row {
        name,
        labels,
        value,
    } = row;
    let own = name.starts_with(THEIRS) && !name.starts_with(OURS);
    let short = name.len() <= MAX_NAME_BYTES && labels.len() <= MAX_LABELS;
    // What begins with an underscore has a meaning of Prometheus' own.
    let labelled = labels.iter().all(|(name, value)| {
        name.len() <= MAX_NAME_BYTES && !name.starts_with('_') && value.len() <= MAX_VALUE_BYTES
    });
    // A counter that goes down is none.
    let number = value.is_finite() && (*value >= 0.0 || !name.ends_with(COUNTER));
    own && short && labelled && number
}

/// The library looks whether these are names, and whether all rows have the same labels.
fn family(registry: &Registry, name: &str, rows: &[Row]) -> prometheus::Result<()> {
    let labels = rows
        .first()
        .map(|row| row.labels.keys().map(String::as_str));
    let labels: Vec<&str> = labels.into_iter().flatten().collect();
    let options = Opts::new(name, help::of(name));
    let numbers: Box<dyn Collector> = if name.ends_with(COUNTER) {
        let numbers = CounterVec::new(options, &labels)?;
        for row in rows {
            numbers.get_metric_with(&named(row))?.inc_by(row.value);
        }
        Box::new(numbers)
    } else {
        let numbers = GaugeVec::new(options, &labels)?;
        for row in rows {
            numbers.get_metric_with(&named(row))?.set(row.value);
        }
        Box::new(numbers)
    };
    registry.register(numbers)
}

fn named(row: &Row) -> HashMap<&str, &str> {
    let labels = row.labels.iter();
    labels
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect()
}

#[cfg(test)]
mod tests {
    use prometheus::TextEncoder;

    use super::*;

    fn row(name: &str, labels: &[(&str, &str)], value: f64) -> Row {
        let labels = labels.iter();
        Row {
            name: name.to_owned(),
            labels: labels
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
            value,
        }
    }

    fn told(rows: Vec<Row>) -> Option<String> {
        TextEncoder::new().encode_to_string(&families(rows)?).ok()
    }

    #[test]
    fn rows_are_told_with_their_type_and_meaning() {
        let text = told(vec![
            row("identity_reads_total", &[], 12.0),
            row("identity_erasures", &[("state", "open")], 2.0),
            row("identity_erasures", &[("state", "unscrubbed")], 0.5),
        ]);
        assert_eq!(
            text.unwrap(),
            "# HELP identity_erasures Erasures that are open, and erased people whose pages are not scrubbed yet.\n\
             # TYPE identity_erasures gauge\n\
             identity_erasures{state=\"open\"} 2\n\
             identity_erasures{state=\"unscrubbed\"} 0.5\n\
             # HELP identity_reads_total Subjects whose fields were disclosed.\n\
             # TYPE identity_reads_total counter\n\
             identity_reads_total 12\n"
        );
    }

    #[test]
    fn a_database_cannot_speak_for_the_worker() {
        for name in [
            "identity_worker_healthy",
            "identity_worker_x",
            "up",
            "go_info",
            "identity",
            "",
        ] {
            assert_eq!(told(vec![row(name, &[], 1.0)]), None, "{name}");
        }
    }

    #[test]
    fn no_value_of_a_label_becomes_a_line() {
        let forged = "x\"} 1\nidentity_worker_healthy 1\n# \\";
        let text = told(vec![row(
            "identity_volume_callers",
            &[("purpose", forged)],
            1.0,
        )])
        .unwrap();
        assert_eq!(text.lines().count(), 3, "{text}");
    }

    #[test]
    fn what_the_extension_does_not_write_is_not_told() {
        let long = "x".repeat(201);
        let nine = ["a", "b", "c", "d", "e", "f", "g", "h", "i"].map(|name| (name, ""));
        for rows in [
            vec![row("identity_x y", &[], 1.0)],
            vec![row("identity_x\n", &[], 1.0)],
            vec![row(&format!("identity_{long}"), &[], 1.0)],
            vec![row("identity_x", &[("", "a")], 1.0)],
            vec![row(
                "identity_x",
                &[("__name__", "identity_worker_healthy")],
                1.0,
            )],
            vec![row("identity_x", &[("a b", "a")], 1.0)],
            vec![row("identity_x", &[("a", &long)], 1.0)],
            vec![row("identity_x", &nine, 1.0)],
            vec![row("identity_x", &[], f64::NAN)],
            vec![row("identity_x", &[], f64::INFINITY)],
            vec![row("identity_x_total", &[], -1.0)],
            vec![
                row("identity_x", &[], 1.0),
                row("identity_x", &[("a", "b")], 1.0),
            ],
            vec![row("identity_x", &[], 1.0), row("identity_x", &[], 2.0)],
            vec![row("identity_x", &[], 1.0); MAX_ROWS + 1],
        ] {
            assert_eq!(told(rows.clone()), None, "{:?}", rows.first());
        }
    }
}
