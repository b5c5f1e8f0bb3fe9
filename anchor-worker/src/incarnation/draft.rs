//! What there is to declare: as much of the database's log as fits what was anchored is kept, the rest of what was anchored is lost.

use identity_core::checkpoint::Tree;
use identity_core::incarnation::{Declaration, is_reason};

use super::Both;
use super::published::Published;
use crate::config::{Config, parties};
use crate::trouble::{Kind, Trouble};

/// A declaration to be signed.
pub struct Draft {
    pub declaration: Declaration,
    /// The largest tree that was anchored and that the database's tree begins with.
    pub anchored: Option<Tree>,
    /// How many leaves the database has.
    pub size: u64,
}

/// Compares the database with the store.
///
/// # Errors
/// What either said; `Configuration` if there is nothing to declare; `Untrue` if nothing that was anchored is in the database.
pub async fn draft(config: &Config, reason: &str, at: i64) -> Result<Draft, Trouble> {
    if !is_reason(reason) {
        let text = "the reason must be one line of at most 200 characters";
        return Err(Trouble::new(Kind::Configuration, text));
    }
    let file = config.anchor.as_ref().and_then(|it| it.parties.as_deref());
    let parties = file.map(parties).transpose()?;
    let both = Both::open(config).await?;
    let (log, database) = both.log();
    let published = Published::read(&both.store, log, parties.as_ref(), &both.keys).await?;
    let nothing = |text: &str| Err(Trouble::new(Kind::Configuration, text));
    let Some(last) = published.last() else {
        return nothing("nothing was anchored yet: there is nothing to declare");
    };
    let now = both.now.tree();
    let number = published.incarnation();
    if database > number {
        let text =
            "the database is in a later incarnation of the log than the store has a declaration of";
        return Err(Trouble::new(Kind::Untrue, text));
    }
    if last.size <= now.size && both.begins(&last, &now).await? {
        return nothing(if database == number {
            "the database's log continues what was anchored last: there is nothing to declare"
        } else {
            "the database's log continues what was anchored last: anchor-worker declare, once more with the last declaration, is all that is missing"
        });
    }
    let (anchored, all) = largest(&both, &published, &now).await?;
    // A database of before the last declaration may have gone another way since what that one kept, and nothing would show it.
    let kept = if all && now.size < last.size && database == number {
        now
    } else {
        anchored.ok_or_else(|| {
            let text = "nothing that was anchored is in the database's log: it is another database";
            Trouble::new(Kind::Untrue, text)
        })?
    };
    let declaration = Declaration {
        log: log.to_owned(),
        incarnation: number.saturating_add(1),
        kept,
        last,
        // Whole seconds are enough, and easier to read aloud.
        at: at - at.rem_euclid(1_000_000),
        reason: reason.to_owned(),
    };
    both.database.close().await;
    Ok(Draft {
        declaration,
        anchored,
        size: now.size,
    })
}

/// The largest tree that was published, still counts, and is what the database's tree begins with; and whether that is the largest of all that are not larger
/// than the database's.
pub(super) async fn largest(
    both: &Both,
    published: &Published,
    now: &Tree,
) -> Result<(Option<Tree>, bool), Trouble> {
    let mut points = published.points(&both.store, now.size).await?;
    let (mut found, mut low, mut high) = (None, 0, points.len());
    // A tree that begins with one of them begins with each before it.
    while low < high {
        let middle = low.midpoint(high);
        let tree = match points.get(middle) {
            Some(point) => published.tree(&both.store, point, &both.keys).await?,
            None => None,
        };
        match tree {
            None => {
                points.remove(middle);
                high -= 1;
            }
            Some(tree) if both.begins(&tree, now).await? => {
                found = Some(tree);
                low = middle + 1;
            }
            Some(_) => high = middle,
        }
    }
    Ok((found, low == points.len()))
}
