//! On whose behalf the functions of billing act: statements on the tenant's books, as the owner of the tables.

use crate::access::invalidation::{self, Relation};
use crate::billing::error::BillingError;
use crate::context::current;
use crate::deploy::error::DeployError;
use crate::pg::error::SqlError;
use crate::pg::fresh::{self, Arg, Row};
use crate::pg::function::argument;
use crate::pg::uuid::from_datum;
use pgrx::pg_sys;
use uuid::Uuid;

/// The books of one tenant.
#[derive(Clone, Copy)]
pub struct Books {
    pub tenant: Uuid,
    pub invoices: Relation,
}

impl Books {
    /// Of the current tenant; 28000 without one.
    pub fn of_caller() -> Books {
        let Some(tenant) = current::get().tenant else { BillingError::NoTenant.raise() };
        Books::of(tenant)
    }

    pub fn of(tenant: Uuid) -> Books {
        Books { tenant, invoices: invoices() }
    }

    /// Runs a statement whose first parameter is the tenant.
    pub fn write(&self, statement: &'static str, arguments: &[Arg], each: impl FnMut(&Row)) -> u64 {
        fresh::write_returning(self.invoices.owner, statement, &self.with_tenant(arguments), each)
    }

    /// Reads what is committed by now, and what this transaction wrote.
    pub fn read(&self, query: &'static str, arguments: &[Arg], each: impl FnMut(&Row)) {
        fresh::read(self.invoices.owner, self.invoices.oid, query, &self.with_tenant(arguments), each);
    }

    /// The one jsonb value of a query, in the memory of the caller.
    pub fn jsonb(&self, query: &'static str, arguments: &[Arg]) -> Option<pg_sys::Datum> {
        let mut value = None;
        self.read(query, arguments, |row| value = row.transfer(1));
        value
    }

    fn with_tenant<'a>(&self, arguments: &[Arg<'a>]) -> Vec<Arg<'a>> {
        std::iter::once(Arg::Uuid(self.tenant)).chain(arguments.iter().copied()).collect()
    }

    /// The first column of the one row, of a statement that locks or writes it; P0002 when there is none.
    pub fn one<T>(
        &self,
        what: &'static str,
        statement: &'static str,
        arguments: &[Arg],
        mut row: impl FnMut(&Row) -> T,
    ) -> T {
        let mut found = None;
        self.write(statement, arguments, |r| found = Some(row(r)));
        found.unwrap_or_else(|| BillingError::NotFound { what }.raise())
    }
}

pub fn invoices() -> Relation {
    invalidation::named("shared", "invoices").unwrap_or_else(|| DeployError::NotInstalled.raise())
}

/// A uuid argument; NULL is a row that is not there.
///
/// # Safety
/// The function has such an argument of type uuid.
pub unsafe fn uuid_argument(fcinfo: pg_sys::FunctionCallInfo, i: usize, what: &'static str) -> Uuid {
    // SAFETY: per contract.
    match unsafe { argument(fcinfo, i) } {
        // SAFETY: per contract.
        Some(datum) => unsafe { from_datum(datum) },
        None => BillingError::NotFound { what }.raise(),
    }
}

/// The request of a function of schema shared: a JSON object, which that function made of its arguments.
///
/// # Safety
/// The function has such an argument of type jsonb.
pub unsafe fn request(fcinfo: pg_sys::FunctionCallInfo) -> Arg<'static> {
    // SAFETY: per contract.
    let request = unsafe { argument(fcinfo, 0) };
    if request.is_none() {
        BillingError::Invalid { what: "the request", problem: "NULL" }.raise();
    }
    Arg::Value(pg_sys::JSONBOID, request)
}
