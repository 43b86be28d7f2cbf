//! The chain of issued documents: each has the hash of the one before it in its own.
//!
//! Hashed are key, number, time, tax date, currency, amounts, lines by what they say, quantity and price, taxes: nothing of a person, so that an
//! erasure breaks nothing. Whoever can write the tables past every trigger can compute a whole chain anew; the audit log and
//! its seals are for that.

use crate::access::functions;
use crate::billing::books::{self, Books};
use crate::billing::error::BillingError;
use crate::context::current;
use crate::pg::error::SqlError;
use crate::pg::fresh::{self, Arg};
use crate::pg::identity;
use crate::pg::uuid as pg_uuid;
use pgrx::prelude::*;
use uuid::Uuid;

/// Numbers are written with all places of their columns: what else a value was stored with is not part of it.
///
/// The hash of an invoice `i`, with the expressions of what the issue gives it.
macro_rules! invoice_hash {
    ($number:literal, $issued_at:literal, $position:literal, $prev:literal) => {
        concat!(
            "sha256(convert_to(concat_ws('|', 'thorbis invoice 1', i.tenant_id, i.id, i.series, ",
            $position, ", ", $number, ", to_char(", $issued_at, " AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS.US'),
            to_char(i.tax_date, 'YYYY-MM-DD'), i.currency, round(i.subtotal, 2), round(i.discount_total, 2), round(i.service_charge_total, 2),
            round(i.tax_inclusive_total, 2), round(i.tax_additive_total, 2), round(i.tax_total, 2),
            round(i.tip_amount, 2), round(i.total, 2),
            (SELECT encode(sha256(convert_to(string_agg(concat_ws(':', l.id, l.line_number,
                        encode(sha256(convert_to(l.description, 'UTF8')), 'hex'), round(l.quantity, 5),
                        round(l.unit_price, 6), round(l.gross, 2), round(l.discount_total, 2), round(l.net, 2),
                        round(l.tax_inclusive, 2), round(l.tax_additive, 2), round(l.total, 2)), ','
                        ORDER BY l.line_number), 'UTF8')), 'hex')
               FROM shared.invoice_lines l WHERE l.tenant_id = i.tenant_id AND l.invoice_id = i.id),
            (SELECT encode(sha256(convert_to(coalesce(string_agg(concat_ws(':', t.invoice_line_id, t.tax_key,
                        t.jurisdiction_code, t.category, t.code,
                        round(t.percent, 6), round(t.per_unit, 2), t.is_inclusive, t.is_compound,
                        round(t.taxable_amount, 2), round(t.amount, 2)), ','
                        ORDER BY t.id), ''), 'UTF8')), 'hex')
               FROM shared.invoice_taxes t WHERE t.tenant_id = i.tenant_id AND t.invoice_id = i.id),
            coalesce(encode(", $prev, ", 'hex'), '')), 'UTF8'))"
        )
    };
}
pub(super) use invoice_hash;

/// The hash of a credit note `c`.
macro_rules! credit_note_hash {
    () => {
        "sha256(convert_to(concat_ws('|', 'thorbis credit note 1', c.tenant_id, c.id, c.invoice_id, c.series,
            c.chain_position, c.credit_note_number, to_char(c.issued_at AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS.US'),
            c.currency, round(c.net_total, 2), round(c.tax_total, 2), round(c.charge_total, 2), round(c.total, 2),
            (SELECT encode(sha256(convert_to(coalesce(string_agg(concat_ws(':', l.invoice_line_id, round(l.quantity, 5),
                        round(l.net, 2), round(l.tax, 2), round(l.total, 2)), ',' ORDER BY l.invoice_line_id), ''), 'UTF8')), 'hex')
               FROM shared.credit_note_lines l WHERE l.tenant_id = c.tenant_id AND l.credit_note_id = c.id),
            (SELECT encode(sha256(convert_to(coalesce(string_agg(concat_ws(':', t.invoice_tax_id,
                        round(t.taxable_amount, 2), round(t.amount, 2)), ',' ORDER BY t.invoice_tax_id), ''), 'UTF8')), 'hex')
               FROM shared.credit_note_taxes t WHERE t.tenant_id = c.tenant_id AND t.credit_note_id = c.id),
            coalesce(encode(c.prev_hash, 'hex'), '')), 'UTF8'))"
    };
}
pub(super) use credit_note_hash;

const BEGIN: &str = "
INSERT INTO shared.hash_chains (tenant_id, document, series) VALUES ($1, $2, $3)
ON CONFLICT (tenant_id, document, series) DO NOTHING";

const LAST: &str = "
SELECT h.last_position, h.last_hash FROM shared.hash_chains h
 WHERE h.tenant_id = $1 AND h.document = $2 AND h.series = $3 FOR NO KEY UPDATE";

const EXTEND: &str = "
UPDATE shared.hash_chains h SET last_position = $4, last_hash = $5
 WHERE h.tenant_id = $1 AND h.document = $2 AND h.series = $3";

/// The end of a chain, locked until the transaction ends: take it last, since it makes the tenant's other issues wait.
pub struct End<'a> {
    books: Books,
    document: &'a str,
    series: &'a str,
    /// Of the next document.
    pub position: i64,
    pub prev: Option<Vec<u8>>,
}

