//! JSON put together as text, for answers that hold hashes, numbers and words of ours, never a value of a field (those go by json.rs).

use std::ffi::CString;

use pgrx::{IntoDatum, pg_sys};

/// A string, quoted by PostgreSQL.
pub fn quoted(text: &str) -> String {
    let text = CString::new(text).unwrap_or_default();
    // SAFETY: escape_json appends to a buffer of PostgreSQL's.
    unsafe {
        let buffer = pg_sys::makeStringInfo();
        pg_sys::escape_json(buffer, text.as_ptr());
        std::ffi::CStr::from_ptr((*buffer).data)
            .to_string_lossy()
            .into_owned()
    }
}

/// An object. The names are words of ours, which need no quoting.
pub fn object<'a>(members: impl IntoIterator<Item = (&'a str, String)>) -> String {
    let members = members
        .into_iter()
        .map(|(name, value)| format!("\"{name}\":{value}"))
        .collect::<Vec<_>>();
    format!("{{{}}}", members.join(","))
}

/// As a jsonb datum.
pub fn jsonb(text: &str) -> pg_sys::Datum {
    let text = CString::new(text).unwrap_or_default();
    // SAFETY: a C string that outlives the call.
    unsafe {
        pgrx::direct_function_call_as_datum(pg_sys::jsonb_in, &[text.as_c_str().into_datum()])
            .unwrap_or(pg_sys::Datum::from(0))
    }
}
