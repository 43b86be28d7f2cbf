//! Roles and permissions: why somebody may, escalation, and rules that must hold when sessions race.

use postgres::{Client, Error};
use std::thread;
use thorbis_tests::{A, B, Database, assert_sqlstate, in_context, ok, one, sqlstate};
use uuid::Uuid;

/// (allowed, reason, source) of every row.
fn explained(
    client: &mut Client,
    asker: Uuid,
    about: Uuid,
    resource: &str,
    action: &str,
) -> Vec<(bool, String, String)> {
    let rows = ok(in_context(client, A.id, asker, |tx| {
        tx.query(
            "SELECT allowed, reason, coalesce(source, '') FROM thorbis.explain_permission($1, $2, $3)",
            &[&about, &resource, &action],
        )
    }));
    rows.iter().map(|r| (r.get(0), r.get(1), r.get(2))).collect()
}

fn because(allowed: bool, reason: &str, source: &str) -> Vec<(bool, String, String)> {
    vec![(allowed, reason.into(), source.into())]
}

#[test]
fn explanations_name_the_grant_that_decided() {
    let db = Database::untouched();
    let app = &mut db.app();
    assert_eq!(explained(app, A.owner, A.owner, "menu", "delete"), because(true, "owner role", "owner"));
    assert_eq!(explained(app, A.owner, A.employee, "orders", "create"), because(true, "role", "test_employee"));
    assert_eq!(explained(app, A.owner, A.manager, "menu", "read"), because(true, "role", "test_manager (admin)"));
    let inherited = explained(app, A.owner, A.manager, "customers", "read");
    assert!(inherited.contains(&(true, "inherited role".into(), "test_employee through test_manager".into())));
    assert_eq!(
        explained(app, A.owner, A.employee, "locations", "read"),
        because(true, "break-glass grant", "stock-taking")
    );
    assert_eq!(explained(app, A.owner, A.employee, "menu", "delete"), because(false, "nothing grants it", ""));
    assert_eq!(
        explained(app, A.owner, B.employee, "orders", "read"),
        because(false, "no such user in this tenant", "")
    );
    // About oneself everybody may ask.
    assert_eq!(explained(app, A.employee, A.employee, "orders", "read"), because(true, "role", "test_employee"));
    let asked = in_context(app, A.id, A.employee, |tx| {
        tx.query("SELECT * FROM thorbis.explain_permission($1, 'orders', 'read')", &[&A.owner])
    });
    assert_sqlstate(asked, "42501");
}

#[test]
fn explanation_agrees_with_the_decision_for_every_permission() {
    let db = Database::untouched();
    let app = &mut db.app();
    for user in [A.owner, A.manager, A.employee] {
        let differing: i64 = ok(in_context(app, A.id, A.owner, |tx| {
            let sql = "SELECT count(*) FROM rbac.permissions p
                        WHERE has_permission($1::uuid, p.resource, p.action)
                              IS DISTINCT FROM (SELECT bool_or(allowed)
                                                  FROM thorbis.explain_permission($1::uuid, p.resource, p.action))";
            Ok(one(tx, sql, &[&user]))
        }));
        assert_eq!(differing, 0);
    }
}

#[test]
fn who_can_lists_the_users_of_the_tenant_only() {
    let db = Database::untouched();
    let users: Vec<Uuid> = ok(in_context(&mut db.app(), A.id, A.owner, |tx| {
        let rows = tx.query("SELECT DISTINCT user_id FROM thorbis.who_can('orders', 'create') ORDER BY 1", &[])?;
        Ok(rows.iter().map(|r| r.get(0)).collect())
    }));
    assert_eq!(users, [A.owner, A.manager, A.employee]);
    let asked =
        in_context(&mut db.app(), A.id, A.employee, |tx| tx.query("SELECT thorbis.who_can('orders', 'read')", &[]));
    assert_sqlstate(asked, "42501");
}

