//! Carries out the publishing of tombstones: does what the step asks for, and tells it what came of it.

use crate::database::Database;
use crate::round::{Tools, lock_until, vanished};
use crate::step::tombstones::{Effect, Event, Log, Looked, Next, Round};
use crate::stop::Stop;
use crate::store::sized_key;
use crate::trouble::{Kind, Trouble};

/// Publishes the tombstones of what is anchored; returns how many. `None` if somebody wants us to stop.
///
/// # Errors
/// Whatever an effect failed of; `Untrue`: what lies in the store, or came from the database or the signer, cannot be. Nothing is put there then.
pub async fn publish(
    tools: &Tools,
    database: &Database,
    log: Log,
    looked: &mut Looked,
    stop: &Stop,
) -> Result<Option<usize>, Trouble> {
    let (folder, origin) = (log.folder.clone(), log.origin.clone());
    let (mut round, mut effect) = Round::begin(log);
    loop {
        if stop.is_wanted() {
            return Ok(None);
        }
        let hint = looked.newest(&origin).map(|size| sized_key(&folder, size));
        let event = perform(tools, database, effect, &folder, &origin, hint.as_deref()).await?;
        match round.next(looked, event)? {
            Next::End(count) => return Ok(Some(count)),
            Next::Do(next) => effect = next,
        }
    }
}

async fn perform(
    tools: &Tools,
    database: &Database,
    effect: Effect,
    folder: &str,
    origin: &str,
    hint: Option<&str>,
) -> Result<Event, Trouble> {
    let Tools { signer, store, .. } = tools;
    Ok(match effect {
        Effect::ReadLast => Event::Last(match store.last_key(folder, hint).await? {
            Some(key) => Some(store.first(&key).await?.ok_or_else(vanished)?),
            None => None,
        }),
        Effect::Ask { from, to } => Event::Tombstones(database.tombstones(from, to).await?),
        Effect::Sign { text } => Event::Signed(signer.sign_tombstones(&text, origin).await?),
        Effect::Put { size, object } => {
            // As with anchors: whoever was held up may not be the leader any more.
            database.answers().await?;
            let lock_until = lock_until(tools.retention)?;
            let key = sized_key(folder, size);
            match store.put(&key, object.as_bytes(), lock_until).await {
                Ok(stored) => Event::Put(stored),
                Err(trouble) if trouble.kind == Kind::Conflict => Event::Taken,
                Err(trouble) => return Err(trouble),
            }
        }
        Effect::ReadBack { size } => Event::ReadBack(store.first(&sized_key(folder, size)).await?),
    })
}
