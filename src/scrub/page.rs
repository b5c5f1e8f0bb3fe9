//! One page: what is dead is pruned, and what belongs to nothing is overwritten.
//!
//! Lock order: a page's content lock, one at a time, and nothing is waited for while it is held. Pruning moves rows, so it needs the page to itself; where
//! somebody has it pinned (an open cursor), it is left for later. Overwriting what belongs to nothing moves nothing.
//!
//! Pruning is asked of `heap_page_prune_opt`, by the hints that it looks at: of the functions that prune it alone has kept its signature in PostgreSQL
//! 15 to 18, and `heap_page_prune` changed it in a minor release.

use std::mem::offset_of;

use pgrx::pg_sys;

use super::layout::{self, PAGE};

/// What became of a page.
#[derive(Default)]
pub struct Outcome {
    pub rewritten: bool,
    /// Something dead is still there.
    pub left: bool,
    /// The page's last line pointer that waits for a VACUUM.
    pub dead_item: Option<u16>,
}

/// How a page is to be looked at.
#[derive(Clone, Copy)]
pub struct Look {
    pub relation: pg_sys::Relation,
    pub strategy: pg_sys::BufferAccessStrategy,
    /// What transactions before this one deleted nobody sees any more.
    pub horizon: pg_sys::TransactionId,
    /// Rewrites the page whatever is in it.
    pub always: bool,
}

impl Look {
    /// A page of a table.
    ///
    /// # Safety
    /// The relation is open, a heap, locked, and has the block. The horizon is its own.
    pub unsafe fn heap(&self, block: u32) -> Outcome {
        // SAFETY: as the caller says; the page is read and written under its content lock.
        unsafe {
            let buffer = self.lock(block);
            let (mut dead, mut dead_item) = self.dead(buffer, block);
            if dead {
                self.ask_for_pruning(buffer);
                (dead, dead_item) = self.dead(buffer, block);
            }
            let rewritten = self.overwrite(buffer);
            self.release(buffer);
            Outcome {
                rewritten,
                left: dead,
                dead_item,
            }
        }
    }

    /// A page of a B-tree.
    ///
    /// # Safety
    /// The relation is open, a B-tree, locked, and has the block.
    pub unsafe fn index(&self, block: u32) -> Outcome {
        if block == 0 {
            // What the tree begins with; no entries. Older ones do not say where it ends.
            return Outcome::default();
        }
        // SAFETY: as the caller says.
        unsafe {
            let buffer = self.lock(block);
            let rewritten = self.overwrite(buffer);
            self.release(buffer);
            Outcome {
                rewritten,
                ..Outcome::default()
            }
        }
    }

    /// Whether a line pointer of the table is one that waits for a VACUUM.
    ///
    /// # Safety
    /// As for `heap`.
    pub unsafe fn waits_for_vacuum(&self, block: u32, item: u16) -> bool {
        // SAFETY: as the caller says.
        unsafe {
            let buffer = self.lock(block);
            let page = pg_sys::BufferGetPage(buffer);
            let waits = item <= item_count(page)
                && (*item_pointer(page, item)).lp_flags() == pg_sys::LP_DEAD;
            pg_sys::UnlockReleaseBuffer(buffer);
            waits
        }
    }

    unsafe fn lock(&self, block: u32) -> pg_sys::Buffer {
        // SAFETY: the block is there.
        unsafe {
            let buffer = pg_sys::ReadBufferExtended(
                self.relation,
                pg_sys::ForkNumber::MAIN_FORKNUM,
                block,
                pg_sys::ReadBufferMode::RBM_NORMAL,
                self.strategy,
            );
            pg_sys::LockBuffer(buffer, pg_sys::BUFFER_LOCK_EXCLUSIVE as i32);
            buffer
        }
    }

    /// Gives the page back. That of an unlogged table is written now: a checkpoint leaves these out, and what the file holds may be older than the page.
    unsafe fn release(&self, buffer: pg_sys::Buffer) {
        // SAFETY: pinned and locked by us.
        unsafe {
            let persistence = (*(*self.relation).rd_rel).relpersistence;
            if persistence == pg_sys::RELPERSISTENCE_UNLOGGED as i8 {
                pg_sys::FlushOneBuffer(buffer);
            }
            pg_sys::UnlockReleaseBuffer(buffer);
        }
    }

