//! What others do to the log, and what fails around a change: the log has what was committed, and writing goes on.

use postgres::Client;
use thorbis_tests::audit::{count, lines, logged, operations, table, with_crm};
use thorbis_tests::audit_log::Entry;
use thorbis_tests::{Database, assert_sqlstate, ok, one};

const NOTES: &str = "crm.notes";

fn with_notes() -> (Database, Client) {
    let (db, mut client) = with_crm();
    table(&mut client, "notes", "id int, body text", "{}");
    (db, client)
}

fn insert(id: i32) -> String {
    format!("INSERT INTO crm.notes (id, body) VALUES ({id}, 'n{id}')")
}

/// The keys in the log, in order.
fn keys(client: &mut Client) -> Vec<String> {
    Entry::of_table(client, NOTES).into_iter().map(|entry| entry.key).collect()
}

// --- what is rolled back

#[test]
fn savepoints_that_are_rolled_back_leave_nothing() {
    let (_db, mut client) = with_notes();
    ok(client.batch_execute(&format!(
        "BEGIN; {}; SAVEPOINT a; {}; SAVEPOINT b; {}; RELEASE b; ROLLBACK TO a; {}; SAVEPOINT c; {}; RELEASE c; COMMIT",
        insert(1),
        insert(2),
        insert(3),
        insert(4),
        insert(5)
    )));
    ok(client.batch_execute(&format!("BEGIN; {}; ROLLBACK", insert(6))));
    assert_eq!(keys(&mut client), ["1", "4", "5"]);
}

#[test]
fn what_fails_within_blocks_with_exceptions_is_not_logged() {
    let (_db, mut client) = with_notes();
    ok(client.batch_execute(
        "DO $$ BEGIN
             FOR n IN 1..2000 LOOP
                 BEGIN
                     INSERT INTO crm.notes (id, body) VALUES (n, 'x'), (-n, 'y');
                     IF n % 10 <> 0 THEN INSERT INTO crm.notes (id) VALUES (n); END IF;
                 EXCEPTION WHEN unique_violation THEN NULL;
                 END;
             END LOOP;
         END $$",
    ));
    let sql = "SELECT count(*), bool_and(row_key::int % 10 = 0), count(DISTINCT row_key) FROM audit.change_log WHERE table_name = 'crm.notes'";
    let row = ok(client.query_one(sql, &[]));
    assert_eq!((row.get::<_, i64>(0), row.get::<_, bool>(1), row.get::<_, i64>(2)), (400, true, 400));
    assert_eq!(one::<i64>(&mut client, "SELECT count(*) FROM crm.notes", &[]), 400);
}

#[test]
fn an_error_after_the_change_was_logged_takes_it_back() {
    let (_db, mut client) = with_notes();
    // Fires after the trigger of the log, whose name is less.
    ok(client.batch_execute(
        "CREATE FUNCTION crm.refuse() RETURNS trigger LANGUAGE plpgsql AS
             'BEGIN IF NEW.id < 0 THEN RAISE EXCEPTION ''no'' USING ERRCODE = ''P0001''; END IF; RETURN NULL; END';
         CREATE TRIGGER zz_refuse AFTER INSERT ON crm.notes FOR EACH ROW EXECUTE FUNCTION crm.refuse();
         CREATE CONSTRAINT TRIGGER zz_later AFTER UPDATE ON crm.notes DEFERRABLE INITIALLY DEFERRED
             FOR EACH ROW EXECUTE FUNCTION crm.refuse()",
    ));
    assert_sqlstate(client.batch_execute("INSERT INTO crm.notes (id) VALUES (1), (2), (-3)"), "P0001");
    ok(client.batch_execute(&insert(1)));
    // At the commit.
    assert_sqlstate(client.batch_execute("UPDATE crm.notes SET id = -1"), "P0001");
    assert_eq!(keys(&mut client), ["1"]);
}

// --- triggers of others on the table

