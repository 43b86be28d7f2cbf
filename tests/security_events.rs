//! audit.security_events: every kind is written once, within the transaction and gone with it; nobody writes, changes or
//! hides one; each tenant sees its own.

use postgres::{Client, GenericClient};
use serde_json::Value;
use thorbis_tests::notes::{NOTES_OPTIONS, call, notes_in_clear};
use thorbis_tests::{A, B, Database, assert_sqlstate, in_context, ok, one, set_local};
use uuid::Uuid;

const PLATFORM: Uuid = Uuid::nil();

#[derive(Debug)]
struct Event {
    tenant: Uuid,
    event: String,
    object: String,
    detail: Value,
    actor: Option<Uuid>,
    roles: [String; 2],
}

/// Those written since the last call of this function in the database, in their order.
fn new_events(client: &mut impl GenericClient) -> Vec<Event> {
    let sql =
        "SELECT tenant_id, event, object, detail, actor_id, session_role, database_role FROM audit.security_events
                WHERE occurred_at > coalesce(nullif(current_setting('test.since', true), ''), '-infinity')::timestamptz
                ORDER BY occurred_at";
    let rows = ok(client.query(sql, &[]));
    ok(client.batch_execute("SELECT set_config('test.since', clock_timestamp()::text, false)"));
    let event = |row: &postgres::Row| Event {
        tenant: row.get(0),
        event: row.get(1),
        object: row.get(2),
        detail: row.get(3),
        actor: row.get(4),
        roles: [row.get(5), row.get(6)],
    };
    rows.iter().map(event).collect()
}

fn names(events: &[Event]) -> Vec<(Uuid, &str)> {
    events.iter().map(|event| (event.tenant, event.event.as_str())).collect()
}

/// Runs it in a transaction that is rolled back, which leaves nothing, then in one that is committed.
#[track_caller]
fn causes(
    client: &mut Client,
    watcher: &mut Client,
    context: &str,
    sql: &str,
    expected: &[(Uuid, &str)],
) -> Vec<Event> {
    new_events(watcher);
    ok(client.batch_execute(&format!("BEGIN; {context}")));
    ok(client.batch_execute(sql));
    ok(client.batch_execute("ROLLBACK"));
    let left = new_events(watcher);
    assert!(left.is_empty(), "{sql}: rolled back, but {left:?}");
    ok(client.batch_execute(&format!("BEGIN; {context}")));
    ok(client.batch_execute(sql));
    ok(client.batch_execute("COMMIT"));
    let events = new_events(watcher);
    assert_eq!(names(&events), expected, "{sql}");
    events
}

/// A role that nothing depends on, its permission, the user who has it, and what else can be told of it.
const OF_TENANTS: &[(&str, &str)] = &[
    ("INSERT INTO rbac.roles (id, code, name) VALUES ('{id}', 'temp', 'Secret plans')", "role.insert"),
    ("UPDATE rbac.roles SET name = 'Other plans' WHERE id = '{id}'", "role.update"),
    (
        "INSERT INTO rbac.role_permissions (role_id, resource, action) VALUES ('{id}', 'orders', 'read')",
        "role_permission.insert",
    ),
    (
        "INSERT INTO rbac.role_hierarchy (role_id, inherits_role_id) VALUES ('{id}', '{employee_role}')",
        "role_hierarchy.insert",
    ),
    ("INSERT INTO rbac.user_roles (user_id, role_id) VALUES ('{employee}', '{id}')", "user_role.insert"),
    (
        "UPDATE rbac.user_roles SET valid_during = tstzrange(now(), now() + interval '1 day') WHERE role_id = '{id}'",
        "user_role.update",
    ),
    ("DELETE FROM rbac.user_roles WHERE role_id = '{id}'", "user_role.delete"),
    ("DELETE FROM rbac.role_hierarchy WHERE role_id = '{id}'", "role_hierarchy.delete"),
    ("DELETE FROM rbac.role_permissions WHERE role_id = '{id}'", "role_permission.delete"),
    ("DELETE FROM rbac.roles WHERE id = '{id}'", "role.delete"),
    (
        "INSERT INTO rbac.access_grants (id, user_id, resource, action, reason, valid_during) VALUES ('{id}', '{employee}',
             'orders', 'delete', 'Secret reason', tstzrange(now(), now() + interval '1 hour'))",
        "break_glass.insert",
    ),
    (
        "UPDATE rbac.access_grants SET valid_during = tstzrange(now(), now() + interval '2 hours') WHERE id = '{id}'",
        "break_glass.update",
    ),
    ("DELETE FROM rbac.access_grants WHERE id = '{id}'", "break_glass.delete"),
    ("SELECT gdpr.export_subject('{customer}')", "subject.export"),
    ("SELECT gdpr.erase_subject('{customer}', dry_run => false)", "subject.erase"),
];

