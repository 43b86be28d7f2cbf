//! Rotation of the keyring: wrapping the data keys under its active key. The data stays as it is.
//!
//! `CALL thorbis.rotate_keys()` calls these functions batch by batch and commits in between: it can be stopped at any
//! time and goes on where it was. `thorbis.key_rotations` shows how far it is.

use crate::access::invalidation::{self, Relation, Watched};
use crate::audit::events;
use crate::deploy::error::DeployError;
use crate::domain::keyring::DataKeyName;
use crate::pg::error::{SqlError, required};
use crate::pg::identity::{self, ActingAs};
use crate::pg::raw;
use crate::pg::settings_scope::SettingsScope;
use crate::pg::sql::{self, column, query, query_one};
use crate::pg::uuid as pg_uuid;
use crate::pii::error::{KeyringError, PiiError};
use crate::pii::{keyring, random};
use pgrx::prelude::*;
use serde_json::json;

/// Rows (key_id, state, data_keys, source): the keys of the keyring and those that data keys are wrapped by.
#[pg_extern(sql = false)]
fn keyring_status() -> TableIterator<
    'static,
    (name!(key_id, String), name!(state, &'static str), name!(data_keys, i64), name!(source, Option<String>)),
> {
    let table = require_operator("thorbis.keyring_status()");
    let (ring, used) = (keyring::latest(), used_keys(table));
    let source = keyring::source_name();
    let unused = ring.ids().filter(|id| !used.iter().any(|key| key.id == *id));
    let unused = unused.map(|id| UsedKey { id: id.to_owned(), data_keys: 0, state: KeyState::Good });
    let mut rows: Vec<_> = unused
        .chain(used.iter().cloned())
        .map(|key| {
            let state = match key.state {
                KeyState::Good if key.id == ring.active() => "active",
                KeyState::Good => "available",
                KeyState::Missing => "missing",
                KeyState::Wrong => "wrong",
            };
            let source = (key.state != KeyState::Missing).then(|| source.clone());
            (key.id, state, key.data_keys, source)
        })
        .collect();
    rows.sort();
    TableIterator::new(rows)
}

/// Whether a key of the keyring opens the data keys that name it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum KeyState {
    Good,
    Missing,
    /// Another key has the id: the keyring of another server, say.
    Wrong,
}

#[derive(Clone)]
struct UsedKey {
    id: String,
    data_keys: i64,
    state: KeyState,
}

/// The keys that data keys are wrapped by. One data key of each is tried.
fn used_keys(table: Relation) -> Vec<UsedKey> {
    let ring = keyring::latest();
    let _identity = ActingAs::owner(table.owner);
    let used = query("SELECT keyring_key, count(*) FROM thorbis.data_keys GROUP BY 1", &[], |row| {
        (column::<String>(row, 1), column::<i64>(row, 2))
    });
    let state = |id: &str| {
        let sample = "SELECT id, tenant_id, subject_kind, subject_id, keyring_key, wrapped FROM thorbis.data_keys
                       WHERE keyring_key = $1 LIMIT 1";
        match query_one(sample, &[id.into()], Wrapped::of) {
            _ if !ring.has(id) => KeyState::Missing,
            Some(data_key) if ring.unwrap(id, data_key.name(), &data_key.wrapped).is_err() => KeyState::Wrong,
            _ => KeyState::Good,
        }
    };
    used.into_iter().map(|(id, data_keys)| UsedKey { state: state(&id), id, data_keys }).collect()
}

/// What is wrong with the keys that data keys are wrapped by, in words: for the doctor.
pub fn unusable_keys() -> Vec<String> {
    let Some(table) = invalidation::relation(Watched::DataKeys) else { return Vec::new() };
    let of = |key: &UsedKey| format!("key \"{}\", which wraps {} data keys,", key.id, key.data_keys);
    used_keys(table)
        .iter()
        .filter_map(|key| match key.state {
            KeyState::Good => None,
            KeyState::Missing => Some(format!("{} is not in the keyring", of(key))),
            KeyState::Wrong => Some(format!("{} is another one in the keyring", of(key))),
        })
        .collect()
}

/// A data key as it is stored.
struct Wrapped {
    id: uuid::Uuid,
    tenant: uuid::Uuid,
    subject_kind: String,
    subject: uuid::Uuid,
    with: String,
    wrapped: Vec<u8>,
}

impl Wrapped {
    fn of(row: &pgrx::spi::SpiHeapTupleData) -> Wrapped {
        let uuid = |i| pg_uuid::from_pgrx(column(row, i));
        let (id, tenant, subject) = (uuid(1), uuid(2), uuid(4));
        Wrapped { id, tenant, subject_kind: column(row, 3), subject, with: column(row, 5), wrapped: column(row, 6) }
    }

    fn name(&self) -> DataKeyName<'_> {
        DataKeyName { id: self.id, tenant: self.tenant, subject_kind: &self.subject_kind, subject: self.subject }
    }
}

/// Notes a rotation and has every session ask for the keyring again before it makes a data key. Returns its id.
#[pg_extern(sql = false)]
fn begin_key_rotation() -> pgrx::Uuid {
    let table = begin_step();
    let ring = keyring::latest();
    let _identity = ActingAs::owner(table.owner);
    // A version that is gone is better told now than after half of the batches.
    let missing = "SELECT keyring_key FROM thorbis.data_keys WHERE NOT keyring_key = ANY ($1) LIMIT 1";
    let known: Vec<String> = ring.ids().map(str::to_owned).collect();
    if let Some(id) = query_one(missing, &[known.into()], |row| column::<String>(row, 1)) {
        KeyringError::VersionGone { id, from: keyring::source_name() }.raise();
    }
    let id = pg_uuid::to_pgrx(uuid::Builder::from_random_bytes(random::bytes()).into_uuid());
    sql::run(
        "INSERT INTO thorbis.key_rotations (id, to_key, total, started_by)
         SELECT $1, $2, count(*) FILTER (WHERE keyring_key <> $2), session_user FROM thorbis.data_keys",
        &[id.into(), ring.active().into()],
    );
    invalidation::announce_rotation();
    events::record(
        None,
        "key_rotation.begin",
        "thorbis.data_keys",
        json!({"id": id.to_string(), "to_key": ring.active()}),
    );
    id
}

