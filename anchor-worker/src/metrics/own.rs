//! The worker's own numbers. Their labels are words of ours.

use std::sync::LazyLock;
use std::time::{Duration, SystemTime};

use prometheus::core::Collector;
use prometheus::proto::MetricFamily;
use prometheus::{
    Gauge, GaugeVec, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGaugeVec, Opts,
    Registry, Result,
};

use super::health;
use crate::trouble::Kind;

/// Seconds. What a service and a store answer in, and what is cut off after a minute.
const BUCKETS: [f64; 13] = [
    0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0,
];

static OWN: LazyLock<Option<Own>> = LazyLock::new(|| Own::new().ok());

struct Own {
    registry: Registry,
    /// By label, so that there is no row of what never was.
    last_round: GaugeVec,
    rounds: IntCounterVec,
    failures: IntCounterVec,
    effects: HistogramVec,
    refusals: IntCounterVec,
    last_anchor: GaugeVec,
    anchored_size: IntGaugeVec,
    unlocks: IntCounter,
    last_unlock: GaugeVec,
    reencrypt: IntGaugeVec,
    alarms: IntCounter,
    last_alarm: GaugeVec,
    leads: Gauge,
    healthy: Gauge,
    refused: Gauge,
    unlock_ok: Gauge,
}

impl Own {
    fn new() -> Result<Self> {
        let registry = Registry::new();
        let build = IntGaugeVec::new(
            Opts::new(
                "identity_worker_build_info",
                "Always 1; which version runs.",
            ),
            &["version"],
        )?;
        build.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
        keep(&registry, build)?;
        let started = Gauge::new(
            "identity_worker_start_time_seconds",
            "When the worker started, since 1970.",
        )?;
        started.set(now());
        keep(&registry, started)?;
        Ok(Self {
            last_round: moment(
                &registry,
                "identity_worker_last_round_time_seconds",
                "When a round last ended well, since 1970.",
                &["event"],
            )?,
            rounds: keep(
                &registry,
                IntCounterVec::new(
                    Opts::new(
                        "identity_worker_rounds_total",
                        "Rounds that ended well: of anchoring, of unlocking, and of each duty beside them.",
                    ),
                    &["event"],
                )?,
            )?,
            failures: keep(
                &registry,
                IntCounterVec::new(
                    Opts::new(
                        "identity_worker_failures_total",
                        "Rounds that did not work out, by the kind of trouble, as in the log.",
                    ),
                    &["event", "kind"],
                )?,
            )?,
            effects: keep(
                &registry,
                HistogramVec::new(
                    HistogramOpts::new(
                        "identity_worker_effect_seconds",
                        "What each effect of a round of anchoring took, whether or not it worked out: the database, the signer, the store.",
                    )
                    .buckets(BUCKETS.to_vec()),
                    &["effect"],
                )?,
            )?,
            refusals: keep(
                &registry,
                IntCounterVec::new(
                    Opts::new(
                        "identity_worker_refusals_total",
                        "Rounds in which the worker refused to sign, by its reason.",
                    ),
                    &["code"],
                )?,
            )?,
            last_anchor: moment(
                &registry,
                "identity_worker_last_anchor_time_seconds",
                "When this worker last put an anchor, since 1970.",
                &[],
            )?,
            anchored_size: keep(
                &registry,
                IntGaugeVec::new(
                    Opts::new(
                        "identity_worker_anchored_size",
                        "Leaves that the newest anchor of this worker covers.",
                    ),
                    &[],
                )?,
            )?,
            unlocks: keep(
                &registry,
                IntCounter::new(
                    "identity_worker_unlocks_total",
                    "How often the database was found locked, and unlocked.",
                )?,
            )?,
            last_unlock: moment(
                &registry,
                "identity_worker_last_unlock_time_seconds",
                "When the database was last unlocked, since 1970.",
                &[],
            )?,
            reencrypt: keep(
                &registry,
                IntGaugeVec::new(
                    Opts::new(
                        "identity_worker_reencrypt_subjects",
                        "Subjects with a ciphertext under an older key that are left, and those among them whose ciphertext does not open.",
                    ),
                    &["state"],
                )?,
            )?,
            alarms: keep(
                &registry,
                IntCounter::new(
                    "identity_worker_alarms_total",
                    "Lines of the log that should wake somebody.",
                )?,
            )?,
            last_alarm: moment(
                &registry,
                "identity_worker_last_alarm_time_seconds",
                "When the log last had such a line, since 1970.",
                &[],
            )?,
            leads: plain(
                &registry,
                "identity_worker_leads",
                "1 if this worker leads, 0 if another does or nobody knows.",
            )?,
            healthy: plain(
                &registry,
                "identity_worker_healthy",
                "1 if /healthz answers 200, otherwise 0.",
            )?,
            refused: plain(
                &registry,
                "identity_worker_refused",
                "1 while the worker refuses to sign.",
            )?,
            unlock_ok: plain(
                &registry,
                "identity_worker_unlock_ok",
                "0 while the last round of unlocking failed.",
            )?,
            registry,
        })
    }
}

