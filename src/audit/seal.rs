//! `audit.seal()`: hashes of what the log holds, chained.
//!
//! Only transactions that are over are sealed: those below the oldest that still runs. So no row can appear later among
//! sealed ones, and writers wait for nothing.

use crate::access::invalidation;
use crate::audit::error::AuditError;
use crate::audit::leaf::{self, Change};
use crate::deploy::error::DeployError;
use crate::domain::merkle::{Hash256, Tree};
use crate::domain::seal::{self, Header, Kind, Month};
use crate::pg::cursor::{self, EPOCH_DAYS, EPOCH_MICROS, FreshSnapshot, Row};
use crate::pg::error::{OrRaise, SqlError};
use crate::pg::identity::{self, ActingAs};
use crate::pg::settings_scope::SettingsScope;
use crate::pg::{raw, sql};
use crate::pii::random;
use pgrx::datum::{Date, DatumWithOid};
use pgrx::prelude::*;
use std::collections::BTreeMap;

/// After about so many rows a seal ends: what a proof has to read, at most, but for larger transactions.
const ROWS_OF_A_SEAL: i64 = 100_000;

/// The columns that `header` reads, in this order.
pub const HEADER: &str = "s.number, s.kind, s.system_id, s.from_transaction, s.to_transaction, s.month, s.row_count, \
                          s.root, s.sealed_at, s.previous_hash";
/// How many those are.
pub const HEADER_COLUMNS: i32 = 10;

/// Rows (seal, month, row_count): the seals that were made.
#[pg_extern(sql = false)]
fn seal_audit() -> TableIterator<'static, (name!(seal, i64), name!(month, Date), name!(row_count, i64))> {
    require_operator("audit.seal()");
    TableIterator::new(seal().into_iter().map(|seal| (seal.number, date(seal.month), seal.row_count)))
}

/// One row (last_seal, sealed_at, sealed_rows, unsealed_rows, oldest_unsealed): how far the log is sealed.
#[pg_extern(sql = false)]
#[allow(clippy::type_complexity)]
fn get_chain_status() -> TableIterator<
    'static,
    (
        name!(last_seal, Option<i64>),
        name!(sealed_at, Option<TimestampWithTimeZone>),
        name!(sealed_rows, i64),
        name!(unsealed_rows, i64),
        name!(oldest_unsealed, Option<TimestampWithTimeZone>),
    ),
> {
    require_operator("audit.v_chain_status");
    let seals = invalidation::named("audit", "seals").ok_or(AuditError::NoLog).or_raise();
    let _settings = SettingsScope::pinned_path();
    let _identity = ActingAs::owner(seals.owner);
    let query = format!(
        "SELECT l.number, l.sealed_at, t.row_count, u.row_count, u.oldest
           FROM (SELECT coalesce(sum(CASE s.kind WHEN 'rows' THEN s.row_count ELSE - s.row_count END), 0)::bigint
                   FROM audit.seals s) t(row_count)
          CROSS JOIN (SELECT count(*), min(c.occurred_at) FROM audit.change_log c WHERE {}) u(row_count, oldest)
           LEFT JOIN (SELECT s.number, s.sealed_at FROM audit.seals s ORDER BY s.number DESC LIMIT 1) l ON true",
        unsealed(&sealed(), None)
    );
    let status = |row: &Row| {
        let time = |column| row.datum(column).and_then(|time| (time.value() as i64).try_into().ok());
        (row.datum(1).map(|_| row.bigint(1)), time(2), row.bigint(3), row.bigint(4), time(5))
    };
    TableIterator::new(cursor::collect(&query, status))
}

/// Raises 42501 unless the caller operates all tenants.
pub fn require_operator(function: &'static str) {
    if !identity::operates_all_tenants() {
        DeployError::NotOperator { function }.raise();
    }
}

/// Seals all that can be sealed.
pub fn seal() -> Vec<Header> {
    let mut chain = Chain::lock();
    let (own, sealed) = (own_system(), sealed());
    let over = "SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint";
    let over = cursor::collect(over, |row| row.bigint(1)).pop().unwrap_or(0);
    let foreign = format!("SELECT DISTINCT c.system_id FROM audit.change_log c WHERE {}", unsealed(&sealed, Some(own)));
    let mut made = Vec::new();
    for system in cursor::collect(&foreign, |row| row.bigint(1)) {
        let all = (sealed.get(&system).copied().unwrap_or(0), None);
        chain.seal(system, all, &mut made);
    }
    chain.seal(own, (sealed.get(&own).copied().unwrap_or(0), Some(over)), &mut made);
    made
}

