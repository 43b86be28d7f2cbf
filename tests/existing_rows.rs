//! Rows that a table had before its columns were encrypted: reported, encrypted once, decrypted again; and what a dump
//! of such a table is worth.

use postgres::Client;
use serde_json::Value;
use thorbis_tests::listing::{assert_same, objects};
use thorbis_tests::notes::{NOTES_OPTIONS, call, errors, notes_in_clear, rows, statements};
use thorbis_tests::{
    A, Database, Dump, Keyring, KeyringFile, as_owner, assert_sqlstate, findings, in_context, ok, one,
};

#[test]
fn rows_in_clear_are_reported_and_encrypted_once() {
    let (db, mut client) = notes_in_clear();
    let before = rows_before_protection(&mut client);
    ok(client.batch_execute(&call("crm.notes", NOTES_OPTIONS, false)));
    let reported = ok(findings(&mut client));
    let reported = reported.iter().find(|f| f.code == "plaintext_rows").expect("the doctor reports rows in clear");
    assert_eq!((reported.severity.as_str(), reported.object.starts_with("crm.notes")), ("error", true));
    let fingerprint = "SELECT md5(string_agg(xmin::text || to_jsonb(n), '' ORDER BY id)) FROM crm.notes n";
    let untouched: String = one(&mut client, fingerprint, &[]);
    // Both tenants' rows with at least one value: 30 less those that are neither even nor divisible by five.
    let with_values = 2 * (30 - 12);
    assert_eq!(
        one::<i64>(&mut client, "SELECT thorbis.encrypt_existing('crm.notes', dry_run => true)", &[]),
        with_values
    );
    assert_eq!(one::<String>(&mut client, fingerprint, &[]), untouched, "a dry run");
    ok(client.batch_execute(&format!("SET ROLE thorbis_owner; {}; RESET ROLE", reported.statement())));
    assert_eq!(one::<i64>(&mut client, "SELECT thorbis.encrypt_existing('crm.notes', true)", &[]), 0);
    let encrypted: String = one(&mut client, fingerprint, &[]);
    assert_eq!(one::<i64>(&mut client, "SELECT thorbis.encrypt_existing('crm.notes')", &[]), 0);
    assert_eq!(one::<String>(&mut client, fingerprint, &[]), encrypted, "encrypting again");
    let clear = "SELECT count(*) FROM crm.notes WHERE email IS NOT NULL OR body IS NOT NULL";
    assert_eq!(one::<i64>(&mut client, clear, &[]), 0);
    // NULL stays NULL, updated_at stays, values are the same.
    assert_eq!(rows(&db, "crm.notes_pii"), before);
    assert_eq!(errors(&mut client), Vec::<String>::new());
    let valid = "SELECT count(*) FROM pg_constraint WHERE conrelid = 'crm.notes'::regclass AND NOT convalidated";
    assert_eq!(one::<i64>(&mut client, valid, &[]), 0);
    assert_eq!(statements(&mut client, "SELECT thorbis.protect('crm.notes')"), Vec::<String>::new());
}

/// A's rows as the views are to show them later.
fn rows_before_protection(client: &mut Client) -> Vec<Value> {
    let sql = "SELECT to_jsonb(n) FROM (SELECT remark, email, body, customer_id, updated_at FROM crm.notes WHERE tenant_id = $1) n
                ORDER BY remark";
    ok(client.query(sql, &[&A.id])).iter().map(|row| row.get(0)).collect()
}

/// Nobody's write gets lost between protection and encryption, nor is it stored in clear.
#[test]
fn rows_in_clear_can_be_written_before_they_are_encrypted() {
    let (db, mut client) = notes_in_clear();
    ok(client.batch_execute(&call("crm.notes", NOTES_OPTIONS, false)));
    as_owner(&db, &A, |tx| {
        tx.execute("UPDATE crm.notes SET email = 'changed@clear.example' WHERE remark = 'r2'", &[])?;
        tx.execute("UPDATE crm.notes SET email = '' WHERE remark = 'r4'", &[])?;
        tx.execute("UPDATE crm.notes SET remark = 'r6' WHERE remark = 'r6'", &[])?;
        tx.execute("INSERT INTO crm.notes (email, remark) VALUES ('new@clear.example', 'new')", &[])
    });
    ok(client.batch_execute("SELECT thorbis.encrypt_existing('crm.notes')"));
    for (remark, expected) in [
        ("r2", Some("changed@clear.example")),
        ("r4", None),
        ("r6", Some("n6@clear.example")),
        ("new", Some("new@clear.example")),
    ] {
        let read: Option<String> =
            as_owner(&db, &A, |tx| Ok(one(tx, "SELECT email FROM crm.notes_pii WHERE remark = $1", &[&remark])));
        assert_eq!(read.as_deref(), expected, "{remark}");
    }
}

