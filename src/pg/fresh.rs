//! Statements of our own on our own tables, as their owner, with plans that are kept: reading committed data as it is
//! now, without assigning a transaction id, and writing.
//!
//! Caches must not be filled under the snapshot of the running statement: a REPEATABLE READ transaction that began
//! before a revocation would store the old grant, and later transactions would use it. So the reads here use the kind
//! of snapshot that catalog look-ups use: taken now, in any isolation level, in parallel workers and on a standby.

use crate::pg::cell::BackendCell;
use crate::pg::function::{bytes_datum, text_datum};
use crate::pg::identity::ActingAs;
use crate::pg::settings_scope::SettingsScope;
use crate::pg::uuid as pg_uuid;
use pgrx::{AnyNumeric, FromDatum, pg_sys};
use std::cell::RefCell;
use std::ffi::CString;
use uuid::Uuid;

/// An argument of a query.
#[derive(Clone, Copy)]
pub enum Arg<'a> {
    Uuid(Uuid),
    Text(&'a str),
    Bytes(&'a [u8]),
    Bigint(i64),
    Boolean(bool),
    /// Of a type that the others are not, such as numeric: its oid, and None for NULL.
    Value(pg_sys::Oid, Option<pg_sys::Datum>),
}

impl Arg<'_> {
    pub fn optional_uuid(value: Option<Uuid>) -> Self {
        value.map_or(Self::Value(pg_sys::UUIDOID, None), Self::Uuid)
    }
}

/// One row of a result; columns count from 1, as in SQL.
pub struct Row {
    tuple: pg_sys::HeapTuple,
    desc: pg_sys::TupleDesc,
}

impl Row {
    /// The value of a column, which the query returns with this type. It is PostgreSQL's: one that is passed by reference
    /// is gone after the row was handed over.
    pub fn datum(&self, column: i32, of: pg_sys::Oid) -> Option<pg_sys::Datum> {
        // SAFETY: the descriptor comes from SPI's current result.
        assert_eq!(unsafe { pg_sys::SPI_gettypeid(self.desc, column) }, of, "type of column {column}");
        let mut null = false;
        // SAFETY: tuple and descriptor come from SPI's current result.
        let datum = unsafe { pg_sys::SPI_getbinval(self.tuple, self.desc, column, &mut null) };
        (!null).then_some(datum)
    }

    /// A column of any type, copied to the memory of whoever runs the query.
    pub fn transfer(&self, column: i32) -> Option<pg_sys::Datum> {
        let (mut null, mut length, mut by_value) = (false, 0, false);
        // SAFETY: tuple and descriptor belong to SPI's current result, and SPI is connected.
        unsafe {
            let datum = pg_sys::SPI_getbinval(self.tuple, self.desc, column, &mut null);
            pg_sys::get_typlenbyval(pg_sys::SPI_gettypeid(self.desc, column), &mut length, &mut by_value);
            (!null).then(|| pg_sys::SPI_datumTransfer(datum, by_value, length.into()))
        }
    }

    /// A text column, None when it is NULL.
    pub fn text(&self, column: i32) -> Option<String> {
        // SAFETY: `datum` checked that it is text.
        self.datum(column, pg_sys::TEXTOID).map(|d| unsafe { crate::pg::function::with_text(d, str::to_owned) })
    }

    /// A bytea column, None when it is NULL.
    pub fn bytes(&self, column: i32) -> Option<Vec<u8>> {
        // SAFETY: `datum` checked that it is a bytea; the detoasted copy is freed with SPI's memory.
        self.datum(column, pg_sys::BYTEAOID)
            .map(|d| unsafe { pgrx::varlena_to_byte_slice(pg_sys::pg_detoast_datum_packed(d.cast_mut_ptr())).to_vec() })
    }

    /// A uuid column, None when it is NULL.
    pub fn uuid(&self, column: i32) -> Option<Uuid> {
        // SAFETY: `datum` checked that it is a uuid.
        self.datum(column, pg_sys::UUIDOID).map(|d| unsafe { pg_uuid::from_datum(d) })
    }

