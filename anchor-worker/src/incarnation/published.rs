//! What was published of a log: the incarnations that the store has declarations of, and what of each the next one kept.

use identity_core::checkpoint::Tree;
use identity_core::incarnation::{Parties, name};
use identity_core::note::VerifierKey;

use super::refused;
use crate::round::{beginnings, last};
use crate::step::declared::{self, Beginning, begins_with};
use crate::store::{CHECKPOINTS, Store, declaration_key, folder, size_of, sized_key};
use crate::trouble::Trouble;

/// The log as it stands in the store.
pub struct Published {
    log: String,
    /// What declares the second incarnation and each after it.
    pub beginnings: Vec<Beginning>,
    /// Each incarnation's beginning and end: what it kept of the one before, and the last tree that was published of it.
    trees: Vec<(Option<Tree>, Option<Tree>)>,
}

impl Published {
    /// Reads and verifies it.
    ///
    /// # Errors
    /// What the store said; `Untrue` if an incarnation does not continue the one before.
    pub async fn read(
        store: &Store,
        log: &str,
        parties: Option<&Parties>,
        keys: &[VerifierKey],
    ) -> Result<Self, Trouble> {
        let mut number = 1;
        while store.first(&declaration_key(number + 1)).await?.is_some() {
            number += 1;
        }
        let beginnings = beginnings(store, number).await?;
        let mut trees = Vec::new();
        for incarnation in 1..=number {
            let origin = name(log, incarnation);
            let kept = begins_with(&origin, &beginnings, parties, keys);
            let kept = kept.map_err(|refusal| refused(&refusal))?;
            let end = match last(store, incarnation, None).await? {
                Some(object) => {
                    let tree = declared::anchor(&object, log, incarnation, keys);
                    Some(tree.map_err(|refusal| refused(&refusal))?)
                }
                None => kept,
            };
            trees.push((kept, end));
        }
        Ok(Self {
            log: log.to_owned(),
            beginnings,
            trees,
        })
    }

    /// The incarnation that the log is in.
    #[must_use]
    pub fn incarnation(&self) -> u32 {
        u32::try_from(self.trees.len()).unwrap_or(u32::MAX)
    }

    /// The last tree that was published of it.
    #[must_use]
    pub fn last(&self) -> Option<Tree> {
        self.trees.last().and_then(|(_, end)| *end)
    }

    /// Everything published that the log as it stands still holds, of at most so many leaves, in ascending order. What an incarnation
    /// did not keep of the one before is not among it.
    pub(super) async fn points(&self, store: &Store, most: u64) -> Result<Vec<Point>, Trouble> {
        let mut points = Vec::new();
        let mut bound = most;
        let mut incarnation = self.incarnation();
        for (kept, _) in self.trees.iter().rev() {
            let folder = folder(incarnation, CHECKPOINTS);
            let mut sizes = Vec::new();
            let mut versions = store.versions(&folder);
            while let Some(page) = versions.next().await? {
                let entries = page.iter().filter(|entry| !entry.delete_marker);
                sizes.extend(entries.filter_map(|entry| size_of(&folder, &entry.key)));
            }
            sizes.sort_unstable();
            sizes.dedup();
            let sizes = sizes.into_iter().rev().filter(|size| *size <= bound);
            points.extend(sizes.map(|size| Point::Anchor { incarnation, size }));
            if let Some(kept) = kept.filter(|kept| kept.size <= bound) {
                bound = kept.size;
                points.push(Point::Kept(kept));
            }
            incarnation -= 1;
        }
        points.reverse();
        Ok(points)
    }

    /// The tree of a point; nothing if it is no anchor after all.
    pub(super) async fn tree(
        &self,
        store: &Store,
        point: &Point,
        keys: &[VerifierKey],
    ) -> Result<Option<Tree>, Trouble> {
        let (incarnation, size) = match point {
            Point::Kept(tree) => return Ok(Some(*tree)),
            Point::Anchor { incarnation, size } => (*incarnation, *size),
        };
        let key = sized_key(&folder(incarnation, CHECKPOINTS), size);
        let Some(object) = store.first(&key).await? else {
            return Ok(None);
        };
        let tree = declared::anchor(&object, &self.log, incarnation, keys);
        tree.map(Some).map_err(|refusal| refused(&refusal))
    }
}

/// A tree that was published.
pub(super) enum Point {
    Anchor { incarnation: u32, size: u64 },
    Kept(Tree),
}
