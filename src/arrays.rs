//! Arrays of PostgreSQL's taken apart.

use pgrx::pg_sys;

/// Element types of the arrays we take.
#[derive(Clone, Copy)]
pub enum Element {
    Text,
    Name,
    Uuid,
    Bytes,
    Int8,
}

impl Element {
    /// Type, length, whether it is passed by value, alignment: as pg_type has them.
    fn layout(self) -> (pg_sys::Oid, i32, bool, i8) {
        let (oid, length, by_value, alignment) = match self {
            Self::Text => (pg_sys::TEXTOID, -1, false, b'i'),
            Self::Name => (pg_sys::NAMEOID, 64, false, b'c'),
            Self::Uuid => (pg_sys::UUIDOID, 16, false, b'c'),
            Self::Bytes => (pg_sys::BYTEAOID, -1, false, b'i'),
            Self::Int8 => (pg_sys::INT8OID, 8, true, b'd'),
        };
        (oid, length, by_value, alignment as i8)
    }
}

/// The elements of a flat array; `None` is NULL. By-reference elements point into it.
///
/// # Safety
/// `array` is a detoasted array of this element type.
pub unsafe fn elements(
    array: *mut pg_sys::ArrayType,
    element: Element,
) -> Vec<Option<pg_sys::Datum>> {
    let (oid, length, by_value, alignment) = element.layout();
    let (mut values, mut nulls, mut count) = (std::ptr::null_mut(), std::ptr::null_mut(), 0);
    unsafe {
        pg_sys::deconstruct_array(
            array,
            oid,
            length,
            by_value,
            alignment,
            &mut values,
            &mut nulls,
            &mut count,
        );
        (0..usize::try_from(count).unwrap_or(0))
            .map(|at| (!*nulls.add(at)).then(|| *values.add(at)))
            .collect()
    }
}

/// An array of one dimension; `None` is NULL.
pub fn array(values: &[Option<pg_sys::Datum>], element: Element) -> pg_sys::Datum {
    let (oid, length, by_value, alignment) = element.layout();
    let (mut datums, mut nulls): (Vec<_>, Vec<_>) = values
        .iter()
        .map(|value| (value.unwrap_or(pg_sys::Datum::from(0)), value.is_none()))
        .unzip();
    let (mut count, mut lower) = (i32::try_from(values.len()).unwrap_or(0), 1);
    // SAFETY: as many datums of this element type as the one dimension says.
    unsafe {
        pg_sys::Datum::from(pg_sys::construct_md_array(
            datums.as_mut_ptr(),
            nulls.as_mut_ptr(),
            1,
            &mut count,
            &mut lower,
            oid,
            length,
            by_value,
            alignment,
        ))
    }
}
