//! One row into `audit.change_log`, through the functions that logical replication inserts with: constraints, indexes and
//! triggers of the log are obeyed. Privileges and policies are not asked, and nothing is kept between rows, so a rollback
//! needs no care.

use crate::access::invalidation;
use crate::audit::error::AuditError;
use crate::audit::origin::{self, Origin};
use crate::pg::cell::BackendCell;
use crate::pg::cursor::EPOCH_MICROS;
use crate::pg::error::SqlError;
use crate::pg::function::text_datum;
use crate::pg::raw;
use crate::pg::trigger::TriggerError;
use crate::pg::uuid::into_datum;
use crate::protect::table::qualified_name;
use pgrx::pg_sys;
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::ffi::CStr;
use std::rc::Rc;
use uuid::Uuid;

/// What happened to a row.
pub struct Change<'a> {
    pub tenant: Uuid,
    pub table: &'a str,
    pub operation: &'static str,
    pub row_key: &'a str,
    /// Where the key changed.
    pub new_row_key: Option<&'a str>,
    /// jsonb datums.
    pub old: Option<pg_sys::Datum>,
    pub new: Option<pg_sys::Datum>,
}

/// The columns that are written and their types, in the order of `values`.
const COLUMNS: [(&CStr, pg_sys::Oid); 17] = [
    (c"tenant_id", pg_sys::UUIDOID),
    (c"occurred_at", pg_sys::TIMESTAMPTZOID),
    (c"id", pg_sys::UUIDOID),
    (c"system_id", pg_sys::INT8OID),
    (c"transaction_id", pg_sys::INT8OID),
    (c"table_name", pg_sys::TEXTOID),
    (c"operation", pg_sys::TEXTOID),
    (c"row_key", pg_sys::TEXTOID),
    (c"new_row_key", pg_sys::TEXTOID),
    (c"old_values", pg_sys::JSONBOID),
    (c"new_values", pg_sys::JSONBOID),
    (c"actor_id", pg_sys::UUIDOID),
    (c"session_role", pg_sys::TEXTOID),
    (c"database_role", pg_sys::TEXTOID),
    (c"application", pg_sys::TEXTOID),
    (c"client_address", pg_sys::INETOID),
    (c"request_id", pg_sys::TEXTOID),
];

/// Numbers of `COLUMNS` in a partition.
type Numbers = [i16; COLUMNS.len()];

#[derive(Default)]
struct Cache {
    log: Cell<Option<pg_sys::Oid>>,
    numbers: RefCell<HashMap<pg_sys::Oid, Rc<Numbers>>>,
}

static CACHE: BackendCell<std::sync::LazyLock<Cache>> = BackendCell::new(std::sync::LazyLock::new(Default::default));

pub fn init() {
    // SAFETY: registered once per backend; the callback touches no memory of a transaction.
    unsafe { pg_sys::CacheRegisterRelcacheCallback(Some(on_relcache_message), pg_sys::Datum::from(0)) };
}

unsafe extern "C-unwind" fn on_relcache_message(_arg: pg_sys::Datum, relation: pg_sys::Oid) {
    let cache: &Cache = &CACHE;
    if relation == pg_sys::InvalidOid || cache.log.get() == Some(relation) {
        cache.log.set(None);
    }
    if let Ok(mut numbers) = cache.numbers.try_borrow_mut() {
        match relation {
            pg_sys::InvalidOid => numbers.clear(),
            partition => drop(numbers.remove(&partition)),
        }
    }
}

/// Logs the change in the running transaction.
pub fn write(change: &Change) {
    let occurred_at = now();
    let values = values(change, occurred_at);
    // SAFETY: everything is opened and closed here; on an error the abort of the transaction releases it. The locks stay until
    // the transaction ends, as those of any INSERT do.
    unsafe {
        let lock = pg_sys::RowExclusiveLock as pg_sys::LOCKMODE;
        let log = pg_sys::table_open(log(), lock);
        let partition = open_partition(log, occurred_at, lock);
        insert(partition, &values);
        pg_sys::table_close(partition, pg_sys::NoLock as _);
        pg_sys::table_close(log, pg_sys::NoLock as _);
    }
}

/// When the transaction began.
fn now() -> pg_sys::TimestampTz {
    // SAFETY: reads the state of the transaction.
    unsafe { pg_sys::GetCurrentTransactionStartTimestamp() }
}

fn log() -> pg_sys::Oid {
    if let Some(known) = CACHE.log.get() {
        return known;
    }
    let found = invalidation::named("audit", "change_log").unwrap_or_else(|| AuditError::NoLog.raise()).oid;
    CACHE.log.set(Some(found));
    found
}

