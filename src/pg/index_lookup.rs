//! One row of an ordinary table by a unique key, without the executor: about 2 microseconds where SPI takes 10.
//!
//! It looks past privileges and policies: for tables of our own that nobody is granted, or for one row that the caller
//! writes.

use pgrx::pg_sys;
use std::ffi::CStr;
use uuid::Uuid;

/// What a column is compared with.
#[derive(Clone, Copy)]
pub enum Key<'a> {
    Uuid(Uuid),
    Text(&'a str),
    Integer(i32),
    Bigint(i64),
    /// Of the type name, as the catalogs have them.
    Name(&'a CStr),
}

impl From<Uuid> for Key<'_> {
    fn from(value: Uuid) -> Self {
        Key::Uuid(value)
    }
}

impl<'a> From<&'a str> for Key<'a> {
    fn from(value: &'a str) -> Self {
        Key::Text(value)
    }
}

impl Key<'_> {
    /// The type of the column, and the function that compares.
    fn comparison(self) -> (pg_sys::Oid, u32) {
        match self {
            Key::Uuid(_) => (pg_sys::UUIDOID, pg_sys::F_UUID_EQ),
            Key::Text(_) => (pg_sys::TEXTOID, pg_sys::F_TEXTEQ),
            Key::Integer(_) => (pg_sys::INT4OID, pg_sys::F_INT4EQ),
            Key::Bigint(_) => (pg_sys::INT8OID, pg_sys::F_INT8EQ),
            Key::Name(_) => (pg_sys::NAMEOID, pg_sys::F_NAMEEQ),
        }
    }

    /// In the current memory context.
    fn datum(self) -> pg_sys::Datum {
        match self {
            Key::Uuid(value) => crate::pg::uuid::into_datum(value),
            Key::Text(value) => crate::pg::function::text_datum(value),
            Key::Integer(value) => pg_sys::Datum::from(value),
            Key::Bigint(value) => pg_sys::Datum::from(value),
            // SAFETY: memory of a name's size, which the function fills to its end.
            Key::Name(value) => unsafe {
                let name = crate::pg::raw::palloc(size_of::<pg_sys::NameData>()).cast::<pg_sys::NameData>();
                pg_sys::namestrcpy(name, value.as_ptr());
                pg_sys::Datum::from(name)
            },
        }
    }
}

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

    /// Whether this transaction deleted the row. A version that was replaced names the next one.
    fn is_deleted_by_us(&self) -> bool {
        // SAFETY: the tuple belongs to the open scan. A lock that others hold on the row makes its xmax a multixact.
        unsafe {
            let header = (*self.tuple).t_data;
            let mask = u32::from((*header).t_infomask);
            let is_last = pg_sys::ItemPointerEquals(&raw mut (*self.tuple).t_self, &raw mut (*header).t_ctid);
            if !is_last || mask & (pg_sys::HEAP_XMAX_INVALID | pg_sys::HEAP_XMAX_LOCK_ONLY) != 0 {
                return false;
            }
            let by = if mask & pg_sys::HEAP_XMAX_IS_MULTI != 0 {
                pg_sys::HeapTupleGetUpdateXid(header)
            } else {
                (*header).t_choice.t_heap.t_xmax
            };
            pg_sys::TransactionIdIsCurrentTransactionId(by)
        }
    }

    /// A uuid column by number, None when it is NULL.
    pub fn optional_uuid(&self, column: i32) -> Option<Uuid> {
        let mut null = false;
        // SAFETY: tuple and descriptor belong to the open scan, and the type is checked.
        unsafe {
            assert_eq!(pg_sys::SPI_gettypeid(self.desc, column), pg_sys::UUIDOID, "type of column {column}");
            let datum = pg_sys::SPI_getbinval(self.tuple, self.desc, column, &mut null);
            (!null).then(|| crate::pg::uuid::from_datum(datum))
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

    /// A text column by number, None when it is NULL.
    pub fn optional_text(&self, column: i32) -> Option<String> {
        let mut null = false;
        // SAFETY: tuple and descriptor belong to the open scan.
        unsafe { pg_sys::SPI_getbinval(self.tuple, self.desc, column, &mut null) };
        (!null).then(|| self.text(column))
    }

    pub fn smallint(&self, column: i32) -> i16 {
        self.datum(column, pg_sys::INT2OID).value() as i16
    }

    pub fn boolean(&self, column: i32) -> bool {
        self.datum(column, pg_sys::BOOLOID).value() != 0
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

/// The primary key of a table.
pub struct PrimaryKey {
    pub index: pg_sys::Oid,
    /// In the index's order.
    pub columns: Vec<i16>,
    /// Checked at the end of the transaction only: until then a key may be there twice.
    pub is_deferrable: bool,
}

/// None where there is no primary key.
///
/// # Safety
/// The relation is open.
pub unsafe fn primary_key(relation: pg_sys::Relation) -> Option<PrimaryKey> {
    // SAFETY: the list is a copy; each tuple is released after its columns were copied.
    unsafe {
        let indexes = pgrx::PgList::<pg_sys::Oid>::from_pg(pg_sys::RelationGetIndexList(relation));
        indexes.iter_oid().find_map(|index| {
            let id = pg_sys::SysCacheIdentifier::INDEXRELID as _;
            let tuple = pg_sys::SearchSysCache1(id, pg_sys::Datum::from(index));
            if tuple.is_null() {
                return None;
            }
            let form = &*pg_sys::heap_tuple_get_struct::<pg_sys::FormData_pg_index>(tuple);
            let found = form.indisprimary.then(|| PrimaryKey {
                index,
                columns: form.indkey.values.as_slice(form.indnkeyatts as usize).to_vec(),
                is_deferrable: !form.indimmediate,
            });
            pg_sys::ReleaseSysCache(tuple);
            found
        })
    }
}

/// A unique index of exactly these columns, in this order, that is checked at once.
///
/// # Safety
/// The relation is open.
pub unsafe fn unique_index(relation: pg_sys::Relation, columns: &[i16]) -> Option<pg_sys::Oid> {
    // SAFETY: the list is a copy; each tuple is released after its columns were compared.
    unsafe {
        let indexes = pgrx::PgList::<pg_sys::Oid>::from_pg(pg_sys::RelationGetIndexList(relation));
        indexes.iter_oid().find(|index| {
            let id = pg_sys::SysCacheIdentifier::INDEXRELID as _;
            let tuple = pg_sys::SearchSysCache1(id, pg_sys::Datum::from(*index));
            if tuple.is_null() {
                return false;
            }
            let form = &*pg_sys::heap_tuple_get_struct::<pg_sys::FormData_pg_index>(tuple);
            let mut null = false;
            let predicate = pg_sys::Anum_pg_index_indpred as i16;
            pg_sys::SysCacheGetAttr(id, tuple, predicate, &mut null);
            let fits = null
                && form.indisunique
                && form.indisvalid
                && form.indimmediate
                && form.indkey.values.as_slice(form.indnkeyatts as usize) == columns;
            pg_sys::ReleaseSysCache(tuple);
            fits
        })
    }
}

/// Whether a row with these values is there, or may be: one that another transaction has made and not committed yet.
pub fn is_taken(relation: pg_sys::Oid, index: pg_sys::Oid, keys: &[(i16, Key)]) -> bool {
    let mut dirty = pg_sys::SnapshotData { snapshot_type: pg_sys::SnapshotType::SNAPSHOT_DIRTY, ..Default::default() };
    // SAFETY: the snapshot outlives the scan.
    unsafe { scan(relation, index, keys, &raw mut dirty, &|_: &FoundRow| Some(())).is_some() }
}

/// The rows of `relation` whose columns have the given values, found through `index` (or, where there is none, one after
/// another), until `read` returns something. Sees what was committed by now, and everything of this transaction.
pub fn find<'k, K: Copy + Into<Key<'k>>, R>(
    relation: pg_sys::Oid,
    index: pg_sys::Oid,
    keys: &[(i16, K)],
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
pub fn find_quickly<'k, K: Copy + Into<Key<'k>>, R>(
    relation: pg_sys::Oid,
    index: pg_sys::Oid,
    keys: &[(i16, K)],
    read: impl Fn(&FoundRow) -> Option<R>,
) -> Option<R> {
    // SAFETY: a static variable of the process.
    unsafe { scan(relation, index, keys, &raw mut pg_sys::SnapshotSelfData, &read) }
}

/// As `find`, but of a row that this transaction has deleted: as it was then.
pub fn find_deleted<'k, K: Copy + Into<Key<'k>>, R>(
    relation: pg_sys::Oid,
    index: pg_sys::Oid,
    keys: &[(i16, K)],
    read: impl Fn(&FoundRow) -> Option<R>,
) -> Option<R> {
    let last = std::cell::RefCell::new(None);
    let keep = |row: &FoundRow| -> Option<()> {
        if row.is_deleted_by_us() {
            *last.borrow_mut() = read(row);
        }
        None
    };
    // SAFETY: a static variable of the process. Every version is looked at, and those deleted by others are left alone.
    unsafe { scan(relation, index, keys, &raw mut pg_sys::SnapshotAnyData, &keep) };
    last.into_inner()
}

/// # Safety
/// The snapshot stays valid during the call, and the keys are columns that the index leads with.
unsafe fn scan<'k, K: Copy + Into<Key<'k>>, R>(
    relation: pg_sys::Oid,
    index: pg_sys::Oid,
    keys: &[(i16, K)],
    snapshot: pg_sys::Snapshot,
    read: &impl Fn(&FoundRow) -> Option<R>,
) -> Option<R> {
    // SAFETY: opened and closed here; on an error the abort of the transaction releases scan, buffers and locks.
    unsafe {
        let table = pg_sys::table_open(relation, pg_sys::AccessShareLock as _);
        let mut scan_keys: Vec<pg_sys::ScanKeyData> = Vec::with_capacity(keys.len());
        for (column, value) in keys {
            let value: Key = (*value).into();
            let (of, function) = value.comparison();
            let (mut found, mut modifier, mut collation) = (pg_sys::InvalidOid, 0, pg_sys::InvalidOid);
            pg_sys::get_atttypetypmodcoll(relation, *column, &mut found, &mut modifier, &mut collation);
            // What else the columns are compared as, they would be read as.
            assert_eq!(found, of, "type of a key");
            let mut key = pg_sys::ScanKeyData::default();
            let equal = pg_sys::BTEqualStrategyNumber as pg_sys::StrategyNumber;
            pg_sys::ScanKeyInit(&mut key, *column, equal, pg_sys::RegProcedure::from(function), value.datum());
            key.sk_collation = collation;
            scan_keys.push(key);
        }
        let indexed = index != pg_sys::InvalidOid;
        let scan =
            pg_sys::systable_beginscan(table, index, indexed, snapshot, keys.len() as i32, scan_keys.as_mut_ptr());
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
