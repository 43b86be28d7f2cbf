//! Access data kept in this backend, keyed by the full (tenant, user).
//!
//! Everything is dropped when the generation moves: rbac tables change rarely, and a dropped entry costs one read.

use crate::access::clock::unix_micros;
use crate::access::invalidation;
use crate::access::load::{self, Loaded, TenantHours};
use crate::domain::permissions::Permissions;
use crate::pg::cell::BackendCell;
use crate::pg::raw;
use pgrx::pg_sys;
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::LazyLock;
use uuid::Uuid;

/// A pooled connection of a busy server meets many users; this bounds its memory to a few megabytes.
const MOST_ENTRIES: usize = 2048;

/// The (sub)transaction in which something was read, if it had written by then. What it read may be its own and gone
/// after a rollback, without any message: a row is visible before the trigger that announces it has run.
type ReadIn = Option<(pg_sys::LocalTransactionId, pg_sys::SubTransactionId)>;

struct Entry<V> {
    value: Rc<V>,
    read_in: ReadIn,
}

impl<V> Entry<V> {
    fn get(&self) -> Option<Rc<V>> {
        (self.read_in.is_none() || self.read_in == Some(place())).then(|| Rc::clone(&self.value))
    }
}

impl<V> Clone for Entry<V> {
    fn clone(&self) -> Self {
        Entry { value: Rc::clone(&self.value), read_in: self.read_in }
    }
}

/// (tenant, user)
type UserKey = (Uuid, Uuid);

#[derive(Default)]
struct Cache {
    generation: Cell<u64>,
    users: RefCell<HashMap<UserKey, Entry<Loaded>>>,
    /// The last one asked for: a statement asks about one user, often once per row.
    last: RefCell<Option<(UserKey, Entry<Loaded>)>>,
    hours: RefCell<HashMap<Uuid, Entry<TenantHours>>>,
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
        |entry: &Entry<Loaded>| entry.get().filter(|loaded| loaded.changes_at.is_none_or(|at| unix_micros() < at));
    let cache = drop_stale();
    let last = cache.last.borrow().as_ref().filter(|(of, _)| *of == key).and_then(|(_, entry)| usable(entry));
    if let Some(loaded) = last {
        return loaded;
    }
    let known = cache.users.borrow().get(&key).and_then(|entry| usable(entry).map(|_| entry.clone()));
    let entry = known.unwrap_or_else(|| remember(|cache| &cache.users, key, || load::permissions(tenant, user)));
    let loaded = Rc::clone(&entry.value);
    if cache.generation.get() == invalidation::generation() {
        cache.last.replace(Some((key, entry)));
    }
    loaded
}

/// The opening hours of a tenant.
pub fn hours(tenant: Uuid) -> Rc<TenantHours> {
    let known = drop_stale().hours.borrow().get(&tenant).and_then(Entry::get);
    known.unwrap_or_else(|| remember(|cache| &cache.hours, tenant, || load::hours(tenant)).value)
}

/// Where the transaction stands.
fn place() -> (pg_sys::LocalTransactionId, pg_sys::SubTransactionId) {
    // SAFETY: reads the state of the transaction.
    (raw::local_transaction_id(), unsafe { pg_sys::GetCurrentSubTransactionId() })
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
    map: impl Fn(&Cache) -> &RefCell<HashMap<K, Entry<V>>>,
    key: K,
    load: impl FnOnce() -> V,
) -> Entry<V> {
    let before = invalidation::generation();
    let value = Rc::new(load());
    let entry = Entry { value, read_in: raw::has_written().then(place) };
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
