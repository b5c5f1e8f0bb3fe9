//! Functions as PostgreSQL calls them. Their SQL is written by hand under sql/, so nothing here generates any.

use identity_core::reason::Reason;
use pgrx::pg_sys;

use crate::arrays::{Element, elements};
use crate::error;

/// Declares a version-1 C function `$symbol` that runs `$body(fcinfo)`. Errors and panics cross it as PostgreSQL ERRORs.
macro_rules! sql_function {
    ($symbol:ident, $info:ident, $body:path) => {
        #[doc(hidden)]
        #[unsafe(no_mangle)]
        pub extern "C-unwind" fn $info() -> &'static pgrx::pg_sys::Pg_finfo_record {
            const V1: pgrx::pg_sys::Pg_finfo_record =
                pgrx::pg_sys::Pg_finfo_record { api_version: 1 };
            &V1
        }

        #[doc(hidden)]
        #[unsafe(no_mangle)]
        #[pgrx::pg_guard]
        pub unsafe extern "C-unwind" fn $symbol(
            call: pgrx::pg_sys::FunctionCallInfo,
        ) -> pgrx::pg_sys::Datum {
            $body($crate::sql_function::Arguments::new(call))
        }
    };
}
pub(crate) use sql_function;

/// The arguments of one call.
#[derive(Clone, Copy)]
pub struct Arguments(pg_sys::FunctionCallInfo);

impl Arguments {
    pub fn new(call: pg_sys::FunctionCallInfo) -> Self {
        Self(call)
    }

    /// An argument by its number from 0; `None` is NULL. No function is STRICT: a NULL must reach the code that refuses it.
    pub fn get<T: pgrx::FromDatum>(self, number: usize) -> Option<T> {
        // SAFETY: the install script declares as many arguments, of these types.
        unsafe { pgrx::fcinfo::pg_getarg(self.0, number) }
    }

    /// The same, as PostgreSQL holds it.
    pub fn datum(self, number: usize) -> Option<pg_sys::Datum> {
        // SAFETY: as above.
        unsafe { pgrx::fcinfo::pg_getarg_datum(self.0, number) }
    }

    /// A list: the elements of an array of at most one dimension and `most` elements.
    pub fn list(
        self,
        number: usize,
        most: usize,
        element: Element,
    ) -> Option<Result<Vec<Option<pg_sys::Datum>>, Reason>> {
        // SAFETY: the argument is declared as an array of this element type; the array is detoasted before it is looked into.
        unsafe {
            let array = pg_sys::pg_detoast_datum(self.datum(number)?.cast_mut_ptr())
                .cast::<pg_sys::ArrayType>();
            match (*array).ndim {
                0 => return Some(Ok(Vec::new())),
                1 => {}
                _ => return Some(Err(Reason::BadArgument)),
            }
            if pg_sys::ArrayGetNItems(1, array.add(1).cast())
                > i32::try_from(most).unwrap_or(i32::MAX)
            {
                return Some(Err(Reason::TooMany));
            }
            Some(Ok(elements(array, element)))
        }
    }

    /// What the function is told as a trigger.
    pub fn trigger(self) -> *mut pg_sys::TriggerData {
        // SAFETY: PostgreSQL passes trigger data to a trigger function, and says so by the node's type.
        unsafe {
            let context = (*self.0).context;
            if context.is_null() || (*context).type_ != pg_sys::NodeTag::T_TriggerData {
                error::fault("a trigger function was called as if it were none");
            }
            context.cast()
        }
    }

    /// The call itself, for what returns sets.
    pub fn raw(self) -> pg_sys::FunctionCallInfo {
        self.0
    }
}

/// A text datum's characters, valid as long as the datum. PostgreSQL has checked the encoding, which is UTF-8.
pub fn text<'a>(datum: pg_sys::Datum) -> &'a str {
    // SAFETY: a text datum.
    unsafe { <&str as pgrx::FromDatum>::from_datum(datum, false).unwrap_or_default() }
}

/// A uuid datum's bytes.
pub fn uuid(datum: pg_sys::Datum) -> [u8; 16] {
    // SAFETY: a uuid datum points to 16 bytes.
    unsafe { *datum.cast_mut_ptr::<[u8; 16]>() }
}

/// Returns NULL, which for a function that returns void is nothing.
pub fn void(arguments: Arguments) -> pg_sys::Datum {
    // SAFETY: the call's own result flag.
    unsafe { (*arguments.raw()).isnull = true };
    pg_sys::Datum::from(0)
}
