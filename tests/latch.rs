//! One transaction reads one tenant: the first read fixes it. Attacks that try to switch in between, one test each
//! (spec: context, section 2). 28000 is "the tenant context cannot change within a transaction".

use postgres::{Client, SimpleQueryMessage};
use thorbis_tests::{
    A, B, Database, NO_TENANTS, Session, assert_sqlstate, db_error, force_parallel, ok, one, set_local, sqlstate,
};
use uuid::Uuid;

/// No row of B, whether the statement ran or raised; a switch that raised must have raised 28000.
fn assert_only_a(result: Result<Vec<postgres::Row>, postgres::Error>, attack: &str) {
    match result {
        Ok(rows) => assert!(rows.iter().all(|row| row.get::<_, Uuid>(0) == A.id), "rows of another tenant: {attack}"),
        Err(e) => assert_eq!(sqlstate(&e), "28000", "{attack}: {}", thorbis_tests::describe(&e)),
    }
}

/// After an attack: the same transaction shows A or nothing, the next one works.
fn assert_still_a(app: &mut Client) {
    if let Ok(seen) = app.tenants_seen() {
        assert!(seen == [A.id] || seen.is_empty());
    }
    ok(app.batch_execute("ROLLBACK"));
    app.begin_as(&B);
    assert_eq!(ok(app.tenants_seen()), [B.id]);
    ok(app.batch_execute("COMMIT"));
}

#[test]
fn flip_by_set_config_inside_a_statement() {
    let db = Database::new();
    let mut app = db.app();
    let flip = format!(
        "(set_config('app.current_tenant_id', '{}', {{local}}) || set_config('app.current_user_id', '{}', {{local}})) <> ''",
        B.id, B.owner
    );
    let customers = "SELECT tenant_id FROM shared.customers";
    for local in ["true", "false"] {
        let flip = flip.replace("{local}", local);
        for attack in [
            format!("{customers} UNION ALL {customers} WHERE {flip}"),
            format!("{customers} WHERE {flip}"),
            format!(
                "{customers} UNION ALL SELECT c.tenant_id FROM (SELECT {flip}) f(x) JOIN shared.customers c ON f.x"
            ),
            format!("WITH f AS MATERIALIZED (SELECT {flip} AS x) {customers}, f WHERE f.x"),
            format!(
                "SELECT c.tenant_id FROM shared.customers a, LATERAL (SELECT tenant_id FROM shared.customers WHERE {flip}) c"
            ),
            format!("SELECT tenant_id FROM shared.customers c, generate_series(1, 2) i WHERE i = 1 OR {flip}"),
            format!("SELECT CASE WHEN {flip} THEN tenant_id END FROM shared.customers"),
            format!("SELECT (SELECT tenant_id FROM shared.customers LIMIT 1) FROM shared.customers WHERE {flip}"),
            format!("{customers} WHERE EXISTS ({customers} WHERE {flip}) ORDER BY (SELECT count({flip}))"),
        ] {
            app.begin_as(&A);
            assert_only_a(app.query(&attack, &[]), &attack);
            assert_still_a(&mut app);
        }
    }
}

/// A flip in a statement that reads no tenant row before it is a choice of B, not a mixture.
#[test]
fn flip_before_the_first_read_is_one_tenant() {
    let db = Database::new();
    let mut app = db.app();
    app.begin_as(&A);
    ok(app.switch_to(&B));
    assert_eq!(ok(app.tenants_seen()), [B.id]);
}

#[test]
fn second_set_local_after_a_read() {
    let db = Database::new();
    let mut app = db.app();
    app.begin_as(&A);
    assert_eq!(ok(app.tenants_seen()), [A.id]);
    ok(app.switch_to(&B));
    let error = assert_sqlstate(app.tenants_seen(), "28000");
    assert!(error.hint().is_some());
    ok(app.batch_execute("ROLLBACK"));
    // The error belongs to that transaction.
    app.begin_as(&B);
    assert_eq!(ok(app.tenants_seen()), [B.id]);
}

#[test]
fn set_context_after_a_read() {
    let db = Database::new();
    let mut app = db.app();
    app.begin_as(&A);
    assert_eq!(ok(app.tenants_seen()), [A.id]);
    let switched =
        app.execute("SELECT thorbis.set_context($1, $2)", &[&B.id, &B.owner]).and_then(|_| app.tenants_seen());
    assert_sqlstate(switched, "28000");
}

#[test]
fn rollback_to_a_savepoint_restores_the_tenant() {
    let db = Database::new();
    let mut app = db.app();
    app.begin_as(&A);
    ok(app.batch_execute(&format!("SAVEPOINT s; {}; ROLLBACK TO s", set_local(B.id, B.owner))));
    assert_eq!(ok(app.tenants_seen()), [A.id]);
    ok(app.batch_execute("SAVEPOINT s"));
    ok(app.switch_to(&B));
    assert_sqlstate(app.tenants_seen(), "28000");
    ok(app.batch_execute("ROLLBACK TO s"));
    assert_eq!(ok(app.tenants_seen()), [A.id], "the error is rolled back, the tenant is A again");
}

