//! Counts, in `shared.number_counters`.
//!
//! A count without gaps is one row (block 0), updated in the transaction that uses the number: others wait for its end, and
//! a rollback takes the number back.
//!
//! Where gaps do no harm nobody waits for a transaction. The numbers are divided into blocks, each with a row; whoever finds
//! a row locked takes the next one, and where all are locked, opens a block. Blocks that a transaction has opened and not
//! committed yet are found with a look at what is in progress, under a lock that is held for that moment only. A single
//! session fills one block after the other.
//!
//! A block without a row has not been used, unless it is below all rows: rows that are used up are deleted from the lowest
//! one upwards, and only as far as one block follows the other.

use crate::access::invalidation::{self, Relation};
use crate::documents::error::NumberError;
use crate::domain::numbering::{BLOCK_SIZE, block_of, first_of, last_of};
use crate::pg::error::SqlError;
use crate::pg::fresh::{self, Arg};
use crate::pg::index_lookup::{Key as Column, is_taken};
use crate::pg::private_lock::{self, Key, Space, Taken};
use crate::pg::raw;
use pgrx::pg_sys;
use uuid::Uuid;

/// The count without gaps.
const GAP_FREE: i64 = 0;
/// How far a number that somebody gives may be ahead for the count to follow it.
const LEAP: i64 = 10_000;

/// The columns of `shared.number_counters`.
const TENANT: i16 = 1;
const SERIES: i16 = 3;
const LOCATION: i16 = 4;
const SCOPE: i16 = 5;
const BLOCK: i16 = 6;

/// The number used, where the row exists.
const NEXT: &str = "
UPDATE shared.number_counters c
   SET next_value = GREATEST(c.next_value, (SELECT pg_catalog.max(b.next_value) FROM shared.number_counters b
           WHERE b.tenant_id OPERATOR(pg_catalog.=) $1 AND b.series OPERATOR(pg_catalog.=) $2
             AND b.location_id OPERATOR(pg_catalog.=) $3 AND b.scope OPERATOR(pg_catalog.=) $4
             AND b.block OPERATOR(pg_catalog.>) 0)) OPERATOR(pg_catalog.+) 1
 WHERE c.tenant_id OPERATOR(pg_catalog.=) $1 AND c.series OPERATOR(pg_catalog.=) $2
   AND c.location_id OPERATOR(pg_catalog.=) $3 AND c.scope OPERATOR(pg_catalog.=) $4 AND c.block OPERATOR(pg_catalog.=) 0
RETURNING c.next_value OPERATOR(pg_catalog.-) 1";

/// The same where it may not: $5 is the first number.
const BEGIN: &str = "
INSERT INTO shared.number_counters AS c (tenant_id, series, location_id, scope, block, next_value)
SELECT $1, $2, $3, $4, 0, GREATEST($5, (SELECT pg_catalog.max(b.next_value) FROM shared.number_counters b
           WHERE b.tenant_id OPERATOR(pg_catalog.=) $1 AND b.series OPERATOR(pg_catalog.=) $2
             AND b.location_id OPERATOR(pg_catalog.=) $3 AND b.scope OPERATOR(pg_catalog.=) $4)) OPERATOR(pg_catalog.+) 1
    ON CONFLICT (tenant_id, series, location_id, scope, block)
    DO UPDATE SET next_value = c.next_value OPERATOR(pg_catalog.+) 1
RETURNING c.next_value OPERATOR(pg_catalog.-) 1";

