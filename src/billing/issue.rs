//! Issuing and voiding an invoice.
//!
//! The order of the steps is that of the locks: the invoice, the number, the end of the chain. The last two make the other
//! issues of the tenant wait, so everything else is done before.

use crate::access::functions::require;
use crate::billing::books::{Books, uuid_argument};
use crate::billing::chain::{self, invoice_hash};
use crate::billing::error::BillingError;
use crate::billing::money;
use crate::documents::number;
use crate::pg::error::SqlError;
use crate::pg::fresh::Arg;
use crate::pg::function::{argument, guarded, text_datum, with_text};
use crate::pg::settings_scope::SettingsScope;
use crate::totals;
use crate::v1_function;
use pgrx::pg_sys;
use uuid::Uuid;

const LOCK: &str = "
SELECT i.status, i.invoice_number, i.series, i.location_id, i.currency::text
  FROM shared.invoices i WHERE i.tenant_id = $1 AND i.id = $2 FOR NO KEY UPDATE";

/// A line that does not have exactly the taxes of its category, when rates were applied: it came, or its category did, after
/// that. What is exempt says so itself.
const OTHER_TAXES: &str = "
WITH applied AS MATERIALIZED (
    SELECT r.id::text AS id, r.category, coalesce(t.tax ->> 'scope', 'order') = 'order' AS is_of_all
      FROM shared.invoices i,
           jsonb_array_elements(CASE jsonb_typeof(i.pricing -> 'taxes') WHEN 'array' THEN i.pricing -> 'taxes' ELSE '[]' END)
               AS t (tax)
           JOIN shared.tax_rates r ON r.tenant_id = $1 AND r.id::text = t.tax ->> 'id'
     WHERE i.tenant_id = $1 AND i.id = $2
)
SELECT 1 FROM shared.invoice_lines l
 WHERE l.tenant_id = $1 AND l.invoice_id = $2 AND EXISTS (SELECT 1 FROM applied)
   AND coalesce(l.pricing -> 'tax_exempt', 'false') <> 'true'
   AND (NOT EXISTS (SELECT 1 FROM applied a WHERE a.category = l.tax_category)
        OR EXISTS (SELECT 1 FROM applied a
                    WHERE (a.category = l.tax_category)
                          <> (a.is_of_all OR coalesce(l.pricing -> 'taxes' ? a.id, false))))
 LIMIT 1";

/// What the totals are calculated from; NULL without lines.
const INPUT: &str = "
SELECT i.pricing || jsonb_build_object('currency', i.currency, 'rounding', i.rounding_mode,
                                       'tax_rounding_level', i.tax_rounding_level, 'lines', l.lines)
  FROM shared.invoices i,
       LATERAL (SELECT jsonb_agg(l.pricing || jsonb_build_object('id', l.id, 'unit_price', l.unit_price::text,
                                                                 'quantity', l.quantity::text)
                                 ORDER BY l.line_number) AS lines
                  FROM shared.invoice_lines l WHERE l.tenant_id = $1 AND l.invoice_id = $2) l
 WHERE i.tenant_id = $1 AND i.id = $2 AND l.lines IS NOT NULL";

/// The stored totals of the lines and of the invoice are the calculated ones: while it was a draft triggers kept them so.
const STORE_LINES: &str = "
UPDATE shared.invoice_lines l
   SET gross = c.gross, discount_total = c.discount, net = c.net, tax_inclusive = c.tax_inclusive,
       tax_additive = c.tax_additive, total = c.total
  FROM jsonb_to_recordset($3 -> 'lines') AS c (id uuid, gross numeric, discount numeric, net numeric,
                                               tax_inclusive numeric, tax_additive numeric, total numeric)
 WHERE l.tenant_id = $1 AND l.invoice_id = $2 AND l.id = c.id
   AND (l.gross, l.discount_total, l.net, l.tax_inclusive, l.tax_additive, l.total)
       <> (c.gross, c.discount, c.net, c.tax_inclusive, c.tax_additive, c.total)";

const STORE: &str = "
UPDATE shared.invoices i
   SET subtotal = c.subtotal, discount_total = c.discount_total, service_charge_total = c.service_charge_total,
       tax_inclusive_total = c.tax_inclusive_total, tax_additive_total = c.tax_additive_total, tax_total = c.tax_total,
       tip_amount = c.tip, total = c.total
  FROM jsonb_to_record($3) AS c (subtotal numeric, discount_total numeric, service_charge_total numeric,
                                 tax_inclusive_total numeric, tax_additive_total numeric, tax_total numeric, tip numeric,
                                 total numeric)
 WHERE i.tenant_id = $1 AND i.id = $2
   AND (i.subtotal, i.discount_total, i.service_charge_total, i.tax_inclusive_total, i.tax_additive_total, i.tax_total,
        i.tip_amount, i.total)
       <> (c.subtotal, c.discount_total, c.service_charge_total, c.tax_inclusive_total, c.tax_additive_total, c.tax_total,
           c.tip, c.total)";

