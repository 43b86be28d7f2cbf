//! Who made a change, from where, and in which transaction. What a client says of itself is noted as that.

use postgres::{Config, NoTls};
use thorbis_tests::audit::{table, with_crm};
use thorbis_tests::audit_log::Entry;
use thorbis_tests::{A, Database, as_owner, assert_sqlstate, in_context, ok, one};
use uuid::Uuid;

const NOTES: &str = "crm.notes";

fn with_notes() -> (Database, postgres::Client) {
    let (db, mut client) = with_crm();
    table(&mut client, "notes", "id int DEFAULT floor(random() * 1e9), body text", "{}");
    (db, client)
}

/// (actor, session role, database role) of the newest change.
fn who(client: &mut postgres::Client) -> (Option<Uuid>, String, String) {
    let last = Entry::last_of(client, NOTES);
    (last.actor, last.session_role, last.database_role)
}

fn roles(actor: Option<Uuid>, session: &str, database: &str) -> (Option<Uuid>, String, String) {
    (actor, session.into(), database.into())
}

#[test]
fn set_role_shows_and_security_definer_does_not() {
    let (db, mut client) = with_notes();
    let login = db.role("clerk", "LOGIN SUPERUSER");
    let other = db.role("other", "SUPERUSER");
    let mut clerk = db.connect_as(&login);
    let insert = "INSERT INTO crm.notes DEFAULT VALUES";
    ok(clerk.batch_execute(insert));
    assert_eq!(who(&mut client), roles(None, &login, &login));
    // Within one transaction too.
    ok(clerk.batch_execute(&format!("BEGIN; {insert}; SET ROLE {other}; {insert}")));
    ok(clerk.batch_execute("COMMIT"));
    assert_eq!(who(&mut client), roles(None, &login, &other));
    ok(clerk.batch_execute(&format!("RESET ROLE; {insert}")));
    assert_eq!(who(&mut client), roles(None, &login, &login));
    ok(client.batch_execute(&format!(
        "CREATE FUNCTION crm.write() RETURNS void LANGUAGE sql SECURITY DEFINER AS '{insert}';
         ALTER FUNCTION crm.write() OWNER TO {other}"
    )));
    ok(clerk.batch_execute("SELECT crm.write()"));
    assert_eq!(who(&mut client), roles(None, &login, &login));
    ok(client.batch_execute(&format!(
        "SET SESSION AUTHORIZATION {login}; SET ROLE {other}; {insert}; RESET SESSION AUTHORIZATION"
    )));
    assert_eq!(who(&mut client), roles(None, &login, &other));
}

/// A session that goes on under another user, as one of a pool does.
#[test]
fn each_transaction_has_the_actor_of_its_context() {
    let db = Database::new();
    let (mut app, mut client) = (db.app(), db.superuser());
    for user in [A.owner, A.manager, A.owner] {
        let update = "UPDATE shared.customers SET company_name = company_name || 'x' WHERE id = $1";
        let name = "UPDATE shared.customers SET company_name = 'x' WHERE id = $1";
        ok(in_context(&mut app, A.id, A.owner, |tx| tx.execute(name, &[&A.customer])));
        assert_eq!(ok(in_context(&mut app, A.id, user, |tx| tx.execute(update, &[&A.customer]))), 1);
        let last = Entry::last_of(&mut client, "shared.customers");
        assert_eq!(
            (last.actor, last.session_role.as_str(), last.database_role.as_str()),
            (Some(user), "app_login", "app_login")
        );
    }
    ok(client.execute("UPDATE shared.customers SET company_name = NULL WHERE id = $1", &[&A.customer]));
    let last = Entry::last_of(&mut client, "shared.customers");
    assert_eq!((last.actor, last.database_role.as_str()), (None, "postgres"), "a job of nobody");
}

#[test]
fn applications_and_requests_are_noted_as_they_call_themselves() {
    let (_db, mut client) = with_notes();
    let noted = |client: &mut postgres::Client, settings: &str| {
        ok(client.batch_execute(&format!("BEGIN; {settings}; INSERT INTO crm.notes DEFAULT VALUES; COMMIT")));
        let last = Entry::last_of(client, NOTES);
        (last.application, last.request_id)
    };
    let some = |application: &str, request: &str| (Some(application.to_owned()), Some(request.to_owned()));
    assert_eq!(
        noted(&mut client, "SET LOCAL application_name = 'till 7'; SET LOCAL app.request_id = 'r-1'"),
        some("till 7", "r-1")
    );
    // SET LOCAL ends with its transaction.
    assert_eq!(noted(&mut client, "SELECT"), (Some("thorbis-tests".into()), None));
    assert_eq!(noted(&mut client, "SET LOCAL application_name = ''; SET LOCAL app.request_id = ''"), (None, None));
    // 128 bytes at most, and no half letters.
    for (given, kept) in [
        ("x".repeat(128), "x".repeat(128)),
        ("x".repeat(129), "x".repeat(128)),
        ("ü".repeat(100), "ü".repeat(64)),
        (format!("x{}", "ü".repeat(100)), format!("x{}", "ü".repeat(63))),
        ("🍕".repeat(1000), "🍕".repeat(32)),
        (format!("xxx{}", "🍕".repeat(40)), format!("xxx{}", "🍕".repeat(31))),
        ("a\"b\\c\n''".into(), "a\"b\\c\n'".into()),
    ] {
        assert_eq!(noted(&mut client, &format!("SET LOCAL app.request_id = '{given}'")).1, Some(kept));
    }
    // One statement may change it for the next.
    ok(client.batch_execute(
        "BEGIN; SET LOCAL app.request_id = 'one'; INSERT INTO crm.notes DEFAULT VALUES;
         SET LOCAL app.request_id = 'two'; INSERT INTO crm.notes DEFAULT VALUES; COMMIT",
    ));
    assert_eq!(Entry::last_of(&mut client, NOTES).request_id.as_deref(), Some("two"));
}

