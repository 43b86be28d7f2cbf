//! Data keys: one for each tenant, and one for each person whose data is kept. Destroying a person's key makes every
//! copy of their envelopes unreadable.
//!
//! They are rows of `thorbis.data_keys`, wrapped by the keyring. A backend keeps the ones it unwrapped, in their opened
//! form, until access data is announced to have changed: destroying a key announces it.

use crate::access::invalidation::{self, Relation, Watched};
use crate::domain::keyring::DataKeyName;
use crate::domain::personal::BlindIndex;
use crate::domain::xaes::{KEY_BYTES, Xaes};
use crate::pg::cell::BackendCell;
use crate::pg::error::SqlError;
use crate::pg::fresh::{self, Arg};
use crate::pg::index_lookup::{self, FoundRow};
use crate::pg::kept::Kept;
use crate::pg::raw;
use crate::pii::error::{KeyringError, PiiError};
use crate::pii::{keyring, random};
use pgrx::pg_sys;
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::ffi::CStr;
use std::rc::Rc;
use std::sync::LazyLock;
use uuid::Uuid;
use zeroize::Zeroizing;

/// Subject of a tenant's own key.
pub const TENANT: &str = "tenant";
/// Columns of the table.
const ID: i16 = 1;
const TENANT_ID: i16 = 2;
const SUBJECT_KIND: i16 = 3;
const SUBJECT_ID: i16 = 4;
const KEYRING_KEY: i16 = 5;
const WRAPPED: i16 = 6;
/// A listing of a hundred thousand people must not keep them all: this is a few megabytes.
const MOST_KEYS: usize = 4096;

const INSERT: &str = "
INSERT INTO thorbis.data_keys (id, tenant_id, subject_kind, subject_id, keyring_key, wrapped)
VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT DO NOTHING";

/// An opened data key.
pub struct DataKey {
    pub id: Uuid,
    pub tenant: Uuid,
    pub cipher: Xaes,
    /// Of a tenant's own key, to derive the keys of blind indexes from.
    secret: Option<Zeroizing<[u8; KEY_BYTES]>>,
}

/// Whose key it is. The tenant is its own subject.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Subject {
    tenant: Uuid,
    kind: Rc<str>,
    id: Uuid,
}

impl Subject {
    fn keys(&self) -> [(i16, Uuid); 2] {
        [(TENANT_ID, self.tenant), (SUBJECT_ID, self.id)]
    }

    /// The row, if it is this subject's.
    fn row(&self, row: &FoundRow) -> Option<Row> {
        Some(Row::of(row)).filter(|row| row.kind == *self.kind)
    }
}

#[derive(Default)]
struct Cache {
    generation: Cell<u64>,
    /// The last one used: two columns of a row, or one tenant's rows, ask for the same.
    last: RefCell<Option<Kept<DataKey>>>,
    by_id: RefCell<HashMap<Uuid, Kept<DataKey>>>,
    by_subject: RefCell<HashMap<Subject, Kept<DataKey>>>,
    blind_indexes: RefCell<HashMap<(Uuid, Rc<str>), BlindIndex>>,
    indexes: Cell<Option<Indexes>>,
    /// The keys whose rows this (sub)transaction has locked.
    locked: RefCell<HashMap<Uuid, Kept<()>>>,
}

/// The table and the indexes it is searched by.
#[derive(Clone, Copy)]
struct Indexes {
    table: Relation,
    by_id: pg_sys::Oid,
    by_subject: pg_sys::Oid,
}

static CACHE: BackendCell<LazyLock<Cache>> = BackendCell::new(LazyLock::new(Default::default));

/// Wipes the keys kept in this backend.
pub fn forget() {
    let cache: &Cache = &CACHE;
    cache.last.replace(None);
    cache.by_id.borrow_mut().clear();
    cache.by_subject.borrow_mut().clear();
    cache.blind_indexes.borrow_mut().clear();
    cache.indexes.set(None);
    cache.locked.borrow_mut().clear();
}

fn cache() -> &'static Cache {
    keyring::ensure();
    current()
}

/// The cache without what is stale. Needs no keyring: a key can be destroyed without one.
fn current() -> &'static Cache {
    let cache: &Cache = &CACHE;
    let generation = invalidation::generation();
    if cache.generation.get() != generation {
        forget();
        cache.generation.set(generation);
    }
    cache
}

/// The key an envelope names, or None when there is no such key, or no more.
pub fn by_id(id: Uuid) -> Option<Rc<DataKey>> {
    let cache = cache();
    if let Some(key) = cache.last.borrow().as_ref().and_then(Kept::get).filter(|key| key.id == id) {
        return Some(key);
    }
    let known = cache.by_id.borrow().get(&id).filter(|kept| kept.get().is_some()).cloned();
    let kept = known.or_else(|| {
        let place = indexes();
        let row = index_lookup::find(place.table.oid, place.by_id, &[(ID, id)], |row| Some(Row::of(row)))?;
        let kept = Kept::new(row.open());
        remember(&cache.by_id, id, &kept);
        Some(kept)
    })?;
    let key = kept.value();
    cache.last.replace(Some(kept));
    Some(key)
}