#[test]
fn what_users_of_a_tenant_do_is_told_once() {
    let db = Database::new();
    let (mut app, mut watcher) = (db.app(), db.superuser());
    let context = set_local(A.id, A.owner);
    let id = Uuid::new_v4();
    for (sql, event) in OF_TENANTS {
        let sql = sql
            .replace("{id}", &id.to_string())
            .replace("{employee_role}", &A.employee_role.to_string())
            .replace("{employee}", &A.employee.to_string())
            .replace("{customer}", &A.customer.to_string());
        let told = causes(&mut app, &mut watcher, &context, &sql, &[(A.id, event)]);
        let Event { actor, roles, detail, object, .. } = &told[0];
        assert_eq!(
            (*actor, [roles[0].as_str(), roles[1].as_str()]),
            (Some(A.owner), ["app_login", "app_login"]),
            "{sql}"
        );
        assert!(!detail.to_string().contains("Secret") && !detail.to_string().contains("plans"), "{sql}: {detail}");
        assert!(!object.is_empty() && detail.as_object().is_some_and(|members| !members.is_empty()), "{sql}: {told:?}");
    }
}

#[test]
fn what_operators_do_is_told_once() {
    let (db, mut client) = notes_in_clear();
    let mut watcher = db.superuser();
    let role = db.role("bound", "LOGIN IN ROLE thorbis_app");
    let fresh = db.role("fresh", "LOGIN");
    ok(client.batch_execute("DROP SCHEMA IF EXISTS auth CASCADE"));
    let cases = [
        (format!("SELECT thorbis.bind_role('{role}', '{}')", A.id), vec![(A.id, "bound_role.insert")]),
        (
            format!("SELECT thorbis.bind_role('{role}', '{}', '{}')", A.id, A.employee),
            vec![(A.id, "bound_role.update")],
        ),
        // Both learn of it.
        (
            format!("SELECT thorbis.bind_role('{role}', '{}')", B.id),
            vec![(A.id, "bound_role.delete"), (B.id, "bound_role.insert")],
        ),
        (format!("SELECT thorbis.unbind_role('{role}')"), vec![(B.id, "bound_role.delete")]),
        (call("crm.notes", NOTES_OPTIONS, false), vec![(PLATFORM, "protected_table.insert")]),
        ("SELECT thorbis.encrypt_existing('crm.notes')".into(), vec![]),
        (
            "SELECT thorbis.decrypt_existing('crm.notes')".into(),
            vec![(PLATFORM, "protected_table.update"), (PLATFORM, "encryption.end")],
        ),
        ("SELECT thorbis.unprotect('crm.notes')".into(), vec![(PLATFORM, "protected_table.delete")]),
        (format!("SELECT thorbis.grant_app('{fresh}')"), vec![(PLATFORM, "application.grant")]),
        (format!("SELECT thorbis.grant_app('{fresh}')"), vec![]),
        ("SELECT thorbis.install_auth_shims()".into(), vec![(PLATFORM, "auth_shims.install")]),
        ("SELECT thorbis.install_auth_shims()".into(), vec![]),
        (
            "SELECT thorbis.finish_key_rotation(thorbis.begin_key_rotation())".into(),
            vec![(PLATFORM, "key_rotation.begin"), (PLATFORM, "key_rotation.finish")],
        ),
        ("TRUNCATE rbac.access_grants".into(), vec![(PLATFORM, "break_glass.truncate")]),
    ];
    for (sql, expected) in cases {
        let repeated = expected.is_empty();
        if repeated {
            new_events(&mut watcher);
            ok(client.batch_execute(&sql));
            assert_eq!(names(&new_events(&mut watcher)), [], "{sql}");
            continue;
        }
        for told in causes(&mut client, &mut watcher, "", &sql, &expected) {
            assert_eq!((told.actor, told.roles), (None, ["postgres".into(), "postgres".into()]), "{sql}");
            assert!(!told.object.is_empty());
        }
    }
}

