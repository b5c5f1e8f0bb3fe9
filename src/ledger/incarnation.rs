//! `incarnation_declare`: the log goes on although it is shorter than what was anchored, because both parties have signed that it may.
//!
//! The database has no key of the parties: whoever anchors looks at their signatures before the first checkpoint of the new incarnation is signed. What it
//! does check is that the declaration is of this log and that what it keeps is here.

use identity_core::incarnation::{Declaration, split};
use identity_core::note::Note;
use identity_core::reason::Reason;
use identity_core::vocabulary::{AccessorKind, NoticeKind};
use pgrx::{IntoDatum, pg_sys};

use super::{checkpoint, tree_store};
use crate::answer::timestamp;
use crate::bucket;
use crate::call::Call;
use crate::clock::UNIX_EPOCH_MICROS;
use crate::event;
use crate::keys::region::Keys;
use crate::outbox;
use crate::query::{Rows, Statement, bind, connected, with_latest_snapshot};
use crate::record::{Entry, Fate};
use crate::sql_function::{Arguments, sql_function};

sql_function!(incarnation_declare, pg_finfo_incarnation_declare, run);

static KNOWN: Statement = Statement::read(
    c"SELECT declaration FROM identity.ledger_incarnations WHERE incarnation = $1",
    &[pg_sys::INT8OID],
);
static RECORD: Statement = Statement::write(
    c"INSERT INTO identity.ledger_incarnations (incarnation, access_id, kept_size, kept_root, last_size, last_root, written_at, reason, declaration, declared_at)
      VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
    &[
        pg_sys::INT8OID,
        pg_sys::INT8OID,
        pg_sys::INT8OID,
        pg_sys::BYTEAOID,
        pg_sys::INT8OID,
        pg_sys::BYTEAOID,
        pg_sys::TIMESTAMPTZOID,
        pg_sys::TEXTOID,
        pg_sys::TEXTOID,
        pg_sys::TIMESTAMPTZOID,
    ],
);

fn run(arguments: Arguments) -> pg_sys::Datum {
    let mut call = Call::begin(AccessorKind::Incarnation);
    let keys = call.admit();
    let note: &str = call.required(arguments.get(0));
    let says = call.allow(says(note));
    // The lock before the snapshot: what is kept must be in the tree as it is, and nothing may be sealed meanwhile under the old name.
    bucket::sealing();
    let known = with_latest_snapshot(|| connected(|| known(note, &says)));
    if !call.allow(known) {
        call.entry = Entry::now();
        call.hold();
        with_latest_snapshot(|| connected(|| record(&call, &keys, note, &says)));
    }
    i64::from(says.incarnation)
        .into_datum()
        .unwrap_or(pg_sys::Datum::from(0))
}

/// What a note says, if it is a declaration with at least as many signatures as there are parties, and something was lost.
fn says(note: &str) -> Result<Declaration, Reason> {
    let note = Note::parse(note.as_bytes()).filter(|note| note.signatures() >= 2);
    note.and_then(|note| Declaration::parse(note.text))
        .filter(Declaration::loses)
        .ok_or(Reason::BadArgument)
}

/// Whether it was declared before; an error if it is not one that may be declared of this log and this tree.
fn known(note: &str, says: &Declaration) -> Result<bool, Reason> {
    let origin = checkpoint::name()?;
    let (log, current) = split(&origin);
    if says.log != log {
        return Err(Reason::BadArgument);
    }
    let known = KNOWN.run(&mut [bind(i64::from(says.incarnation))]);
    if known.get::<&str>(0, 1) == Some(note) {
        return Ok(true);
    }
    if says.incarnation <= current {
        return Err(Reason::BadArgument);
    }
    if says.kept.size > tree_store::size()
        || says.kept != checkpoint::of_size(says.kept.size)?.tree()
    {
        return Err(Reason::Chain);
    }
    Ok(false)
}

/// Writes the declaration and its event.
fn record(call: &Call, keys: &Keys, note: &str, says: &Declaration) {
    let declared = Declared {
        incarnation: i64::from(says.incarnation),
        kept: (tree_store::number(says.kept.size), &says.kept.root),
        last: (
            i64::try_from(says.last.size).unwrap_or(i64::MAX),
            &says.last.root,
        ),
        written_at: says.at - UNIX_EPOCH_MICROS,
        reason: &says.reason,
        declaration: note,
        declared_at: call.entry.at - UNIX_EPOCH_MICROS,
    };
    let access_id = call.append(keys, &Fate::event(declared.digest(&keys.installation)));
    outbox::add(access_id, &call.entry, NoticeKind::Incarnation);
    RECORD.run(&mut [
        bind(declared.incarnation),
        bind(access_id),
        bind(declared.kept.0),
        bind(declared.kept.1),
        bind(declared.last.0),
        bind(declared.last.1),
        timestamp(declared.written_at),
        bind(declared.reason),
        bind(declared.declaration),
        timestamp(declared.declared_at),
    ]);
}

/// A row of `ledger_incarnations`; times in PostgreSQL's unit.
pub struct Declared<'a> {
    incarnation: i64,
    kept: (i64, &'a [u8]),
    last: (i64, &'a [u8]),
    written_at: i64,
    reason: &'a str,
    declaration: &'a str,
    declared_at: i64,
}

impl<'a> Declared<'a> {
    /// One that was stored: its columns in the order of the table, without the access id, from this one on.
    pub fn stored(rows: &'a Rows, row: usize, from: i32) -> Option<Self> {
        Some(Self {
            incarnation: rows.get(row, from)?,
            kept: (rows.get(row, from + 1)?, rows.bytes(row, from + 2)?),
            last: (rows.get(row, from + 3)?, rows.bytes(row, from + 4)?),
            written_at: rows.moment(row, from + 5)?,
            reason: rows.get(row, from + 6)?,
            declaration: rows.get(row, from + 7)?,
            declared_at: rows.moment(row, from + 8)?,
        })
    }

    /// The digest of its event.
    pub fn digest(&self, installation: &[u8; 16]) -> [u8; 32] {
        let ((kept_size, kept_root), (last_size, last_root)) = (self.kept, self.last);
        event::digest(
            installation,
            AccessorKind::Incarnation.as_str(),
            &[
                ("incarnation", Some(&self.incarnation.to_string())),
                ("kept_size", Some(&kept_size.to_string())),
                ("kept_root", Some(&event::hex(kept_root))),
                ("last_size", Some(&last_size.to_string())),
                ("last_root", Some(&event::hex(last_root))),
                ("written_at", Some(&event::instant(self.written_at))),
                ("reason", Some(self.reason)),
                ("declaration", Some(self.declaration)),
                ("declared_at", Some(&event::instant(self.declared_at))),
            ],
        )
    }
}
