//! The triggers on `retention_policies`: check what the DBA wrote, say who wrote it and when, number the change, record it.
//!
//! Lock order: the writers' lock (`bucket`) before the snapshot, held until commit.

use identity_core::reason::Reason;
use identity_core::vocabulary::{AccessorKind, Vertical};
use pgrx::pg_sys;

use super::policy::Kind;
use crate::bucket;
use crate::call::Call;
use crate::clock::{self, UNIX_EPOCH_MICROS};
use crate::event::{self, instant};
use crate::purpose::change::restoring;
use crate::query::{Statement, bind, connected, with_latest_snapshot};
use crate::record::Fate;
use crate::sql_function::{Arguments, sql_function};
use crate::trigger::{self, Row, name};

sql_function!(
    _retention_policy_checked,
    pg_finfo__retention_policy_checked,
    checked
);
sql_function!(
    _retention_policy_recorded,
    pg_finfo__retention_policy_recorded,
    recorded
);

/// Columns by their position in sql/46_retention.sql.
const VERTICAL: i32 = 1;
const KIND: i32 = 2;
const DAYS: i32 = 3;
const SCHEDULE: i32 = 4;
const CHANGED_BY: i32 = 5;
const CHANGED_AT: i32 = 6;

/// Versions are never removed: one that is there stays.
static SCHEDULES: Statement = Statement::read(
    c"SELECT FROM identity.consent_versions WHERE version = $1 AND kind = 'retention_schedule'",
    &[pg_sys::TEXTOID],
);
/// A write, so that it sees the changes before this one in the same statement.
static LAST: Statement = Statement::write(
    c"SELECT COALESCE(pg_catalog.max(change_no), 0) FROM identity.retention_policy_changes",
    &[],
);
static KEEP: Statement = Statement::write(
    c"INSERT INTO identity.retention_policy_changes (access_id, change_no, vertical, kind, state, days, schedule_version, changed_by, changed_at)
      VALUES ($1, $2, $3, $4, $5, $6, $7, $8::name, $9)",
    &[
        pg_sys::INT8OID, pg_sys::INT4OID, pg_sys::TEXTOID, pg_sys::TEXTOID, pg_sys::TEXTOID, pg_sys::INT4OID, pg_sys::TEXTOID, pg_sys::TEXTOID,
        pg_sys::TIMESTAMPTZOID,
    ],
);

/// BEFORE INSERT OR UPDATE: answers the row that is to be written.
fn checked(arguments: Arguments) -> pg_sys::Datum {
    let (before, row) = Row::fired_for(arguments, CHANGED_AT);
    if restoring() {
        return pg_sys::Datum::from(row.tuple);
    }
    let call = Call::begin(AccessorKind::RetentionPolicy);
    call.admit();
    call.allow(check(before.as_ref(), &row));
    bucket::retention_policies();
    if let Some(before) = before.filter(|before| is_same(before, &row)) {
        return pg_sys::Datum::from(before.tuple);
    }
    let mut writer = name(call.caller.role().as_str());
    let values = [
        (CHANGED_BY, Some(pg_sys::Datum::from(writer.as_mut_ptr()))),
        (CHANGED_AT, Some(pg_sys::Datum::from(clock::now()))),
    ];
    pg_sys::Datum::from(row.with(&values))
}

/// What a DBA's row must be. A policy that is moved to another vertical would be one change that is two.
fn check(before: Option<&Row>, row: &Row) -> Result<(), Reason> {
    let moved = before.is_some_and(|before| {
        (before.text(VERTICAL), before.text(KIND)) != (row.text(VERTICAL), row.text(KIND))
    });
    let kind = row.text(KIND).and_then(Kind::parse);
    let vertical = row.text(VERTICAL).and_then(Vertical::parse);
    let within = |kind: &Kind| {
        row.int(DAYS)
            .is_some_and(|days| (1..=kind.most_days()).contains(&days))
    };
    let well_formed = !moved && vertical.is_some() && kind.as_ref().is_some_and(within);
    let published = |schedule| {
        with_latest_snapshot(|| connected(|| SCHEDULES.run(&mut [bind(schedule)]).count > 0))
    };
    (well_formed && row.text(SCHEDULE).is_some_and(published))
        .then_some(())
        .ok_or(Reason::BadArgument)
}

fn is_same(before: &Row, row: &Row) -> bool {
    (before.int(DAYS), before.text(SCHEDULE)) == (row.int(DAYS), row.text(SCHEDULE))
}

/// AFTER INSERT OR UPDATE OR DELETE: what ON CONFLICT DO NOTHING left out is not recorded, nor what changed nothing.
fn recorded(arguments: Arguments) -> pg_sys::Datum {
    let nothing = pg_sys::Datum::from(0);
    let (before, row) = Row::fired_for(arguments, CHANGED_AT);
    if restoring() || before.is_some_and(|before| is_same(&before, &row)) {
        return nothing;
    }
    let mut call = Call::begin(AccessorKind::RetentionPolicy);
    let keys = call.admit();
    bucket::retention_policies();
    let removed = trigger::removes(arguments);
    let role = call.caller.role();
    let at = match row.moment(CHANGED_AT) {
        Some(at) if !removed => at,
        _ => clock::now(),
    };
    call.entry.at = at + UNIX_EPOCH_MICROS;
    with_latest_snapshot(|| {
        connected(|| {
            let last = LAST.run(&mut []).get::<i32>(0, 1).unwrap_or(0);
            let change = Change {
                number: last + 1,
                vertical: row.text(VERTICAL).unwrap_or_default(),
                kind: row.text(KIND).unwrap_or_default(),
                set: row.int(DAYS).zip(row.text(SCHEDULE)).filter(|_| !removed),
                by: role.as_str(),
                at,
            };
            let access_id = call.append(&keys, &Fate::event(change.digest(&keys.installation)));
            change.keep(access_id);
        });
    });
    nothing
}

/// One change of a policy, as its event has it.
pub struct Change<'a> {
    pub number: i32,
    pub vertical: &'a str,
    pub kind: &'a str,
    /// Days and schedule; `None` if the policy was removed.
    pub set: Option<(i32, &'a str)>,
    pub by: &'a str,
    /// Microseconds since 2000: the moment of the access row too.
    pub at: i64,
}

impl Change<'_> {
    pub fn state(&self) -> &'static str {
        match self.set {
            Some(_) => "set",
            None => "removed",
        }
    }

    pub fn digest(&self, installation: &[u8; 16]) -> [u8; 32] {
        let number = self.number.to_string();
        let at = instant(self.at);
        let days = self.set.map(|(days, _)| days.to_string());
        let pairs = [
            ("change_no", Some(number.as_str())),
            ("vertical", Some(self.vertical)),
            ("kind", Some(self.kind)),
            ("state", Some(self.state())),
            ("days", days.as_deref()),
            ("schedule_version", self.set.map(|(_, schedule)| schedule)),
            ("changed_by", Some(self.by)),
            ("changed_at", Some(&at)),
        ];
        event::digest(installation, AccessorKind::RetentionPolicy.as_str(), &pairs)
    }

    fn keep(&self, access_id: i64) {
        KEEP.run(&mut [
            bind(access_id),
            bind(self.number),
            bind(self.vertical),
            bind(self.kind),
            bind(self.state()),
            self.set.and_then(|(days, _)| bind(days)),
            self.set.and_then(|(_, schedule)| bind(schedule)),
            bind(self.by),
            Some(pg_sys::Datum::from(self.at)),
        ]);
    }
}
