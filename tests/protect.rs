//! thorbis.protect() itself: what it refuses and how it says so, options over several calls, and odd names. What voids
//! protection is in risks.rs.

use postgres::Client;
use thorbis_tests::listing::{assert_same, objects};
use thorbis_tests::{A, B, Database, assert_sqlstate, in_context, ok, one};

/// The catalog and the registry.
fn listing(client: &mut Client) -> Vec<String> {
    let mut lines = objects(client);
    let registry =
        "SELECT concat_ws(' ', 'protected', table_id, resource, options) FROM thorbis.protected_tables ORDER BY 1";
    lines.extend(ok(client.query(registry, &[])).iter().map(|row| row.get::<_, String>(0)));
    lines
}

/// Refused with the SQLSTATE and a hint that says something; the catalog stays as it was.
#[track_caller]
fn refused(client: &mut Client, before: &[String], call: &str, code: &str, hint: &str) {
    println!("{call}");
    let error = assert_sqlstate(client.batch_execute(&format!("SELECT {call}")), code);
    let said = error.hint().unwrap_or_default();
    assert!(said.contains(hint), "{call}: the hint says {said:?}, not {hint:?}");
    assert_same(call, before, &listing(client));
}

/// The statements that a call would run or has run.
fn statements(client: &mut Client, call: &str) -> Vec<String> {
    ok(client.query(&format!("SELECT {call}"), &[])).iter().map(|row| row.get(0)).collect()
}

/// A schema with one clean table, crm.notes.
const NOTES: &str = "
    CREATE SCHEMA crm AUTHORIZATION thorbis_owner;
    CREATE TABLE crm.notes (tenant_id uuid, id uuid DEFAULT gen_random_uuid(), body text, updated_at timestamptz,
                            PRIMARY KEY (tenant_id, id));
    ALTER TABLE crm.notes OWNER TO thorbis_owner";

fn with_notes() -> (Database, Client) {
    let db = Database::new();
    let mut client = db.superuser();
    ok(client.batch_execute(NOTES));
    (db, client)
}

fn options(client: &mut Client, table: &str) -> serde_json::Value {
    one(client, "SELECT options FROM thorbis.protected_tables WHERE table_id = $1::text::regclass", &[&table])
}

// --- refusals

#[test]
fn what_is_no_table_of_ones_own_is_refused() {
    let (_db, mut client) = with_notes();
    ok(client.batch_execute(
        "CREATE TABLE crm.events (tenant_id uuid, at date, PRIMARY KEY (tenant_id, at)) PARTITION BY RANGE (at);
         CREATE TABLE crm.events_old PARTITION OF crm.events FOR VALUES FROM ('2020-01-01') TO ('2021-01-01');
         CREATE VIEW crm.a_view AS SELECT * FROM crm.notes;
         CREATE MATERIALIZED VIEW crm.a_copy AS SELECT * FROM crm.notes;
         CREATE SEQUENCE crm.a_sequence;
         CREATE INDEX an_index ON crm.notes (body);
         CREATE TYPE crm.a_type AS (tenant_id uuid);
         CREATE FOREIGN DATA WRAPPER nothing; CREATE SERVER nowhere FOREIGN DATA WRAPPER nothing;
         CREATE FOREIGN TABLE crm.far_away (tenant_id uuid) SERVER nowhere;
         CREATE TEMPORARY TABLE a_temporary (tenant_id uuid);
         CREATE TABLE crm.dropped (tenant_id uuid)",
    ));
    let gone: u32 = one(&mut client, "SELECT 'crm.dropped'::regclass::oid", &[]);
    ok(client.batch_execute("DROP TABLE crm.dropped"));
    let before = listing(&mut client);
    for (table, code, hint) in [
        ("'crm.events_old'", "42809", "thorbis.protect('crm.events')"),
        ("'crm.a_view'", "42809", "security_invoker"),
        ("'crm.a_copy'", "42809", "Protect the tables beneath it"),
        ("'crm.a_sequence'", "42809", "Protect"),
        ("'crm.an_index'", "42809", "Protect"),
        ("'crm.a_type'", "42809", "Protect"),
        ("'crm.far_away'", "42809", "Protect"),
        ("'a_temporary'", "42P16", "create an ordinary one"),
        ("'pg_catalog.pg_class'", "42P16", "your own schemas"),
        ("'information_schema.sql_features'", "42P16", "your own schemas"),
        ("'thorbis.migrations'", "42P16", "your own schemas"),
        ("'thorbis.protected_tables'", "42P16", "your own schemas"),
        (&format!("{gone}::oid::regclass"), "42P01", "existing table"),
    ] {
        refused(&mut client, &before, &format!("thorbis.protect({table})"), code, hint);
        refused(&mut client, &before, &format!("thorbis.protect({table}, dry_run => true)"), code, hint);
    }
}

