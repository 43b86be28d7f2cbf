//! No clear value and no key is anywhere beneath the data directory, in the server's log or in a dump, whatever was done
//! with it; and a dump is worth nothing without the keyring. On clusters of their own.

use postgres::Transaction;
use std::path::{Path, PathBuf};
use thorbis_tests::traces::{forms, hex, holding};
use thorbis_tests::{
    A, Cluster, Dump, Keyring, KeyringFile, assert_sqlstate, assert_sqlstate_in, in_context, make_database, ok, one,
};
use uuid::Uuid;

const DATABASE: &str = "shop";

/// What docs/SECURITY.md advises, and everything else that makes the server talk.
const SETTINGS: &[&str] = &[
    "wal_level=logical",
    "full_page_writes=on",
    "log_statement=all",
    "log_duration=on",
    "log_min_messages=debug2",
    "log_error_verbosity=verbose",
    "log_parameter_max_length=0",
    "log_parameter_max_length_on_error=0",
];

// --- values that are recognised

/// Stands in every address and every number that is written.
const ADDRESS: &str = "zq7xvk9";
const NUMBER: &str = "7319402586";
/// Stands in a column that is kept in clear: what finds nothing else must find this.
const CONTROL: &str = "zq8ctrl5";
const LOGGED: &str = "zq8logged";

fn address(what: &str) -> String {
    format!("{ADDRESS}-{what}@plain.example")
}

fn number(n: u32) -> String {
    format!("+{NUMBER}{n:02}")
}

// --- what is done with them

/// One statement with its values bound, on behalf of A's owner.
fn run(app: &mut postgres::Client, sql: &str, values: &[&str]) -> Result<u64, postgres::Error> {
    let values: Vec<&(dyn postgres::types::ToSql + Sync)> = values.iter().map(|value| value as _).collect();
    in_context(app, A.id, A.owner, |tx| tx.execute(sql, &values))
}

fn rolled_back(app: &mut postgres::Client, sql: &str, values: &[&str]) {
    let values: Vec<&(dyn postgres::types::ToSql + Sync)> = values.iter().map(|value| value as _).collect();
    let mut tx = ok(app.transaction());
    ok(tx.execute("SELECT thorbis.set_context($1, $2)", &[&A.id, &A.owner]));
    ok(tx.execute(sql, &values));
    ok(tx.rollback());
}

/// Inserts, updates, deletes and rolls back, through the table and its views.
fn business(server: &Cluster, table: &str) {
    let mut app = server.connect(DATABASE, "app_login");
    let columns = "(email, phone, first_name, last_name) VALUES ($1, $2, 'A', 'B')";
    let mut n = if table.ends_with("users") { 50 } else { 0 };
    let mut next = |what: &str| {
        n += 1;
        (address(&format!("{what}{n}")), number(n))
    };
    for relation in [table.to_owned(), format!("{table}_pii")] {
        let (kept, kept_number) = next("kept");
        ok(run(&mut app, &format!("INSERT INTO {relation} {columns}"), &[&kept, &kept_number]));
        let (lost, lost_number) = next("lost");
        rolled_back(&mut app, &format!("INSERT INTO {relation} {columns}"), &[&lost, &lost_number]);
        let (changed, changed_number) = next("changed");
        let id: Uuid = ok(in_context(&mut app, A.id, A.owner, |tx| {
            Ok(one(tx, &format!("INSERT INTO {relation} {columns} RETURNING id"), &[&changed, &changed_number]))
        }));
        let update = format!("UPDATE {relation} SET email = $1, phone = $2 WHERE id = '{id}'");
        let (to, to_number) = next("to");
        ok(run(&mut app, &update, &[&to, &to_number]));
        let (undone, undone_number) = next("undone");
        rolled_back(&mut app, &update, &[&undone, &undone_number]);
        let (gone, gone_number) = next("gone");
        ok(run(&mut app, &format!("INSERT INTO {relation} {columns}"), &[&gone, &gone_number]));
        ok(run(
            &mut app,
            &format!("DELETE FROM {relation} WHERE id IN (SELECT thorbis.find_by_pii('{table}', 'email', $1))"),
            &[&gone],
        ));
        let (saved, saved_number) = next("savepoint");
        ok(in_context(&mut app, A.id, A.owner, |tx| {
            let mut inner = tx.transaction()?;
            inner.execute(&format!("INSERT INTO {relation} {columns}"), &[&saved, &saved_number])?;
            inner.rollback()
        }));
        // Reading: clear values are in memory and on the connection only.
        for view in ["pii", "masked"] {
            ok(run(
                &mut app,
                &format!("SELECT email, phone FROM {table}_{view} WHERE email >= $1 ORDER BY email, phone"),
                &[&kept],
            ));
        }
        errors(&mut app, &relation, &kept);
    }
    imports(&mut app, table);
}

