//! Which rows are logged: those of every protected table, of what lies beneath it, and those that replication applies.

use postgres::Client;
use std::collections::BTreeSet;
use thorbis_tests::audit::{count, lines, logged, operations, table, with_crm};
use thorbis_tests::audit_log::Entry;
use thorbis_tests::{A, B, Cluster, Database, Finding, findings, make_database, ok, one, until};

// --- every table

/// (table, what is wrong) of protected tables whose two triggers, ENABLE ALWAYS, are not on them and all beneath.
fn unlogged(client: &mut Client) -> Vec<String> {
    let sql = "
        WITH RECURSIVE tree AS (
            SELECT table_id AS root, table_id AS oid FROM thorbis.protected_tables
            UNION ALL SELECT tree.root, i.inhrelid FROM tree JOIN pg_inherits i ON i.inhparent = tree.oid
        )
        SELECT tree.oid::regclass::text FROM tree
         WHERE ARRAY['audit_row_changes A', 'audit_truncate A'] IS DISTINCT FROM
               (SELECT array_agg(p.proname || ' ' || t.tgenabled::text ORDER BY 1) FROM pg_trigger t JOIN pg_proc p ON p.oid = t.tgfoid
                 WHERE t.tgrelid = tree.oid AND p.proname ~ '^audit_')
           AND tree.root <> 'audit.change_log'::regclass
           -- What follows from other rows, which are logged: counters, balances, ends of chains, events; and answers to requests.
           AND tree.root <> ALL ('{shared.number_counters,shared.ledger_requests,shared.stock_balances,shared.loyalty_accounts,
                                   shared.loyalty_lots,shared.loyalty_lot_uses,shared.hash_chains,shared.outbox,
                                   shared.idempotency_keys}'::regclass[])
         ORDER BY 1";
    ok(client.query(sql, &[])).iter().map(|row| row.get(0)).collect()
}

#[test]
fn every_protected_table_of_an_installation_is_logged_but_the_log() {
    let db = Database::installed();
    let mut client = db.superuser();
    assert_eq!(unlogged(&mut client), [""; 0]);
    let protected: i64 = one(&mut client, "SELECT count(*) FROM thorbis.protected_tables", &[]);
    assert!(protected > 25, "{protected}");
    let of_the_log =
        "SELECT count(*) FROM pg_trigger t JOIN pg_proc p ON p.oid = t.tgfoid JOIN pg_class c ON c.oid = t.tgrelid
                       WHERE c.relname LIKE 'change\\_log%' AND p.proname ~ '^audit_'";
    assert_eq!(one::<i64>(&mut client, of_the_log, &[]), 0);
    let customers = "SELECT pg_get_triggerdef(oid) FROM pg_trigger WHERE tgrelid = 'shared.customers'::regclass AND tgname = 'audit_customer_changes'";
    let definition: String = one(&mut client, customers, &[]);
    assert!(definition.contains("AFTER INSERT OR DELETE OR UPDATE ON shared.customers FOR EACH ROW"), "{definition}");
}

#[test]
fn a_trigger_that_was_switched_off_or_dropped_is_found_and_mended() {
    let (_db, mut client) = with_crm();
    ok(client.batch_execute(
        "CREATE TABLE crm.trips (tenant_id uuid, id int, day date, PRIMARY KEY (tenant_id, id, day)) PARTITION BY RANGE (day);
         CREATE TABLE crm.trips_old PARTITION OF crm.trips DEFAULT; ALTER TABLE crm.trips OWNER TO thorbis_owner;
         ALTER TABLE crm.trips_old OWNER TO thorbis_owner; SELECT thorbis.protect('crm.trips')",
    ));
    let customers = "ALTER TABLE shared.customers";
    for situation in [
        format!("{customers} DISABLE TRIGGER audit_customer_changes"),
        format!("{customers} ENABLE TRIGGER audit_customer_changes"),
        format!("{customers} ENABLE REPLICA TRIGGER audit_customers_truncate"),
        format!("{customers} DISABLE TRIGGER ALL"),
        "DROP TRIGGER audit_customer_changes ON shared.customers".into(),
        "DROP TRIGGER audit_customers_truncate ON shared.customers".into(),
        "ALTER TABLE crm.trips_old DISABLE TRIGGER audit_trips_changes".into(),
        "ALTER TABLE crm.trips_old ENABLE TRIGGER audit_trips_changes".into(),
        "ALTER TABLE ONLY crm.trips DISABLE TRIGGER audit_trips_changes".into(),
        "ALTER TABLE crm.trips_old DISABLE TRIGGER audit_trips_truncate".into(),
        "DROP TRIGGER audit_trips_changes ON crm.trips".into(),
        "DROP TRIGGER audit_trips_truncate ON crm.trips_old".into(),
        "DROP TRIGGER audit_customer_changes ON shared.customers; CREATE TRIGGER audit_customer_changes AFTER INSERT ON shared.customers
             FOR EACH ROW EXECUTE FUNCTION audit_row_changes('{\"table\": \"shared.users\", \"tenant\": \"tenant_id\"}')".into(),
    ] {
        ok(client.batch_execute(&format!("BEGIN; {situation}")));
        let mut remedies: BTreeSet<String> = errors(&mut client).iter().map(|found| found.statement().to_owned()).collect();
        // Beside it, that a table differs from what the library brought, with advice.
        remedies.retain(|remedy| remedy.starts_with("SELECT"));
        assert!(!remedies.is_empty(), "not found: {situation}");
        assert_ne!(unlogged(&mut client), [""; 0], "{situation}");
        for remedy in &remedies {
            ok(client.batch_execute(remedy));
        }
        assert_eq!(unlogged(&mut client), [""; 0], "{situation}");
        ok(client.batch_execute("ROLLBACK"));
    }
}

