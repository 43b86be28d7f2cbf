//! A row of a ledger while it is written: whose it is, who may write it, and the columns the ledger computes.
//!
//! Applications have no INSERT on these tables: rows come from our own functions, which lock in one order, and from superusers.

use crate::access::functions as access;
use crate::context::current;
use crate::ledgers::error::LedgerError;
use crate::pg::error::SqlError;
use crate::pg::trigger::Trigger;
use crate::pg::{identity, raw};
use pgrx::{AnyNumeric, FromDatum, pg_sys};
use uuid::Uuid;

/// A row that is being inserted.
pub struct Entry<'a> {
    pub trigger: &'a Trigger<'a>,
    pub tenant: Uuid,
    /// Written by a function of ours, which has checked what needs to be.
    pub is_ours: bool,
    computed: Vec<(i32, Option<pg_sys::Datum>)>,
}

impl<'a> Entry<'a> {
    /// None when the row is not ours to judge: without a tenant the constraint reports it, and one of another tenant is
    /// refused by the policies, which come after this; until then nothing of that tenant may be touched.
    pub fn of(trigger: &'a Trigger<'a>) -> Option<Entry<'a>> {
        let tenant = trigger.uuid(trigger.new_row(), "tenant_id")?;
        let is_ours = raw::user_ids().1 == trigger.owner();
        let is_own = is_ours || current::get().tenant == Some(tenant) || identity::operates_all_tenants();
        is_own.then(|| Entry { trigger, tenant, is_ours, computed: Vec::new() })
    }

    /// Raises 42501 unless whoever writes the row holds the permission.
    pub fn require(&self, resource: &str, action: &str) {
        if !self.is_ours {
            access::require(resource, action);
        }
    }

    pub fn uuid(&self, column: &str) -> Option<Uuid> {
        self.trigger.uuid(self.trigger.new_row(), column)
    }

    pub fn text(&self, column: &str) -> Option<String> {
        self.trigger.text(self.trigger.new_row(), column)
    }

    /// A column as it is stored. One of another type raises 42804.
    fn datum(&self, column: &str, of: pg_sys::Oid, type_name: &'static str) -> Option<pg_sys::Datum> {
        let (number, found) = self.trigger.any_column(column);
        if found != of {
            self.trigger.refuse_type(column, type_name);
        }
        self.trigger.value(self.trigger.new_row(), number)
    }

    pub fn bigint(&self, column: &str) -> Option<i64> {
        self.datum(column, pg_sys::INT8OID, "bigint").map(|datum| datum.value() as i64)
    }

    pub fn time(&self, column: &str) -> Option<pg_sys::Datum> {
        self.datum(column, pg_sys::TIMESTAMPTZOID, "timestamp with time zone")
    }

    pub fn numeric(&self, column: &str) -> Option<AnyNumeric> {
        // SAFETY: `datum` has seen to the type.
        self.datum(column, pg_sys::NUMERICOID, "numeric")
            .and_then(|datum| unsafe { AnyNumeric::from_datum(datum, false) })
    }

    /// What the ledger computes, whatever the caller gave.
    pub fn compute(&mut self, column: &str, value: Option<pg_sys::Datum>) {
        self.computed.push((self.trigger.any_column(column).0, value));
    }

    /// Who wrote the row and when. Operators may say: they bring in what happened elsewhere.
    pub fn sign(&mut self) {
        // SAFETY: reads the clock.
        self.compute("recorded_at", Some(pg_sys::Datum::from(unsafe { pg_sys::GetCurrentTimestamp() })));
        if !self.is_ours && !identity::operates_all_tenants() {
            self.compute("created_by", access::actor().map(crate::pg::uuid::into_datum));
        }
    }

    /// The row as the ledger wants it.
    pub fn applied(self) -> pg_sys::Datum {
        self.trigger.with_values(&self.computed)
    }
}

/// Raises 22023 unless the number is above zero: NaN is greater than every number to PostgreSQL.
pub fn require_positive(what: &'static str, number: &AnyNumeric) {
    if number.is_nan() || *number <= AnyNumeric::from(0) {
        LedgerError::NotPositive(what).raise();
    }
}
