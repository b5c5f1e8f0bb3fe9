//! The incarnations of a log: each must be declared by both parties, and continue the one before from what it says that was kept.

use std::collections::BTreeSet;

use anchor_worker::store::{INCARNATIONS, Store, declaration_key};
use identity_connect::Failure;
use identity_core::checkpoint::Tree;
use identity_core::incarnation::{Declaration, DeclarationError, Parties, name, split};
use identity_core::moment;
use identity_core::note::VerifierKey;

use super::failure;
use super::history::{Anchor, History, days, locked};
use super::walk::{document, walk};
use crate::report::Report;

/// What an auditor asks about.
pub struct Asked<'a> {
    pub keys: &'a [VerifierKey],
    pub parties: Option<&'a Parties>,
    pub days: u32,
    /// Whether the store's times are its own.
    pub timed: bool,
}

/// What of a log was anchored and still counts.
#[derive(Default)]
pub struct Lineage {
    origin: Option<String>,
    anchors: Vec<Anchor>,
    points: Vec<Tree>,
    /// Sizes of two neighbours, of which the larger one came first.
    late: Vec<[u64; 2]>,
    /// The last tree that was published of the last incarnation.
    last: Option<Tree>,
}

impl Lineage {
    /// The log's name in its first incarnation.
    pub fn origin(&self) -> Option<&str> {
        self.origin.as_deref()
    }

    /// The anchors that still count, in the order of sizes.
    pub fn anchors(&self) -> &[Anchor] {
        &self.anchors
    }

    /// Their trees, and those that incarnations began with.
    pub fn points(&self) -> &[Tree] {
        &self.points
    }

    /// Names what came late. No finding by itself: a request that a worker had given up may have been done after the next one's. `grew` says that the
    /// database's log grew from all of them.
    pub fn name_late(&self, grew: bool, report: &mut Report) {
        for [from, to] in &self.late {
            let detail = format!("{from} leaves were anchored after {to} were");
            if grew {
                let detail = format!("{detail}; the log grew from both");
                report.note("order", &detail);
            } else {
                let detail =
                    format!("{detail}; whether the log grew from both, only its database shows");
                report.unchecked("order", &detail);
            }
        }
    }

    /// Another incarnation begins: what was anchored beyond what it kept is lost.
    fn keep(&mut self, kept: Tree) {
        self.anchors.retain(|anchor| anchor.tree.size <= kept.size);
        self.points.retain(|tree| tree.size <= kept.size);
        self.late.retain(|[_, to]| *to <= kept.size);
        self.points.push(kept);
        self.last = Some(kept);
    }

    fn add(&mut self, history: &History) {
        let anchors = history.anchors();
        self.late.extend_from_slice(history.late());
        self.anchors.extend_from_slice(anchors);
        self.points.extend(anchors.iter().map(|anchor| anchor.tree));
        self.last = self.points.last().copied();
    }
}

/// Reads every incarnation that the store has anything of.
pub async fn follow(
    store: &Store,
    asked: &Asked<'_>,
    report: &mut Report,
) -> Result<Lineage, Failure> {
    let mut lineage = Lineage::default();
    let last = numbers(store, report).await?.last().copied().unwrap_or(1);
    for number in 1..=last {
        let origin = lineage.origin().map(|log| name(log, number));
        let mut history = History::new(asked.days, asked.timed, number, origin);
        if number > 1 && !begin(store, number, asked, &mut lineage, report).await? {
            // What goes on without a declaration is not what it says it is.
            return Ok(lineage);
        }
        let from = lineage.last.filter(|_| number > 1);
        walk(store, number, asked.keys, &mut history, report).await?;
        history.close(report);
        for anchor in history.anchors() {
            let size = anchor.tree.size;
            if from.is_some_and(|from| size < from.size || size == from.size && anchor.tree != from)
            {
                let detail = format!(
                    "of {size} leaves: it does not continue what incarnation {number} began with"
                );
                report.bad("order", &detail);
            }
        }
        if number == 1 {
            lineage.origin = history.origin().map(str::to_owned);
        }
        lineage.add(&history);
    }
    if last > 1 {
        let detail = format!("{} were declared, each by both parties", last - 1);
        report.good("incarnation", &detail);
    }
    Ok(lineage)
}

