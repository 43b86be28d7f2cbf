//! When cached access data is stale.
//!
//! Triggers on the tables that decide access send a relation-cache invalidation for an empty view,
//! `thorbis.permission_epoch`. PostgreSQL delivers it to every backend after the commit, and to this one at its next
//! command; an abort takes it back. The callback only counts: it can run anywhere a cache is looked at.
//!
//! Messages for the tables themselves count as well: TRUNCATE and ALTER TABLE send them even where triggers do not fire.

use crate::pg::cell::BackendCell;
use pgrx::pg_sys;
use std::cell::Cell;
use std::ffi::{CStr, CString};

/// The relations whose change makes cached access data stale.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Watched {
    Epoch,
    ProtectedTables,
    DataKeys,
    KeyRotations,
    BoundRoles,
    Tenants,
    Users,
    BusinessHours,
    BusinessClosures,
    Roles,
    RolePermissions,
    UserRoles,
    RoleHierarchy,
    AccessGrants,
}

const WATCHED: [(&CStr, &CStr); 14] = [
    (c"thorbis", c"permission_epoch"),
    (c"thorbis", c"protected_tables"),
    (c"thorbis", c"data_keys"),
    (c"thorbis", c"key_rotations"),
    (c"thorbis", c"bound_roles"),
    (c"shared", c"tenants"),
    (c"shared", c"users"),
    (c"shared", c"business_hours"),
    (c"shared", c"business_closures"),
    (c"rbac", c"roles"),
    (c"rbac", c"role_permissions"),
    (c"rbac", c"user_roles"),
    (c"rbac", c"role_hierarchy"),
    (c"rbac", c"access_grants"),
];

/// A relation and the role that owns it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Relation {
    pub oid: pg_sys::Oid,
    pub owner: pg_sys::Oid,
}

const MISSING: Relation = Relation { oid: pg_sys::InvalidOid, owner: pg_sys::InvalidOid };

struct State {
    generation: Cell<u64>,
    rotations: Cell<u64>,
    /// The relations as last resolved by name; not trusted after any message about one of them.
    relations: Cell<[Relation; WATCHED.len()]>,
    resolved: Cell<bool>,
}

static STATE: BackendCell<State> = BackendCell::new(State {
    generation: Cell::new(1),
    rotations: Cell::new(1),
    relations: Cell::new([MISSING; WATCHED.len()]),
    resolved: Cell::new(false),
});

/// Moves whenever cached access data may be stale.
#[inline]
pub fn generation() -> u64 {
    STATE.generation.get()
}

/// Takes in what other backends have committed, so that an open transaction notices a revocation at its next
/// statement, even one that was prepared long ago.
pub fn refresh() {
    // SAFETY: may be called wherever catalog caches may be used. Guarded: it can rebuild relations, which reads catalogs.
    unsafe { pg_sys::AcceptInvalidationMessages() };
}

/// The relation as it is now, or None where the module that has it is not installed.
pub fn relation(which: Watched) -> Option<Relation> {
    resolve();
    let relation = STATE.relations.get()[which as usize];
    (relation != MISSING).then_some(relation)
}

/// Tells every backend that access data changed. For triggers.
pub fn announce() {
    if let Some(epoch) = relation(Watched::Epoch) {
        // SAFETY: the view exists; the message is sent at commit.
        unsafe { pg_sys::CacheInvalidateRelcacheByRelid(epoch.oid) };
    }
}

/// Tells every backend that a rotation of the keyring began.
pub fn announce_rotation() {
    if let Some(rotations) = relation(Watched::KeyRotations) {
        // SAFETY: the table exists; the message is sent at commit.
        unsafe { pg_sys::CacheInvalidateRelcacheByRelid(rotations.oid) };
    }
}

/// Moves when a rotation of the keyring may have begun.
pub fn rotations() -> u64 {
    STATE.rotations.get()
}

pub fn init() {
    // SAFETY: registered once per backend; the callback does not touch memory of a transaction.
    unsafe { pg_sys::CacheRegisterRelcacheCallback(Some(on_relcache_message), pg_sys::Datum::from(0)) };
}

unsafe extern "C-unwind" fn on_relcache_message(_arg: pg_sys::Datum, relation: pg_sys::Oid) {
    // Before the names are resolved any relation may be one of ours; InvalidOid means all of them.
    let ours = !STATE.resolved.get()
        || relation == pg_sys::InvalidOid
        || STATE.relations.get().iter().any(|watched| watched.oid == relation);
    let rotation = relation == STATE.relations.get()[Watched::KeyRotations as usize].oid;
    if rotation || !STATE.resolved.get() || relation == pg_sys::InvalidOid {
        STATE.rotations.set(STATE.rotations.get() + 1);
    }
    if ours {
        STATE.generation.set(STATE.generation.get() + 1);
        STATE.resolved.set(false);
    }
}

fn resolve() {
    if STATE.resolved.get() {
        return;
    }
    // Looking names up can itself take in messages: resolved only if the generation stood still meanwhile.
    let before = generation();
    let relations = WATCHED.map(|(schema, name)| look_up(schema, name));
    STATE.relations.set(relations);
    // A relation that does not exist yet sends no message of its own when it is created.
    STATE.resolved.set(generation() == before && relations.iter().all(|r| *r != MISSING));
}

fn look_up(schema: &CStr, name: &CStr) -> Relation {
    // SAFETY: cache look-ups by name and oid; the tuple is released before anything can go wrong.
    unsafe {
        let namespace = pg_sys::get_namespace_oid(schema.as_ptr(), true);
        if namespace == pg_sys::InvalidOid {
            return MISSING;
        }
        let oid = pg_sys::get_relname_relid(name.as_ptr(), namespace);
        owner_of(oid).map_or(MISSING, |owner| Relation { oid, owner })
    }
}

/// The owner of a relation, or None when there is no such relation.
pub fn owner_of(relation: pg_sys::Oid) -> Option<pg_sys::Oid> {
    // SAFETY: a syscache look-up; the tuple is released after its one field was copied.
    unsafe {
        let tuple = pg_sys::SearchSysCache1(pg_sys::SysCacheIdentifier::RELOID as _, pg_sys::Datum::from(relation));
        if tuple.is_null() {
            return None;
        }
        let owner = (*pg_sys::heap_tuple_get_struct::<pg_sys::FormData_pg_class>(tuple)).relowner;
        pg_sys::ReleaseSysCache(tuple);
        Some(owner)
    }
}

/// The relation called `schema.name`, or None.
pub fn named(schema: &str, name: &str) -> Option<Relation> {
    let (schema, name) = (CString::new(schema).ok()?, CString::new(name).ok()?);
    let found = look_up(&schema, &name);
    (found != MISSING).then_some(found)
}

crate::v1_function!(
    /// Row and TRUNCATE trigger on every table that decides access: tells all backends to drop what they cached.
    thorbis_invalidate_permissions, pg_finfo_thorbis_invalidate_permissions, |fcinfo| {
    crate::pg::function::guarded(|| {
        // SAFETY: called by PostgreSQL as declared; raises when it is not as a trigger.
        let trigger = unsafe { crate::pg::trigger::Trigger::of(fcinfo, crate::pg::trigger::Firing::Any) };
        announce();
        // Fired BEFORE a row, returning nothing would drop the row.
        trigger.unchanged()
    })
});