#[test]
fn failing_encryption_of_existing_rows_changes_nothing() {
    let (_db, mut client) = notes_in_clear();
    ok(client.batch_execute("UPDATE crm.notes SET email = 'no address' WHERE remark = 'r20'"));
    ok(client.batch_execute(&call("crm.notes", NOTES_OPTIONS, false)));
    let fingerprint = "SELECT md5(string_agg(xmin::text || to_jsonb(n), '' ORDER BY id)) FROM crm.notes n";
    let before: String = one(&mut client, fingerprint, &[]);
    let error = assert_sqlstate(client.batch_execute("SELECT thorbis.encrypt_existing('crm.notes')"), "23514");
    assert!(!error.message().contains("no address"), "{}", error.message());
    assert_eq!(one::<String>(&mut client, fingerprint, &[]), before);
}

#[test]
fn decrypting_existing_rows_takes_everything_back() {
    let (db, mut client) = notes_in_clear();
    let before = rows_before_protection(&mut client);
    ok(client.batch_execute(&call("crm.notes", NOTES_OPTIONS, false)));
    ok(client.batch_execute("SELECT thorbis.encrypt_existing('crm.notes')"));
    for round in ["first", "second"] {
        let dry: i64 = one(&mut client, "SELECT thorbis.decrypt_existing('crm.notes', dry_run => true)", &[]);
        assert_eq!(dry, 36, "{round}");
        assert_eq!(rows(&db, "crm.notes_pii"), before, "a dry run");
        assert_eq!(one::<i64>(&mut client, "SELECT thorbis.decrypt_existing('crm.notes')", &[]), 36);
        assert_eq!(rows(&db, "crm.notes"), before, "in clear, and the application reads it");
        let left = "SELECT count(*) FROM pg_class WHERE relnamespace = 'crm'::regnamespace AND relkind = 'v'";
        assert_eq!(one::<i64>(&mut client, left, &[]), 0, "views");
        let left = "SELECT count(*) FROM pg_trigger WHERE tgrelid = 'crm.notes'::regclass AND tgname LIKE 'encrypt%'";
        assert_eq!(one::<i64>(&mut client, left, &[]), 0, "triggers");
        let methods = "SELECT string_agg(DISTINCT method, ' ' ORDER BY method) FROM gdpr.pii_catalog WHERE table_id = 'crm.notes'::regclass";
        assert_eq!(one::<String>(&mut client, methods, &[]), "clear none");
        assert_eq!(errors(&mut client), Vec::<String>::new());
        as_owner(&db, &A, |tx| tx.execute("UPDATE crm.notes SET email = email, body = body", &[]));
        ok(client.batch_execute("ALTER TABLE crm.notes DISABLE TRIGGER USER; UPDATE crm.notes SET updated_at = '2001-01-01'; ALTER TABLE crm.notes ENABLE TRIGGER USER"));
        // And encrypted again, as before.
        ok(client.batch_execute(&call("crm.notes", NOTES_OPTIONS, false)));
        assert_eq!(one::<i64>(&mut client, "SELECT thorbis.encrypt_existing('crm.notes')", &[]), 36);
        assert_eq!(rows(&db, "crm.notes_pii"), before, "{round}");
    }
}

/// Protection without its trigger and views would leave values that nobody can read.
#[test]
fn protection_stays_while_there_are_encrypted_values() {
    let (db, mut client) = notes_in_clear();
    ok(client.batch_execute(&call("crm.notes", NOTES_OPTIONS, false)));
    ok(client.batch_execute("SELECT thorbis.encrypt_existing('crm.notes')"));
    let before = objects(&mut client);
    for attempt in [
        "SELECT thorbis.unprotect('crm.notes')",
        "SELECT thorbis.unprotect('crm.notes', dry_run => true)",
        "SELECT thorbis.protect('crm.notes', options => '{}')",
        "SELECT thorbis.protect('crm.notes', options => '{\"pii\": [\"body\"]}')",
        "SELECT thorbis.protect('crm.notes', options => '{\"pii\": [{\"column\": \"email\", \"method\": \"clear\"}, \"body\"]}')",
    ] {
        let error = assert_sqlstate(client.batch_execute(attempt), "55000");
        assert!(error.hint().is_some_and(|hint| hint.contains("decrypt_existing")), "{:?}", error.hint());
    }
    assert_same("refused calls", &before, &objects(&mut client));
    assert_eq!(rows(&db, "crm.notes_pii").len(), 30);
    ok(client.batch_execute("SELECT thorbis.decrypt_existing('crm.notes'); SELECT thorbis.unprotect('crm.notes')"));
    assert_eq!(one::<i64>(&mut client, "SELECT count(email) FROM crm.notes", &[]), 30);
}