/// Opens the partition for a time. While the lock is waited for, rows may be moved out of the default partition: then it is
/// another one.
///
/// # Safety
/// The log is open and locked, so that no partition is detached meanwhile.
unsafe fn open_partition(log: pg_sys::Relation, at: pg_sys::TimestampTz, lock: pg_sys::LOCKMODE) -> pg_sys::Relation {
    // SAFETY: per contract; what is opened in vain is closed.
    unsafe {
        let mut chosen = partition_for(log, at);
        loop {
            let partition = pg_sys::table_open(chosen, lock);
            let now = partition_for(log, at);
            if now == chosen {
                // One of another kind has no place for rows: inserting would follow a null pointer.
                if (*(*partition).rd_rel).relkind as u8 != pg_sys::RELKIND_RELATION {
                    AuditError::PartitionKind { name: qualified_name(chosen) }.raise();
                }
                return partition;
            }
            pg_sys::table_close(partition, pg_sys::NoLock as _);
            chosen = now;
        }
    }
}

/// # Safety
/// The log is open.
unsafe fn partition_for(log: pg_sys::Relation, at: pg_sys::TimestampTz) -> pg_sys::Oid {
    // SAFETY: per contract. The descriptor is kept with the relation until a partition is attached or detached. Its bounds
    // are in ascending order, each with the partition that lies below it; the last index is for what lies above all.
    unsafe {
        let kind = (*(*log).rd_rel).relkind as u8;
        let partitions = match kind {
            pg_sys::RELKIND_PARTITIONED_TABLE => {
                pg_sys::RelationGetPartitionDesc(log, !raw::one_snapshot_per_transaction())
            }
            _ => return (*log).rd_id,
        };
        // None while there is no partition at all.
        let Some(bounds) = (*partitions).boundinfo.as_ref() else { AuditError::NoPartition.raise() };
        let above = |i: usize| match **bounds.kind.add(i) {
            pg_sys::PartitionRangeDatumKind::PARTITION_RANGE_DATUM_MINVALUE => false,
            pg_sys::PartitionRangeDatumKind::PARTITION_RANGE_DATUM_MAXVALUE => true,
            _ => (**bounds.datums.add(i)).value() as i64 > at,
        };
        let count = bounds.ndatums as usize;
        let position = (0..count).find(|i| above(*i)).unwrap_or(count);
        let index = match *bounds.indexes.add(position) {
            -1 => bounds.default_index,
            index => index,
        };
        if index < 0 {
            AuditError::NoPartition.raise();
        }
        *(*partitions).oids.add(index as usize)
    }
}

/// # Safety
/// The partition is open and locked.
unsafe fn insert(partition: pg_sys::Relation, values: &[Option<pg_sys::Datum>; COLUMNS.len()]) {
    // SAFETY: per contract. Range table index 0: no range table exists, and error paths must not look for one.
    unsafe {
        let numbers = numbers(partition);
        let estate = pg_sys::CreateExecutorState();
        let info = pg_sys::palloc0(size_of::<pg_sys::ResultRelInfo>()).cast::<pg_sys::ResultRelInfo>();
        (*info).type_ = pg_sys::NodeTag::T_ResultRelInfo;
        pg_sys::InitResultRelInfo(info, partition, 0, std::ptr::null_mut(), 0);
        keep_index_locks(partition);
        pg_sys::ExecOpenIndices(info, false);
        // The partition was chosen by its bounds and is locked: building and evaluating them as a condition again, for each
        // row, would cost an eighth of all this. Unless somebody's trigger can still change the row.
        if (*info).ri_TrigDesc.as_ref().is_none_or(|triggers| !triggers.trig_insert_before_row) {
            (*info).ri_PartitionCheckExpr = always_true();
        }
        let slot = pg_sys::MakeSingleTupleTableSlot((*partition).rd_att, &raw const pg_sys::TTSOpsVirtual);
        let columns = (*(*partition).rd_att).natts as usize;
        std::slice::from_raw_parts_mut((*slot).tts_isnull, columns).fill(true);
        for (number, value) in numbers.iter().zip(values) {
            if let Some(value) = value {
                let i = *number as usize - 1;
                *(*slot).tts_values.add(i) = *value;
                *(*slot).tts_isnull.add(i) = false;
            }
        }
        pg_sys::ExecStoreVirtualTuple(slot);
        // Triggers that somebody made on the log fire at the end of a query of their own.
        let fires = !(*info).ri_TrigDesc.is_null();
        if fires {
            // Where they look for the relation, before they open it once more.
            (*estate).es_opened_result_relations = pg_sys::lappend(std::ptr::null_mut(), info.cast());
            pg_sys::AfterTriggerBeginQuery();
        }
        pg_sys::ExecSimpleRelationInsert(info, estate, slot);
        if fires {
            pg_sys::AfterTriggerEndQuery(estate);
            pg_sys::ExecResetTupleTable((*estate).es_tupleTable, false);
        }
        pg_sys::ExecDropSingleTupleTableSlot(slot);
        pg_sys::ExecCloseIndices(info);
        pg_sys::FreeExecutorState(estate);
    }
}

