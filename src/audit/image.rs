//! A row as the log shows it: jsonb of its columns, personal values as envelopes, secrets as "changed".

use crate::audit::layout::{Column, Kind, Layout, Treatment};
use crate::audit::subject::{self, Erasing, Person};
use crate::domain::jsonb::{self, TooLarge, Value};
use crate::pg::error::SqlError;
use crate::pg::fixed_output::FixedOutput;
use crate::pg::function::written;
use crate::pg::slot::Slot;
use crate::pg::uuid::from_datum;
use crate::pii::data_keys::{self, DataKey};
use crate::pii::error::PiiError;
use crate::pii::functions::seal;
use crate::protect::emptied::ERASED;
use pgrx::pg_sys;
use std::cell::OnceCell;
use std::ffi::{CStr, c_char};
use std::rc::Rc;
use uuid::Uuid;

/// What stands for a secret, and for what an erasure empties.
pub const CHANGED: &str = "changed";
const EMPTIED: &str = "erased";
/// A longer value is logged as its length: the log of a table with films in it would be as large as the films.
const LONGEST_VALUE: usize = 16 << 20;
/// The same of an array, whose elements may be NULL and take a bit each.
const LONGEST_ARRAY: usize = 1 << 20;
/// The same in a row that is larger than a jsonb can be. A table has at most 1,600 columns: then it can.
const LONGEST_OF_MANY: usize = 128 << 10;

/// One version of a row.
pub struct Image<'a> {
    layout: &'a Layout,
    row: Slot<'a>,
    tenant: Uuid,
    row_key: &'a str,
    /// What the row was, not what it is.
    past: bool,
    key: OnceCell<Key>,
}

/// Under what personal values are logged.
enum Key {
    Some(Rc<DataKey>),
    /// What is left of somebody who is gone.
    Erased,
    /// Whose they are cannot be told.
    Unknown,
}

