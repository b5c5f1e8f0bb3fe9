//! `outbox_serve`: the worker says which channels it brings notices to.

use identity_core::reason::Reason;
use pgrx::{IntoDatum, pg_sys};

use crate::answer::timestamp;
use crate::arrays::{self, Element};
use crate::query::{Statement, bind, connected, with_latest_snapshot};
use crate::sql_function::{Arguments, sql_function, text};
use crate::{call, clock, error};
use identity_core::vocabulary::DeliveryTrouble;

sql_function!(outbox_serve, pg_finfo_outbox_serve, serve);

const MOST_CHANNELS: usize = 16;
const MOST_NAME_BYTES: usize = 40;

static BEGIN: Statement = Statement::write(
    c"INSERT INTO identity.outbox_channels (channel, since) SELECT pg_catalog.unnest($1), $2 ON CONFLICT DO NOTHING",
    &[pg_sys::TEXTARRAYOID, pg_sys::TIMESTAMPTZOID],
);
static END: Statement = Statement::write(
    c"DELETE FROM identity.outbox_channels WHERE channel <> ALL ($1)",
    &[pg_sys::TEXTARRAYOID],
);
/// What a transaction adds that began before a channel ended is found the next time.
static BURY: Statement = Statement::write(
    c"UPDATE identity.outbox_deliveries SET dead_at = $2, last_error = $3 WHERE delivered_at IS NULL AND dead_at IS NULL AND channel <> ALL ($1)",
    &[pg_sys::TEXTARRAYOID, pg_sys::TIMESTAMPTZOID, pg_sys::TEXTOID],
);
static WAITING: Statement = Statement::write(
    c"SELECT pg_catalog.count(*) FROM identity.outbox_deliveries WHERE delivered_at IS NULL AND dead_at IS NULL",
    &[],
);

fn serve(arguments: Arguments) -> pg_sys::Datum {
    call::operation();
    let channels = channels(arguments).unwrap_or_else(|reason| error::raise(reason));
    let waiting = with_latest_snapshot(|| {
        connected(|| {
            let now = timestamp(clock::now());
            BEGIN.run(&mut [Some(channels), now]);
            END.run(&mut [Some(channels)]);
            BURY.run(&mut [
                Some(channels),
                now,
                bind(DeliveryTrouble::ChannelGone.as_str()),
            ]);
            WAITING.run(&mut []).get::<i64>(0, 1).unwrap_or(0)
        })
    });
    waiting.into_datum().unwrap_or(pg_sys::Datum::from(0))
}

fn channels(arguments: Arguments) -> Result<pg_sys::Datum, Reason> {
    let list = arguments
        .list(0, MOST_CHANNELS, Element::Text)
        .ok_or(Reason::NullArgument)??;
    for name in &list {
        if !is_name(text(name.ok_or(Reason::NullArgument)?)) {
            return Err(Reason::BadArgument);
        }
    }
    // Anew: what was given may be stored in any form.
    Ok(arrays::array(&list, Element::Text))
}

/// Names stand in logs and in labels of metrics.
fn is_name(name: &str) -> bool {
    let letter = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit();
    let inner = |c: u8| letter(c) || c == b'-' || c == b'_';
    (1..=MOST_NAME_BYTES).contains(&name.len())
        && name.bytes().all(inner)
        && name.bytes().next().is_some_and(letter)
}