/// Locks the indexes until the transaction ends, as the partition is: they are opened and closed for each row, and a lock
/// that is held already costs next to nothing.
///
/// # Safety
/// The partition is open.
unsafe fn keep_index_locks(partition: pg_sys::Relation) {
    static HELD: BackendCell<Cell<(pg_sys::LocalTransactionId, pg_sys::Oid)>> =
        BackendCell::new(Cell::new((0, pg_sys::InvalidOid)));
    // SAFETY: per contract; the list is a copy.
    unsafe {
        let now = (raw::local_transaction_id(), (*partition).rd_id);
        if HELD.replace(now) != now {
            let indexes = pgrx::PgList::<pg_sys::Oid>::from_pg(pg_sys::RelationGetIndexList(partition));
            for index in indexes.iter_oid() {
                pg_sys::LockRelationOid(index, pg_sys::RowExclusiveLock as _);
            }
        }
    }
}

/// An expression that holds, made once.
fn always_true() -> *mut pg_sys::ExprState {
    static TRUE: BackendCell<Cell<*mut pg_sys::ExprState>> = BackendCell::new(Cell::new(std::ptr::null_mut()));
    if TRUE.get().is_null() {
        // SAFETY: made in memory that is never freed; a constant depends on nothing.
        TRUE.set(unsafe {
            pgrx::PgMemoryContexts::TopMemoryContext
                .switch_to(|_| pg_sys::ExecInitExpr(pg_sys::makeBoolConst(true, false).cast(), std::ptr::null_mut()))
        });
    }
    TRUE.get()
}

/// # Safety
/// The partition is open.
unsafe fn numbers(partition: pg_sys::Relation) -> Rc<Numbers> {
    // SAFETY: per contract; the descriptor is valid while the relation is open.
    unsafe {
        let oid = (*partition).rd_id;
        if let Some(known) = CACHE.numbers.borrow().get(&oid) {
            return Rc::clone(known);
        }
        let descriptor = (*partition).rd_att;
        let numbers = Rc::new(COLUMNS.map(|(name, of)| {
            let number = pg_sys::SPI_fnumber(descriptor, name.as_ptr());
            if number <= 0 || pg_sys::SPI_gettypeid(descriptor, number) != of {
                let table = "audit.change_log".to_owned();
                TriggerError::NoColumn { table, column: name.to_string_lossy().into() }.raise();
            }
            number as i16
        }));
        CACHE.numbers.borrow_mut().insert(oid, Rc::clone(&numbers));
        numbers
    }
}

/// The row, in the order of `COLUMNS`.
fn values(change: &Change, occurred_at: pg_sys::TimestampTz) -> [Option<pg_sys::Datum>; COLUMNS.len()] {
    let text = |text: &str| Some(text_datum(text));
    let Origin { actor, roles, application, request_id } = origin::current();
    // SAFETY: reads of the server's state; the transaction has an id, since it changed a row.
    let (system, transaction) = unsafe { (pg_sys::GetSystemIdentifier(), pg_sys::GetTopFullTransactionId().value) };
    [
        Some(into_datum(change.tenant)),
        Some(pg_sys::Datum::from(occurred_at)),
        Some(into_datum(next_id(occurred_at))),
        Some(pg_sys::Datum::from(system as i64)),
        Some(pg_sys::Datum::from(transaction as i64)),
        text(change.table),
        text(change.operation),
        text(change.row_key),
        change.new_row_key.and_then(text),
        change.old,
        change.new,
        actor.map(into_datum),
        text(&roles.session),
        text(&roles.current),
        application.as_deref().and_then(text),
        origin::client_address(),
        request_id.as_deref().and_then(text),
    ]
}

/// A UUID of version 7: milliseconds, a counter of the transaction in the place of the finer time, and random bits. So the
/// changes of a transaction are in order, and go to the same end of the index.
fn next_id(occurred_at: pg_sys::TimestampTz) -> Uuid {
    static COUNTER: BackendCell<Cell<(pg_sys::LocalTransactionId, u32)>> = BackendCell::new(Cell::new((0, 0)));
    const RANDOM_BITS: u64 = 42;
    let transaction = raw::local_transaction_id();
    let (counted_in, last) = COUNTER.get();
    let count = if counted_in == transaction { last.wrapping_add(1) } else { 0 };
    COUNTER.set((transaction, count));
    // SAFETY: the generator that PostgreSQL seeds for each process.
    let random = unsafe { pg_sys::pg_prng_uint64(&raw mut pg_sys::pg_global_prng_state) } >> (64 - RANDOM_BITS);
    let milliseconds = ((occurred_at + EPOCH_MICROS) / 1000) as u64;
    let (high, low) = (u64::from(count >> 20), u64::from(count & 0xf_ffff));
    Uuid::from_u64_pair(milliseconds << 16 | 0x7000 | high, 0b10 << 62 | low << RANDOM_BITS | random)
}
