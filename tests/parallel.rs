//! Parallel plans answer as serial ones: workers get the context with the settings, and the leader decides once.

use postgres::Client;
use thorbis_tests::{
    A, B, Database, Session, TenantTable, force_parallel, in_context, ok, one, set_local, tenant_tables,
};

/// Scans by workers, not index look-ups that need none.
fn parallel_session(mut client: Client) -> Client {
    force_parallel(&mut client);
    ok(client.batch_execute("SET enable_indexscan = off; SET enable_indexonlyscan = off; SET enable_bitmapscan = off"));
    client
}

fn orders(client: &mut Client) -> (i64, String) {
    let row =
        ok(client.query_one("SELECT count(*), coalesce(sum(total_amount), 0)::text FROM restaurants.orders", &[]));
    (row.get(0), row.get(1))
}

#[test]
fn parallel_plans_are_chosen_and_agree_with_serial_ones() {
    let db = Database::new();
    // Enough rows for the planner to want workers.
    for tenant in [&A, &B] {
        let fill = "INSERT INTO restaurants.orders (tenant_id, order_number, total_amount)
                    SELECT $1, 1000 + n, n FROM generate_series(1, 20000) n";
        ok(db.superuser().execute(fill, &[&tenant.id]));
    }
    ok(db.superuser().batch_execute("ANALYZE restaurants.orders"));
    let (mut serial, mut parallel) = (db.app(), parallel_session(db.app()));
    for tenant in [&A, &B] {
        for session in [&mut serial, &mut parallel] {
            ok(session.batch_execute("ROLLBACK"));
            session.begin_as(tenant);
        }
        let plan: Vec<String> =
            ok(parallel.query("EXPLAIN SELECT count(*), sum(total_amount) FROM restaurants.orders", &[]))
                .iter()
                .map(|row| row.get(0))
                .collect();
        assert!(plan.iter().any(|line| line.contains("Parallel Seq Scan")), "{}", plan.join("\n"));
        assert_eq!(orders(&mut parallel), orders(&mut serial));
        assert!(orders(&mut parallel).0 > 0);
    }
}

#[test]
fn workers_see_own_rows_only_in_every_table() {
    let db = Database::new();
    let mut app = parallel_session(db.app());
    for table in tenant_tables(&mut db.superuser()) {
        let TenantTable { name, tenant_column: c, .. } = &table;
        let sql = format!("SELECT count(*) FILTER (WHERE {c} <> $1), count(*) FROM {name}");
        let row = ok(in_context(&mut app, A.id, A.owner, |tx| tx.query_one(&sql, &[&A.id])));
        assert_eq!(row.get::<_, i64>(0), 0, "{name}");
        assert!(row.get::<_, i64>(1) > 0, "{name}");
    }
}

#[test]
fn without_context_workers_see_nothing() {
    let db = Database::new();
    assert_eq!(orders(&mut parallel_session(db.app())).0, 0);
}

/// A value of an earlier transaction counts for nothing; a worker, which is new, must not take it for its own.
#[test]
fn workers_do_not_revive_a_session_value() {
    let db = Database::new();
    let mut app = parallel_session(db.app());
    ok(app.batch_execute(&format!(
        "BEGIN; SET app.current_tenant_id = '{}'; SET app.current_user_id = '{}'",
        A.id, A.owner
    )));
    assert!(orders(&mut app).0 > 0);
    ok(app.batch_execute("COMMIT"));
    assert_eq!(orders(&mut app).0, 0);
    ok(app.batch_execute("BEGIN"));
    assert_eq!(orders(&mut app).0, 0);
}

#[test]
fn rollback_to_a_savepoint_reaches_workers() {
    let db = Database::new();
    let (mut serial, mut parallel) = (db.app(), parallel_session(db.app()));
    let mut answers = [&mut serial, &mut parallel].map(|session| {
        session.begin_as(&A);
        ok(session.batch_execute(&format!("SAVEPOINT s; {}; ROLLBACK TO s", set_local(B.id, B.owner))));
        let tenant: Option<uuid::Uuid> = ok(session.current_tenant());
        (tenant, orders(session))
    });
    assert_eq!(answers[0], answers[1]);
    assert_eq!(answers[1].0, Some(A.id));
    answers.reverse();
}

#[test]
fn workers_take_settings_after_the_right_to_set_them_is_gone() {
    let db = Database::new();
    let mut app = parallel_session(db.app());
    app.begin_as(&A);
    // thorbis_app alone may not set the context: workers receive it all the same.
    ok(app.batch_execute("SET LOCAL ROLE thorbis_app"));
    assert!(orders(&mut app).0 > 0);
}

#[test]
fn workers_take_claims_and_bindings() {
    let db = Database::new();
    let mut app = parallel_session(db.app());
    let claims = format!(r#"BEGIN; SET LOCAL request.jwt.claims = '{{"tenant_id":"{}","sub":"{}"}}'"#, A.id, A.owner);
    ok(app.batch_execute(&claims));
    assert!(orders(&mut app).0 > 0);

    let role = db.role("bi", "LOGIN IN ROLE thorbis_app");
    ok(db.superuser().batch_execute(&format!("SELECT thorbis.bind_role('{role}', '{}', '{}')", B.id, B.owner)));
    let mut bound = parallel_session(db.connect_as(&role));
    assert!(orders(&mut bound).0 > 0);
    assert_eq!(one::<Option<uuid::Uuid>>(&mut bound, "SELECT get_current_tenant_id()", &[]), Some(B.id));
}

#[test]
fn revocation_reaches_workers_of_an_open_transaction() {
    let db = Database::new();
    let mut employee = parallel_session(db.app());
    ok(employee.batch_execute(&format!("BEGIN; {}", set_local(A.id, A.employee))));
    let statement = ok(employee.prepare("SELECT count(*) FROM restaurants.orders"));
    assert!(ok(employee.query_one(&statement, &[])).get::<_, i64>(0) > 0);
    let revoke = "DELETE FROM rbac.role_permissions WHERE tenant_id = $1 AND resource = 'orders' AND action = 'read'";
    ok(db.superuser().execute(revoke, &[&A.id]));
    assert_eq!(ok(employee.query_one(&statement, &[])).get::<_, i64>(0), 0);
}