#[test]
fn detail_names_ids_permissions_and_changed_columns() {
    let db = Database::new();
    let (mut client, mut watcher) = (db.superuser(), db.superuser());
    let update = format!("UPDATE rbac.roles SET code = 'renamed', name = 'New' WHERE id = '{}'", A.employee_role);
    let told = causes(&mut client, &mut watcher, "", &update, &[(A.id, "role.update")]);
    assert_eq!(told[0].object, "rbac.roles");
    let expected =
        serde_json::json!({"id": A.employee_role.to_string(), "code": "renamed", "changed": ["code", "name"]});
    assert_eq!(told[0].detail, expected);
    let delete =
        format!("DELETE FROM rbac.role_permissions WHERE role_id = '{}' AND action = 'create'", A.employee_role);
    let told = causes(&mut client, &mut watcher, "", &delete, &[(A.id, "role_permission.delete")]);
    let expected =
        serde_json::json!({"role_id": A.employee_role.to_string(), "resource": "orders", "action": "create"});
    assert_eq!(told[0].detail, expected);
    let protect = "SELECT thorbis.protect('shared.locations', options => '{\"not_personal\": []}')";
    let told = causes(
        &mut client,
        &mut watcher,
        "SET LOCAL search_path = shared",
        protect,
        &[(PLATFORM, "protected_table.update")],
    );
    assert_eq!(told[0].detail["table_id"], "shared.locations", "qualified, whatever the path is");
    assert_eq!(told[0].detail["changed"], serde_json::json!(["options"]));
}

#[test]
fn what_changes_nothing_is_no_event() {
    let (db, mut client) = notes_in_clear();
    ok(client.batch_execute(&call("crm.notes", NOTES_OPTIONS, false)));
    ok(client.batch_execute("SELECT thorbis.encrypt_existing('crm.notes')"));
    let mut watcher = db.superuser();
    new_events(&mut watcher);
    ok(client.batch_execute(
        "UPDATE rbac.roles SET name = name; UPDATE rbac.user_roles SET updated_at = now();
         SELECT thorbis.protect('shared.users'); SELECT thorbis.unprotect('shared.locations', dry_run => true);
         SELECT thorbis.decrypt_existing('crm.notes', dry_run => true)",
    ));
    ok(in_context(&mut db.app(), A.id, A.owner, |tx| {
        tx.execute("SELECT gdpr.erase_subject($1)", &[&A.customer])?;
        tx.execute("SELECT * FROM audit.security_events", &[])
    }));
    assert_eq!(names(&new_events(&mut watcher)), []);
}

#[test]
fn nobody_writes_changes_or_removes_an_event() {
    let db = Database::new();
    let statements = [
        "INSERT INTO audit.security_events (event, object, session_role, database_role) VALUES ('role.insert', 'x', 'x', 'x')",
        "UPDATE audit.security_events SET event = 'role.insert'",
        "UPDATE audit.security_events SET updated_at = now()",
        "DELETE FROM audit.security_events",
        "TRUNCATE audit.security_events",
        "ALTER TABLE audit.security_events DISABLE TRIGGER USER",
        "ALTER TABLE rbac.roles DISABLE TRIGGER write_roles_security_event",
        "MERGE INTO audit.security_events e USING (VALUES (1)) v(x) ON true WHEN MATCHED THEN DELETE",
        "SET session_replication_role = replica",
    ];
    let platform = db.role("operator", "LOGIN IN ROLE thorbis_platform");
    let mut operator = db.connect_as(&platform);
    for sql in statements {
        assert_sqlstate(in_context(&mut db.app(), A.id, A.owner, |tx| tx.batch_execute(sql)), "42501");
        ok(operator.batch_execute("BEGIN; SET LOCAL ROLE thorbis_platform"));
        assert_sqlstate(operator.batch_execute(sql), "42501");
        ok(operator.batch_execute("ROLLBACK"));
    }
    // The function is of use to triggers only, and to those of the library's own tables.
    let mut superuser = db.superuser();
    ok(superuser.batch_execute("CREATE TABLE public.t (id int)"));
    ok(superuser.batch_execute(
        "CREATE TRIGGER t AFTER INSERT ON public.t FOR EACH ROW EXECUTE FUNCTION public.record_security_event()",
    ));
    assert_sqlstate(superuser.batch_execute("INSERT INTO public.t VALUES (1)"), "39P01");
    let borrowed = "CREATE TEMP TABLE t (id int); CREATE TRIGGER t AFTER INSERT ON t FOR EACH ROW
                    EXECUTE FUNCTION public.record_security_event('role')";
    assert_sqlstate(db.app().batch_execute(borrowed), "42501");
}

