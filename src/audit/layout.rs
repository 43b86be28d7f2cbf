//! What a trigger knows of its table: kept by the backend, so that neither a row nor a statement asks the catalog again.

use crate::audit::subject::SubjectPath;
use crate::domain::audit_spec::AuditSpec;
use crate::domain::jsonb;
use crate::pg::cell::BackendCell;
use crate::pg::error::SqlError;
use crate::pg::function::written;
use crate::pg::subtransaction::attempt;
use crate::pg::trigger::{ColumnType, Trigger, TriggerError};
use pgrx::{PgMemoryContexts, PgSqlErrorCode, pg_sys};
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;

/// A table with its trigger.
pub struct Layout {
    pub table: String,
    pub tenant: i32,
    /// The columns of the primary key without the tenant, with their types.
    pub key: Vec<(i32, pg_sys::Oid)>,
    /// Those that are logged, in the order of their names within a JSON object.
    pub columns: Vec<Column>,
    pub subject: Option<SubjectPath>,
    /// There should be a way to the person, and it leads nowhere.
    lost: bool,
}

pub struct Column {
    pub number: i32,
    pub name: Box<[u8]>,
    pub kind: Kind,
    pub by_value: bool,
    pub length: i16,
    pub treatment: Treatment,
}

/// How a value becomes JSON.
pub enum Kind {
    Bool,
    Int2,
    Int4,
    Int8,
    Numeric,
    Uuid,
    Text,
    /// date, timestamp, timestamptz: their type.
    Time(pg_sys::Oid),
    Jsonb,
    /// By `to_jsonb`.
    Other(ToJsonb),
}

/// What the log shows of a value.
pub enum Treatment {
    Plain,
    /// That it changed.
    Secret,
    /// The value as an envelope bound to this field.
    Personal(String),
}

/// `to_jsonb` for one type.
pub struct ToJsonb {
    function: Box<pg_sys::FmgrInfo>,
    of: pg_sys::Oid,
    /// Whether a value may be no jsonb: JSON text may be what jsonb cannot hold, casts of others may do anything.
    may_fail: bool,
    pub is_array: bool,
    /// Where the function keeps what it remembers; goes with it.
    _memory: PgMemoryContexts,
}

impl ToJsonb {
    fn of(column: &pg_sys::FormData_pg_attribute) -> ToJsonb {
        // SAFETY: a child of the memory that lasts, not of that of the row.
        let mut memory = unsafe {
            PgMemoryContexts::TopMemoryContext.switch_to(|_| PgMemoryContexts::new("thorbis_db audit column"))
        };
        let mut function = Box::new(pg_sys::FmgrInfo::default());
        // SAFETY: the memory lives as long as the function; to_jsonb asks its call expression for the type of its argument.
        unsafe {
            memory.switch_to(|context| {
                pg_sys::fmgr_info_cxt(pg_sys::Oid::from(pg_sys::F_TO_JSONB), &mut *function, context.value());
                let argument = pg_sys::makeNullConst(column.atttypid, column.atttypmod, column.attcollation);
                let arguments = pg_sys::lappend(std::ptr::null_mut(), argument.cast());
                function.fn_expr = pg_sys::makeFuncExpr(
                    pg_sys::Oid::from(pg_sys::F_TO_JSONB),
                    pg_sys::JSONBOID,
                    arguments,
                    pg_sys::InvalidOid,
                    pg_sys::InvalidOid,
                    pg_sys::CoercionForm::COERCE_EXPLICIT_CALL,
                )
                .cast();
            });
        }
        let of = column.atttypid;
        // SAFETY: catalog look-ups.
        let is_array = unsafe { pg_sys::get_element_type(pg_sys::getBaseType(of)) } != pg_sys::InvalidOid;
        ToJsonb { function, of, may_fail: may_fail(of), is_array, _memory: memory }
    }

    /// The jsonb datum of a value; the value's text where it cannot be jsonb.
    ///
    /// # Safety
    /// The value is of the type.
    pub unsafe fn call(&self, value: pg_sys::Datum) -> Result<pg_sys::Datum, String> {
        // SAFETY: per contract. PostgreSQL writes what it remembers into the function, which nothing else refers to.
        let call =
            || unsafe { pg_sys::FunctionCall1Coll((&raw const *self.function).cast_mut(), pg_sys::InvalidOid, value) };
        let made = if self.may_fail { attempt(&NOT_JSONB, call) } else { Some(call()) };
        // SAFETY: per contract.
        made.ok_or_else(|| unsafe { written(value, self.of) })
    }
}

