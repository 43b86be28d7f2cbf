//! `encrypt_pii_columns()`, and the document's `encrypt_customer_pii()`, which is the same: what the application writes
//! to a column goes encrypted into the columns beside it, and the column itself stays NULL.
//!
//! Writing NULL leaves a value as it is, '' removes it. The trigger fires for replicated rows too (ENABLE ALWAYS).

use crate::access::invalidation;
use crate::context::current;
use crate::domain::names;
use crate::domain::personal::Kind;
use crate::pg::error::SqlError;
use crate::pg::function::{bytes_datum, guarded, text_datum, with_text, written};
use crate::pg::identity;
use crate::pg::trigger::{ColumnType, Firing, Trigger, TriggerError, TriggerRow};
use crate::pii::data_keys::{self, DataKey};
use crate::pii::error::PiiError;
use crate::pii::functions;
use crate::pii::functions::{Grant, open, seal};
use crate::v1_function;
use pgrx::{PgMemoryContexts, pg_sys};
use std::rc::Rc;
use uuid::Uuid;

v1_function!(
    /// AFTER DELETE FOR EACH ROW on `shared.tenants`: without its keys, nothing of a purged tenant can be read anywhere.
    thorbis_delete_tenant_keys, pg_finfo_thorbis_delete_tenant_keys, |fcinfo| {
    guarded(|| {
        // SAFETY: called by PostgreSQL as declared.
        let trigger = unsafe { Trigger::of(fcinfo, Firing::AfterRow) };
        if let Some(tenant) = trigger.uuid(trigger.old(), "id") {
            data_keys::destroy_all(tenant);
        }
        trigger.unchanged()
    })
});

v1_function!(
    /// BEFORE INSERT OR UPDATE FOR EACH ROW. Arguments: tenant column, key column, kind of subject, subject column (both
    /// may be empty), then for each column: field, column, kind of value, and of 'index' and 'required' what applies.
    thorbis_encrypt_pii_columns, pg_finfo_thorbis_encrypt_pii_columns, |fcinfo| {
    guarded(|| {
        // SAFETY: called by PostgreSQL as declared; fn_extra holds nothing but a `Layout`, which is dropped with it.
        unsafe {
            let trigger = Trigger::of(fcinfo, Firing::BeforeRow);
            let flinfo = (*fcinfo).flinfo;
            if (*flinfo).fn_extra.is_null() {
                let layout = Layout::of(&trigger);
                (*flinfo).fn_extra = PgMemoryContexts::For((*flinfo).fn_mcxt).leak_and_drop_on_delete(layout).cast();
            }
            encrypt(&trigger, &*(*flinfo).fn_extra.cast::<Layout>())
        }
    })
});

/// The columns of one table, by number.
struct Layout {
    tenant: i32,
    key: (i32, pg_sys::Oid),
    subject_kind: String,
    subject: Option<i32>,
    columns: Vec<Column>,
}

struct Column {
    field: String,
    name: String,
    kind: Kind,
    plain: (i32, pg_sys::Oid),
    encrypted: i32,
    blind_index: Option<i32>,
    required: bool,
}

/// Where a row's values belong.
#[derive(PartialEq, Eq)]
struct Owner {
    tenant: Uuid,
    row: String,
    subject: Option<Uuid>,
}

impl Layout {
    fn of(trigger: &Trigger) -> Layout {
        let arguments = trigger.arguments();
        let malformed = || -> ! { TriggerError::Arguments { table: trigger.table_name() }.raise() };
        let [tenant, key, subject_kind, subject, columns @ ..] = arguments.as_slice() else { malformed() };
        let column = |group: &[&str]| {
            let [field, name, kind, flags] = group else { malformed() };
            Column {
                field: (*field).into(),
                name: (*name).into(),
                kind: Kind::of(kind).unwrap_or_else(|| malformed()),
                plain: trigger.any_column(name),
                encrypted: trigger.required_column(&names::encrypted_column(name), ColumnType::Text),
                required: flags.split(' ').any(|flag| flag == "required"),
                blind_index: flags
                    .split(' ')
                    .any(|flag| flag == "index")
                    .then(|| trigger.required_column(&names::blind_index_column(name), ColumnType::Bytea)),
            }
        };
        Layout {
            tenant: trigger.required_column(tenant, ColumnType::Uuid),
            key: trigger.any_column(key),
            subject_kind: (*subject_kind).into(),
            subject: (!subject.is_empty()).then(|| trigger.required_column(subject, ColumnType::Uuid)),
            columns: columns.chunks(4).map(column).collect(),
        }
    }

    fn owner(&self, trigger: &Trigger, row: TriggerRow) -> Option<Owner> {
        let uuid = |column| {
            // SAFETY: `required_column` checked the type.
            trigger.value(row, column).map(|datum| unsafe { crate::pg::uuid::from_datum(datum) })
        };
        // SAFETY: the type is the column's own.
        let key = trigger.value(row, self.key.0).map(|datum| unsafe { written(datum, self.key.1) });
        Some(Owner { tenant: uuid(self.tenant)?, row: key?, subject: self.subject.and_then(uuid) })
    }
}

fn encrypt(trigger: &Trigger, layout: &Layout) -> pg_sys::Datum {
    let new = trigger.new_row();
    // Without tenant or key the constraints report it.
    let Some(owner) = layout.owner(trigger, new) else { return trigger.unchanged() };
    let operator = identity::operates_all_tenants();
    // This runs before the policies: a row for another tenant is theirs to refuse, and must not touch its keys.
    if !operator && current::get().tenant != Some(owner.tenant) && !acts_as_owner(trigger) {
        return trigger.unchanged();
    }
    // A person's key that was destroyed meanwhile must not encrypt anything more.
    invalidation::refresh();
    let before = trigger.is_update().then(|| layout.owner(trigger, trigger.old())).flatten();
    let mut row = Row { trigger, layout, owner, before, key: None, changes: Vec::new() };
    for column in &layout.columns {
        row.encrypt(column, operator);
    }
    if row.changes.is_empty() { trigger.unchanged() } else { trigger.with_values(&row.changes) }
}

