//! Access data kept in this backend, keyed by the full (tenant, user).
//!
//! Everything is dropped when the generation moves: rbac tables change rarely, and a dropped entry costs one read.

use crate::access::clock::unix_micros;
use crate::access::invalidation;
use crate::access::load::{self, Loaded, TenantHours};
use crate::domain::permissions::Permissions;
use crate::pg::cell::BackendCell;
use crate::pg::kept::Kept;
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::LazyLock;
use uuid::Uuid;

/// A pooled connection of a busy server meets many users; this bounds its memory to a few megabytes.
const MOST_ENTRIES: usize = 2048;

/// (tenant, user)
type UserKey = (Uuid, Uuid);

#[derive(Default)]
struct Cache {
    generation: Cell<u64>,
    users: RefCell<HashMap<UserKey, Kept<Loaded>>>,
    /// The last one asked for: a statement asks about one user, often once per row.
    last: RefCell<Option<(UserKey, Kept<Loaded>)>>,
    hours: RefCell<HashMap<Uuid, Kept<TenantHours>>>,
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
    let usable =
        |entry: &Kept<Loaded>| entry.get().filter(|loaded| loaded.changes_at.is_none_or(|at| unix_micros() < at));
    let cache = drop_stale();
    let last = cache.last.borrow().as_ref().filter(|(of, _)| *of == key).and_then(|(_, entry)| usable(entry));
    if let Some(loaded) = last {
        return loaded;
    }
    let known = cache.users.borrow().get(&key).and_then(|entry| usable(entry).map(|_| entry.clone()));
    let entry = known.unwrap_or_else(|| remember(|cache| &cache.users, key, || load::permissions(tenant, user)));
    let loaded = entry.value();
    if cache.generation.get() == invalidation::generation() {
        cache.last.replace(Some((key, entry)));
    }
    loaded
}

/// The opening hours of a tenant.
pub fn hours(tenant: Uuid) -> Rc<TenantHours> {
    let known = drop_stale().hours.borrow().get(&tenant).and_then(Kept::get);
    known.unwrap_or_else(|| remember(|cache| &cache.hours, tenant, || load::hours(tenant)).value())
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
    map: impl Fn(&Cache) -> &RefCell<HashMap<K, Kept<V>>>,
    key: K,
    load: impl FnOnce() -> V,
) -> Kept<V> {
    let before = invalidation::generation();
    let entry = Kept::new(load());
    let cache: &Cache = &CACHE;
    if invalidation::generation() == before && cache.generation.get() == before {
        let mut map = map(cache).borrow_mut();
        if map.len() >= MOST_ENTRIES {
            map.clear();
        }
        map.insert(key, entry.clone());
    }
    entry
}
