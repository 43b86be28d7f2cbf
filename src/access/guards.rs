//! Triggers that keep the rbac tables sound: nobody grants what they lack, no inheritance in a circle, the last owner
//! stays. They read as the owner of the rbac tables, with the tenant of the row in every statement, because the caller
//! may see less than the rule needs; and committed data as it is now, because the rule must hold under concurrency.

use crate::access::error::AccessError;
use crate::access::invalidation::{Relation, Watched, relation};
use crate::access::{cache, invalidation};
use crate::context::current;
use crate::pg::error::SqlError;
use crate::pg::fresh::{self, Arg};
use crate::pg::function::guarded;
use crate::pg::identity::{self, ActingAs};
use crate::pg::settings_scope::SettingsScope;
use crate::pg::trigger::{Firing, Trigger, TriggerRow};
use crate::pg::{sql, uuid as pg_uuid};
use crate::v1_function;
use pgrx::pg_sys;
use uuid::Uuid;

/// Everything that role `$2` of tenant `$1` stands for, itself and inherited; or all roles ever given to user `$2` when
/// `$3` is 'user'.
const ROLE: &str = "
WITH RECURSIVE held(role_id) AS (
    (SELECT $2 WHERE $3 = 'role'
     UNION ALL
     SELECT ur.role_id FROM rbac.user_roles ur WHERE $3 = 'user' AND ur.tenant_id = $1 AND ur.user_id = $2)
    UNION
    SELECT h.inherits_role_id FROM held JOIN rbac.role_hierarchy h ON h.tenant_id = $1 AND h.role_id = held.role_id
)
SELECT 'role', NULL::text, NULL::text, held.role_id FROM held
UNION ALL
SELECT 'owner', NULL, NULL, NULL FROM held JOIN rbac.roles r ON r.tenant_id = $1 AND r.id = held.role_id AND r.is_owner
UNION ALL
SELECT 'grant', p.resource, p.action, NULL
  FROM held JOIN rbac.role_permissions p ON p.tenant_id = $1 AND p.role_id = held.role_id";

/// A row when tenant `$1` exists and nobody owns it for good.
const OWNERLESS: &str = "
SELECT 1 FROM shared.tenants t
 WHERE t.id = $1
   AND NOT EXISTS (SELECT 1 FROM rbac.roles r
                     JOIN rbac.user_roles ur ON ur.tenant_id = r.tenant_id AND ur.role_id = r.id
                     JOIN shared.users u ON u.tenant_id = ur.tenant_id AND u.id = ur.user_id
                                     AND u.deleted_at IS NULL AND u.status = 'active'
                    WHERE r.tenant_id = $1 AND r.is_owner
                      AND ur.valid_during @> pg_catalog.clock_timestamp()
                      AND pg_catalog.upper_inf(ur.valid_during))";

/// One role with what it stands for.
#[derive(Default)]
struct RoleClosure {
    roles: Vec<Uuid>,
    owner: bool,
    grants: Vec<(String, String)>,
}

v1_function!(
    /// BEFORE INSERT OR UPDATE FOR EACH ROW on rbac.roles, role_permissions, user_roles, role_hierarchy, access_grants; BEFORE
    /// UPDATE on shared.users. The argument names the table.
    thorbis_check_role_grant, pg_finfo_thorbis_check_role_grant, |fcinfo| {
    guarded(|| {
        // SAFETY: called by PostgreSQL as declared.
        let trigger = unsafe { Trigger::of(fcinfo, Firing::BeforeRow) };
        let row = trigger.new_row();
        require_ours(&trigger);
        if let Some((tenant, user)) = granting_user(trigger.uuid(row, "tenant_id")) {
            match logical_table(&trigger).as_str() {
                // Owner roles hold everything; system roles get what an industry adds to them.
                "roles" => {
                    let gains = |flag| trigger.boolean(row, flag) && !(trigger.is_update() && trigger.boolean(trigger.old(), flag));
                    if gains("is_owner") || gains("is_system") {
                        check_owner(tenant, user);
                    }
                }
                // Who may change how somebody logs in, or whether, could act as them.
                "users" => {
                    if let Some(target) = trigger.uuid(row, "id").filter(|target| Some(*target) != user) {
                        check_role(tenant, user, &roles_of(tenant, target));
                    }
                }
                "role_hierarchy" => {
                    if let Some(inherited) = trigger.uuid(row, "inherits_role_id") {
                        check_role(tenant, user, &closure(tenant, inherited));
                    }
                }
                "user_roles" => {
                    if let Some(role) = trigger.uuid(row, "role_id") {
                        check_role(tenant, user, &closure(tenant, role));
                    }
                }
                _ => {
                    if let (Some(resource), Some(action)) = (trigger.text(row, "resource"), trigger.text(row, "action")) {
                        check_permission(tenant, user, &resource, &action);
                    }
                }
            }
        }
        // Whoever adds it, an operator too.
        let foreign = current::get().tenant.is_some_and(|t| trigger.uuid(row, "tenant_id") != Some(t));
        if logical_table(&trigger) == "role_hierarchy" && (!foreign || identity::operates_all_tenants()) {
            check_circle(&trigger);
        }
        trigger.unchanged()
    })
});

