//! What is told: four members, in the forms of the channels. Nobody is named, and no free text is in it.

use getrandom::SysRng;
use getrandom::rand_core::{TryRng as _, UnwrapErr};
use identity_core::moment;
use identity_core::vocabulary::{AccessorKind, NoticeKind};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

const HASH_DIGITS: usize = 64;

/// `accessor_kind` of an alarm of this worker.
const WORKER: &str = "anchor_worker";

/// The payload, in the order in which it is written.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Payload {
    event_kind: String,
    timestamp: String,
    accessor_kind: String,
    integrity_hash: String,
}

#[derive(Serialize)]
struct Slack {
    text: String,
}

/// A notice or an alarm.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Message {
    /// The same however often it is sent: whoever has seen it may drop it.
    pub id: String,
    payload: Payload,
}

impl Message {
    /// A notice of the database's outbox; `None` if it is not one of ours: what a database that lies would have us say, we do not say.
    pub fn notice(payload: &str) -> Option<Self> {
        let payload: Payload = serde_json::from_str(payload).ok()?;
        let known = NoticeKind::parse(&payload.event_kind).is_some()
            && AccessorKind::parse(&payload.accessor_kind).is_some()
            && is_moment(&payload.timestamp)
            && is_hash(&payload.integrity_hash);
        known.then(|| Self {
            id: payload.integrity_hash.clone(),
            payload,
        })
    }

    /// An alarm of this worker, named by words of ours, `micros` after the Unix epoch. It has no row, so it has no hash.
    pub fn alarm(what: &str, micros: i64) -> Self {
        let mut id = [0; 16];
        UnwrapErr(SysRng).try_fill_bytes(&mut id).unwrap_or(());
        Self {
            id: hex::encode(id),
            payload: Payload {
                event_kind: format!("worker_{what}"),
                timestamp: moment::text(micros),
                accessor_kind: WORKER.into(),
                integrity_hash: String::new(),
            },
        }
    }

    /// The payload alone.
    pub fn json(&self) -> String {
        serde_json::to_string(&self.payload).unwrap_or_default()
    }

    /// As Slack's incoming webhooks, and what imitates them, take it.
    pub fn slack(&self) -> String {
        let text = format!("*identity_pgx* {}", self.line());
        serde_json::to_string(&Slack { text }).unwrap_or_default()
    }

    pub fn subject(&self) -> String {
        format!("identity_pgx: {}", self.payload.event_kind)
    }

    /// For people who read mail.
    pub fn text(&self) -> String {
        let where_to_look = if self.payload.integrity_hash.is_empty() {
            "The log of the anchor-worker says more."
        } else {
            "The row with this integrity_hash in identity.pii_access_log says more, to whoever may read it."
        };
        let json = self.json();
        format!("{}\r\n\r\n{where_to_look}\r\n\r\n{json}\r\n", self.line())
    }

    fn line(&self) -> String {
        let Payload {
            event_kind,
            timestamp,
            integrity_hash,
            ..
        } = &self.payload;
        let row = match integrity_hash.as_str() {
            "" => String::new(),
            hash => format!(", row {hash}"),
        };
        format!("{event_kind} at {timestamp}{row}")
    }
}

fn is_hash(text: &str) -> bool {
    let digit = |c: u8| matches!(c, b'0'..=b'9' | b'a'..=b'f');
    text.len() == HASH_DIGITS && text.bytes().all(digit)
}

/// An instant exactly as it is written in rows.
fn is_moment(text: &str) -> bool {
    let micros = |at: OffsetDateTime| i64::try_from(at.unix_timestamp_nanos() / 1000).ok();
    let parsed = OffsetDateTime::parse(text, &Rfc3339).ok();
    parsed
        .and_then(micros)
        .is_some_and(|micros| moment::text(micros) == text)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HASH: &str = "44a823cffa85aed3cbe323284d6cda75131eacfcd61c23b5e388429f2f7cfb58";

    fn payload(event: &str, at: &str, accessor: &str, hash: &str) -> String {
        format!(
            r#"{{"event_kind": "{event}", "timestamp": "{at}", "accessor_kind": "{accessor}", "integrity_hash": "{hash}"}}"#
        )
    }

    #[test]
    fn a_notice_is_sent_as_it_is_and_nothing_more() {
        let at = "2026-11-22T00:00:00.000000Z";
        let text = payload("purpose_revoke", at, "purpose_revoke", HASH);
        let message = Message::notice(&text).unwrap();
        assert_eq!(message.id, HASH);
        assert_eq!(message.json(), text.replace(": ", ":").replace(", ", ","));
        assert_eq!(
            message.slack(),
            format!(r#"{{"text":"*identity_pgx* purpose_revoke at {at}, row {HASH}"}}"#)
        );
        assert!(message.text().contains(&message.json()));
    }

    #[test]
    fn what_is_no_notice_of_ours_is_not_sent() {
        let (at, good) = ("2026-11-22T00:00:00.000000Z", "purpose_revoke");
        for text in [
            payload("123-45-6789", at, good, HASH),
            payload(good, at, "Ada Lovelace", HASH),
            payload(good, "2026-11-22T00:00:00Z", good, HASH),
            payload(good, "2026-11-22 00:00:00.000000Z", good, HASH),
            payload(good, "ada@example.com", good, HASH),
            payload(good, at, good, "Ada"),
            payload(good, at, good, &HASH.to_uppercase()),
            payload(good, at, good, ""),
            payload("worker_refused", at, good, HASH),
            payload("purpose_revoke\\r\\nBcc: a@b", at, good, HASH),
            payload(good, at, good, HASH).replace('}', r#","name":"Ada"}"#),
            payload(good, at, good, HASH).replace('}', r#","event_kind":"key_rotation"}"#),
            String::from("[]"),
            String::new(),
        ] {
            assert_eq!(Message::notice(&text), None, "{text}");
        }
    }

    #[test]
    fn an_alarm_has_a_name_of_its_own_and_no_row() {
        let one = Message::alarm("refused_shorter", 0);
        let other = Message::alarm("refused_shorter", 0);
        assert_ne!(one.id, other.id);
        assert_eq!(
            one.json(),
            r#"{"event_kind":"worker_refused_shorter","timestamp":"1970-01-01T00:00:00.000000Z","accessor_kind":"anchor_worker","integrity_hash":""}"#
        );
    }
}
