//! Where a value or a key could show beside the envelopes: blind indexes, stored copies, settings, activity, dumps, the
//! log. The files of a whole server are searched in no_plaintext.rs.

use postgres::Client;
use std::collections::BTreeSet;
use std::io::Read;
use thorbis_tests::{
    A, B, Database, Dump, Keyring, Tenant, as_owner, assert_sqlstate, describe, in_context, ok, one, sqlstate,
};

const EMAIL: &str = "shared.customers.email";

// --- blind indexes

#[test]
fn blind_index_is_of_the_normalised_value() {
    let db = Database::untouched();
    as_owner(db, &A, |tx| {
        let mut index =
            |value: &str, field: &str| -> Vec<u8> { one(tx, "SELECT pii_blind_index($1, $2)", &[&value, &field]) };
        let (email, phone) = (EMAIL, "shared.customers.phone");
        for (field, same, other) in [
            (email, ["ada@example.com", " Ada@EXAMPLE.com\t"], "ada@example.org"),
            (email, ["érika@example.com", "Érika@example.com "], "erika@example.com"),
            (phone, ["+49 (30) 1234-567", "+49301234567"], "49301234567"),
            (phone, ["030/1234567", " 030 1234 567 "], "30 1234567"),
        ] {
            assert_eq!(index(same[0], field).len(), 32);
            assert_eq!(index(same[0], field), index(same[1], field), "{same:?}");
            assert_ne!(index(same[0], field), index(other, field), "{other}");
        }
        // The same value in another field cannot be matched, and none is a plain digest.
        let fields = [email, phone, "shared.users.email", "a.b.c", ""].map(|field| index("49301234567", field));
        assert_eq!(fields.iter().collect::<BTreeSet<_>>().len(), fields.len());
        let plain: Vec<u8> = one(tx, "SELECT sha256('49301234567')", &[]);
        assert!(!fields.contains(&plain));
        Ok(())
    });
}

#[test]
fn equal_values_of_two_tenants_have_different_blind_indexes() {
    let db = Database::untouched();
    let of = |tenant: &Tenant| -> Vec<u8> {
        as_owner(db, tenant, |tx| Ok(one(tx, "SELECT pii_blind_index('ada@example.com', $1)", &[&EMAIL])))
    };
    assert_ne!(of(&A), of(&B));
    assert_eq!(of(&A), of(&A), "in another session it is the same");
}

/// Whoever could read the index could try addresses until one matches.
#[test]
fn application_cannot_read_or_write_any_blind_index() {
    let db = Database::new();
    let sql = "SELECT format('%I.%I', n.nspname, c.relname), quote_ident(a.attname), quote_ident(c.relname)
                 FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid JOIN pg_namespace n ON n.oid = c.relnamespace
                WHERE a.attname LIKE '%\\_bidx' AND c.relkind IN ('r', 'p', 'v')";
    let columns = ok(db.superuser().query(sql, &[]));
    assert!(columns.len() >= 2, "customers and users have some");
    for column in columns {
        let (table, index, alias): (String, String, String) = (column.get(0), column.get(1), column.get(2));
        for attack in [
            format!("SELECT {index} FROM {table}"),
            format!("SELECT * FROM {table}"),
            format!("TABLE {table}"),
            format!("SELECT {alias} FROM {table}"),
            format!("SELECT to_jsonb({alias}) FROM {table}"),
            format!("SELECT 1 FROM {table} WHERE {index} = '\\x00'"),
            format!("SELECT 1 FROM {table} WHERE {alias} IS NOT NULL"),
            format!("SELECT 1 FROM {table} ORDER BY {index}"),
            format!("SELECT count(*) FROM {table} GROUP BY {index}"),
            format!("SELECT 1 FROM {table} x JOIN {table} y USING ({index})"),
            format!("UPDATE {table} SET {index} = NULL"),
            format!("UPDATE {table} SET {} = NULL", index.replace("_bidx", "_encrypted")),
            format!("DELETE FROM {table} RETURNING {index}"),
            format!("DELETE FROM {table} WHERE {index} IS NULL"),
            format!("COPY (SELECT {index} FROM {table}) TO STDOUT"),
        ] {
            let read = in_context(&mut db.app(), A.id, A.owner, |tx| tx.simple_query(&attack));
            assert_sqlstate(read, "42501");
        }
    }
}

// --- what keeps plaintext in the database