/// What `to_jsonb` says of JSON text that jsonb cannot hold: the letter \u0000, half of a surrogate pair, numbers beyond
/// numeric, texts and depths beyond its limits.
const NOT_JSONB: [PgSqlErrorCode; 5] = [
    PgSqlErrorCode::ERRCODE_UNTRANSLATABLE_CHARACTER,
    PgSqlErrorCode::ERRCODE_INVALID_TEXT_REPRESENTATION,
    PgSqlErrorCode::ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE,
    PgSqlErrorCode::ERRCODE_PROGRAM_LIMIT_EXCEEDED,
    PgSqlErrorCode::ERRCODE_STATEMENT_TOO_COMPLEX,
];

/// Not so for PostgreSQL's own types, but for json and what is made of it.
fn may_fail(of: pg_sys::Oid) -> bool {
    // SAFETY: catalog look-ups.
    let (base, element) = unsafe {
        let element = pg_sys::get_base_element_type(of);
        (pg_sys::getBaseType(of), if element == pg_sys::InvalidOid { element } else { pg_sys::getBaseType(element) })
    };
    // SAFETY: as above. The labels of an enum are texts.
    let is_enum = |of: &pg_sys::Oid| unsafe { pg_sys::get_typtype(*of) } as u8 == pg_sys::TYPTYPE_ENUM;
    let own = |of: &pg_sys::Oid| of.to_u32() >= pg_sys::FirstNormalObjectId && !is_enum(of);
    [base, element].iter().any(|of| *of == pg_sys::JSONOID || own(of))
}

/// A layout, and whether the catalog still says so.
struct Known {
    layout: Rc<Layout>,
    /// The table, and those its rows lead to their person through.
    relations: Vec<pg_sys::Oid>,
    valid: Cell<bool>,
}

#[derive(Default)]
struct Cache {
    /// By trigger: that of a partition is its own.
    by_trigger: RefCell<HashMap<pg_sys::Oid, Known>>,
    last: RefCell<Option<(pg_sys::Oid, Rc<Layout>)>>,
}

static CACHE: BackendCell<std::sync::LazyLock<Cache>> = BackendCell::new(std::sync::LazyLock::new(Default::default));

pub fn init() {
    // SAFETY: registered once per backend; the callback touches no memory of a transaction.
    unsafe { pg_sys::CacheRegisterRelcacheCallback(Some(on_relcache_message), pg_sys::Datum::from(0)) };
}

unsafe extern "C-unwind" fn on_relcache_message(_arg: pg_sys::Datum, relation: pg_sys::Oid) {
    let cache: &Cache = &CACHE;
    // Nothing here calls PostgreSQL while it holds a borrow, so no message comes in between.
    if let (Ok(known), Ok(mut last)) = (cache.by_trigger.try_borrow(), cache.last.try_borrow_mut()) {
        let stale = |known: &&Known| relation == pg_sys::InvalidOid || known.relations.contains(&relation);
        for known in known.values().filter(stale) {
            known.valid.set(false);
            *last = None;
        }
    }
}

/// The layout for the trigger that is running.
pub fn of(trigger: &Trigger) -> Rc<Layout> {
    let (cache, oid): (&Cache, _) = (&CACHE, trigger.oid());
    if let Some((_, layout)) = cache.last.borrow().as_ref().filter(|(known, _)| *known == oid) {
        return Rc::clone(layout);
    }
    let known = cache.by_trigger.borrow().get(&oid).filter(|k| k.valid.get()).map(|k| Rc::clone(&k.layout));
    let layout = known.unwrap_or_else(|| {
        let layout = Rc::new(Layout::read(trigger));
        let through = layout.subject.iter().flat_map(SubjectPath::relations);
        let relations = std::iter::once(trigger.relation()).chain(through).collect();
        // What is not there sends no message when it comes back.
        let known = Known { valid: Cell::new(!layout.lost), layout: Rc::clone(&layout), relations };
        cache.by_trigger.borrow_mut().insert(oid, known);
        layout
    });
    if !layout.lost {
        cache.last.replace(Some((oid, Rc::clone(&layout))));
    }
    layout
}

