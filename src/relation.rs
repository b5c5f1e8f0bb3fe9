//! Oids of our own relations, looked up once per backend and forgotten when PostgreSQL says that a relation changed.

use std::ffi::CStr;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use pgrx::pg_sys;
use pgrx::prelude::*;

/// A relation in schema identity.
pub struct Known {
    name: &'static CStr,
    oid: AtomicU32,
    /// The count of relation changes at which the oid was looked up.
    as_of: AtomicU32,
}

static CHANGES: AtomicU32 = AtomicU32::new(1);
static LISTENING: AtomicBool = AtomicBool::new(false);

impl Known {
    pub const fn new(name: &'static CStr) -> Self {
        Self {
            name,
            oid: AtomicU32::new(0),
            as_of: AtomicU32::new(0),
        }
    }

    /// The relation's oid, `InvalidOid` if there is none.
    pub fn oid(&self) -> pg_sys::Oid {
        listen();
        let changes = CHANGES.load(Ordering::Relaxed);
        if self.as_of.load(Ordering::Relaxed) != changes {
            self.oid.store(find(self.name).to_u32(), Ordering::Relaxed);
            self.as_of.store(changes, Ordering::Relaxed);
        }
        self.oid.load(Ordering::Relaxed).into()
    }
}

/// How often this backend has heard of a change to some relation.
pub fn changes() -> u32 {
    listen();
    CHANGES.load(Ordering::Relaxed)
}

/// A relation of schema identity by its name.
pub fn find(name: &CStr) -> pg_sys::Oid {
    // SAFETY: syscache look-ups by C strings.
    unsafe {
        let schema = pg_sys::get_namespace_oid(c"identity".as_ptr(), true);
        pg_sys::get_relname_relid(name.as_ptr(), schema)
    }
}

fn listen() {
    if !LISTENING.swap(true, Ordering::Relaxed) {
        // SAFETY: a function of this library, registered once in this process.
        unsafe { pg_sys::CacheRegisterRelcacheCallback(Some(changed), pg_sys::Datum::from(0)) };
    }
}

#[pg_guard]
unsafe extern "C-unwind" fn changed(_argument: pg_sys::Datum, _relation: pg_sys::Oid) {
    CHANGES.fetch_add(1, Ordering::Relaxed);
}