#[test]
fn rows_and_columns_that_do_not_fit_are_refused() {
    let (_db, mut client) = with_notes();
    ok(client.batch_execute(
        "CREATE TABLE crm.rows_without AS SELECT 1 AS id;
         CREATE TABLE crm.rows_with_null AS SELECT NULL::uuid AS tenant_id;
         CREATE TABLE crm.tenant_is_text (tenant_id text);
         CREATE TABLE crm.tenant_is_number (tenant_id bigint)",
    ));
    let before = listing(&mut client);
    for (call, code, hint) in [
        ("thorbis.protect('crm.rows_without')", "23502", "ALTER TABLE crm.rows_without ADD COLUMN tenant_id uuid"),
        ("thorbis.protect('crm.rows_with_null')", "23502", "UPDATE crm.rows_with_null SET tenant_id"),
        ("thorbis.protect('crm.tenant_is_text')", "42804", "uuid"),
        ("thorbis.protect('crm.tenant_is_number')", "42804", "uuid"),
        ("thorbis.unprotect('crm.notes')", "55000", "thorbis.protect('crm.notes')"),
        ("thorbis.protect('crm.notes', options => '[]')", "22023", "Options:"),
        ("thorbis.protect('crm.notes', options => '{\"busines_hours\": true}')", "22023", "Options:"),
        ("thorbis.protect('crm.notes', options => '{\"actions\": [\"truncate\"]}')", "22023", "Options:"),
        ("thorbis.protect('crm.notes', 'No Word')", "22023", "Options:"),
        ("thorbis.protect('crm.notes', options => '{\"update_columns\": [\"nothing\"]}')", "42703", "spelling"),
        (
            "thorbis.protect('crm.notes', options => '{\"sensitive\": {\"column\": \"nothing\", \"key\": \"k\"}}')",
            "42703",
            "spelling",
        ),
    ] {
        refused(&mut client, &before, call, code, hint);
    }
}

#[test]
fn tenant_and_primary_key_are_nobodys_to_update() {
    let (_db, mut client) = with_notes();
    let before = listing(&mut client);
    for column in ["tenant_id", "id"] {
        let call =
            format!("thorbis.protect('crm.notes', options => '{{\"update_columns\": [\"body\", \"{column}\"]}}')");
        refused(&mut client, &before, &call, "22023", "");
    }
    let own = "{\"own_rows\": {\"user_column\": \"id\", \"update_columns\": [\"tenant_id\"]}}";
    refused(&mut client, &before, &format!("thorbis.protect('crm.notes', options => '{own}')"), "22023", "");
}

/// A trigger of the required name that does something else would leave the rows without their guard.
#[test]
fn taken_trigger_name_is_refused() {
    let (_db, mut client) = with_notes();
    ok(client.batch_execute(
        "CREATE FUNCTION crm.mine() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
         CREATE TRIGGER update_notes_tenant_guard BEFORE UPDATE ON crm.notes FOR EACH ROW EXECUTE FUNCTION crm.mine()",
    ));
    let before = listing(&mut client);
    refused(&mut client, &before, "thorbis.protect('crm.notes')", "42710", "update_notes_tenant_guard");
    ok(client.batch_execute("ALTER TRIGGER update_notes_tenant_guard ON crm.notes RENAME TO mine"));
    ok(client.batch_execute("SELECT thorbis.protect('crm.notes')"));
}

