//! Attacks that once worked, each a test: verdicts that stuck, caches that outlived a rollback, functions run as somebody
//! else, rights gained by a detour.

use std::thread;
use std::time::Duration;
use thorbis_tests::{A, Database, assert_sqlstate, in_context, ok, one};

#[test]
fn verdict_of_one_variable_is_not_that_of_another() {
    let db = Database::new();
    ok(db.superuser().batch_execute(
        "CREATE FUNCTION public.guard(r text, a text) RETURNS boolean LANGUAGE plpgsql AS
         $$ BEGIN RETURN has_permission(r, a); END $$;
         CREATE FUNCTION public.place(r text) RETURNS uuid LANGUAGE plpgsql AS
         $$ BEGIN RETURN permitted_tenant_id(r, 'read'); END $$",
    ));
    let row = ok(in_context(&mut db.app(), A.id, A.employee, |tx| {
        tx.query_one(
            "SELECT public.guard('customers', 'read'), public.guard('customers', 'delete'), public.guard('rbac', 'create'),
                    public.guard('customers', 'read'), public.place('customers') IS NULL, public.place('rbac') IS NULL",
            &[],
        )
    }));
    let answers: Vec<bool> = (0..6).map(|i| row.get(i)).collect();
    assert_eq!(answers, [true, false, false, true, false, true]);
}

#[test]
fn grant_that_was_rolled_back_is_not_remembered() {
    let db = Database::new();
    ok(db.superuser().batch_execute(
        "CREATE FUNCTION public.look(u uuid) RETURNS int LANGUAGE plpgsql AS $$
         DECLARE held boolean; BEGIN SELECT has_permission(u, 'menu', 'delete') INTO held; PERFORM 1 / 0; RETURN 1; END $$",
    ));
    let mut app = db.app();
    // The row is visible, and read, before the trigger that announces it.
    let failed = in_context(&mut app, A.id, A.owner, |tx| {
        tx.execute(
            "WITH x AS (INSERT INTO rbac.user_roles (user_id, role_id)
                        SELECT $1, id FROM rbac.roles WHERE code = 'test_manager' RETURNING user_id)
             SELECT public.look(user_id) FROM x",
            &[&A.employee],
        )
    });
    assert_sqlstate(failed, "22012");
    let held: bool =
        ok(in_context(&mut app, A.id, A.employee, |tx| Ok(one(tx, "SELECT has_permission('menu', 'delete')", &[]))));
    assert!(!held);
}

/// The owner of a table swaps it for a view while the DBA's protect() waits for it.
#[test]
fn protect_runs_no_function_of_the_tables_owner_as_superuser() {
    let db = Database::new();
    let owner = db.role("builder", "LOGIN");
    ok(db.superuser().batch_execute(&format!("CREATE SCHEMA evil AUTHORIZATION {owner}")));
    let mut attacker = db.connect_as(&owner);
    ok(attacker.batch_execute(
        "CREATE TABLE evil.t (tenant_id uuid, id uuid);
         CREATE FUNCTION evil.f() RETURNS uuid LANGUAGE plpgsql AS $$ BEGIN
             EXECUTE format('CREATE TABLE IF NOT EXISTS evil.%I ()', 'ran_as_' || current_user); RETURN gen_random_uuid();
         END $$;
         BEGIN; ALTER TABLE evil.t RENAME TO t_old; CREATE VIEW evil.t AS SELECT evil.f() AS tenant_id, NULL::uuid AS id",
    ));
    let mut dba = db.superuser();
    let protect = thread::spawn(move || {
        let options = r#"{"accept_risks": ["owner_can_login"]}"#;
        dba.query(&format!("SELECT thorbis.protect('evil.t', options => '{options}', dry_run => true)"), &[])
    });
    thread::sleep(Duration::from_millis(300));
    ok(attacker.batch_execute("COMMIT"));
    let _outcome = protect.join().expect("no panic");
    let traces: i64 = one(&mut db.superuser(), "SELECT count(*) FROM pg_class WHERE relname = 'ran_as_postgres'", &[]);
    assert_eq!(traces, 0);
}

#[test]
fn role_that_an_industry_will_widen_cannot_be_forged() {
    let db = Database::new();
    ok(db.superuser().execute(
        "INSERT INTO rbac.role_permissions (tenant_id, role_id, resource, action) VALUES ($1, $2, 'rbac', 'admin')",
        &[&A.id, &A.employee_role],
    ));
    let forged = in_context(&mut db.app(), A.id, A.employee, |tx| {
        tx.execute("INSERT INTO rbac.roles (code, name, is_system) VALUES ('forged', 'Forged', true)", &[])
    });
    assert_sqlstate(forged, "42501");
}

/// Whoever may update users must not take over the login of somebody who holds more.
#[test]
fn login_of_an_owner_is_not_for_a_manager_to_change() {
    let db = Database::new();
    ok(db.superuser().execute(
        "INSERT INTO rbac.role_permissions (tenant_id, role_id, resource, action)
         SELECT tenant_id, id, 'users', 'admin' FROM rbac.roles WHERE tenant_id = $1 AND code = 'test_manager'",
        &[&A.id],
    ));
    let mut app = db.app();
    for set in ["pin_hash = 'mine'", "email = 'mine@a.example'", "status = 'inactive'", "deleted_at = now()"] {
        let sql = format!("UPDATE shared.users SET {set} WHERE id = $1");
        assert_sqlstate(in_context(&mut app, A.id, A.manager, |tx| tx.execute(&sql, &[&A.owner])), "42501");
    }
    let harmless = "UPDATE shared.users SET phone = '+1 555' WHERE id = $1";
    assert_eq!(ok(in_context(&mut app, A.id, A.manager, |tx| tx.execute(harmless, &[&A.owner]))), 1);
    let lesser = "UPDATE shared.users SET email = 'new@a.example' WHERE id = $1";
    ok(db
        .superuser()
        .execute("DELETE FROM rbac.role_permissions WHERE tenant_id = $1 AND resource = 'rbac'", &[&A.id]));
    assert_eq!(ok(in_context(&mut app, A.id, A.manager, |tx| tx.execute(lesser, &[&A.employee]))), 1);
}

#[test]
fn nobody_is_not_everybody() {
    let db = Database::new();
    let mut app = db.app();
    let nil = uuid::Uuid::nil();
    let rows = ok(in_context(&mut app, A.id, nil, |tx| {
        tx.query("SELECT reason FROM thorbis.explain_permission($1, 'orders', 'read')", &[&nil])
    }));
    let reasons: Vec<String> = rows.iter().map(|r| r.get(0)).collect();
    assert_eq!(reasons, ["no such user in this tenant"]);
}

#[test]
fn inactive_users_do_not_even_see_their_own_row() {
    let db = Database::new();
    ok(db.superuser().execute("UPDATE shared.users SET status = 'inactive' WHERE id = $1", &[&A.employee]));
    let seen: i64 =
        ok(in_context(&mut db.app(), A.id, A.employee, |tx| Ok(one(tx, "SELECT count(*) FROM shared.users", &[]))));
    assert_eq!(seen, 0);
}

#[test]
fn nobody_without_rights_keeps_a_deployment_waiting() {
    let db = Database::new();
    let mut stranger = db.connect_as("stranger_login");
    ok(stranger.batch_execute("SELECT pg_advisory_lock(8388076843045581601)"));
    ok(db.superuser().batch_execute("SELECT thorbis.repair()"));
    assert_sqlstate(stranger.batch_execute("BEGIN; LOCK TABLE thorbis.permission_epoch"), "42501");
}