fn errors(client: &mut Client) -> Vec<Finding> {
    let mut found = ok(findings(client));
    found.retain(|finding| finding.severity == "error");
    found
}

// --- what lies beneath a table

const TRIPS: &str = "
    CREATE TABLE crm.trips (tenant_id uuid, id int, day date, note text, PRIMARY KEY (tenant_id, id, day)) PARTITION BY RANGE (day);
    CREATE TABLE crm.trips_a PARTITION OF crm.trips FOR VALUES FROM ('2020-01-01') TO ('2021-01-01');
    CREATE TABLE crm.trips_b (note text, gone int, day date NOT NULL, id int NOT NULL, tenant_id uuid NOT NULL);
    ALTER TABLE crm.trips_b DROP gone;
    ALTER TABLE crm.trips ATTACH PARTITION crm.trips_b FOR VALUES FROM ('2021-01-01') TO ('2022-01-01');
    ALTER TABLE crm.trips OWNER TO thorbis_owner; ALTER TABLE crm.trips_a OWNER TO thorbis_owner; ALTER TABLE crm.trips_b OWNER TO thorbis_owner;
    SELECT thorbis.protect('crm.trips')";

fn with_trips() -> (Database, Client) {
    let (db, mut client) = with_crm();
    ok(client.batch_execute(TRIPS));
    for table in ["trips", "trips_a", "trips_b"] {
        ok(client.batch_execute(&format!("ALTER TABLE ONLY crm.{table} ALTER tenant_id SET DEFAULT '{}'", A.id)));
    }
    (db, client)
}

#[test]
fn rows_of_partitions_are_those_of_their_table() {
    let (_db, mut client) = with_trips();
    ok(client.batch_execute("INSERT INTO crm.trips (id, day) VALUES (1, '2020-05-01'), (2, '2021-05-01')"));
    ok(client.batch_execute("INSERT INTO crm.trips_b (id, day, note) VALUES (3, '2021-06-01', 'straight')"));
    ok(client.batch_execute(
        "UPDATE crm.trips_b SET note = 'b' WHERE id = 2; UPDATE crm.trips SET day = '2021-01-01' WHERE id = 1",
    ));
    ok(client.batch_execute("DELETE FROM crm.trips WHERE id = 3"));
    assert_eq!(
        lines(&mut client, "crm.trips"),
        [
            r#"INSERT ["1","2020-05-01"]: -> {"id": 1, "day": "2020-05-01"}"#,
            r#"INSERT ["2","2021-05-01"]: -> {"id": 2, "day": "2021-05-01"}"#,
            r#"INSERT ["3","2021-06-01"]: -> {"id": 3, "day": "2021-06-01", "note": "straight"}"#,
            r#"UPDATE ["2","2021-05-01"]: {"note": null} -> {"note": "b"}"#,
            // PostgreSQL moves it so.
            r#"DELETE ["1","2020-05-01"]: {"id": 1, "day": "2020-05-01"}"#,
            r#"INSERT ["1","2021-01-01"]: -> {"id": 1, "day": "2021-01-01"}"#,
            r#"DELETE ["3","2021-06-01"]: {"id": 3, "day": "2021-06-01", "note": "straight"}"#
        ]
    );
}

