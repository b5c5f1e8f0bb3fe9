//! Incarnations: how a log goes on that was restored from a backup, and so is shorter than what is anchored of it.
//!
//! | file | one job |
//! |---|---|
//! | `published.rs` | what the store has of the log, in which incarnation |
//! | `draft.rs` | what there is to declare |
//! | `declare.rs` | what both parties have signed, put into effect |
//! | `party.rs` | the parties' own keys and signatures: without a network |

mod declare;
mod draft;
pub mod party;
mod published;

use std::sync::Arc;

use identity_core::checkpoint::{Checkpoint, Tree};
use identity_core::incarnation::{name, split};
use identity_core::merkle::verify_consistency;
use identity_core::note::VerifierKey;

use crate::config::Config;
use crate::database::Database;
use crate::signer::Signer;
use crate::step::refusal::Refusal;
use crate::store::Store;
use crate::trouble::{Kind, Trouble};

pub use declare::{Done, declare};
pub use draft::{Draft, draft};
pub use published::Published;

/// The database and the store, and the keys that the store's checkpoints are signed with.
struct Both {
    database: Database,
    store: Store,
    now: Checkpoint,
    keys: Vec<VerifierKey>,
}

impl Both {
    async fn open(config: &Config) -> Result<Self, Trouble> {
        let anchor = config.anchor.as_ref().ok_or_else(|| {
            let text = "this worker anchors nothing: it has no [signer] and [store]";
            Trouble::new(Kind::Configuration, text)
        })?;
        let store = Store::open(&anchor.store).await?;
        let signer = Signer::open(&anchor.signer).await?;
        let database = Database::open(&config.database, Arc::default()).await?;
        database.check().await?;
        let text = database.checkpoint().await?;
        let now = Checkpoint::parse(&text)
            .filter(|now| now.extensions.is_empty())
            .ok_or_else(|| refused(&Refusal::NoCheckpoint))?;
        let mut keys = vec![signer.key(&name(split(&now.origin).0, 1)).await?];
        let own = |key: &&VerifierKey| split(key.name()).0 == split(&now.origin).0;
        keys.extend(anchor.former_keys.iter().filter(own).cloned());
        Ok(Self {
            database,
            store,
            now,
            keys,
        })
    }

    /// The log, and the incarnation that the database is in.
    fn log(&self) -> (&str, u32) {
        split(&self.now.origin)
    }

    /// Whether the database shows that its tree, of `new`, begins with `old`.
    async fn begins(&self, old: &Tree, new: &Tree) -> Result<bool, Trouble> {
        if old.size >= new.size {
            return Ok(old == new);
        }
        let path = self.database.consistency(old.size, new.size).await?;
        Ok(verify_consistency(
            old.size, new.size, &old.root, &new.root, &path,
        ))
    }
}

/// What a worker would refuse for is nothing to declare over.
fn refused(refusal: &Refusal) -> Trouble {
    Trouble::new(Kind::Untrue, refusal.to_string())
}
