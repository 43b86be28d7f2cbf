//! `thorbis.set_context`, `bind_role`, `unbind_role`.

use crate::context::current;
use crate::context::error::ContextError;
use crate::pg::error::SqlError;
use crate::pg::{identity, raw, sql, uuid};
use pgrx::prelude::*;

/// Sets the context of the current transaction: `SET LOCAL`, so that it ends with the transaction and reaches the
/// workers of a parallel query.
#[pg_extern(sql = false)]
fn set_context(tenant_id: Option<pgrx::Uuid>, user_id: Option<pgrx::Uuid>) {
    let Some(tenant) = tenant_id.map(uuid::from_pgrx) else { ContextError::NoTenant.raise() };
    // SAFETY: both only read the state of the transaction.
    let (in_block, depth) = unsafe { (pg_sys::IsTransactionBlock(), pg_sys::GetCurrentTransactionNestLevel()) };
    if !in_block {
        ContextError::NoTransaction.raise();
    }
    if depth > 1 {
        ContextError::InSavepoint.raise();
    }
    if !may_set_context() {
        ContextError::NotGateway.raise();
    }
    current::check_latch(raw::local_transaction_id(), tenant);
    sql::run_utility(&format!("SET LOCAL app.current_tenant_id = '{tenant}'"));
    let user = user_id.map(|u| u.to_string()).unwrap_or_default();
    sql::run_utility(&format!("SET LOCAL app.current_user_id = '{user}'"));
    // Sources that disagree are better reported here than by the first query.
    current::get();
}

fn may_set_context() -> bool {
    let (_, user) = raw::user_ids();
    let allowed = |name: &std::ffi::CStr| {
        // SAFETY: a look-up of the setting's ACL.
        let result = unsafe { pg_sys::pg_parameter_aclcheck(name.as_ptr(), user, pg_sys::ACL_SET as _) };
        result == pg_sys::AclResult::ACLCHECK_OK
    };
    allowed(c"app.current_tenant_id") && allowed(c"app.current_user_id")
}

/// Fixes the tenant, and the user, of a database role: for BI tools and everybody who types SQL.
#[pg_extern(sql = false)]
fn bind_role(role: pg_sys::Oid, tenant_id: pgrx::Uuid, user_id: Option<pgrx::Uuid>) {
    crate::deploy::require_superuser("thorbis.bind_role()");
    crate::deploy::require_installed();
    let Some(name) = identity::role_name(role) else {
        ereport!(ERROR, PgSqlErrorCode::ERRCODE_UNDEFINED_OBJECT, "role does not exist", "CREATE ROLE it first.");
    };
    sql::run(
        "INSERT INTO thorbis.bound_roles (role_name, tenant_id, user_id) VALUES ($1, $2, $3)
         ON CONFLICT (role_name) DO UPDATE SET tenant_id = excluded.tenant_id, user_id = excluded.user_id,
                                               bound_at = pg_catalog.now(), bound_by = excluded.bound_by",
        &[name.as_str().into(), tenant_id.into(), user_id.into()],
    );
    if !identity::is_member(role, "thorbis_app") {
        notice!(
            "role \"{name}\" is bound; GRANT thorbis_app TO {} lets it read and write",
            pgrx::spi::quote_identifier(&name)
        );
    }
}

/// Ends a binding. Returns whether there was one.
#[pg_extern(sql = false)]
fn unbind_role(role: pg_sys::Oid) -> bool {
    crate::deploy::require_superuser("thorbis.unbind_role()");
    crate::deploy::require_installed();
    let name = identity::role_name(role).unwrap_or_default();
    sql::run("DELETE FROM thorbis.bound_roles WHERE role_name = $1", &[name.as_str().into()]) > 0
}
