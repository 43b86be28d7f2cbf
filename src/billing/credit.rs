//! `thorbis.credit_invoice()`: takes back of an issued invoice what was sold, never more.
//!
//! Every amount is a share by the cumulative rule of refunds: what all credit notes take back of a line together is its
//! amount times the share of the quantity that came back, rounded once. So whatever comes back in whatever parts adds up to
//! the invoice. The invoice is locked: two credit notes see each other.

use crate::access::functions::require;
use crate::billing::books::{Books, request};
use crate::billing::chain::{self, credit_note_hash};
use crate::billing::error::BillingError;
use crate::billing::issue::SETTLE;
use crate::billing::money::{Known, Request, parse_cents, parse_uuid};
use crate::documents::number;
use crate::domain::cents::taken_back;
use crate::domain::rounding::Rounding;
use crate::pg::error::SqlError;
use crate::pg::fresh::Arg;
use crate::pg::function::{bytes_datum, guarded};
use crate::pg::uuid::into_datum;
use crate::v1_function;
use pgrx::pg_sys;
use std::collections::BTreeMap;
use uuid::Uuid;

const KNOWN: &str = "
SELECT c.id, c.request_hash = sha256(convert_to($2::text, 'UTF8'))
  FROM shared.credit_notes c WHERE c.tenant_id = $1 AND c.idempotency_key = $3";

const LOCK: &str = "
SELECT i.status, i.rounding_mode, i.location_id
  FROM shared.invoices i WHERE i.tenant_id = $1 AND i.id = $2 FOR NO KEY UPDATE";

/// Quantities in hundred-thousandths, money in hundredths: sold, credited before, net, net credited before.
const LINES: &str = "
SELECT l.id, (l.quantity * 100000)::bigint, (coalesce(b.quantity, 0) * 100000)::bigint,
       (l.net * 100)::bigint, (coalesce(b.net, 0) * 100)::bigint
  FROM shared.invoice_lines l
       LEFT JOIN (SELECT cl.invoice_line_id, sum(cl.quantity) AS quantity, sum(cl.net) AS net
                    FROM shared.credit_note_lines cl
                         JOIN shared.credit_notes c ON c.tenant_id = cl.tenant_id AND c.id = cl.credit_note_id
                   WHERE c.tenant_id = $1 AND c.invoice_id = $2 GROUP BY cl.invoice_line_id) b ON b.invoice_line_id = l.id
 WHERE l.tenant_id = $1 AND l.invoice_id = $2 ORDER BY l.line_number";

/// Of the taxes on lines: amount, credited before, taxable amount, credited before.
const TAXES: &str = "
SELECT t.id, t.invoice_line_id, (t.amount * 100)::bigint, (coalesce(b.amount, 0) * 100)::bigint,
       (t.taxable_amount * 100)::bigint, (coalesce(b.taxable, 0) * 100)::bigint
  FROM shared.invoice_taxes t
       LEFT JOIN (SELECT ct.invoice_tax_id, sum(ct.amount) AS amount, sum(ct.taxable_amount) AS taxable
                    FROM shared.credit_note_taxes ct WHERE ct.tenant_id = $1 GROUP BY ct.invoice_tax_id) b
              ON b.invoice_tax_id = t.id
 WHERE t.tenant_id = $1 AND t.invoice_id = $2 AND t.invoice_line_id IS NOT NULL ORDER BY t.id";

/// What of charges, their taxes and the tip is not credited yet: the total less the lines, less what credit notes took.
const CHARGES_LEFT: &str = "
SELECT ((i.total - coalesce((SELECT sum(l.total) FROM shared.invoice_lines l
                              WHERE l.tenant_id = $1 AND l.invoice_id = $2), 0)
                 - coalesce((SELECT sum(c.charge_total) FROM shared.credit_notes c
                              WHERE c.tenant_id = $1 AND c.invoice_id = $2), 0)) * 100)::bigint
  FROM shared.invoices i WHERE i.tenant_id = $1 AND i.id = $2";

const INSERT: &str = "
INSERT INTO shared.credit_notes (tenant_id, id, invoice_id, credit_note_number, reason, currency, net_total, tax_total,
                                 charge_total, total, issued_at, idempotency_key, request_hash, chain_position, prev_hash,
                                 hash)