impl<'a> Image<'a> {
    pub fn before(layout: &'a Layout, row: Slot<'a>, tenant: Uuid, row_key: &'a str) -> Image<'a> {
        Image { layout, row, tenant, row_key, past: true, key: OnceCell::new() }
    }

    pub fn after(layout: &'a Layout, row: Slot<'a>, tenant: Uuid, row_key: &'a str) -> Image<'a> {
        Image { layout, row, tenant, row_key, past: false, key: OnceCell::new() }
    }

    /// All columns that are not NULL, as a jsonb datum in the current memory context. Where most are NULL, that is a third
    /// of the log.
    pub fn whole(&self) -> pg_sys::Datum {
        self.some(self.layout.columns.iter().filter(|column| self.row.value(column.number).is_some()))
    }

    /// Some of the columns, in their order.
    pub fn some<'c>(&self, columns: impl Iterator<Item = &'c Column>) -> pg_sys::Datum {
        let mut fields: Vec<(&[u8], Value)> = columns.map(|column| (&*column.name, self.value(column))).collect();
        let bytes = jsonb::object(&fields).or_else(|TooLarge| {
            for (_, value) in fields.iter_mut().filter(|(_, value)| value.length() > LONGEST_OF_MANY) {
                *value = too_long(value.length());
            }
            jsonb::object(&fields)
        });
        let bytes = bytes.unwrap_or_else(|TooLarge| pgrx::error!("a row of the log is too large"));
        // SAFETY: as large as the bytes, whose first four are the header's.
        unsafe {
            let datum = pg_sys::palloc(bytes.len()).cast::<u8>();
            datum.copy_from_nonoverlapping(bytes.as_ptr(), bytes.len());
            pgrx::set_varsize_4b(datum.cast(), bytes.len() as i32);
            pg_sys::Datum::from(datum)
        }
    }

    fn value(&self, column: &'a Column) -> Value<'a> {
        let Some(datum) = self.row.value(column.number) else { return Value::Null };
        match &column.treatment {
            Treatment::Secret => Value::Text(CHANGED.as_bytes()),
            Treatment::Plain => plain(column, datum),
            Treatment::Personal(field) => self.personal(field, plain(column, datum)),
        }
    }

    /// The value as an envelope: text as it is, anything else as its JSON text. What is empty says nothing.
    fn personal(&self, field: &str, value: Value<'a>) -> Value<'a> {
        let value = match value {
            Value::Uuid(uuid) => Value::OwnedText(uuid.hyphenated().to_string()),
            other => other,
        };
        let jsonb = match &value {
            Value::Jsonb(stored) => Some(*stored),
            Value::OwnedJsonb(stored) => Some(&**stored),
            _ => None,
        };
        let text = match (&value, jsonb) {
            (Value::Text(text), _) => Some(*text),
            (Value::OwnedText(text), _) => Some(text.as_bytes()),
            (_, Some(stored)) => jsonb::as_string(stored),
            _ => None,
        };
        let says_nothing = |text: &[u8]| text.is_empty() || is_erased(text, self.row_key);
        if matches!(value, Value::Null) || jsonb.is_some_and(jsonb::is_empty) || text.is_some_and(says_nothing) {
            return value;
        }
        let erased = Value::Text(EMPTIED.as_bytes());
        if Erasing::is_on() {
            return erased;
        }
        let key = match self.key.get_or_init(|| self.data_key()) {
            Key::Some(key) => key,
            Key::Erased => return erased,
            Key::Unknown => return Value::Text(CHANGED.as_bytes()),
        };
        let envelope = |text: &str| Value::OwnedText(seal(key, field, self.row_key, text));
        match (text, jsonb) {
            // Text of a database is UTF-8, and so is what is in its jsonb.
            (Some(text), _) => envelope(&String::from_utf8_lossy(text)),
            (None, Some(stored)) => envelope(&json_text(stored)),
            (None, None) => {
                let one = jsonb::object(&[(b"", value)]).unwrap_or_else(|_| PiiError::TooLong.raise());
                let object = json_text(&one[4..]);
                envelope(object.strip_prefix("{\"\": ").and_then(|rest| rest.strip_suffix('}')).unwrap_or(&object))
            }
        }
    }

    /// That of the person or, for a row about nobody, the tenant's.
    fn data_key(&self) -> Key {
        let person = self.layout.subject.as_ref().map_or(Person::Nobody, |path| path.person(self.tenant, self.row));
        let (kind, id) = match person {
            Person::Known(kind, id) => (kind, id),
            Person::Nobody => (data_keys::TENANT, self.tenant),
            Person::Unknown => return Key::Unknown,
        };
        if self.past {
            return subject::key_of_past(self.tenant, kind, id).map_or(Key::Erased, Key::Some);
        }
        // An erasure of the person waits for what is written now, or it would not see it.
        Key::Some(match person {
            Person::Known(..) => data_keys::for_writing(self.tenant, kind, id),
            _ => data_keys::of_tenant(self.tenant),
        })
    }
}

/// What an erasure left, with the row's key where values must differ.
fn is_erased(text: &[u8], row_key: &str) -> bool {
    let rest = text.strip_prefix(ERASED.as_bytes());
    rest.is_some_and(|rest| rest.is_empty() || rest.strip_prefix(b" ") == Some(row_key.as_bytes()))
}

/// PostgreSQL's text of a stored jsonb.
fn json_text(stored: &[u8]) -> String {
    // SAFETY: a copy that is aligned, as the function reads words; the text is copied before it is given back.
    unsafe {
        let copy = pg_sys::palloc(stored.len()).cast::<u8>();
        copy.copy_from_nonoverlapping(stored.as_ptr(), stored.len());
        let text = pg_sys::JsonbToCString(std::ptr::null_mut(), copy.cast(), stored.len() as i32);
        CStr::from_ptr(text).to_string_lossy().into_owned()
    }
}

/// The primary key as text: of one column its value, of several a JSON array of theirs; without one nothing.
pub fn row_key(layout: &Layout, row: Slot) -> String {
    let text = |(number, of): &(i32, pg_sys::Oid)| {
        // SAFETY: the type is the column's own. The log does not depend on the session's settings.
        row.value(*number).map(|datum| unsafe {
            if *of == pg_sys::UUIDOID {
                return from_datum(datum).hyphenated().to_string();
            }
            let _settings = FixedOutput::begin();
            written(datum, *of)
        })
    };
    match layout.key.as_slice() {
        [] => String::new(),
        [one] => text(one).unwrap_or_default(),
        several => {
            let texts: Vec<Option<String>> = several.iter().map(text).collect();
            serde_json::to_string(&texts).expect("texts are JSON")
        }
    }
}

fn plain<'a>(column: &'a Column, datum: pg_sys::Datum) -> Value<'a> {
    // SAFETY: the kind is that of the column's type.
    unsafe {
        match &column.kind {
            Kind::Bool => Value::Bool(datum.value() != 0),
            Kind::Int2 => Value::Integer((datum.value() as i16).into()),
            Kind::Int4 => Value::Integer((datum.value() as i32).into()),
            Kind::Int8 => Value::Integer(datum.value() as i64),
            Kind::Uuid => Value::Uuid(from_datum(datum)),
            Kind::Numeric => match varlena(datum) {
                special if jsonb::is_special(special) => Value::OwnedText(written(datum, pg_sys::NUMERICOID)),
                number => Value::Numeric(number),
            },
            Kind::Text => match length(datum) {
                long if long > LONGEST_VALUE => too_long(long),
                _ => Value::Text(varlena(datum)),
            },
            Kind::Jsonb => match length(datum) {
                long if long > LONGEST_VALUE => too_long(long),
                _ => Value::Jsonb(varlena(datum)),
            },
            Kind::Time(of) => time(datum, *of),
            Kind::Other(to_jsonb) => {
                let longest = if to_jsonb.is_array { LONGEST_ARRAY } else { LONGEST_VALUE };
                if column.length == -1 && length(datum) > longest {
                    return too_long(length(datum));
                }
                let _settings = FixedOutput::begin();
                to_jsonb.call(datum).map_or_else(Value::OwnedText, |jsonb| Value::OwnedJsonb(varlena(jsonb).to_vec()))
            }
        }
    }
}

fn too_long(bytes: usize) -> Value<'static> {
    Value::OwnedText(format!("[{bytes} bytes, not logged]"))
}

