//! Row and statement triggers written by hand: the tuples stay PostgreSQL's, nothing is copied that is not changed.

use crate::pg::error::SqlError;
use crate::pg::slot::Slot;
use crate::pg::stored;
pub use crate::pg::trigger_error::TriggerError;
use pgrx::pg_sys;
use std::ffi::{CStr, CString};
use uuid::Uuid;

/// How a trigger function wants to be fired.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Firing {
    /// Anything that fires a trigger.
    Any,
    BeforeRow,
    AfterRow,
    /// On a view.
    InsteadOfRow,
}

/// The types of the columns that triggers read and write.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum ColumnType {
    Uuid,
    Text,
    Boolean,
    Integer,
    Timestamptz,
    Date,
    Bytea,
}

impl ColumnType {
    fn oid(self) -> pg_sys::Oid {
        match self {
            Self::Uuid => pg_sys::UUIDOID,
            Self::Text => pg_sys::TEXTOID,
            Self::Boolean => pg_sys::BOOLOID,
            Self::Integer => pg_sys::INT4OID,
            Self::Timestamptz => pg_sys::TIMESTAMPTZOID,
            Self::Date => pg_sys::DATEOID,
            Self::Bytea => pg_sys::BYTEAOID,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Uuid => "uuid",
            Self::Text => "text",
            Self::Boolean => "boolean",
            Self::Integer => "integer",
            Self::Timestamptz => "timestamptz",
            Self::Date => "date",
            Self::Bytea => "bytea",
        }
    }
}

/// A row that a trigger was fired for: only a `Trigger` makes one, so it has the relation's descriptor.
#[derive(Clone, Copy)]
pub struct TriggerRow(pg_sys::HeapTuple);

impl TriggerRow {
    /// PostgreSQL's own pointer to it.
    pub fn as_ptr(self) -> pg_sys::HeapTuple {
        self.0
    }
}

/// One call of a trigger function.
#[derive(Clone, Copy)]
pub struct Trigger<'a> {
    data: &'a pg_sys::TriggerData,
}