#[test]
fn truncating_a_table_or_one_partition_counts_each_row_once() {
    let (_db, mut client) = with_trips();
    let fill = format!(
        "INSERT INTO crm.trips SELECT t, n, d FROM unnest('{{{}, {}}}'::uuid[]) t, generate_series(1, 3) n, unnest('{{2020-02-02, 2021-02-02}}'::date[]) d
          WHERE t = '{}' OR n = 1 AND d < '2021-01-01'",
        A.id, B.id, A.id
    );
    let mut lost = |truncate: &str| {
        let before = count(&mut client, "crm.trips");
        ok(client.batch_execute(&format!("{fill}; {truncate}")));
        let entries = Entry::of_table(&mut client, "crm.trips").split_off(before as usize);
        let rows = |tenant| {
            let of = entries.iter().filter(|e| e.operation == "TRUNCATE" && e.tenant == tenant);
            of.map(|e| e.values("rows")[0].as_i64().expect("a number")).sum::<i64>()
        };
        let sums = (rows(A.id), rows(B.id));
        ok(client.batch_execute("TRUNCATE crm.trips"));
        sums
    };
    assert_eq!(lost("TRUNCATE crm.trips"), (6, 1));
    assert_eq!(lost("TRUNCATE crm.trips_a"), (3, 1));
    assert_eq!(lost("TRUNCATE crm.trips_b"), (3, 0));
    assert_eq!(lost("TRUNCATE crm.trips, crm.trips_a, crm.trips_b"), (6, 1));
}

