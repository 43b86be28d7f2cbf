//! Recording payments and what becomes of them.

use crate::access::functions::require;
use crate::billing::allocations::{insert, lock_invoices};
use crate::billing::books::{Books, request, uuid_argument};
use crate::billing::cash;
use crate::billing::error::BillingError;
use crate::billing::money::{self, Known, Request};
use crate::pg::error::SqlError;
use crate::pg::fresh::Arg;
use crate::pg::function::guarded;
use crate::pg::uuid::into_datum;
use crate::v1_function;
use pgrx::pg_sys;
use uuid::Uuid;

const KEYS: &str = "method amount idempotency_key allocations tip_amount tendered_amount status currency customer_id \
                    location_id cash_session_id processor processor_reference";

const METHODS: [&str; 8] =
    ["cash", "card", "bank_transfer", "direct_debit", "cheque", "gift_card", "store_credit", "other"];

const KNOWN: &str = "
SELECT p.id, p.request_hash = sha256(convert_to($2::text, 'UTF8'))
  FROM shared.payments p WHERE p.tenant_id = $1 AND p.idempotency_key = $3";

/// What a concurrent request with the same key made is found by `KNOWN` then.
const INSERT: &str = "
INSERT INTO shared.payments (tenant_id, method, status, currency, amount, tip_amount, tendered_amount, change_amount,
                             customer_id, location_id, processor, processor_reference, idempotency_key, request_hash,
                             authorized_at, captured_at)
VALUES ($1, $2 ->> 'method', $3, $4, $5 * 0.01, $6 * 0.01, $7 * 0.01, coalesce($7 - $5 - $6, 0) * 0.01,
        ($2 ->> 'customer_id')::uuid, ($2 ->> 'location_id')::uuid, $2 ->> 'processor', $2 ->> 'processor_reference',
        $2 ->> 'idempotency_key', sha256(convert_to($2::text, 'UTF8')),
        CASE $3 WHEN 'authorized' THEN now() END, CASE $3 WHEN 'captured' THEN now() END)
ON CONFLICT (tenant_id, idempotency_key) DO NOTHING RETURNING id";

v1_function!(
    /// `thorbis.record_payment(jsonb) -> uuid`
    thorbis_record_payment, pg_finfo_thorbis_record_payment, |fcinfo| {
    guarded(|| {
        // SAFETY: the SQL declaration has one jsonb argument.
        let json = unsafe { request(fcinfo) };
        require("payments", "record");
        into_datum(record(Request { books: Books::of_caller(), json }))
    })
});

fn record(request: Request) -> Uuid {
    request.check_keys(KEYS);
    if let Known::Same(id) = request.known(KNOWN) {
        return id;
    }
    let status = request.text("status").unwrap_or_else(|| "captured".into());
    if !["pending", "authorized", "captured"].contains(&status.as_str()) {
        BillingError::Invalid { what: "status", problem: "it is none of pending, authorized, captured" }.raise();
    }
    let (currency, minor_unit) = money::currency(request.books, request.text("currency").as_deref());
    let amount = request.cents("amount").unwrap_or(0);
    let tip = request.cents("tip_amount").unwrap_or(0);
    let tendered = request.cents("tendered_amount");
    for (what, cents) in [("amount", amount), ("tip_amount", tip), ("tendered_amount", tendered.unwrap_or(0))] {
        money::check_places(what, cents, minor_unit);
        if cents < 0 {
            BillingError::Invalid { what, problem: "it is below zero" }.raise();
        }
    }
    if amount + tip == 0 {
        BillingError::Invalid { what: "amount", problem: "nothing is paid" }.raise();
    }
    if tendered.is_some_and(|tendered| tendered < amount + tip) {
        BillingError::Invalid { what: "tendered_amount", problem: "it is less than what is paid" }.raise();
    }
    let method = request.required("method");
    if !METHODS.contains(&method.as_str()) {
        let problem = "it is none of cash, card, bank_transfer, direct_debit, cheque, gift_card, store_credit, other";
        BillingError::Invalid { what: "method", problem }.raise();
    }
    let allocations = request.allocations();
    if allocations.iter().any(|(_, amount)| *amount < 0) {
        BillingError::NotAllocated.raise();
    }
    let session = request.uuid("cash_session_id");
    if session.is_some() {
        if method != "cash" || status != "captured" {
            BillingError::NotCash.raise();
        }
        cash::check_currency(request.books, &currency);
    }

    lock_invoices(request.books, allocations.iter().map(|(invoice, _)| *invoice));
    let mut made = None;
    let tendered = Arg::Value(pg_sys::INT8OID, tendered.map(pg_sys::Datum::from));
    let amounts = [Arg::Bigint(amount), Arg::Bigint(tip), tendered];
    let arguments = [request.json, Arg::Text(&status), Arg::Text(&currency), amounts[0], amounts[1], amounts[2]];
    request.books.write(INSERT, &arguments, |row| made = row.uuid(1));
    let Some(payment) = made else {
        return match request.known(KNOWN) {
            Known::Same(id) => id,
            Known::New => BillingError::Meanwhile.raise(),
        };
    };
    for (invoice, amount) in allocations {
        insert(request.books, payment, invoice, amount, None);
    }
    if let Some(session) = session {
        cash::move_cash(request.books, session, cash::Moved::Sale(payment), amount + tip);
    }
    payment
}

