//! One relation of a pass: its pages, those again that could not be had, and, where indexes hold more than keys, whether a VACUUM has been there.
//!
//! Locks: AccessShareLock on the relation for as long as a part of its pages takes, got without waiting; and for a moment, also without waiting,
//! ShareUpdateExclusiveLock on a table, to know that no VACUUM is at work in it.

use std::ops::ControlFlow;

use pgrx::pg_sys;

use super::page::{Look, Outcome};
use super::progress::{Kind, Progress, State};

/// How many blocks may wait for a second try before the pass stops at the next one.
const MOST_LEFT: usize = 10_000;

/// What one call may do, and has done.
pub struct Work {
    /// How many pages it may still look at.
    pub pages: i64,
    pub looked_at: i64,
    pub rewritten: i64,
    /// What every transaction before it changed must be nobody's to see any more.
    pub horizon: pg_sys::TransactionId,
    pub every_page: bool,
    /// Somebody sees older rows still.
    pub blocked: bool,
    /// A relation was locked by somebody else.
    pub locked: Vec<String>,
}

/// Goes on with a relation as far as the call may.
pub fn go_on(progress: &mut Progress, work: &mut Work) {
    if progress.state == State::Done {
        return;
    }
    let mode = pg_sys::AccessShareLock as i32;
    // SAFETY: locked before it is opened, closed with its lock; an oid without a relation opens nothing.
    unsafe {
        if !pg_sys::ConditionalLockRelationOid(progress.relation, mode) {
            work.locked.push(progress.name.clone());
            return;
        }
        let relation = pg_sys::try_relation_open(progress.relation, pg_sys::NoLock as i32);
        if relation.is_null() {
            progress.state = State::Done;
            pg_sys::UnlockRelationOid(progress.relation, mode);
            return;
        }
        work_on(relation, progress, work);
        pg_sys::relation_close(relation, mode);
    }
}

unsafe fn work_on(relation: pg_sys::Relation, progress: &mut Progress, work: &mut Work) {
    // SAFETY: an open relation, locked.
    unsafe {
        let horizon = pg_sys::GetOldestNonRemovableTransactionId(relation);
        if pg_sys::TransactionIdPrecedes(horizon, work.horizon) {
            work.blocked = true;
            return;
        }
        let file = (*(*relation).rd_rel).relfilenode.to_u32();
        let blocks =
            pg_sys::RelationGetNumberOfBlocksInFork(relation, pg_sys::ForkNumber::MAIN_FORKNUM);
        if file != progress.file {
            progress.begin(file, blocks);
        }
        let look = Look {
            relation,
            strategy: pg_sys::GetAccessStrategy(pg_sys::BufferAccessStrategyType::BAS_BULKWRITE),
            horizon,
            always: work.every_page,
        };
        match progress.state {
            State::Pages => pages(&look, blocks, progress, work),
            State::Vacuum => {
                let waits = progress.dead.is_some_and(|(block, item)| {
                    block < blocks && look.waits_for_vacuum(block, item)
                });
                if !waits {
                    progress.state = State::Done;
                }
            }
            State::Done => {}
        }
        pg_sys::FreeAccessStrategy(look.strategy);
    }
}

unsafe fn pages(look: &Look, blocks: u32, progress: &mut Progress, work: &mut Work) {
    // Those that it had when the pass came to it, and has still: what was added since has never held anything older.
    let end = progress.blocks.min(blocks);
    // A call that finds some of them still in use tries each but once.
    let again = std::mem::take(&mut progress.left_blocks);
    // SAFETY: the relation is open and locked, and has blocks before `end`.
    unsafe {
        while progress.next_block < end && progress.left_blocks.len() + again.len() < MOST_LEFT {
            if visit(look, progress.next_block, progress, work).is_break() {
                break;
            }
            progress.next_block += 1;
        }
        for block in again {
            if block < blocks && visit(look, block, progress, work).is_break() {
                progress.left_blocks.push(block);
            }
        }
    }
    if progress.next_block >= end && progress.left_blocks.is_empty() {
        finish(progress, work);
    }
}

unsafe fn visit(
    look: &Look,
    block: u32,
    progress: &mut Progress,
    work: &mut Work,
) -> ControlFlow<()> {
    if work.pages == 0 {
        return ControlFlow::Break(());
    }
    pgrx::check_for_interrupts!();
    work.pages -= 1;
    work.looked_at += 1;
    // SAFETY: as the caller says.
    let outcome: Outcome = unsafe {
        match progress.kind {
            Kind::Index => look.index(block),
            _ => look.heap(block),
        }
    };
    work.rewritten += i64::from(outcome.rewritten);
    if outcome.left {
        progress.left_blocks.push(block);
    }
    if let Some(item) = outcome.dead_item {
        progress.dead = progress.dead.max(Some((block, item)));
    }
    ControlFlow::Continue(())
}

/// All pages were looked at. Where entries of dead rows are in an index, a VACUUM that begins after this must take them out. One that is at work has
/// perhaps passed pages in which we have only now made rows dead, and would look as if it had begun after.
fn finish(progress: &mut Progress, work: &mut Work) {
    if !progress.has_entries || progress.dead.is_none() {
        progress.state = State::Done;
        return;
    }
    let mode = pg_sys::ShareUpdateExclusiveLock as i32;
    // SAFETY: locked without waiting, and unlocked at once.
    unsafe {
        if pg_sys::ConditionalLockRelationOid(progress.relation, mode) {
            pg_sys::UnlockRelationOid(progress.relation, mode);
            progress.state = State::Vacuum;
        } else {
            work.locked.push(progress.name.clone());
            progress.begin(progress.file, progress.blocks);
        }
    }
}

impl Progress {
    /// From the first page on.
    fn begin(&mut self, file: u32, blocks: u32) {
        self.file = file;
        self.state = State::Pages;
        self.next_block = 0;
        self.blocks = blocks;
        self.left_blocks.clear();
        self.dead = None;
    }
}