#[test]
fn rollback_to_a_savepoint_does_not_release_the_latch() {
    let db = Database::new();
    let mut app = db.app();
    ok(app.batch_execute(&format!("BEGIN; SAVEPOINT s; {}", set_local(A.id, A.owner))));
    assert_eq!(ok(app.tenants_seen()), [A.id]);
    ok(app.batch_execute("ROLLBACK TO s"));
    assert_eq!(ok(app.tenants_seen()), NO_TENANTS);
    ok(app.switch_to(&B));
    assert_sqlstate(app.tenants_seen(), "28000");
}

#[test]
fn swallowed_error_leaves_the_latch() {
    let db = Database::new();
    let mut app = db.app();
    app.begin_as(&A);
    assert_eq!(ok(app.tenants_seen()), [A.id]);
    ok(app.batch_execute(&format!(
        "DO $$ BEGIN
             PERFORM set_config('app.current_tenant_id', '{}', true), set_config('app.current_user_id', '{}', true);
             PERFORM count(*) FROM shared.customers;
             RAISE EXCEPTION 'the read under another tenant must not get here' USING ERRCODE = 'XX001';
         EXCEPTION WHEN invalid_authorization_specification THEN NULL;
         END $$",
        B.id, B.owner
    )));
    assert_eq!(ok(app.tenants_seen()), [A.id]);
}

#[test]
fn cursor_open_across_a_switch() {
    let db = Database::new();
    let mut app = db.app();
    for query in ["SELECT tenant_id FROM shared.customers", "SELECT tenant_id FROM shared.customers ORDER BY random()"]
    {
        app.begin_as(&A);
        ok(app.batch_execute(&format!("DECLARE c CURSOR FOR {query}; FETCH 1 FROM c")));
        ok(app.switch_to(&B));
        assert_only_a(app.query("FETCH ALL FROM c", &[]), query);
        assert_still_a(&mut app);
    }
}

#[test]
fn hold_cursor_materialised_under_another_tenant() {
    let db = Database::new();
    let mut app = db.app();
    app.begin_as(&A);
    ok(app
        .batch_execute("DECLARE held CURSOR WITH HOLD FOR SELECT tenant_id FROM shared.customers; FETCH 1 FROM held"));
    ok(app.switch_to(&B));
    match app.batch_execute("COMMIT") {
        Ok(()) => assert_only_a(app.query("FETCH ALL FROM held", &[]), "WITH HOLD"),
        Err(e) => assert_eq!(sqlstate(&e), "28000"),
    }
}

#[test]
fn hold_cursor_first_evaluated_at_commit() {
    let db = Database::new();
    let mut app = db.app();
    app.begin_as(&A);
    assert_eq!(ok(app.tenants_seen()), [A.id]);
    ok(app.batch_execute("DECLARE held CURSOR WITH HOLD FOR SELECT tenant_id FROM shared.customers"));
    ok(app.switch_to(&B));
    match app.batch_execute("COMMIT") {
        Ok(()) => assert_only_a(app.query("FETCH ALL FROM held", &[]), "WITH HOLD"),
        Err(e) => assert_eq!(sqlstate(&e), "28000"),
    }
}

#[test]
fn deferred_trigger_runs_under_another_tenant() {
    let db = Database::new();
    ok(db.superuser().batch_execute(
        "CREATE FUNCTION note_tenant() RETURNS trigger LANGUAGE plpgsql
             AS 'BEGIN PERFORM public.get_current_tenant_id(); RETURN NULL; END';
         CREATE CONSTRAINT TRIGGER late AFTER UPDATE ON shared.customers DEFERRABLE INITIALLY DEFERRED
             FOR EACH ROW EXECUTE FUNCTION note_tenant()",
    ));
    let mut app = db.app();
    app.begin_as(&A);
    assert_eq!(ok(app.execute("UPDATE shared.customers SET first_name = 'Changed' WHERE id = $1", &[&A.customer])), 1);
    ok(app.switch_to(&B));
    assert_sqlstate(app.batch_execute("COMMIT"), "28000");
    let changed: i64 =
        one(&mut db.superuser(), "SELECT count(*) FROM shared.customers WHERE first_name = 'Changed'", &[]);
    assert_eq!(changed, 0, "the whole transaction is rolled back");
}

#[test]
fn prepare_transaction_leaves_no_context_behind() {
    let db = Database::new();
    let mut app = db.app();
    app.begin_as(&A);
    assert_eq!(ok(app.tenants_seen()), [A.id]);
    let name = format!("prepared in {}", db.name);
    ok(app.batch_execute(&format!("PREPARE TRANSACTION '{name}'")));
    assert_eq!(ok(app.current_tenant()), None);
    app.begin_as(&B);
    assert_eq!(ok(app.tenants_seen()), [B.id]);
    ok(app.batch_execute("COMMIT"));
    ok(app.batch_execute(&format!("ROLLBACK PREPARED '{name}'")));
}

