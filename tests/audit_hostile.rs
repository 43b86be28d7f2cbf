//! What a client may write and say of itself: the log keeps to the truth, and takes everything that the table takes.

use postgres::{Client, NoTls};
use serde_json::{Value, json};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use thorbis_tests::audit_log::{Entry, bound, log_rows};
use thorbis_tests::listing::assert_same;
use thorbis_tests::{
    A, B, Database, Dump, as_owner, assert_sqlstate, assert_sqlstate_in, describe, in_context, ok, one, set_local,
    sqlstate,
};

fn rename(client: &mut Client, before: &str, name: &str) -> Result<(), postgres::Error> {
    client.batch_execute(&format!("BEGIN; {before}; UPDATE shared.locations SET name = '{name}'; COMMIT"))
}

#[test]
fn no_claim_setting_role_or_function_changes_the_actor_the_tenant_or_the_roles() {
    let db = Database::new();
    let mut superuser = db.superuser();
    let group = db.role("group", "NOLOGIN IN ROLE thorbis_app");
    let mut client = bound(&db, "bi", &A, A.owner, &format!("thorbis_app, {group}"));
    let login: String = one(&mut client, "SELECT session_user::text", &[]);
    ok(superuser.batch_execute(
        "CREATE FUNCTION public.as_superuser(name text) RETURNS void SECURITY DEFINER LANGUAGE sql AS
             'UPDATE shared.locations SET name = $1 WHERE tenant_id = get_current_tenant_id()';
         GRANT EXECUTE ON FUNCTION public.as_superuser(text) TO PUBLIC",
    ));
    let claims =
        format!(r#"{{"sub": "{0}", "tenant_id": "{1}", "role": "service_role", "user_id": "{0}"}}"#, B.owner, B.id);
    let attempts = [
        format!("SET LOCAL request.jwt.claims = '{claims}'"),
        format!("SET LOCAL request.jwt.claim.sub = '{}'", A.manager),
        set_local(A.id, A.manager),
        set_local(B.id, B.owner),
        format!("SET LOCAL app.current_user_id = '{}'", A.manager),
        format!("SET LOCAL app.actor_id = '{}'; SET LOCAL audit.actor_id = '{}'", A.manager, A.manager),
        format!("SELECT thorbis.set_context('{}', '{}')", A.id, A.manager),
        format!("UPDATE shared.locations SET name = 'first'; SET LOCAL app.current_user_id = '{}'", A.manager),
        "SET LOCAL ROLE thorbis_platform".into(),
        "SET LOCAL SESSION AUTHORIZATION postgres".into(),
        "SET LOCAL is_superuser = on".into(),
        "SELECT 1".into(),
    ];
    let mut accepted = 0;
    for (n, attempt) in attempts.iter().enumerate() {
        let name = format!("attempt {n}");
        match rename(&mut client, attempt, &name) {
            Err(e) => {
                assert!(
                    ["28000", "42501", "55P02", "22023", "42704"].contains(&sqlstate(&e)),
                    "{attempt}: {}",
                    describe(&e)
                );
                ok(client.batch_execute("ROLLBACK"));
            }
            Ok(()) => {
                accepted += 1;
                let entry = Entry::last_of(&mut superuser, "shared.locations");
                assert_eq!(
                    (&entry.values("name")[1], entry.actor, entry.tenant),
                    (&json!(name), Some(A.owner), A.id),
                    "{attempt}"
                );
                assert_eq!((&entry.session_role, &entry.database_role), (&login, &login), "{attempt}");
            }
        }
    }
    assert!(accepted >= 2, "nothing was accepted: the test proves nothing");
    // SET ROLE is what it is, a function that runs as somebody else is not.
    ok(rename(&mut client, &format!("SET LOCAL ROLE {group}"), "as the group"));
    let entry = Entry::last_of(&mut superuser, "shared.locations");
    assert_eq!((entry.actor, entry.session_role, entry.database_role), (Some(A.owner), login.clone(), group));
    ok(client.batch_execute("SELECT public.as_superuser('by a function')"));
    let entry = Entry::last_of(&mut superuser, "shared.locations");
    assert_eq!(entry.values("name")[1], json!("by a function"));
    assert_eq!((entry.actor, entry.session_role, entry.database_role), (Some(A.owner), login.clone(), login));
}

#[test]
fn time_and_table_are_the_librarys_own() {
    let db = Database::new();
    let (mut superuser, mut app) = (db.superuser(), db.app());
    // Rows say what they like of their own times; the log has the transaction's.
    ok(in_context(&mut app, A.id, A.owner, |tx| {
        tx.execute("INSERT INTO restaurants.orders (created_at, opened_at) VALUES ('1999-01-01', '1999-01-01')", &[])
    }));
    let near = "SELECT occurred_at BETWEEN now() - interval '1 minute' AND now() FROM audit.change_log
                 WHERE table_name = 'restaurants.orders' ORDER BY occurred_at DESC, id DESC LIMIT 1";
    assert!(one::<bool>(&mut superuser, near, &[]));
    // A table of one's own that writes into the log under another's name.
    let before = log_rows(&mut superuser);
    let spec = "{\"table\": \"shared.customers\", \"tenant\": \"tenant_id\"}";
    ok(app.batch_execute("CREATE TEMP TABLE customers (tenant_id uuid, id uuid PRIMARY KEY)"));
    for (timing, function) in [
        ("AFTER INSERT", "audit_row_changes"),
        ("BEFORE TRUNCATE", "audit_truncate"),
        ("AFTER INSERT", "record_security_event"),
    ] {
        let level = if timing == "BEFORE TRUNCATE" { "STATEMENT" } else { "ROW" };
        let trigger = format!(
            "CREATE TRIGGER forge {timing} ON pg_temp.customers FOR EACH {level} EXECUTE FUNCTION public.{function}('{spec}')"
        );
        assert_sqlstate(app.batch_execute(&trigger), "42501");
        assert_sqlstate_in(app.batch_execute(&format!("SELECT public.{function}()")), &["42501", "0A000"]);
    }
    ok(app.batch_execute(&format!("INSERT INTO pg_temp.customers VALUES ('{}', gen_random_uuid())", B.id)));
    // Nor another tenant's row.
    let foreign = format!("INSERT INTO shared.locations (tenant_id, name) VALUES ('{}', 'x')", B.id);
    assert_sqlstate(in_context(&mut app, A.id, A.owner, |tx| tx.execute(&foreign, &[])), "42501");
    assert_same("the log", &before, &log_rows(&mut superuser));
}

// --- ways around a trigger

#[test]
fn rows_written_straight_into_a_partition_are_logged_under_the_tables_name() {
    let db = Database::new();
    let mut superuser = db.superuser();
    ok(superuser.batch_execute(
        "CREATE SCHEMA parts;
         CREATE TABLE parts.stock (tenant_id uuid NOT NULL, id integer NOT NULL, n integer, PRIMARY KEY (tenant_id, id)) PARTITION BY RANGE (id);
         CREATE TABLE parts.low PARTITION OF parts.stock FOR VALUES FROM (0) TO (100);
         ALTER TABLE parts.stock OWNER TO thorbis_owner; ALTER TABLE parts.low OWNER TO thorbis_owner;
         SELECT thorbis.protect('parts.stock');
         CREATE TABLE parts.high (n integer, id integer NOT NULL, tenant_id uuid NOT NULL);
         ALTER TABLE parts.high OWNER TO thorbis_owner;
         ALTER TABLE parts.stock ATTACH PARTITION parts.high FOR VALUES FROM (100) TO (200)",
    ));
    for sql in [
        "INSERT INTO parts.low VALUES ($1, 1, 1)",
        "INSERT INTO parts.high VALUES (1, 101, $1)",
        "INSERT INTO parts.stock VALUES ($1, 2, 1)",
    ] {
        ok(superuser.execute(sql, &[&A.id]));
        assert_sqlstate(
            in_context(&mut db.app(), A.id, A.owner, |tx| tx.execute(&sql.replace("stock", "low"), &[&A.id])),
            "42501",
        );
    }
    // Within a partition, and to another one.
    ok(superuser.batch_execute("UPDATE parts.low SET n = 2 WHERE id = 1; UPDATE parts.stock SET id = 102 WHERE id = 2; DELETE FROM parts.high WHERE id = 101; TRUNCATE parts.low"));
    let log = Entry::of_table(&mut superuser, "parts.stock");
    let found: Vec<_> = log.iter().map(|entry| (entry.operation.as_str(), entry.key.as_str())).collect();
    let moved = [("DELETE", "2"), ("INSERT", "102")];
    let expected = [
        ("INSERT", "1"),
        ("INSERT", "101"),
        ("INSERT", "2"),
        ("UPDATE", "1"),
        moved[0],
        moved[1],
        ("DELETE", "101"),
        ("TRUNCATE", ""),
    ];
    assert_eq!(found, expected);
}

#[test]
fn changed_keys_are_logged_row_by_row_and_history_follows_them() {
    let db = Database::new();
    let mut superuser = db.superuser();
    ok(superuser.batch_execute(&format!(
        "CREATE SCHEMA keyed;
         CREATE TABLE keyed.items (tenant_id uuid NOT NULL, id integer NOT NULL, n integer, PRIMARY KEY (tenant_id, id));
         ALTER TABLE keyed.items OWNER TO thorbis_owner; SELECT thorbis.protect('keyed.items');
         INSERT INTO keyed.items SELECT '{}', n, n FROM generate_series(1, 5) n; UPDATE keyed.items SET id = id + 100",
        A.id
    )));
    let log = Entry::of_table(&mut superuser, "keyed.items");
    let moved: Vec<_> = log[5..].iter().map(|entry| (entry.key.clone(), entry.new_key.clone())).collect();
    assert_eq!(moved, (1..=5).map(|n| (n.to_string(), Some((n + 100).to_string()))).collect::<Vec<_>>());
    assert!(log[5..].iter().all(|entry| entry.operation == "UPDATE"
        && entry.old.as_ref().is_some_and(|old| old.as_object().is_some_and(|old| old.len() == 1))));
    let history = "SELECT operation FROM audit.record_history('keyed.items', '103')";
    let history = as_owner(&db, &A, |tx| tx.query(history, &[]));
    assert_eq!(history.iter().map(|row| row.get(0)).collect::<Vec<&str>>(), ["INSERT", "UPDATE"]);
}

// --- flooding it and breaking its JSON

const PAD: &str = "
    CREATE SCHEMA pad;
    CREATE TABLE pad.notes (tenant_id uuid NOT NULL DEFAULT get_current_tenant_id(), id integer NOT NULL, n integer, body text,
        data jsonb, plain json, ssn text, said text, PRIMARY KEY (tenant_id, id));
    ALTER TABLE pad.notes OWNER TO thorbis_owner;
    SELECT thorbis.protect('pad.notes', options => '{\"not_personal\": [\"body\", \"data\", \"plain\"],
        \"pii\": [{\"column\": \"said\", \"method\": \"clear\"}], \"audit\": {\"secret\": [\"ssn\"]}}')";

fn with_notes() -> (Database, Client) {
    let db = Database::new();
    ok(db.superuser().batch_execute(PAD));
    let app = db.app();
    (db, app)
}

/// Executes as A's owner, and returns what the log has of it.
#[track_caller]
fn note(db: &Database, app: &mut Client, sql: &str) -> Entry {
    assert_eq!(ok(in_context(app, A.id, A.owner, |tx| tx.execute(sql, &[]))), 1);
    Entry::last_of(&mut db.superuser(), "pad.notes")
}

#[test]
fn huge_values_are_logged_once_or_as_their_length() {
    let (db, mut app) = with_notes();
    let large =
        "INSERT INTO pad.notes (id, body) SELECT 1, string_agg(md5(n::text), '') FROM generate_series(1, 320 * 1024) n";
    let entry = note(&db, &mut app, large);
    assert_eq!(entry.values("body")[1].as_str().map(str::len), Some(10 << 20));
    // Beside a column that changed it is not repeated.
    let entry = note(&db, &mut app, "UPDATE pad.notes SET n = 1 WHERE id = 1");
    assert_eq!(entry.new, Some(json!({"n": 1})));
    for (id, column, value) in [
        (2, "body", "repeat('x', 20 << 20)"),
        (3, "data", "to_jsonb(repeat('x', 20 << 20))"),
        (4, "plain", "to_json(repeat('x', 20 << 20))"),
    ] {
        let entry = note(&db, &mut app, &format!("INSERT INTO pad.notes (id, {column}) VALUES ({id}, {value})"));
        let logged = entry.values(column)[1].as_str().expect("it is a text").to_owned();
        assert!(logged.starts_with("[2097") && logged.ends_with(" bytes, not logged]"), "{logged}");
    }
    // Personal ones, as envelopes; in all forms.
    for (id, size) in [(5, 10), (6, 20)] {
        let entry =
            note(&db, &mut app, &format!("INSERT INTO pad.notes (id, said) VALUES ({id}, repeat('x', {size} << 20))"));
        let envelope = entry.values("said")[1].as_str().expect("it is a text").to_owned();
        let opened: String = as_owner(&db, &A, |tx| {
            Ok(one(tx, "SELECT decrypt_pii($1, 'pad.notes.said', $2)", &[&envelope, &id.to_string()]))
        });
        assert!(
            opened.len() == size << 20 || opened == format!("[{} bytes, not logged]", (size << 20) + 4),
            "{}",
            opened.len()
        );
    }
}

#[test]
fn escapes_duplicate_keys_and_odd_characters_are_kept_as_they_are() {
    let (db, mut app) = with_notes();
    let odd = [
        r"\u0000 \x00 \000 \\u0000",
        "\u{202e}txt.exe\u{202c} \u{200b}\u{feff}\u{1f468}\u{200d}\u{1f469}",
        "\u{1} \u{7f} \u{85} \u{2028} \r\n\t\u{8}\u{c}",
        r#"","operation":"DELETE","x":""#,
        "'; DROP TABLE audit.change_log; --",
        "$$ {} [] null",
        "\u{10ffff}\u{e000}",
    ];
    for (id, text) in (0..).zip(odd) {
        let sql = "INSERT INTO pad.notes (id, body, data, said, ssn) VALUES ($1, $2, jsonb_build_object($2::text, $2::text), $2, $2)";
        ok(in_context(&mut app, A.id, A.owner, |tx| tx.execute(sql, &[&id, &text])));
        let entry = Entry::last_of(&mut db.superuser(), "pad.notes");
        assert_eq!((entry.operation.as_str(), &entry.values("body")[1]), ("INSERT", &json!(text)));
        let mut data = serde_json::Map::new();
        data.insert(text.to_owned(), json!(text));
        assert_eq!(entry.values("data")[1], Value::Object(data));
        // What is secret or personal is not there in clear.
        assert_eq!(entry.values("ssn")[1], json!("changed"));
        let envelope = entry.values("said")[1].as_str().expect("it is a text").to_owned();
        let opened: String = as_owner(&db, &A, |tx| {
            Ok(one(tx, "SELECT decrypt_pii($1, 'pad.notes.said', $2)", &[&envelope, &id.to_string()]))
        });
        assert_eq!(opened, text);
    }
    let entry = note(
        &db,
        &mut app,
        r#"INSERT INTO pad.notes (id, data, plain) VALUES (20, '{"a": 1, "a": {"b": 2, "b": 3}}', '{"a": 1, "a": 2, "tenant_id": "x"}')"#,
    );
    assert_eq!(
        [entry.values("data")[1].clone(), entry.values("plain")[1].clone()],
        [json!({"a": {"b": 3}}), json!({"a": 2, "tenant_id": "x"})]
    );
    assert_eq!((entry.tenant, entry.values("tenant_id")[1].clone()), (A.id, json!(A.id.to_string())));
    // A column can be called anything.
    ok(db.superuser().batch_execute(
        r#"ALTER TABLE pad.notes ADD "old_values" text, ADD """,{}'\ " text, ADD "ключ" integer DEFAULT 7"#,
    ));
    let entry = note(&db, &mut app, r#"INSERT INTO pad.notes (id, "old_values", """,{}'\ ") VALUES (21, 'x', 'y')"#);
    let columns: Vec<String> =
        entry.new.as_ref().and_then(Value::as_object).expect("an object").keys().cloned().collect();
    assert!(columns.contains(&"\",{}'\\ ".to_owned()) && columns.contains(&"ключ".to_owned()), "{columns:?}");
}

/// JSON that PostgreSQL stores as json and cannot turn into jsonb must not keep anybody from their work.
#[test]
fn json_that_cannot_be_jsonb_does_not_refuse_the_change() {
    let (db, mut app) = with_notes();
    for (id, json) in [(1, r#"{"a": "\u0000"}"#), (2, r#"["\ud800"]"#), (3, "1e1000000")] {
        let entry = note(&db, &mut app, &format!("INSERT INTO pad.notes (id, plain) VALUES ({id}, '{json}')"));
        // As a text then.
        assert_eq!(entry.values("plain")[1], json!(json));
    }
}

/// A key that the table's own index takes, and whose text is several times as long.
#[test]
fn keys_of_any_length_are_logged_and_found() {
    let db = Database::new();
    let mut superuser = db.superuser();
    ok(superuser.batch_execute(
        "CREATE SCHEMA keyed;
         CREATE TABLE keyed.bytes (tenant_id uuid NOT NULL, id bytea, n integer, PRIMARY KEY (tenant_id, id));
         CREATE TABLE keyed.texts (tenant_id uuid NOT NULL, a text, b text, n integer, PRIMARY KEY (tenant_id, a, b));
         ALTER TABLE keyed.bytes OWNER TO thorbis_owner; ALTER TABLE keyed.texts OWNER TO thorbis_owner;
         SELECT thorbis.protect('keyed.bytes'); SELECT thorbis.protect('keyed.texts', options => '{\"not_personal\": [\"a\", \"b\"]}')",
    ));
    let random = "(SELECT string_agg(sha256(n::text::bytea), '' ORDER BY n) FROM generate_series(1, 83) n)";
    let insert = format!(
        "INSERT INTO keyed.bytes VALUES ($1, {random});
         INSERT INTO keyed.texts SELECT $1, string_agg(chr(1 + get_byte({random}, i) % 31), '' ORDER BY i), '\"' FROM generate_series(0, 2599) i"
    );
    ok(superuser.batch_execute(&insert.replace("$1", &format!("'{}'", A.id))));
    ok(superuser
        .batch_execute("UPDATE keyed.bytes SET n = 1, id = id || '\\x00'; UPDATE keyed.texts SET n = 1, b = ''"));
    for table in ["keyed.bytes", "keyed.texts"] {
        let [inserted, updated] = Entry::of_table(&mut superuser, table).try_into().expect("two changes");
        assert!(
            inserted.key.len() > 5000
                && updated.key == inserted.key
                && updated.new_key.is_some_and(|key| key.len() > 5000)
        );
        let history = format!("SELECT operation FROM audit.record_history('{table}', $1::text)");
        let history = as_owner(&db, &A, |tx| tx.query(&history, &[&inserted.key]));
        assert_eq!(history.iter().map(|row| row.get(0)).collect::<Vec<&str>>(), ["INSERT", "UPDATE"], "{table}");
    }
}

#[test]
fn what_a_client_says_of_itself_is_cut_and_stands_in_its_own_columns() {
    let (db, mut app) = with_notes();
    let mut write = |id: i32, before: &str| {
        ok(app.batch_execute(&format!("BEGIN; {}; {before}", set_local(A.id, A.owner))));
        ok(app.execute("INSERT INTO pad.notes (id) VALUES ($1)", &[&id]));
        ok(app.batch_execute("COMMIT; RESET application_name"));
        Entry::last_of(&mut db.superuser(), "pad.notes")
    };
    let entry = write(1, "SET LOCAL app.request_id = 'r-1'; SET LOCAL application_name = 'till 3'");
    assert_eq!((entry.request_id.as_deref(), entry.application.as_deref()), (Some("r-1"), Some("till 3")));
    let entry = write(
        2,
        "SELECT set_config('app.request_id', repeat('€', 3000000), true), set_config('application_name', repeat('x', 1000), true)",
    );
    assert_eq!(entry.request_id, Some("€".repeat(42)), "128 bytes, and no half character");
    assert_eq!(entry.application.map(|name| name.len()), Some(63));
    let hostile = "a\u{202e}\n\t\"{},NULL\\'";
    let entry =
        write(3, &format!("SET LOCAL app.request_id = E'{}'", hostile.replace('\\', "\\\\").replace('\'', "\\'")));
    assert_eq!(entry.request_id.as_deref(), Some(hostile));
    let entry = write(4, "SET LOCAL app.request_id = ''; SET LOCAL application_name = ''");
    assert_eq!((entry.request_id, entry.application), (None, None));
    // Bytes that are no text in any encoding come only with the start-up packet.
    let mut psql = db.cluster().program("psql");
    psql.env("PGOPTIONS", OsStr::from_bytes(b"-c app.request_id=x\xff\xfe\xc3"))
        .env("PGAPPNAME", OsStr::from_bytes(b"till\xff\xfe"));
    psql.args(["-X", "-v", "ON_ERROR_STOP=1", "-U", "app_login", "-d", &db.name, "-c"]);
    psql.arg(format!("BEGIN; {}; INSERT INTO pad.notes (id) VALUES (5); COMMIT", set_local(A.id, A.owner)));
    let output = psql.output().expect("psql is installed");
    let entry = Entry::last_of(&mut db.superuser(), "pad.notes");
    if output.status.success() {
        assert_eq!(entry.key, "5");
        assert!(entry.request_id.is_some_and(|id| id.starts_with('x')));
    } else {
        assert_eq!(entry.key, "4");
    }
    // The log can be read and dumped.
    ok(db.superuser().query("SELECT t::text FROM audit.change_log t", &[]));
}

// --- what it does not depend on

#[test]
fn log_and_its_verification_do_not_depend_on_the_settings_of_a_session() {
    let db = Database::new();
    let mut superuser = db.superuser();
    ok(superuser.batch_execute(
        "CREATE SCHEMA odd; CREATE TYPE odd.pair AS (a float8, b timestamptz);
         CREATE TABLE odd.types (tenant_id uuid NOT NULL, at timestamptz NOT NULL, d date NOT NULL, n serial, ts timestamp, iv interval,
             f4 real, f8 double precision, b bytea, m money, x xml, p odd.pair, ranges tstzrange, times timestamptz[], t timetz,
             ip inet, j json, PRIMARY KEY (tenant_id, at, d, n));
         ALTER TABLE odd.types OWNER TO thorbis_owner;
         SELECT thorbis.protect('odd.types', options => '{\"not_personal\": [\"x\", \"p\", \"times\", \"ip\", \"j\"]}')",
    ));
    let usual = "DateStyle = 'ISO, MDY'; TimeZone = 'UTC'; IntervalStyle = 'postgres'; bytea_output = 'hex'; extra_float_digits = 1; xmlbinary = 'base64'; lc_monetary = 'C'";
    let odd = "DateStyle = 'SQL, DMY'; TimeZone = 'Asia/Kathmandu'; IntervalStyle = 'sql_standard'; bytea_output = 'escape'; extra_float_digits = -15; xmlbinary = 'hex'; lc_monetary = 'C'";
    let set = |client: &mut Client, settings: &str| {
        ok(client.batch_execute(&settings.split("; ").map(|s| format!("SET {s};")).collect::<String>()));
    };
    let insert = "INSERT INTO odd.types (tenant_id, at, d, ts, iv, f4, f8, b, m, x, p, ranges, times, t, ip, j)
        VALUES ($1, '2024-02-03 04:05:06.123456+00', '2024-02-03'::date, make_timestamp(2024, 2, 3, 4, 5, 6.5), make_interval(days => 3, hours => -4),
            0.1::real, 0.1::float8 + 0.2::float8, decode('00ff5c', 'hex'), 1234.5::numeric::money, '<a/>', ROW(0.1::float8 + 0.2::float8, 'epoch'::timestamptz)::odd.pair,
            tstzrange('2024-02-03 04:05:06+00', NULL), ARRAY['2024-02-03 04:05:06+00'::timestamptz], make_time(4, 5, 6)::text::timetz AT TIME ZONE 'UTC', '10.0.0.1/8', '{\"b\": 1, \"a\": 2}')";
    set(&mut superuser, usual);
    ok(superuser.execute(insert, &[&A.id]));
    set(&mut superuser, odd);
    ok(superuser.execute(insert, &[&A.id]));
    set(&mut superuser, usual);
    let texts = "SELECT replace(row_key, '\"2\"', '\"1\"'), (new_values - 'n' - 't')::text FROM audit.change_log WHERE table_name = 'odd.types'";
    let texts: Vec<(String, String)> =
        ok(superuser.query(texts, &[])).iter().map(|row| (row.get(0), row.get(1))).collect();
    assert_eq!(texts.len(), 2);
    assert_eq!(texts[0], texts[1]);
    // Sealed under some settings, verified under others.
    let mut other = db.superuser();
    for (sealing, verifying) in [(usual, odd), (odd, usual)] {
        set(&mut superuser, sealing);
        set(&mut other, verifying);
        ok(superuser.execute(insert, &[&A.id]));
        ok(superuser.batch_execute("SELECT audit.seal()"));
        for client in [&mut other, &mut superuser] {
            assert_eq!(
                one::<String>(client, "SELECT string_agg(finding || detail, ' ') FROM audit.verify()", &[]).get(..2),
                Some("ok")
            );
        }
    }
}

#[test]
fn history_is_found_under_the_same_name_after_rename_dump_and_restore() {
    let db = Database::new();
    let mut superuser = db.superuser();
    ok(superuser.batch_execute("ALTER TABLE shared.locations RENAME TO branches"));
    ok(superuser
        .batch_execute("SELECT thorbis.repair(); UPDATE shared.branches SET name = 'renamed'; SELECT audit.seal()"));
    let history = |client: &mut Client, table: &str| -> Vec<(String, String)> {
        let sql = format!(
            "SELECT table_name, operation FROM audit.record_history('{table}', (SELECT id FROM {table} LIMIT 1))"
        );
        let rows = ok(in_context(client, A.id, A.owner, |tx| tx.query(&sql, &[])));
        rows.iter().map(|row| (row.get(0), row.get(1))).collect()
    };
    let names = |operations: &[&str]| -> Vec<_> {
        operations.iter().map(|o| ("shared.locations".to_owned(), (*o).to_owned())).collect()
    };
    assert_eq!(history(&mut db.app(), "shared.branches"), names(&["INSERT", "UPDATE"]));
    let before = log_rows(&mut superuser);
    let oid = "SELECT 'shared.branches'::regclass::oid::bigint";
    let old_oid: i64 = one(&mut superuser, oid, &[]);

    let server = Dump::of(db.cluster(), &db.name, "postgres", &[]).restored_into_an_empty_server();
    let mut restored = server.connect("restored", "postgres");
    assert_same("the log before the dump and after the restore", &before, &log_rows(&mut restored));
    assert_ne!(one::<i64>(&mut restored, oid, &[]), old_oid, "the number is the same: the test proves nothing");
    assert_eq!(one::<String>(&mut restored, "SELECT string_agg(finding, ' ') FROM audit.verify()", &[]), "ok");
    ok(restored.batch_execute(
        "SELECT thorbis.repair(); CREATE ROLE restored_app LOGIN; SELECT thorbis.grant_app('restored_app')",
    ));
    let mut app = server.config("restored", "restored_app").connect(NoTls).expect("it connects");
    assert_eq!(history(&mut app, "shared.branches"), names(&["INSERT", "UPDATE"]));
    ok(in_context(&mut app, A.id, A.owner, |tx| tx.execute("UPDATE shared.branches SET name = 'restored'", &[])));
    assert_eq!(history(&mut app, "shared.branches"), names(&["INSERT", "UPDATE", "UPDATE"]));
    let systems = "SELECT count(DISTINCT system_id) FROM audit.change_log WHERE table_name = 'shared.locations'";
    assert_eq!(one::<i64>(&mut restored, systems, &[]), 2);
    ok(restored.batch_execute("SELECT audit.seal()"));
    assert_eq!(one::<String>(&mut restored, "SELECT string_agg(finding, ' ') FROM audit.verify()", &[]), "ok");
}
