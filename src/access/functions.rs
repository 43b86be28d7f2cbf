//! `permitted_tenant_id`, `has_permission`, `within_business_hours`, `get_current_actor_id`.

use crate::access::clock::{UnixMicros, unix_micros};
use crate::access::error::AccessError;
use crate::access::site::Verdict;
use crate::access::{cache, invalidation, site};
use crate::context::current::{self, Key};
use crate::domain::hours::Hours;
use crate::domain::permissions::ADMIN;
use crate::pg::error::SqlError;
use crate::pg::function::{argument, guarded, null, with_text};
use crate::pg::uuid::{from_datum, into_datum};
use crate::v1_function;
use pgrx::{FromDatum, IntoDatum, pg_sys};
use uuid::Uuid;

v1_function!(
    /// `permitted_tenant_id(resource text, action text) -> uuid`
    thorbis_permitted_tenant_id, pg_finfo_thorbis_permitted_tenant_id, |fcinfo| {
    // SAFETY: the SQL declaration has two text arguments.
    unsafe {
        let verdict = verdict(fcinfo, permission);
        verdict.tenant.filter(|_| verdict.held).map_or_else(|| null(fcinfo), into_datum)
    }
});

v1_function!(
    /// `has_permission(resource text, action text) -> boolean`, for the current user
    thorbis_has_permission, pg_finfo_thorbis_has_permission, |fcinfo| {
    // SAFETY: the SQL declaration has two text arguments.
    pg_sys::Datum::from(unsafe { verdict(fcinfo, permission) }.held)
});

v1_function!(
    /// `within_business_hours(resource text) -> boolean`. Holders of `admin` on the resource are exempt.
    thorbis_within_business_hours, pg_finfo_thorbis_within_business_hours, |fcinfo| {
    // SAFETY: the SQL declaration has one text argument.
    pg_sys::Datum::from(unsafe { verdict(fcinfo, business_hours) }.held)
});

v1_function!(
    /// `has_permission(user_id uuid, resource text, action text) -> boolean`
    thorbis_user_has_permission, pg_finfo_thorbis_user_has_permission, |fcinfo| {
    // SAFETY: the SQL declaration has uuid, text, text.
    unsafe {
        guarded(|| {
            let (Some(user), Some(resource), Some(action)) =
                (argument(fcinfo, 0), argument(fcinfo, 1), argument(fcinfo, 2))
            else {
                return pg_sys::Datum::from(false);
            };
            invalidation::refresh();
            let context = current::get();
            let user = from_datum(user);
            if context.user != Some(user) {
                require("rbac", "inspect");
            }
            let held = context.tenant.is_some_and(|tenant| {
                with_text(resource, |resource| with_text(action, |action| cache::allows(tenant, user, resource, action)))
            });
            pg_sys::Datum::from(held)
        })
    }
});

v1_function!(
    /// `get_current_actor_id() -> uuid`: the current user, when such a row exists in `shared.users`
    thorbis_get_current_actor_id, pg_finfo_thorbis_get_current_actor_id, |fcinfo| {
    // SAFETY: no arguments.
    unsafe { guarded(actor).map_or_else(|| null(fcinfo), into_datum) }
});

/// The current user when `created_by` may point at it.
pub fn actor() -> Option<Uuid> {
    let context = current::get();
    let (tenant, user) = context.tenant.zip(context.user)?;
    cache::with_permissions(tenant, user, |p| p.user_exists).then_some(user)
}

/// Raises 42501 unless the current user holds the permission. Operators of all tenants pass.
pub fn require(resource: &str, action: &str) {
    if !may(resource, action) {
        AccessError::Required { resource: resource.into(), action: action.into() }.raise();
    }
}

/// For triggers and administrative functions: superusers and the platform pass when they act for no user.
pub fn may(resource: &str, action: &str) -> bool {
    let context = current::get();
    match (context.tenant, context.user) {
        (Some(tenant), Some(user)) => cache::allows(tenant, user, resource, action),
        _ => crate::pg::identity::operates_all_tenants(),
    }
}

/// A rule about a tenant's user, a resource and an action: whether it holds, and until when that is sure.
type Rule = fn(Uuid, Uuid, &str, &str) -> (bool, Option<UnixMicros>);

fn permission(tenant: Uuid, user: Uuid, resource: &str, action: &str) -> (bool, Option<UnixMicros>) {
    let loaded = cache::loaded(tenant, user);
    (loaded.permissions.allow(resource, action), loaded.changes_at)
}

fn business_hours(tenant: Uuid, user: Uuid, resource: &str, _: &str) -> (bool, Option<UnixMicros>) {
    let (exempt, until) = permission(tenant, user, resource, ADMIN);
    if exempt {
        return (true, until);
    }
    let tenants = cache::hours(tenant);
    match tenants.by_resource.get(resource) {
        None => (true, until),
        Some(hours) => {
            // Hours begin and end with a minute.
            const MINUTE: UnixMicros = 60_000_000;
            let next = (unix_micros().div_euclid(MINUTE) + 1) * MINUTE;
            (open_now(&tenants.timezone, hours), Some(until.map_or(next, |until| until.min(next))))
        }
    }
}

/// Applies the rule to the current tenant and user, once per statement. NULL arguments and a missing context decide
/// false.
///
/// # Safety
/// `fcinfo` has one or two text arguments; sites are the only use of fn_extra.
#[inline]
unsafe fn verdict(fcinfo: pg_sys::FunctionCallInfo, rule: Rule) -> Verdict {
    // SAFETY: per contract.
    unsafe { site::recall(fcinfo).unwrap_or_else(|| guarded(|| decide(fcinfo, rule))) }
}

/// # Safety
/// As for `verdict`.
unsafe fn decide(fcinfo: pg_sys::FunctionCallInfo, rule: Rule) -> Verdict {
    // SAFETY: per contract.
    unsafe {
        let Some(resource) = argument(fcinfo, 0) else { return Verdict::NO };
        let action = if (*fcinfo).nargs == 1 { None } else { Some(argument(fcinfo, 1)) };
        if action == Some(None) {
            return Verdict::NO;
        }
        // Before anything is decided: a statement prepared long ago in an open transaction sees a revocation too.
        invalidation::refresh();
        let context = current::get();
        let caller = Key::now();
        let (held, until) = context.tenant.zip(context.user).map_or((false, None), |(tenant, user)| {
            with_text(resource, |resource| match action.flatten() {
                Some(action) => with_text(action, |action| rule(tenant, user, resource, action)),
                None => rule(tenant, user, resource, ""),
            })
        });
        let verdict = Verdict { tenant: context.tenant, held, until };
        site::store(fcinfo, caller, verdict);
        verdict
    }
}

/// The tenant's wall clock against the hours. A zone PostgreSQL does not know raises its own error.
fn open_now(timezone: &str, hours: &Hours) -> bool {
    // SAFETY: timestamptz AT TIME ZONE text: microseconds since 2000-01-01 on the local clock.
    let local: i64 = unsafe {
        let zone = timezone.into_datum();
        let now = Some(pg_sys::Datum::from(pg_sys::GetCurrentTimestamp()));
        let local = pgrx::direct_function_call_as_datum(pg_sys::timestamptz_zone, &[zone, now]);
        i64::from_polymorphic_datum(local.unwrap_or(pg_sys::Datum::from(0)), local.is_none(), pg_sys::INT8OID)
            .unwrap_or_default()
    };
    const DAY: i64 = 86_400_000_000;
    let minute = local.rem_euclid(DAY) / 60_000_000;
    hours.open_at(local.div_euclid(DAY) as i32, minute as u16)
}