/// Bytes of a varlena, before it is decompressed or fetched.
///
/// # Safety
/// The datum is a varlena.
unsafe fn length(datum: pg_sys::Datum) -> usize {
    // SAFETY: per contract.
    unsafe { pg_sys::toast_raw_datum_size(datum) }
}

/// What a varlena holds, decompressed in the memory of the row where it has to be.
///
/// # Safety
/// The datum is a varlena that outlives the row being logged.
unsafe fn varlena<'a>(datum: pg_sys::Datum) -> &'a [u8] {
    // SAFETY: per contract.
    unsafe {
        let stored = datum.cast_mut_ptr::<pg_sys::varlena>();
        let plain = pgrx::varatt_is_4b_u(stored) || (pgrx::varatt_is_1b(stored) && !pgrx::varatt_is_1b_e(stored));
        pgrx::varlena_to_byte_slice(if plain { stored } else { pg_sys::pg_detoast_datum_packed(stored) })
    }
}

/// ISO 8601, in UTC.
fn time(datum: pg_sys::Datum, of: pg_sys::Oid) -> Value<'static> {
    // The text of the farthest time there is fits.
    let (mut buffer, utc) = ([0 as c_char; 128], 0);
    // SAFETY: writes a terminated text into the buffer.
    let text = unsafe {
        pg_sys::JsonEncodeDateTime(buffer.as_mut_ptr(), datum, of, &utc);
        CStr::from_ptr(buffer.as_ptr())
    };
    Value::OwnedText(text.to_string_lossy().into_owned())
}
