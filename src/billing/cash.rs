//! Drawers of cash: opened, moved, counted.

use crate::access::functions::{actor, require};
use crate::billing::allocations::amount;
use crate::billing::books::{Books, request, uuid_argument};
use crate::billing::error::BillingError;
use crate::billing::money::{self, Known, Request, parse_cents};
use crate::context::current;
use crate::domain::cents;
use crate::pg::error::SqlError;
use crate::pg::fresh::Arg;
use crate::pg::function::{argument, guarded, with_text, written};
use crate::pg::identity;
use crate::pg::settings_scope::SettingsScope;
use crate::pg::trigger::{Firing, Trigger};
use crate::pg::uuid::{from_datum, into_datum};
use crate::v1_function;
use pgrx::pg_sys;
use uuid::Uuid;

v1_function!(
    /// BEFORE INSERT FOR EACH ROW on shared.cash_movements.
    thorbis_check_cash_session, pg_finfo_thorbis_check_cash_session, |fcinfo| {
    guarded(|| {
        // SAFETY: called by PostgreSQL as declared.
        let trigger = unsafe { Trigger::of(fcinfo, Firing::BeforeRow) };
        let row = trigger.new_row();
        // A row of another tenant is for the policies to refuse.
        if let (Some(tenant), Some(session)) = (trigger.uuid(row, "tenant_id"), trigger.uuid(row, "cash_session_id"))
            && (identity::operates_all_tenants() || current::get().tenant == Some(tenant))
        {
            let _path = SettingsScope::pinned_path();
            let expected = lock_open(Books::of(tenant), session) + amount(&trigger, "amount");
            if !(0..=cents::MOST).contains(&expected) {
                BillingError::DrawerAmount.raise();
            }
        }
        trigger.unchanged()
    })
});

const LOCK: &str = "
SELECT s.status FROM shared.cash_sessions s WHERE s.tenant_id = $1 AND s.id = $2 FOR NO KEY UPDATE";

/// Read after the lock, in any isolation level: every movement that was under way is there now.
const EXPECTED: &str = "
SELECT ((s.opening_amount + coalesce((SELECT sum(m.amount) FROM shared.cash_movements m
                                       WHERE m.tenant_id = $1 AND m.cash_session_id = $2), 0)) * 100)::bigint
  FROM shared.cash_sessions s WHERE s.tenant_id = $1 AND s.id = $2";

/// Locks an open session, so that movements and the count see each other, and gives what should be in the drawer.
fn lock_open(books: Books, session: Uuid) -> i64 {
    let status = books.one("cash session", LOCK, &[Arg::Uuid(session)], |row| row.text(1).unwrap_or_default());
    if status != "open" {
        BillingError::SessionClosed.raise();
    }
    let mut expected = 0;
    books.read(EXPECTED, &[Arg::Uuid(session)], |row| expected = row.bigint(1).unwrap_or_default());
    expected
}

/// A drawer adds up amounts of one currency, that of the tenant.
pub fn check_currency(books: Books, currency: &str) {
    if money::currency(books, None).0 != currency {
        BillingError::Invalid { what: "currency", problem: "a cash session takes that of the tenant only" }.raise();
    }
}

const PUT_IN: &str = "
SELECT 1 FROM shared.cash_movements m WHERE m.tenant_id = $1 AND m.payment_id = $2 AND m.kind = 'sale'";

/// Raises unless the cash of the payment was put into a drawer, of whatever session.
pub fn check_put_in(books: Books, payment: Uuid) {
    let mut put_in = false;
    books.read(PUT_IN, &[Arg::Uuid(payment)], |_| put_in = true);
    if !put_in {
        BillingError::NotInDrawer.raise();
    }
}

/// What moved cash.
pub enum Moved {
    Sale(Uuid),
    Refund(Uuid),
}

const MOVE: &str = "
INSERT INTO shared.cash_movements (tenant_id, cash_session_id, kind, amount, payment_id, refund_id)
VALUES ($1, $2, $3, $4 * 0.01, $5, $6)";

/// Puts money of a payment into a drawer, or takes that of a refund out of it.
pub fn move_cash(books: Books, session: Uuid, moved: Moved, amount: i64) {
    let (kind, payment, refund) = match moved {
        Moved::Sale(payment) => ("sale", Some(payment), None),
        Moved::Refund(refund) => ("refund", None, Some(refund)),
    };
    let arguments = [
        Arg::Uuid(session),
        Arg::Text(kind),
        Arg::Bigint(amount),
        Arg::optional_uuid(payment),
        Arg::optional_uuid(refund),
    ];
    books.write(MOVE, &arguments, |_| ());
}

const OPEN: &str = "
INSERT INTO shared.cash_sessions (tenant_id, drawer, opening_amount, location_id) VALUES ($1, $2, $3 * 0.01, $4)
RETURNING id";