SELECT $1, $4, i.id, $5, $2 ->> 'reason', i.currency, $6 * 0.01, $7 * 0.01, $8 * 0.01, ($6 + $7 + $8) * 0.01, $11,
       $2 ->> 'idempotency_key', sha256(convert_to($2::text, 'UTF8')), $9, $10, ''
  FROM shared.invoices i WHERE i.tenant_id = $1 AND i.id = $3
ON CONFLICT (tenant_id, idempotency_key) DO NOTHING RETURNING id";

const INSERT_LINE: &str = "
INSERT INTO shared.credit_note_lines (tenant_id, credit_note_id, invoice_line_id, quantity, net, tax, total)
VALUES ($1, $2, $3, $4 * 0.00001, $5 * 0.01, $6 * 0.01, ($5 + $6) * 0.01)";

const INSERT_TAX: &str = "
INSERT INTO shared.credit_note_taxes (tenant_id, credit_note_id, invoice_tax_id, amount, taxable_amount)
VALUES ($1, $2, $3, $4 * 0.01, $5 * 0.01)";

const HASH: &str = concat!(
    "UPDATE shared.credit_notes c SET hash = ",
    credit_note_hash!(),
    " WHERE c.tenant_id = $1 AND c.id = $2 RETURNING c.hash"
);

v1_function!(
    /// `thorbis.credit_invoice(jsonb) -> uuid`
    thorbis_credit_invoice, pg_finfo_thorbis_credit_invoice, |fcinfo| {
    guarded(|| {
        // SAFETY: the SQL declaration has one jsonb argument.
        let json = unsafe { request(fcinfo) };
        require("invoices", "issue");
        into_datum(credit(Request { books: Books::of_caller(), json }))
    })
});

/// A tax of a line, and what the credit note takes back of it.
struct TaxBack {
    tax: Uuid,
    amount: i64,
    taxable: i64,
}

/// A line, and what the credit note takes back of it.
struct LineBack {
    line: Uuid,
    quantity: i64,
    net: i64,
    taxes: Vec<TaxBack>,
}

impl LineBack {
    fn tax(&self) -> i64 {
        self.taxes.iter().map(|tax| tax.amount).sum()
    }
}

fn credit(request: Request) -> Uuid {
    request.check_keys("invoice_id reason idempotency_key lines charge_amount");
    let books = request.books;
    if let Known::Same(id) = request.known(KNOWN) {
        return id;
    }
    request.required("reason");
    let invoice = request.uuid("invoice_id").unwrap_or_else(|| BillingError::NotFound { what: "invoice" }.raise());
    let (status, rounding, location) = books.one("invoice", LOCK, &[Arg::Uuid(invoice)], |row| {
        let rounding = Rounding::parse(row.text(2).unwrap_or_default().as_bytes());
        (row.text(1).unwrap_or_default(), rounding.unwrap_or(Rounding::HalfEven), row.uuid(3))
    });
    // Whoever held the lock may have been this request, sent twice.
    if let Known::Same(id) = request.known(KNOWN) {
        return id;
    }
    match status.as_str() {
        "draft" | "void" => BillingError::InvoiceStatus { verb: "credited" }.raise(),
        "credited" => BillingError::OverCredited.raise(),
        _ => {}
    }
    let (lines, charges) = wanted(request, invoice, rounding);
    let net: i64 = lines.iter().map(|line| line.net).sum();
    let tax: i64 = lines.iter().map(LineBack::tax).sum();
    if lines.is_empty() && charges == 0 {
        BillingError::Invalid { what: "lines", problem: "nothing is credited" }.raise();
    }

    let id = Uuid::new_v4();
    let number = number::next(books.tenant, "credit_note", location, None);
    let end = chain::End::lock(books, "credit_note", "credit_note");
    let prev = Arg::Value(pg_sys::BYTEAOID, end.prev.as_deref().map(bytes_datum));
    let made = books.write(
        INSERT,
        &[
            request.json,
            Arg::Uuid(invoice),
            Arg::Uuid(id),
            Arg::Text(&number),
            Arg::Bigint(net),
            Arg::Bigint(tax),
            Arg::Bigint(charges),
            Arg::Bigint(end.position),
            prev,
            end.now(),
        ],
        |_| (),
    );
    if made == 0 {
        // The same key for another invoice, at the same time.
        BillingError::IdempotencyKey.raise();
    }
    for line in &lines {
        let back = [Arg::Bigint(line.quantity), Arg::Bigint(line.net), Arg::Bigint(line.tax())];
        books.write(INSERT_LINE, &[Arg::Uuid(id), Arg::Uuid(line.line), back[0], back[1], back[2]], |_| ());
        for tax in &line.taxes {
            let back = [Arg::Bigint(tax.amount), Arg::Bigint(tax.taxable)];
            books.write(INSERT_TAX, &[Arg::Uuid(id), Arg::Uuid(tax.tax), back[0], back[1]], |_| ());
        }
    }
    let hash = books.one("credit note", HASH, &[Arg::Uuid(id)], |row| row.bytes(1).unwrap_or_default());
    end.extend(&hash);
    books.write(SETTLE, &[Arg::Uuid(invoice), Arg::Bigint(0), Arg::Bigint(net + tax + charges)], |_| ());
    id
}

