//! How the bytes of a page are taken up, for every access method that keeps to PostgreSQL's standard layout.

use std::ops::Range;

use pgrx::pg_sys;

/// The bytes of a page.
pub const PAGE: usize = pg_sys::BLCKSZ as usize;
/// Where the header has pd_lower, pd_upper and pd_special, and where it ends: the same since PostgreSQL 7.3.
const LOWER: usize = 12;
const UPPER: usize = 14;
const SPECIAL: usize = 16;
const HEADER: usize = 24;

/// The bytes that belong to nothing: the hole between line pointers and items, what lies between items, and the padding behind each. `None`: the
/// page is not laid out like that, and must not be touched.
pub fn unused(page: &[u8; PAGE]) -> Option<Vec<Range<usize>>> {
    let field = |at: usize| {
        let bytes = page.get(at..at + 2)?.try_into().ok()?;
        Some(usize::from(u16::from_ne_bytes(bytes)))
    };
    let (lower, upper, special) = (field(LOWER)?, field(UPPER)?, field(SPECIAL)?);
    // The first is also true of a page that was added and never filled: zeros.
    if !(HEADER <= lower && lower <= upper && upper <= special && special <= PAGE) {
        return None;
    }
    let mut unused = Vec::with_capacity(8);
    let mut add = |range: Range<usize>| {
        if !range.is_empty() {
            unused.push(range);
        }
    };
    add(lower..upper);
    // A page without items may have something else where line pointers would be: a deleted page of a B-tree has.
    if upper < special {
        let mut end_of_last = upper;
        for item in items(page, lower, upper, special)? {
            add(end_of_last..item.start);
            end_of_last = end_of_last.max(item.end);
        }
        add(end_of_last..special);
    }
    Some(unused)
}

/// Whether there is anything but zeros in these ranges.
pub fn has_bytes(page: &[u8; PAGE], ranges: &[Range<usize>]) -> bool {
    ranges
        .iter()
        .filter_map(|range| page.get(range.clone()))
        .any(|bytes| bytes.iter().any(|byte| *byte != 0))
}

/// Where the items lie, in the order of the page.
fn items(
    page: &[u8; PAGE],
    lower: usize,
    upper: usize,
    special: usize,
) -> Option<Vec<Range<usize>>> {
    let mut items = Vec::with_capacity((lower - HEADER) / size_of::<pg_sys::ItemIdData>());
    for bytes in page
        .get(HEADER..lower)?
        .chunks_exact(size_of::<pg_sys::ItemIdData>())
    {
        // SAFETY: as many bytes as a line pointer has; any bytes are one.
        let pointer = unsafe { bytes.as_ptr().cast::<pg_sys::ItemIdData>().read_unaligned() };
        let (start, length) = (pointer.lp_off() as usize, pointer.lp_len() as usize);
        // Without a length it has no bytes: unused, dead, or a redirection.
        if length == 0 {
            continue;
        }
        if start < upper || start + length > special {
            return None;
        }
        items.push(start..start + length);
    }
    items.sort_unstable_by_key(|item| item.start);
    Some(items)
}
