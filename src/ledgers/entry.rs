//! A row of a ledger while it is written: whose it is, who may write it, the columns the ledger computes, and that a row
//! whose balance was changed is really there in the end.

use crate::access::functions as access;
use crate::context::current;
use crate::ledgers::error::LedgerError;
use crate::pg::cell::BackendCell;
use crate::pg::error::SqlError;
use crate::pg::function::guarded;
use crate::pg::trigger::{Firing, Trigger};
use crate::pg::{identity, raw};
use crate::v1_function;
use pgrx::{AnyNumeric, FromDatum, pg_sys};
use std::cell::RefCell;
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

    /// A column of the type, as it is stored.
    pub fn datum(&self, column: &str, of: pg_sys::Oid) -> Option<pg_sys::Datum> {
        let (number, found) = self.trigger.any_column(column);
        assert_eq!(found, of, "type of {column}");
        self.trigger.value(self.trigger.new_row(), number)
    }

    pub fn bigint(&self, column: &str) -> Option<i64> {
        self.datum(column, pg_sys::INT8OID).map(|datum| datum.value() as i64)
    }

    pub fn numeric(&self, column: &str) -> Option<AnyNumeric> {
        // SAFETY: `datum` has seen to the type.
        self.datum(column, pg_sys::NUMERICOID).and_then(|datum| unsafe { AnyNumeric::from_datum(datum, false) })
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

    /// The row as the ledger wants it. From here on it has to be inserted.
    pub fn applied(self) -> pg_sys::Datum {
        unwritten(|rows| *rows += 1);
        self.trigger.with_values(&self.computed)
    }
}

/// Raises 22023 unless the number is above zero: NaN is greater than every number to PostgreSQL.
pub fn require_positive(what: &'static str, number: &AnyNumeric) {
    if number.is_nan() || *number <= AnyNumeric::from(0) {
        LedgerError::NotPositive(what).raise();
    }
}

/// A subtransaction: a statement that fails ends it, and its number does not come again within the transaction.
type Place = (pg_sys::LocalTransactionId, pg_sys::SubTransactionId);

/// Rows whose balance was changed by the BEFORE trigger and that were not inserted yet, for each subtransaction that is
/// open: functions called in the middle of a statement may have their own.
static UNWRITTEN: BackendCell<RefCell<Vec<(Place, i64)>>> = BackendCell::new(RefCell::new(Vec::new()));

/// Hands over the count of the current subtransaction.
fn unwritten<R>(body: impl FnOnce(&mut i64) -> R) -> R {
    // SAFETY: reads the state of the transaction.
    let here = (raw::local_transaction_id(), unsafe { pg_sys::GetCurrentSubTransactionId() });
    let mut places = UNWRITTEN.borrow_mut();
    // A later subtransaction has a higher number: where we are back in an earlier one, it has ended.
    while places.last().is_some_and(|((transaction, sub), _)| *transaction != here.0 || *sub > here.1) {
        places.pop();
    }
    if places.last().is_none_or(|(place, _)| *place != here) {
        places.push((here, 0));
    }
    body(&mut places.last_mut().expect("one was pushed").1)
}

v1_function!(
    /// AFTER INSERT FOR EACH ROW and AFTER INSERT FOR EACH STATEMENT on the table of a ledger. ON CONFLICT DO NOTHING leaves
    /// a row out after its BEFORE trigger has run: its balance would have changed for nothing.
    thorbis_check_ledger_rows, pg_finfo_thorbis_check_ledger_rows, |fcinfo| {
    guarded(|| {
        // SAFETY: called by PostgreSQL as declared.
        let trigger = unsafe { Trigger::of(fcinfo, Firing::Any) };
        let is_row = trigger.is_row();
        let left = unwritten(|rows| {
            *rows -= i64::from(is_row);
            *rows
        });
        if !is_row && left != 0 {
            LedgerError::RowLeftOut.raise();
        }
        trigger.unchanged()
    })
});