/// What the request takes back of the lines, and of the charges.
fn wanted(request: Request, invoice: Uuid, rounding: Rounding) -> (Vec<LineBack>, i64) {
    let books = request.books;
    let mut left = 0;
    books.read(CHARGES_LEFT, &[Arg::Uuid(invoice)], |row| left = row.bigint(1).unwrap_or_default());
    let mut asked = BTreeMap::new();
    for (line, quantity) in request.parts("lines", "invoice_line_id", "quantity") {
        let line = parse_uuid("invoice_line_id", &line.unwrap_or_default());
        let sum: &mut i64 = asked.entry(line).or_default();
        let more = sum.checked_add(parse_quantity(quantity.as_deref()));
        *sum = more.unwrap_or_else(|| BillingError::OverCredited.raise());
    }
    let charge = request.text("charge_amount").map(|text| parse_cents("charge_amount", Some(&text)));
    let everything = request.text("lines").is_none() && charge.is_none();
    let charges = if everything { left } else { charge.unwrap_or(0) };
    if charges < 0 {
        BillingError::Invalid { what: "charge_amount", problem: "it is below zero" }.raise();
    }
    if charges > left {
        BillingError::OverCredited.raise();
    }

    let mut taxes: BTreeMap<Uuid, Vec<[i64; 4]>> = BTreeMap::new();
    let mut tax_ids: BTreeMap<Uuid, Vec<Uuid>> = BTreeMap::new();
    books.read(TAXES, &[Arg::Uuid(invoice)], |row| {
        let (Some(tax), Some(line)) = (row.uuid(1), row.uuid(2)) else { return };
        taxes.entry(line).or_default().push([3, 4, 5, 6].map(|column| row.bigint(column).unwrap_or_default()));
        tax_ids.entry(line).or_default().push(tax);
    });
    let mut lines = Vec::new();
    books.read(LINES, &[Arg::Uuid(invoice)], |row| {
        let Some(line) = row.uuid(1) else { return };
        let [sold, before, net, net_before] = [2, 3, 4, 5].map(|column| row.bigint(column).unwrap_or_default());
        let now = if everything { sold - before } else { asked.remove(&line).unwrap_or(0) };
        if now == 0 {
            return;
        }
        if now > sold - before {
            BillingError::OverCredited.raise();
        }
        let share = |component, taken| taken_back(component, sold, before, now, taken, rounding);
        let ids = tax_ids.remove(&line).unwrap_or_default();
        let amounts = taxes.remove(&line).unwrap_or_default();
        let back = |(tax, [amount, taken, taxable, taxable_taken]): (Uuid, [i64; 4])| TaxBack {
            tax,
            amount: share(amount, taken),
            taxable: share(taxable, taxable_taken),
        };
        let taxes = ids.into_iter().zip(amounts).map(back).collect();
        lines.push(LineBack { line, quantity: now, net: share(net, net_before), taxes });
    });
    if !asked.is_empty() {
        BillingError::NotFound { what: "invoice line" }.raise();
    }
    (lines, charges)
}

/// In hundred-thousandths.
fn parse_quantity(text: Option<&str>) -> i64 {
    let parsed = text.and_then(|text| {
        let (whole, places) = text.split_once('.').unwrap_or((text, ""));
        let places = places.trim_end_matches('0');
        let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        let is_number = !whole.is_empty() && whole.len() <= 8 && places.len() <= 5 && digits(whole) && digits(places);
        is_number.then(|| format!("{whole}{places:0<5}").parse::<i64>().ok()).flatten()
    });
    let quantity = parsed.filter(|quantity| *quantity > 0);
    quantity
        .unwrap_or_else(|| BillingError::Invalid { what: "quantity", problem: "it is no quantity above zero" }.raise())
}
