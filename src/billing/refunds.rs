//! Paying back: `apply_refund()`, the rule at the table, and `thorbis.refund_payment()`.

use crate::access::functions::require;
use crate::billing::allocations::{self, Paid, lock_invoices, lock_payment};
use crate::billing::approval;
use crate::billing::books::{Books, request};
use crate::billing::cash;
use crate::billing::error::BillingError;
use crate::billing::money::{self, Known, Request};
use crate::pg::error::SqlError;
use crate::pg::fresh::Arg;
use crate::pg::function::guarded;
use crate::pg::settings_scope::SettingsScope;
use crate::pg::trigger::{Firing, Trigger};
use crate::pg::uuid::into_datum;
use crate::v1_function;
use pgrx::pg_sys;
use uuid::Uuid;

/// What a payment pays of each invoice, the latest first.
const PAYS: &str = "
SELECT a.invoice_id, (sum(a.amount) * 100)::bigint
  FROM shared.payment_allocations a WHERE a.tenant_id = $1 AND a.payment_id = $2
 GROUP BY a.invoice_id HAVING sum(a.amount) > 0 ORDER BY max(a.created_at) DESC, a.invoice_id DESC";

const COUNT: &str = "
UPDATE shared.payments p
   SET refunded_amount = p.refunded_amount + $3 * 0.01, refunded_tip = p.refunded_tip + $4 * 0.01, refunded_at = now(),
       status = CASE WHEN p.refunded_amount + $3 * 0.01 = p.amount AND p.refunded_tip + $4 * 0.01 = p.tip_amount
                     THEN 'refunded' ELSE 'partially_refunded' END
 WHERE p.tenant_id = $1 AND p.id = $2";

v1_function!(
    /// AFTER INSERT FOR EACH ROW on shared.refunds.
    thorbis_apply_refund, pg_finfo_thorbis_apply_refund, |fcinfo| {
    guarded(|| {
        // SAFETY: called by PostgreSQL as declared.
        let trigger = unsafe { Trigger::of(fcinfo, Firing::AfterRow) };
        let row = trigger.new_row();
        let ids = ["tenant_id", "id", "payment_id"].map(|name| trigger.uuid(row, name));
        if let [Some(tenant), Some(refund), Some(payment)] = ids {
            let _path = SettingsScope::pinned_path();
            let amounts = ["amount", "tip_amount"].map(|name| allocations::amount(&trigger, name));
            apply(Books::of(tenant), refund, payment, amounts);
        }
        pg_sys::Datum::from(0)
    })
});

fn apply(books: Books, refund: Uuid, payment: Uuid, [amount, tip]: [i64; 2]) {
    let (paid, pays) = lock(books, payment);
    check(&paid, amount, tip);
    let mut release = amount - (paid.amount - paid.refunded - paid.allocated);
    for (invoice, allocated) in pays {
        if release <= 0 {
            break;
        }
        let part = release.min(allocated);
        allocations::insert(books, payment, invoice, -part, Some(refund));
        release -= part;
    }
    books.write(COUNT, &[Arg::Uuid(payment), Arg::Bigint(amount), Arg::Bigint(tip)], |_| ());
}

/// The invoices that the payment pays, in the order of their keys, then the payment.
fn lock(books: Books, payment: Uuid) -> (Paid, Vec<(Uuid, i64)>) {
    let pays = |books: Books| {
        let mut pays = Vec::new();
        books.read(PAYS, &[Arg::Uuid(payment)], |row| pays.extend(row.uuid(1).zip(row.bigint(2))));
        pays
    };
    let mut locked: Vec<Uuid> = pays(books).into_iter().map(|(invoice, _)| invoice).collect();
    locked.sort_unstable();
    lock_invoices(books, locked.iter().copied());
    let paid = lock_payment(books, payment);
    let pays = pays(books);
    // Allocated between the look and the lock: to lock that invoice now would be against the order.
    if pays.iter().any(|(invoice, _)| !locked.contains(invoice)) {
        BillingError::Meanwhile.raise();
    }
    (paid, pays)
}

fn check(paid: &Paid, amount: i64, tip: i64) {
    if !paid.is_captured {
        BillingError::PaymentStatus { verb: "refunded" }.raise();
    }
    if amount > paid.amount - paid.refunded || tip > paid.tip - paid.refunded_tip {
        BillingError::OverRefunded.raise();
    }
}

const KEYS: &str = "payment_id amount tip_amount reason processor_reference cash_session_id idempotency_key";

const KNOWN: &str = "
SELECT r.id, r.request_hash = sha256(convert_to($2::text, 'UTF8'))
  FROM shared.refunds r WHERE r.tenant_id = $1 AND r.idempotency_key = $3";

const INSERT: &str = "
INSERT INTO shared.refunds (tenant_id, payment_id, amount, tip_amount, reason, processor_reference, idempotency_key,
                            request_hash)
VALUES ($1, $3, $4 * 0.01, $5 * 0.01, $2 ->> 'reason', $2 ->> 'processor_reference', $2 ->> 'idempotency_key',
        sha256(convert_to($2::text, 'UTF8')))
ON CONFLICT (tenant_id, idempotency_key) DO NOTHING RETURNING id";

v1_function!(
    /// `thorbis.refund_payment(jsonb) -> uuid`
    thorbis_refund_payment, pg_finfo_thorbis_refund_payment, |fcinfo| {
    guarded(|| {
        // SAFETY: the SQL declaration has one jsonb argument.
        let json = unsafe { request(fcinfo) };
        require("payments", "refund");
        into_datum(refund(Request { books: Books::of_caller(), json }))
    })
});

fn refund(request: Request) -> Uuid {
    request.check_keys(KEYS);
    let books = request.books;
    if let Known::Same(id) = request.known(KNOWN) {
        return id;
    }
    let amount = request.cents("amount").unwrap_or(0);
    let tip = request.cents("tip_amount").unwrap_or(0);
    if amount < 0 || tip < 0 || amount + tip == 0 {
        BillingError::Invalid { what: "amount", problem: "nothing is paid back" }.raise();
    }
    request.required("reason");
    let payment = request.uuid("payment_id").unwrap_or_else(|| BillingError::NotFound { what: "payment" }.raise());
    let session = request.uuid("cash_session_id");
    let (paid, _) = lock(books, payment);
    // Whoever held the lock may have been this request, sent twice.
    if let Known::Same(id) = request.known(KNOWN) {
        return id;
    }
    check(&paid, amount, tip);
    let (_, minor_unit) = money::currency(books, Some(&paid.currency));
    money::check_places("amount", amount, minor_unit);
    money::check_places("tip_amount", tip, minor_unit);
    if session.is_some() {
        if paid.method != "cash" {
            BillingError::NotCash.raise();
        }
        cash::check_put_in(books, payment);
        cash::check_currency(books, &paid.currency);
    }
    // In sum: a limit that holds for each refund alone would hold for nothing.
    let refunded = paid.refunded + paid.refunded_tip + amount + tip;
    approval::require_within_limit(books, refunded, paid.amount + paid.tip, &paid.currency);

    let mut made = None;
    let arguments = [request.json, Arg::Uuid(payment), Arg::Bigint(amount), Arg::Bigint(tip)];
    books.write(INSERT, &arguments, |row| made = row.uuid(1));
    // The same key for another payment, at the same time.
    let Some(refund) = made else { BillingError::IdempotencyKey.raise() };
    if let Some(session) = session {
        cash::move_cash(books, session, cash::Moved::Refund(refund), -(amount + tip));
    }
    refund
}
