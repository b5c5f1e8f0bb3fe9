//! The signed checkpoints of all files together: one log has one history.

use std::collections::BTreeMap;

use identity_core::checkpoint::Checkpoint;
use identity_core::merkle::verify_consistency;
use identity_core::note::{NoteError, VerifierKey};

use super::json::Link;
use crate::report::Report;

/// The roots that were signed, by origin and size.
#[derive(Default)]
pub struct Heads {
    roots: BTreeMap<String, BTreeMap<u64, [u8; 32]>>,
    /// Sizes that a consistency proof goes to from a smaller one.
    linked: BTreeMap<String, BTreeMap<u64, u64>>,
}

impl Heads {
    /// A checkpoint whose signature was verified. Two roots of one size are two histories of one log.
    pub fn add(&mut self, place: &str, checkpoint: Checkpoint, report: &mut Report) {
        let Checkpoint {
            origin, size, root, ..
        } = checkpoint;
        let known = *self
            .roots
            .entry(origin)
            .or_default()
            .entry(size)
            .or_insert(root);
        if known != root {
            report.bad("checkpoint", &format!("{place}: two different trees of {size} leaves were signed: the log shows two histories"));
        }
    }

    pub fn open(&mut self, place: &str, note: &str, keys: &[VerifierKey], report: &mut Report) {
        match Checkpoint::open(note, keys) {
            Ok(checkpoint) => {
                let Checkpoint { origin, size, .. } = &checkpoint;
                report.good("checkpoint", &format!("{place}: {size} leaves of {origin}"));
                self.add(place, checkpoint, report);
            }
            Err(error @ NoteError::NotSigned) => {
                report.unchecked("checkpoint", &format!("{place}: {error}"))
            }
            Err(error) => report.bad("checkpoint", &format!("{place}: {error}")),
        }
    }

    /// A link is of the log whose signed checkpoints have both its sizes.
    pub fn link(&mut self, place: &str, link: &Link, report: &mut Report) {
        let (old, new) = (link.old.0, link.new.0);
        let path = link.path.iter().map(|hash| hash.0).collect::<Vec<_>>();
        let ends = self
            .roots
            .iter()
            .filter_map(|(origin, roots)| Some((origin, roots.get(&old)?, roots.get(&new)?)));
        let mut ends = ends.peekable();
        if ends.peek().is_none() {
            report.unchecked(
                "consistency",
                &format!("{place}: no signed checkpoints of {old} and {new} leaves to compare"),
            );
            return;
        }
        match ends.find(|(_, from, to)| verify_consistency(old, new, from, to, &path)) {
            Some((origin, ..)) => {
                report.good(
                    "consistency",
                    &format!("{place}: {old} leaves of {origin} grew to {new}"),
                );
                let linked = self.linked.entry(origin.clone()).or_default();
                linked.insert(new, old);
            }
            None => report.bad(
                "consistency",
                &format!("{place}: {new} leaves are not what {old} grew to"),
            ),
        }
    }

    /// Says which checkpoints nothing shows to be of one history.
    pub fn close(&self, report: &mut Report) {
        for (origin, roots) in &self.roots {
            let linked = self.linked.get(origin);
            let loose = roots
                .keys()
                .skip(1)
                .filter(|size| !linked.is_some_and(|linked| linked.contains_key(size)));
            let loose = loose.count();
            if loose > 0 {
                report.note("consistency", &format!("{loose} checkpoints of {origin} come without a proof that an earlier one grew to them"));
            }
        }
    }
}
