//! Carries out a round: does what the step asks for, and tells it what came of it.

use std::time::{Duration, Instant, SystemTime};

use crate::database::Database;
use crate::metrics;
use crate::signer::Signer;
use crate::step::anchor::{Effect, End, Event, Next, Round};
use crate::step::declared::Beginning;
use crate::step::known::Known;
use crate::stop::Stop;
use crate::store::{CHECKPOINTS, Object, Store, declaration_key, folder, sized_key};
use crate::trouble::{Kind, Trouble};

/// What effects are done with.
pub struct Tools {
    pub signer: Signer,
    pub store: Store,
    pub retention: Duration,
}

/// One round, to its end. `None` if somebody wants us to stop: the effect under way is finished first.
///
/// # Errors
/// Whatever an effect failed of: nothing is lost by it, and the next round begins anew.
pub async fn round(
    tools: &Tools,
    database: &Database,
    known: &mut Known,
    stop: &Stop,
) -> Result<Option<End>, Trouble> {
    let anchors = folder(known.incarnation(), CHECKPOINTS);
    let hint = known.newest().map(|tree| sized_key(&anchors, tree.size));
    let (mut round, mut next) = Round::begin(known);
    loop {
        let effect = match next {
            Next::End(End::Trouble(trouble)) => return Err(trouble),
            Next::End(end) => return Ok(Some(end)),
            Next::Do(effect) => effect,
        };
        if stop.is_wanted() {
            return Ok(None);
        }
        let (name, began) = (effect.name(), Instant::now());
        let event = perform(tools, database, effect, hint.as_deref()).await;
        metrics::effect(name, began.elapsed());
        next = round.next(known, event?);
    }
}

async fn perform(
    tools: &Tools,
    database: &Database,
    effect: Effect,
    hint: Option<&str>,
) -> Result<Event, Trouble> {
    let Tools { signer, store, .. } = tools;
    Ok(match effect {
        Effect::Seal => {
            database.seal().await?;
            Event::Sealed
        }
        Effect::Checkpoint => Event::Checkpoint(database.checkpoint().await?),
        Effect::Key { origin } => Event::Key(signer.key(&origin).await?),
        Effect::Declarations { incarnation } => {
            Event::Declarations(beginnings(store, incarnation).await?)
        }
        Effect::Later { incarnation } => {
            let later = declaration_key(incarnation.saturating_add(1));
            Event::Later(store.first(&later).await?.is_some())
        }
        Effect::ReadLast { incarnation } => Event::Last(last(store, incarnation, hint).await?),
        Effect::Consistency { old, new } => {
            Event::Consistency(database.consistency(old, new).await?)
        }
        Effect::Sign { text, origin } => Event::Signed(signer.sign(&text, &origin).await?),
        Effect::Put {
            incarnation,
            size,
            note,
        } => {
            // Whoever was held up since it became the leader may not be it any more: with the session went the lock.
            database.answers().await?;
            let key = sized_key(&folder(incarnation, CHECKPOINTS), size);
            let lock_until = lock_until(tools.retention)?;
            match store.put(&key, note.as_bytes(), lock_until).await {
                Ok(stored) => Event::Put(stored),
                Err(Trouble {
                    kind: Kind::Conflict,
                    ..
                }) => Event::Taken,
                Err(trouble) => return Err(trouble),
            }
        }
        Effect::ReadBack { incarnation, size } => {
            let key = sized_key(&folder(incarnation, CHECKPOINTS), size);
            Event::ReadBack(store.first(&key).await?)
        }
        Effect::Record { note, stored } => {
            database.record(&note, &stored).await?;
            Event::Recorded
        }
    })
}

/// The newest anchor of an incarnation.
///
/// # Errors
/// What the store said.
pub async fn last(
    store: &Store,
    incarnation: u32,
    hint: Option<&str>,
) -> Result<Option<Object>, Trouble> {
    let folder = folder(incarnation, CHECKPOINTS);
    match store.last_key(&folder, hint).await? {
        Some(key) => Ok(Some(store.first(&key).await?.ok_or_else(vanished)?)),
        None => Ok(None),
    }
}

/// What declares the second incarnation and each after it up to this one, and what they continue.
///
/// # Errors
/// What the store said.
pub async fn beginnings(store: &Store, incarnation: u32) -> Result<Vec<Beginning>, Trouble> {
    let mut beginnings = Vec::new();
    for number in 2..=incarnation {
        let declaration = store.first(&declaration_key(number)).await?;
        if declaration.is_none() {
            // What would follow is not asked for: a database may say that it is in the four-billionth.
            break;
        }
        let last = last(store, number - 1, None).await?;
        beginnings.push(Beginning { declaration, last });
    }
    Ok(beginnings)
}

/// The store named a key as locked a moment ago.
pub(crate) fn vanished() -> Trouble {
    Trouble::new(Kind::Untrue, "the store lists what it does not have")
}

/// Until when what is put now is locked, in microseconds since 1970.
pub(crate) fn lock_until(retention: Duration) -> Result<i64, Trouble> {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let until = now.ok().and_then(|now| now.checked_add(retention));
    until
        .and_then(|until| i64::try_from(until.as_micros()).ok())
        .ok_or_else(|| {
            Trouble::new(
                Kind::Configuration,
                "the clock of this machine cannot be right",
            )
        })
}
