//! `thorbis.grant_app`: a login of an application, or Supabase's `authenticated`.

use crate::audit::events;
use crate::deploy::error::DeployError;
use crate::deploy::{engine, require_superuser};
use crate::pg::error::{SqlError, required};
use crate::pg::sql::{self, column, query_one};
use pgrx::prelude::*;
use pgrx::spi::quote_identifier;
use serde_json::json;

/// A role that acts for users of tenants.
pub struct FitRole {
    pub oid: pg_sys::Oid,
    pub name: String,
}

/// The role, unless row security would not apply to it: binding it or granting it the application's rights would only
/// look like protection. `purpose` completes "it cannot ...".
pub fn fit_role(role: pg_sys::Oid, purpose: &'static str) -> FitRole {
    let Some((name, superuser, bypass, owner)) = query_one(
        "SELECT rolname::text, rolsuper, rolbypassrls,
                NOT rolsuper AND pg_has_role(oid, (SELECT o.oid FROM pg_roles o WHERE o.rolname = $2), 'MEMBER')
           FROM pg_roles WHERE oid = $1",
        &[role.into(), engine::OWNER.into()],
        |row| (column::<String>(row, 1), column(row, 2), column(row, 3), column(row, 4)),
    ) else {
        DeployError::NoRole(role.to_u32().to_string()).raise()
    };
    let unfit = match (superuser, bypass, owner) {
        (true, ..) => Some("is a superuser"),
        (_, true, _) => Some("bypasses row security"),
        (.., true) => Some("is a member of thorbis_owner"),
        _ => None,
    };
    if let Some(why) = unfit {
        DeployError::UnfitRole { role: name, purpose, why }.raise();
    }
    FitRole { oid: role, name }
}

/// Makes a role a member of `thorbis_gateway` (may set the context) and `thorbis_app` (acts for tenant users).
/// Rows: the statements that were run.
#[pg_extern(sql = false)]
fn grant_app(role: Option<pg_sys::Oid>) -> SetOfIterator<'static, String> {
    require_superuser("thorbis.grant_app()");
    let FitRole { oid, name } = fit_role(required("role", role), "be an application's login");
    let missing = sql::query(
        "SELECT g FROM unnest(ARRAY['thorbis_gateway', 'thorbis_app']) g
          WHERE NOT EXISTS (SELECT 1 FROM pg_auth_members m WHERE m.member = $1 AND m.roleid = to_regrole(g))",
        &[oid.into()],
        |row| format!("GRANT {} TO {}", column::<String>(row, 1), quote_identifier(&name)),
    );
    for statement in &missing {
        sql::run(statement, &[]);
    }
    if missing.is_empty() {
        notice!("role \"{name}\" has both already, nothing to do");
    } else {
        events::record(None, "application.grant", &name, json!({}));
    }
    SetOfIterator::new(missing)
}