/// Columns added later are in the views after the next call, and options that stay keep their values readable.
#[test]
fn columns_added_later_come_into_the_views() {
    let (db, mut client) = notes_in_clear();
    ok(client.batch_execute(&call("crm.notes", NOTES_OPTIONS, false)));
    ok(client.batch_execute("SELECT thorbis.encrypt_existing('crm.notes')"));
    let before = rows(&db, "crm.notes_pii");
    ok(client.batch_execute("ALTER TABLE crm.notes ADD COLUMN mood text, ADD COLUMN score int DEFAULT 5"));
    let unclassified =
        ok(findings(&mut client)).into_iter().filter(|f| f.code == "unclassified_column" && f.object.contains("mood"));
    assert_eq!(unclassified.count(), 1);
    let options = NOTES_OPTIONS.replace("\"body\"]", "\"body\", \"mood\"]");
    assert!(!statements(&mut client, &call("crm.notes", &options, false)).is_empty());
    assert_eq!(statements(&mut client, &call("crm.notes", &options, false)), Vec::<String>::new());
    assert_eq!(rows(&db, "crm.notes_pii"), before);
    let row = as_owner(&db, &A, |tx| {
        tx.query_one(
            "INSERT INTO crm.notes_pii (email, mood) VALUES ('mood@clear.example', 'good') RETURNING mood, score",
            &[],
        )
    });
    assert_eq!((row.get(0), row.get(1)), ("good", 5));
    assert_eq!(errors(&mut client), Vec::<String>::new());
}