const LOCK: &str = "
SELECT p.status FROM shared.payments p WHERE p.tenant_id = $1 AND p.id = $2 FOR NO KEY UPDATE";

const MOVE: &str = "
UPDATE shared.payments p
   SET status = $3,
       authorized_at = CASE $3 WHEN 'authorized' THEN now() ELSE p.authorized_at END,
       captured_at = CASE $3 WHEN 'captured' THEN now() ELSE p.captured_at END,
       voided_at = CASE $3 WHEN 'voided' THEN now() ELSE p.voided_at END,
       failed_at = CASE $3 WHEN 'failed' THEN now() ELSE p.failed_at END
 WHERE p.tenant_id = $1 AND p.id = $2";

/// A payment whose money was not taken yet becomes `to`. Again is no error.
fn advance(books: Books, payment: Uuid, to: &'static str, verb: &'static str) -> pg_sys::Datum {
    let status = books.one("payment", LOCK, &[Arg::Uuid(payment)], |row| row.text(1).unwrap_or_default());
    let from: &[&str] = if to == "authorized" { &["pending"] } else { &["pending", "authorized"] };
    if status != to {
        if !from.contains(&status.as_str()) {
            BillingError::PaymentStatus { verb }.raise();
        }
        books.write(MOVE, &[Arg::Uuid(payment), Arg::Text(to)], |_| ());
    }
    pg_sys::Datum::from(0)
}

macro_rules! advancing {
    ($doc:literal, $symbol:ident, $info:ident, $action:literal, $to:literal, $verb:literal) => {
        v1_function!(
            #[doc = $doc]
            $symbol,
            $info,
            |fcinfo| {
                guarded(|| {
                    // SAFETY: the SQL declaration has one uuid argument.
                    let payment = unsafe { uuid_argument(fcinfo, 0, "payment") };
                    require("payments", $action);
                    advance(Books::of_caller(), payment, $to, $verb)
                })
            }
        );
    };
}

advancing!(
    "`thorbis.authorize_payment(uuid) -> void`",
    thorbis_authorize_payment,
    pg_finfo_thorbis_authorize_payment,
    "record",
    "authorized",
    "authorized"
);
advancing!(
    "`thorbis.capture_payment(uuid) -> void`",
    thorbis_capture_payment,
    pg_finfo_thorbis_capture_payment,
    "record",
    "captured",
    "captured"
);
advancing!(
    "`thorbis.void_payment(uuid) -> void`",
    thorbis_void_payment,
    pg_finfo_thorbis_void_payment,
    "void",
    "voided",
    "voided"
);
advancing!(
    "`thorbis.fail_payment(uuid) -> void`",
    thorbis_fail_payment,
    pg_finfo_thorbis_fail_payment,
    "record",
    "failed",
    "failed"
);
