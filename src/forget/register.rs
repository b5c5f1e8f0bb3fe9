//! `forget_register` and `forget_unregister`: a DBA who owns a table has it cleaned from now on when a subject is erased, or no longer.

use std::collections::HashSet;
use std::ffi::CStr;

use identity_core::reason::Reason;
use identity_core::vocabulary::AccessorKind;
use pgrx::pg_sys;

use super::event::Event;
use super::fitness;
use super::table::{Action, Table};
use crate::arrays::Element;
use crate::call::Call;
use crate::clock::UNIX_EPOCH_MICROS;
use crate::query::{Statement, bind, connected, with_latest_snapshot};
use crate::record::{Entry, Fate};
use crate::sql_function::{Arguments, sql_function, void};

sql_function!(forget_register, pg_finfo_forget_register, register);
sql_function!(forget_unregister, pg_finfo_forget_unregister, unregister);

/// As many arguments as one call of a function may have: the columns are looked at by one.
const MAX_COLUMNS: usize = 100;

static OWNER: Statement = Statement::read(
    c"SELECT relowner FROM pg_catalog.pg_class WHERE oid = $1",
    &[pg_sys::OIDOID],
);
/// Two at once: the second waits for the first, and then inserts nothing.
static REGISTER: Statement = Statement::write(
    c"INSERT INTO identity.forget_tables (relation, subject_column, action, columns, registered_by, registered_at, access_id)
      VALUES ($1, $2::name, $3, $4::name[], $5::name, $6, $7) ON CONFLICT DO NOTHING RETURNING columns::text",
    &[
        pg_sys::OIDOID, pg_sys::TEXTOID, pg_sys::TEXTOID, pg_sys::TEXTARRAYOID, pg_sys::TEXTOID, pg_sys::TIMESTAMPTZOID, pg_sys::INT8OID,
    ],
);
static AS_TEXT: Statement = Statement::read(c"SELECT $1::name[]::text", &[pg_sys::TEXTARRAYOID]);
/// A table that is gone is called by its oid.
static UNREGISTER: Statement = Statement::write(
    c"DELETE FROM identity.forget_tables t WHERE t.relation = $1
      RETURNING COALESCE((SELECT pg_catalog.format('%I.%I', n.nspname, c.relname)
                            FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = t.relation),
                         t.relation::pg_catalog.oid::text),
                t.subject_column::text, t.action, t.columns::text, t.access_id",
    &[pg_sys::OIDOID],
);

fn register(arguments: Arguments) -> pg_sys::Datum {
    let mut call = Call::begin(AccessorKind::ForgetRegister);
    let keys = call.admit();
    let table = asked(&call, arguments);
    lock(table.relation);
    with_latest_snapshot(|| {
        connected(|| {
            answers_for(&call, table.relation).unwrap_or_else(|| call.refuse(Reason::BadArgument));
            let fit = fitness::look(&table).unwrap_or_else(|| call.refuse(Reason::BadArgument));
            let columns = AS_TEXT.run(&mut [table.columns_datum()]);
            let role = call.caller.role();
            call.entry = Entry::now();
            let event = Event {
                relation: &fit.name,
                oid: table.relation,
                subject_column: &table.subject_column,
                action: table.action.as_str(),
                columns: columns.get(0, 1),
                ends: None,
                changed_by: role.as_str(),
                changed_at: call.entry.at - UNIX_EPOCH_MICROS,
            };
            let access_id = call.append(&keys, &Fate::event(event.digest(&keys.installation)));
            let added = REGISTER.run(&mut [
                bind(table.relation),
                bind(table.subject_column.as_str()),
                bind(event.action),
                table.columns_datum(),
                bind(event.changed_by),
                Some(pg_sys::Datum::from(event.changed_at)),
                bind(access_id),
            ]);
            // It is on the register already. What was appended goes with this refusal.
            if added.count == 0 {
                call.refuse(Reason::BadArgument);
            }
            event.keep(access_id);
        });
    });
    void(arguments)
}

fn unregister(arguments: Arguments) -> pg_sys::Datum {
    let mut call = Call::begin(AccessorKind::ForgetUnregister);
    let keys = call.admit();
    let relation: pg_sys::Oid = call.required(arguments.get(0));
    lock(relation);
    with_latest_snapshot(|| {
        connected(|| {
            // Nobody owns a table that is gone: any DBA takes it off.
            if answers_for(&call, relation).is_none() && !is_dba(&call) {
                call.refuse(Reason::RoleConflict);
            }
            let removed = UNREGISTER.run(&mut [bind(relation)]);
            let (Some(name), Some(subject_column), Some(action)) =
                (removed.get(0, 1), removed.get(0, 2), removed.get(0, 3))
            else {
                call.refuse(Reason::BadArgument)
            };
            let role = call.caller.role();
            call.entry = Entry::now();
            let event = Event {
                relation: name,
                oid: relation,
                subject_column,
                action,
                columns: removed.get(0, 4),
                ends: removed.get(0, 5),
                changed_by: role.as_str(),
                changed_at: call.entry.at - UNIX_EPOCH_MICROS,
            };
            let access_id = call.append(&keys, &Fate::event(event.digest(&keys.installation)));
            event.keep(access_id);
        });
    });
    void(arguments)
}

/// The arguments, checked as far as they can be without looking at the table.
fn asked(call: &Call, arguments: Arguments) -> Table {
    let relation = call.required(arguments.get(0));
    let subject_column = name(call.required(arguments.datum(1)));
    let action = Action::parse(call.required(arguments.get(2)))
        .unwrap_or_else(|| call.refuse(Reason::BadArgument));
    let columns = match arguments.list(3, MAX_COLUMNS, Element::Name) {
        None => Vec::new(),
        Some(columns) => call
            .allow(columns)
            .into_iter()
            .map(|column| name(call.required(column)))
            .collect::<Vec<_>>(),
    };
    let distinct = columns.iter().collect::<HashSet<_>>().len();
    let wanted = action == Action::NullColumns;
    if wanted == columns.is_empty() || distinct != columns.len() {
        call.refuse(Reason::BadArgument);
    }
    Table {
        relation,
        subject_column,
        action,
        columns,
    }
}

/// The caller is a DBA and has the rights of the table's owner; otherwise refuses. `None` if there is no such table.
fn answers_for(call: &Call, relation: pg_sys::Oid) -> Option<()> {
    let owner = OWNER.run(&mut [bind(relation)]).get(0, 1)?;
    if !is_dba(call) || !call.caller.has_rights_of(owner) {
        call.refuse(Reason::RoleConflict);
    }
    Some(())
}

fn is_dba(call: &Call) -> bool {
    call.caller.is_member_of(c"identity_dba")
}

/// It is not dropped or changed while we look at it.
fn lock(relation: pg_sys::Oid) {
    // SAFETY: a transaction-level lock, on what may be no table.
    unsafe { pg_sys::LockRelationOid(relation, pg_sys::AccessShareLock as i32) };
}

fn name(datum: pg_sys::Datum) -> String {
    // SAFETY: a name datum is a zero-terminated string.
    unsafe { CStr::from_ptr(datum.cast_mut_ptr()) }
        .to_string_lossy()
        .into_owned()
}
