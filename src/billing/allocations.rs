//! What payments pay: `apply_payment_allocation()`, the rule at the table, and `thorbis.allocate_payment()`.
//!
//! Locks go one way: invoices in the order of their keys, then the payment. Two payments that race for one invoice meet at
//! its row; whoever comes second sees what the first one paid.

use crate::access::functions::require;
use crate::billing::books::{Books, uuid_argument};
use crate::billing::error::BillingError;
use crate::billing::issue::SETTLE;
use crate::billing::money::{Request, parse_cents};
use crate::ledgers::request::Caller;
use crate::pg::error::SqlError;
use crate::pg::fresh::Arg;
use crate::pg::function::{argument, guarded, with_text, written};
use crate::pg::settings_scope::SettingsScope;
use crate::pg::trigger::{Firing, Trigger};
use crate::v1_function;
use pgrx::pg_sys;
use uuid::Uuid;

/// An invoice as far as payments go, in hundredths.
struct Owed {
    status: String,
    open: i64,
    currency: String,
}

/// A payment as far as allocations and refunds go, in hundredths.
pub struct Paid {
    pub is_captured: bool,
    pub amount: i64,
    pub tip: i64,
    pub allocated: i64,
    pub refunded: i64,
    pub refunded_tip: i64,
    pub currency: String,
    pub method: String,
}

const INVOICE: &str = "
SELECT i.status, ((i.total - i.paid_total - i.credited_total) * 100)::bigint, i.currency::text
  FROM shared.invoices i WHERE i.tenant_id = $1 AND i.id = $2 FOR NO KEY UPDATE";

const PAYMENT: &str = "
SELECT p.captured_at IS NOT NULL, (p.amount * 100)::bigint, (p.tip_amount * 100)::bigint,
       (p.allocated_total * 100)::bigint, (p.refunded_amount * 100)::bigint, (p.refunded_tip * 100)::bigint,
       p.currency::text, p.method
  FROM shared.payments p WHERE p.tenant_id = $1 AND p.id = $2 FOR NO KEY UPDATE";

/// What the payment pays of the invoice, this row included.
const BETWEEN: &str = "
SELECT (sum(a.amount) * 100)::bigint FROM shared.payment_allocations a
 WHERE a.tenant_id = $1 AND a.payment_id = $2 AND a.invoice_id = $3";

const COUNT: &str = "
UPDATE shared.payments p SET allocated_total = p.allocated_total + $3 * 0.01 WHERE p.tenant_id = $1 AND p.id = $2";

v1_function!(
    /// AFTER INSERT FOR EACH ROW on shared.payment_allocations.
    thorbis_apply_payment_allocation, pg_finfo_thorbis_apply_payment_allocation, |fcinfo| {
    guarded(|| {
        // SAFETY: called by PostgreSQL as declared.
        let trigger = unsafe { Trigger::of(fcinfo, Firing::AfterRow) };
        let row = trigger.new_row();
        let ids = ["tenant_id", "payment_id", "invoice_id"].map(|name| trigger.uuid(row, name));
        if let [Some(tenant), Some(payment), Some(invoice)] = ids {
            let _path = SettingsScope::pinned_path();
            apply(Books::of(tenant), payment, invoice, amount(&trigger, "amount"));
        }
        pg_sys::Datum::from(0)
    })
});

/// A numeric column of the new row in hundredths.
pub fn amount(trigger: &Trigger, column: &str) -> i64 {
    let (number, of) = trigger.any_column(column);
    let value = trigger.value(trigger.new_row(), number);
    // SAFETY: the value is of the column's type.
    let text = value.map(|value| unsafe { written(value, of) });
    parse_cents("amount", text.as_deref())
}