/// The rates as they are now, copied. Those of charges have no line; what was looked up is found again by its key.
const TAXES: &str = "
INSERT INTO shared.invoice_taxes (tenant_id, invoice_id, invoice_line_id, tax_key, jurisdiction_code, category, code, name,
                                  percent, per_unit, is_inclusive, is_compound, taxable_amount, amount)
SELECT $1, $2, due.line_id, due.tax_key, coalesce(j.code, ''), coalesce(r.category, ''), coalesce(r.code, due.tax_key),
       coalesce(r.name, due.tax_key), (t.tax ->> 'percent')::numeric, (t.tax ->> 'per_unit')::numeric,
       coalesce((t.tax ->> 'inclusive')::boolean, false), coalesce((t.tax ->> 'compound')::boolean, false),
       due.net, due.amount
  FROM (SELECT (l ->> 'id')::uuid AS line_id, x.key AS tax_key, (l ->> 'net')::numeric AS net, x.value::numeric AS amount
          FROM jsonb_array_elements($3 -> 'lines') l, jsonb_each_text(l -> 'taxes') x
         UNION ALL
        SELECT NULL, x.key, (s ->> 'amount')::numeric, x.value::numeric
          FROM jsonb_array_elements($3 -> 'service_charges') s, jsonb_each_text(s -> 'taxes') x) due
       JOIN jsonb_array_elements($4 -> 'taxes') AS t (tax) ON t.tax ->> 'id' = due.tax_key
       LEFT JOIN shared.tax_rates r ON r.tenant_id = $1 AND r.id::text = due.tax_key
            -- What only has the key of a rate is none.
            AND r.percent IS NOT DISTINCT FROM (t.tax ->> 'percent')::numeric
            AND r.per_unit IS NOT DISTINCT FROM (t.tax ->> 'per_unit')::numeric
            AND r.is_inclusive = coalesce((t.tax ->> 'inclusive')::boolean, false)
            AND r.is_compound = coalesce((t.tax ->> 'compound')::boolean, false)
            AND r.valid_during @> (SELECT i.tax_date FROM shared.invoices i WHERE i.tenant_id = $1 AND i.id = $2)
       LEFT JOIN shared.tax_jurisdictions j ON j.tenant_id = $1 AND j.id = r.tax_jurisdiction_id";

const ISSUE: &str = concat!(
    "UPDATE shared.invoices i
   SET status = 'issued', invoice_number = $3, issued_at = $6, chain_position = $4, prev_hash = $5, hash = ",
    invoice_hash!("$3", "$6", "$4", "$5"),
    " WHERE i.tenant_id = $1 AND i.id = $2 RETURNING i.hash"
);

/// Needs no definition.
const SERIES: &str = "invoice";

const DEFINED: &str = "SELECT 1 FROM shared.number_series s WHERE s.tenant_id = $1 AND s.series = $2";

/// The state of payment that follows from the amounts. Parameters: what is paid more and credited more, in hundredths.
pub const SETTLE: &str = "
UPDATE shared.invoices i
   SET paid_total = n.paid, credited_total = n.credited, status = n.status,
       paid_at = CASE WHEN n.status IN ('paid', 'credited') THEN coalesce(i.paid_at, now()) END
  FROM (SELECT o.id, a.paid, a.credited,
               CASE WHEN a.credited = o.total AND o.total > 0 THEN 'credited'
                    WHEN a.paid + a.credited >= o.total THEN 'paid'
                    WHEN o.status = 'overdue' THEN 'overdue'
                    WHEN a.paid > 0 THEN 'partially_paid'
                    ELSE 'issued' END AS status
          FROM shared.invoices o,
               LATERAL (SELECT o.paid_total + $3 * 0.01 AS paid, o.credited_total + $4 * 0.01 AS credited) a
         WHERE o.tenant_id = $1 AND o.id = $2) n
 WHERE i.tenant_id = $1 AND i.id = n.id";

v1_function!(
    /// `thorbis.issue_invoice(uuid) -> text`
    thorbis_issue_invoice, pg_finfo_thorbis_issue_invoice, |fcinfo| {
    guarded(|| {
        // SAFETY: the SQL declaration has one uuid argument.
        let id = unsafe { uuid_argument(fcinfo, 0, "invoice") };
        require("invoices", "issue");
        text_datum(&issue(Books::of_caller(), id))
    })
});

