//! `get_current_tenant_id()` and `get_current_user_id()`.
//!
//! Written by hand and without SQL inside: policies evaluate them for every scan. When nothing changed since the last
//! call they compare five numbers.

use crate::context::current;
use crate::pg::function::{guarded, null};
use crate::pg::uuid::into_datum;
use crate::v1_function;

v1_function!(
    /// `get_current_tenant_id() -> uuid`
    thorbis_get_current_tenant_id, pg_finfo_thorbis_get_current_tenant_id, |fcinfo| {
    let tenant = match current::remembered() {
        Some(context) => context.tenant,
        None => guarded(|| current::get().tenant),
    };
    // SAFETY: fcinfo is PostgreSQL's.
    tenant.map_or_else(|| unsafe { null(fcinfo) }, into_datum)
});

v1_function!(
    /// `get_current_user_id() -> uuid`
    thorbis_get_current_user_id, pg_finfo_thorbis_get_current_user_id, |fcinfo| {
    let user = match current::remembered() {
        Some(context) => context.user,
        None => guarded(|| current::get().user),
    };
    // SAFETY: fcinfo is PostgreSQL's.
    user.map_or_else(|| unsafe { null(fcinfo) }, into_datum)
});

v1_function!(
    /// Returns nothing at once: what a call itself costs. `make bench` measures the others net of it.
    thorbis_empty_function, pg_finfo_thorbis_empty_function, |_fcinfo| pgrx::pg_sys::Datum::from(0)
);