/// The number used of the lowest block that is neither used up nor locked; $5 is the size of a block. None below what was
/// counted without gaps, should the series have changed from one to the other.
const TAKE: &str = "
UPDATE shared.number_counters c SET next_value = c.next_value OPERATOR(pg_catalog.+) 1
 WHERE c.tenant_id OPERATOR(pg_catalog.=) $1 AND c.series OPERATOR(pg_catalog.=) $2
   AND c.location_id OPERATOR(pg_catalog.=) $3 AND c.scope OPERATOR(pg_catalog.=) $4
   AND c.next_value OPERATOR(pg_catalog.<=) (c.block OPERATOR(pg_catalog.*) $5)
   AND c.block OPERATOR(pg_catalog.=) (SELECT f.block FROM shared.number_counters f
           WHERE f.tenant_id OPERATOR(pg_catalog.=) $1 AND f.series OPERATOR(pg_catalog.=) $2
             AND f.location_id OPERATOR(pg_catalog.=) $3 AND f.scope OPERATOR(pg_catalog.=) $4
             AND f.block OPERATOR(pg_catalog.>) 0
             AND f.next_value OPERATOR(pg_catalog.<=) (f.block OPERATOR(pg_catalog.*) $5)
             AND NOT EXISTS (SELECT FROM shared.number_counters g
                     WHERE g.tenant_id OPERATOR(pg_catalog.=) $1 AND g.series OPERATOR(pg_catalog.=) $2
                       AND g.location_id OPERATOR(pg_catalog.=) $3 AND g.scope OPERATOR(pg_catalog.=) $4
                       AND g.block OPERATOR(pg_catalog.=) 0 AND g.next_value OPERATOR(pg_catalog.>) f.next_value)
           ORDER BY f.block LIMIT 1 FOR UPDATE OF f SKIP LOCKED)
RETURNING c.next_value OPERATOR(pg_catalog.-) 1";

/// Block $5 goes on with $6, or wherever it stands beyond.
const FOLLOW: &str = "
INSERT INTO shared.number_counters AS c (tenant_id, series, location_id, scope, block, next_value)
VALUES ($1, $2, $3, $4, $5, $6)
    ON CONFLICT (tenant_id, series, location_id, scope, block)
    DO UPDATE SET next_value = GREATEST(c.next_value, $6)";

/// Row $5, unless somebody has locked it.
const LOCK: &str = "
SELECT c.block FROM shared.number_counters c
 WHERE c.tenant_id OPERATOR(pg_catalog.=) $1 AND c.series OPERATOR(pg_catalog.=) $2
   AND c.location_id OPERATOR(pg_catalog.=) $3 AND c.scope OPERATOR(pg_catalog.=) $4 AND c.block OPERATOR(pg_catalog.=) $5
   FOR UPDATE SKIP LOCKED";

const REMOVE: &str = "
DELETE FROM shared.number_counters c
 WHERE c.tenant_id OPERATOR(pg_catalog.=) $1 AND c.series OPERATOR(pg_catalog.=) $2
   AND c.location_id OPERATOR(pg_catalog.=) $3 AND c.scope OPERATOR(pg_catalog.=) $4 AND c.block OPERATOR(pg_catalog.=) $5";

const ROWS: &str = "
SELECT c.block, c.next_value FROM shared.number_counters c
 WHERE c.tenant_id = $1 AND c.series = $2 AND c.location_id = $3 AND c.scope = $4 ORDER BY c.block";

/// What is counted together.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Counter {
    pub tenant: Uuid,
    pub series: String,
    /// Nil for the count of the whole tenant.
    pub location: Uuid,
    /// What stands before the number, or the period.
    pub scope: String,
}

/// (block, next number)
type BlockRow = (i64, i64);

impl Counter {
    /// The next number; others wait until this transaction ends. `first` is asked when nothing was counted yet.
    pub fn next_without_gaps(&self, first: impl Fn() -> i64) -> i64 {
        let table = table();
        let updated = self.write(table, NEXT, &[]);
        let number = updated.or_else(|| self.write(table, BEGIN, &[first()]));
        number.unwrap_or_else(|| NumberError::Busy { series: self.series.clone() }.raise())
    }

    /// The next number; nobody waits for another transaction.
    pub fn next(&self, first: impl Fn() -> i64) -> i64 {
        let table = table();
        self.write(table, TAKE, &[BLOCK_SIZE]).unwrap_or_else(|| {
            let _moment = self.lock();
            self.open(table, first)
        })
    }

    /// The first number of the lowest block that nobody has used.
    fn open(&self, table: Relation, first: impl Fn() -> i64) -> i64 {
        let mut rows = self.rows(table);
        let without_gaps = rows.iter().find(|(block, _)| *block == GAP_FREE).map(|(_, next)| *next);
        let least = without_gaps.unwrap_or_else(|| if rows.is_empty() { first().max(1) } else { 1 });
        rows.retain(|(block, _)| *block != GAP_FREE);
        let lowest = rows.first().map_or(1, |(block, _)| *block).max(block_of(least));
        let free = |block: &i64| rows.iter().all(|(b, _)| b != block) && !self.is_in_progress(table, *block);
        let block = (lowest..).find(free).expect("there are blocks enough");
        let number = least.max(first_of(block));
        self.write(table, FOLLOW, &[block, number + 1]);
        rows.push((block, number + 1));
        self.tidy(table, rows);
        number
    }