/// Wraps up to `batch_size` data keys anew. Returns how many; 0 when none is left, or others hold the rest.
#[pg_extern(sql = false)]
fn rewrap_data_keys(rotation: Option<pgrx::Uuid>, batch_size: Option<i32>) -> i64 {
    let table = begin_step();
    let (rotation, batch) = (required("rotation", rotation), required("batch_size", batch_size));
    if !(1..=100_000).contains(&batch) {
        PiiError::BatchSize.raise();
    }
    let _identity = ActingAs::owner(table.owner);
    let done = rewrap(batch, Some(rotation));
    note(rotation, done, false);
    done
}

/// The end: waits for transactions that made data keys under an older keyring, and wraps theirs too.
#[pg_extern(sql = false)]
fn finish_key_rotation(rotation: Option<pgrx::Uuid>) -> i64 {
    let table = begin_step();
    let rotation = required("rotation", rotation);
    let _identity = ActingAs::owner(table.owner);
    // Whoever writes about a new person waits behind this lock: it waits for open transactions no longer than a deployment.
    let settings = SettingsScope::pinned_path();
    settings.set("lock_timeout", crate::deploy::engine::LOCK_TIMEOUT);
    sql::run_utility("LOCK TABLE thorbis.data_keys IN SHARE ROW EXCLUSIVE MODE");
    let mut done = 0;
    while let more @ 1.. = rewrap(1000, None) {
        done += more;
    }
    note(rotation, done, true);
    events::record(None, "key_rotation.finish", "thorbis.data_keys", json!({"id": rotation.to_string()}));
    done
}

/// One batch. In a rotation, the next ones by id, without those that are locked; else all that are left.
fn rewrap(batch: i32, rotation: Option<pgrx::Uuid>) -> i64 {
    let ring = keyring::latest();
    let rows = Spi::connect_mut(|client| {
        let select = match rotation {
            Some(_) => {
                "SELECT id, tenant_id, subject_kind, subject_id, keyring_key, wrapped FROM thorbis.data_keys
                  WHERE keyring_key <> $1 AND id > (SELECT r.last_id FROM thorbis.key_rotations r WHERE r.id = $3)
                  ORDER BY id LIMIT $2 FOR NO KEY UPDATE SKIP LOCKED"
            }
            None => {
                "SELECT id, tenant_id, subject_kind, subject_id, keyring_key, wrapped FROM thorbis.data_keys
                  WHERE keyring_key <> $1 AND $3 IS NULL LIMIT $2 FOR NO KEY UPDATE"
            }
        };
        let found = client.update(select, None, &[ring.active().into(), batch.into(), rotation.into()]);
        let found = found.unwrap_or_else(|e| pgrx::error!("{e}"));
        found.map(|row| Wrapped::of(&row)).collect::<Vec<_>>()
    });
    let (mut ids, mut wrapped) = (Vec::new(), Vec::new());
    for data_key in &rows {
        let with = &data_key.with;
        if !ring.has(with) {
            KeyringError::VersionGone { id: with.clone(), from: keyring::source_name() }.raise();
        }
        let secret = ring.unwrap(with, data_key.name(), &data_key.wrapped);
        let wrong = |_| KeyringError::WrongKey { id: with.clone(), data_key: data_key.id }.raise();
        let secret = secret.unwrap_or_else(wrong);
        ids.push(pg_uuid::to_pgrx(data_key.id));
        wrapped.push(ring.wrap(&random::bytes(), data_key.name(), &secret));
    }
    if let (Some(rotation), Some(last)) = (rotation, rows.last()) {
        let last = pg_uuid::to_pgrx(last.id);
        sql::run("UPDATE thorbis.key_rotations SET last_id = $2 WHERE id = $1", &[rotation.into(), last.into()]);
    }
    if !ids.is_empty() {
        sql::run(
            "UPDATE thorbis.data_keys k SET keyring_key = $1, wrapped = n.wrapped
               FROM unnest($2, $3) AS n(id, wrapped) WHERE k.id = n.id",
            &[ring.active().into(), ids.into(), wrapped.into()],
        );
    }
    rows.len() as i64
}

fn note(rotation: pgrx::Uuid, done: i64, finished: bool) {
    sql::run(
        "UPDATE thorbis.key_rotations
            SET done = done + $2, updated_at = clock_timestamp(), finished_at = CASE WHEN $3 THEN clock_timestamp() END
          WHERE id = $1",
        &[rotation.into(), done.into(), finished.into()],
    );
}

/// A step of a rotation. Under one snapshot for the whole transaction it would not see what it waited for.
fn begin_step() -> Relation {
    if raw::one_snapshot_per_transaction() {
        PiiError::RotationIsolation.raise();
    }
    require_operator("thorbis.rotate_keys()")
}

fn require_operator(function: &'static str) -> Relation {
    if !identity::operates_all_tenants() {
        DeployError::NotOperator { function }.raise();
    }
    invalidation::relation(Watched::DataKeys).unwrap_or_else(|| PiiError::NoDataKeys.raise())
}
