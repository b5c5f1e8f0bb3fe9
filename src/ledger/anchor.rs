//! `anchor_record`: notes that a checkpoint of this tree, signed, lies outside under a lock.
//!
//! The database has no key to check the signature with: that is for those who read the anchor there. What it does check is that the checkpoint is of
//! this log and of this tree, and that anchors only ever grow.

use identity_core::checkpoint::Checkpoint;
use identity_core::note::Note;
use identity_core::reason::Reason;
use identity_core::vocabulary::{AccessorKind, ChainKind};
use pgrx::{IntoDatum, pg_sys};

use super::{checkpoint, lag, tree_store};
use crate::answer::timestamp;
use crate::bucket;
use crate::call::Call;
use crate::clock::UNIX_EPOCH_MICROS;
use crate::event;
use crate::keys::region::Keys;
use crate::query::{Rows, Statement, bind, connected, with_latest_snapshot};
use crate::record::{Entry, Fate};
use crate::sql_function::{Arguments, sql_function};

sql_function!(anchor_record, pg_finfo_anchor_record, run);

/// Longer than what stores give: an S3 key has at most 1,024 bytes, a version as many.
const MAX_URI_BYTES: usize = 2048;
const MAX_VERSION_BYTES: usize = 1024;

static KNOWN: Statement = Statement::read(
    c"SELECT commit_id FROM identity.anchor_commits
       WHERE tree_size = $1 AND checkpoint = $2 AND s3_object_uri = $3 AND version_id = $4 ORDER BY commit_id LIMIT 1",
    &[
        pg_sys::INT8OID,
        pg_sys::TEXTOID,
        pg_sys::TEXTOID,
        pg_sys::TEXTOID,
    ],
);
static NEWEST: Statement = Statement::read(
    c"SELECT (SELECT pg_catalog.max(tree_size) FROM identity.anchor_commits), (SELECT pg_catalog.max(commit_id) FROM identity.anchor_commits)",
    &[],
);
/// The last row with a leaf of its own that a tree of this size holds.
static LAST_ROW: Statement = Statement::read(
    c"SELECT access_id FROM identity.ledger_leaves WHERE leaf_index < $1 AND access_id IS NOT NULL ORDER BY leaf_index DESC LIMIT 1",
    &[pg_sys::INT8OID],
);
static RECORD: Statement = Statement::write(
    c"INSERT INTO identity.anchor_commits (commit_id, chain_kind, checkpoint_at, last_access_id, root_hash, s3_object_uri, s3_lock_until, version_id, tree_size, checkpoint)
      VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
      RETURNING commit_id, tree_size, root_hash, checkpoint, s3_object_uri, version_id, s3_lock_until, checkpoint_at",
    &[
        pg_sys::INT8OID,
        pg_sys::TEXTOID,
        pg_sys::TIMESTAMPTZOID,
        pg_sys::INT8OID,
        pg_sys::BYTEAOID,
        pg_sys::TEXTOID,
        pg_sys::TIMESTAMPTZOID,
        pg_sys::TEXTOID,
        pg_sys::INT8OID,
        pg_sys::TEXTOID,
    ],
);

/// An anchor as the caller tells it.
struct Anchor<'a> {
    note: &'a str,
    says: Checkpoint,
    uri: &'a str,
    version: &'a str,
    lock_until: i64,
}

fn run(arguments: Arguments) -> pg_sys::Datum {
    let mut call = Call::begin(AccessorKind::Anchor);
    let keys = call.admit();
    let anchor = Anchor {
        note: call.required(arguments.get(0)),
        says: call.allow(says(call.required(arguments.get(0)))),
        uri: call.required(arguments.get(1)),
        version: call.required(arguments.get(2)),
        lock_until: call.required(arguments.datum(3)).value() as i64,
    };
    call.allow(form(&anchor));
    // The lock before the snapshot: the newest anchor must be seen, and the tree it is of.
    bucket::sealing();
    let known = with_latest_snapshot(|| connected(|| known(&anchor)));
    let id = match call.allow(known) {
        Ok(id) => id,
        Err(next) => {
            call.entry = Entry::now();
            call.hold();
            let id = with_latest_snapshot(|| connected(|| record(&call, &keys, &anchor, next)));
            lag::recorded();
            id
        }
    };
    id.into_datum().unwrap_or(pg_sys::Datum::from(0))
}