v1_function!(
    /// AFTER UPDATE OR DELETE FOR EACH ROW on rbac.roles, rbac.user_roles, shared.users.
    thorbis_keep_last_owner, pg_finfo_thorbis_keep_last_owner, |fcinfo| {
    guarded(|| {
        // SAFETY: called by PostgreSQL as declared.
        let trigger = unsafe { Trigger::of(fcinfo, Firing::AfterRow) };
        let (old, new) = (trigger.old(), trigger.new_row());
        require_ours(&trigger);
        let tenant = trigger.uuid(old, "tenant_id").unwrap_or_default();
        let gone = !trigger.is_update();
        let loses_owner = match logical_table(&trigger).as_str() {
            "roles" => trigger.boolean(old, "is_owner") && (gone || !trigger.boolean(new, "is_owner")),
            "user_roles" => trigger.uuid(old, "role_id").is_some_and(|role| closure(tenant, role).owner),
            // A user who was live and no longer is; a deleted one takes the assignments along, which fire themselves.
            _ => !gone && is_live(&trigger, old) && !is_live(&trigger, new),
        };
        if loses_owner {
            lock_tenant_rbac(tenant);
            if ownerless(tenant) {
                AccessError::LastOwner.raise();
            }
        }
        pg_sys::Datum::from(0)
    })
});

/// The guards read and lock rows that the owner of another table may not.
fn require_ours(trigger: &Trigger) {
    if relation(Watched::Roles).is_none_or(|roles| roles.owner != trigger.owner()) {
        AccessError::ForeignTable { table: trigger.table_name() }.raise();
    }
}

/// The table the trigger is for, as its argument says: on a shard the table itself has another name.
fn logical_table(trigger: &Trigger) -> String {
    trigger.arguments().first().map_or_else(|| trigger.table_name(), |name| (*name).to_owned())
}

fn is_live(trigger: &Trigger, user: TriggerRow) -> bool {
    trigger.is_null(user, "deleted_at") && trigger.text(user, "status").as_deref() == Some("active")
}

/// The tenant and user whose grant is to be checked. None for jobs, imports and the demo (superusers and the platform
/// acting for nobody of this tenant), and for rows of another tenant: this runs before the policies, which refuse
/// those, and must not say anything about them.
fn granting_user(row_tenant: Option<Uuid>) -> Option<(Uuid, Option<Uuid>)> {
    let context = current::get();
    let tenant = context.tenant.filter(|tenant| row_tenant == Some(*tenant))?;
    if context.user.is_none() && identity::operates_all_tenants() { None } else { Some((tenant, context.user)) }
}

fn check_permission(tenant: Uuid, user: Option<Uuid>, resource: &str, action: &str) {
    if !user.is_some_and(|user| cache::allows(tenant, user, resource, action)) {
        AccessError::GrantsMoreThanHeld { resource: resource.into(), action: action.into() }.raise();
    }
}

fn check_owner(tenant: Uuid, user: Option<Uuid>) {
    if !user.is_some_and(|user| cache::with_permissions(tenant, user, |p| p.owner)) {
        AccessError::GrantsOwner.raise();
    }
}

fn check_role(tenant: Uuid, user: Option<Uuid>, role: &RoleClosure) {
    if role.owner {
        check_owner(tenant, user);
    }
    for (resource, action) in &role.grants {
        check_permission(tenant, user, resource, action);
    }
}

fn check_circle(trigger: &Trigger) {
    let row = trigger.new_row();
    let uuid = |column| trigger.uuid(row, column);
    if let (Some(tenant), Some(heir), Some(inherited)) = (uuid("tenant_id"), uuid("role_id"), uuid("inherits_role_id"))
    {
        // Two sessions could each add half of a circle.
        lock_tenant_rbac(tenant);
        if closure(tenant, inherited).roles.contains(&heir) {
            AccessError::Cycle.raise();
        }
    }
}

fn closure(tenant: Uuid, role: Uuid) -> RoleClosure {
    stands_for(tenant, role, "role")
}

fn roles_of(tenant: Uuid, user: Uuid) -> RoleClosure {
    stands_for(tenant, user, "user")
}

fn stands_for(tenant: Uuid, id: Uuid, kind: &str) -> RoleClosure {
    let mut found = RoleClosure::default();
    read(ROLE, &[Arg::Uuid(tenant), Arg::Uuid(id), Arg::Text(kind)], |row| match row.text(1).as_deref() {
        Some("role") => found.roles.extend(row.uuid(4)),
        Some("owner") => found.owner = true,
        _ => found.grants.extend(row.text(2).zip(row.text(3))),
    });
    found
}

fn ownerless(tenant: Uuid) -> bool {
    let mut ownerless = false;
    read(OWNERLESS, &[Arg::Uuid(tenant)], |_| ownerless = true);
    ownerless
}

/// Reads as the owner, once all tables that the rules read exist.
fn read(query: &'static str, args: &[Arg], each: impl FnMut(&fresh::Row)) {
    // SAFETY: makes earlier rows of the statement that fired the trigger visible, as any SPI statement does.
    unsafe { pg_sys::CommandCounterIncrement() };
    invalidation::refresh();
    if let Some(Relation { oid, owner }) = relation(Watched::UserRoles) {
        fresh::read(owner, oid, query, args, each);
    }
}

/// One change of a tenant's owners or inheritance at a time: the owner roles serve as its mutex.
fn lock_tenant_rbac(tenant: Uuid) {
    let Some(Relation { owner, .. }) = relation(Watched::Roles) else { return };
    let _path = SettingsScope::pinned_path();
    let _identity = ActingAs::owner(owner);
    sql::run(
        "SELECT 1 FROM rbac.roles WHERE tenant_id = $1 AND is_owner ORDER BY id FOR NO KEY UPDATE",
        &[pg_uuid::to_pgrx(tenant).into()],
    );
}