/// Our own rewriting of existing rows, and cascades.
fn acts_as_owner(trigger: &Trigger) -> bool {
    crate::pg::raw::user_ids().1 == trigger.owner()
}

/// A row being written.
struct Row<'a> {
    trigger: &'a Trigger<'a>,
    layout: &'a Layout,
    owner: Owner,
    /// Where the values belonged before an UPDATE.
    before: Option<Owner>,
    key: Option<Rc<DataKey>>,
    changes: Vec<(i32, Option<pg_sys::Datum>)>,
}

impl Row<'_> {
    fn encrypt(&mut self, column: &Column, operator: bool) {
        let trigger = self.trigger;
        let new = trigger.new_row();
        let given = |attribute: i32| trigger.value(new, attribute).is_some();
        if trigger.is_insert() && !operator {
            let companions = [Some(column.encrypted), column.blind_index];
            if companions.into_iter().flatten().any(given) && !acts_as_owner(trigger) {
                let (table, column) = (trigger.table_name(), names::encrypted_column(&column.name));
                PiiError::CiphertextGiven { table, column }.raise();
            }
        }
        let value = trigger.value(new, column.plain.0).map(|datum| {
            // SAFETY: the type is the column's own; all that can be encrypted are stored as varlena.
            unsafe {
                if pg_sys::toast_raw_datum_size(datum) > functions::MOST_STORED_BYTES {
                    PiiError::TooLong.raise();
                }
                let value = written(datum, column.plain.1);
                // Padded to its length: the blanks are not part of it.
                if column.plain.1 == pg_sys::BPCHAROID { value.trim_end_matches(' ').to_owned() } else { value }
            }
        });
        match value {
            None if trigger.is_insert() && !given(column.encrypted) => self.require(column),
            None => self.keep(column),
            Some(value) => {
                self.changes.push((column.plain.0, None));
                if is_removal(&value, column.plain.1) {
                    self.require(column);
                    self.set(column, None, None);
                } else {
                    self.write(column, &value);
                }
            }
        }
    }

    /// Raises 23502 for a column that must have a value.
    fn require(&self, column: &Column) {
        if column.required {
            let (table, column) = (self.trigger.table_name(), column.name.clone());
            PiiError::Required { table, column }.raise();
        }
    }

    fn write(&mut self, column: &Column, value: &str) {
        if column.kind.is_masked(value) {
            PiiError::Masked { field: column.field.clone(), row: self.owner.row.clone() }.raise();
        }
        if !column.kind.accepts(value) {
            let (field, row) = (column.field.clone(), self.owner.row.clone());
            PiiError::NotOfKind { field, kind: column.kind.name(), row }.raise();
        }
        // The same value again is encrypted again: a ciphertext that stayed would tell a guess from a miss.
        self.seal(column, value);
        let index = column.blind_index.map(|_| {
            let normalised = column.kind.normalised(value);
            data_keys::blind_index(self.owner.tenant, &column.field).of(&normalised)
        });
        if let (Some(attribute), Some(index)) = (column.blind_index, index) {
            self.changes.push((attribute, Some(bytes_datum(&index))));
        }
    }

    /// Nothing was written to the column. A row that got another key, subject or tenant takes its ciphertext along.
    fn keep(&mut self, column: &Column) {
        let moved = self.before.as_ref().is_some_and(|before| *before != self.owner);
        let envelope = |row| {
            // SAFETY: `required_column` checked that it is text.
            let text = |datum| unsafe { with_text(datum, str::to_owned) };
            self.trigger.value(row, column.encrypted).map(text)
        };
        let now = envelope(self.trigger.new_row());
        // One that was given (by replication, say) is of the new place already.
        if !moved || now.is_none() || now != envelope(self.trigger.old()) {
            return;
        }
        let value = self.opened(column).unwrap_or_else(|| PiiError::NotDecrypted.raise());
        self.seal(column, &value);
    }

    fn seal(&mut self, column: &Column, value: &str) {
        let (tenant, subject) = (self.owner.tenant, self.owner.subject);
        let key = self.key.get_or_insert_with(|| match subject {
            Some(subject) => data_keys::for_writing(tenant, &self.layout.subject_kind, subject),
            None => data_keys::of_tenant(tenant),
        });
        let envelope = seal(key, &column.field, &self.owner.row, value);
        self.changes.push((column.encrypted, Some(text_datum(&envelope))));
    }

    /// The value as it was before this UPDATE.
    fn opened(&self, column: &Column) -> Option<String> {
        let before = self.before.as_ref()?;
        let envelope = self.trigger.value(self.trigger.old(), column.encrypted)?;
        // SAFETY: `required_column` checked that it is text.
        unsafe { with_text(envelope, |envelope| open(Grant::EVERYTHING, envelope, &column.field, &before.row)) }
    }

    fn set(&mut self, column: &Column, encrypted: Option<pg_sys::Datum>, index: Option<pg_sys::Datum>) {
        self.changes.push((column.encrypted, encrypted));
        if let Some(attribute) = column.blind_index {
            self.changes.push((attribute, index));
        }
    }
}

/// '' for text, null for JSON.
fn is_removal(value: &str, of: pg_sys::Oid) -> bool {
    value.is_empty() || [pg_sys::JSONOID, pg_sys::JSONBOID].contains(&of) && value == "null"
}
