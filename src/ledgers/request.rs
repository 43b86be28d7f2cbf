//! Requests to a ledger: who asks, and that a request with a key is done once however often it is repeated.

use crate::access::functions as access;
use crate::access::invalidation::{self, Relation};
use crate::context::current;
use crate::ledgers::error::LedgerError;
use crate::pg::error::{SqlError, required};
use crate::pg::fresh::{self, Arg};
use crate::pg::function::{argument, text_datum, with_text, written};
use crate::pg::uuid::from_datum;
use pgrx::{AnyNumeric, FromDatum, pg_sys};
use sha2::{Digest, Sha256};
use uuid::Uuid;

/// Whoever calls a function of a ledger, within a tenant.
pub struct Caller {
    pub tenant: Uuid,
    /// The table of requests, whose owner owns the ledgers too.
    requests: Relation,
}

impl Caller {
    /// Raises 42501 unless the user of the context holds the permission. Jobs without a user may what operators may.
    pub fn permitted(resource: &str, action: &str) -> Caller {
        invalidation::refresh();
        let caller = Self::anybody();
        access::require(resource, action);
        caller
    }

    /// For callers whose permission is found out later.
    pub fn anybody() -> Caller {
        let tenant = current::get().tenant.unwrap_or_else(|| LedgerError::NoTenant.raise());
        Caller { tenant, requests: requests() }
    }

    pub fn owner(&self) -> pg_sys::Oid {
        self.requests.owner
    }

    /// Runs a statement as the owner of the ledgers; it names the tenant.
    pub fn write(&self, statement: &'static str, args: &[Arg]) -> u64 {
        fresh::write(self.owner(), statement, args)
    }

    /// The first row of a statement, made into a value.
    pub fn first<T>(&self, statement: &'static str, args: &[Arg], row: impl Fn(&fresh::Row) -> T) -> Option<T> {
        let mut first = None;
        fresh::write_returning(self.owner(), statement, args, |found| {
            first.get_or_insert_with(|| row(found));
        });
        first
    }

    /// The one text a statement returns.
    pub fn text(&self, statement: &'static str, args: &[Arg]) -> Option<String> {
        self.first(statement, args, |row| row.text(1)).flatten()
    }

    /// Does `work`, which returns a JSON object as text, unless the key was used before: then the answer is that of the
    /// first time. A repetition that comes while the first is under way waits for it.
    pub fn once(&self, key: Option<&str>, request: &str, work: impl FnOnce() -> String) -> String {
        let Some(key) = key else { return work() };
        let hash = Sha256::digest(request);
        let tenant = Arg::Uuid(self.tenant);
        let insert = "INSERT INTO shared.ledger_requests (tenant_id, idempotency_key, request_hash) VALUES ($1, $2, $3)
                      ON CONFLICT (tenant_id, idempotency_key) DO NOTHING";
        if self.write(insert, &[tenant, Arg::Text(key), Arg::Bytes(&hash)]) == 1 {
            let response = work();
            let keep = "UPDATE shared.ledger_requests SET response = $3::pg_catalog.jsonb
                         WHERE tenant_id OPERATOR(pg_catalog.=) $1 AND idempotency_key OPERATOR(pg_catalog.=) $2";
            self.write(keep, &[tenant, Arg::Text(key), Arg::Text(&response)]);
            return response;
        }
        let mut known = None;
        fresh::read(
            self.owner(),
            self.requests.oid,
            "SELECT request_hash = $3, response::text FROM shared.ledger_requests WHERE tenant_id = $1 AND idempotency_key = $2",
            &[tenant, Arg::Text(key), Arg::Bytes(&hash)],
            |row| known = Some((row.boolean(1) == Some(true), row.text(2))),
        );
        match known {
            None | Some((true, None)) => LedgerError::KeyGone.raise(),
            Some((false, _)) => LedgerError::KeyReused.raise(),
            Some((true, Some(response))) => response,
        }
    }
}

/// The table of requests: its owner owns the ledgers.
pub fn requests() -> Relation {
    invalidation::named("shared", "ledger_requests")
        .unwrap_or_else(|| LedgerError::NoTable("shared.ledger_requests").raise())
}

/// The arguments of a function of a ledger.
#[derive(Clone, Copy)]
pub struct Arguments(pg_sys::FunctionCallInfo);

impl Arguments {
    /// # Safety
    /// `fcinfo` is the call info PostgreSQL passed, and the methods are called for arguments of their type.
    pub unsafe fn of(fcinfo: pg_sys::FunctionCallInfo) -> Arguments {
        Arguments(fcinfo)
    }

    pub fn datum(self, i: usize) -> Option<pg_sys::Datum> {
        // SAFETY: per contract of `of`.
        unsafe { argument(self.0, i) }
    }

    pub fn optional_uuid(self, i: usize) -> Option<Uuid> {
        // SAFETY: per contract of `of`.
        self.datum(i).map(|datum| unsafe { from_datum(datum) })
    }

    pub fn uuid(self, i: usize, name: &'static str) -> Uuid {
        required(name, self.optional_uuid(i))
    }

    pub fn optional_text(self, i: usize) -> Option<String> {
        // SAFETY: per contract of `of`.
        self.datum(i).map(|datum| unsafe { with_text(datum, str::to_owned) })
    }

    pub fn text(self, i: usize, name: &'static str) -> String {
        required(name, self.optional_text(i))
    }

    pub fn bigint(self, i: usize, name: &'static str) -> i64 {
        required(name, self.datum(i)).value() as i64
    }

    pub fn numeric(self, i: usize, name: &'static str) -> AnyNumeric {
        let datum = required(name, self.datum(i));
        // SAFETY: per contract of `of`.
        required(name, unsafe { AnyNumeric::from_datum(datum, false) })
    }

    /// All arguments but the last, which is the idempotency key, as PostgreSQL writes them: what makes two requests the
    /// same.
    pub fn request(self, function: &str, types: &[pg_sys::Oid]) -> String {
        let mut request = function.to_owned();
        for (i, of) in types.iter().enumerate() {
            // SAFETY: per contract; control characters cannot be confused with what JSON, numbers and ids are written in.
            let written = self.datum(i).map_or("\u{1}".into(), |datum| unsafe { written(datum, *of) });
            request.push('\u{0}');
            request.push_str(&written);
        }
        request
    }
}

/// A jsonb datum from JSON text of our own.
pub fn jsonb(text: &str) -> pg_sys::Datum {
    let text = std::ffi::CString::new(text).expect("JSON has no zero bytes");
    // SAFETY: jsonb_in takes a terminated text.
    unsafe {
        let argument = Some(pg_sys::Datum::from(text.as_ptr()));
        pgrx::direct_function_call_as_datum(pg_sys::jsonb_in, &[argument]).expect("jsonb_in is strict and got a text")
    }
}

/// An argument of type numeric.
pub fn numeric_arg(number: AnyNumeric) -> Arg<'static> {
    Arg::Value(pg_sys::NUMERICOID, pgrx::IntoDatum::into_datum(number))
}

/// An argument of type text that may be NULL.
pub fn text_arg(text: Option<&str>) -> Arg<'static> {
    Arg::Value(pg_sys::TEXTOID, text.map(text_datum))
}

/// An argument of type timestamptz that may be NULL.
pub fn time_arg(time: Option<pg_sys::Datum>) -> Arg<'static> {
    Arg::Value(pg_sys::TIMESTAMPTZOID, time)
}
