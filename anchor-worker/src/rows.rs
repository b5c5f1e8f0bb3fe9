//! Rows of a database that is not trusted to end.

use futures_util::{StreamExt as _, TryStreamExt as _};
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Error, Row, SimpleQueryMessage, SimpleQueryRow};

/// At most so many rows; `None` if there are more.
pub(crate) async fn at_most(
    most: usize,
    database: &Client,
    statement: &str,
    parameters: &[&(dyn ToSql + Sync)],
) -> Result<Option<Vec<Row>>, Error> {
    let rows = database
        .query_raw(statement, parameters.iter().copied())
        .await?;
    let rows: Vec<Row> = rows.take(most + 1).try_collect().await?;
    Ok((rows.len() <= most).then_some(rows))
}

/// The first row of several statements in one message, and of no more than a few messages.
pub(crate) async fn first_of(
    database: &Client,
    statements: &str,
) -> Result<Option<SimpleQueryRow>, Error> {
    const MESSAGES: usize = 16;
    let messages = database.simple_query_raw(statements).await?;
    let messages: Vec<_> = messages.take(MESSAGES).try_collect().await?;
    Ok(messages.into_iter().find_map(|message| match message {
        SimpleQueryMessage::Row(row) => Some(row),
        _ => None,
    }))
}
