//! Requests of the functions of schema shared: text of a JSON object, amounts exactly as they were written.

use crate::billing::books::Books;
use crate::billing::error::BillingError;
use crate::domain::cents;
use crate::pg::error::SqlError;
use crate::pg::fresh::Arg;
use uuid::Uuid;

/// The request of one call.
#[derive(Clone, Copy)]
pub struct Request<'a> {
    pub books: Books,
    pub json: Arg<'a>,
}

/// What one idempotency key was used for.
pub enum Known {
    /// The same request: what it made.
    Same(Uuid),
    New,
}

/// So many entries a list of a request may have.
const MOST_PARTS: i64 = 2500;

/// So long an idempotency key may be.
const MOST_OF_KEY: usize = 200;

const TEXT: &str = "SELECT $2 ->> $3 WHERE $1 IS NOT NULL";
const PARTS: &str = "
SELECT p.part ->> $4, p.part ->> $5,
       CASE jsonb_typeof(p.part) WHEN 'object' THEN p.part ?& ARRAY[$4, $5] AND p.part - ARRAY[$4, $5] = '{}' ELSE false END
  FROM jsonb_array_elements(CASE coalesce(jsonb_typeof($2 -> $3), 'null')
                                 WHEN 'array' THEN $2 -> $3 WHEN 'null' THEN '[]' ELSE '[0]' END) AS p (part)
 WHERE $1 IS NOT NULL LIMIT $6";

const KEYS: &str = "
SELECT CASE jsonb_typeof($2) WHEN 'object' THEN $2 - string_to_array($3, ' ') = '{}' ELSE false END WHERE $1 IS NOT NULL";

impl Request<'_> {
    /// Raises unless the request is an object with none but these keys, which a blank separates.
    pub fn check_keys(&self, keys: &str) {
        let mut known = false;
        self.books.read(KEYS, &[self.json, Arg::Text(keys)], |row| known = row.boolean(1) == Some(true));
        if !known {
            BillingError::Invalid { what: "the request", problem: "it has a key that is not known" }.raise();
        }
    }

    pub fn text(&self, key: &str) -> Option<String> {
        let mut value = None;
        self.books.read(TEXT, &[self.json, Arg::Text(key)], |row| value = row.text(1));
        value
    }

    /// A text that must be there and not be blank.
    pub fn required(&self, key: &'static str) -> String {
        let text = self.text(key).filter(|text| !text.trim().is_empty());
        text.unwrap_or_else(|| BillingError::Invalid { what: key, problem: "it is missing" }.raise())
    }

    pub fn uuid(&self, key: &'static str) -> Option<Uuid> {
        self.text(key).map(|text| parse_uuid(key, &text))
    }

    pub fn cents(&self, key: &'static str) -> Option<i64> {
        self.text(key).map(|text| parse_cents(key, Some(&text)))
    }

    /// The pairs (`first`, `second`) of the objects in the array `key`, none when it is missing; 22023 for anything else,
    /// and when there are too many.
    pub fn parts(&self, key: &'static str, first: &str, second: &str) -> Vec<(Option<String>, Option<String>)> {
        let mut parts = Vec::new();
        let mut pairs_only = true;
        let arguments = [self.json, Arg::Text(key), Arg::Text(first), Arg::Text(second), Arg::Bigint(MOST_PARTS + 1)];
        self.books.read(PARTS, &arguments, |row| {
            pairs_only &= row.boolean(3) == Some(true);
            parts.push((row.text(1), row.text(2)));
        });
        if !pairs_only {
            let problem = "it is no array of objects with exactly the two keys of an entry";
            BillingError::Invalid { what: key, problem }.raise();
        }
        if parts.len() as i64 > MOST_PARTS {
            BillingError::Invalid { what: key, problem: "it has more than 2500 entries" }.raise();
        }
        parts
    }

    /// What was allocated to which invoice, each once, in the order of their keys: that of the locks.
    pub fn allocations(&self) -> Vec<(Uuid, i64)> {
        let mut sums = std::collections::BTreeMap::new();
        for (invoice, amount) in self.parts("allocations", "invoice_id", "amount") {
            let invoice = parse_uuid("invoice_id", &invoice.unwrap_or_default());
            let sum: &mut i64 = sums.entry(invoice).or_default();
            let more = sum.checked_add(parse_cents("amount", amount.as_deref()));
            *sum = more.unwrap_or_else(|| BillingError::Overpaid.raise());
        }
        sums.into_iter().filter(|(_, amount)| *amount != 0).collect()
    }

    /// Looks up the idempotency key with a query that takes it and the request, and gives the key of the row and whether
    /// the request is the same.
    pub fn known(&self, query: &'static str) -> Known {
        let key = self.required("idempotency_key");
        if key.chars().count() > MOST_OF_KEY {
            BillingError::Invalid { what: "idempotency_key", problem: "it has more than 200 characters" }.raise();
        }
        let mut found = None;
        self.books.read(query, &[self.json, Arg::Text(&key)], |row| found = row.uuid(1).zip(row.boolean(2)));
        match found {
            None => Known::New,
            Some((id, true)) => Known::Same(id),
            Some((_, false)) => BillingError::IdempotencyKey.raise(),
        }
    }
}

pub fn parse_uuid(what: &'static str, text: &str) -> Uuid {
    Uuid::parse_str(text).unwrap_or_else(|_| BillingError::Invalid { what, problem: "it is no uuid" }.raise())
}

pub fn parse_cents(what: &'static str, text: Option<&str>) -> i64 {
    let cents = text.and_then(cents::parse);
    cents.unwrap_or_else(|| BillingError::Invalid { what, problem: "it is no amount with two decimals" }.raise())
}

const MINOR_UNIT: &str = "
SELECT t.currency::text, c.minor_unit::bigint
  FROM shared.tenants t LEFT JOIN shared.currencies c ON c.code = coalesce($2, t.currency::text)
 WHERE t.id = $1";

/// The currency, the tenant's unless given, and its decimal places; 22023 for one that is not known.
pub fn currency(books: Books, given: Option<&str>) -> (String, i64) {
    let mut found = None;
    let asked = given.map_or(Arg::Value(pgrx::pg_sys::TEXTOID, None), Arg::Text);
    books.read(MINOR_UNIT, &[asked], |row| found = Some((row.text(1), row.bigint(2))));
    let Some((Some(own), Some(minor_unit))) = found else {
        BillingError::Invalid { what: "currency", problem: "it is not known" }.raise()
    };
    (given.map_or(own, str::to_owned), minor_unit)
}

/// Raises unless the amount has no more places than the currency.
pub fn check_places(what: &'static str, cents: i64, minor_unit: i64) {
    if !cents::fits(cents, minor_unit) {
        BillingError::Invalid { what, problem: "it has more decimals than the currency" }.raise();
    }
}
