//! Reading access data: the permissions of one user, the opening hours of one tenant.

use crate::access::clock::UnixMicros;
use crate::access::invalidation::{Relation, Watched, relation};
use crate::domain::hours::{Hours, SpecialDate, WeeklyPeriod};
use crate::domain::permissions::Permissions;
use crate::pg::fresh::{self, Arg};
use std::collections::HashMap;
use uuid::Uuid;

/// Roles held now, with the roles they inherit. `$1` is the tenant, `$2` the user. Grants whose time has not come or
/// has passed do not count, nor do users or tenants that are not active; `changes_at` is when that set will next change
/// by the clock alone.
const PERMISSIONS: &str = "
WITH RECURSIVE assigned AS (
    SELECT ur.role_id, ur.valid_during FROM rbac.user_roles ur WHERE ur.tenant_id = $1 AND ur.user_id = $2
), held(role_id) AS (
    SELECT a.role_id FROM assigned a WHERE a.valid_during @> pg_catalog.clock_timestamp()
    UNION
    SELECT h.inherits_role_id FROM held JOIN rbac.role_hierarchy h ON h.tenant_id = $1 AND h.role_id = held.role_id
), broken_glass AS (
    SELECT g.resource, g.action, g.valid_during FROM rbac.access_grants g WHERE g.tenant_id = $1 AND g.user_id = $2
), live AS (
    SELECT 1 FROM shared.users u JOIN shared.tenants t ON t.id = u.tenant_id
     WHERE u.tenant_id = $1 AND u.id = $2 AND u.deleted_at IS NULL AND u.status = 'active'
       AND t.deleted_at IS NULL AND t.status IN ('trial', 'active')
)
SELECT 'user', NULL::text, NULL::text, NULL::bigint FROM live
UNION ALL
SELECT 'owner', NULL, NULL, NULL FROM live, held JOIN rbac.roles r ON r.tenant_id = $1 AND r.id = held.role_id
 WHERE r.is_owner
UNION ALL
SELECT 'grant', p.resource, p.action, NULL
  FROM live, held JOIN rbac.role_permissions p ON p.tenant_id = $1 AND p.role_id = held.role_id
UNION ALL
SELECT 'grant', g.resource, g.action, NULL FROM live, broken_glass g
 WHERE g.valid_during @> pg_catalog.clock_timestamp()
UNION ALL
SELECT 'changes_at', NULL, NULL, (EXTRACT(epoch FROM pg_catalog.min(t.bound)) * 1000000)::bigint
  FROM (SELECT valid_during FROM assigned UNION ALL SELECT valid_during FROM broken_glass) v,
       LATERAL (VALUES (pg_catalog.lower(v.valid_during)), (pg_catalog.upper(v.valid_during))) t(bound)
 WHERE t.bound > pg_catalog.clock_timestamp()";

/// `isodow` is Monday = 1; times as minutes of the day, dates as days since 2000-01-01.
const HOURS: &str = "
SELECT 'timezone', t.timezone, NULL::bigint, NULL::bigint, NULL::bigint FROM shared.tenants t WHERE t.id = $1
UNION ALL
SELECT 'weekly', h.resource, h.weekday::bigint,
       (EXTRACT(epoch FROM h.opens_at) / 60)::bigint, (EXTRACT(epoch FROM h.closes_at) / 60)::bigint
  FROM shared.business_hours h WHERE h.tenant_id = $1
UNION ALL
SELECT 'special', c.resource, (c.on_date - DATE '2000-01-01')::bigint,
       (EXTRACT(epoch FROM c.opens_at) / 60)::bigint, (EXTRACT(epoch FROM c.closes_at) / 60)::bigint
  FROM shared.business_closures c WHERE c.tenant_id = $1";

/// A user's permissions and the moment they change without anybody changing them.
#[derive(Debug, Default)]
pub struct Loaded {
    pub permissions: Permissions,
    pub changes_at: Option<UnixMicros>,
}

/// The opening hours of a tenant's resources.
#[derive(Debug, Default)]
pub struct TenantHours {
    pub timezone: String,
    pub by_resource: HashMap<String, Hours>,
}

/// Nobody may do anything where rbac is not installed.
pub fn permissions(tenant: Uuid, user: Uuid) -> Loaded {
    let mut loaded = Loaded::default();
    // The last table of rbac that is read: after a rollback of part of rbac nobody may do anything.
    let Some(Relation { oid, owner }) = relation(Watched::AccessGrants) else { return loaded };
    fresh::read(owner, oid, PERMISSIONS, &[Arg::Uuid(tenant), Arg::Uuid(user)], |row| match row.text(1).as_deref() {
        Some("user") => loaded.permissions.user_exists = true,
        Some("owner") => loaded.permissions.owner = true,
        Some("grant") => {
            if let (Some(resource), Some(action)) = (row.text(2), row.text(3)) {
                loaded.permissions.grant(&resource, &action);
            }
        }
        _ => loaded.changes_at = row.bigint(4),
    });
    loaded
}

pub fn hours(tenant: Uuid) -> TenantHours {
    let mut loaded = TenantHours { timezone: "UTC".into(), ..Default::default() };
    let Some(Relation { oid, owner }) = relation(Watched::BusinessClosures) else { return loaded };
    fresh::read(owner, oid, HOURS, &[Arg::Uuid(tenant)], |row| {
        let Some(text) = row.text(2) else { return };
        let (number, opens, closes) = (row.bigint(3), row.bigint(4), row.bigint(5));
        let period = opens.zip(closes).map(|(o, c)| (o as u16, c as u16));
        match (row.text(1).as_deref(), number, period) {
            (Some("timezone"), ..) => loaded.timezone = text,
            (Some("weekly"), Some(weekday), Some((opens, closes))) => {
                let hours = loaded.by_resource.entry(text).or_default();
                hours.weekly.push(WeeklyPeriod { weekday: weekday as u8, opens, closes });
            }
            (Some("special"), Some(date), hours) => {
                let special = SpecialDate { date: date as i32, hours };
                loaded.by_resource.entry(text).or_default().special.push(special);
            }
            _ => {}
        }
    });
    loaded
}
