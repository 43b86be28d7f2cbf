//! `permitted_tenant_id`, `has_permission`, `within_business_hours`, `get_current_actor_id`.

use crate::access::error::AccessError;
use crate::access::{cache, invalidation, site};
use crate::context::current::{self, Key};
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
    // SAFETY: the SQL declaration has two text arguments; sites are the only use of fn_extra.
    unsafe {
        let tenant = match site::recall(fcinfo) {
            Some(site) => site.tenant(),
            None => guarded(|| {
                let verdict = decide(fcinfo, |tenant, user, resource, action| {
                    cache::allows(tenant, user, resource, action)
                });
                verdict.0.filter(|_| verdict.1)
            }),
        };
        tenant.map_or_else(|| null(fcinfo), into_datum)
    }
});

v1_function!(
    /// `has_permission(resource text, action text) -> boolean`, for the current user
    thorbis_has_permission, pg_finfo_thorbis_has_permission, |fcinfo| {
    // SAFETY: as above.
    unsafe {
        let held = match site::recall(fcinfo) {
            Some(site) => site.verdict(),
            None => guarded(|| {
                decide(fcinfo, |tenant, user, resource, action| cache::allows(tenant, user, resource, action)).1
            }),
        };
        pg_sys::Datum::from(held)
    }
});

v1_function!(
    /// `within_business_hours(resource text) -> boolean`. Holders of `admin` on the resource are exempt.
    thorbis_within_business_hours, pg_finfo_thorbis_within_business_hours, |fcinfo| {
    // SAFETY: as above, with one argument.
    unsafe {
        let open = match site::recall(fcinfo) {
            Some(site) => site.verdict(),
            None => guarded(|| {
                decide(fcinfo, |tenant, user, resource, _| {
                    cache::allows(tenant, user, resource, ADMIN) || open_now(tenant, resource)
                })
                .1
            }),
        };
        pg_sys::Datum::from(open)
    }
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

/// Decides by the current tenant and user and keeps the verdict at the call site. NULL arguments and a missing context
/// decide false.
///
/// # Safety
/// `fcinfo` has one or two text arguments.
unsafe fn decide(
    fcinfo: pg_sys::FunctionCallInfo,
    verdict: impl FnOnce(Uuid, Uuid, &str, &str) -> bool,
) -> (Option<Uuid>, bool) {
    // SAFETY: per contract.
    unsafe {
        let Some(resource) = argument(fcinfo, 0) else { return (None, false) };
        let action = if (*fcinfo).nargs == 1 { None } else { Some(argument(fcinfo, 1)) };
        if action == Some(None) {
            return (None, false);
        }
        // Before anything is decided: a statement prepared long ago in an open transaction sees a revocation too.
        invalidation::refresh();
        let context = current::get();
        let caller = Key::now();
        let decided = context.tenant.zip(context.user).is_some_and(|(tenant, user)| {
            with_text(resource, |resource| match action.flatten() {
                Some(action) => with_text(action, |action| verdict(tenant, user, resource, action)),
                None => verdict(tenant, user, resource, ""),
            })
        });
        site::store(fcinfo, caller, context.tenant, decided);
        (context.tenant, decided)
    }
}

/// The tenant's wall clock against its hours. A zone PostgreSQL does not know raises its own error.
fn open_now(tenant: Uuid, resource: &str) -> bool {
    let hours = cache::hours(tenant);
    let Some(hours_of_resource) = hours.by_resource.get(resource) else { return true };
    // SAFETY: timestamptz AT TIME ZONE text: microseconds since 2000-01-01 on the local clock.
    let local: i64 = unsafe {
        let zone = hours.timezone.as_str().into_datum();
        let now = Some(pg_sys::Datum::from(pg_sys::GetCurrentTimestamp()));
        let local = pgrx::direct_function_call_as_datum(pg_sys::timestamptz_zone, &[zone, now]);
        i64::from_polymorphic_datum(local.unwrap_or(pg_sys::Datum::from(0)), local.is_none(), pg_sys::INT8OID)
            .unwrap_or_default()
    };
    const DAY: i64 = 86_400_000_000;
    let minute = local.rem_euclid(DAY) / 60_000_000;
    hours_of_resource.open_at(local.div_euclid(DAY) as i32, minute as u16)
}