fn issue(books: Books, id: Uuid) -> String {
    let (status, number, series, location, currency) = books.one("invoice", LOCK, &[Arg::Uuid(id)], |row| {
        (row.text(1).unwrap_or_default(), row.text(2), row.text(3).unwrap_or_default(), row.uuid(4), row.text(5))
    });
    if let Some(number) = number {
        // Again, after an answer that was lost.
        if status == "void" {
            BillingError::InvoiceStatus { verb: "issued" }.raise();
        }
        return number;
    }
    // Payments of a currency that is not known are refused: nobody could pay it.
    money::currency(books, currency.as_deref());
    let Some(input) = books.jsonb(INPUT, &[Arg::Uuid(id)]) else { BillingError::NoLines.raise() };
    books.read(OTHER_TAXES, &[Arg::Uuid(id)], |_| BillingError::LineTaxes.raise());
    // SAFETY: a jsonb that the query made.
    let output = unsafe { totals::calculate_datum(input) };
    let calculated = Arg::Value(pg_sys::JSONBOID, Some(output));
    let input = Arg::Value(pg_sys::JSONBOID, Some(input));
    for statement in [STORE_LINES, STORE] {
        books.write(statement, &[Arg::Uuid(id), calculated], |_| ());
    }
    books.write(TAXES, &[Arg::Uuid(id), calculated, input], |_| ());

    if series != SERIES && !is_defined(books, &series) {
        BillingError::UnknownSeries.raise();
    }
    let number = number::next(books.tenant, &series, location, None);
    let end = chain::End::lock(books, "invoice", &series);
    let prev = Arg::Value(pg_sys::BYTEAOID, end.prev.as_deref().map(crate::pg::function::bytes_datum));
    let arguments = [Arg::Uuid(id), Arg::Text(&number), Arg::Bigint(end.position), prev, end.now()];
    let hash = books.one("invoice", ISSUE, &arguments, |row| row.bytes(1).unwrap_or_default());
    end.extend(&hash);
    // One of nothing is paid from the beginning.
    settle_if_free(books, id);
    number
}

/// Whoever may define series decides which there are; a series with numbers that another has gives none.
fn is_defined(books: Books, series: &str) -> bool {
    let mut found = false;
    books.read(DEFINED, &[Arg::Text(series)], |_| found = true);
    found
}

const FREE: &str = "SELECT i.total = 0 FROM shared.invoices i WHERE i.tenant_id = $1 AND i.id = $2";

fn settle_if_free(books: Books, id: Uuid) {
    let mut free = false;
    books.write(FREE, &[Arg::Uuid(id)], |row| free = row.boolean(1) == Some(true));
    if free {
        books.write(SETTLE, &[Arg::Uuid(id), Arg::Bigint(0), Arg::Bigint(0)], |_| ());
    }
}

const VOID: &str = "
UPDATE shared.invoices i
   SET status = 'void', voided_at = now(), void_reason = $3, voided_by = $4
 WHERE i.tenant_id = $1 AND i.id = $2";

const VOIDABLE: &str = "
SELECT i.status, i.paid_total = 0 AND i.credited_total = 0
  FROM shared.invoices i WHERE i.tenant_id = $1 AND i.id = $2 FOR NO KEY UPDATE";

v1_function!(
    /// `thorbis.void_invoice(uuid, text) -> void`
    thorbis_void_invoice, pg_finfo_thorbis_void_invoice, |fcinfo| {
    guarded(|| {
        // SAFETY: the SQL declaration has a uuid and a text argument.
        let (id, reason) = unsafe { (uuid_argument(fcinfo, 0, "invoice"), argument(fcinfo, 1)) };
        require("invoices", "void");
        let books = Books::of_caller();
        // SAFETY: as above.
        let reason = reason.map(|text| unsafe { with_text(text, |text| text.trim().to_owned()) });
        let Some(reason) = reason.filter(|reason| !reason.is_empty()) else {
            BillingError::Invalid { what: "the reason", problem: "it is empty" }.raise()
        };
        let (status, unpaid) = books.one("invoice", VOIDABLE, &[Arg::Uuid(id)], |row| {
            (row.text(1).unwrap_or_default(), row.boolean(2) == Some(true))
        });
        match status.as_str() {
            "void" => return pg_sys::Datum::from(0),
            "draft" => BillingError::InvoiceStatus { verb: "voided" }.raise(),
            _ if !unpaid => BillingError::VoidPaid.raise(),
            "issued" | "overdue" => {}
            _ => BillingError::InvoiceStatus { verb: "voided" }.raise(),
        }
        let actor = Arg::optional_uuid(crate::access::functions::actor());
        let scope = SettingsScope::pinned_path();
        scope.set("thorbis.status_reason", &reason);
        books.write(VOID, &[Arg::Uuid(id), Arg::Text(&reason), actor], |_| ());
        pg_sys::Datum::from(0)
    })
});
