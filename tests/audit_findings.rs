//! What attacks and reviews found in the log of changes, so that it does not come back.

use thorbis_tests::audit::{defined_table, lines, logged, table, with_crm};
use thorbis_tests::seals::{newest_root, seal_all, verify_with};
use thorbis_tests::{A, B, assert_sqlstate, ok, one};

const CUSTOMER: &str = r#""subject": {"kind": "customer", "column": "customer_id"}"#;

/// Visits of customers, and remarks that belong to visits.
fn visits() -> (thorbis_tests::Database, postgres::Client) {
    let (db, mut client) = with_crm();
    table(&mut client, "visits", "id uuid, customer_id uuid", &format!("{{{CUSTOMER}}}"));
    table(
        &mut client,
        "remarks",
        "id int, visit_id uuid, body text",
        r#"{"pii": [{"column": "body", "method": "clear"}], "subject": {"kind": "customer", "column": "visit_id", "through": "crm.visits"}}"#,
    );
    ok(client.execute("INSERT INTO crm.visits VALUES ($1, $2, $3)", &[&A.id, &A.order, &A.customer]));
    (db, client)
}

/// With the keys of the seals at hand anybody can write one: the month says that it cannot be.
#[test]
fn a_tombstone_for_the_current_month_is_found() {
    let (_db, mut client) = with_crm();
    seal_all(&mut client);
    let root = newest_root(&mut client);
    ok(client.batch_execute(
        "SET session_replication_role = replica;
         INSERT INTO audit.seals SELECT number + 1, 'tombstone', 0, 0, 0, month, row_count, root, '', now(), hash, hash
           FROM audit.seals ORDER BY number DESC LIMIT 1",
    ));
    let found = verify_with(&mut client, &format!("root => '\\x{}'", root.trim_start_matches("\\x")));
    assert!(
        found.iter().any(|finding| finding.starts_with("seal_changed") || finding.starts_with("tombstone")),
        "{found:?}"
    );
}

/// Neither under the tenant's key, which outlives the person, nor in clear.
#[test]
fn values_whose_way_to_their_person_is_lost_are_only_said_to_have_changed() {
    let (_db, mut client) = visits();
    let insert =
        |id: i32, visit: &str| format!("INSERT INTO crm.remarks VALUES (DEFAULT, {id}, '{visit}', 'likes nuts')");
    let told = |client: &mut postgres::Client, statement: &str| {
        let line = logged(client, "crm.remarks", statement).pop().expect("it is logged");
        assert!(!line.contains("nuts"), "{line}");
        line.contains(r#""body": "changed""#)
    };
    assert!(!told(&mut client, &insert(1, &A.order.to_string())), "an envelope");
    assert!(told(&mut client, &insert(2, &B.order.to_string())), "there is no such visit of A's");
    ok(client.batch_execute("ALTER TABLE crm.visits RENAME TO calls"));
    assert!(told(&mut client, &insert(3, &A.order.to_string())), "the table is called otherwise");
    ok(client.batch_execute("ALTER TABLE crm.calls RENAME TO visits"));
    assert!(!told(&mut client, &insert(4, &A.order.to_string())), "a warm session notices that it is back");
}

#[test]
fn renamed_personal_columns_of_any_type_are_hidden() {
    let (_db, mut client) = with_crm();
    table(
        &mut client,
        "people",
        "id int, born date, pin int, note text",
        r#"{"pii": [{"column": "born", "method": "clear"}], "not_personal": ["note"], "audit": {"secret": ["pin"]}}"#,
    );
    ok(client
        .batch_execute("ALTER TABLE crm.people RENAME born TO birthday; ALTER TABLE crm.people RENAME pin TO code"));
    let told = logged(&mut client, "crm.people", "INSERT INTO crm.people VALUES (DEFAULT, 1, '1970-01-02', 1234, 'x')");
    assert!(!told[0].contains("1970") && !told[0].contains("1234"), "{told:?}");
}

#[test]
fn text_that_only_looks_erased_is_encrypted() {
    let (_db, mut client) = with_crm();
    table(&mut client, "people", "id int, name text", r#"{"pii": [{"column": "name", "method": "clear"}]}"#);
    let told =
        logged(&mut client, "crm.people", "INSERT INTO crm.people VALUES (DEFAULT, 1, '[erased] Carla, Nut street')");
    assert!(!told[0].contains("Carla"), "{told:?}");
}

#[test]
fn personal_columns_cannot_be_keys() {
    let (_db, mut client) = with_crm();
    ok(client.batch_execute(
        "CREATE TABLE crm.people (tenant_id uuid, mail text, PRIMARY KEY (tenant_id, mail)); ALTER TABLE crm.people OWNER TO thorbis_owner",
    ));
    let protect =
        r#"SELECT thorbis.protect('crm.people', options => '{"pii": [{"column": "mail", "method": "clear"}]}')"#;
    assert_sqlstate(client.batch_execute(protect), "22023");
}

/// PostgreSQL up to 16 does not count it among the keys.
#[test]
fn deferrable_primary_keys_are_keys() {
    let (_db, mut client) = with_crm();
    let definition = "(tenant_id uuid, id int, PRIMARY KEY (tenant_id, id) DEFERRABLE INITIALLY DEFERRED)";
    defined_table(&mut client, "notes", definition, "{}");
    ok(client.batch_execute("INSERT INTO crm.notes VALUES (DEFAULT, 7)"));
    assert_eq!(lines(&mut client, "crm.notes"), [r#"INSERT 7: -> {"id": 7}"#]);
}

/// A trigger that its function cannot work with is an error, not the end of the server.
#[test]
fn triggers_made_otherwise_are_refused() {
    let (_db, mut client) = with_crm();
    ok(client.batch_execute(
        "CREATE TABLE crm.odd (id int);
         CREATE TRIGGER odd AFTER INSERT ON crm.odd FOR EACH STATEMENT EXECUTE FUNCTION public.record_security_event('x')",
    ));
    assert_sqlstate(client.batch_execute("INSERT INTO crm.odd VALUES (1)"), "39P01");
}

/// Somebody's trigger on the log may change where a row belongs: then the partition's bounds are asked.
#[test]
fn rows_that_a_trigger_moves_to_another_month_are_refused_there() {
    let (_db, mut client) = with_crm();
    table(&mut client, "notes", "id int", "{}");
    ok(client.batch_execute(
        "CREATE FUNCTION crm.later() RETURNS trigger LANGUAGE plpgsql AS
             'BEGIN NEW.occurred_at := NEW.occurred_at + interval ''3 months''; RETURN NEW; END';
         DO $$ BEGIN
             EXECUTE format('CREATE TRIGGER later BEFORE INSERT ON audit.change_log_%s FOR EACH ROW EXECUTE FUNCTION crm.later()',
                            to_char(now() AT TIME ZONE 'UTC', 'YYYY_MM'));
         END $$",
    ));
    assert_sqlstate(client.batch_execute("INSERT INTO crm.notes VALUES (DEFAULT, 1)"), "23514");
    let rows: i64 = one(&mut client, "SELECT count(*) FROM crm.notes", &[]);
    assert_eq!(rows, 0);
}