/// The incarnations after the first that there is anything of, whoever put it there.
async fn numbers(store: &Store, report: &mut Report) -> Result<BTreeSet<u32>, Failure> {
    let (mut numbers, mut foreign) = (BTreeSet::new(), BTreeSet::new());
    let mut versions = store.versions(INCARNATIONS);
    while let Some(page) = versions.next().await.map_err(failure)? {
        for entry in page {
            let rest = entry.key.strip_prefix(INCARNATIONS).unwrap_or_default();
            let part = rest.split('/').next().unwrap_or_default();
            let number = part.parse::<u32>().ok();
            match number.filter(|number| *number >= 2 && number.to_string() == part) {
                Some(number) => {
                    numbers.insert(number);
                }
                None => {
                    foreign.insert(part.to_owned());
                }
            }
        }
    }
    for part in foreign {
        let detail = format!("{INCARNATIONS}{part}: it is no name of an incarnation");
        report.bad("versions", &detail);
    }
    Ok(numbers)
}

/// What an incarnation begins with, if it was declared as it must be.
async fn begin(
    store: &Store,
    number: u32,
    asked: &Asked<'_>,
    lineage: &mut Lineage,
    report: &mut Report,
) -> Result<bool, Failure> {
    let key = declaration_key(number);
    let Some((object, modified)) = document(store, &key, report).await?.first else {
        let detail = format!("incarnation {number} was not declared");
        report.bad("incarnation", &detail);
        return Ok(false);
    };
    if asked.timed {
        locked(&key, &object.stored, modified, days(asked.days), report);
    }
    let Some(parties) = asked.parties else {
        let detail = format!(
            "incarnation {number} was declared; by whom was not looked at: --parties names the file of both parties' keys"
        );
        report.unchecked("incarnation", &detail);
        return Ok(false);
    };
    let declared = declared(&object.body, number, parties, asked.keys, lineage);
    match declared {
        Ok(declaration) => {
            tell(&declaration, report);
            lineage.keep(declaration.kept);
            Ok(true)
        }
        Err(what) => {
            report.bad("incarnation", &format!("{key}: {what}"));
            Ok(false)
        }
    }
}

fn declared(
    note: &[u8],
    number: u32,
    parties: &Parties,
    keys: &[VerifierKey],
    lineage: &Lineage,
) -> Result<Declaration, String> {
    let declaration = Declaration::open(note, parties).map_err(|error| error.to_string())?;
    if let Some(role) = keys
        .iter()
        .find_map(|key| parties.role_of(key.public_key()))
    {
        return Err(format!("the {}'s key also signs checkpoints", role.word()));
    }
    let (Some(log), Some(last)) = (lineage.origin(), lineage.last) else {
        return Err("there is no anchor of the incarnation before".into());
    };
    match declaration.follows(split(log).0, number, &last) {
        Ok(()) => Ok(declaration),
        Err(error @ DeclarationError::AnotherLast) => Err(format!(
            "{error}: it says {}, and the store has {last}",
            declaration.last
        )),
        Err(error) => Err(error.to_string()),
    }
}

fn tell(declaration: &Declaration, report: &mut Report) {
    let Declaration {
        incarnation,
        kept,
        last,
        at,
        reason,
        ..
    } = declaration;
    let detail = format!(
        "incarnation {incarnation}, declared at {}: kept are {} leaves; lost are the leaves from {} to {} that were anchored; {reason}",
        moment::text(*at),
        kept.size,
        kept.size,
        last.size.saturating_sub(1),
    );
    report.note("incarnation", &detail);
}
