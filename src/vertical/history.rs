//! One change of a subject's vertical: the subject, the event, and the event's readable form.

use identity_core::event_digest;
use identity_core::reason::Reason;
use identity_core::vocabulary::Vertical;
use pgrx::pg_sys;

use crate::call::Call;
use crate::clock;
use crate::event::hex;
use crate::keys::region::Keys;
use crate::query::{Statement, bind};
use crate::record::Fate;
use crate::subject::standing::Standing;
use crate::subject::vertical::look;

static UPDATE: Statement = Statement::write(
    c"UPDATE identity.subjects SET vertical = $2, generation = generation + 1, updated_at = $3 WHERE candidate_id = $1 RETURNING generation",
    &[pg_sys::UUIDOID, pg_sys::TEXTOID, pg_sys::TIMESTAMPTZOID],
);

static INSERT: Statement = Statement::write(
    c"INSERT INTO identity.vertical_history (access_id, candidate_id, kind, source, patterns, before, after, generation, note_digest, changed_by, changed_at)
      VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10::name, $11)",
    &[
        pg_sys::INT8OID, pg_sys::UUIDOID, pg_sys::TEXTOID, pg_sys::TEXTOID, pg_sys::TEXTOID, pg_sys::TEXTOID, pg_sys::TEXTOID, pg_sys::INT4OID,
        pg_sys::BYTEAOID, pg_sys::TEXTOID, pg_sys::TIMESTAMPTZOID,
    ],
);

/// What leads from one vertical to another.
pub enum Cause<'a> {
    /// A text from this source held these patterns.
    Text { source: &'a str, patterns: String },
    /// A reviewer, with the digest of the note.
    Review { note: [u8; 32] },
}

/// Where the subject stands; one that is not there or erased refuses the call. Runs inside the call's snapshot.
pub fn present(call: &mut Call, candidate: &[u8; 16]) -> Standing {
    let standing = look(call, candidate).unwrap_or_else(|| call.refuse(Reason::SubjectUnavailable));
    if standing.erased {
        call.refuse(Reason::SubjectErased);
    }
    standing
}

/// Sets the vertical and records it; returns the access id. The caller holds the subject's bucket and read `before` under it. A review that
/// confirms what is there is recorded as well, and changes no generation.
pub fn record(
    call: &mut Call,
    keys: &Keys,
    candidate: &[u8; 16],
    before: &Standing,
    after: Vertical,
    cause: &Cause<'_>,
) -> i64 {
    let id = bind(pgrx::Uuid::from_bytes(*candidate));
    let now = Some(pg_sys::Datum::from(clock::now()));
    let generation = if after == before.vertical {
        before.generation
    } else {
        let rows = UPDATE.run(&mut [id, bind(after.as_str()), now]);
        rows.get(0, 1)
            .unwrap_or_else(|| call.refuse(Reason::SubjectUnavailable))
    };
    call.entry.vertical = Some(after);
    call.entry.generation = Some(generation);

    let (kind, source, patterns, note) = match cause {
        Cause::Text { source, patterns } => {
            ("escalation", Some(*source), Some(patterns.as_str()), None)
        }
        Cause::Review { note } => ("review", None, None, Some(*note)),
    };
    let digest = digest(
        &keys.installation,
        cause,
        before.vertical.as_str(),
        after.as_str(),
        generation,
    );
    let access_id = call.append(keys, &Fate::event(digest));
    INSERT.run(&mut [
        bind(access_id),
        id,
        bind(kind),
        source.and_then(bind),
        patterns.and_then(bind),
        bind(before.vertical.as_str()),
        bind(after.as_str()),
        bind(generation),
        note.and_then(|note| bind(note.to_vec())),
        bind(call.caller.role().as_str()),
        now,
    ]);
    access_id
}

/// The digest of one change, as it stands on the chain.
pub fn digest(
    installation: &[u8; 16],
    cause: &Cause<'_>,
    before: &str,
    after: &str,
    generation: i32,
) -> [u8; 32] {
    let generation = generation.to_string();
    let common = [
        ("before", before),
        ("after", after),
        ("generation", &generation),
    ];
    match cause {
        Cause::Text { source, patterns } => {
            let pairs = [&common[..], &[("source", source), ("patterns", patterns)]].concat();
            event_digest(installation, "vertical_escalation", &pairs)
        }
        Cause::Review { note } => {
            let note = hex(note);
            let pairs = [&common[..], &[("note_digest", &note)]].concat();
            event_digest(installation, "vertical_review", &pairs)
        }
    }
}
