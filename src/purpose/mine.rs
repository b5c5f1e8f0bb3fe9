//! `my_purposes`: what the caller may use now, decided by the code that decides its calls.

use identity_core::decision::may_use;
use identity_core::field::{Field, FieldSet};
use identity_core::reason::Reason;
use pgrx::pg_sys;

use super::active::active;
use crate::answer::{Rows as Answer, value};
use crate::call;
use crate::caller::Caller;
use crate::caller_revocation;
use crate::error;
use crate::query::{Statement, connected, with_latest_snapshot};
use crate::sql_function::{Arguments, sql_function};

sql_function!(my_purposes, pg_finfo_my_purposes, run);

static TOKENS: Statement = Statement::read(
    c"SELECT DISTINCT purpose_token FROM identity.purpose_versions ORDER BY 1",
    &[],
);

fn run(arguments: Arguments) -> pg_sys::Datum {
    call::operation();
    let caller = Caller::current();
    let mut answer = Answer::of(arguments);
    with_latest_snapshot(|| {
        if caller_revocation::stands(&caller) {
            error::raise(Reason::CallerRevoked);
        }
        connected(|| {
            let tokens = TOKENS.run(&mut []);
            for token in (0..tokens.count).filter_map(|row| tokens.get::<&str>(row, 1)) {
                let Ok(active) = active(token, &caller) else {
                    continue;
                };
                if may_use(Some(&active.purpose), FieldSet::EMPTY).is_err() {
                    continue;
                }
                let fields = active.purpose.allowed_fields.iter().map(Field::name);
                answer.push(&[
                    value(token),
                    value(fields.collect::<Vec<_>>()),
                    active.rate_limit_qps.and_then(value),
                    active.daily_volume_cap.and_then(value),
                ]);
            }
        });
    });
    pg_sys::Datum::from(0)
}
