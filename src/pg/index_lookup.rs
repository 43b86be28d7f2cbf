//! One row of an ordinary table by a unique key, without the executor: about 2 microseconds where SPI takes 10.
//!
//! It looks past privileges and policies: for tables of our own that nobody is granted.

use pgrx::pg_sys;
use uuid::Uuid;

/// A row while it is being looked at; columns count from 1.
pub struct FoundRow {
    tuple: pg_sys::HeapTuple,
    desc: pg_sys::TupleDesc,
}

impl FoundRow {
    fn datum(&self, column: i32, of: pg_sys::Oid) -> pg_sys::Datum {
        // SAFETY: tuple and descriptor belong to the open scan.
        unsafe {
            assert_eq!(pg_sys::SPI_gettypeid(self.desc, column), of, "type of column {column}");
            let mut null = false;
            let datum = pg_sys::SPI_getbinval(self.tuple, self.desc, column, &mut null);
            assert!(!null, "column {column} is null");
            datum
        }
    }

    pub fn uuid(&self, column: i32) -> Uuid {
        // SAFETY: `datum` checked the type.
        unsafe { crate::pg::uuid::from_datum(self.datum(column, pg_sys::UUIDOID)) }
    }

    pub fn text(&self, column: i32) -> String {
        // SAFETY: as above.
        unsafe { crate::pg::function::with_text(self.datum(column, pg_sys::TEXTOID), str::to_owned) }
    }

    pub fn bytea(&self, column: i32) -> Vec<u8> {
        // SAFETY: as above; the detoasted copy is read before it is given back.
        unsafe {
            let stored = self.datum(column, pg_sys::BYTEAOID).cast_mut_ptr::<pg_sys::varlena>();
            let packed = pg_sys::pg_detoast_datum_packed(stored);
            let bytes = pgrx::varlena_to_byte_slice(packed).to_vec();
            if packed != stored {
                pg_sys::pfree(packed.cast());
            }
            bytes
        }
    }
}

/// The rows of `relation` whose uuid columns have the given values, found through `index`, until `read` returns
/// something. Sees what was committed by now, and everything of this transaction.
pub fn find<R>(
    relation: pg_sys::Oid,
    index: pg_sys::Oid,
    keys: &[(i16, Uuid)],
    read: impl Fn(&FoundRow) -> Option<R>,
) -> Option<R> {
    // SAFETY: the snapshot is registered, so it stays valid until it is unregistered.
    unsafe {
        find_quickly(relation, index, keys, &read).or_else(|| {
            let snapshot = pg_sys::RegisterSnapshot(pg_sys::GetNonHistoricCatalogSnapshot(relation));
            let found = scan(relation, index, keys, snapshot, &read);
            pg_sys::UnregisterSnapshot(snapshot);
            found
        })
    }
}

/// As `find`, but of a row that is replaced this moment it may find no version: the "self" snapshot, which sees rows that
/// the running command itself has made, as trigger functions need it, is no consistent view.
pub fn find_quickly<R>(
    relation: pg_sys::Oid,
    index: pg_sys::Oid,
    keys: &[(i16, Uuid)],
    read: impl Fn(&FoundRow) -> Option<R>,
) -> Option<R> {
    // SAFETY: a static variable of the process.
    unsafe { scan(relation, index, keys, &raw mut pg_sys::SnapshotSelfData, &read) }
}

/// # Safety
/// The snapshot stays valid during the call, and the keys are columns of type uuid that the index leads with.
unsafe fn scan<R>(
    relation: pg_sys::Oid,
    index: pg_sys::Oid,
    keys: &[(i16, Uuid)],
    snapshot: pg_sys::Snapshot,
    read: &impl Fn(&FoundRow) -> Option<R>,
) -> Option<R> {
    // SAFETY: opened and closed here; on an error the abort of the transaction releases scan, buffers and locks.
    unsafe {
        let table = pg_sys::table_open(relation, pg_sys::AccessShareLock as _);
        for (column, _) in keys {
            // What else the columns are compared as, they would be read as.
            assert_eq!(pg_sys::SPI_gettypeid((*table).rd_att, (*column).into()), pg_sys::UUIDOID, "a key is a uuid");
        }
        let mut values: Vec<[u8; 16]> = keys.iter().map(|(_, value)| value.into_bytes()).collect();
        let mut scan_keys: Vec<pg_sys::ScanKeyData> = Vec::with_capacity(keys.len());
        for ((column, _), value) in keys.iter().zip(&mut values) {
            let mut key = pg_sys::ScanKeyData::default();
            let argument = pg_sys::Datum::from(value.as_mut_ptr());
            let equal = pg_sys::BTEqualStrategyNumber as pg_sys::StrategyNumber;
            pg_sys::ScanKeyInit(&mut key, *column, equal, pg_sys::RegProcedure::from(pg_sys::F_UUID_EQ), argument);
            scan_keys.push(key);
        }
        let scan = pg_sys::systable_beginscan(table, index, true, snapshot, keys.len() as i32, scan_keys.as_mut_ptr());
        let mut found = None;
        while found.is_none() {
            let tuple = pg_sys::systable_getnext(scan);
            if tuple.is_null() {
                break;
            }
            found = read(&FoundRow { tuple, desc: (*table).rd_att });
        }
        pg_sys::systable_endscan(scan);
        pg_sys::table_close(table, pg_sys::NoLock as _);
        found
    }
}
