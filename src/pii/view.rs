//! `write_pii_view()`: writing through the view of clear values, so that an application can live with one relation.
//!
//! The statements run as the caller on the table: policies, grants and triggers hold as if they had been typed. Only
//! columns that differ are written; here NULL removes a value, since the view shows whether there is one.

use crate::pg::error::SqlError;
use crate::pg::function::{guarded, text_datum};
use crate::pg::trigger::{Firing, Trigger, TriggerError, TriggerRow};
use crate::pii::error::PiiError;
use crate::v1_function;
use pgrx::pg_sys;
use pgrx::spi::quote_identifier;
use std::ffi::CString;

v1_function!(
    /// INSTEAD OF INSERT OR UPDATE OR DELETE FOR EACH ROW. Arguments: tenant and key column, the number of encrypted
    /// columns, these, and then the other columns that can be written. The table is the one the view reads.
    thorbis_write_pii_view, pg_finfo_thorbis_write_pii_view, |fcinfo| {
    guarded(|| {
        // SAFETY: called by PostgreSQL as declared.
        let trigger = unsafe { Trigger::of(fcinfo, Firing::InsteadOfRow) };
        let write = Write::of(&trigger);
        let done = if trigger.is_insert() {
            write.insert()
        } else if trigger.is_delete() {
            write.delete()
        } else {
            write.update()
        };
        // A row that a policy hid, or that is gone, counts as not written.
        let row = if trigger.is_delete() { trigger.old() } else { trigger.new_row() };
        if done { pg_sys::Datum::from(row.as_ptr()) } else { pg_sys::Datum::from(0) }
    })
});

struct Write<'a> {
    trigger: &'a Trigger<'a>,
    /// Qualified and quoted.
    table: String,
    keys: [&'a str; 2],
    encrypted: Vec<&'a str>,
    plain: Vec<&'a str>,
}

/// A statement's parameters.
#[derive(Default)]
struct Parameters {
    types: Vec<pg_sys::Oid>,
    values: Vec<pg_sys::Datum>,
    nulls: Vec<std::ffi::c_char>,
}

impl Parameters {
    /// Returns its place in the text.
    fn push(&mut self, of: pg_sys::Oid, value: Option<pg_sys::Datum>) -> String {
        self.types.push(of);
        self.nulls.push(if value.is_none() { b'n' } else { b' ' } as _);
        self.values.push(value.unwrap_or(pg_sys::Datum::from(0)));
        format!("${}", self.types.len())
    }
}