/// The tenant's own key, made when there is none yet.
pub fn of_tenant(tenant: Uuid) -> Rc<DataKey> {
    of_subject(tenant, TENANT, tenant)
}

/// The key of a person to encrypt with: it is not destroyed before this transaction ends, or what is written now would be
/// lost with it.
pub fn for_writing(tenant: Uuid, kind: &str, id: Uuid) -> Rc<DataKey> {
    for _ in 0..3 {
        let key = of_subject(tenant, kind, id);
        if is_locked(key.id) || lock(key.id) {
            return key;
        }
        // Under one snapshot for the transaction, a key that others made or destroyed since cannot be locked.
        if raw::one_snapshot_per_transaction() {
            break;
        }
        // Destroyed meanwhile: the person begins anew.
        forget();
    }
    PiiError::Serialization.raise()
}

fn is_locked(id: Uuid) -> bool {
    CACHE.locked.borrow().get(&id).is_some_and(|kept| kept.get().is_some())
}

/// Waits for an erasure that is on its way. Whether the key is still there.
fn lock(id: Uuid) -> bool {
    let lock = "SELECT FROM thorbis.data_keys WHERE id OPERATOR(pg_catalog.=) $1 FOR KEY SHARE";
    let there = fresh::write(indexes().table.owner, lock, &[Arg::Uuid(id)]) == 1;
    if there {
        note_lock(id);
    }
    there
}

fn note_lock(id: Uuid) {
    let mut locked = CACHE.locked.borrow_mut();
    if locked.len() >= MOST_KEYS {
        locked.clear();
    }
    locked.insert(id, Kept::new(()));
}

/// The key of a person, made when there is none yet.
pub fn of_subject(tenant: Uuid, kind: &str, id: Uuid) -> Rc<DataKey> {
    let subject = Subject { tenant, kind: kind.into(), id };
    remembered(&subject).unwrap_or_else(|| {
        let key = found(&subject).unwrap_or_else(|| create(&subject));
        remember_both(subject, key)
    })
}

/// The key of a person who has one.
pub fn existing(tenant: Uuid, kind: &str, id: Uuid) -> Option<Rc<DataKey>> {
    let subject = Subject { tenant, kind: kind.into(), id };
    remembered(&subject).or_else(|| row_of(&subject).map(|row| remember_both(subject, row.open())))
}

fn remembered(subject: &Subject) -> Option<Rc<DataKey>> {
    cache().by_subject.borrow().get(subject).and_then(Kept::get)
}

fn remember_both(subject: Subject, key: DataKey) -> Rc<DataKey> {
    let (cache, kept): (&Cache, _) = (&CACHE, Kept::new(key));
    remember(&cache.by_subject, subject, &kept);
    remember(&cache.by_id, kept.value().id, &kept);
    kept.value()
}

/// The id of a person's key, if they have one. For erasing it.
pub fn id_of_subject(tenant: Uuid, kind: &str, id: Uuid) -> Option<Uuid> {
    row_of(&Subject { tenant, kind: kind.into(), id }).map(|row| row.id)
}

/// Destroys a person's key and has every session drop it. Returns its id, None when there was none.
pub fn destroy(tenant: Uuid, kind: &str, id: Uuid) -> Option<Uuid> {
    let key = id_of_subject(tenant, kind, id)?;
    let delete = "DELETE FROM thorbis.data_keys WHERE id OPERATOR(pg_catalog.=) $1";
    // The table's own trigger tells every session.
    fresh::write(indexes().table.owner, delete, &[Arg::Uuid(key)]);
    forget();
    Some(key)
}

/// Destroys every key of a tenant.
pub fn destroy_all(tenant: Uuid) {
    let delete = "DELETE FROM thorbis.data_keys WHERE tenant_id OPERATOR(pg_catalog.=) $1";
    fresh::write(indexes().table.owner, delete, &[Arg::Uuid(tenant)]);
    forget();
}

/// What finds equal values of a field within a tenant.
pub fn blind_index(tenant: Uuid, field: &str) -> BlindIndex {
    index_under(&of_tenant(tenant), field)
}

/// As `blind_index`, but None for a tenant that has no key yet.
pub fn known_blind_index(tenant: Uuid, field: &str) -> Option<BlindIndex> {
    let key = by_id(id_of_subject(tenant, TENANT, tenant)?)?;
    Some(index_under(&key, field))
}

fn index_under(key: &DataKey, field: &str) -> BlindIndex {
    let mut known = CACHE.blind_indexes.borrow_mut();
    if known.len() >= MOST_KEYS {
        known.clear();
    }
    // By the key, not by the tenant: a key made in a transaction that was rolled back is followed by another one.
    let index = known.entry((key.id, field.into())).or_insert_with(|| {
        let secret = key.secret.as_ref().expect("a tenant's key keeps its secret");
        BlindIndex::new(secret, field)
    });
    index.clone()
}

