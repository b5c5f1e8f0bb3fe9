//! Arrays of PostgreSQL's taken apart.

use pgrx::pg_sys;

/// Element types of the arrays we take.
#[derive(Clone, Copy)]
pub enum Element {
    Text,
    Name,
    Uuid,
}

/// The elements of a flat array; `None` is NULL. By-reference elements point into it.
///
/// # Safety
/// `array` is a detoasted array of this element type.
pub unsafe fn elements(
    array: *mut pg_sys::ArrayType,
    element: Element,
) -> Vec<Option<pg_sys::Datum>> {
    let (oid, length, alignment) = match element {
        Element::Text => (pg_sys::TEXTOID, -1, b'i'),
        Element::Name => (pg_sys::NAMEOID, 64, b'c'),
        Element::Uuid => (pg_sys::UUIDOID, 16, b'c'),
    };
    let (mut values, mut nulls, mut count) = (std::ptr::null_mut(), std::ptr::null_mut(), 0);
    unsafe {
        pg_sys::deconstruct_array(
            array,
            oid,
            length,
            false,
            alignment as i8,
            &mut values,
            &mut nulls,
            &mut count,
        );
        (0..usize::try_from(count).unwrap_or(0))
            .map(|at| (!*nulls.add(at)).then(|| *values.add(at)))
            .collect()
    }
}