impl<'a> Write<'a> {
    fn of(trigger: &'a Trigger<'a>) -> Write<'a> {
        let arguments = trigger.arguments();
        let parsed = match arguments.as_slice() {
            [tenant, key, count, columns @ ..] => {
                let count = count.parse::<usize>().ok().filter(|count| *count <= columns.len());
                count.map(|count| ([*tenant, *key], columns.split_at(count)))
            }
            _ => None,
        };
        let (Some((keys, (encrypted, plain))), Some(table)) = (parsed, trigger.table_of_view()) else {
            TriggerError::Arguments { table: trigger.table_name() }.raise()
        };
        Write { trigger, table, keys, encrypted: encrypted.to_vec(), plain: plain.to_vec() }
    }

    fn insert(&self) -> bool {
        let (mut parameters, mut columns, mut places) = (Parameters::default(), Vec::new(), Vec::new());
        for name in self.encrypted.iter().chain(&self.plain) {
            places.push(self.bind(&mut parameters, self.trigger.new_row(), name));
            columns.push(quote_identifier(name));
        }
        let (columns, places) = (columns.join(", "), places.join(", "));
        run(&format!("INSERT INTO {} ({columns}) VALUES ({places})", self.table), &mut parameters)
    }

    fn update(&self) -> bool {
        let changed = self.trigger.changed_columns();
        let mut parameters = Parameters::default();
        let mut assignments = Vec::new();
        for name in self.encrypted.iter().chain(&self.plain).filter(|name| changed.iter().any(|c| c == *name)) {
            let place = if self.encrypted.contains(name) && self.trigger.is_null(self.trigger.new_row(), name) {
                self.removal(&mut parameters, name)
            } else {
                self.bind(&mut parameters, self.trigger.new_row(), name)
            };
            assignments.push(format!("{} = {place}", quote_identifier(name)));
        }
        if assignments.is_empty() {
            return true;
        }
        if !self.is_as_it_was(&changed) {
            return false;
        }
        let condition = self.condition(&mut parameters);
        run(&format!("UPDATE {} SET {} WHERE {condition}", self.table, assignments.join(", ")), &mut parameters)
    }

    /// Locks the row and compares what is to be changed with what the view showed: a trigger on a view, unlike an UPDATE
    /// of a table, is not told that somebody else changed the row meanwhile. False when there is no row to change.
    fn is_as_it_was(&self, changed: &[String]) -> bool {
        let mut parameters = Parameters::default();
        let (mut columns, mut places) = (Vec::new(), Vec::new());
        for name in self.plain.iter().filter(|name| changed.iter().any(|c| c == *name)) {
            places.push(self.bind(&mut parameters, self.trigger.old(), name));
            columns.push(quote_identifier(name));
        }
        let condition = self.condition(&mut parameters);
        let same = match columns.as_slice() {
            [] => "true".to_owned(),
            // As text: json has no equality.
            _ => format!(
                "ROW({})::pg_catalog.text OPERATOR(pg_catalog.=) ROW({})::pg_catalog.text",
                columns.join(", "),
                places.join(", ")
            ),
        };
        let select = format!("SELECT {same} FROM {} WHERE {condition} FOR NO KEY UPDATE", self.table);
        match first_boolean(&select, &mut parameters) {
            None => false,
            Some(true) => true,
            Some(false) => PiiError::ChangedMeanwhile.raise(),
        }
    }

    fn delete(&self) -> bool {
        let mut parameters = Parameters::default();
        let condition = self.condition(&mut parameters);
        run(&format!("DELETE FROM {} WHERE {condition}", self.table), &mut parameters)
    }

    fn condition(&self, parameters: &mut Parameters) -> String {
        let terms = self.keys.map(|name| {
            let place = self.bind(parameters, self.trigger.old(), name);
            format!("{} OPERATOR(pg_catalog.=) {place}", quote_identifier(name))
        });
        terms.join(" AND ")
    }

    fn bind(&self, parameters: &mut Parameters, row: TriggerRow, name: &str) -> String {
        let (attribute, of) = self.trigger.any_column(name);
        parameters.push(of, self.trigger.value(row, attribute))
    }

    /// What the table's trigger takes for "remove it".
    fn removal(&self, parameters: &mut Parameters, name: &str) -> String {
        match self.trigger.any_column(name).1 {
            of @ (pg_sys::JSONOID | pg_sys::JSONBOID) => {
                let place = parameters.push(pg_sys::TEXTOID, Some(text_datum("null")));
                format!("{place}::pg_catalog.{}", if of == pg_sys::JSONOID { "json" } else { "jsonb" })
            }
            _ => parameters.push(pg_sys::TEXTOID, Some(text_datum(""))),
        }
    }
}

/// Runs one statement as the caller; whether it touched a row.
fn run(sql: &str, parameters: &mut Parameters) -> bool {
    execute(sql, parameters, || ()).is_some()
}

/// The boolean of the first row of a query, None when there is no row.
fn first_boolean(sql: &str, parameters: &mut Parameters) -> Option<bool> {
    execute(sql, parameters, || {
        let mut null = false;
        // SAFETY: called while SPI's result, which has a row, is current.
        let value = unsafe {
            let table = &*pg_sys::SPI_tuptable;
            assert_eq!(pg_sys::SPI_gettypeid(table.tupdesc, 1), pg_sys::BOOLOID);
            pg_sys::SPI_getbinval(*table.vals, table.tupdesc, 1, &mut null)
        };
        !null && value.value() != 0
    })
}

/// Runs a statement as the caller; what `read` makes of the result when it has, or touched, a row.
fn execute<R>(sql: &str, parameters: &mut Parameters, read: impl FnOnce() -> R) -> Option<R> {
    let sql = CString::new(sql).expect("SQL text");
    // SAFETY: types, values and nulls have one element a parameter; SPI_finish frees what the statement needed.
    unsafe {
        pg_sys::SPI_connect();
        let code = pg_sys::SPI_execute_with_args(
            sql.as_ptr(),
            parameters.types.len() as i32,
            parameters.types.as_mut_ptr(),
            parameters.values.as_mut_ptr(),
            parameters.nulls.as_ptr(),
            false,
            0,
        );
        assert!(code > 0, "a statement of our own runs");
        let result = (pg_sys::SPI_processed > 0).then(read);
        pg_sys::SPI_finish();
        result
    }
}