/// What the trigger was told.
pub fn spec(trigger: &Trigger) -> AuditSpec {
    let spec = trigger.arguments().first().and_then(|text| AuditSpec::parse(text));
    spec.unwrap_or_else(|| TriggerError::Arguments { table: trigger.table_name() }.raise())
}

impl Layout {
    fn read(trigger: &Trigger) -> Layout {
        let spec = spec(trigger);
        // SAFETY: the relation is open while its trigger runs.
        let attributes = unsafe { pgrx::PgTupleDesc::from_pg_unchecked(trigger.descriptor()) };
        let live = || attributes.iter().filter(|a| !a.attisdropped);
        // A column that was renamed, or dropped: until protect() has looked again, no other may show what it held.
        let mut named = spec.personal.keys().chain(&spec.secret).chain(&spec.exclude);
        let outdated = !named.all(|name| live().any(|a| a.name() == name));
        let subject = spec.subject.clone().map(|subject| SubjectPath::of(trigger, subject));
        let lost = matches!(subject, Some(None));
        let tenant = trigger.required_column(&spec.tenant, ColumnType::Uuid);
        let key = key_columns(trigger, tenant);
        let mut columns: Vec<Column> = live()
            .filter(|a| !spec.exclude.iter().any(|name| name == a.name()) && a.attgenerated != b'v' as std::ffi::c_char)
            .map(|a| {
                let kind = Kind::of(a);
                let is_key = key.iter().any(|(number, _)| *number == i32::from(a.attnum));
                let treatment = match treatment(&spec, a.name(), outdated && !is_key) {
                    // Under whose key it would have to be, nobody knows.
                    Treatment::Personal(_) if lost => Treatment::Secret,
                    known => known,
                };
                Column {
                    number: a.attnum.into(),
                    name: a.name().as_bytes().into(),
                    kind,
                    by_value: a.attbyval,
                    length: a.attlen,
                    treatment,
                }
            })
            .collect();
        columns.sort_by(|a, b| jsonb::key_order(&a.name, &b.name));
        Layout { tenant, key, columns, subject: subject.flatten(), table: spec.table, lost }
    }
}

fn treatment(spec: &AuditSpec, name: &str, outdated: bool) -> Treatment {
    let is_in = |list: &[String]| list.iter().any(|listed| listed == name);
    match spec.personal.get(name) {
        Some(field) => Treatment::Personal(field.clone()),
        None if is_in(&spec.secret) => Treatment::Secret,
        // Names may have changed places: what any of them holds is not known.
        None if outdated && name != spec.tenant => Treatment::Secret,
        None => Treatment::Plain,
    }
}

impl Kind {
    fn of(column: &pg_sys::FormData_pg_attribute) -> Kind {
        // SAFETY: a catalog look-up.
        match unsafe { pg_sys::getBaseType(column.atttypid) } {
            pg_sys::BOOLOID => Kind::Bool,
            pg_sys::INT2OID => Kind::Int2,
            pg_sys::INT4OID => Kind::Int4,
            pg_sys::INT8OID => Kind::Int8,
            pg_sys::NUMERICOID => Kind::Numeric,
            pg_sys::UUIDOID => Kind::Uuid,
            pg_sys::TEXTOID | pg_sys::VARCHAROID | pg_sys::BPCHAROID => Kind::Text,
            time @ (pg_sys::DATEOID | pg_sys::TIMESTAMPOID | pg_sys::TIMESTAMPTZOID) => Kind::Time(time),
            pg_sys::JSONBOID => Kind::Jsonb,
            _ => Kind::Other(ToJsonb::of(column)),
        }
    }
}

/// The columns of the primary key in the index's order, without the tenant. None for a table without a primary key.
fn key_columns(trigger: &Trigger, tenant: i32) -> Vec<(i32, pg_sys::Oid)> {
    trigger.primary_key().into_iter().filter(|(number, _)| *number != tenant).collect()
}
