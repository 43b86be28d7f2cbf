//! What an event says of a row: the listed columns as JSON, and nothing personal.

use crate::access::invalidation::{self, Watched};
use crate::domain::jsonb::{self, Value};
use crate::outbox::error::OutboxError;
use crate::pg::cell::BackendCell;
use crate::pg::error::{OrRaise, SqlError};
use crate::pg::fixed_output::FixedOutput;
use crate::pg::fresh::{self, Arg};
use crate::pg::function::{bytes_datum, written};
use crate::pg::kept::Kept;
use crate::pg::trigger::{Trigger, TriggerRow};
use crate::pg::uuid::from_datum;
use crate::protect::error::ProtectError;
use crate::protect::options::Options;
use pgrx::pg_sys;
use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

/// A table that events come from. Of a partition, the table it is part of.
pub struct Source {
    /// Its name as consumers know it.
    pub document: String,
    pub tenant_column: String,
    /// Columns that hold personal data, in clear or encrypted.
    personal: Vec<String>,
}

const FIND: &str = "SELECT n.nspname || '.' || c.relname, p.options::text
     FROM thorbis.protected_tables p JOIN pg_class c ON c.oid = p.table_id JOIN pg_namespace n ON n.oid = c.relnamespace
     WHERE p.table_id = coalesce(pg_partition_root($1::oid::regclass), $1::oid::regclass)";

type Known = HashMap<pg_sys::Oid, (u64, Kept<Source>)>;

/// By table, as of a generation of the access data, to which the options of protection belong.
static SOURCES: BackendCell<RefCell<Option<Known>>> = BackendCell::new(RefCell::new(None));

/// What is known of the trigger's table. Raises when that is nothing.
pub fn source(trigger: &Trigger) -> Rc<Source> {
    let table = trigger.relation();
    let generation = invalidation::generation();
    let known = SOURCES.borrow().as_ref().and_then(|sources| {
        let (as_of, kept) = sources.get(&table)?;
        if *as_of == generation { kept.get() } else { None }
    });
    known.unwrap_or_else(|| {
        let Some(read) = read(table) else { OutboxError::NotProtected { table: trigger.table_name() }.raise() };
        let kept = Kept::new(read);
        let source = kept.value();
        SOURCES.borrow_mut().get_or_insert_default().insert(table, (generation, kept));
        source
    })
}

fn read(table: pg_sys::Oid) -> Option<Source> {
    let registry = invalidation::relation(Watched::ProtectedTables)?;
    let mut found = None;
    let args = [Arg::Value(pg_sys::OIDOID, Some(pg_sys::Datum::from(table)))];
    fresh::read(registry.owner, registry.oid, FIND, &args, |row| found = row.text(1).zip(row.text(2)));
    let (document, options) = found?;
    let unreadable = |reason: String| ProtectError::StoredOptions { table: document.clone(), reason };
    let options = serde_json::from_str(&options).map_err(|e| unreadable(e.to_string())).or_raise();
    let options = Options::parse(options).or_raise();
    let in_clear = options.pii.iter().map(|pii| pii.column.clone());
    let personal = in_clear.chain(options.sealed_columns()).collect();
    Some(Source { personal, tenant_column: options.tenant_column, document })
}

/// The columns of a row as a jsonb datum. Raises for a column with personal data.
pub fn of(trigger: &Trigger, source: &Source, row: TriggerRow, columns: &[&str]) -> pg_sys::Datum {
    let mut fields: Vec<(&[u8], Value)> = columns
        .iter()
        .map(|column| {
            if source.personal.iter().any(|personal| personal == column) {
                let (table, column) = (trigger.table_name(), (*column).to_owned());
                OutboxError::Personal { table, column }.raise();
            }
            let (number, of) = trigger.any_column(column);
            // SAFETY: the value is of the column's type.
            let value = trigger.value(row, number).map_or(Value::Null, |datum| unsafe { json(datum, of) });
            (column.as_bytes(), value)
        })
        .collect();
    fields.sort_by(|(a, _), (b, _)| jsonb::key_order(a, b));
    fields.dedup_by(|(a, _), (b, _)| a == b);
    let bytes = jsonb::object(&fields).unwrap_or_else(|jsonb::TooLarge| OutboxError::TooLarge.raise());
    // The first four bytes are left for the header.
    bytes_datum(&bytes[size_of::<u32>()..])
}

/// # Safety
/// The datum is of the type and outlives the value.
unsafe fn json<'a>(datum: pg_sys::Datum, of: pg_sys::Oid) -> Value<'a> {
    // SAFETY: per contract; what is decompressed stays in the memory of the statement.
    let bytes = || unsafe { pgrx::varlena_to_byte_slice(pg_sys::pg_detoast_datum_packed(datum.cast_mut_ptr())) };
    match of {
        pg_sys::BOOLOID => Value::Bool(datum.value() != 0),
        pg_sys::INT2OID => Value::Integer((datum.value() as i16).into()),
        pg_sys::INT4OID => Value::Integer((datum.value() as i32).into()),
        pg_sys::INT8OID => Value::Integer(datum.value() as i64),
        // SAFETY: per contract.
        pg_sys::UUIDOID => Value::Uuid(unsafe { from_datum(datum) }),
        pg_sys::TEXTOID | pg_sys::VARCHAROID => Value::Text(bytes()),
        pg_sys::JSONBOID => Value::Jsonb(bytes()),
        pg_sys::NUMERICOID if !jsonb::is_special(bytes()) => Value::Numeric(bytes()),
        _ => {
            let _settings = FixedOutput::begin();
            // SAFETY: per contract.
            Value::OwnedText(unsafe { written(datum, of) })
        }
    }
}
