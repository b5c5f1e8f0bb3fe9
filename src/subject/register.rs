//! `pii_register`: a new subject, its fields sealed before the first tuple is formed.

use identity_core::candidate_id;
use identity_core::field::Field;
use identity_core::reason::Reason;
use identity_core::vocabulary::{AccessorKind, ConsentStatus};
use pgrx::{IntoDatum, pg_sys};

use super::attributes::Attributes;
use super::pii::Pii;
use crate::call::Call;
use crate::keys::region::Keys;
use crate::query::{Statement, bind, connected, with_latest_snapshot};
use crate::record::Fate;
use crate::sql_function::{Arguments, sql_function};
use crate::{clock, limits, purpose};

sql_function!(pii_register, pg_finfo_pii_register, run);

static KNOWN: Statement = Statement::read(
    c"SELECT candidate_id FROM identity.subjects WHERE registered_by = $1::name AND request_id = $2",
    &[pg_sys::TEXTOID, pg_sys::UUIDOID],
);

/// Two registers of one request at once: the second waits for the first and then inserts nothing.
static INSERT: Statement = Statement::write(
    c"INSERT INTO identity.subjects (candidate_id, name_ct, email_ct, phone_ct, address_ct, ssn_ct, dob_ct, dek_version, consent_status, vertical,
             retention_period_days, eu_resident, lawful_basis, transfer_mechanism, created_at, updated_at, registered_by, request_id)
      VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $15, $16::name, $17)
      ON CONFLICT (registered_by, request_id) WHERE request_id IS NOT NULL DO NOTHING",
    &[
        pg_sys::UUIDOID, pg_sys::BYTEAOID, pg_sys::BYTEAOID, pg_sys::BYTEAOID, pg_sys::BYTEAOID, pg_sys::BYTEAOID, pg_sys::BYTEAOID, pg_sys::INT4OID,
        pg_sys::TEXTOID, pg_sys::TEXTOID, pg_sys::INT4OID, pg_sys::BOOLOID, pg_sys::TEXTOID, pg_sys::TEXTOID, pg_sys::TIMESTAMPTZOID, pg_sys::TEXTOID,
        pg_sys::UUIDOID,
    ],
);

/// What a subject is inserted with.
pub struct New<'a> {
    pub candidate: [u8; 16],
    pub pii: &'a Pii<'a>,
    pub attributes: &'a Attributes<'a>,
    pub vertical: &'static str,
    pub consent: ConsentStatus,
    pub registered_by: &'a str,
    pub request: Option<[u8; 16]>,
}

/// Inserts a subject; false if its request was there already. Runs inside the call's snapshot.
pub fn insert(keys: &Keys, new: &New<'_>) -> Result<bool, Reason> {
    let now = Some(pg_sys::Datum::from(clock::now()));
    let mut sealed = new.pii.seal(keys, &new.candidate, 0)?.into_iter();
    let mut arguments = vec![bind(pgrx::Uuid::from_bytes(new.candidate))];
    arguments.extend(sealed.by_ref().take(Field::ALL.len()));
    arguments.extend([
        bind(i32::try_from(keys.dek.version()).unwrap_or(i32::MAX)),
        bind(new.consent.as_str()),
        bind(new.vertical),
        bind(new.attributes.retention_period_days),
        bind(new.attributes.eu_resident),
        new.attributes.lawful_basis.and_then(bind),
        new.attributes.transfer_mechanism.and_then(bind),
        now,
        bind(new.registered_by),
        new.request
            .and_then(|request| bind(pgrx::Uuid::from_bytes(request))),
    ]);
    Ok(INSERT.run(&mut arguments).count == 1)
}

fn run(arguments: Arguments) -> pg_sys::Datum {
    let mut call = Call::begin(AccessorKind::Register);
    let keys = call.admit_to_purpose();
    let token: &str = call.required(arguments.get(0));
    let pii = call.allow(Pii::parse(call.required(arguments.datum(1))));
    call.shape.fields = pii.fields();
    let attributes = call.allow(Attributes::parse(call.required(arguments.datum(2))));
    let request = arguments.datum(3).map(crate::sql_function::uuid);
    if pii.fields().is_empty() {
        call.refuse(Reason::BadArgument);
    }
    let candidate = with_latest_snapshot(|| {
        connected(|| register(&mut call, &keys, token, &pii, &attributes, request))
    });
    pgrx::Uuid::from_bytes(candidate)
        .into_datum()
        .unwrap_or(pg_sys::Datum::from(0))
}

fn register(
    call: &mut Call,
    keys: &Keys,
    token: &str,
    pii: &Pii<'_>,
    attributes: &Attributes<'_>,
    request: Option<[u8; 16]>,
) -> [u8; 16] {
    let active = purpose::active::admitted(call, token, pii.fields());
    // A registration discloses nobody.
    limits::admit(call, &active, 0);
    let role = call.caller.role();
    let known = || request.and_then(|request| known(role.as_str(), &request));
    let candidate = known().unwrap_or_else(|| {
        let candidate = fresh_id();
        let new = New {
            candidate,
            pii,
            attributes,
            vertical: attributes.vertical.as_str(),
            consent: ConsentStatus::PendingFirstContact,
            registered_by: role.as_str(),
            request,
        };
        if call.allow(insert(keys, &new)) {
            return candidate;
        }
        // Somebody else's transaction with the same request committed while we waited for it.
        with_latest_snapshot(known).unwrap_or_else(|| call.refuse(Reason::BadArgument))
    });
    call.entry.candidate = Some(candidate);
    call.entry.key_version = i32::try_from(keys.dek.version()).ok();
    call.append(keys, &Fate::READ);
    candidate
}

fn known(role: &str, request: &[u8; 16]) -> Option<[u8; 16]> {
    KNOWN
        .run(&mut [bind(role), bind(pgrx::Uuid::from_bytes(*request))])
        .get::<pgrx::Uuid>(0, 1)
        .map(|id| *id.as_bytes())
}

pub fn fresh_id() -> [u8; 16] {
    candidate_id(now_unix_millis(), &clock::random())
}

/// So many ids of one moment, in their order: whoever stores them so goes through an index once.
pub fn fresh_ids(count: usize) -> Vec<[u8; 16]> {
    let now = now_unix_millis();
    let random = clock::random_many(count).into_iter();
    let mut ids = random
        .map(|bytes| candidate_id(now, &bytes))
        .collect::<Vec<_>>();
    ids.sort_unstable();
    ids
}

fn now_unix_millis() -> u64 {
    u64::try_from(clock::now_unix_micros() / 1000).unwrap_or(0)
}