#[test]
fn the_address_of_a_client_is_noted() {
    let db = Database::new();
    let update = "UPDATE shared.locations SET name = name || '!'";
    as_owner(&db, &A, |tx| tx.execute(update, &[]));
    let mut client = db.superuser();
    assert_eq!(Entry::last_of(&mut client, "shared.locations").client_address, None, "through the socket");
    let mut config = Config::new();
    config.host("127.0.0.1").port(db.cluster().port).dbname(&db.name).user("app_login");
    let mut remote = ok(config.connect(NoTls));
    for _ in 0..2 {
        ok(in_context(&mut remote, A.id, A.owner, |tx| tx.execute(update, &[])));
        assert_eq!(Entry::last_of(&mut client, "shared.locations").client_address.as_deref(), Some("127.0.0.1/32"));
    }
}

#[test]
fn a_change_names_its_transaction_and_its_cluster() {
    let (_db, mut client) = with_notes();
    let mut transaction = ok(client.transaction());
    ok(transaction.batch_execute(
        "INSERT INTO crm.notes DEFAULT VALUES; SAVEPOINT s; INSERT INTO crm.notes DEFAULT VALUES; RELEASE s",
    ));
    ok(transaction.batch_execute("SELECT pg_sleep(0.05); INSERT INTO crm.notes DEFAULT VALUES"));
    let sql = "SELECT count(*) FROM audit.change_log
                WHERE table_name = 'crm.notes' AND transaction_id = pg_current_xact_id()::text::bigint AND occurred_at = now()
                  AND system_id = (SELECT system_identifier FROM pg_control_system())";
    assert_eq!(one::<i64>(&mut transaction, sql, &[]), 3);
    ok(transaction.commit());
}

/// A version 7 UUID begins with the time; what follows keeps the order within a transaction.
#[test]
fn ids_are_in_the_order_of_the_changes() {
    let (_db, mut client) = with_notes();
    ok(client.batch_execute(
        "BEGIN; INSERT INTO crm.notes SELECT tenant_id, generate_series(1, 3000) FROM (SELECT tenant_id FROM shared.locations LIMIT 1) t;
         SAVEPOINT s; UPDATE crm.notes SET id = -id; ROLLBACK TO s; SAVEPOINT s; DELETE FROM crm.notes; RELEASE s; COMMIT",
    ));
    let sql = "
        WITH l AS (SELECT *, row_number() OVER (ORDER BY id) n FROM audit.change_log WHERE table_name = 'crm.notes')
        SELECT count(*), count(DISTINCT id),
               bool_and(CASE operation WHEN 'INSERT' THEN row_key::int = n ELSE n > 3000 END),
               bool_and(substr(id::text, 15, 1) = '7' AND substr(id::text, 20, 1) IN ('8', '9', 'a', 'b')),
               bool_and(('x' || left(translate(id::text, '-', ''), 12))::bit(48)::bigint
                        = floor(extract(epoch FROM occurred_at) * 1000))
          FROM l";
    let row = ok(client.query_one(sql, &[]));
    assert_eq!((row.get::<_, i64>(0), row.get::<_, i64>(1)), (6000, 6000));
    assert_eq!([row.get::<_, bool>(2), row.get(3), row.get(4)], [true; 3], "order, version, time");
}

/// Two phases: the changes are those of the transaction that was prepared.
#[test]
fn a_prepared_transaction_is_logged_when_it_is_committed() {
    let (db, mut client) = with_notes();
    let (one_name, other_name) = (format!("a_{}", db.name), format!("b_{}", db.name));
    for name in [&one_name, &other_name] {
        ok(client.batch_execute(&format!(
            "BEGIN; INSERT INTO crm.notes (body) VALUES ('{name}'); PREPARE TRANSACTION '{name}'"
        )));
    }
    assert_eq!(Entry::of_table(&mut client, NOTES), []);
    let mut other = db.superuser();
    ok(other.batch_execute(&format!("COMMIT PREPARED '{one_name}'")));
    ok(other.batch_execute(&format!("ROLLBACK PREPARED '{other_name}'")));
    let entries = Entry::of_table(&mut client, NOTES);
    assert_eq!(entries.len(), 1);
    assert_eq!(entries[0].values("body")[1], one_name);
    assert_sqlstate(client.batch_execute(&format!("COMMIT PREPARED '{other_name}'")), "42704");
}
