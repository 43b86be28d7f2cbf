//! Rotation of the keyring: wrapping the data keys under its active key. The data stays as it is.
//!
//! `CALL thorbis.rotate_keys()` calls these functions batch by batch and commits in between: it can be stopped at any
//! time and goes on where it was. `thorbis.key_rotations` shows how far it is.

use crate::access::invalidation::{self, Relation, Watched};
use crate::deploy::error::DeployError;
use crate::domain::keyring::DataKeyName;
use crate::pg::error::{SqlError, required};
use crate::pg::identity::{self, ActingAs};
use crate::pg::sql::{self, column, query, query_one};
use crate::pg::uuid as pg_uuid;
use crate::pii::error::{KeyringError, PiiError};
use crate::pii::{keyring, random};
use pgrx::prelude::*;

/// Rows (key_id, state, data_keys, source): the keys of the keyring and those that data keys are wrapped by.
#[pg_extern(sql = false)]
fn keyring_status() -> TableIterator<
    'static,
    (name!(key_id, String), name!(state, &'static str), name!(data_keys, i64), name!(source, Option<String>)),
> {
    let table = require_operator("thorbis.keyring_status()");
    let ring = keyring::latest();
    let _identity = ActingAs::owner(table.owner);
    let used = query("SELECT keyring_key, count(*) FROM thorbis.data_keys GROUP BY 1", &[], |row| {
        (column::<String>(row, 1), column::<i64>(row, 2))
    });
    let count = |id: &str| used.iter().find(|(key, _)| key == id).map_or(0, |(_, count)| *count);
    let source = keyring::source_name();
    let mut rows: Vec<_> = ring
        .ids()
        .map(|id| {
            let state = if id == ring.active() { "active" } else { "available" };
            (id.to_owned(), state, count(id), Some(source.clone()))
        })
        .collect();
    let missing = used.iter().filter(|(id, _)| !ring.has(id));
    rows.extend(missing.map(|(id, count)| (id.clone(), "missing", *count, None)));
    TableIterator::new(rows)
}

/// Notes a rotation and has every session read the keyring again. Returns its id.
#[pg_extern(sql = false)]
fn begin_key_rotation() -> pgrx::Uuid {
    let table = require_operator("thorbis.rotate_keys()");
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
    invalidation::announce();
    id
}

/// Wraps up to `batch_size` data keys anew. Returns how many; 0 when none is left, or others hold the rest.
#[pg_extern(sql = false)]
fn rewrap_data_keys(rotation: Option<pgrx::Uuid>, batch_size: Option<i32>) -> i64 {
    let table = require_operator("thorbis.rotate_keys()");
    let (rotation, batch) = (required("rotation", rotation), required("batch_size", batch_size));
    if !(1..=100_000).contains(&batch) {
        PiiError::BatchSize.raise();
    }
    let _identity = ActingAs::owner(table.owner);
    let done = rewrap(batch, "SKIP LOCKED");
    note(rotation, done, false);
    done
}

/// The end: waits for transactions that made data keys under an older keyring, and wraps theirs too.
#[pg_extern(sql = false)]
fn finish_key_rotation(rotation: Option<pgrx::Uuid>) -> i64 {
    let table = require_operator("thorbis.rotate_keys()");
    let rotation = required("rotation", rotation);
    let _identity = ActingAs::owner(table.owner);
    sql::run_utility("LOCK TABLE thorbis.data_keys IN SHARE ROW EXCLUSIVE MODE");
    let mut done = 0;
    while let more @ 1.. = rewrap(1000, "") {
        done += more;
    }
    note(rotation, done, true);
    done
}

fn rewrap(batch: i32, when_locked: &str) -> i64 {
    let ring = keyring::latest();
    let rows = Spi::connect_mut(|client| {
        let select = format!(
            "SELECT id, tenant_id, subject_kind, subject_id, keyring_key, wrapped FROM thorbis.data_keys
              WHERE keyring_key <> $1 LIMIT $2 FOR UPDATE {when_locked}"
        );
        let found = client.update(&select, None, &[ring.active().into(), batch.into()]);
        let found = found.unwrap_or_else(|e| pgrx::error!("{e}"));
        found
            .map(|row| {
                let uuid = |i| pg_uuid::from_pgrx(column(&row, i));
                (
                    uuid(1),
                    uuid(2),
                    column::<String>(&row, 3),
                    uuid(4),
                    column::<String>(&row, 5),
                    column::<Vec<u8>>(&row, 6),
                )
            })
            .collect::<Vec<_>>()
    });
    let (mut ids, mut wrapped) = (Vec::new(), Vec::new());
    for (id, tenant, subject_kind, subject, with, old) in &rows {
        let name = DataKeyName { id: *id, tenant: *tenant, subject_kind, subject: *subject };
        if !ring.has(with) {
            KeyringError::VersionGone { id: with.clone(), from: keyring::source_name() }.raise();
        }
        let secret = ring.unwrap(with, name, old).unwrap_or_else(|_| PiiError::NotDecrypted.raise());
        ids.push(pg_uuid::to_pgrx(*id));
        wrapped.push(ring.wrap(&random::bytes(), name, &secret));
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

fn require_operator(function: &'static str) -> Relation {
    if !identity::operates_all_tenants() {
        DeployError::NotOperator { function }.raise();
    }
    invalidation::relation(Watched::DataKeys).unwrap_or_else(|| PiiError::NoDataKeys.raise())
}
