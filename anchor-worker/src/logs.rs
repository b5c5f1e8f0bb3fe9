//! Logs: one line for each thing that happened, on standard error; as JSON, unless a person is watching. No line holds a key, a token, a password or anything of
//! a subject: nothing of that is ever in a [`Trouble`](crate::trouble::Trouble) or a refusal.

use std::io::{IsTerminal as _, stderr};

use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::{Context, Layer, SubscriberExt as _};
use tracing_subscriber::{fmt, registry};

use crate::cli::LogForm;
use crate::metrics;
use crate::outbox::Alarms;

/// From here on everything is logged, and what is logged as an alarm is heard by whoever asks the answer for it. Only our own lines: libraries tell of requests, and requests hold credentials.
pub fn begin(form: Option<LogForm>) -> Alarms {
    let alarms = Alarms::default();
    let terminal = stderr().is_terminal();
    let chosen = form.unwrap_or(if terminal {
        LogForm::Text
    } else {
        LogForm::Json
    });
    let own = Targets::new()
        .with_default(LevelFilter::OFF)
        .with_target("anchor_worker", Level::INFO);
    let lines = fmt::layer().with_writer(stderr).with_target(false);
    let result = match chosen {
        LogForm::Text => {
            let lines = lines.with_ansi(terminal);
            tracing::subscriber::set_global_default(
                registry()
                    .with(own)
                    .with(Counted)
                    .with(lines)
                    .with(alarms.layer()),
            )
        }
        LogForm::Json => {
            let lines = lines.json().flatten_event(true).with_current_span(false);
            tracing::subscriber::set_global_default(
                registry()
                    .with(own)
                    .with(Counted)
                    .with(lines.with_span_list(false))
                    .with(alarms.layer()),
            )
        }
    };
    // There is one already: of whoever called us.
    drop(result);
    alarms
}

/// Counts what should wake somebody, whoever says it.
struct Counted;

impl<S: Subscriber> Layer<S> for Counted {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut seen = Seen(false);
        event.record(&mut seen);
        if seen.0 {
            metrics::alarm();
        }
    }
}

struct Seen(bool);

impl Visit for Seen {
    fn record_bool(&mut self, field: &Field, value: bool) {
        self.0 |= field.name() == "alarm" && value;
    }

    fn record_debug(&mut self, _: &Field, _: &dyn std::fmt::Debug) {}
}
