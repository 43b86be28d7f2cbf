//! Which changes of status there are: the rows of `shared.state_transitions`, found through its primary key.
//!
//! They are looked up where they are needed and not kept: the table is global and has no triggers that could tell a session
//! that its copy is stale. A look-up takes a few microseconds, and is needed only where a status changes.

use crate::access::invalidation::{self, Relation};
use crate::documents::error::StatusError;
use crate::pg::error::SqlError;
use crate::pg::index_lookup::{self, FoundRow};
use pgrx::pg_sys;
use std::cell::RefCell;

/// The columns of `shared.state_transitions`.
const DOCUMENT: i16 = 1;
const FROM: i16 = 2;
const TO: i16 = 3;
const RESOURCE: i32 = 4;
const ACTION: i32 = 5;
const SETS_COLUMN: i32 = 6;
const GUARD: i32 = 7;

/// The status of a document that is not there yet.
pub const NOTHING: &str = "";

#[derive(Debug)]
pub struct Transition {
    pub to: String,
    /// (resource, action) of the permission; None where it follows from something else only.
    pub permission: Option<(String, String)>,
    pub sets_column: Option<String>,
    pub guard: Option<String>,
}

impl Transition {
    fn of(row: &FoundRow) -> Transition {
        Transition {
            to: row.text(TO.into()),
            permission: row.optional_text(RESOURCE).zip(row.optional_text(ACTION)),
            sets_column: row.optional_text(SETS_COLUMN),
            guard: row.optional_text(GUARD),
        }
    }
}

/// The table of transitions with its key.
#[derive(Clone, Copy)]
pub struct Transitions {
    table: pg_sys::Oid,
    key: pg_sys::Oid,
}

impl Transitions {
    pub fn open() -> Transitions {
        let found = invalidation::named("shared", "state_transitions");
        let Some(Relation { oid: table, .. }) = found else { StatusError::NotInstalled.raise() };
        // SAFETY: opened and closed here; on an error the abort of the transaction closes it.
        let key = unsafe {
            let relation = pg_sys::table_open(table, pg_sys::AccessShareLock as _);
            let key = index_lookup::primary_key(relation);
            pg_sys::table_close(relation, pg_sys::NoLock as _);
            key
        };
        let Some(key) = key else { StatusError::NotInstalled.raise() };
        Transitions { table, key: key.index }
    }

    pub fn find(self, document: &str, from: &str, to: &str) -> Option<Transition> {
        let keys = [(DOCUMENT, document), (FROM, from), (TO, to)];
        index_lookup::find(self.table, self.key, &keys, |row| Some(Transition::of(row)))
    }

    /// What can follow a status, in the order of the alphabet.
    pub fn from(self, document: &str, from: &str) -> Vec<Transition> {
        self.collect(&[(DOCUMENT, document), (FROM, from)])
    }

    /// Every transition of a document.
    pub fn of(self, document: &str) -> Vec<Transition> {
        self.collect(&[(DOCUMENT, document)])
    }

    fn collect(self, keys: &[(i16, &str)]) -> Vec<Transition> {
        let all = RefCell::new(Vec::new());
        let keep = |row: &FoundRow| -> Option<()> {
            all.borrow_mut().push(Transition::of(row));
            None
        };
        index_lookup::find_quickly(self.table, self.key, keys, keep);
        all.into_inner()
    }
}
