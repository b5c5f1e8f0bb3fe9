//! The lists in a purpose: arrays of fields, roles and consent states.

use std::ffi::{CStr, CString};

use identity_core::field::{Field, FieldSet};
use identity_core::vocabulary::{ConsentSet, ConsentStatus};
use pgrx::pg_sys;

use crate::arrays::{Element, elements};

/// A set of fields from their names; `None` if one is unknown or named twice.
pub fn fields(names: &[&str]) -> Option<FieldSet> {
    let mut set = FieldSet::EMPTY;
    names
        .iter()
        .all(|name| Field::parse(name).is_some_and(|field| set.insert(field)))
        .then_some(set)
}

/// A set of consent states from their names; `None` if one is unknown or named twice.
pub fn consent(names: &[&str]) -> Option<ConsentSet> {
    let mut set = ConsentSet::default();
    names
        .iter()
        .all(|name| ConsentStatus::parse(name).is_some_and(|status| set.insert(status)))
        .then_some(set)
}

/// The texts of a text[] datum, valid as long as the datum.
pub fn words<'a>(array: Option<pg_sys::Datum>) -> Vec<&'a str> {
    present(array, Element::Text)
        .into_iter()
        .map(crate::sql_function::text)
        .collect()
}

/// The names of a name[] datum.
pub fn names(array: Option<pg_sys::Datum>) -> Vec<CString> {
    // SAFETY: elements of a name[] are zero-terminated.
    let name = |datum: pg_sys::Datum| unsafe { CStr::from_ptr(datum.cast_mut_ptr()) }.to_owned();
    present(array, Element::Name)
        .into_iter()
        .map(name)
        .collect()
}

fn present(array: Option<pg_sys::Datum>, element: Element) -> Vec<pg_sys::Datum> {
    let Some(array) = array else {
        return Vec::new();
    };
    // SAFETY: an array of this element type; detoasting copies only what is not flat.
    unsafe {
        elements(
            pg_sys::pg_detoast_datum(array.cast_mut_ptr()).cast(),
            element,
        )
        .into_iter()
        .flatten()
        .collect()
    }
}
