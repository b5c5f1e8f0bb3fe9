//! What both parties have signed is put where nobody can take it back, and told to the database: from then on the log goes by another name.

use std::time::Duration;

use identity_core::checkpoint::Tree;
use identity_core::incarnation::{Declaration, DeclarationError};

use super::draft::largest;
use super::published::Published;
use super::{Both, refused};
use crate::config::{Config, parties};
use crate::round::{last, lock_until};
use crate::step::declared::{Beginning, begins_with};
use crate::step::refusal::Refusal;
use crate::store::{Object, Store, Stored, declaration_key};
use crate::trouble::{Kind, Trouble};

/// What was declared, and where the declaration lies.
pub struct Done {
    pub declaration: Declaration,
    pub stored: Stored,
}

/// Verifies the signed declaration against the store and the database, stores it, and tells the database. What was interrupted is gone on with.
///
/// # Errors
/// What either said; `Untrue` if it is not signed by both, or does not fit one of them.
pub async fn declare(config: &Config, note: &[u8]) -> Result<Done, Trouble> {
    let file = config.anchor.as_ref().and_then(|it| it.parties.as_deref());
    let parties = parties(file.ok_or_else(|| {
        let text =
            "nobody is named whose signatures declare an incarnation: [incarnations] parties";
        Trouble::new(Kind::Configuration, text)
    })?)?;
    let untrue = |error: DeclarationError| Trouble::new(Kind::Untrue, error.to_string());
    let declaration = Declaration::open(note, &parties).map_err(untrue)?;
    let both = Both::open(config).await?;
    let (log, database) = both.log();
    let published = Published::read(&both.store, log, Some(&parties), &both.keys).await?;
    let number = published.incarnation();
    let key = declaration_key(declaration.incarnation);
    let known = published
        .beginnings
        .last()
        .and_then(|it| it.declaration.as_ref());
    let stored = if declaration.incarnation == number && number > 1 {
        let known = known.filter(|known| known.body == note);
        known.map(|known| known.stored.clone()).ok_or_else(|| {
            Trouble::new(
                Kind::Untrue,
                format!("{key} is there already, and is another"),
            )
        })?
    } else {
        let object = Object {
            key: key.clone(),
            body: note.to_vec(),
            stored: Stored {
                uri: String::new(),
                version_id: String::new(),
                lock_until: 0,
            },
        };
        let mut beginnings = published.beginnings.clone();
        beginnings.push(Beginning {
            declaration: Some(object),
            last: last(&both.store, number, None).await?,
        });
        let origin = identity_core::incarnation::name(log, number.saturating_add(1));
        let kept = begins_with(&origin, &beginnings, Some(&parties), &both.keys);
        kept.map_err(|refusal| refused(&refusal))?;
        if database > number {
            let incarnation = database;
            return Err(refused(&Refusal::Undeclared { incarnation }));
        }
        fits(&both, &published, &declaration.kept).await?;
        put(&both.store, config, &key, note).await?
    };
    let text = String::from_utf8_lossy(note);
    let declared = both.database.declare(&text).await;
    both.database.close().await;
    declared?;
    Ok(Done {
        declaration,
        stored,
    })
}

/// What is kept is in the database, and continues what was anchored and still counts.
async fn fits(both: &Both, published: &Published, kept: &Tree) -> Result<(), Trouble> {
    let untrue = |text: &str| Err(Trouble::new(Kind::Untrue, text));
    let now = both.now.tree();
    if kept.size > now.size || !both.begins(kept, &now).await? {
        return untrue("what it keeps is not in the database's log");
    }
    if !largest(both, published, kept).await?.1 {
        return untrue("what it keeps does not continue what was anchored before");
    }
    Ok(())
}

async fn put(store: &Store, config: &Config, key: &str, note: &[u8]) -> Result<Stored, Trouble> {
    let days = config
        .anchor
        .as_ref()
        .map_or(0, |it| it.store.retention_days());
    let until = lock_until(Duration::from_secs(u64::from(days) * 86_400))?;
    store.put(key, note, until).await
}
