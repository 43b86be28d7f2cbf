//! `thorbis.create_tenant`.

use crate::deploy::error::DeployError;
use crate::deploy::manifest;
use crate::pg::error::SqlError;
use crate::pg::identity;
use crate::pg::sql;
use pgrx::prelude::*;

/// A tenant with the roles its industries come with, and its first user as owner. Runs as the caller, who operates all
/// tenants; commits whole or not at all.
#[pg_extern(sql = false)]
#[allow(clippy::too_many_arguments)]
fn create_tenant(
    name: &str,
    slug: &str,
    owner_id: pgrx::Uuid,
    owner_email: &str,
    industries: Option<Vec<Option<String>>>,
    timezone: &str,
    currency: &str,
    id: pgrx::Uuid,
) -> pgrx::Uuid {
    if !identity::operates_all_tenants() {
        DeployError::NotOperator { function: "thorbis.create_tenant()" }.raise();
    }
    crate::deploy::require_installed();
    let industries: Vec<String> = match industries {
        Some(given) => given.into_iter().flatten().collect(),
        None => manifest::industries().into_iter().map(str::to_owned).collect(),
    };
    if let Some(unknown) = industries.iter().find(|i| !manifest::industries().contains(&i.as_str())) {
        DeployError::UnknownIndustry(unknown.clone(), manifest::industries()).raise();
    }
    if !sql::exists("SELECT 1 FROM pg_timezone_names WHERE name = $1", &[timezone.into()]) {
        DeployError::TimeZone(timezone.into()).raise();
    }
    sql::run(
        "INSERT INTO shared.tenants (id, name, slug, industries, timezone, currency) VALUES ($1, $2, $3, $4, $5, $6)",
        &[id.into(), name.into(), slug.into(), industries.clone().into(), timezone.into(), currency.into()],
    );
    sql::run(
        "INSERT INTO shared.users (tenant_id, id, email) VALUES ($1, $2, $3)",
        &[id.into(), owner_id.into(), owner_email.into()],
    );
    sql::run(
        "INSERT INTO rbac.roles (tenant_id, code, name, description, is_owner, is_system)
         SELECT $1, t.code, t.name, t.description, t.is_owner, true FROM rbac.role_templates t
          WHERE t.module = 'shared' OR t.module = ANY ($2)",
        &[id.into(), industries.into()],
    );
    sql::run(
        "INSERT INTO rbac.role_permissions (tenant_id, role_id, resource, action)
         SELECT r.tenant_id, r.id, p.resource, p.action
           FROM rbac.roles r JOIN rbac.role_template_permissions p ON p.role_template_code = r.code
          WHERE r.tenant_id = $1",
        &[id.into()],
    );
    sql::run(
        "INSERT INTO rbac.user_roles (tenant_id, user_id, role_id)
         SELECT r.tenant_id, $2, r.id FROM rbac.roles r WHERE r.tenant_id = $1 AND r.is_owner",
        &[id.into(), owner_id.into()],
    );
    id
}
