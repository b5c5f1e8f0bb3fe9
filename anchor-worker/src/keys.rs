//! `enrol` and `rewrap`: what a person asks the worker to do with keys, beside bringing them.

use std::sync::Arc;

use identity_core::key::KeyKind;

use crate::config::Config;
use crate::database::Database;
use crate::kek::Kek;
use crate::trouble::{Kind, Trouble};
use crate::unlock::Unlocker;

/// Makes the next key of a kind. A worker that runs brings it; `key_rotate` puts it to use.
///
/// # Errors
/// As a round that unlocks.
pub async fn enrol(config: &Config, kind: KeyKind) -> Result<String, Trouble> {
    let (unlocker, database) = open(config).await?;
    let done = unlocker.enrol(database.client(), kind).await;
    database.close().await;
    let kind = kind.as_str();
    Ok(format!(
        "{kind} {} is in the keyring, wrapped, and not in use yet: identity.key_rotate('{kind}') after the worker's next round",
        done?
    ))
}

/// Has the keyring wrapped by what the key service wraps with now.
///
/// # Errors
/// As a round that unlocks.
pub async fn rewrap(config: &Config) -> Result<String, Trouble> {
    let (unlocker, database) = open(config).await?;
    let done = unlocker.rewrap(database.client()).await;
    database.close().await;
    Ok(format!("{} keys are wrapped anew", done?))
}

pub(crate) async fn open(config: &Config) -> Result<(Unlocker, Database), Trouble> {
    let unlock = config.unlock.as_ref().ok_or_else(|| {
        Trouble::new(
            Kind::Configuration,
            "this worker brings no keys: it has no [unlock] and [kek]",
        )
    })?;
    let kek = Arc::new(Kek::open(&unlock.kek).await?);
    let unlocker = Unlocker::open(&unlock.settings, kek)?;
    let database = Database::open(&config.database, Arc::default()).await?;
    Ok((unlocker, database))
}