/// The cluster this is, as its rows name it.
pub fn own_system() -> i64 {
    // SAFETY: reads the control file's copy in shared memory.
    unsafe { pg_sys::GetSystemIdentifier() as i64 }
}

/// Until which transaction each cluster's rows are sealed, exclusive. The index is skipped through: seals are many.
pub fn sealed() -> BTreeMap<i64, i64> {
    let query = "WITH RECURSIVE systems(id) AS (
                     SELECT min(s.system_id) FROM audit.seals s
                     UNION ALL
                     SELECT (SELECT min(s.system_id) FROM audit.seals s WHERE s.system_id > systems.id)
                       FROM systems WHERE systems.id IS NOT NULL)
                 SELECT systems.id, (SELECT max(s.to_transaction) FROM audit.seals s WHERE s.system_id = systems.id)
                   FROM systems WHERE systems.id IS NOT NULL";
    cursor::collect(query, |row| (row.bigint(1), row.bigint(2))).into_iter().collect()
}

/// Rows of `audit.change_log c` that no seal covers yet, but for those of cluster `except`. Ranges of numbers throughout, so
/// that the small indexes serve it.
pub fn unsealed(sealed: &BTreeMap<i64, i64>, except: Option<i64>) -> String {
    let mut known: BTreeMap<i64, Option<i64>> = sealed.iter().map(|(system, until)| (*system, Some(*until))).collect();
    known.extend(except.map(|system| (system, None)));
    let (mut conditions, mut above) = (Vec::new(), "true".to_owned());
    for (system, until) in known {
        conditions.push(format!("{above} AND c.system_id < {system}"));
        conditions.extend(until.map(|until| format!("c.system_id = {system} AND c.transaction_id >= {until}")));
        above = format!("c.system_id > {system}");
    }
    conditions.push(above);
    format!("({})", conditions.join(" OR "))
}

/// The end of the chain of seals, to which nobody else adds until the transaction ends. Acts as the owner of the seals, and
/// sees what was committed when the lock was got, for as long as it lives.
pub struct Chain {
    number: i64,
    hash: Hash256,
    // Given back in this order.
    _snapshot: FreshSnapshot,
    _identity: ActingAs,
    _settings: SettingsScope,
}

impl Chain {
    /// Waits for others who add to the chain. Whoever writes to the log waits for nobody.
    pub fn lock() -> Chain {
        if raw::one_snapshot_per_transaction() {
            AuditError::Isolation { what: "audit.seal()" }.raise();
        }
        let seals = invalidation::named("audit", "seals").ok_or(AuditError::NoLog).or_raise();
        // A restore makes keys after all rows are there: rows that came after their seal would seem to be added.
        if !sql::exists("SELECT 1 FROM pg_index WHERE indrelid = $1 AND indisprimary", &[seals.oid.into()]) {
            AuditError::Restoring.raise();
        }
        identity::lock_relation(seals.oid, pg_sys::ShareRowExclusiveLock);
        let settings = SettingsScope::pinned_path();
        let identity = ActingAs::owner(seals.owner);
        let snapshot = FreshSnapshot::take();
        let last = "SELECT s.number, s.hash FROM audit.seals s ORDER BY s.number DESC LIMIT 1";
        let end = |row: &Row| (row.bigint(1), Hash256::from_slice(&row.bytes(2)).unwrap_or(Hash256::ZERO));
        let (number, hash) = cursor::collect(last, end).pop().unwrap_or((0, Hash256::ZERO));
        Chain { number, hash, _snapshot: snapshot, _identity: identity, _settings: settings }
    }

    /// Seals the rows of a cluster from a transaction on, until another, exclusive, or all there are.
    fn seal(&mut self, system: i64, (from, until): (i64, Option<i64>), made: &mut Vec<Header>) {
        let condition = format!(
            "c.system_id = {system} AND c.transaction_id >= {from} AND c.transaction_id < {}",
            until.unwrap_or(i64::MAX)
        );
        let mut batch = Batch::from(from);
        leaf::changes(&condition, |change| {
            if batch.rows >= ROWS_OF_A_SEAL && change.transaction > batch.last {
                let next = Batch::from(batch.last + 1);
                self.add(system, std::mem::replace(&mut batch, next), None, made);
            }
            batch.push(&change);
        });
        self.add(system, batch, until, made);
    }