/// The views are made anew when another column of the table is encrypted: they would go on showing what is empty.
#[test]
fn column_that_is_encrypted_later_is_shown_and_masked() {
    let db = Database::new();
    let mut client = db.superuser();
    ok(client.batch_execute(
        "CREATE SCHEMA crm AUTHORIZATION thorbis_owner;
         CREATE TABLE crm.pairs (tenant_id uuid, id integer, a text, b text, PRIMARY KEY (tenant_id, id));
         ALTER TABLE crm.pairs OWNER TO thorbis_owner",
    ));
    let first = r#"{"pii": ["a", {"column": "b", "method": "clear"}]}"#;
    ok(client.batch_execute(&call("crm.pairs", first, false)));
    for relation in ["crm.pairs", "crm.pairs_pii"] {
        let insert = format!("INSERT INTO {relation} SELECT get_current_tenant_id(), $1, 'of a', 'of b'");
        let id = relation.len() as i32;
        as_owner(&db, &A, |tx| tx.execute(&insert, &[&id]));
    }
    let shown = |relation: &str| -> Vec<(Option<String>, Option<String>)> {
        let sql = format!("SELECT a, b FROM {relation} ORDER BY id");
        as_owner(&db, &A, |tx| tx.query(&sql, &[])).iter().map(|row| (row.get(0), row.get(1))).collect()
    };
    let row = |a: &str, b: &str| (Some(a.to_owned()), Some(b.to_owned()));
    assert_eq!(shown("crm.pairs_masked"), vec![row("***", "of b"); 2]);
    let second = call("crm.pairs", r#"{"pii": ["a", "b"]}"#, false);
    ok(client.batch_execute(&second));
    assert_eq!(one::<i64>(&mut client, "SELECT thorbis.encrypt_existing('crm.pairs')", &[]), 2);
    assert_eq!(shown("crm.pairs_pii"), vec![row("of a", "of b"); 2]);
    assert_eq!(shown("crm.pairs_masked"), vec![row("***", "***"); 2]);
    assert_eq!(shown("crm.pairs"), vec![(None, None); 2]);
    as_owner(&db, &A, |tx| tx.execute("UPDATE crm.pairs_pii SET b = 'new'", &[]));
    assert_eq!(shown("crm.pairs_pii"), vec![row("of a", "new"); 2]);
    assert_eq!(statements(&mut client, &second), Vec::<String>::new());
    assert_eq!(errors(&mut client), Vec::<String>::new());
}

/// On the way back a column that had to have a value has to again, and nobody is asked to classify what encryption left.
#[test]
fn decrypted_table_requires_what_it_required_and_is_classified() {
    for name in ["secret".to_owned(), "s".repeat(60)] {
        let db = Database::new();
        let mut client = db.superuser();
        ok(client.batch_execute(&format!(
            "CREATE SCHEMA crm AUTHORIZATION thorbis_owner;
             CREATE TABLE crm.cards (tenant_id uuid, id uuid DEFAULT gen_random_uuid(), {name} text NOT NULL, o{} text,
                                     PRIMARY KEY (tenant_id, id));
             ALTER TABLE crm.cards OWNER TO thorbis_owner",
            &name[1..]
        )));
        let required = "SELECT string_agg(attnotnull::text, ' ' ORDER BY attnum) FROM pg_attribute
                         WHERE attrelid = 'crm.cards'::regclass AND attnum IN (3, 4)";
        let gaps = |client: &mut Client| {
            assert_eq!(one::<i64>(client, "SELECT count(*) FROM gdpr.v_pii_coverage_gaps", &[]), 0, "gaps of {name}");
            let findings = ok(findings(client)).into_iter().filter(|f| f.code == "unclassified_column");
            assert_eq!(findings.map(|f| f.object).collect::<Vec<_>>(), Vec::<String>::new());
        };
        let options = format!(r#"{{"pii": [{{"column": "{name}", "index": true}}, "o{}"]}}"#, &name[1..]);
        for round in ["first", "second"] {
            ok(client.batch_execute(&call("crm.cards", &options, false)));
            ok(client.batch_execute("SELECT thorbis.encrypt_existing('crm.cards')"));
            let insert = format!("INSERT INTO crm.cards ({name}) VALUES ($1)");
            as_owner(&db, &A, |tx| tx.execute(&insert, &[&round]));
            gaps(&mut client);
            ok(client.batch_execute("SELECT thorbis.decrypt_existing('crm.cards')"));
            assert_eq!(one::<String>(&mut client, required, &[]), "true false", "{round}");
            gaps(&mut client);
            let values = format!("SELECT string_agg({name}, ' ' ORDER BY {name}) FROM crm.cards");
            let expected = if round == "first" { "first" } else { "first second" };
            assert_eq!(one::<String>(&mut client, &values, &[]), expected);
        }
        // Another column that looks like one is not taken for it.
        ok(client.batch_execute("ALTER TABLE crm.cards ADD COLUMN other_encrypted text"));
        assert_eq!(one::<i64>(&mut client, "SELECT count(*) FROM gdpr.v_pii_coverage_gaps", &[]), 1);
    }
}

// --- dump and restore

/// Triggers are made after the rows are in: nothing is encrypted twice, and the keyring is all it takes to read it.
#[test]
fn dumped_and_restored_table_is_read_with_the_keyring() {
    let (db, mut client) = notes_in_clear();
    ok(client.batch_execute(&call("crm.notes", NOTES_OPTIONS, false)));
    ok(client.batch_execute("SELECT thorbis.encrypt_existing('crm.notes')"));
    let (expected, catalog) = (rows(&db, "crm.notes_pii"), objects(&mut client));
    let server = Dump::of(db.cluster(), &db.name, "postgres", &[]).restored_into_an_empty_server();
    KeyringFile::new(&server, &Keyring::of_the_cluster(&mut client)).assign_to("restored");
    let mut restored = server.connect("restored", "postgres");
    assert_same("catalog", &catalog, &objects(&mut restored));
    ok(restored.batch_execute(
        "SELECT thorbis.repair(); CREATE ROLE restored_app LOGIN; SELECT thorbis.grant_app('restored_app')",
    ));
    assert_eq!(statements(&mut restored, "SELECT thorbis.protect('crm.notes')"), Vec::<String>::new());
    let sql = "SELECT to_jsonb(n) FROM (SELECT remark, email, body, customer_id, updated_at FROM crm.notes_pii) n ORDER BY remark";
    let mut app = server.connect("restored", "restored_app");
    let found = ok(in_context(&mut app, A.id, A.owner, |tx| tx.query(sql, &[])));
    assert_eq!(found.iter().map(|row| row.get::<_, Value>(0)).collect::<Vec<_>>(), expected);
    ok(in_context(&mut app, A.id, A.owner, |tx| {
        tx.execute(
            "INSERT INTO crm.notes_pii (customer_id, email) VALUES ($1, 'after@restore.example')",
            &[&A.customer],
        )
    }));
}
