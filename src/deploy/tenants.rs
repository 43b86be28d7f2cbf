//! `thorbis.create_tenant` and `thorbis.add_industry`.

use crate::deploy::error::DeployError;
use crate::deploy::{engine, manifest};
use crate::pg::error::{SqlError, required};
use crate::pg::identity;
use crate::pg::sql;
use pgrx::prelude::*;

/// A tenant with the roles its industries come with, and its first user as owner. Runs as the caller, who operates all
/// tenants; commits whole or not at all.
#[pg_extern(sql = false)]
#[allow(clippy::too_many_arguments)]
fn create_tenant(
    name: Option<&str>,
    slug: Option<&str>,
    owner_id: Option<pgrx::Uuid>,
    owner_email: Option<&str>,
    industries: Option<Vec<Option<String>>>,
    timezone: Option<&str>,
    currency: Option<&str>,
    id: Option<pgrx::Uuid>,
) -> pgrx::Uuid {
    require_operator("thorbis.create_tenant()");
    let (id, owner, timezone) = (required("id", id), required("owner_id", owner_id), required("timezone", timezone));
    let industries: Vec<String> = match industries {
        Some(given) => given.into_iter().flatten().collect(),
        None => manifest::industries().into_iter().filter(|i| is_installed(i)).map(str::to_owned).collect(),
    };
    industries.iter().for_each(|industry| require_industry(industry));
    // Without the abbreviations and offsets that the server knows as well: they have no daylight saving.
    let known = "SELECT 1 FROM pg_timezone_names WHERE name = $1 AND (name = 'UTC' OR name LIKE '%/%')";
    if !sql::exists(known, &[timezone.into()]) {
        DeployError::TimeZone(timezone.into()).raise();
    }
    let (name, slug, currency) = (required("name", name), required("slug", slug), required("currency", currency));
    // Money columns have two decimals.
    let fits = "SELECT 1 FROM shared.currencies WHERE code::text = $1 AND minor_unit <= 2";
    if !sql::exists(fits, &[currency.into()]) {
        DeployError::Currency(currency.into()).raise();
    }
    sql::run(
        "INSERT INTO shared.tenants (id, name, slug, timezone, currency, minor_unit)
         SELECT $1, $2, $3, $4, c.code, c.minor_unit FROM shared.currencies c WHERE c.code::text = $5",
        &[id.into(), name.into(), slug.into(), timezone.into(), currency.into()],
    );
    sql::run(
        "INSERT INTO shared.users (tenant_id, id, email) VALUES ($1, $2, $3)",
        &[id.into(), owner.into(), required("owner_email", owner_email).into()],
    );
    add_roles(id, "shared");
    for industry in &industries {
        add(id, industry);
    }
    sql::run(
        "INSERT INTO rbac.user_roles (tenant_id, user_id, role_id)
         SELECT r.tenant_id, $2, r.id FROM rbac.roles r WHERE r.tenant_id = $1 AND r.is_owner",
        &[id.into(), owner.into()],
    );
    id
}

/// Gives a tenant an industry that it does not have yet: its roles, and what it adds to the roles every tenant has.
/// Returns whether there was anything to add.
#[pg_extern(sql = false)]
fn add_industry(tenant_id: Option<pgrx::Uuid>, industry: Option<&str>) -> bool {
    require_operator("thorbis.add_industry()");
    let (tenant, industry) = (required("tenant_id", tenant_id), required("industry", industry));
    require_industry(industry);
    if !sql::exists("SELECT 1 FROM shared.tenants WHERE id = $1", &[tenant.into()]) {
        DeployError::NoTenant(tenant.to_string()).raise();
    }
    add(tenant, industry) > 0
}

fn require_operator(function: &'static str) {
    if !identity::operates_all_tenants() {
        DeployError::NotOperator { function }.raise();
    }
    crate::deploy::require_installed();
}

fn is_installed(industry: &str) -> bool {
    !engine::applied(industry).is_empty()
}

fn require_industry(industry: &str) {
    if !manifest::industries().contains(&industry) {
        DeployError::UnknownIndustry(industry.into(), manifest::industries()).raise();
    }
    if !is_installed(industry) {
        DeployError::IndustryNotInstalled(industry.into()).raise();
    }
}

fn add(tenant: pgrx::Uuid, industry: &str) -> usize {
    let noted = sql::run(
        "UPDATE shared.tenants SET industries = industries || $2 WHERE id = $1 AND NOT $2 = ANY (industries)",
        &[tenant.into(), industry.into()],
    );
    // What a tenant took from its roles before stays taken: only an industry that is new to it adds permissions.
    if noted == 0 { 0 } else { noted + add_roles(tenant, industry) }
}

/// Copies the role templates of a module, and what it adds to the templates of others: permissions on its resources.
fn add_roles(tenant: pgrx::Uuid, module: &str) -> usize {
    let roles = sql::run(
        "INSERT INTO rbac.roles (tenant_id, code, name, description, is_owner, is_system)
         SELECT $1, t.code, t.name, t.description, t.is_owner, true FROM rbac.role_templates t WHERE t.module = $2
         ON CONFLICT (tenant_id, code) DO NOTHING",
        &[tenant.into(), module.into()],
    );
    roles
        + sql::run(
            "INSERT INTO rbac.role_permissions (tenant_id, role_id, resource, action)
             SELECT r.tenant_id, r.id, p.resource, p.action
               FROM rbac.roles r
               JOIN rbac.role_templates t ON t.code = r.code
               JOIN rbac.role_template_permissions p ON p.role_template_code = t.code
              WHERE r.tenant_id = $1 AND r.is_system
                AND (t.module = $2
                     OR p.resource IN (SELECT pt.resource FROM thorbis.protected_tables pt
                                         JOIN pg_class c ON c.oid = pt.table_id
                                         JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = $2))
             ON CONFLICT DO NOTHING",
            &[tenant.into(), module.into()],
        )
}