impl<'a> Trigger<'a> {
    /// Raises 39P01 when the function was not called as a trigger, or was fired otherwise than it can work with.
    ///
    /// # Safety
    /// `fcinfo` is the call info PostgreSQL passed.
    #[inline]
    pub unsafe fn of(fcinfo: pg_sys::FunctionCallInfo, firing: Firing) -> Trigger<'a> {
        // SAFETY: the context is checked to be trigger data before it is used as such.
        let trigger = unsafe {
            let context = (*fcinfo).context;
            if context.is_null() || (*context).type_ != pg_sys::NodeTag::T_TriggerData {
                TriggerError::NotATrigger.raise();
            }
            Trigger { data: &*context.cast::<pg_sys::TriggerData>() }
        };
        let event = trigger.data.tg_event;
        let row = event & pg_sys::TRIGGER_EVENT_ROW != 0;
        let timing = event & (pg_sys::TRIGGER_EVENT_BEFORE | pg_sys::TRIGGER_EVENT_INSTEAD);
        let expected = match firing {
            Firing::Any => return trigger,
            Firing::BeforeRow if row && timing == pg_sys::TRIGGER_EVENT_BEFORE => return trigger,
            Firing::AfterRow if row && timing == 0 => return trigger,
            Firing::InsteadOfRow if row && timing == pg_sys::TRIGGER_EVENT_INSTEAD => return trigger,
            Firing::BeforeRow => "BEFORE",
            Firing::AfterRow => "AFTER",
            Firing::InsteadOfRow => "INSTEAD OF",
        };
        // SAFETY: the trigger's name is terminated.
        let name = unsafe { CStr::from_ptr((*trigger.data.tg_trigger).tgname) };
        TriggerError::Firing { trigger: name.to_string_lossy().into(), expected }.raise()
    }

    /// For a trigger AFTER a statement, with what its event can have of the transition tables `old_rows` and `new_rows`;
    /// others raise 39P01. What SPI is given to make those tables known.
    pub fn transition_data(&self) -> *mut pg_sys::TriggerData {
        let event = self.data.tg_event;
        let timing = event & (pg_sys::TRIGGER_EVENT_BEFORE | pg_sys::TRIGGER_EVENT_INSTEAD);
        // SAFETY: names are null or terminated.
        let is =
            |name: *const std::ffi::c_char, wanted: &CStr| unsafe { !name.is_null() && CStr::from_ptr(name) == wanted };
        // SAFETY: the trigger is valid while it runs.
        let (old, new, name) = unsafe {
            let trigger = &*self.data.tg_trigger;
            (trigger.tgoldtable, trigger.tgnewtable, CStr::from_ptr(trigger.tgname))
        };
        let named = (self.is_insert() || is(old, c"old_rows")) && (self.is_delete() || is(new, c"new_rows"));
        if event & pg_sys::TRIGGER_EVENT_ROW != 0 || timing != 0 || self.is_truncate() || !named {
            TriggerError::Transition { trigger: name.to_string_lossy().into() }.raise();
        }
        std::ptr::from_ref(self.data).cast_mut()
    }

    /// The type of the rows.
    pub fn row_type(&self) -> pg_sys::Oid {
        // SAFETY: the relation is open while its trigger runs.
        unsafe { (*self.descriptor()).tdtypeid }
    }

    /// A row as a composite value, in the current memory context.
    pub fn row_datum(&self, row: TriggerRow) -> pg_sys::Datum {
        // SAFETY: the row has the relation's descriptor.
        unsafe { pg_sys::heap_copy_tuple_as_datum(row.0, self.descriptor()) }
    }

    fn event(&self) -> u32 {
        self.data.tg_event & pg_sys::TRIGGER_EVENT_OPMASK
    }

    #[inline]
    pub fn is_update(&self) -> bool {
        self.event() == pg_sys::TRIGGER_EVENT_UPDATE
    }

    pub fn is_insert(&self) -> bool {
        self.event() == pg_sys::TRIGGER_EVENT_INSERT
    }

    pub fn is_truncate(&self) -> bool {
        self.event() == pg_sys::TRIGGER_EVENT_TRUNCATE
    }

    pub fn is_delete(&self) -> bool {
        self.event() == pg_sys::TRIGGER_EVENT_DELETE
    }

    /// The row as it was: for UPDATE and DELETE.
    pub fn old(&self) -> TriggerRow {
        TriggerRow(self.data.tg_trigtuple)
    }

    /// The row as it will be: for INSERT and UPDATE.
    #[inline]
    pub fn new_row(&self) -> TriggerRow {
        TriggerRow(if self.is_update() { self.data.tg_newtuple } else { self.data.tg_trigtuple })
    }

    /// What a row trigger returns to leave the operation as it is.
    #[inline]
    pub fn unchanged(&self) -> pg_sys::Datum {
        pg_sys::Datum::from(self.new_row().0)
    }

    #[inline]
    pub fn descriptor(&self) -> pg_sys::TupleDesc {
        // SAFETY: the relation is open while its trigger runs.
        unsafe { (*self.data.tg_relation).rd_att }
    }

    pub fn relation(&self) -> pg_sys::Oid {
        // SAFETY: as above.
        unsafe { (*self.data.tg_relation).rd_id }
    }

    /// The trigger itself: a partition has one of its own.
    pub fn oid(&self) -> pg_sys::Oid {
        // SAFETY: as above.
        unsafe { (*self.data.tg_trigger).tgoid }
    }

    pub fn owner(&self) -> pg_sys::Oid {
        // SAFETY: as above.
        unsafe { (*(*self.data.tg_relation).rd_rel).relowner }
    }

    pub fn table_name(&self) -> String {
        // SAFETY: as above; names are terminated.
        unsafe { CStr::from_ptr((*(*self.data.tg_relation).rd_rel).relname.data.as_ptr()) }.to_string_lossy().into()
    }

    /// Of a trigger on a view: the one table the view reads, qualified and quoted.
    pub fn table_of_view(&self) -> Option<String> {
        // SAFETY: the rules of an open view are valid; its rewrite rule has one query, whose range table names what it reads.
        unsafe {
            let rules = (*self.data.tg_relation).rd_rules;
            if rules.is_null() || (*rules).numLocks != 1 {
                return None;
            }
            let actions = pgrx::PgList::<pg_sys::Query>::from_pg((**(*rules).rules).actions);
            let query = actions.get_ptr(0)?;
            let entries = pgrx::PgList::<pg_sys::RangeTblEntry>::from_pg((*query).rtable);
            // Up to 15 the view itself stands there too, as OLD and NEW.
            let mut read = entries
                .iter_ptr()
                .map(|entry| &*entry)
                .filter(|entry| entry.rtekind == pg_sys::RTEKind::RTE_RELATION && entry.relid != self.relation());
            let table = read.next().filter(|_| read.next().is_none())?.relid;
            let text = |name: *const std::ffi::c_char| {
                (!name.is_null()).then(|| CStr::from_ptr(name).to_string_lossy().into_owned())
            };
            let schema = text(pg_sys::get_namespace_name(pg_sys::get_rel_namespace(table)))?;
            Some(pgrx::spi::quote_qualified_identifier(&schema, &text(pg_sys::get_rel_name(table))?))
        }
    }

    /// The columns of the primary key and their types, in the index's order; none where there is no primary key.
    pub fn primary_key(&self) -> Vec<(i32, pg_sys::Oid)> {
        // SAFETY: the relation is open while its trigger runs.
        let key = unsafe { crate::pg::index_lookup::primary_key(self.data.tg_relation) };
        let columns = key.into_iter().flat_map(|key| key.columns).map(i32::from);
        // SAFETY: the numbers are the descriptor's.
        columns.map(|number| (number, unsafe { pg_sys::SPI_gettypeid(self.descriptor(), number) })).collect()
    }

    /// A unique index of exactly these columns.
    pub fn unique_index(&self, columns: &[i32]) -> Option<pg_sys::Oid> {
        let columns: Vec<i16> = columns.iter().map(|column| *column as i16).collect();
        // SAFETY: the relation is open while its trigger runs.
        unsafe { crate::pg::index_lookup::unique_index(self.data.tg_relation, &columns) }
    }

    /// Raises 42804 about a column of a type that the function cannot work with.
    pub fn refuse_type(&self, column: &str, expected: &'static str) -> ! {
        TriggerError::ColumnType { table: self.table_name(), column: column.to_owned(), expected }.raise()
    }

    /// As `old`, taken apart. For AFTER triggers.
    pub fn old_slot(&self) -> Slot<'a> {
        assert!(!self.data.tg_trigslot.is_null(), "a trigger FOR EACH ROW has a row");
        // SAFETY: PostgreSQL fills it for UPDATE and DELETE, and for INSERT with the new row.
        unsafe { Slot::of(self.data.tg_trigslot) }
    }

    /// As `new_row`, taken apart. For AFTER triggers.
    pub fn new_slot(&self) -> Slot<'a> {
        let slot = if self.is_update() { self.data.tg_newslot } else { self.data.tg_trigslot };
        assert!(!slot.is_null(), "a trigger FOR EACH ROW has a row");
        // SAFETY: as above; for UPDATE the new row has a slot of its own.
        unsafe { Slot::of(slot) }
    }

    /// The arguments given in CREATE TRIGGER.
    pub fn arguments(&self) -> Vec<&'a str> {
        // SAFETY: tgargs has tgnargs terminated strings that live as long as the relation's descriptor.
        unsafe {
            let trigger = &*self.data.tg_trigger;
            (0..trigger.tgnargs as usize)
                .map(|i| CStr::from_ptr(*trigger.tgargs.add(i)).to_str().unwrap_or_default())
                .collect()
        }
    }

    /// The number of a column of the given type; None when the table has no such column. Another type raises 42804.
    pub fn column(&self, name: &str, column_type: ColumnType) -> Option<i32> {
        let number = self.attribute(name)?;
        // SAFETY: the number is one of the descriptor's.
        if unsafe { pg_sys::SPI_gettypeid(self.descriptor(), number) } != column_type.oid() {
            let (table, column) = (self.table_name(), name.to_owned());
            TriggerError::ColumnType { table, column, expected: column_type.name() }.raise();
        }
        Some(number)
    }

    /// As `column`, but None for a column of another type.
    pub fn column_if(&self, name: &str, column_type: ColumnType) -> Option<i32> {
        // SAFETY: the number is one of the descriptor's.
        self.attribute(name).filter(|n| unsafe { pg_sys::SPI_gettypeid(self.descriptor(), *n) } == column_type.oid())
    }

    /// As `column`, but raises 42703 when there is none.
    pub fn required_column(&self, name: &str, column_type: ColumnType) -> i32 {
        self.column(name, column_type)
            .unwrap_or_else(|| TriggerError::NoColumn { table: self.table_name(), column: name.to_owned() }.raise())
    }

    /// The number and type of a column of any type. Raises 42703 when there is none.
    pub fn any_column(&self, name: &str) -> (i32, pg_sys::Oid) {
        let number = self
            .attribute(name)
            .unwrap_or_else(|| TriggerError::NoColumn { table: self.table_name(), column: name.to_owned() }.raise());
        // SAFETY: the number is one of the descriptor's.
        (number, unsafe { pg_sys::SPI_gettypeid(self.descriptor(), number) })
    }

    /// The number of a column, or None when the table has no such column.
    fn attribute(&self, name: &str) -> Option<i32> {
        let name = CString::new(name).ok()?;
        // SAFETY: the descriptor is valid; an unknown name gives SPI_ERROR_NOATTRIBUTE, which is negative.
        let number = unsafe { pg_sys::SPI_fnumber(self.descriptor(), name.as_ptr()) };
        (number > 0).then_some(number)
    }

    pub fn value(&self, row: TriggerRow, attribute: i32) -> Option<pg_sys::Datum> {
        let mut null = false;
        // SAFETY: the row has the relation's descriptor.
        let datum = unsafe { pg_sys::SPI_getbinval(row.0, self.descriptor(), attribute, &mut null) };
        (!null).then_some(datum)
    }

    /// A uuid column by name; None when it is NULL or missing.
    pub fn uuid(&self, row: TriggerRow, column: &str) -> Option<Uuid> {
        let datum = self.value(row, self.column(column, ColumnType::Uuid)?)?;
        // SAFETY: the column was checked to be a uuid.
        Some(unsafe { crate::pg::uuid::from_datum(datum) })
    }

    /// The tenant a row belongs to: `tenant_id`, and in the table of the tenants themselves `id`.
    pub fn tenant(&self, row: TriggerRow) -> Option<Uuid> {
        let column = self.column("tenant_id", ColumnType::Uuid);
        let datum = self.value(row, column.unwrap_or_else(|| self.required_column("id", ColumnType::Uuid)))?;
        // SAFETY: the column was checked to be a uuid.
        Some(unsafe { crate::pg::uuid::from_datum(datum) })
    }

    /// A text column by name; None when it is NULL or missing.
    pub fn text(&self, row: TriggerRow, column: &str) -> Option<String> {
        let datum = self.value(row, self.column(column, ColumnType::Text)?)?;
        // SAFETY: the column was checked to be text.
        Some(unsafe { crate::pg::function::with_text(datum, str::to_owned) })
    }

    /// A boolean column by name; false when it is NULL or missing.
    pub fn boolean(&self, row: TriggerRow, column: &str) -> bool {
        self.column(column, ColumnType::Boolean).and_then(|a| self.value(row, a)).is_some_and(|d| d.value() != 0)
    }

    /// Whether a column of any type is NULL or missing.
    pub fn is_null(&self, row: TriggerRow, column: &str) -> bool {
        self.attribute(column).and_then(|a| self.value(row, a)).is_none()
    }

    /// The new row with one column changed.
    pub fn with_value(&self, attribute: i32, value: pg_sys::Datum) -> pg_sys::Datum {
        self.with_values(&[(attribute, Some(value))])
    }

    /// The new row with some columns changed; None is NULL.
    pub fn with_values(&self, changes: &[(i32, Option<pg_sys::Datum>)]) -> pg_sys::Datum {
        let columns: Vec<i32> = changes.iter().map(|(column, _)| *column).collect();
        let values: Vec<pg_sys::Datum> =
            changes.iter().map(|(_, value)| value.unwrap_or(pg_sys::Datum::from(0))).collect();
        let nulls: Vec<bool> = changes.iter().map(|(_, value)| value.is_none()).collect();
        // SAFETY: columns of the row's own descriptor; the result is palloc'd, as PostgreSQL expects of triggers.
        let row = unsafe {
            pg_sys::heap_modify_tuple_by_cols(
                self.new_row().0,
                self.descriptor(),
                changes.len() as i32,
                columns.as_ptr().cast_mut(),
                values.as_ptr().cast_mut(),
                nulls.as_ptr().cast_mut(),
            )
        };
        pg_sys::Datum::from(row)
    }

    /// The names of the columns whose stored values differ between the old and the new row.
    pub fn changed_columns(&self) -> Vec<String> {
        // SAFETY: attribute descriptors are valid for the live columns of the relation; both rows have its descriptor.
        let columns = unsafe { pgrx::PgTupleDesc::from_pg_unchecked(self.descriptor()) };
        let values = |number| (self.value(self.old(), number), self.value(self.new_row(), number));
        columns
            .iter()
            .filter(|a| !a.attisdropped)
            .filter(|a| {
                let (old, new) = values(a.attnum.into());
                // SAFETY: as above.
                unsafe { stored::differ(a.attbyval, a.attlen, old, new) }
            })
            .map(|a| a.name().to_owned())
            .collect()
    }
}
