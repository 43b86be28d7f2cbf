//! Who executes, and executing one statement as somebody else.

use pgrx::pg_sys;

/// Executes as another role until dropped, the way foreign-key checks do: the role's own rights, no FORCE ROW LEVEL
/// SECURITY. Every statement run so must name the tenant itself.
pub struct ActingAs {
    user: pg_sys::Oid,
    context: i32,
}

impl ActingAs {
    /// As the owner of a table, with row security not forced on it.
    pub fn owner(owner: pg_sys::Oid) -> ActingAs {
        Self::switch(owner, (pg_sys::SECURITY_LOCAL_USERID_CHANGE | pg_sys::SECURITY_NOFORCE_RLS) as i32)
    }

    /// As the owner of a table that may not be trusted: as CREATE INDEX does, nothing it runs outlives the statement.
    pub fn untrusted_owner(owner: pg_sys::Oid) -> ActingAs {
        let flags =
            pg_sys::SECURITY_LOCAL_USERID_CHANGE | pg_sys::SECURITY_NOFORCE_RLS | pg_sys::SECURITY_RESTRICTED_OPERATION;
        Self::switch(owner, flags as i32)
    }

    /// As `role`, for DDL it shall own.
    pub fn role(role: pg_sys::Oid) -> ActingAs {
        Self::switch(role, pg_sys::SECURITY_LOCAL_USERID_CHANGE as i32)
    }

    fn switch(to: pg_sys::Oid, flags: i32) -> ActingAs {
        let (mut user, mut context) = (pg_sys::InvalidOid, 0);
        // SAFETY: out parameters are valid; Drop restores what is read here on every path, panics included, so that
        // no error leaves the session with another identity.
        unsafe {
            pg_sys::GetUserIdAndSecContext(&mut user, &mut context);
            pg_sys::SetUserIdAndSecContext(to, context | flags);
        }
        ActingAs { user, context }
    }
}

impl Drop for ActingAs {
    fn drop(&mut self) {
        // SAFETY: restores values that were current before.
        unsafe { pg_sys::SetUserIdAndSecContext(self.user, self.context) };
    }
}

/// Superusers and BYPASSRLS roles (`thorbis_platform`) operate all tenants.
pub fn operates_all_tenants() -> bool {
    let (_, user) = crate::pg::raw::user_ids();
    // SAFETY: look-ups in the role cache.
    unsafe { pg_sys::superuser_arg(user) || pg_sys::has_bypassrls_privilege(user) }
}

/// As `operates_all_tenants`, of the user outside of owner switches and SECURITY DEFINER functions.
pub fn outer_user_operates_all_tenants() -> bool {
    // SAFETY: a static variable of the process; look-ups in the role cache.
    unsafe {
        let user = pg_sys::GetOuterUserId();
        pg_sys::superuser_arg(user) || pg_sys::has_bypassrls_privilege(user)
    }
}

/// Locks a relation by its oid until the transaction ends: what the name stands for cannot be swapped meanwhile.
pub fn lock_relation(relation: pg_sys::Oid, mode: u32) {
    // SAFETY: waits for the lock, within lock_timeout; an oid of no relation locks nothing.
    unsafe { pg_sys::LockRelationOid(relation, mode as pg_sys::LOCKMODE) };
}

pub fn is_superuser() -> bool {
    // SAFETY: look-up in the role cache.
    unsafe { pg_sys::superuser() }
}

/// The name of a role, or None when it does not exist.
pub fn role_name(role: pg_sys::Oid) -> Option<String> {
    // SAFETY: with noerr a missing role gives a null pointer; the name is palloc'd text.
    unsafe {
        let name = pg_sys::GetUserNameFromId(role, true);
        (!name.is_null()).then(|| std::ffi::CStr::from_ptr(name).to_string_lossy().into_owned())
    }
}

/// The oid of a role that exists.
pub fn role_oid(name: &str) -> Option<pg_sys::Oid> {
    let name = std::ffi::CString::new(name).ok()?;
    // SAFETY: missing_ok: returns InvalidOid for an unknown role.
    let oid = unsafe { pg_sys::get_role_oid(name.as_ptr(), true) };
    (oid != pg_sys::InvalidOid).then_some(oid)
}

/// Whether `role` is a member of the role called `group`, inherited or not. Superusers are members of everything.
pub fn is_member(role: pg_sys::Oid, group: &str) -> bool {
    // SAFETY: look-ups in the role cache.
    role_oid(group).is_some_and(|group| unsafe { pg_sys::is_member_of_role(role, group) })
}