/// Statements that fail with a value bound to them: the server logs each.
fn errors(app: &mut postgres::Client, relation: &str, taken: &str) {
    let insert = format!("INSERT INTO {relation} (email, phone, first_name, last_name) VALUES ($1, $2, 'A', 'B')");
    let digits = number(99);
    assert_sqlstate(run(app, &insert, &[&taken.to_uppercase(), &digits]), "23505");
    assert_sqlstate(run(app, &insert, &[&format!("{ADDRESS}-malformed"), &digits]), "23514");
    assert_sqlstate(run(app, &insert, &[&address("x***"), &digits]), "22023");
    let divided = insert.replace("'A'", "(1 / length(substr($1, 1, 0)))::text");
    assert_sqlstate(run(app, &divided, &[&address("divided"), &digits]), "22012");
    let checked = insert.replace("first_name", "settings").replace("'A'", "'[]'");
    assert_sqlstate_in(run(app, &checked, &[&address("checked"), &digits]), &["23514", "23502"]);
    let raised = format!("{insert} RETURNING 1 / (length($1) - length($1))");
    assert_sqlstate(run(app, &raised, &[&address("raised"), &digits]), "22012");
}

fn imports(app: &mut postgres::Client, table: &str) {
    let row = |n: u32| {
        format!(
            r#"{{"email": "{}", "phone": "{}", "first_name": "I", "last_name": "I"}}"#,
            address(&format!("json{n}")),
            number(n)
        )
    };
    let import = format!("SELECT thorbis.import_rows('{table}', $1::text::jsonb)");
    ok(run(app, &import, &[&format!("[{}, {}]", row(90), row(91))]));
    assert_sqlstate(run(app, &import, &[&format!("[{}, {}]", row(92), row(91))]), "23505");
    ok(run(app, "SELECT encrypt_pii($1), pii_blind_index($1, 'shared.customers.email')", &[&address("function")]));
    ok(run(app, "SELECT decrypt_pii(encrypt_pii($1))", &[&address("round")]));
    ok(run(app, "SELECT thorbis.find_customer_by_email($1)", &[&address("sought")]));
}

/// What a superuser does without a context; and a row with everything missing, whose values PostgreSQL would print.
fn by_superuser(server: &Cluster) {
    let mut superuser = server.connect(DATABASE, "postgres");
    let insert =
        "INSERT INTO shared.customers (tenant_id, email, phone, first_name, last_name) VALUES ($1, $2, $3, $4, 'S')";
    ok(superuser.execute(insert, &[&A.id, &address("superuser"), &number(95), &"S"]));
    let missing = superuser.execute(insert, &[&A.id, &address("missing"), &number(96), &None::<&str>]);
    assert_sqlstate(missing, "23502");
    let orphan = superuser.execute(insert, &[&Uuid::new_v4(), &address("orphan"), &number(97), &"S"]);
    assert_sqlstate(orphan, "23503");
    ok(superuser.execute("UPDATE shared.customers SET id = gen_random_uuid() WHERE last_name = 'S'", &[]));
    for sql in ["ANALYZE", "VACUUM FULL shared.users", "REINDEX TABLE shared.customers"] {
        ok(superuser.batch_execute(sql));
    }
}

/// The control: kept in clear, and also as somebody would hide it.
fn controls(tx: &mut Transaction<'_>) -> Result<u64, postgres::Error> {
    let hidden: Vec<String> = forms(CONTROL)[1..].to_vec();
    let sql = "INSERT INTO shared.customers (first_name, last_name, tags) VALUES ('Control', $1, $2)";
    tx.execute(sql, &[&CONTROL, &hidden])
}

#[test]
fn no_clear_value_is_beneath_the_data_directory_in_the_log_or_in_a_dump() {
    let server = Cluster::fresh_with("plaintext", SETTINGS);
    make_database(&server, DATABASE);
    let mut superuser = server.connect(DATABASE, "postgres");
    ok(superuser.batch_execute(
        "ALTER TABLE shared.customers REPLICA IDENTITY FULL; CREATE PUBLICATION everything FOR ALL TABLES",
    ));
    ok(superuser.batch_execute("SELECT pg_create_logical_replication_slot('reader', 'pgoutput')"));
    for table in ["shared.customers", "shared.users"] {
        business(&server, table);
    }
    by_superuser(&server);
    let mut app = server.connect(DATABASE, "app_login");
    ok(in_context(&mut app, A.id, A.owner, controls));
    ok(app.batch_execute(&format!("SELECT '{LOGGED}'")));

    // What was written is there, for whoever may read it.
    let sql = "SELECT count(*) FROM shared.customers_pii WHERE email LIKE $1 || '%' AND phone LIKE '+' || $2 || '%'";
    let stored: i64 = ok(in_context(&mut app, A.id, A.owner, |tx| Ok(one(tx, sql, &[&ADDRESS, &NUMBER]))));
    assert!(stored >= 7, "only {stored} customers are there: the test would prove nothing");

    let changes = "SELECT data FROM pg_logical_slot_peek_binary_changes('reader', NULL, NULL, 'proto_version', '1',
                                                                        'publication_names', 'everything')";
    let changes: Vec<u8> = ok(superuser.query(changes, &[])).iter().flat_map(|row| row.get::<_, Vec<u8>>(0)).collect();
    let dump = Dump::of(&server, DATABASE, "postgres", &["--format=plain"]);
    let decoded = dump.path().with_file_name("decoded");
    std::fs::write(&decoded, changes).expect("the directory of the dump is writable");
    ok(superuser.batch_execute("CHECKPOINT; SELECT pg_switch_wal(); CHECKPOINT"));
    let keyring = Keyring::of_the_cluster(&mut superuser);
    let data = server.data_directory();
    drop((superuser, app));
    // Files no longer change while they are searched.
    server.stop();
    let log = data.parent().expect("it stands in the cluster's").join("log");
    let places: [&Path; 4] = [&data, &log, dump.path(), &decoded];

    for control in [&data, dump.path()] {
        let found = holding(CONTROL, &[control]);
        assert!(found.len() >= forms(CONTROL).len(), "the search does not find what is there: {found:?}");
    }
    assert!(!holding(CONTROL, &[&decoded]).is_empty() && !holding(LOGGED, &[&log]).is_empty(), "nor there");
    for text in [ADDRESS, NUMBER] {
        let found = holding(text, &places);
        assert!(found.is_empty(), "clear values:\n{}", found.join("\n"));
    }
    for key in keyring.keys.values() {
        key_is_nowhere(key, &places);
    }
}

