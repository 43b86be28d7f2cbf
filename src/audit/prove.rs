//! `audit.prove()`: that one change stands in the sealed log, for somebody who has no access to the database.
//!
//! The path is made from all rows of the seal, of whichever tenant; what leaves the database of other tenants are hashes that
//! tell nothing without their blinds.

use crate::access::functions::require;
use crate::access::invalidation;
use crate::audit::error::AuditError;
use crate::audit::leaf;
use crate::audit::seal::{self, HEADER, HEADER_COLUMNS};
use crate::context::current;
use crate::domain::merkle::{Hash256, Path};
use crate::domain::proof::{FORMAT, Proof, VERSION};
use crate::domain::seal::{Header, Month, blind, leaf as leaf_of};
use crate::pg::cursor::{self, EPOCH_MICROS};
use crate::pg::error::{OrRaise, SqlError, required};
use crate::pg::function::written;
use crate::pg::identity::{self, ActingAs};
use crate::pg::settings_scope::SettingsScope;
use crate::pg::uuid as pg_uuid;
use pgrx::prelude::*;
use uuid::Uuid;

/// A proof with more seals than this would be larger than a value of PostgreSQL may be.
const MOST_SEALS: i64 = 100_000;
const DAY_MICROS: i64 = 86_400_000_000;
/// In the year 8307.
const LAST_MICROS: i64 = 200_000_000_000_000_000;

#[derive(Debug, thiserror::Error)]
enum ProveError {
    #[error("seal {0} does not match its rows")]
    NotAsSealed(i64),
    #[error("the seal with that hash is missing, or older than seal {0}, which covers the change")]
    Root(i64),
    #[error("there are more than {MOST_SEALS} seals between the change and that hash")]
    TooFar,
}

impl SqlError for ProveError {
    fn code(&self) -> PgSqlErrorCode {
        match self {
            Self::NotAsSealed(_) => PgSqlErrorCode::ERRCODE_DATA_CORRUPTED,
            Self::Root(_) => PgSqlErrorCode::ERRCODE_INVALID_PARAMETER_VALUE,
            Self::TooFar => PgSqlErrorCode::ERRCODE_PROGRAM_LIMIT_EXCEEDED,
        }
    }

    fn hint(&self) -> String {
        match self {
            Self::NotAsSealed(_) => "SELECT * FROM audit.verify(); says what was changed.".into(),
            Self::Root(_) => "Take a hash that audit.roots showed after the change was sealed.".into(),
            Self::TooFar => "Take a hash that was exported earlier.".into(),
        }
    }
}

/// The proof of a change of the current tenant; of any tenant's for those who operate all and act for none.
#[pg_extern(sql = false)]
fn prove_audit(id: Option<pgrx::Uuid>, root: Option<&[u8]>) -> pgrx::JsonB {
    require("audit", "read");
    let id = pg_uuid::from_pgrx(required("id", id));
    let tenant = current::get().tenant;
    if tenant.is_none() && !identity::operates_all_tenants() {
        AuditError::NoChange.raise();
    }
    let log = invalidation::named("audit", "change_log").ok_or(AuditError::NoLog).or_raise();
    let settings = SettingsScope::pinned_path();
    settings.set("datestyle", "ISO");
    let _identity = ActingAs::owner(log.owner);
    let row = find(tenant, id).unwrap_or_else(|| AuditError::NoChange.raise());
    let (seal, blinding_key) = seal_of(&row).unwrap_or_else(|| AuditError::NotSealed.raise());
    let (leaf_index, path) = path(&row, &seal, &blinding_key);
    let later_seals = root.map(|root| seals_until(&seal, root)).unwrap_or_default();
    let blind = blind(&blinding_key, id.as_bytes());
    let proof =
        Proof { format: FORMAT.into(), version: VERSION, row: row.columns, blind, leaf_index, path, seal, later_seals };
    // What was changed since it was sealed is no proof, and for the recipient it would look like a forged one.
    if proof.check(root.and_then(Hash256::from_slice)).is_err() {
        ProveError::NotAsSealed(seal.number).raise();
    }
    pgrx::JsonB(serde_json::to_value(&proof).unwrap_or_else(|e| pgrx::error!("{e}")))
}

struct Found {
    id: Uuid,
    month: Month,
    system: i64,
    transaction: i64,
    columns: Vec<(String, Option<String>)>,
}