    /// Deletes what is used up, as far as one block follows the other.
    fn tidy(&self, table: Relation, mut rows: Vec<BlockRow>) {
        rows.sort_unstable();
        let used_up = rows.windows(2).map_while(|pair| {
            let ((block, next), (following, _)) = (pair[0], pair[1]);
            (next > last_of(block) && following == block + 1).then_some(block)
        });
        for block in used_up {
            // In stricter levels it could fail, and others will do it.
            if raw::one_snapshot_per_transaction() || self.write(table, LOCK, &[block]).is_none() {
                return;
            }
            self.write(table, REMOVE, &[block]);
        }
    }

    /// Somebody gave a number: the count follows it, unless it is far ahead or others are counting this moment.
    pub fn follow(&self, number: i64, first: impl Fn() -> i64) {
        if number < 1 || raw::one_snapshot_per_transaction() {
            return;
        }
        let table = table();
        let _moment = self.lock();
        let rows = self.rows(table);
        let next = rows.iter().map(|(_, next)| *next).max().unwrap_or_else(first);
        if number < next || number - next > LEAP {
            return;
        }
        let block = block_of(number);
        let lowest = rows.iter().map(|(block, _)| *block).find(|block| *block != GAP_FREE);
        let below: Vec<i64> = (lowest.unwrap_or(block_of(next))..block).collect();
        let is_free = |block: &i64| match rows.iter().any(|(b, _)| b == block) {
            true => self.write(table, LOCK, &[*block]).is_some(),
            false => !self.is_in_progress(table, *block),
        };
        if below.iter().chain([&block]).all(is_free) {
            for used_up in &below {
                self.write(table, FOLLOW, &[*used_up, last_of(*used_up) + 1]);
            }
            self.write(table, FOLLOW, &[block, number + 1]);
        }
    }

    /// The count without gaps goes on after a number that exists already.
    pub fn follow_without_gaps(&self, number: i64) {
        self.write(table(), FOLLOW, &[GAP_FREE, number + 1]);
    }

    /// Whether a row is there that another transaction has not committed yet.
    fn is_in_progress(&self, table: Relation, block: i64) -> bool {
        let Some(index) = invalidation::named("shared", "number_counters_series_unique") else { return false };
        let keys = [
            (TENANT, Column::Uuid(self.tenant)),
            (SERIES, Column::Text(&self.series)),
            (LOCATION, Column::Uuid(self.location)),
            (SCOPE, Column::Text(&self.scope)),
            (BLOCK, Column::Bigint(block)),
        ];
        is_taken(table.oid, index.oid, &keys)
    }

    fn rows(&self, table: Relation) -> Vec<BlockRow> {
        // SAFETY: makes what this transaction has written visible, as any SPI statement does.
        unsafe { pg_sys::CommandCounterIncrement() };
        let mut rows = Vec::new();
        fresh::read(table.owner, table.oid, ROWS, &self.key(), |row| rows.extend(row.bigint(1).zip(row.bigint(2))));
        rows
    }

    fn key(&self) -> [Arg<'_>; 4] {
        [Arg::Uuid(self.tenant), Arg::Text(&self.series), Arg::Uuid(self.location), Arg::Text(&self.scope)]
    }

    /// What the statement returns, if it does.
    fn write(&self, table: Relation, statement: &'static str, numbers: &[i64]) -> Option<i64> {
        let mut arguments = self.key().to_vec();
        arguments.extend(numbers.iter().map(|number| Arg::Bigint(*number)));
        let mut value = None;
        fresh::write_returning(table.owner, statement, &arguments, |row| value = row.bigint(1));
        value
    }

    /// One session at a time opens blocks, and until the lock is dropped only.
    fn lock(&self) -> Taken {
        let key = Key::default().uuid(self.tenant).uuid(self.location).text(&self.series).text(&self.scope);
        private_lock::take(Space::Numbers, key.hash())
    }
}

fn table() -> Relation {
    invalidation::named("shared", "number_counters").unwrap_or_else(|| NumberError::NotInstalled.raise())
}