#[test]
fn tenants_see_their_own_events_and_nobody_sees_the_platforms() {
    let db = Database::new();
    let (mut app, mut superuser) = (db.app(), db.superuser());
    ok(superuser.batch_execute("SELECT thorbis.finish_key_rotation(thorbis.begin_key_rotation())"));
    let seen = "SELECT DISTINCT tenant_id FROM audit.security_events";
    for tenant in [&A, &B] {
        let rows = ok(in_context(&mut app, tenant.id, tenant.owner, |tx| tx.query(seen, &[])));
        let tenants: Vec<Uuid> = rows.iter().map(|row| row.get(0)).collect();
        assert_eq!(tenants, [tenant.id]);
        let rows = ok(in_context(&mut app, tenant.id, tenant.employee, |tx| tx.query(seen, &[])));
        assert!(rows.is_empty(), "without the permission audit:read");
    }
    for user in [A.owner, PLATFORM] {
        let rows = ok(in_context(&mut app, PLATFORM, user, |tx| tx.query(seen, &[])));
        assert!(rows.is_empty(), "as the platform");
    }
    assert!(ok(app.query(seen, &[])).is_empty(), "without a context");
    // Nobody becomes the platform.
    let made = "INSERT INTO shared.tenants (id, name, slug) VALUES ('00000000-0000-0000-0000-000000000000', 'P', 'p')";
    assert_sqlstate(superuser.batch_execute(made), "23514");
    let auditor = db.role("auditor", "LOGIN IN ROLE thorbis_auditor");
    ok(superuser.batch_execute(&format!("SELECT thorbis.bind_role('{auditor}', '{}')", B.id)));
    let rows = ok(db.connect_as(&auditor).query(seen, &[]));
    assert_eq!(rows.iter().map(|row| row.get(0)).collect::<Vec<Uuid>>(), [B.id]);
    let all: i64 = one(&mut superuser, "SELECT count(DISTINCT tenant_id) FROM audit.security_events", &[]);
    assert_eq!(all, 3, "the operator sees all");
}

#[test]
fn events_are_in_the_log_of_changes_and_outlive_their_tenant() {
    let db = Database::new();
    let mut superuser = db.superuser();
    let unlogged = "SELECT count(*) FROM audit.security_events e WHERE NOT EXISTS (
                        SELECT FROM audit.change_log l WHERE l.tenant_id = e.tenant_id AND l.row_key = e.id::text
                           AND l.table_name = 'audit.security_events' AND l.new_values ->> 'event' = e.event)";
    assert_eq!(one::<i64>(&mut superuser, unlogged, &[]), 0);
    let of_b = "SELECT count(*) FROM audit.security_events WHERE tenant_id = $1";
    let before: i64 = one(&mut superuser, of_b, &[&B.id]);
    ok(superuser.execute("DELETE FROM shared.tenants WHERE id = $1", &[&B.id]));
    assert!(one::<i64>(&mut superuser, of_b, &[&B.id]) > before, "what it had, and the end of its roles");
    assert_eq!(one::<i64>(&mut superuser, unlogged, &[]), 0);
}

/// What a replica applies, or a restore writes with triggers off, is an event too.
#[test]
fn events_are_told_of_replicated_rows() {
    let db = Database::new();
    let (mut client, mut watcher) = (db.superuser(), db.superuser());
    let insert = format!(
        "INSERT INTO rbac.user_roles (tenant_id, user_id, role_id) VALUES ('{}', '{}', '{}')",
        A.id, A.owner, A.employee_role
    );
    let replica = "SET LOCAL session_replication_role = replica";
    causes(&mut client, &mut watcher, replica, &insert, &[(A.id, "user_role.insert")]);
    let lost = "ALTER TABLE rbac.user_roles DISABLE TRIGGER ALL; ALTER TABLE rbac.user_roles ENABLE TRIGGER ALL;
                ALTER TABLE thorbis.bound_roles DISABLE TRIGGER write_bound_roles_security_event";
    ok(client.batch_execute(lost));
    let repaired = ok(client.query("SELECT thorbis.repair()", &[]));
    let repaired: Vec<String> = repaired.iter().map(|row| row.get(0)).collect();
    for trigger in ["write_user_roles_security_event", "write_bound_roles_security_event"] {
        assert!(
            repaired.iter().any(|statement| statement.contains(&format!("ENABLE ALWAYS TRIGGER {trigger}"))),
            "{repaired:?}"
        );
    }
}