fn remember<K: Eq + std::hash::Hash>(map: &RefCell<HashMap<K, Kept<DataKey>>>, key: K, kept: &Kept<DataKey>) {
    let mut map = map.borrow_mut();
    if map.len() >= MOST_KEYS {
        map.clear();
    }
    map.insert(key, kept.clone());
}

/// A look that may miss a key just wrapped anew: making one then finds it.
fn found(subject: &Subject) -> Option<DataKey> {
    let Indexes { table, by_subject, .. } = indexes();
    index_lookup::find_quickly(table.oid, by_subject, &subject.keys(), |row| subject.row(row)).map(Row::open)
}

fn row_of(subject: &Subject) -> Option<Row> {
    let Indexes { table, by_subject, .. } = indexes();
    index_lookup::find(table.oid, by_subject, &subject.keys(), |row| subject.row(row))
}

/// A new random key for the subject, or the one that another session made meanwhile.
fn create(subject: &Subject) -> DataKey {
    // Wrapped under the key that is active now, not under the one of some time ago: a rotation would leave it behind. With
    // the lock first, its end waits for this transaction, or it was over and is known.
    crate::pg::identity::lock_relation(indexes().table.oid, pg_sys::RowExclusiveLock);
    invalidation::refresh();
    let ring = keyring::latest();
    let id = uuid::Builder::from_random_bytes(random::bytes()).into_uuid();
    let secret = Zeroizing::new(random::bytes::<KEY_BYTES>());
    let name = DataKeyName { id, tenant: subject.tenant, subject_kind: &subject.kind, subject: subject.id };
    let wrapped = ring.wrap(&random::bytes(), name, &secret);
    let args = [
        Arg::Uuid(id),
        Arg::Uuid(subject.tenant),
        Arg::Text(&subject.kind),
        Arg::Uuid(subject.id),
        Arg::Text(ring.active()),
        Arg::Bytes(&wrapped),
    ];
    if fresh::write(indexes().table.owner, INSERT, &args) == 1 {
        // A row of one's own needs no lock.
        note_lock(id);
        return opened(id, subject.tenant, &subject.kind, secret);
    }
    row_of(subject).map(Row::open).unwrap_or_else(|| PiiError::NoDataKeys.raise())
}

/// A row of the table.
struct Row {
    id: Uuid,
    tenant: Uuid,
    kind: String,
    subject: Uuid,
    keyring_key: String,
    wrapped: Vec<u8>,
}

impl Row {
    fn of(row: &FoundRow) -> Row {
        Row {
            id: row.uuid(ID.into()),
            tenant: row.uuid(TENANT_ID.into()),
            kind: row.text(SUBJECT_KIND.into()),
            subject: row.uuid(SUBJECT_ID.into()),
            keyring_key: row.text(KEYRING_KEY.into()),
            wrapped: row.bytea(WRAPPED.into()),
        }
    }

    /// Raises when the keyring lacks the key it is wrapped by.
    fn open(self) -> DataKey {
        let ring = Some(keyring::current()).filter(|ring| ring.has(&self.keyring_key)).unwrap_or_else(keyring::latest);
        if !ring.has(&self.keyring_key) {
            KeyringError::VersionGone { id: self.keyring_key, from: keyring::source_name() }.raise();
        }
        let name = DataKeyName { id: self.id, tenant: self.tenant, subject_kind: &self.kind, subject: self.subject };
        match ring.unwrap(&self.keyring_key, name, &self.wrapped) {
            Ok(secret) => opened(self.id, self.tenant, &self.kind, secret),
            // Which it is, thorbis.keyring_status() and the doctor tell.
            Err(_) => PiiError::NotDecrypted.raise(),
        }
    }
}

fn opened(id: Uuid, tenant: Uuid, kind: &str, secret: Zeroizing<[u8; KEY_BYTES]>) -> DataKey {
    DataKey { id, tenant, cipher: Xaes::new(&secret), secret: (kind == TENANT).then_some(secret) }
}

fn indexes() -> Indexes {
    // REINDEX CONCURRENTLY gives the indexes other ids, and says so.
    invalidation::refresh();
    let cache = current();
    if let Some(known) = cache.indexes.get() {
        return known;
    }
    let look_up = |name: &CStr| {
        // SAFETY: cache look-ups by name.
        unsafe { pg_sys::get_relname_relid(name.as_ptr(), pg_sys::get_namespace_oid(c"thorbis".as_ptr(), true)) }
    };
    let (by_id, by_subject) = (look_up(c"data_keys_pkey"), look_up(c"data_keys_subject_unique"));
    let found = invalidation::relation(Watched::DataKeys)
        .filter(|_| ![by_id, by_subject].contains(&pg_sys::InvalidOid))
        .map(|table| Indexes { table, by_id, by_subject });
    cache.indexes.set(found);
    found.unwrap_or_else(|| PiiError::NoDataKeys.raise())
}
