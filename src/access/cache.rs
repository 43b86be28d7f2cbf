//! Access data kept in this backend, keyed by the full (tenant, user).
//!
//! Everything is dropped when the generation moves: rbac tables change rarely, and a dropped entry costs one read.

use crate::access::invalidation;
use crate::access::load::{self, Loaded, TenantHours, UnixMicros};
use crate::domain::permissions::Permissions;
use crate::pg::cell::BackendCell;
use pgrx::pg_sys;
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::LazyLock;
use uuid::Uuid;

/// A pooled connection of a busy server meets many users; this bounds its memory to a few megabytes.
const MOST_ENTRIES: usize = 2048;

#[derive(Default)]
struct Cache {
    generation: Cell<u64>,
    users: RefCell<HashMap<(Uuid, Uuid), Rc<Loaded>>>,
    /// The last one asked for: a statement asks about one user, often once per row.
    last: RefCell<Option<((Uuid, Uuid), Rc<Loaded>)>>,
    hours: RefCell<HashMap<Uuid, Rc<TenantHours>>>,
}

static CACHE: BackendCell<LazyLock<Cache>> = BackendCell::new(LazyLock::new(Default::default));

/// Whether the user may do `action` on `resource` in the tenant.
pub fn allows(tenant: Uuid, user: Uuid, resource: &str, action: &str) -> bool {
    with_permissions(tenant, user, |permissions| permissions.allow(resource, action))
}

/// What `ask` says of the user's permissions in the tenant.
pub fn with_permissions<R>(tenant: Uuid, user: Uuid, ask: impl FnOnce(&Permissions) -> R) -> R {
    ask(&loaded(tenant, user).permissions)
}

/// The user's permissions in the tenant, and when the clock alone will change them.
pub fn loaded(tenant: Uuid, user: Uuid) -> Rc<Loaded> {
    let key = (tenant, user);
    let still_true = |loaded: &Loaded| loaded.changes_at.is_none_or(|at| unix_micros() < at);
    let cache = drop_stale();
    if let Some((_, last)) = cache.last.borrow().as_ref().filter(|(of, last)| *of == key && still_true(last)) {
        return Rc::clone(last);
    }
    let known = cache.users.borrow().get(&key).filter(|l| still_true(l)).cloned();
    let loaded = known.unwrap_or_else(|| remember(|cache| &cache.users, key, || load::permissions(tenant, user)));
    if cache.generation.get() == invalidation::generation() {
        cache.last.replace(Some((key, Rc::clone(&loaded))));
    }
    loaded
}

pub fn hours(tenant: Uuid) -> Rc<TenantHours> {
    let known = drop_stale().hours.borrow().get(&tenant).cloned();
    known.unwrap_or_else(|| remember(|cache| &cache.hours, tenant, || load::hours(tenant)))
}

fn drop_stale() -> &'static Cache {
    let cache: &Cache = &CACHE;
    let generation = invalidation::generation();
    if cache.generation.get() != generation {
        cache.users.borrow_mut().clear();
        cache.hours.borrow_mut().clear();
        cache.last.replace(None);
        cache.generation.set(generation);
    }
    cache
}

/// Loads and stores, unless a change arrived meanwhile: then what was read is used once and not kept.
fn remember<K: std::hash::Hash + Eq, V>(
    map: impl Fn(&Cache) -> &RefCell<HashMap<K, Rc<V>>>,
    key: K,
    load: impl FnOnce() -> V,
) -> Rc<V> {
    let before = invalidation::generation();
    let value = Rc::new(load());
    let cache: &Cache = &CACHE;
    if invalidation::generation() == before && cache.generation.get() == before {
        let mut map = map(cache).borrow_mut();
        if map.len() >= MOST_ENTRIES {
            map.clear();
        }
        map.insert(key, Rc::clone(&value));
    }
    value
}

/// Now, by the clock and not by the start of the transaction: a transaction held open does not prolong a grant.
pub fn unix_micros() -> UnixMicros {
    const POSTGRES_EPOCH: i64 = 946_684_800_000_000;
    // SAFETY: reads the clock.
    unsafe { pg_sys::GetCurrentTimestamp() + POSTGRES_EPOCH }
}