#[test]
fn procedure_that_commits_starts_without_a_context() {
    let db = Database::new();
    ok(db.superuser().batch_execute(
        "CREATE PROCEDURE visit(first uuid, second uuid, INOUT before text, INOUT between_them text, INOUT after text)
         LANGUAGE plpgsql AS $$ BEGIN
             PERFORM set_config('app.current_tenant_id', first::text, true);
             before := public.get_current_tenant_id();
             COMMIT;
             between_them := public.get_current_tenant_id();
             PERFORM set_config('app.current_tenant_id', second::text, true);
             after := public.get_current_tenant_id();
         END $$",
    ));
    let mut app = db.app();
    let called = ok(app.simple_query(&format!("CALL visit('{}', '{}', NULL, NULL, NULL)", A.id, B.id)));
    let row = called.iter().find_map(|message| match message {
        SimpleQueryMessage::Row(row) => Some(row),
        _ => None,
    });
    let row = row.expect("CALL returns the INOUT arguments");
    assert_eq!(row.get(0), Some(A.id.to_string().as_str()));
    assert_eq!(row.get(1), None);
    assert_eq!(row.get(2), Some(B.id.to_string().as_str()));
}

#[test]
fn security_definer_of_a_superuser_may_look_but_not_switch_the_caller() {
    let db = Database::new();
    ok(db.superuser().batch_execute(
        "CREATE FUNCTION look(tenant uuid) RETURNS bigint LANGUAGE plpgsql SECURITY DEFINER
         SET search_path = pg_catalog, pg_temp AS $$ BEGIN
             PERFORM set_config('app.current_tenant_id', tenant::text, true);
             RETURN (SELECT count(*) FROM shared.customers WHERE tenant_id = public.get_current_tenant_id());
         END $$",
    ));
    let mut app = db.app();
    app.begin_as(&A);
    assert_eq!(ok(app.tenants_seen()), [A.id]);
    let seen: i64 = one(&mut app, "SELECT look($1)", &[&B.id]);
    assert!(seen > 0, "operators of all tenants are exempt inside the function");
    assert_sqlstate(app.tenants_seen(), "28000");
}

#[test]
fn parallel_read_latches_the_leader_too() {
    let db = Database::new();
    let mut app = db.app();
    // Planning a read of a protected table loads the library into the leader.
    assert_eq!(ok(app.tenants_seen()), NO_TENANTS);
    force_parallel(&mut app);
    app.begin_as(&A);
    assert_eq!(ok(app.current_tenant()), Some(A.id));
    ok(app.switch_to(&B));
    // Without the hook the worker alone latched, and the leader then read B.
    assert_sqlstate(app.current_tenant(), "28000");
    ok(app.batch_execute("ROLLBACK"));
    app.begin_as(&A);
    assert_eq!(ok(app.tenants_seen()), [A.id]);
    ok(app.switch_to(&B));
    assert_sqlstate(app.tenants_seen(), "28000");
}

#[test]
fn two_transactions_in_one_message() {
    let db = Database::new();
    let mut app = db.app();
    // They share the start time of the message, so a latch keyed on it would confuse them.
    let message: String = [&A, &B]
        .map(|t| {
            format!("BEGIN; {}; SELECT DISTINCT tenant_id FROM shared.customers; COMMIT;", set_local(t.id, t.owner))
        })
        .concat();
    let rows: Vec<String> = ok(app.simple_query(&message))
        .iter()
        .filter_map(|message| match message {
            SimpleQueryMessage::Row(row) if row.columns()[0].name() == "tenant_id" => row.get(0).map(str::to_owned),
            _ => None,
        })
        .collect();
    assert_eq!(rows, [A.id.to_string(), B.id.to_string()]);
}

#[test]
fn operators_of_all_tenants_are_exempt() {
    let db = Database::new();
    let mut superuser = db.superuser();
    for exempt in ["", "SET ROLE thorbis_platform"] {
        ok(superuser.batch_execute(exempt));
        ok(superuser.batch_execute("BEGIN"));
        for tenant in [A.id, B.id] {
            // set_config is the superuser's; thorbis_platform keeps what was set before SET ROLE.
            ok(superuser.batch_execute(&format!("RESET ROLE; SET LOCAL app.current_tenant_id = '{tenant}'; {exempt}")));
            assert_eq!(ok(superuser.current_tenant()), Some(tenant));
            assert_eq!(ok(superuser.tenants_seen()), [A.id, B.id]);
        }
        ok(superuser.batch_execute("COMMIT"));
    }
}

#[test]
fn a_failed_statement_shows_no_rows_of_either_tenant() {
    let db = Database::new();
    let mut app = db.app();
    app.begin_as(&A);
    assert_eq!(ok(app.tenants_seen()), [A.id]);
    ok(app.switch_to(&B));
    let error = db_error(app.query("SELECT first_name FROM shared.customers", &[]));
    let said = format!("{}{:?}{:?}", error.message(), error.detail(), error.hint());
    assert!(!said.contains("Carla"), "{said}");
    assert_sqlstate(app.tenants_seen(), "25P02");
}
