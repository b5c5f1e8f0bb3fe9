//! The database that was restored, through a login that is a worker's: it finds who is there again, and erases them.

use std::collections::BTreeSet;
use std::time::Duration;

use identity_connect::{Failure, Options, Session};
use identity_core::incarnation::split;
use serde::Deserialize;
use tokio::time::sleep;

use super::lists::Lists;
use crate::report::Report;

const SESSION: &str = "SET search_path = pg_catalog, pg_temp; SET statement_timeout = 0; SET lock_timeout = '30s'; \
                       SET idle_in_transaction_session_timeout = 0";

/// Subjects that somebody is changing are tried again so often, with a pause in between.
const MOST_TRIES: u32 = 20;
const PAUSE: Duration = Duration::from_millis(500);

/// So many hashes are asked for at once: the database goes through all of its subjects each time.
const AT_ONCE: usize = 10_000;

const FIND: &str = "SELECT candidate_id::text, kind FROM identity.restored_subjects($1) ORDER BY 1";
const ERASE: &str = "SELECT identity.restored_erase($1)::text";

pub struct Database(Session);

/// Who came back, and what: `subject` or `biometric`.
type Back = BTreeSet<(String, String)>;

/// The answer of `restored_erase`.
#[derive(Deserialize)]
struct Erased {
    subjects: u64,
    biometrics: u64,
    busy: u64,
    failed: u64,
}

impl Database {
    pub async fn open(url: Option<&str>) -> Result<Self, Failure> {
        let variable = |name: &str| std::env::var(name).ok();
        let options = Options::parse(url, variable)?;
        Ok(Self(identity_connect::open(&options, SESSION).await?))
    }

    pub async fn close(self) -> Result<(), Failure> {
        self.0.close().await
    }

    pub async fn check(
        &self,
        lists: &Lists,
        erase: bool,
        report: &mut Report,
    ) -> Result<(), Failure> {
        let Some(log) = &lists.log else {
            return Ok(());
        };
        let row = self
            .0
            .client
            .query_one("SELECT identity.ledger_checkpoint()", &[])
            .await;
        let checkpoint: String = row.map_err(told)?.try_get(0)?;
        let own = checkpoint.lines().next().unwrap_or_default();
        if split(own).0 != log {
            report.bad(
                "restored",
                "what lies in the store is of another log than the database's",
            );
            return Ok(());
        }
        let mut all = Back::new();
        for hashes in lists.hashes.chunks(AT_ONCE) {
            let back = self.find(hashes).await?;
            if erase && !back.is_empty() {
                self.erase(hashes, report).await?;
            }
            all.extend(back);
        }
        if !erase {
            tell(&all, report);
            return Ok(());
        }
        let mut left = Back::new();
        for hashes in lists.hashes.chunks(AT_ONCE) {
            left.extend(self.find(hashes).await?);
        }
        for (candidate, kind) in all.difference(&left) {
            report.note("erased", &format!("{} {candidate}: again", whose(kind)));
        }
        tell(&left, report);
        Ok(())
    }

    async fn find(&self, hashes: &[Vec<u8>]) -> Result<Back, Failure> {
        let rows = self.0.client.query(FIND, &[&hashes]).await.map_err(told)?;
        let back = |row: &tokio_postgres::Row| Ok((row.try_get(0)?, row.try_get(1)?));
        rows.iter().map(back).collect()
    }

    async fn erase(&self, hashes: &[Vec<u8>], report: &mut Report) -> Result<(), Failure> {
        for _ in 0..MOST_TRIES {
            let row = self
                .0
                .client
                .query_one(ERASE, &[&hashes])
                .await
                .map_err(told)?;
            let answer: String = row.try_get(0)?;
            let erased: Erased = serde_json::from_str(&answer)
                .map_err(|_| Failure::from("the server answered what restored_erase does not"))?;
            if erased.failed > 0 {
                let detail = format!(
                    "{} could not be erased: a registered table of an application does not let them go",
                    erased.failed
                );
                report.bad("erased", &detail);
                return Ok(());
            }
            if erased.subjects + erased.biometrics > 0 {
                let (subjects, biometrics) = (erased.subjects, erased.biometrics);
                let detail = format!("subjects: {subjects}, biometrics alone: {biometrics}");
                report.good("erased", &detail);
            }
            if erased.busy == 0 {
                return Ok(());
            }
            sleep(PAUSE).await;
        }
        Ok(())
    }
}

fn tell(back: &Back, report: &mut Report) {
    if back.is_empty() {
        report.good("restored", "nobody who was erased is there");
    }
    for (candidate, kind) in back {
        report.bad(
            "restored",
            &format!("{} {candidate}: erased, and there again", whose(kind)),
        );
    }
}

fn whose(kind: &str) -> &'static str {
    if kind == "biometric" {
        "the biometrics of"
    } else {
        "subject"
    }
}

/// What a login that may not, or a database that is locked, needs.
fn told(error: tokio_postgres::Error) -> Failure {
    let detail = error
        .as_db_error()
        .and_then(|answer| answer.detail().map(str::to_owned));
    let hint = match detail.as_deref() {
        Some("reason: locked") => "; it has to be unlocked first",
        _ if error.code() == Some(&tokio_postgres::error::SqlState::INSUFFICIENT_PRIVILEGE) => {
            return Failure::from("the login may not: it has to be a member of identity_worker");
        }
        _ => "",
    };
    let Failure(text) = error.into();
    Failure(text + hint)
}
