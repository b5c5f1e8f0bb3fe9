//! Statements and their answers: types compared once, rows one by one.

use std::pin::pin;

use futures_util::TryStreamExt;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, Row, Statement};

use identity_connect::Failure;

/// What a statement is bound to.
pub type Parameters<'a> = &'a [&'a (dyn ToSql + Sync)];

/// Prepares a statement whose columns must be of these types: a table that was made again with others is not read.
pub async fn prepare(client: &Client, sql: &str, types: &[Type]) -> Result<Statement, Failure> {
    let statement = client.prepare(sql).await?;
    let answered = statement.columns().iter().map(|column| column.type_());
    if answered.eq(types) {
        Ok(statement)
    } else {
        Err(
            "a table or function of the schema identity has other types than it was made with"
                .into(),
        )
    }
}

/// Gives each row of the answer to `each` as it comes; none is kept.
pub async fn for_each(
    client: &Client,
    statement: &Statement,
    parameters: Parameters<'_>,
    mut each: impl FnMut(&Row) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let parameters = parameters.iter().map(|parameter| *parameter as &dyn ToSql);
    let mut rows = pin!(
        client
            .query_raw(statement, parameters.collect::<Vec<_>>())
            .await?
    );
    while let Some(row) = rows.try_next().await? {
        each(&row)?;
    }
    Ok(())
}