#[test]
fn the_log_has_what_triggers_made_of_a_row() {
    let (_db, mut client) = with_notes();
    table(&mut client, "words", "id serial, word text", "{}");
    ok(client.batch_execute(
        "CREATE FUNCTION crm.edit() RETURNS trigger LANGUAGE plpgsql AS
             'BEGIN IF NEW.body = ''none'' THEN RETURN NULL; END IF; NEW.body := upper(NEW.body); RETURN NEW; END';
         CREATE TRIGGER edit BEFORE INSERT OR UPDATE ON crm.notes FOR EACH ROW EXECUTE FUNCTION crm.edit();
         CREATE FUNCTION crm.split() RETURNS trigger LANGUAGE plpgsql AS
             'BEGIN INSERT INTO crm.words (word) VALUES (NEW.body), (lower(NEW.body)); RETURN NULL; END';
         CREATE TRIGGER a_split AFTER INSERT ON crm.notes FOR EACH ROW EXECUTE FUNCTION crm.split()",
    ));
    let statements = "INSERT INTO crm.notes (id, body) VALUES (1, 'a'), (2, 'none'), (3, 'c'); UPDATE crm.notes SET body = 'none'; UPDATE crm.notes SET body = 'a'";
    assert_eq!(
        logged(&mut client, NOTES, statements),
        [
            r#"INSERT 1: -> {"id": 1, "body": "A"}"#,
            r#"INSERT 3: -> {"id": 3, "body": "C"}"#,
            r#"UPDATE 3: {"body": "C"} -> {"body": "A"}"#
        ]
    );
    let words: Vec<_> = Entry::of_table(&mut client, "crm.words").iter().map(|e| e.values("word")[1].clone()).collect();
    assert_eq!(words, ["A", "a", "C", "c"]);
}

// --- what others make of the log

#[test]
fn constraints_of_the_log_are_obeyed() {
    let (_db, mut client) = with_notes();
    ok(client.batch_execute(
        "ALTER TABLE audit.change_log ADD CONSTRAINT no_seven CHECK (table_name <> 'crm.notes' OR row_key <> '7')",
    ));
    ok(client.batch_execute(&insert(1)));
    let error = assert_sqlstate(client.batch_execute(&insert(7)), "23514");
    assert!(error.message().contains("no_seven"), "{}", error.message());
    ok(client.batch_execute(&insert(8)));
    assert_eq!(keys(&mut client), ["1", "8"]);
    assert_eq!(one::<i64>(&mut client, "SELECT count(*) FROM crm.notes", &[]), 2);
}