/// The time in front of the id is that of the row, to the millisecond: one partition and, with the tenant, the primary key.
fn find(tenant: Option<Uuid>, id: Uuid) -> Option<Found> {
    let milliseconds = (id.as_u128() >> 80) as i64;
    let of_tenant = tenant.map_or_else(String::new, |tenant| format!("c.tenant_id = '{tenant}' AND"));
    let query = format!(
        "SELECT {} FROM audit.change_log c
          WHERE {of_tenant} c.occurred_at >= {} AND c.occurred_at < {} AND c.id = '{id}'",
        leaf::columns(),
        time(milliseconds * 1000),
        time((milliseconds + 1) * 1000)
    );
    let found = |row: &cursor::Row| Found {
        id,
        month: Month::of(row.unix_micros(2)),
        system: row.bigint(4),
        transaction: row.bigint(5),
        columns: leaf::texts(row),
    };
    cursor::collect(&query, found).pop()
}

/// The seal that covers the row, and its blinding key.
fn seal_of(row: &Found) -> Option<(Header, Vec<u8>)> {
    let query = format!(
        "SELECT {HEADER}, s.blinding_key FROM audit.seals s
          WHERE s.kind = 'rows' AND s.system_id = {} AND s.month = '{}'::date
            AND s.from_transaction <= {transaction} AND s.to_transaction > {transaction}
          ORDER BY s.to_transaction LIMIT 1",
        row.system,
        row.month,
        transaction = row.transaction
    );
    let seal = |row: &cursor::Row| {
        let number = row.bigint(1);
        let header = seal::header(row).unwrap_or_else(|| ProveError::NotAsSealed(number).raise());
        (header, row.bytes(HEADER_COLUMNS + 1))
    };
    cursor::collect(&query, seal).pop()
}

/// The place of the row among those of its seal, and the path from there to the root.
fn path(row: &Found, seal: &Header, blinding_key: &[u8]) -> (u64, Vec<Hash256>) {
    let of_seal = format!(
        "c.occurred_at >= {} AND c.occurred_at < {} AND c.system_id = {}
         AND c.transaction_id >= {} AND c.transaction_id < {}",
        time(seal.month.first_day() * DAY_MICROS),
        time(seal.month.next().first_day() * DAY_MICROS),
        seal.system_id,
        seal.from_transaction,
        seal.to_transaction
    );
    let before = format!(
        "SELECT count(*) FROM audit.change_log c WHERE {of_seal} AND (c.transaction_id, c.id) < ({}, '{}'::uuid)",
        row.transaction, row.id
    );
    let index = cursor::collect(&before, |row| row.bigint(1)).pop().unwrap_or(0) as u64;
    let mut path = Path::new(index, u64::try_from(seal.row_count).unwrap_or(0));
    leaf::changes(&of_seal, |change| path.push(leaf_of(blind(blinding_key, change.id.as_bytes()), change.digest)));
    (index, path.finish())
}

/// The seals after this one until the one with the hash.
fn seals_until(seal: &Header, root: &[u8]) -> Vec<Header> {
    let root: String = root.iter().take(32).map(|byte| format!("{byte:02x}")).collect();
    let number = format!("SELECT s.number FROM audit.seals s WHERE s.hash = decode('{root}', 'hex')");
    let last = cursor::collect(&number, |row| row.bigint(1)).pop().filter(|last| *last >= seal.number);
    let last = last.unwrap_or_else(|| ProveError::Root(seal.number).raise());
    if last - seal.number > MOST_SEALS {
        ProveError::TooFar.raise();
    }
    let query = format!(
        "SELECT {HEADER} FROM audit.seals s WHERE s.number > {} AND s.number <= {last} ORDER BY s.number",
        seal.number
    );
    cursor::collect(&query, |row| seal::header(row).unwrap_or_else(|| ProveError::NotAsSealed(row.bigint(1)).raise()))
}

/// A time in SQL text: a constant, so that the planner knows the partition. `datestyle` is ISO.
fn time(unix_micros: i64) -> String {
    // What lies beyond is in no row: then it is a time without any.
    let micros = unix_micros.clamp(0, LAST_MICROS) - EPOCH_MICROS;
    // SAFETY: a time between 1970 and 8307.
    let text = unsafe { written(pg_sys::Datum::from(micros), pg_sys::TIMESTAMPTZOID) };
    format!("'{text}'::timestamptz")
}
