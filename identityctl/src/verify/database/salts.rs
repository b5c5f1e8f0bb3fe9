//! Salts, from the database that holds the key they are derived from. A wrong one shows as a wrong hash, so they need no trust.

use tokio_postgres::types::Type;
use tokio_postgres::{Client, Statement};

use super::query::prepare;
use super::value::{Array, Value, get};
use identity_connect::Failure;

pub type Salt = [u8; 16];

/// A session of its own: while rows come in on one, the other is asked for their salts.
pub struct Salts<'a> {
    client: &'a Client,
    rows: Statement,
    seals: Statement,
}

impl<'a> Salts<'a> {
    pub async fn new(client: &'a Client) -> Result<Self, Failure> {
        let rows = prepare(
            client,
            "SELECT identity.ledger_salts($1, $2)",
            &[Type::BYTEA_ARRAY],
        );
        let rows = rows.await?;
        let seals = prepare(
            client,
            "SELECT identity.ledger_seal_salts($1, $2)",
            &[Type::BYTEA_ARRAY],
        );
        let seals = seals.await?;
        Ok(Self {
            client,
            rows,
            seals,
        })
    }

    /// The salts of rows that were chained with one version of the key, in order; `None` if that version is not there.
    pub async fn rows(&self, ids: &[i64], version: i32) -> Result<Option<Vec<Salt>>, Failure> {
        self.ask(&self.rows, ids, version).await
    }

    /// The salts of leaves that are seals.
    pub async fn seals(&self, indexes: &[i64], version: i32) -> Result<Option<Vec<Salt>>, Failure> {
        self.ask(&self.seals, indexes, version).await
    }

    async fn ask(
        &self,
        statement: &Statement,
        numbers: &[i64],
        version: i32,
    ) -> Result<Option<Vec<Salt>>, Failure> {
        let answer = self
            .client
            .query_one(statement, &[&numbers, &version])
            .await;
        let answer = match answer {
            Err(error) if is_unknown_version(&error) => return Ok(None),
            answer => answer?,
        };
        let Some(array) = get::<Array<'_>>(&answer, 0) else {
            return Err("the database answered something else than salts".into());
        };
        let salts = array.into_iter().map(|salt| Salt::read(salt?));
        let salts = salts
            .collect::<Option<Vec<_>>>()
            .filter(|salts| salts.len() == numbers.len());
        salts
            .map(Some)
            .ok_or("the database answered something else than salts".into())
    }
}

/// The numbers that we ask for are good, so it is the version that the database does not know.
fn is_unknown_version(error: &tokio_postgres::Error) -> bool {
    let detail = error
        .as_db_error()
        .and_then(tokio_postgres::error::DbError::detail);
    detail.is_some_and(|detail| detail.starts_with("reason: bad_argument"))
}