impl<'a> End<'a> {
    pub fn lock(books: Books, document: &'a str, series: &'a str) -> End<'a> {
        let key = [Arg::Text(document), Arg::Text(series)];
        let find = || {
            let mut found = None;
            books.write(LAST, &key, |row| found = Some((row.bigint(1).unwrap_or(0), row.bytes(2))));
            found
        };
        let found = find().or_else(|| {
            books.write(BEGIN, &key, |_| ());
            find()
        });
        // In REPEATABLE READ the row that another transaction just made is not seen.
        let Some((last, prev)) = found else { BillingError::Meanwhile.raise() };
        End { books, document, series, position: last + 1, prev }
    }

    /// When the document is issued: by the clock, since a transaction can have begun long ago, and after the locks, so that
    /// the times of a chain follow its places.
    pub fn now(&self) -> Arg<'static> {
        // SAFETY: reads the clock.
        Arg::Value(pg_sys::TIMESTAMPTZOID, Some(pg_sys::Datum::from(unsafe { pg_sys::GetCurrentTimestamp() })))
    }

    /// Says that the document with that hash is the last one now.
    pub fn extend(self, hash: &[u8]) {
        let arguments =
            [Arg::Text(self.document), Arg::Text(self.series), Arg::Bigint(self.position), Arg::Bytes(hash)];
        self.books.write(EXTEND, &arguments, |_| ());
    }
}

/// What is wrong with the chains of a tenant, or of all when it is NULL.
const WRONG: &str = concat!(
    "WITH links AS (
    SELECT i.tenant_id, 'invoice' AS document, i.series, i.chain_position AS position, i.invoice_number AS number, i.id,
           i.prev_hash, i.hash, ",
    invoice_hash!("i.invoice_number", "i.issued_at", "i.chain_position", "i.prev_hash"),
    " AS computed FROM shared.invoices i WHERE i.status <> 'draft' AND ($1 IS NULL OR i.tenant_id = $1)
    UNION ALL
    SELECT c.tenant_id, 'credit_note', c.series, c.chain_position, c.credit_note_number, c.id, c.prev_hash, c.hash, ",
    credit_note_hash!(),
    " FROM shared.credit_notes c WHERE $1 IS NULL OR c.tenant_id = $1
), placed AS (
    SELECT l.*, lag(l.position, 1, 0::bigint) OVER w AS position_before, lag(l.hash) OVER w AS hash_before
      FROM links l WINDOW w AS (PARTITION BY l.tenant_id, l.document, l.series ORDER BY l.position)
)
SELECT p.tenant_id, p.document, p.series, p.position, p.number, p.id, problem.text
  FROM placed p,
       LATERAL (VALUES
           (p.hash IS DISTINCT FROM p.computed, 'its content is not what was issued'),
           (p.position <> p.position_before + 1, 'a document before it is missing'),
           (p.prev_hash IS DISTINCT FROM p.hash_before, 'it does not follow the document before it')
       ) AS problem (is_so, text)
 WHERE problem.is_so
UNION ALL
SELECT h.tenant_id, h.document, h.series, h.last_position, NULL, NULL, 'the last document of the chain is missing or another'
  FROM shared.hash_chains h
 WHERE ($1 IS NULL OR h.tenant_id = $1) AND h.last_position > 0
   AND NOT EXISTS (SELECT FROM links l WHERE l.tenant_id = h.tenant_id AND l.document = h.document
                      AND l.series = h.series AND l.position = h.last_position AND l.hash = h.last_hash)
UNION ALL
SELECT l.tenant_id, l.document, l.series, max(l.position), NULL, NULL, 'the chain goes on after its end'
  FROM links l LEFT JOIN shared.hash_chains h
       ON h.tenant_id = l.tenant_id AND h.document = l.document AND h.series = l.series
 GROUP BY l.tenant_id, l.document, l.series HAVING max(l.position) > coalesce(max(h.last_position), 0)
 ORDER BY 1, 2, 3, 4"
);

type Wrong = (pgrx::Uuid, String, String, i64, Option<String>, Option<pgrx::Uuid>, String);

/// Rows (tenant_id, document, series, chain_position, number, document_id, problem).
#[pg_extern(sql = false)]
#[allow(clippy::type_complexity)]
fn verify_invoice_chain(
    tenant: Option<pgrx::Uuid>,
) -> TableIterator<
    'static,
    (
        name!(tenant_id, pgrx::Uuid),
        name!(document, String),
        name!(series, String),
        name!(chain_position, i64),
        name!(number, Option<String>),
        name!(document_id, Option<pgrx::Uuid>),
        name!(problem, String),
    ),
> {
    let tenant = whose(tenant.map(pg_uuid::from_pgrx));
    let invoices = books::invoices();
    let mut wrong: Vec<Wrong> = Vec::new();
    fresh::read(invoices.owner, invoices.oid, WRONG, &[Arg::optional_uuid(tenant)], |row| {
        let text = |column| row.text(column).unwrap_or_default();
        let tenant = row.uuid(1).expect("a tenant is never NULL");
        let (number, id) = (row.text(5), row.uuid(6).map(pg_uuid::to_pgrx));
        let position = row.bigint(4).unwrap_or_default();
        wrong.push((pg_uuid::to_pgrx(tenant), text(2), text(3), position, number, id, text(7)));
    });
    TableIterator::new(wrong)
}

/// Operators verify whomever they name, or all; users their own tenant.
fn whose(asked: Option<Uuid>) -> Option<Uuid> {
    let context = current::get();
    if context.user.is_none() && identity::operates_all_tenants() {
        return asked.or(context.tenant);
    }
    functions::require("invoices", "read");
    match (context.tenant, asked) {
        (None, _) => BillingError::NoTenant.raise(),
        (Some(own), Some(asked)) if own != asked => BillingError::OtherTenant.raise(),
        (own, _) => own,
    }
}
