//! A permission taken away is gone from the next statement on, in sessions and transactions that were open before.
//! Permissions are cached per backend, so each way of changing them is tried against a session with a warm cache.

use postgres::{Client, Error};
use std::time::Duration;
use thorbis_tests::{A, Database, assert_sqlstate, in_context, ok, one, set_local};

const SEEN: &str = "SELECT 1 FROM shared.customers";

/// A session of A's employee inside a transaction at the given isolation level, its cache warm.
fn employee_reading(db: &Database, isolation: &str) -> Client {
    let mut client = db.app();
    ok(client.batch_execute(&format!("BEGIN ISOLATION LEVEL {isolation}; {}", set_local(A.id, A.employee))));
    assert_eq!(ok(client.query(SEEN, &[])).len(), 1, "the employee reads customers at first");
    client
}

fn seen(client: &mut Client) -> usize {
    ok(client.query(SEEN, &[])).len()
}

fn revoke() -> String {
    format!(
        "DELETE FROM rbac.role_permissions WHERE tenant_id = '{}' AND role_id = '{}' AND resource = 'customers'",
        A.id, A.employee_role
    )
}

fn grant() -> String {
    format!("INSERT INTO rbac.role_permissions VALUES ('{}', '{}', 'customers', 'read')", A.id, A.employee_role)
}

#[test]
fn revocation_is_seen_by_the_next_statement_of_an_open_transaction() {
    let db = Database::new();
    for isolation in ["READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE"] {
        let mut employee = employee_reading(&db, isolation);
        ok(db.superuser().batch_execute(&revoke()));
        assert_eq!(seen(&mut employee), 0, "{isolation}");
        ok(employee.batch_execute("COMMIT"));
        ok(db.superuser().batch_execute(&grant()));
    }
}

/// EXECUTE parses nothing, so nothing makes PostgreSQL itself look for invalidations.
#[test]
fn revocation_is_seen_by_a_prepared_statement_in_an_open_transaction() {
    let db = Database::new();
    for mode in ["force_generic_plan", "force_custom_plan"] {
        let mut employee = employee_reading(&db, "READ COMMITTED");
        ok(employee.batch_execute(&format!("SET plan_cache_mode = {mode}")));
        let statement = ok(employee.prepare(SEEN));
        for _ in 0..6 {
            assert_eq!(ok(employee.query(&statement, &[])).len(), 1);
        }
        ok(db.superuser().batch_execute(&revoke()));
        assert_eq!(ok(employee.query(&statement, &[])).len(), 0, "{mode}");
        ok(employee.batch_execute("COMMIT"));
        ok(db.superuser().batch_execute(&grant()));
    }
}

#[test]
fn grant_is_seen_by_an_open_session() {
    let db = Database::new();
    ok(db.superuser().batch_execute(&revoke()));
    let mut employee = db.app();
    ok(employee.batch_execute(&format!("BEGIN; {}", set_local(A.id, A.employee))));
    assert_eq!(seen(&mut employee), 0);
    ok(db.superuser().batch_execute(&grant()));
    assert_eq!(seen(&mut employee), 1);
}