/// The registry tells what the worker holds on to.
fn keep<C: Collector + Clone + 'static>(registry: &Registry, numbers: C) -> Result<C> {
    registry.register(Box::new(numbers.clone()))?;
    Ok(numbers)
}

fn plain(registry: &Registry, name: &str, help: &str) -> Result<Gauge> {
    keep(registry, Gauge::new(name, help)?)
}

fn moment(registry: &Registry, name: &str, help: &str, labels: &[&str]) -> Result<GaugeVec> {
    keep(registry, GaugeVec::new(Opts::new(name, help), labels)?)
}

fn now() -> f64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0.0, |since| since.as_secs_f64())
}

fn own(count: impl FnOnce(&Own)) {
    if let Some(own) = OWN.as_ref() {
        count(own);
    }
}

/// A round ended well.
pub(crate) fn done(event: &'static str) {
    own(|own| {
        own.rounds.with_label_values(&[event]).inc();
        own.last_round.with_label_values(&[event]).set(now());
    });
    health::done(event);
}

/// A round did not work out.
pub(crate) fn failed(event: &str, kind: Kind) {
    own(|own| {
        let labels = [event, kind.word()];
        own.failures.with_label_values(&labels).inc();
    });
}

/// A new anchor is in the store, and the database knows it.
pub(crate) fn anchored(size: u64) {
    own(|own| {
        let size = i64::try_from(size).unwrap_or(i64::MAX);
        own.anchored_size.with_label_values::<&str>(&[]).set(size);
        own.last_anchor.with_label_values::<&str>(&[]).set(now());
    });
}

/// The worker refused to sign.
pub(super) fn refusal(code: &str) {
    own(|own| own.refusals.with_label_values(&[code]).inc());
}

/// The database was locked, and is not any more.
pub(crate) fn unlocked() {
    own(|own| {
        own.unlocks.inc();
        own.last_unlock.with_label_values::<&str>(&[]).set(now());
    });
}

/// One effect of a round of anchoring.
pub(crate) fn effect(name: &str, took: Duration) {
    own(|own| {
        let seconds = took.as_secs_f64();
        own.effects.with_label_values(&[name]).observe(seconds);
    });
}

/// What is under older keys.
pub(crate) fn reencrypt(left: i64, failed: i64) {
    own(|own| {
        own.reencrypt.with_label_values(&["left"]).set(left);
        own.reencrypt.with_label_values(&["failed"]).set(failed);
    });
}

/// The log has a line that should wake somebody.
pub(crate) fn alarm() {
    own(|own| {
        own.alarms.inc();
        own.last_alarm.with_label_values::<&str>(&[]).set(now());
    });
}

/// All of them, as they are now. None if this build's own numbers contradict each other.
pub(super) fn gathered() -> Option<Vec<MetricFamily>> {
    let own = OWN.as_ref()?;
    let state = health::state();
    let number = |yes: bool| f64::from(u8::from(yes));
    own.leads.set(number(state.leads));
    own.refused.set(number(state.refused));
    own.unlock_ok.set(number(state.unlock_ok));
    own.healthy.set(number(state.healthy));
    Some(own.registry.gather())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_can_be_told_and_counts() {
        done("anchor");
        failed("anchor", Kind::Denied);
        refusal("rewritten");
        anchored(7);
        unlocked();
        effect("sign", Duration::from_millis(20));
        reencrypt(3, 1);
        alarm();
        let families = gathered().unwrap();
        let text = prometheus::TextEncoder::new()
            .encode_to_string(&families)
            .unwrap();
        for line in [
            "identity_worker_rounds_total{event=\"anchor\"} ",
            "identity_worker_failures_total{event=\"anchor\",kind=\"denied\"} ",
            "identity_worker_refusals_total{code=\"rewritten\"} 1",
            "identity_worker_anchored_size 7",
            "identity_worker_unlocks_total 1",
            "identity_worker_effect_seconds_bucket{effect=\"sign\",le=\"0.025\"} 1",
            "identity_worker_effect_seconds_bucket{effect=\"sign\",le=\"0.01\"} 0",
            "identity_worker_reencrypt_subjects{state=\"failed\"} 1",
            "identity_worker_last_alarm_time_seconds ",
            "identity_worker_build_info{version=",
        ] {
            assert!(
                text.lines().any(|found| found.starts_with(line)),
                "{line} in {text}"
            );
        }
    }
}