    /// A boolean column, None when it is NULL.
    pub fn boolean(&self, column: i32) -> Option<bool> {
        self.datum(column, pg_sys::BOOLOID).map(|d| d.value() != 0)
    }

    /// A bigint column, None when it is NULL.
    pub fn bigint(&self, column: i32) -> Option<i64> {
        self.datum(column, pg_sys::INT8OID).map(|d| d.value() as i64)
    }

    /// A numeric column, None when it is NULL.
    pub fn numeric(&self, column: i32) -> Option<AnyNumeric> {
        // SAFETY: `datum` checked that it is numeric; the number is copied.
        self.datum(column, pg_sys::NUMERICOID).and_then(|d| unsafe { AnyNumeric::from_datum(d, false) })
    }
}

/// Plans kept for the life of the backend, by query text. PostgreSQL replans them when what they use changes.
static PLANS: BackendCell<RefCell<Vec<(&'static str, pg_sys::SPIPlanPtr)>>> =
    BackendCell::new(RefCell::new(Vec::new()));

/// Runs `query`, which only reads, as the role `owner` and hands each row to `each`. `relation` is any relation the
/// query reads.
pub fn read(owner: pg_sys::Oid, relation: pg_sys::Oid, query: &'static str, args: &[Arg], each: impl FnMut(&Row)) {
    let _path = SettingsScope::pinned_path();
    let _identity = ActingAs::owner(owner);
    // SAFETY: SPI_connect and SPI_finish pair up; on an error PostgreSQL's abort cleans SPI up.
    unsafe {
        pg_sys::SPI_connect();
        let mut given = Given::new(args);
        let plan = plan(query, &given.types);
        select_latest(plan, &mut given, relation, each);
        pg_sys::SPI_finish();
    }
}

/// As `read`, for a query whose text is made at run time: its plan is not kept. Rows that the running command itself has
/// written are seen, as AFTER triggers need it.
pub fn read_once(owner: pg_sys::Oid, relation: pg_sys::Oid, query: &str, args: &[Arg], each: impl FnMut(&Row)) {
    let _path = SettingsScope::pinned_path();
    let _identity = ActingAs::owner(owner);
    // SAFETY: as above; the plan belongs to SPI's memory.
    unsafe {
        pg_sys::SPI_connect();
        pg_sys::CommandCounterIncrement();
        let mut given = Given::new(args);
        let text = CString::new(query).expect("query text");
        let plan = pg_sys::SPI_prepare(text.as_ptr(), given.types.len() as i32, given.types.as_mut_ptr());
        assert!(!plan.is_null(), "a fresh read can be prepared");
        select_latest(plan, &mut given, relation, each);
        pg_sys::SPI_finish();
    }
}

/// # Safety
/// SPI is connected, and the plan is one of a query with these arguments.
unsafe fn select_latest(plan: pg_sys::SPIPlanPtr, given: &mut Given, relation: pg_sys::Oid, each: impl FnMut(&Row)) {
    // SAFETY: per contract. The snapshot is registered, so it stays valid until it is unregistered; the result is freed by
    // SPI_finish after `each` copied it.
    unsafe {
        let snapshot = pg_sys::RegisterSnapshot(pg_sys::GetNonHistoricCatalogSnapshot(relation));
        let code = pg_sys::SPI_execute_snapshot(
            plan,
            given.values.as_mut_ptr(),
            given.nulls.as_ptr(),
            snapshot,
            std::ptr::null_mut(),
            true,
            false,
            0,
        );
        pg_sys::UnregisterSnapshot(snapshot);
        assert_eq!(code, pg_sys::SPI_OK_SELECT as i32, "a fresh read selects");
        hand_over(each);
    }
}

/// Runs `statement`, which writes, as the role `owner`, and returns how many rows it touched. Every name and operator in
/// it is qualified: it runs once a row, and setting the search_path each time would cost more than the statement.
pub fn write(owner: pg_sys::Oid, statement: &'static str, args: &[Arg]) -> u64 {
    write_returning(owner, statement, args, |_| ())
}

/// As `write`, and hands over the rows of a RETURNING clause, or those that a `SELECT ... FOR UPDATE` locked: as they are
/// once nobody else holds the lock, under READ COMMITTED.
pub fn write_returning(owner: pg_sys::Oid, statement: &'static str, args: &[Arg], each: impl FnMut(&Row)) -> u64 {
    let _identity = ActingAs::owner(owner);
    // SAFETY: as in `read`.
    unsafe {
        pg_sys::SPI_connect();
        let mut given = Given::new(args);
        let plan = plan(statement, &given.types);
        let code = pg_sys::SPI_execute_plan(plan, given.values.as_mut_ptr(), given.nulls.as_ptr(), false, 0);
        assert!(code > 0, "a statement of our own runs");
        let touched = pg_sys::SPI_processed;
        hand_over(each);
        pg_sys::SPI_finish();
        touched
    }
}

/// # Safety
/// SPI is connected and has run a statement.
pub(super) unsafe fn hand_over(mut each: impl FnMut(&Row)) {
    // SAFETY: per contract: the table, where there is one, is that of the last statement.
    unsafe {
        let table = pg_sys::SPI_tuptable;
        if table.is_null() {
            return;
        }
        for i in 0..(*table).numvals as usize {
            each(&Row { tuple: *(*table).vals.add(i), desc: (*table).tupdesc });
        }
    }
}

/// Arguments as SPI takes them.
pub(super) struct Given {
    pub(super) types: Vec<pg_sys::Oid>,
    pub(super) values: Vec<pg_sys::Datum>,
    pub(super) nulls: Vec<std::ffi::c_char>,
}

impl Given {
    pub(super) fn new(args: &[Arg]) -> Given {
        let arguments: Vec<_> = args.iter().map(argument).collect();
        Given {
            types: arguments.iter().map(|(of, _)| *of).collect(),
            values: arguments.iter().map(|(_, value)| value.unwrap_or(pg_sys::Datum::from(0))).collect(),
            nulls: arguments.iter().map(|(_, value)| if value.is_none() { b'n' } else { b' ' } as _).collect(),
        }
    }
}

fn argument(arg: &Arg) -> (pg_sys::Oid, Option<pg_sys::Datum>) {
    match *arg {
        Arg::Uuid(uuid) => (pg_sys::UUIDOID, Some(pg_uuid::into_datum(uuid))),
        Arg::Text(text) => (pg_sys::TEXTOID, Some(text_datum(text))),
        Arg::Bytes(bytes) => (pg_sys::BYTEAOID, Some(bytes_datum(bytes))),
        Arg::Bigint(number) => (pg_sys::INT8OID, Some(pg_sys::Datum::from(number))),
        Arg::Boolean(value) => (pg_sys::BOOLOID, Some(pg_sys::Datum::from(value))),
        Arg::Value(of, value) => (of, value),
    }
}

/// # Safety
/// SPI is connected.
unsafe fn plan(query: &'static str, types: &[pg_sys::Oid]) -> pg_sys::SPIPlanPtr {
    if let Some((_, plan)) = PLANS.borrow().iter().find(|(text, _)| std::ptr::eq(*text, query)) {
        return *plan;
    }
    let text = CString::new(query).expect("query text");
    // SAFETY: per contract; the kept plan lives until the backend ends.
    let plan = unsafe {
        let plan = pg_sys::SPI_prepare(text.as_ptr(), types.len() as i32, types.as_ptr().cast_mut());
        assert!(!plan.is_null(), "a fresh read can be prepared");
        pg_sys::SPI_keepplan(plan);
        plan
    };
    PLANS.borrow_mut().push((query, plan));
    plan
}