#[test]
fn partitions_that_come_later_are_logged() {
    let (db, mut client) = with_trips();
    let mut warm = db.superuser();
    ok(warm.batch_execute("INSERT INTO crm.trips (id, day) VALUES (1, '2020-05-01')"));
    ok(client.batch_execute(
        "CREATE TABLE crm.trips_c PARTITION OF crm.trips FOR VALUES FROM ('2022-01-01') TO ('2023-01-01') PARTITION BY LIST (id);
         CREATE TABLE crm.trips_c1 PARTITION OF crm.trips_c DEFAULT;
         CREATE TABLE crm.trips_d (LIKE crm.trips INCLUDING ALL); INSERT INTO crm.trips_d SELECT tenant_id, 7, '2023-03-03' FROM crm.trips;
         ALTER TABLE crm.trips ATTACH PARTITION crm.trips_d FOR VALUES FROM ('2023-01-01') TO ('2024-01-01')",
    ));
    ok(warm.batch_execute("INSERT INTO crm.trips (id, day) VALUES (2, '2022-05-01'), (3, '2023-05-01')"));
    ok(warm.batch_execute(&format!(
        "INSERT INTO crm.trips_c1 (tenant_id, id, day) VALUES ('{}', 4, '2022-05-01'); DELETE FROM crm.trips_d",
        A.id
    )));
    let expected = [("DELETE", 2), ("INSERT", 4)].map(|(operation, n)| (operation.to_owned(), n));
    assert_eq!(operations(&mut client, "crm.trips"), expected);
    // TRUNCATE of the new ones alone has no trigger yet: the doctor says so.
    assert!(
        errors(&mut client)
            .iter()
            .any(|found| found.detail.contains("audit_trips_truncate BEFORE TRUNCATE ON crm.trips_c1"))
    );
    for table in ["trips_c", "trips_c1", "trips_d"] {
        ok(client.batch_execute(&format!("ALTER TABLE crm.{table} OWNER TO thorbis_owner")));
    }
    ok(client.batch_execute("SELECT thorbis.protect('crm.trips')"));
    assert_eq!(unlogged(&mut client), [""; 0]);
    assert_eq!(logged(&mut client, "crm.trips", "TRUNCATE crm.trips_c1"), [r#"TRUNCATE : {"rows": 2}"#]);
    // One that is no part of the table any more is none of its history.
    ok(client.batch_execute("ALTER TABLE crm.trips DETACH PARTITION crm.trips_a; DELETE FROM crm.trips_a"));
    assert_eq!(lines(&mut client, "crm.trips").last().map(String::as_str), Some(r#"TRUNCATE : {"rows": 2}"#));
}

#[test]
fn rows_of_inheritance_children_are_logged() {
    let (_db, mut client) = with_crm();
    ok(client.batch_execute(
        "CREATE TABLE crm.parents (tenant_id uuid, id int, note text, PRIMARY KEY (tenant_id, id));
         CREATE TABLE crm.children (extra int, PRIMARY KEY (tenant_id, id)) INHERITS (crm.parents);
         ALTER TABLE crm.parents OWNER TO thorbis_owner; ALTER TABLE crm.children OWNER TO thorbis_owner; SELECT thorbis.protect('crm.parents')",
    ));
    ok(client.batch_execute(&format!(
        "INSERT INTO crm.parents VALUES ('{0}', 1, 'p'); INSERT INTO crm.children VALUES ('{0}', 2, 'c', 5);
         UPDATE crm.parents SET note = upper(note); DELETE FROM crm.parents WHERE id = 1; TRUNCATE crm.parents",
        A.id
    )));
    assert_eq!(
        lines(&mut client, "crm.parents"),
        [
            r#"INSERT 1: -> {"id": 1, "note": "p"}"#,
            r#"INSERT 2: -> {"id": 2, "note": "c", "extra": 5}"#,
            r#"UPDATE 1: {"note": "p"} -> {"note": "P"}"#,
            r#"UPDATE 2: {"note": "c"} -> {"note": "C"}"#,
            r#"DELETE 1: {"id": 1, "note": "P"}"#,
            r#"TRUNCATE : {"rows": 1}"#
        ]
    );
    assert_eq!(unlogged(&mut client), [""; 0]);
}

// --- replicated rows

#[test]
fn triggers_of_the_log_fire_for_replicated_rows() {
    let (_db, mut client) = with_crm();
    table(&mut client, "notes", "id int", "{}");
    ok(client.batch_execute(
        "SET session_replication_role = replica; INSERT INTO crm.notes (id) VALUES (1); UPDATE crm.notes SET id = 2; TRUNCATE crm.notes",
    ));
    let expected =
        [r#"INSERT 1: -> {"id": 1}"#, r#"UPDATE 1 to 2: {"id": 1} -> {"id": 2}"#, r#"TRUNCATE : {"rows": 1}"#];
    assert_eq!(lines(&mut client, "crm.notes"), expected);
}

#[test]
fn a_subscriber_logs_what_it_applies() {
    let cluster = Cluster::fresh_with("logical", &["wal_level=logical"]);
    let [mut publisher, mut subscriber] = ["publisher", "subscriber"].map(|name| {
        make_database(&cluster, name);
        let mut client = cluster.connect(name, "postgres");
        ok(client.batch_execute("CREATE SCHEMA crm AUTHORIZATION thorbis_owner"));
        table(&mut client, "notes", "id int, body text", "{}");
        client
    });
    ok(publisher.batch_execute("CREATE PUBLICATION notes FOR TABLE crm.notes; INSERT INTO crm.notes (id) VALUES (0)"));
    // Within one cluster the slot has to be there already.
    ok(publisher.batch_execute("SELECT pg_create_logical_replication_slot('notes', 'pgoutput')"));
    ok(subscriber.batch_execute(&format!(
        "CREATE SUBSCRIPTION notes CONNECTION 'host={} port={} user=postgres dbname=publisher' PUBLICATION notes WITH (create_slot = false)",
        cluster.host, cluster.port
    )));
    until("the first copy is there", || count(&mut subscriber, "crm.notes") == 1);
    ok(publisher.batch_execute(
        "SET app.request_id = 'of the publisher'; INSERT INTO crm.notes (id, body) VALUES (1, 'a'), (2, 'b')",
    ));
    ok(publisher.batch_execute(
        "UPDATE crm.notes SET id = 3, body = 'c' WHERE id = 2; DELETE FROM crm.notes WHERE id = 1; TRUNCATE crm.notes",
    ));
    until("TRUNCATE is applied", || {
        lines(&mut subscriber, "crm.notes").iter().any(|line| line.starts_with("TRUNCATE"))
    });
    assert_eq!(lines(&mut subscriber, "crm.notes"), lines(&mut publisher, "crm.notes"));
    let last = Entry::last_of(&mut subscriber, "crm.notes");
    assert_eq!((last.actor, last.session_role.as_str(), last.request_id), (None, "postgres", None), "who applies it");
    ok(subscriber.batch_execute(
        "ALTER SUBSCRIPTION notes DISABLE; ALTER SUBSCRIPTION notes SET (slot_name = NONE); DROP SUBSCRIPTION notes",
    ));
}