#[test]
fn users_of_a_suspended_tenant_see_nothing_from_the_next_statement_on() {
    let db = Database::new();
    let mut app = db.app();
    ok(app.batch_execute(&format!("BEGIN; SELECT thorbis.set_context('{}', '{}')", A.id, A.owner)));
    let count = "SELECT count(*) FROM shared.customers";
    assert!(one::<i64>(&mut app, count, &[]) > 0);
    ok(db.superuser().execute("UPDATE shared.tenants SET status = 'suspended' WHERE id = $1", &[&A.id]));
    assert_eq!(one::<i64>(&mut app, count, &[]), 0);
    ok(db.superuser().execute("UPDATE shared.tenants SET status = 'active' WHERE id = $1", &[&A.id]));
    assert!(one::<i64>(&mut app, count, &[]) > 0);
}

/// Gives the employee everything on rbac but no more of anything else, and tries `sql` as the employee.
fn rbac_admin_tries(db: &Database, sql: &str) -> Result<u64, Error> {
    ok(db.superuser().execute(
        "INSERT INTO rbac.role_permissions (tenant_id, role_id, resource, action) VALUES ($1, $2, 'rbac', 'admin')
         ON CONFLICT DO NOTHING",
        &[&A.id, &A.employee_role],
    ));
    in_context(&mut db.app(), A.id, A.employee, |tx| tx.execute(sql, &[]))
}

#[test]
fn administrator_of_roles_gains_nothing_by_any_table() {
    let db = Database::new();
    let (me, role) = (A.employee, A.employee_role);
    for sql in [
        format!("INSERT INTO rbac.role_permissions (role_id, resource, action) VALUES ('{role}', 'menu', 'delete')"),
        format!(
            "INSERT INTO rbac.role_permissions (role_id, resource, action)
             SELECT '{role}', resource, action FROM rbac.permissions ON CONFLICT DO NOTHING"
        ),
        format!("INSERT INTO rbac.user_roles (user_id, role_id) SELECT '{me}', id FROM rbac.roles WHERE is_owner"),
        format!(
            "INSERT INTO rbac.user_roles (user_id, role_id) SELECT '{me}', id FROM rbac.roles WHERE code = 'test_manager'"
        ),
        format!(
            "INSERT INTO rbac.role_hierarchy (role_id, inherits_role_id)
             SELECT '{role}', id FROM rbac.roles WHERE code = 'manager'"
        ),
        format!(
            "INSERT INTO rbac.access_grants (user_id, resource, action, reason, valid_during)
             VALUES ('{me}', 'menu', 'delete', 'because', tstzrange(now(), now() + interval '1 hour'))"
        ),
        "INSERT INTO rbac.roles (code, name, is_owner) VALUES ('mine', 'Mine', true)".to_owned(),
        // A role that is harmless when it is given, and is widened in the same statement.
        format!(
            "WITH r AS (INSERT INTO rbac.roles (code, name) VALUES ('mine', 'Mine') RETURNING id),
                  u AS (INSERT INTO rbac.user_roles (user_id, role_id) SELECT '{me}', id FROM r RETURNING role_id)
             INSERT INTO rbac.role_permissions (role_id, resource, action) SELECT role_id, 'menu', 'delete' FROM u"
        ),
    ] {
        let error = rbac_admin_tries(&db, &sql).expect_err(&sql);
        assert_eq!(sqlstate(&error), "42501", "{sql}");
    }
    let harmless = "INSERT INTO rbac.roles (code, name) VALUES ('helper', 'Helper')";
    assert_eq!(ok(rbac_admin_tries(&db, harmless)), 1, "what does not widen anything is allowed");
}

/// The guards run before the policies: of another tenant's row they must say what the policies say, and nothing else.
#[test]
fn guards_say_nothing_about_roles_of_another_tenant() {
    let db = Database::new();
    let give = |role: Uuid| {
        let sql = format!(
            "INSERT INTO rbac.user_roles (tenant_id, user_id, role_id) VALUES ('{}', '{}', '{role}')",
            B.id, B.employee
        );
        let error = assert_sqlstate(rbac_admin_tries(&db, &sql), "42501");
        (error.message().to_owned(), error.detail().map(str::to_owned))
    };
    assert_eq!(give(B.employee_role), give(Uuid::new_v4()), "a role that exists and one that does not");
    assert!(give(B.employee_role).0.contains("row-level security"));
}