    /// One seal for each month of the batch.
    fn add(&mut self, system: i64, batch: Batch, until: Option<i64>, made: &mut Vec<Header>) {
        let to = until.unwrap_or(batch.last.saturating_add(1));
        for (month, Rows { blinding_key, tree }) in batch.months {
            let header = Header {
                number: self.number + 1,
                kind: Kind::Rows,
                system_id: system,
                from_transaction: batch.from,
                to_transaction: to,
                month,
                row_count: tree.size() as i64,
                root: tree.root(),
                sealed_at: now(),
                previous_hash: self.hash,
            };
            self.append(&header, &blinding_key);
            made.push(header);
        }
    }

    /// The rows of a month, all of them sealed, are about to be dropped.
    pub fn add_tombstone(&mut self, month: Month, row_count: i64) {
        let roots = format!(
            "SELECT s.root FROM audit.seals s WHERE s.kind = 'rows' AND s.month = '{month}'::date ORDER BY s.number"
        );
        let root = |row: &Row| Hash256::from_slice(&row.bytes(1)).unwrap_or(Hash256::ZERO);
        let header = Header {
            number: self.number + 1,
            kind: Kind::Tombstone,
            system_id: 0,
            from_transaction: 0,
            to_transaction: 0,
            month,
            row_count,
            root: cursor::collect(&roots, root).into_iter().collect::<Tree>().root(),
            sealed_at: now(),
            previous_hash: self.hash,
        };
        self.append(&header, &[]);
    }

    fn append(&mut self, header: &Header, blinding_key: &[u8]) {
        let bytes = |bytes: &[u8]| DatumWithOid::from(bytes.to_vec());
        // SAFETY: microseconds since 2000 are what a timestamptz is.
        let sealed_at =
            unsafe { DatumWithOid::new(pg_sys::Datum::from(header.sealed_at - EPOCH_MICROS), pg_sys::TIMESTAMPTZOID) };
        sql::run(
            "INSERT INTO audit.seals (number, kind, system_id, from_transaction, to_transaction, month, row_count, root,
                                      blinding_key, sealed_at, previous_hash, hash)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)",
            &[
                header.number.into(),
                header.kind.to_string().into(),
                header.system_id.into(),
                header.from_transaction.into(),
                header.to_transaction.into(),
                date(header.month).into(),
                header.row_count.into(),
                bytes(&header.root.0),
                bytes(blinding_key),
                sealed_at,
                bytes(&header.previous_hash.0),
                bytes(&header.hash().0),
            ],
        );
        (self.number, self.hash) = (header.number, header.hash());
    }
}

/// Rows that are sealed together: whole transactions.
struct Batch {
    from: i64,
    last: i64,
    rows: i64,
    months: BTreeMap<Month, Rows>,
}

/// Those of one month.
struct Rows {
    blinding_key: [u8; 32],
    tree: Tree,
}

impl Batch {
    fn from(from: i64) -> Batch {
        Batch { from, last: from, rows: 0, months: BTreeMap::new() }
    }

    fn push(&mut self, change: &Change) {
        let new = || Rows { blinding_key: random::bytes(), tree: Tree::default() };
        let rows = self.months.entry(Month::of(change.occurred_at)).or_insert_with(new);
        let blind = seal::blind(&rows.blinding_key, change.id.as_bytes());
        rows.tree.push(seal::leaf(blind, change.digest));
        self.last = change.transaction;
        self.rows += 1;
    }
}

/// The header of a seal, from the columns of `HEADER`; None when it holds what no seal of ours does.
pub fn header(row: &Row) -> Option<Header> {
    let month = Month::of_day(row.unix_day(6));
    Some(Header {
        number: row.bigint(1),
        kind: row.text(2).parse().ok()?,
        system_id: row.bigint(3),
        from_transaction: row.bigint(4),
        to_transaction: row.bigint(5),
        month: Some(month).filter(|month| month.first_day() == row.unix_day(6))?,
        row_count: row.bigint(7),
        root: Hash256::from_slice(&row.bytes(8))?,
        sealed_at: row.unix_micros(9),
        previous_hash: Hash256::from_slice(&row.bytes(10))?,
    })
}

/// Microseconds since 1970.
fn now() -> i64 {
    // SAFETY: reads the clock.
    unsafe { pg_sys::GetCurrentTimestamp() + EPOCH_MICROS }
}

fn date(month: Month) -> Date {
    // SAFETY: any number of days is a date that PostgreSQL can store.
    unsafe { Date::from_pg_epoch_days((month.first_day() - EPOCH_DAYS) as i32) }
}