#[test]
fn plaintext_in_an_index_or_a_generated_column_is_refused() {
    let db = Database::new();
    let mut superuser = db.superuser();
    for function in ["decrypt_pii(email_encrypted)", "decrypt_pii(email_encrypted, 'shared.customers.email', id)"] {
        for sql in [
            format!("CREATE INDEX leak ON shared.customers ({function})"),
            format!("CREATE INDEX leak ON shared.customers (id) WHERE {function} IS NOT NULL"),
            format!("ALTER TABLE shared.customers ADD COLUMN leak text GENERATED ALWAYS AS ({function}) STORED"),
        ] {
            assert_sqlstate(superuser.batch_execute(&sql), "42P17");
        }
    }
    let stable = "SELECT count(*) FROM pg_proc p JOIN pg_depend d ON d.objid = p.oid AND d.deptype = 'e'
                   WHERE p.proname ~ '_pii(_|$)|^pii_' AND p.provolatile = 'i'";
    assert_eq!(one::<i64>(&mut superuser, stable, &[]), 0, "an immutable function over plaintext");
}

#[test]
fn pgcrypto_is_not_needed() {
    let db = Database::untouched();
    let mut superuser = db.superuser();
    assert_eq!(one::<i64>(&mut superuser, "SELECT count(*) FROM pg_extension WHERE extname = 'pgcrypto'", &[]), 0);
    let required = "SELECT coalesce(array_to_string(requires, ' '), '') FROM pg_available_extension_versions
                     WHERE name = 'thorbis_db' AND installed";
    assert!(!one::<String>(&mut superuser, required, &[]).contains("pgcrypto"));
    assert!(one::<i64>(&mut superuser, "SELECT count(email_encrypted) FROM shared.customers", &[]) >= 4);
}

// --- where a key could show

/// The forms in which a key could stand somewhere.
fn forms(superuser: &mut Client) -> Vec<String> {
    let keyring = Keyring::of_the_cluster(superuser);
    assert!(!keyring.keys.is_empty());
    let hex = "SELECT encode(decode($1, 'base64'), 'hex')";
    let hex: Vec<String> = keyring.keys.values().map(|key| one(superuser, hex, &[key])).collect();
    keyring.keys.into_values().map(|key| key.trim_end_matches('=').to_owned()).chain(hex).collect()
}

#[test]
fn key_is_in_no_setting_activity_or_catalog() {
    let db = Database::new();
    let mut superuser = db.superuser();
    let forms = forms(&mut superuser);
    let mut app = db.app();
    ok(in_context(&mut app, A.id, A.owner, |tx| tx.query("SELECT email FROM shared.customers_pii", &[])));
    for client in [&mut app, &mut superuser] {
        for source in ["pg_settings", "pg_db_role_setting", "pg_stat_activity", "thorbis.settings"] {
            // The parameter is nowhere in the activity: it is bound.
            let sql =
                format!("SELECT count(*) FROM {source} s, unnest($1::text[]) form WHERE strpos(s::text, form) > 0");
            match client.query_one(&sql, &[&forms]) {
                Ok(row) => assert_eq!(row.get::<_, i64>(0), 0, "{source}"),
                Err(e) => assert_eq!(sqlstate(&e), "42501", "{source}: {}", describe(&e)),
            }
        }
    }
    for setting in ["thorbis.keyring_file", "thorbis.keyring_command"] {
        assert_sqlstate(app.simple_query(&format!("SHOW {setting}")), "42501");
        assert_sqlstate(app.query("SELECT current_setting($1)", &[&setting]), "42501");
        let shown = "SELECT count(*) FROM pg_settings WHERE name = $1 AND setting <> ''";
        assert_eq!(one::<i64>(&mut app, shown, &[&setting]), 0, "{setting} tells where to look");
    }
}

#[test]
fn key_is_in_no_dump_and_no_log() {
    let db = Database::new();
    let mut superuser = db.superuser();
    let forms = forms(&mut superuser);
    // Errors, which are what a log holds of statements.
    let mut app = db.app();
    for call in ["decrypt_pii('garbage')", "encrypt_pii('x', 'y')", "decrypt_pii(encrypt_pii('x'), 'a', 'b')"] {
        assert!(in_context(&mut app, A.id, A.owner, |tx| tx.query(&format!("SELECT {call}"), &[])).is_err());
    }
    let dump = Dump::of(db.cluster(), &db.name, "postgres", &["--format=plain"]);
    let log = db.cluster().data_directory().parent().expect("it stands in the cluster's").join("log");
    for file in [dump.path(), &log] {
        let mut text = Vec::new();
        std::fs::File::open(file).and_then(|mut f| f.read_to_end(&mut text)).expect("the file can be read");
        let text = String::from_utf8_lossy(&text);
        assert!(forms.iter().all(|form| !text.contains(form)), "{} holds a key", file.display());
    }
}