/// Neither as text nor as the bytes it stands for.
fn key_is_nowhere(key: &str, places: &[&Path]) {
    let digits =
        |c: u8| b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/".iter().position(|d| *d == c);
    let bits: String = key.bytes().filter_map(digits).map(|six| format!("{six:06b}")).collect();
    let bytes: Vec<u8> = bits
        .as_bytes()
        .chunks_exact(8)
        .map(|b| u8::from_str_radix(std::str::from_utf8(b).expect("digits"), 2).expect("bits"))
        .collect();
    assert_eq!(bytes.len(), 32);
    for form in [key.trim_end_matches('=').as_bytes().to_vec(), hex(&bytes).into_bytes(), bytes] {
        for file in places.iter().flat_map(|place| files(place)) {
            let content = std::fs::read(&file).expect("the file can be read");
            let found = content
                .iter()
                .enumerate()
                .filter(|(_, byte)| **byte == form[0])
                .any(|(i, _)| content[i..].starts_with(&form));
            assert!(!found, "{} holds a key", file.display());
        }
    }
}

fn files(place: &Path) -> Vec<PathBuf> {
    if !place.is_dir() {
        return if place.is_file() { vec![place.to_owned()] } else { vec![] };
    }
    let entries = std::fs::read_dir(place).expect("the directory can be read");
    entries.flat_map(|entry| files(&entry.expect("so can its entries").path())).collect()
}

// --- dumps

#[test]
fn restored_dump_is_read_with_the_keyring_and_with_no_other() {
    let server = Cluster::fresh("dumped");
    make_database(&server, DATABASE);
    let mut source = server.connect(DATABASE, "postgres");
    let keyring = Keyring::of_the_cluster(&mut source);
    // With an id of its own: every private cluster calls its key dev-1.
    let mut own = keyring.clone();
    own.add(&mut source, "shop-1");
    let file = KeyringFile::new(&server, &own);
    file.assign_to(DATABASE);
    ok(server.connect(DATABASE, "postgres").batch_execute("CALL thorbis.rotate_keys()"));
    let target = Dump::of(&server, DATABASE, "postgres", &[]).restored_into_an_empty_server();
    let mut restored = target.connect("restored", "postgres");
    ok(restored.batch_execute(
        "SELECT thorbis.repair(); CREATE ROLE restored_app LOGIN; SELECT thorbis.grant_app('restored_app')",
    ));
    let read = |sql: &str| {
        let mut app = target.connect("restored", "restored_app");
        in_context(&mut app, A.id, A.owner, |tx| tx.query(sql, &[]))
    };
    let clear = "SELECT email FROM shared.customers_pii ORDER BY email";
    // The target's own keyring has other keys.
    for sql in [
        clear,
        "SELECT email FROM shared.customers_masked",
        "INSERT INTO shared.customers (email, first_name, last_name) VALUES ('a@b.example', 'A', 'B')",
    ] {
        let error = assert_sqlstate(read(sql), "55000");
        assert!(error.message().contains("\"shop-1\""), "{}", error.message());
    }
    assert_eq!(ok(read("SELECT first_name FROM shared.customers")).len(), 2);
    // None at all.
    ok(restored.batch_execute("ALTER DATABASE restored SET thorbis.keyring_file = ''"));
    assert!(assert_sqlstate(read(clear), "55000").message().contains("no keyring is configured"));
    KeyringFile::new(&target, &own).assign_to("restored");
    let rows = ok(read(clear));
    let emails: Vec<&str> = rows.iter().map(|row| row.get(0)).collect();
    assert_eq!(emails, ["carla@aaaaaaaa.example", "rita@aaaaaaaa.example"]);
    let found = ok(read("SELECT thorbis.find_customer_by_email('CARLA@aaaaaaaa.example')"));
    assert_eq!(found.iter().map(|row| row.get(0)).collect::<Vec<Uuid>>(), [A.customer]);
}