    /// Whether a row lies there that nobody can see any more, and the last line pointer of one that lay there.
    unsafe fn dead(&self, buffer: pg_sys::Buffer, block: u32) -> (bool, Option<u16>) {
        // SAFETY: the page is locked; items are within the page.
        unsafe {
            let page = pg_sys::BufferGetPage(buffer);
            let (mut dead, mut dead_item) = (false, None);
            for item in 1..=item_count(page) {
                let pointer = item_pointer(page, item);
                match (*pointer).lp_flags() {
                    pg_sys::LP_DEAD => dead_item = Some(item),
                    pg_sys::LP_NORMAL if !dead => {
                        dead = self.is_dead(buffer, page, pointer, (block, item));
                    }
                    _ => {}
                }
            }
            (dead, dead_item)
        }
    }

    unsafe fn is_dead(
        &self,
        buffer: pg_sys::Buffer,
        page: pg_sys::Page,
        pointer: pg_sys::ItemId,
        (block, item): (u32, u16),
    ) -> bool {
        const LIVES: u16 = (pg_sys::HEAP_XMIN_COMMITTED | pg_sys::HEAP_XMAX_INVALID) as u16;
        // SAFETY: a row of a locked page of the table.
        unsafe {
            let header = page
                .add((*pointer).lp_off() as usize)
                .cast::<pg_sys::HeapTupleHeaderData>();
            if (*header).t_infomask & LIVES == LIVES {
                return false;
            }
            let mut row = pg_sys::HeapTupleData {
                t_len: (*pointer).lp_len(),
                t_tableOid: (*self.relation).rd_id,
                t_data: header,
                ..Default::default()
            };
            pgrx::itemptr::item_pointer_set_all(&mut row.t_self, block, item);
            pg_sys::HeapTupleSatisfiesVacuum(&mut row, self.horizon, buffer)
                == pg_sys::HTSV_Result::HEAPTUPLE_DEAD
        }
    }

    /// Prunes the page, if nobody else has it; locked before and after. The hints may stay: then the next one who reads the page prunes it.
    unsafe fn ask_for_pruning(&self, buffer: pg_sys::Buffer) {
        // SAFETY: hints, written under the page's lock.
        unsafe {
            let header = pg_sys::BufferGetPage(buffer).cast::<pg_sys::PageHeaderData>();
            (*header).pd_prune_xid = before(self.horizon);
            (*header).pd_flags |= pg_sys::PD_PAGE_FULL as u16;
            pg_sys::LockBuffer(buffer, pg_sys::BUFFER_LOCK_UNLOCK as i32);
            pg_sys::heap_page_prune_opt(self.relation, buffer);
            pg_sys::LockBuffer(buffer, pg_sys::BUFFER_LOCK_EXCLUSIVE as i32);
        }
    }

    /// Overwrites what belongs to nothing, here and on standbys. Whether there was anything.
    unsafe fn overwrite(&self, buffer: pg_sys::Buffer) -> bool {
        // SAFETY: the page is locked exclusively; the image is a copy of it.
        unsafe {
            let page = &*pg_sys::BufferGetPage(buffer).cast::<[u8; PAGE]>();
            let Some(unused) = layout::unused(page) else {
                return false;
            };
            if !layout::has_bytes(page, &unused) && !self.always {
                return false;
            }
            let log = pg_sys::GenericXLogStart(self.relation);
            let image = pg_sys::GenericXLogRegisterBuffer(log, buffer, 0).cast::<[u8; PAGE]>();
            for range in unused {
                if let Some(bytes) = (*image).get_mut(range) {
                    bytes.fill(0);
                }
            }
            pg_sys::GenericXLogFinish(log);
            true
        }
    }
}

/// How many line pointers a page has; none if it is new. By hand, since PostgreSQL 15 has macros for this and later ones inline functions.
unsafe fn item_count(page: pg_sys::Page) -> u16 {
    // SAFETY: the caller's page, which is pinned and locked.
    let lower = unsafe { (*page.cast::<pg_sys::PageHeaderData>()).pd_lower } as usize;
    let pointers = lower.saturating_sub(offset_of!(pg_sys::PageHeaderData, pd_linp));
    u16::try_from(pointers / size_of::<pg_sys::ItemIdData>()).unwrap_or(0)
}

/// One of them, from 1.
unsafe fn item_pointer(page: pg_sys::Page, item: u16) -> pg_sys::ItemId {
    // SAFETY: the caller's page, and an item that it has.
    unsafe {
        let pointers = (*page.cast::<pg_sys::PageHeaderData>())
            .pd_linp
            .as_mut_ptr();
        pointers.add(usize::from(item) - 1)
    }
}

/// The transaction id before this one.
fn before(xid: pg_sys::TransactionId) -> pg_sys::TransactionId {
    let before = xid.into_inner().wrapping_sub(1);
    pg_sys::TransactionId::from(if before < pg_sys::FirstNormalTransactionId.into_inner() {
        u32::MAX
    } else {
        before
    })
}