#[test]
fn roles_cannot_inherit_in_a_circle() {
    let db = Database::new();
    let (x, y) = (Uuid::new_v4(), Uuid::new_v4());
    let mut owner = db.app();
    ok(in_context(&mut owner, A.id, A.owner, |tx| {
        tx.execute("INSERT INTO rbac.roles (id, code, name) VALUES ($1, 'x', 'X'), ($2, 'y', 'Y')", &[&x, &y])
    }));
    let circle =
        format!("INSERT INTO rbac.role_hierarchy (role_id, inherits_role_id) VALUES ('{x}', '{y}'), ('{y}', '{x}')");
    assert_sqlstate(in_context(&mut owner, A.id, A.owner, |tx| tx.execute(&circle, &[])), "23514");

    // Each session adds one half, at the same time.
    let half = |heir: Uuid, from: Uuid| {
        let mut app = db.app();
        move || {
            in_context(&mut app, A.id, A.owner, |tx| {
                tx.execute(
                    "INSERT INTO rbac.role_hierarchy (role_id, inherits_role_id) VALUES ($1, $2)",
                    &[&heir, &from],
                )?;
                tx.execute("SELECT pg_sleep(0.2)", &[])
            })
        }
    };
    let results = [thread::spawn(half(x, y)), thread::spawn(half(y, x))].map(|t| t.join().expect("no panic"));
    assert_eq!(results.iter().filter(|r| r.is_ok()).count(), 1, "exactly one half stands");
}

#[test]
fn two_sessions_cannot_each_remove_one_of_the_last_two_owners() {
    for isolation in ["READ COMMITTED", "REPEATABLE READ"] {
        let db = Database::new();
        let mut superuser = db.superuser();
        ok(superuser.execute(
            "INSERT INTO rbac.user_roles (tenant_id, user_id, role_id)
             SELECT tenant_id, $2, id FROM rbac.roles WHERE tenant_id = $1 AND is_owner",
            &[&A.id, &A.manager],
        ));
        let remove = |user: Uuid| {
            let mut client = db.superuser();
            let begin = format!("BEGIN ISOLATION LEVEL {isolation}; SELECT 1 FROM rbac.user_roles");
            move || -> Result<(), Error> {
                client.batch_execute(&begin)?;
                thread::sleep(std::time::Duration::from_millis(100));
                client.execute(
                    "DELETE FROM rbac.user_roles ur USING rbac.roles r
                      WHERE r.tenant_id = ur.tenant_id AND r.id = ur.role_id AND r.is_owner AND ur.user_id = $1",
                    &[&user],
                )?;
                client.batch_execute("SELECT pg_sleep(0.2); COMMIT")
            }
        };
        let results =
            [thread::spawn(remove(A.owner)), thread::spawn(remove(A.manager))].map(|t| t.join().expect("no panic"));
        let owners = "SELECT count(*) FROM rbac.user_roles ur JOIN rbac.roles r ON r.tenant_id = ur.tenant_id
                       AND r.id = ur.role_id WHERE r.is_owner AND r.tenant_id = $1";
        assert_eq!(one::<i64>(&mut superuser, owners, &[&A.id]), 1, "{isolation}");
        assert_eq!(results.iter().filter(|r| r.is_ok()).count(), 1, "{isolation}");
    }
}

#[test]
fn purging_a_tenant_is_no_removal_of_its_last_owner() {
    let db = Database::new();
    ok(db.superuser().execute("DELETE FROM shared.tenants WHERE id = $1", &[&B.id]));
    let left = "SELECT count(*) FROM rbac.user_roles WHERE tenant_id = $1";
    assert_eq!(one::<i64>(&mut db.superuser(), left, &[&B.id]), 0);
    assert!(one::<i64>(&mut db.superuser(), left, &[&A.id]) > 0);
}