v1_function!(
    /// `thorbis.open_cash_session(text, numeric, uuid) -> uuid`
    thorbis_open_cash_session, pg_finfo_thorbis_open_cash_session, |fcinfo| {
    guarded(|| {
        // SAFETY: the SQL declaration has a text, a numeric and a uuid argument.
        let (drawer, location) = unsafe {
            (argument(fcinfo, 0).map(|text| with_text(text, str::to_owned)), argument(fcinfo, 2).map(|id| from_datum(id)))
        };
        // SAFETY: as above.
        let amount = unsafe { cents_argument(fcinfo, 1, "opening_amount") };
        require("cash", "create");
        let books = Books::of_caller();
        let Some(drawer) = drawer.filter(|name| !name.trim().is_empty()) else {
            BillingError::Invalid { what: "drawer", problem: "it is missing" }.raise()
        };
        let arguments = [Arg::Text(&drawer), Arg::Bigint(amount), Arg::optional_uuid(location)];
        into_datum(books.one("cash session", OPEN, &arguments, |row| row.uuid(1).expect("a key is never NULL")))
    })
});

const KNOWN: &str = "
SELECT m.id, m.request_hash = sha256(convert_to($2::text, 'UTF8'))
  FROM shared.cash_movements m WHERE m.tenant_id = $1 AND m.idempotency_key = $3";

const RECORD: &str = "
INSERT INTO shared.cash_movements (tenant_id, cash_session_id, kind, amount, reason, idempotency_key, request_hash)
VALUES ($1, $3, $2 ->> 'kind', $4 * 0.01, $2 ->> 'reason', $2 ->> 'idempotency_key',
        sha256(convert_to($2::text, 'UTF8')))
ON CONFLICT (tenant_id, idempotency_key) DO NOTHING RETURNING id";

v1_function!(
    /// `thorbis.record_cash_movement(jsonb) -> uuid`
    thorbis_record_cash_movement, pg_finfo_thorbis_record_cash_movement, |fcinfo| {
    guarded(|| {
        // SAFETY: the SQL declaration has one jsonb argument.
        let json = unsafe { request(fcinfo) };
        require("cash", "update");
        let request = Request { books: Books::of_caller(), json };
        into_datum(record(request))
    })
});

fn record(request: Request) -> Uuid {
    request.check_keys("cash_session_id kind amount reason idempotency_key");
    if let Known::Same(id) = request.known(KNOWN) {
        return id;
    }
    let kind = request.required("kind");
    // What a payment or a refund moves is recorded with it.
    if !["pay_in", "pay_out", "drop"].contains(&kind.as_str()) {
        BillingError::Invalid { what: "kind", problem: "it is none of pay_in, pay_out, drop" }.raise();
    }
    request.required("reason");
    let amount = request.cents("amount").unwrap_or(0);
    if amount == 0 || (amount > 0) != (kind == "pay_in") {
        BillingError::Invalid { what: "amount", problem: "what goes in is above zero, what goes out below" }.raise();
    }
    let session = request.uuid("cash_session_id");
    let session = session.unwrap_or_else(|| BillingError::NotFound { what: "cash session" }.raise());
    request.books.one("cash session", LOCK, &[Arg::Uuid(session)], |_| ());
    // Whoever held the lock may have been this request, sent twice.
    if let Known::Same(id) = request.known(KNOWN) {
        return id;
    }
    let mut made = None;
    let arguments = [request.json, Arg::Uuid(session), Arg::Bigint(amount)];
    request.books.write(RECORD, &arguments, |row| made = row.uuid(1));
    made.unwrap_or_else(|| match request.known(KNOWN) {
        Known::Same(id) => id,
        Known::New => BillingError::Meanwhile.raise(),
    })
}

const CLOSE: &str = "
UPDATE shared.cash_sessions s
   SET status = 'closed', closed_at = now(), closed_by = $3, expected_amount = $4 * 0.01, counted_amount = $5 * 0.01,
       variance_amount = ($5 - $4) * 0.01, note = $6
 WHERE s.tenant_id = $1 AND s.id = $2";

v1_function!(
    /// `thorbis.close_cash_session(uuid, numeric, text) -> bigint`, the variance in hundredths
    thorbis_close_cash_session, pg_finfo_thorbis_close_cash_session, |fcinfo| {
    guarded(|| {
        // SAFETY: the SQL declaration has a uuid, a numeric and a text argument.
        let session = unsafe { uuid_argument(fcinfo, 0, "cash session") };
        // SAFETY: as above.
        let (counted, note) = unsafe { (cents_argument(fcinfo, 1, "counted_amount"), argument(fcinfo, 2)) };
        require("cash", "update");
        let books = Books::of_caller();
        let expected = lock_open(books, session);
        let arguments = [
            Arg::Uuid(session),
            Arg::optional_uuid(actor()),
            Arg::Bigint(expected),
            Arg::Bigint(counted),
            Arg::Value(pg_sys::TEXTOID, note),
        ];
        books.write(CLOSE, &arguments, |_| ());
        pg_sys::Datum::from(counted - expected)
    })
});

/// A numeric argument, not below zero, in hundredths.
///
/// # Safety
/// The function has such an argument of type numeric.
unsafe fn cents_argument(fcinfo: pg_sys::FunctionCallInfo, i: usize, what: &'static str) -> i64 {
    // SAFETY: per contract.
    let text = unsafe { argument(fcinfo, i).map(|value| written(value, pg_sys::NUMERICOID)) };
    let cents = parse_cents(what, text.as_deref());
    if cents < 0 {
        BillingError::Invalid { what, problem: "it is below zero" }.raise();
    }
    cents
}