#[test]
fn who_does_not_own_the_table_protects_nothing() {
    let (_db, mut client) = with_notes();
    ok(client.batch_execute("GRANT USAGE ON SCHEMA crm TO thorbis_platform"));
    let before = listing(&mut client);
    ok(client.batch_execute("SET ROLE thorbis_platform"));
    let error = assert_sqlstate(client.batch_execute("SELECT thorbis.protect('crm.notes')"), "42501");
    assert!(error.hint().is_some_and(|hint| hint.contains("owner")), "{:?}", error.hint());
    ok(client.batch_execute("RESET ROLE"));
    assert_same("a refused protection", &before, &listing(&mut client));
}

// --- options over several calls

#[test]
fn options_left_out_stay_and_an_empty_object_resets_them() {
    let (_db, mut client) = with_notes();
    let given =
        "{\"business_hours\": true, \"update_columns\": [\"body\"], \"policies\": {\"insert\": \"anybody_writes\"}}";
    ok(client.batch_execute(&format!("SELECT thorbis.protect('crm.notes', 'memos', '{given}')")));
    let (kept, before) = (options(&mut client, "crm.notes"), listing(&mut client));
    assert_eq!(kept["business_hours"], true);
    for call in [
        "thorbis.protect('crm.notes')",
        "thorbis.protect('crm.notes', options => NULL)",
        "thorbis.protect('crm.notes', 'memos')",
        "thorbis.protect('crm.notes', dry_run => true)",
    ] {
        assert_eq!(statements(&mut client, call), Vec::<String>::new(), "{call}");
    }
    assert_same("protecting again without options", &before, &listing(&mut client));
    // Another resource alone keeps the options too.
    assert!(!statements(&mut client, "thorbis.protect('crm.notes', 'papers')").is_empty());
    assert_eq!(options(&mut client, "crm.notes"), kept);
    assert!(!statements(&mut client, "thorbis.protect('crm.notes', options => '{}')").is_empty());
    assert_eq!(options(&mut client, "crm.notes")["business_hours"], false);
    let policies: Vec<String> = one(
        &mut client,
        "SELECT array_agg(polname::text ORDER BY 1) FROM pg_policy WHERE polrelid = 'crm.notes'::regclass",
        &[],
    );
    let plain = ["notes_create", "notes_delete", "notes_read", "notes_update", "tenant_isolation_notes"];
    assert_eq!(policies.iter().map(String::as_str).collect::<std::collections::BTreeSet<_>>(), plain.into());
}

#[test]
fn another_default_of_the_tenant_is_replaced() {
    for default in ["gen_random_uuid()", "'00000000-0000-0000-0000-000000000000'", "get_current_user_id()", "NULL"] {
        let (db, mut client) = with_notes();
        ok(client.batch_execute(&format!("ALTER TABLE crm.notes ALTER tenant_id SET DEFAULT {default}")));
        ok(client.batch_execute("SELECT thorbis.protect('crm.notes')"));
        let printed: String = one(
            &mut client,
            "SELECT pg_get_expr(adbin, adrelid) FROM pg_attrdef WHERE adrelid = 'crm.notes'::regclass AND adnum = 1",
            &[],
        );
        assert!(printed.contains("get_current_tenant_id()"), "{default}: {printed}");
        assert_eq!(statements(&mut client, "thorbis.protect('crm.notes')"), Vec::<String>::new());
        let written = in_context(&mut db.app(), A.id, A.owner, |tx| {
            tx.query_one("INSERT INTO crm.notes (body) VALUES ('x') RETURNING tenant_id", &[])
        });
        assert_eq!(ok(written).get::<_, uuid::Uuid>(0), A.id);
    }
}

#[test]
fn only_a_timestamptz_is_kept_by_the_trigger() {
    let triggers =
        "SELECT count(*) FROM pg_trigger WHERE tgrelid = 'crm.notes'::regclass AND tgname = 'set_updated_at_notes'";
    for (data_type, expected) in [("timestamptz", 1), ("text", 0), ("timestamp", 0), ("bigint", 0)] {
        let (db, mut client) = with_notes();
        ok(client.batch_execute(&format!(
            "ALTER TABLE crm.notes DROP COLUMN updated_at, ADD COLUMN updated_at {data_type};
             SELECT thorbis.protect('crm.notes')"
        )));
        assert_eq!(one::<i64>(&mut client, triggers, &[]), expected, "{data_type}");
        ok(in_context(&mut db.app(), A.id, A.owner, |tx| {
            tx.batch_execute("INSERT INTO crm.notes (body) VALUES ('x'); UPDATE crm.notes SET body = 'y'")
        }));
    }
}

