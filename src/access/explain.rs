//! `thorbis.explain_permission` and `thorbis.who_can`: why, and who. Both speak about the current tenant and need
//! `rbac:inspect`, unless a user asks about themselves.

use crate::access::functions::require;
use crate::access::invalidation::{self, Watched, relation};
use crate::context::current;
use crate::pg::fresh::{self, Arg};
use crate::pg::{identity, uuid as pg_uuid};
use pgrx::prelude::*;
use uuid::Uuid;

/// Every role a user of tenant `$1` was ever given, with what it inherits and whether it holds now. `$2` limits it to
/// one user unless `$5` is 'everybody'.
const PATHS: &str = "
WITH RECURSIVE path(user_id, role_id, via, now) AS (
    SELECT ur.user_id, ur.role_id, r.code, ur.valid_during @> pg_catalog.clock_timestamp()
      FROM rbac.user_roles ur JOIN rbac.roles r ON r.tenant_id = ur.tenant_id AND r.id = ur.role_id
     WHERE ur.tenant_id = $1 AND ($5 = 'everybody' OR ur.user_id = $2)
    UNION
    SELECT path.user_id, h.inherits_role_id, path.via, path.now
      FROM path JOIN rbac.role_hierarchy h ON h.tenant_id = $1 AND h.role_id = path.role_id
), reason(user_id, now, kind, source) AS (
    SELECT path.user_id, path.now, 'owner role', path.via
      FROM path JOIN rbac.roles r ON r.tenant_id = $1 AND r.id = path.role_id WHERE r.is_owner
    UNION ALL
    SELECT path.user_id, path.now, CASE WHEN r.code = path.via THEN 'role' ELSE 'inherited role' END,
           CASE WHEN r.code = path.via THEN r.code ELSE r.code || ' through ' || path.via END
           || CASE p.action WHEN $4 THEN '' ELSE ' (admin)' END
      FROM path
      JOIN rbac.roles r ON r.tenant_id = $1 AND r.id = path.role_id
      JOIN rbac.role_permissions p ON p.tenant_id = $1 AND p.role_id = path.role_id
     WHERE p.resource = $3 AND p.action IN ($4, 'admin')
    UNION ALL
    SELECT g.user_id, g.valid_during @> pg_catalog.clock_timestamp(), 'break-glass grant', g.reason
      FROM rbac.access_grants g
     WHERE g.tenant_id = $1 AND ($5 = 'everybody' OR g.user_id = $2)
       AND g.resource = $3 AND g.action IN ($4, 'admin')
)
SELECT u.id, reason.kind, reason.source,
       CASE WHEN t.deleted_at IS NOT NULL OR t.status NOT IN ('trial', 'active') THEN 'closed' WHEN u.deleted_at IS NOT NULL OR u.status <> 'active' THEN 'inactive' WHEN reason.now THEN 'now' WHEN reason.now IS NULL THEN 'never'
            ELSE 'expired' END
  FROM shared.users u JOIN shared.tenants t ON t.id = u.tenant_id LEFT JOIN reason ON reason.user_id = u.id
 WHERE u.tenant_id = $1 AND ($5 = 'everybody' OR u.id = $2)
 ORDER BY u.id, reason.now DESC NULLS LAST, reason.kind, reason.source";

struct Reason {
    user: Uuid,
    kind: String,
    source: Option<String>,
    state: String,
}

/// Rows (allowed, reason, source): every grant that allows it, or the one reason why it is denied.
#[pg_extern(sql = false)]
fn explain_permission(
    user_id: pgrx::Uuid,
    resource: &str,
    action: &str,
) -> TableIterator<'static, (name!(allowed, bool), name!(reason, String), name!(source, Option<String>))> {
    let user = pg_uuid::from_pgrx(user_id);
    invalidation::refresh();
    let context = current::get();
    if context.user != Some(user) {
        require("rbac", "inspect");
    }
    let rows = match context.tenant {
        None => vec![(false, "no tenant context".to_owned(), None)],
        Some(tenant) => explain(&reasons(tenant, Some(user), resource, action)),
    };
    TableIterator::new(rows)
}

fn explain(reasons: &[Reason]) -> Vec<(bool, String, Option<String>)> {
    let deny =
        |why: &str, reason: Option<&Reason>| vec![(false, why.to_owned(), reason.and_then(|r| r.source.clone()))];
    let Some(first) = reasons.first() else { return deny("no such user in this tenant", None) };
    match first.state.as_str() {
        "closed" => deny("the tenant is suspended or closed", None),
        "inactive" => deny("the user is deleted or not active", None),
        "never" => deny("nothing grants it", None),
        "expired" => deny(&format!("{} is not valid now", first.kind), Some(first)),
        _ => reasons.iter().filter(|r| r.state == "now").map(|r| (true, r.kind.clone(), r.source.clone())).collect(),
    }
}

/// Rows (user_id, reason, source): the users who may do it now.
#[pg_extern(sql = false)]
fn who_can(
    resource: &str,
    action: &str,
) -> TableIterator<'static, (name!(user_id, pgrx::Uuid), name!(reason, String), name!(source, Option<String>))> {
    invalidation::refresh();
    require("rbac", "inspect");
    let tenant = current::get().tenant;
    let everybody = tenant.map(|tenant| reasons(tenant, None, resource, action)).unwrap_or_default();
    let rows = everybody
        .into_iter()
        .filter(|r| r.state == "now")
        .map(|r| (pg_uuid::to_pgrx(r.user), r.kind, r.source))
        .collect::<Vec<_>>();
    if tenant.is_none() && identity::operates_all_tenants() {
        notice!("no tenant context: BEGIN; SELECT thorbis.set_context(tenant_id); ...");
    }
    TableIterator::new(rows)
}

fn reasons(tenant: Uuid, user: Option<Uuid>, resource: &str, action: &str) -> Vec<Reason> {
    let mut found = Vec::new();
    let Some(table) = relation(Watched::AccessGrants) else { return found };
    let whom = Arg::Text(if user.is_some() { "one" } else { "everybody" });
    let args = [Arg::Uuid(tenant), Arg::Uuid(user.unwrap_or_default()), Arg::Text(resource), Arg::Text(action), whom];
    fresh::read(table.owner, table.oid, PATHS, &args, |row| {
        found.push(Reason {
            user: row.uuid(1).unwrap_or_default(),
            kind: row.text(2).unwrap_or_default(),
            source: row.text(3),
            state: row.text(4).unwrap_or_default(),
        });
    });
    found
}