/// What the text of a note says, if it is a checkpoint that somebody signed in the name of its log.
fn says(note: &str) -> Result<Checkpoint, Reason> {
    let note = Note::parse(note.as_bytes()).ok_or(Reason::BadArgument)?;
    Checkpoint::parse(note.text)
        .filter(|says| note.claims(&says.origin))
        .ok_or(Reason::BadArgument)
}

fn form(anchor: &Anchor<'_>) -> Result<(), Reason> {
    let plain = |text: &str, most: usize| text.len() <= most && !text.contains(char::is_control);
    let finite = ![i64::MIN, i64::MAX].contains(&anchor.lock_until);
    let good = !anchor.uri.is_empty()
        && plain(anchor.uri, MAX_URI_BYTES)
        && plain(anchor.version, MAX_VERSION_BYTES)
        && finite;
    good.then_some(()).ok_or(Reason::BadArgument)
}

/// The anchor's number, if it was recorded before; otherwise the number for it, if it is one of this tree and not smaller than the newest.
fn known(anchor: &Anchor<'_>) -> Result<Result<i64, i64>, Reason> {
    let says = &anchor.says;
    if says.origin != checkpoint::name()? || !says.extensions.is_empty() {
        return Err(Reason::BadArgument);
    }
    if says.size > tree_store::size() || *says != checkpoint::of_size(says.size)? {
        return Err(Reason::Chain);
    }
    let size = tree_store::number(says.size);
    let known = KNOWN.run(&mut [
        bind(size),
        bind(anchor.note),
        bind(anchor.uri),
        bind(anchor.version),
    ]);
    if let Some(id) = known.get(0, 1) {
        return Ok(Ok(id));
    }
    let newest = NEWEST.run(&mut []);
    if newest.get::<i64>(0, 1).is_some_and(|newest| newest > size) {
        return Err(Reason::BadArgument);
    }
    Ok(Err(newest.get::<i64>(0, 2).unwrap_or(0) + 1))
}

/// Writes the anchor and its event. Returns its number.
fn record(call: &Call, keys: &Keys, anchor: &Anchor<'_>, id: i64) -> i64 {
    let size = tree_store::number(anchor.says.size);
    let last = LAST_ROW.run(&mut [bind(size)]).datum(0, 1);
    let row = RECORD.run(&mut [
        bind(id),
        bind(ChainKind::Merkle.as_str()),
        timestamp(call.entry.at - UNIX_EPOCH_MICROS),
        last,
        bind(anchor.says.root.to_vec()),
        bind(anchor.uri),
        Some(pg_sys::Datum::from(anchor.lock_until)),
        bind(anchor.version),
        bind(size),
        bind(anchor.note),
    ]);
    let digest = call.allow(digest(&keys.installation, &row, 0).ok_or(Reason::Chain));
    call.append(keys, &Fate::event(digest));
    id
}

/// The digest of the event of a row of anchors, whose columns are those that `RECORD` returns.
pub fn digest(installation: &[u8; 16], rows: &Rows, row: usize) -> Option<[u8; 32]> {
    let instant = |column| rows.moment(row, column).map(event::instant);
    let number = |column| {
        rows.get::<i64>(row, column)
            .map(|number| number.to_string())
    };
    let (id, size) = (number(1)?, number(2)?);
    let (root, locked, at) = (event::hex(rows.bytes(row, 3)?), instant(7), instant(8)?);
    Some(event::digest(
        installation,
        AccessorKind::Anchor.as_str(),
        &[
            ("commit_id", Some(&id)),
            ("tree_size", Some(&size)),
            ("root_hash", Some(&root)),
            ("checkpoint", rows.get(row, 4)),
            ("s3_object_uri", rows.get(row, 5)),
            ("version_id", rows.get(row, 6)),
            ("s3_lock_until", locked.as_deref()),
            ("checkpoint_at", Some(&at)),
        ],
    ))
}
