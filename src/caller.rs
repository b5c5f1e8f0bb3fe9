//! Who is calling: session user and outer user, zone, transport, certificate.
//!
//! Everything is read from the backend itself. SET ROLE can only narrow: what counts is what both the session user and the outer
//! user may do, and a superuser's implied memberships count for nothing.

use std::ffi::CStr;

use identity_core::digest::cert_fingerprint;
use identity_core::field::FieldSet;
use identity_core::vocabulary::{AccessorKind, Membership, Zone};
use pgrx::pg_sys;

use crate::gucs::REQUIRE_MTLS;
use crate::record::{Shape, Short};

/// The caller of the function that runs.
pub struct Caller {
    session: pg_sys::Oid,
    outer: pg_sys::Oid,
    pub zone: Zone,
}

impl Caller {
    /// The caller as of now: role grants that committed since the transaction began count.
    pub fn current() -> Self {
        // SAFETY: reads the backend's own state; the syscache look-ups happen inside a transaction.
        unsafe {
            pg_sys::AcceptInvalidationMessages();
            let (session, outer) = (pg_sys::GetSessionUserId(), pg_sys::GetOuterUserId());
            let cloud = pg_sys::get_role_oid(c"identity_zone_cloud".as_ptr(), true);
            let onbox = pg_sys::get_role_oid(c"identity_zone_onbox".as_ptr(), true);
            let membership = |user| Membership {
                cloud: member(user, cloud),
                onbox: member(user, onbox),
            };
            let of_session = membership(session);
            let of_outer = if outer == session {
                of_session
            } else {
                membership(outer)
            };
            Self {
                session,
                outer,
                zone: Zone::of(of_session, of_outer),
            }
        }
    }

    /// Whether both the session user and the outer user are members of `role`.
    pub fn is_member_of(&self, role: &CStr) -> bool {
        // SAFETY: a syscache look-up by a C string.
        let role = unsafe { pg_sys::get_role_oid(role.as_ptr(), true) };
        member(self.session, role) && (self.outer == self.session || member(self.outer, role))
    }

    /// Whether both have the rights of this role, or are it; a superuser has not those of every role.
    pub fn has_rights_of(&self, role: pg_sys::Oid) -> bool {
        member(self.session, role) && (self.outer == self.session || member(self.outer, role))
    }

    /// Whether the session user or the outer user is a member of `role`: for what a role must not do.
    pub fn either_is_member_of(&self, role: &CStr) -> bool {
        // SAFETY: a syscache look-up by a C string.
        let role = unsafe { pg_sys::get_role_oid(role.as_ptr(), true) };
        member(self.session, role) || member(self.outer, role)
    }

    /// The names of the session user and of the outer user, which are mostly the same one.
    pub fn roles(&self) -> [Short<64>; 2] {
        let session = role_name(self.session);
        let outer = if self.outer == self.session {
            session
        } else {
            role_name(self.outer)
        };
        [session, outer]
    }

    /// Whether the session user is a superuser in its own right, with no role set that is not.
    pub fn is_superuser(&self) -> bool {
        // SAFETY: syscache look-ups.
        unsafe { pg_sys::superuser_arg(self.session) && pg_sys::superuser_arg(self.outer) }
    }

    /// The session user's name.
    pub fn role(&self) -> Short<64> {
        role_name(self.session)
    }

    /// The part of a record that says who called.
    pub fn shape(&self, kind: AccessorKind) -> Shape {
        let [role, outer] = self.roles();
        Shape {
            session: self.session.to_u32(),
            kind,
            zone: self.zone,
            fields: FieldSet::EMPTY,
            role,
            outer,
            application: application_name(),
            purpose: Short::EMPTY,
            purpose_version: None,
            trace: Short::EMPTY,
            certificate: certificate(),
        }
    }
}

/// Whether this session came over a Unix socket, or over TLS with a client certificate that the server verified; or whether the
/// server does not ask for it. An address family that is neither Unix nor IP (a background worker has none) does not pass.
pub fn transport_allowed() -> bool {
    !REQUIRE_MTLS.get() || arrived_over_unix_socket() || certificate().is_some()
}

fn arrived_over_unix_socket() -> bool {
    // SAFETY: the backend's own status entry, written once at session start.
    unsafe { pg_sys::MyBEEntry.as_ref() }
        .is_some_and(|entry| i32::from(entry.st_clientaddr.addr.ss_family) == libc::AF_UNIX)
}

/// The fingerprint of the verified client certificate. PostgreSQL keeps issuer and serial only of a certificate it verified: one
/// that does not verify ends the connection.
fn certificate() -> Option<[u8; 32]> {
    // SAFETY: the backend's own status entry, written once at session start.
    unsafe {
        let entry = pg_sys::MyBEEntry.as_ref()?;
        let tls = entry.st_sslstatus.as_ref().filter(|_| entry.st_ssl)?;
        let issuer = CStr::from_ptr(tls.ssl_issuer_dn.as_ptr()).to_string_lossy();
        let serial = CStr::from_ptr(tls.ssl_client_serial.as_ptr()).to_string_lossy();
        (!issuer.is_empty() && !serial.is_empty()).then(|| cert_fingerprint(&issuer, &serial))
    }
}

fn member(user: pg_sys::Oid, role: pg_sys::Oid) -> bool {
    // SAFETY: a cached catalog look-up. The _nosuper variant: is_member_of_role is true of a superuser for every role.
    role != pg_sys::InvalidOid && unsafe { pg_sys::is_member_of_role_nosuper(user, role) }
}

pub fn role_name(role: pg_sys::Oid) -> Short<64> {
    // SAFETY: returns null or a palloc'd C string.
    unsafe {
        let name = pg_sys::GetUserNameFromId(role, true);
        if name.is_null() {
            Short::EMPTY
        } else {
            name_text(CStr::from_ptr(name))
        }
    }
}

/// The name of a role as text: at most 63 bytes, and one that is no UTF-8 grows when it is made to be.
pub fn name_text(name: &CStr) -> Short<64> {
    let name = name.to_string_lossy();
    Short::new(name.get(..name.floor_char_boundary(63)).unwrap_or_default())
}

/// What the client declares itself to be, reduced to characters of a name: it goes on a chain that nobody can erase from.
fn application_name() -> Short<64> {
    // SAFETY: a setting's C string, never null once the session runs.
    let declared = unsafe {
        if pg_sys::application_name.is_null() {
            return Short::EMPTY;
        }
        CStr::from_ptr(pg_sys::application_name).to_string_lossy()
    };
    let name = |c: char| {
        if c.is_ascii_alphanumeric() || " _.:/@-".contains(c) {
            c
        } else {
            '?'
        }
    };
    Short::new(&declared.chars().map(name).collect::<String>())
}