fn apply(books: Books, payment: Uuid, invoice: Uuid, amount: i64) {
    let owed = lock_invoice(books, invoice);
    let paid = lock_payment(books, payment);
    if !paid.is_captured {
        BillingError::PaymentStatus { verb: "allocated" }.raise();
    }
    if paid.currency != owed.currency {
        BillingError::Currency.raise();
    }
    if amount > 0 {
        if !["issued", "partially_paid", "overdue"].contains(&owed.status.as_str()) {
            let verb = "paid";
            if owed.status == "paid" || owed.status == "credited" {
                BillingError::Overpaid.raise();
            }
            BillingError::InvoiceStatus { verb }.raise();
        }
        if amount > owed.open {
            BillingError::Overpaid.raise();
        }
        if amount > paid.amount - paid.refunded - paid.allocated {
            BillingError::Overallocated.raise();
        }
    } else {
        let mut between = 0;
        let pair = [Arg::Uuid(payment), Arg::Uuid(invoice)];
        books.write(BETWEEN, &pair, |row| between = row.bigint(1).unwrap_or(0));
        if between < 0 {
            BillingError::NotAllocated.raise();
        }
    }
    books.write(SETTLE, &[Arg::Uuid(invoice), Arg::Bigint(amount), Arg::Bigint(0)], |_| ());
    books.write(COUNT, &[Arg::Uuid(payment), Arg::Bigint(amount)], |_| ());
}

fn lock_invoice(books: Books, id: Uuid) -> Owed {
    books.one("invoice", INVOICE, &[Arg::Uuid(id)], |row| Owed {
        status: row.text(1).unwrap_or_default(),
        open: row.bigint(2).unwrap_or_default(),
        currency: row.text(3).unwrap_or_default(),
    })
}

/// In the order given, which is that of the keys.
pub fn lock_invoices(books: Books, ids: impl IntoIterator<Item = Uuid>) {
    for id in ids {
        lock_invoice(books, id);
    }
}

pub fn lock_payment(books: Books, id: Uuid) -> Paid {
    books.one("payment", PAYMENT, &[Arg::Uuid(id)], |row| {
        let cents = |column| row.bigint(column).unwrap_or_default();
        Paid {
            is_captured: row.boolean(1) == Some(true),
            amount: cents(2),
            tip: cents(3),
            allocated: cents(4),
            refunded: cents(5),
            refunded_tip: cents(6),
            currency: row.text(7).unwrap_or_default(),
            method: row.text(8).unwrap_or_default(),
        }
    })
}

const INSERT: &str = "
INSERT INTO shared.payment_allocations (tenant_id, payment_id, invoice_id, amount, refund_id)
VALUES ($1, $2, $3, $4 * 0.01, $5)";

pub fn insert(books: Books, payment: Uuid, invoice: Uuid, amount: i64, refund: Option<Uuid>) {
    let arguments = [Arg::Uuid(payment), Arg::Uuid(invoice), Arg::Bigint(amount), Arg::optional_uuid(refund)];
    books.write(INSERT, &arguments, |_| ());
}

const WRAP: &str = "SELECT jsonb_build_object('allocations', $2) WHERE $1 IS NOT NULL";

v1_function!(
    /// `thorbis.allocate_payment(uuid, jsonb, text) -> void`
    thorbis_allocate_payment, pg_finfo_thorbis_allocate_payment, |fcinfo| {
    guarded(|| {
        // SAFETY: the SQL declaration has these three arguments.
        let (payment, given) = unsafe { (uuid_argument(fcinfo, 0, "payment"), argument(fcinfo, 1)) };
        // SAFETY: as above, and this one is a text.
        let key = unsafe { argument(fcinfo, 2).map(|key| with_text(key, str::to_owned)) };
        require("payments", "record");
        // SAFETY: as above.
        let request = given.map(|given| unsafe { written(given, pg_sys::JSONBOID) }).unwrap_or_default();
        Caller::anybody().once(key.as_deref(), &format!("allocate_payment {payment} {request}"), || {
            allocate(Books::of_caller(), payment, given);
            "{}".into()
        });
        pg_sys::Datum::from(0)
    })
});

fn allocate(books: Books, payment: Uuid, given: Option<pg_sys::Datum>) {
    let json = Arg::Value(pg_sys::JSONBOID, books.jsonb(WRAP, &[Arg::Value(pg_sys::JSONBOID, given)]));
    let allocations = Request { books, json }.allocations();
    lock_invoices(books, allocations.iter().map(|(invoice, _)| *invoice));
    lock_payment(books, payment);
    // What is taken away first makes room for what is added.
    for (invoice, amount) in allocations.iter().filter(|(_, amount)| *amount < 0) {
        insert(books, payment, *invoice, *amount, None);
    }
    for (invoice, amount) in allocations.iter().filter(|(_, amount)| *amount > 0) {
        insert(books, payment, *invoice, *amount, None);
    }
}
