//! `thorbis.set_context`, `bind_role`, `unbind_role`.

use crate::context::current;
use crate::context::error::ContextError;
use crate::deploy::error::DeployError;
use crate::deploy::roles::fit_role;
use crate::deploy::{require_installed, require_superuser};
use crate::pg::error::{SqlError, required};
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
fn bind_role(role: Option<pg_sys::Oid>, tenant_id: Option<pgrx::Uuid>, user_id: Option<pgrx::Uuid>) {
    require_superuser("thorbis.bind_role()");
    require_installed();
    let role = fit_role(required("role", role), "be bound");
    let tenant = required("tenant_id", tenant_id);
    if !sql::exists("SELECT 1 FROM shared.tenants WHERE id = $1", &[tenant.into()]) {
        DeployError::NoTenant(tenant.to_string()).raise();
    }
    sql::run(
        "INSERT INTO thorbis.bound_roles (role_name, tenant_id, user_id) VALUES ($1, $2, $3)
         ON CONFLICT (role_name) DO UPDATE SET tenant_id = excluded.tenant_id, user_id = excluded.user_id,
                                               bound_at = pg_catalog.now(), bound_by = excluded.bound_by",
        &[role.name.as_str().into(), tenant.into(), user_id.into()],
    );
    if !identity::is_member(role.oid, "thorbis_app") {
        let quoted = pgrx::spi::quote_identifier(&role.name);
        notice!("role {quoted} is bound; GRANT thorbis_app TO {quoted} lets it read and write");
    }
}

/// Ends the binding of a role, which may be gone already. Returns whether there was one.
#[pg_extern(sql = false)]
fn unbind_role(role: Option<&str>) -> bool {
    require_superuser("thorbis.unbind_role()");
    require_installed();
    sql::run("DELETE FROM thorbis.bound_roles WHERE role_name = $1", &[required("role", role).into()]) > 0
}
