//! jsonb in and out without a text form in between: each copy of a value would be one more place where it lies.

use std::marker::PhantomData;

use identity_core::reason::Reason;
use pgrx::pg_sys;
use zeroize::Zeroizing;

/// A member's value; strings point into the argument.
pub enum Value<'a> {
    Null,
    Text(&'a str),
    Bool(bool),
    Integer(i32),
    Nested(Nested<'a>),
    Other,
}

/// An object or array inside the argument.
#[derive(Clone, Copy)]
pub struct Nested<'a>(*mut pg_sys::JsonbContainer, PhantomData<&'a ()>);

/// A jsonb argument, taken apart as far as it is asked for.
pub fn argument<'a>(datum: pg_sys::Datum) -> Nested<'a> {
    // SAFETY: a jsonb datum; the detoasted copy lives as long as the call.
    unsafe {
        let jsonb = pg_sys::pg_detoast_datum(datum.cast_mut_ptr()).cast::<pg_sys::Jsonb>();
        Nested(&raw mut (*jsonb).root, PhantomData)
    }
}

/// The members of an argument that is a JSON object, in jsonb's order; `None` if it is none.
pub fn object<'a>(datum: pg_sys::Datum) -> Option<Vec<(&'a str, Value<'a>)>> {
    members(argument(datum))
}

/// The same of an object inside an argument.
pub fn members(nested: Nested<'_>) -> Option<Vec<(&str, Value<'_>)>> {
    // SAFETY: a container of a detoasted jsonb.
    unsafe {
        let mut iterator = pg_sys::JsonbIteratorInit(nested.0);
        let mut item = pg_sys::JsonbValue::default();
        if pg_sys::JsonbIteratorNext(&mut iterator, &mut item, true)
            != pg_sys::JsonbIteratorToken::WJB_BEGIN_OBJECT
        {
            return None;
        }
        let mut members = Vec::new();
        while pg_sys::JsonbIteratorNext(&mut iterator, &mut item, true)
            == pg_sys::JsonbIteratorToken::WJB_KEY
        {
            let key = string(&item);
            pg_sys::JsonbIteratorNext(&mut iterator, &mut item, true);
            members.push((key, scalar(&item)));
        }
        Some(members)
    }
}

/// The elements of a JSON array of at most `most`; `None` if it is no array. A scalar, which jsonb wraps in an array, is none.
pub fn array(nested: Nested<'_>, most: usize) -> Option<Result<Vec<Value<'_>>, Reason>> {
    // SAFETY: a container of a detoasted jsonb.
    unsafe {
        let mut iterator = pg_sys::JsonbIteratorInit(nested.0);
        let mut item = pg_sys::JsonbValue::default();
        let token = pg_sys::JsonbIteratorNext(&mut iterator, &mut item, true);
        if token != pg_sys::JsonbIteratorToken::WJB_BEGIN_ARRAY || item.val.array.rawScalar {
            return None;
        }
        if usize::try_from(item.val.array.nElems).map_or(true, |count| count > most) {
            return Some(Err(Reason::TooMany));
        }
        let mut elements = Vec::new();
        while pg_sys::JsonbIteratorNext(&mut iterator, &mut item, true)
            == pg_sys::JsonbIteratorToken::WJB_ELEM
        {
            elements.push(scalar(&item));
        }
        Some(Ok(elements))
    }
}

/// Overwrites an object that was built and copied on.
pub fn wipe(object: pg_sys::Datum) {
    // SAFETY: what `build` made, and nobody holds on to.
    unsafe {
        let varlena = object.cast_mut_ptr::<pg_sys::varlena>();
        let size = pgrx::varsize_any(varlena);
        varlena.cast::<u8>().write_bytes(0, size);
        pg_sys::pfree(varlena.cast());
    }
}

/// The text form, as PostgreSQL writes it.
pub fn to_text(datum: pg_sys::Datum) -> String {
    // SAFETY: a jsonb datum; the server's encoding is UTF-8.
    unsafe {
        pgrx::direct_function_call::<&std::ffi::CStr>(pg_sys::jsonb_out, &[Some(datum)])
            .map(|text| text.to_string_lossy().into_owned())
            .unwrap_or_default()
    }
}

/// An object of these members; `None` is JSON null. The texts are copied once, into the result.
pub fn build<'a>(
    members: impl Iterator<Item = (&'static str, Option<&'a Zeroizing<Vec<u8>>>)>,
) -> pg_sys::Datum {
    // SAFETY: pushes a well-formed object; strings are copied when it is flattened.
    unsafe {
        let mut state = std::ptr::null_mut();
        pg_sys::pushJsonbValue(
            &mut state,
            pg_sys::JsonbIteratorToken::WJB_BEGIN_OBJECT,
            std::ptr::null_mut(),
        );
        for (key, value) in members {
            let mut key = text(key.as_bytes());
            pg_sys::pushJsonbValue(&mut state, pg_sys::JsonbIteratorToken::WJB_KEY, &mut key);
            let mut value = value.map_or_else(null, |value| text(value));
            pg_sys::pushJsonbValue(
                &mut state,
                pg_sys::JsonbIteratorToken::WJB_VALUE,
                &mut value,
            );
        }
        let object = pg_sys::pushJsonbValue(
            &mut state,
            pg_sys::JsonbIteratorToken::WJB_END_OBJECT,
            std::ptr::null_mut(),
        );
        pg_sys::Datum::from(pg_sys::JsonbValueToJsonb(object))
    }
}

fn text(bytes: &[u8]) -> pg_sys::JsonbValue {
    let mut value = pg_sys::JsonbValue {
        type_: pg_sys::jbvType::jbvString,
        ..Default::default()
    };
    value.val.string = pg_sys::JsonbValue__bindgen_ty_1__bindgen_ty_1 {
        len: i32::try_from(bytes.len()).unwrap_or(0),
        val: bytes.as_ptr().cast_mut().cast(),
    };
    value
}

fn null() -> pg_sys::JsonbValue {
    pg_sys::JsonbValue {
        type_: pg_sys::jbvType::jbvNull,
        ..Default::default()
    }
}

unsafe fn string<'a>(item: &pg_sys::JsonbValue) -> &'a str {
    unsafe {
        let string = item.val.string;
        let bytes = std::slice::from_raw_parts(
            string.val.cast::<u8>(),
            usize::try_from(string.len).unwrap_or(0),
        );
        std::str::from_utf8(bytes).unwrap_or_default()
    }
}

unsafe fn scalar<'a>(item: &pg_sys::JsonbValue) -> Value<'a> {
    unsafe {
        match item.type_ {
            pg_sys::jbvType::jbvNull => Value::Null,
            pg_sys::jbvType::jbvString => Value::Text(string(item)),
            pg_sys::jbvType::jbvBool => Value::Bool(item.val.boolean),
            pg_sys::jbvType::jbvBinary => Value::Nested(Nested(item.val.binary.data, PhantomData)),
            pg_sys::jbvType::jbvNumeric => {
                integer(item.val.numeric).map_or(Value::Other, Value::Integer)
            }
            _ => Value::Other,
        }
    }
}

/// A numeric that is a plain integer. Goes through its text: PostgreSQL's own conversion would raise with its own words.
unsafe fn integer(number: pg_sys::Numeric) -> Option<i32> {
    let digits = unsafe {
        pgrx::direct_function_call::<&std::ffi::CStr>(
            pg_sys::numeric_out,
            &[Some(pg_sys::Datum::from(number))],
        )
    };
    digits?.to_str().ok()?.parse().ok()
}
