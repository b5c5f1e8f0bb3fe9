//! `restored_erase`: erases those who came back, on the ordinary path. No one else needs to authorise it: each was erased before, and that is what its tombstone says.

use identity_core::tombstone::What;
use identity_core::vocabulary::AccessorKind;
use pgrx::pg_sys;

use super::find::{Search, wanted};
use super::{AUTHORITY, RESTORED};
use crate::call::Call;
use crate::erasure::erase::Ground;
use crate::erasure::request::PURPOSE;
use crate::json_text::{jsonb, object};
use crate::keys::region::Keys;
use crate::query::{connected, with_latest_snapshot};
use crate::retention::general::erase_groups;
use crate::scrub::waits::{self, What as Waiting};
use crate::sql_function::{Arguments, sql_function};
use crate::subject::many::{AT_ONCE, with_work_mem};
use crate::{biometric, bucket, clock};

sql_function!(restored_erase, pg_finfo_restored_erase, run);

fn run(arguments: Arguments) -> pg_sys::Datum {
    let mut call = Call::begin(AccessorKind::Erasure);
    let keys = call.admit();
    let wanted = call.allow(wanted(arguments));
    let search = Search::new(wanted, &keys);
    let back = with_latest_snapshot(|| search.everybody());
    let all = back.len();
    // Nobody is waited for: whom somebody is changing now is found by the next call.
    let mine = back.into_iter().map(|back| back.candidate);
    let mine = mine
        .filter(bucket::try_keep_writers_out)
        .collect::<Vec<_>>();
    let busy = all - mine.len();
    let (subjects, failed, biometrics) = with_latest_snapshot(|| {
        // Once more: whoever held such a lock may have changed what it is about.
        let (mut subjects, mut biometrics) = (Vec::new(), Vec::new());
        for back in search.of(&mine) {
            match back.what {
                What::Subject => subjects.push(back.candidate),
                What::Biometric => biometrics.push(back.candidate),
            }
        }
        let biometrics = erase_biometrics(&mut call, &keys, &biometrics);
        let ground = Ground {
            reason: RESTORED,
            authority: AUTHORITY,
            purpose: PURPOSE,
        };
        let ended = erase_groups(&mut call, &keys, [(ground, subjects)]);
        (ended.done, ended.failed, biometrics)
    });
    jsonb(&object([
        ("subjects", subjects.to_string()),
        ("biometrics", biometrics.to_string()),
        ("busy", busy.to_string()),
        ("failed", failed.to_string()),
    ]))
}

fn erase_biometrics(call: &mut Call, keys: &Keys, candidates: &[[u8; 16]]) -> usize {
    let mut done = 0;
    for candidates in candidates.chunks(AT_ONCE) {
        let erased = with_work_mem(|| {
            connected(|| biometric::erase::erase(call, keys, candidates, RESTORED, AUTHORITY))
        });
        connected(|| waits::add(Waiting::Biometrics, candidates, clock::now()));
        done += erased.len();
    }
    bucket::keep_reads_out(candidates);
    done
}