// --- names

/// Quotes, spaces, capitals, semicolons: each printed statement runs as it is, and nothing else is protected.
#[test]
fn odd_names_are_refused_and_protected_like_others() {
    let db = Database::new();
    let mut client = db.superuser();
    ok(client.batch_execute(
        r#"CREATE SCHEMA "My ""Schema"; ALTER SCHEMA "My ""Schema" OWNER TO thorbis_owner;
           CREATE TABLE "My ""Schema"."T'able; DROP" ("Ten ant" uuid, "I D" uuid DEFAULT gen_random_uuid(), "Col""umn" text,
               CONSTRAINT "Key's" PRIMARY KEY ("I D"), CONSTRAINT "U""nique" UNIQUE ("Col""umn"))"#,
    ));
    let call = r#"thorbis.protect('"My ""Schema"."T''able; DROP"', options => '{"tenant_column": "Ten ant"}')"#;
    let before = listing(&mut client);
    refused(&mut client, &before, call, "55000", "accept_risks");
    let error = assert_sqlstate(client.batch_execute(&format!("SELECT {call}")), "55000");
    assert!(error.message().contains(r#""My ""Schema"."T'able; DROP""#), "{}", error.message());
    // The detail has a line for each risk, which ends with what to run.
    for line in error.detail().unwrap_or_default().lines() {
        let (_, remedy) = line.split_once("). ").unwrap_or_else(|| panic!("no remedy: {line}"));
        ok(client.batch_execute(remedy));
    }
    let dry = statements(&mut client, &call.replace("')", "', dry_run => true)"));
    assert_eq!(statements(&mut client, call), dry, "the dry run prints what is done");
    assert_eq!(statements(&mut client, call), Vec::<String>::new());
    let table = r#""My ""Schema"."T'able; DROP""#;
    for tenant in [&A, &B] {
        let insert = format!(r#"INSERT INTO {table} ("Col""umn") VALUES ('x') RETURNING "Ten ant""#);
        let written = ok(in_context(&mut db.app(), tenant.id, tenant.owner, |tx| tx.query_one(&insert, &[])));
        assert_eq!(written.get::<_, uuid::Uuid>(0), tenant.id);
        let seen = format!(r#"SELECT count(*) FROM {table}"#);
        assert_eq!(ok(in_context(&mut db.app(), tenant.id, tenant.owner, |tx| Ok(one::<i64>(tx, &seen, &[])))), 1);
    }
    let errors = "SELECT count(*) FROM thorbis.doctor() WHERE severity = 'error'";
    assert_eq!(one::<i64>(&mut client, errors, &[]), 0);
    ok(client.batch_execute(r#"SELECT thorbis.unprotect('"My ""Schema"."T''able; DROP"')"#));
    let seen = in_context(&mut db.app(), A.id, A.owner, |tx| tx.query(&format!("SELECT 1 FROM {table}"), &[]));
    assert_sqlstate(seen, "42501");
}

/// Names as long as PostgreSQL allows: those derived from them stay different.
#[test]
fn long_names_do_not_collide() {
    let (_db, mut client) = with_notes();
    let (a, b) = (format!("{}a", "x".repeat(62)), format!("{}b", "x".repeat(62)));
    for name in [&a, &b] {
        ok(client.batch_execute(&format!(
            "CREATE TABLE crm.{name} (tenant_id uuid, updated_at timestamptz); ALTER TABLE crm.{name} OWNER TO thorbis_owner;
             SELECT thorbis.protect('crm.{name}')"
        )));
        assert_eq!(statements(&mut client, &format!("thorbis.protect('crm.{name}')")), Vec::<String>::new());
    }
}