/// A cache filled under an old snapshot would hand the old permission to later transactions.
#[test]
fn old_snapshot_does_not_fill_the_cache_with_what_was_revoked() {
    let db = Database::new();
    let mut employee = db.app();
    ok(employee.batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1"));
    ok(db.superuser().batch_execute(&revoke()));
    ok(employee.batch_execute(&set_local(A.id, A.employee)));
    assert_eq!(seen(&mut employee), 0);
    ok(employee.batch_execute(&format!("COMMIT; BEGIN; {}", set_local(A.id, A.employee))));
    assert_eq!(seen(&mut employee), 0);
}

#[test]
fn every_way_of_taking_the_permission_away_is_seen() {
    let employee_role = format!("tenant_id = '{}' AND role_id = '{}'", A.id, A.employee_role);
    for statement in [
        revoke(),
        format!("DELETE FROM rbac.user_roles WHERE {employee_role}"),
        format!(
            "UPDATE rbac.user_roles SET valid_during = tstzrange('2001-01-01', '2001-01-02') WHERE {employee_role}"
        ),
        format!("UPDATE shared.users SET deleted_at = now() WHERE tenant_id = '{}' AND id = '{}'", A.id, A.employee),
        // As replication and pg_restore do: ordinary triggers do not fire then.
        format!("SET session_replication_role = replica; {}", revoke()),
    ] {
        let db = Database::new();
        let mut employee = employee_reading(&db, "READ COMMITTED");
        ok(db.superuser().batch_execute(&statement));
        assert_eq!(seen(&mut employee), 0, "{statement}");
    }
}

/// These wait for open transactions that have read the permissions, so the session is between two transactions.
#[test]
fn truncate_and_ddl_are_seen_by_an_open_session() {
    for statement in [
        "TRUNCATE rbac.role_permissions".to_owned(),
        "TRUNCATE rbac.user_roles".to_owned(),
        format!("BEGIN; ALTER TABLE rbac.role_permissions DISABLE TRIGGER ALL; {}; COMMIT", revoke()),
    ] {
        let db = Database::new();
        let mut employee = employee_reading(&db, "READ COMMITTED");
        ok(employee.batch_execute("COMMIT"));
        ok(db.superuser().batch_execute(&statement));
        ok(employee.batch_execute(&format!("BEGIN; {}", set_local(A.id, A.employee))));
        assert_eq!(seen(&mut employee), 0, "{statement}");
    }
}

#[test]
fn inherited_permission_ends_with_the_inheritance() {
    let db = Database::new();
    // The manager's own role holds customers:admin; leave it what it inherits.
    ok(db.superuser().batch_execute(&format!(
        "DELETE FROM rbac.role_permissions WHERE tenant_id = '{}' AND role_id <> '{}' AND resource = 'customers'",
        A.id, A.employee_role
    )));
    let mut manager = db.app();
    ok(manager.batch_execute(&format!("BEGIN; {}", set_local(A.id, A.manager))));
    assert_eq!(seen(&mut manager), 1);
    ok(db.superuser().batch_execute(&format!("DELETE FROM rbac.role_hierarchy WHERE tenant_id = '{}'", A.id)));
    assert_eq!(seen(&mut manager), 0);
}

#[test]
fn emergency_access_ends_when_it_is_taken_back() {
    let db = Database::new();
    let mut employee = db.app();
    ok(employee.batch_execute(&format!("BEGIN; {}", set_local(A.id, A.employee))));
    let locations = "SELECT 1 FROM shared.locations";
    assert_eq!(ok(employee.query(locations, &[])).len(), 1, "the fixture grants it for a day");
    ok(db.superuser().batch_execute("DELETE FROM rbac.access_grants"));
    assert_eq!(ok(employee.query(locations, &[])).len(), 0);
}

/// Nobody changes anything: the clock alone ends the permission, also within a transaction.
#[test]
fn expiry_needs_nobody_to_act() {
    let db = Database::new();
    let role = format!("tenant_id = '{}' AND role_id = '{}'", A.id, A.employee_role);
    ok(db.superuser().batch_execute(&format!(
        "UPDATE rbac.user_roles SET valid_during = tstzrange(now(), clock_timestamp() + interval '1500 ms') WHERE {role}"
    )));
    let mut employee = employee_reading(&db, "READ COMMITTED");
    let statement = ok(employee.prepare(SEEN));
    std::thread::sleep(Duration::from_millis(1800));
    assert_eq!(ok(employee.query(&statement, &[])).len(), 0);
}

/// One statement that runs on: PL/pgSQL keeps the expression and its call for the whole loop.
#[test]
fn expiry_is_seen_inside_a_running_loop() {
    let db = Database::new();
    for ask in [
        "has_permission('locations', 'read')",
        "permitted_tenant_id('locations', 'read') IS NOT NULL",
        "EXISTS (SELECT FROM shared.locations)",
    ] {
        let mut employee = db.app();
        ok(employee.batch_execute(&format!("BEGIN; {}", set_local(A.id, A.employee))));
        ok(db.superuser().execute(
            "UPDATE rbac.access_grants SET valid_during = tstzrange('2001-01-01', clock_timestamp() + interval '1 second')
              WHERE tenant_id = $1",
            &[&A.id],
        ));
        ok(employee.batch_execute(&format!(
            "DO $$
             DECLARE held int := 0;
             BEGIN
                 FOR i IN 1..60 LOOP
                     EXIT WHEN NOT ({ask});
                     held := held + 1;
                     PERFORM pg_sleep(0.05);
                 END LOOP;
                 IF held NOT BETWEEN 1 AND 59 THEN
                     RAISE EXCEPTION 'held for % of 60 rounds', held;
                 END IF;
             END $$"
        )));
        ok(employee.batch_execute("COMMIT"));
    }
}

#[test]
fn permission_begins_when_its_time_comes() {
    let db = Database::new();
    let role = format!("tenant_id = '{}' AND role_id = '{}'", A.id, A.employee_role);
    ok(db.superuser().batch_execute(&format!(
        "UPDATE rbac.user_roles SET valid_during = tstzrange(clock_timestamp() + interval '1500 ms', NULL) WHERE {role}"
    )));
    let mut employee = db.app();
    ok(employee.batch_execute(&format!("BEGIN; {}", set_local(A.id, A.employee))));
    assert_eq!(seen(&mut employee), 0);
    std::thread::sleep(Duration::from_millis(1800));
    assert_eq!(seen(&mut employee), 1);
}

// --- one's own uncommitted changes

fn employee_may_read(client: &mut Client) -> bool {
    one(client, "SELECT has_permission($1, 'customers', 'read')", &[&A.employee])
}

#[test]
fn own_revocation_counts_at_once_and_a_rollback_takes_it_back() {
    let db = Database::new();
    let mut owner = db.app();
    ok(owner.batch_execute(&format!("BEGIN; {}", set_local(A.id, A.owner))));
    assert!(employee_may_read(&mut owner));
    ok(owner.batch_execute("SAVEPOINT s"));
    ok(owner.batch_execute(&revoke()));
    assert!(!employee_may_read(&mut owner), "seen by its own transaction");
    ok(owner.batch_execute("ROLLBACK TO s"));
    assert!(employee_may_read(&mut owner), "a rollback to a savepoint takes it back");
    ok(owner.batch_execute(&revoke()));
    assert!(!employee_may_read(&mut owner));
    ok(owner.batch_execute(&format!("ROLLBACK; BEGIN; {}", set_local(A.id, A.owner))));
    assert!(employee_may_read(&mut owner), "and so does a rollback");
}

#[test]
fn uncommitted_revocation_is_not_seen_by_others() {
    let db = Database::new();
    let mut employee = employee_reading(&db, "READ COMMITTED");
    let mut superuser = db.superuser();
    ok(superuser.batch_execute(&format!("BEGIN; {}", revoke())));
    assert_eq!(seen(&mut employee), 1);
    ok(superuser.batch_execute("COMMIT"));
    assert_eq!(seen(&mut employee), 0);
}

// --- who may grant and revoke

fn as_user(db: &Database, user: uuid::Uuid, sql: &str) -> Result<u64, Error> {
    in_context(&mut db.app(), A.id, user, |tx| tx.execute(sql, &[]))
}

#[test]
fn nobody_grants_what_they_lack() {
    let db = Database::new();
    // Let the manager write rbac tables; what it may grant is still what it holds.
    ok(db.superuser().batch_execute(&format!(
        "INSERT INTO rbac.role_permissions (tenant_id, role_id, resource, action)
         SELECT ur.tenant_id, ur.role_id, 'rbac', a FROM rbac.user_roles ur, unnest(ARRAY['read', 'create', 'delete']) a
          WHERE ur.tenant_id = '{}' AND ur.user_id = '{}'",
        A.id, A.manager
    )));
    let give = |resource: &str, action: &str| {
        format!(
            "INSERT INTO rbac.role_permissions (role_id, resource, action) VALUES ('{}', '{resource}', '{action}')",
            A.employee_role
        )
    };
    assert_sqlstate(as_user(&db, A.manager, &give("users", "delete")), "42501");
    assert_sqlstate(as_user(&db, A.manager, &give("rbac", "admin")), "42501");
    ok(as_user(&db, A.manager, &give("customers", "update")));
    let owner_role = "INSERT INTO rbac.user_roles (user_id, role_id) SELECT get_current_user_id(), id FROM rbac.roles WHERE is_owner";
    assert_sqlstate(as_user(&db, A.manager, owner_role), "42501");
    assert_sqlstate(as_user(&db, A.employee, &give("customers", "read")), "42501");
}

#[test]
fn last_owner_stays() {
    let db = Database::new();
    let owners = "rbac.user_roles WHERE user_id = get_current_user_id()";
    assert_sqlstate(as_user(&db, A.owner, &format!("DELETE FROM {owners}")), "23001");
    let leave = "UPDATE shared.users SET deleted_at = now() WHERE id = get_current_user_id()";
    assert_sqlstate(as_user(&db, A.owner, leave), "23001");
    ok(as_user(
        &db,
        A.owner,
        &format!(
            "INSERT INTO rbac.user_roles (user_id, role_id) SELECT '{}', id FROM rbac.roles WHERE is_owner",
            A.manager
        ),
    ));
    ok(as_user(&db, A.owner, &format!("DELETE FROM {owners}")));
}

#[test]
fn asking_about_another_user_needs_the_inspect_permission() {
    let db = Database::new();
    let ask = format!("SELECT has_permission('{}', 'customers', 'read')", A.owner);
    assert_sqlstate(as_user(&db, A.employee, &ask), "42501");
    ok(as_user(&db, A.owner, &ask));
    ok(as_user(&db, A.employee, &format!("SELECT has_permission('{}', 'customers', 'read')", A.employee)));
}