#[test]
fn indexes_of_others_on_the_log_find_its_rows() {
    let (db, mut client) = with_notes();
    ok(client.batch_execute(&insert(0)));
    ok(db.superuser().batch_execute(
        "CREATE INDEX on_body ON audit.change_log ((new_values ->> 'body'), lower(operation));
         CREATE INDEX on_updates ON audit.change_log (row_key) WHERE operation = 'UPDATE';
         CREATE INDEX on_values ON audit.change_log USING gin (new_values);
         CREATE INDEX on_function ON audit.change_log USING hash (md5(row_key || table_name));
         CREATE STATISTICS audit.on_both ON table_name, operation FROM audit.change_log",
    ));
    let work = "INSERT INTO crm.notes (id, body) SELECT n, 'n' || n FROM generate_series(1, 500) n; UPDATE crm.notes SET body = 'u' || id WHERE id > 400";
    ok(client.batch_execute(work));
    ok(client.batch_execute("SET enable_seqscan = off; ANALYZE audit.change_log"));
    for (index, condition, expected) in [
        ("on_body", "new_values ->> 'body' = 'n77' AND lower(operation) = 'insert'", 1),
        ("on_updates", "row_key = '450' AND operation = 'UPDATE'", 1),
        ("on_values", r#"new_values @> '{"body": "u401"}'"#, 1),
        ("on_function", "md5(row_key || table_name) = md5('500crm.notes')", 2),
    ] {
        let sql = format!("SELECT count(*) FROM audit.change_log WHERE {condition}");
        let plan: Vec<String> = ok(client.query(&format!("EXPLAIN {sql}"), &[])).iter().map(|row| row.get(0)).collect();
        assert!(plan.iter().any(|line| line.contains("Index")), "{index}: {plan:#?}");
        assert_eq!(one::<i64>(&mut client, &sql, &[]), expected, "{index}");
    }
}

#[test]
fn triggers_of_others_on_the_log_fire() {
    let (db, mut client) = with_notes();
    ok(client.batch_execute(
        "CREATE TABLE crm.seen (key text, what text);
         CREATE FUNCTION crm.mark() RETURNS trigger LANGUAGE plpgsql AS
             'BEGIN IF NEW.row_key = ''13'' THEN RETURN NULL; END IF; NEW.request_id := ''marked''; RETURN NEW; END';
         CREATE TRIGGER mark BEFORE INSERT ON audit.change_log FOR EACH ROW WHEN (NEW.table_name = 'crm.notes') EXECUTE FUNCTION crm.mark();
         CREATE FUNCTION crm.see() RETURNS trigger LANGUAGE plpgsql AS
             'BEGIN INSERT INTO crm.seen VALUES (NEW.row_key, TG_NAME || '' '' || TG_TABLE_NAME || '' '' || NEW.request_id);
                    IF NEW.row_key = ''14'' THEN RAISE EXCEPTION ''no'' USING ERRCODE = ''P0001''; END IF; RETURN NULL; END';
         CREATE TRIGGER see AFTER INSERT ON audit.change_log FOR EACH ROW WHEN (NEW.table_name = 'crm.notes') EXECUTE FUNCTION crm.see();
         CREATE CONSTRAINT TRIGGER see_later AFTER INSERT ON audit.change_log DEFERRABLE INITIALLY DEFERRED
             FOR EACH ROW WHEN (NEW.table_name = 'crm.notes') EXECUTE FUNCTION crm.see()",
    ));
    let (warn, warnings) = std::sync::mpsc::channel();
    let mut config = db.cluster().config(&db.name, "postgres");
    config.notice_callback(move |notice| drop(warn.send(notice.message().to_owned())));
    let mut client = ok(config.connect(postgres::NoTls));
    ok(client.batch_execute("INSERT INTO crm.notes (id) VALUES (11), (12), (13)"));
    assert_sqlstate(client.batch_execute(&insert(14)), "P0001");
    ok(client.batch_execute("BEGIN; UPDATE crm.notes SET body = 'x' WHERE id = 11; SAVEPOINT s; DELETE FROM crm.notes WHERE id = 12; ROLLBACK TO s; COMMIT"));
    let partition: String = one(
        &mut client,
        "SELECT tableoid::regclass::text FROM audit.change_log WHERE table_name = 'crm.notes' LIMIT 1",
        &[],
    );
    let partition = partition.trim_start_matches("audit.");
    let seen: Vec<(String, String)> = ok(client.query("SELECT key, what FROM crm.seen ORDER BY ctid", &[]))
        .iter()
        .map(|r| (r.get(0), r.get(1)))
        .collect();
    let expected =
        [("11", "see"), ("12", "see"), ("11", "see_later"), ("12", "see_later"), ("11", "see"), ("11", "see_later")];
    assert_eq!(seen, expected.map(|(key, trigger)| (key.to_owned(), format!("{trigger} {partition} marked"))));
    assert_eq!(keys(&mut client), ["11", "12", "11"], "a trigger that returns NULL keeps the row out of the log");
    assert_eq!(warnings.try_iter().collect::<Vec<_>>(), [""; 0], "everything is closed");
}

/// The trigger writes the columns it knows; those of others take no default, and a generated one is computed.
#[test]
fn columns_that_others_add_to_the_log_stay_empty() {
    let (_db, mut client) = with_notes();
    ok(client.batch_execute(&insert(1)));
    ok(client.batch_execute(
        "ALTER TABLE audit.change_log ADD note text DEFAULT 'given', ADD seconds float8 GENERATED ALWAYS AS (length(row_key) + 0.5) STORED",
    ));
    ok(client.batch_execute(&insert(22)));
    let row = ok(client.query_one(
        "SELECT note, seconds FROM audit.change_log WHERE table_name = 'crm.notes' AND row_key = '22'",
        &[],
    ));
    assert_eq!((row.get::<_, Option<String>>(0), row.get::<_, f64>(1)), (None, 2.5));
}

// --- partitions of the log

/// A column of the log by name: the number may be another in each partition.
#[test]
fn a_partition_with_another_order_of_columns_is_written_like_others() {
    let (_db, mut client) = with_notes();
    ok(client.batch_execute(&insert(1)));
    let columns = "SELECT string_agg(format('%I %s%s', attname, format_type(atttypid, atttypmod), 
                                            CASE WHEN attcollation = 0 THEN '' ELSE ' COLLATE ' || attcollation::regcollation END
                                            || CASE WHEN attnotnull THEN ' NOT NULL' ELSE '' END),
                                     ', ' ORDER BY attname)
                     FROM pg_attribute WHERE attrelid = 'audit.change_log'::regclass AND attnum > 0 AND NOT attisdropped";
    let columns: String = one(&mut client, columns, &[]);
    let months = months(&mut client);
    ok(client.batch_execute(&format!(
        "CREATE TABLE audit.mine (gone int, {columns}); ALTER TABLE audit.mine DROP gone; ALTER TABLE audit.mine OWNER TO thorbis_owner;
         BEGIN; ALTER TABLE audit.change_log DETACH PARTITION {};
         ALTER TABLE audit.change_log ATTACH PARTITION audit.mine FOR VALUES FROM ({}) TO ({}); COMMIT",
        months.partition, months.from, months.until
    )));
    assert_eq!(logged(&mut client, NOTES, &insert(2)), [r#"INSERT 2: -> {"id": 2, "body": "n2"}"#; 1]);
    assert_eq!(
        one::<i64>(
            &mut client,
            "SELECT count(*) FROM audit.mine WHERE row_key = '2' AND session_role = 'postgres'",
            &[]
        ),
        1
    );
}

struct Months {
    partition: String,
    from: String,
    until: String,
}

/// The current partition and its bounds.
fn months(client: &mut Client) -> Months {
    let sql = "SELECT c.oid::regclass::text, quote_literal(date_trunc('month', now(), 'UTC')),
                      quote_literal(date_trunc('month', now() AT TIME ZONE 'UTC') + interval '1 month' || '+00')
                 FROM pg_class c WHERE c.oid = to_regclass('audit.change_log_' || to_char(now() AT TIME ZONE 'UTC', 'YYYY_MM'))";
    let row = ok(client.query_one(sql, &[]));
    Months { partition: row.get(0), from: row.get(1), until: row.get(2) }
}

/// Sessions remember what they wrote into; a partition may be detached, dropped, or come back at any time.
#[test]
fn sessions_notice_that_partitions_come_and_go() {
    let (db, mut client) = with_notes();
    let mut operator = db.superuser();
    let Months { partition, from, until } = months(&mut operator);
    let place = |client: &mut Client, id: i32| {
        ok(client.batch_execute(&insert(id)));
        let sql = "SELECT tableoid::regclass::text FROM audit.change_log WHERE table_name = 'crm.notes' AND row_key = $1::text";
        one::<String>(client, sql, &[&id.to_string()])
    };
    let default = "audit.change_log_default";
    assert_eq!(place(&mut client, 1), partition);
    ok(operator.batch_execute(&format!("ALTER TABLE audit.change_log DETACH PARTITION {partition}")));
    assert_eq!(place(&mut client, 2), default);
    ok(operator
        .batch_execute(&format!("DROP TABLE {partition}; ALTER TABLE audit.change_log DETACH PARTITION {default}")));
    let error = assert_sqlstate(client.batch_execute(&insert(3)), "55000");
    assert!(error.message().contains("no partition"), "{}", error.message());
    // "SELECT ...; makes them."
    let hint = error.hint().and_then(|hint| hint.split(';').next()).expect("it says what to do").to_owned();
    assert_eq!(
        one::<i64>(&mut operator, "SELECT count(*) FROM crm.notes", &[]),
        2,
        "a change that cannot be logged is not made"
    );
    ok(operator.batch_execute("DROP TABLE audit.change_log_default"));
    ok(operator.batch_execute(&hint));
    assert_eq!(place(&mut client, 4), partition);
    // Within a transaction of the writer too.
    ok(operator.batch_execute(&format!("DROP TABLE {partition}")));
    assert_eq!(place(&mut client, 5), default);
    ok(operator.batch_execute(&format!(
        "BEGIN; ALTER TABLE audit.change_log DETACH PARTITION {default}; CREATE TABLE audit.newest PARTITION OF audit.change_log FOR VALUES FROM ({from}) TO ({until});
         ALTER TABLE audit.newest OWNER TO thorbis_owner; COMMIT"
    )));
    assert_eq!(place(&mut client, 6), "audit.newest");
}

/// The insert goes to one table. A server must not fall over what it is not made for.
#[test]
fn a_partition_that_is_no_ordinary_table_is_refused() {
    let (db, mut client) = with_notes();
    ok(client.batch_execute(&insert(1)));
    let partition = months(&mut client).partition;
    ok(db.superuser().batch_execute(&format!(
        "ALTER TABLE audit.change_log DETACH PARTITION {partition}; ALTER TABLE audit.change_log DETACH PARTITION audit.change_log_default;
         CREATE TABLE audit.subdivided PARTITION OF audit.change_log DEFAULT PARTITION BY LIST (tenant_id);
         CREATE TABLE audit.every PARTITION OF audit.subdivided DEFAULT"
    )));
    let error = assert_sqlstate(client.batch_execute(&insert(2)), "55000");
    assert!(error.message().contains("audit.subdivided"), "{}", error.message());
    assert!(error.hint().is_some());
}

#[test]
fn a_month_without_a_partition_goes_to_the_default_one() {
    let (_db, mut client) = with_notes();
    let partition = months(&mut client).partition;
    ok(client.batch_execute(&format!("DROP TABLE {partition}")));
    ok(client.batch_execute("INSERT INTO crm.notes (id) SELECT generate_series(1, 300)"));
    assert_eq!(
        one::<i64>(&mut client, "SELECT count(*) FROM audit.change_log_default WHERE table_name = 'crm.notes'", &[]),
        300
    );
    assert_eq!(operations(&mut client, NOTES), [("INSERT".to_owned(), 300)]);
    assert_eq!(count(&mut client, NOTES), 300);
    assert_eq!(lines(&mut client, NOTES)[0], r#"INSERT 1: -> {"id": 1}"#);
}
