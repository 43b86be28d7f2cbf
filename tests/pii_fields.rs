//! What ciphertexts are bound to, and what the objects of a table are called after: nobody chooses it, no two tables share
//! it, and it stays through renames.

use postgres::Client;
use serde_json::{Value, json};
use thorbis_tests::listing::{assert_same, objects};
use thorbis_tests::notes::{NOTES, NOTES_OPTIONS, call, errors, notes_in_clear, rows, statements};
use thorbis_tests::{A, Database, as_owner, assert_sqlstate, in_context, ok, one};

fn registered(client: &mut Client, table: &str) -> Value {
    one(client, "SELECT options FROM thorbis.protected_tables WHERE table_id = $1::text::regclass", &[&table])
}

fn fields(client: &mut Client, table: &str) -> Vec<String> {
    let options = registered(client, table);
    let pii = options["pii"].as_array().expect("it has columns with personal data");
    pii.iter().map(|pii| pii["field"].as_str().expect("it is encrypted").to_owned()).collect()
}

/// Under another table's field one could read its ciphertexts with the permission of one's own.
#[test]
fn field_and_name_of_a_table_are_not_chosen() {
    let db = Database::new();
    let mut client = db.superuser();
    ok(client.batch_execute(NOTES));
    let refused = |client: &mut Client, options: Value| {
        println!("{options}");
        let before = objects(client);
        let error = assert_sqlstate(client.batch_execute(&call("crm.notes", &options.to_string(), false)), "22023");
        assert!(error.hint().is_some_and(|hint| !hint.is_empty()), "no hint");
        assert_same("refused options", &before, &objects(client));
    };
    let foreign = ["shared.customers.email", "crm.notes.email", "shared.customers.email 2", ""];
    for field in foreign {
        refused(&mut client, json!({"pii": [{"column": "email", "field": field}]}));
    }
    for name in ["customers", "other", ""] {
        refused(&mut client, json!({"pii": ["email"], "name": name}));
    }
    ok(client.batch_execute(&call("crm.notes", NOTES_OPTIONS, false)));
    let options = registered(&mut client, "crm.notes");
    for field in [&foreign[..1], &foreign[2..]].concat() {
        let mut stolen = options.clone();
        stolen["pii"][0]["field"] = field.into();
        refused(&mut client, stolen);
    }
    let mut renamed = options.clone();
    renamed["name"] = "customers".into();
    refused(&mut client, renamed);
    assert_eq!(registered(&mut client, "crm.notes"), options);
}

/// Two columns under one field could be exchanged for one another.
#[test]
fn one_field_is_not_given_to_two_columns() {
    let (_db, mut client) = notes_in_clear();
    ok(client.batch_execute(&call("crm.notes", NOTES_OPTIONS, false)));
    let options = registered(&mut client, "crm.notes");
    let mut doubled = options.clone();
    doubled["pii"][1]["field"] = options["pii"][0]["field"].clone();
    assert_sqlstate(client.batch_execute(&call("crm.notes", &doubled.to_string(), false)), "22023");
    assert_eq!(registered(&mut client, "crm.notes"), options);
}

#[test]
fn options_of_the_registry_can_be_given_back() {
    let (db, mut client) = notes_in_clear();
    ok(client.batch_execute(&call("crm.notes", NOTES_OPTIONS, false)));
    ok(client.batch_execute("SELECT thorbis.encrypt_existing('crm.notes')"));
    let (before, options) = (rows(&db, "crm.notes_pii"), registered(&mut client, "crm.notes"));
    let again = call("crm.notes", &options.to_string(), false);
    assert_eq!(statements(&mut client, &again), Vec::<String>::new());
    ok(client.batch_execute("ALTER TABLE crm.notes RENAME TO memos"));
    ok(client.batch_execute(&again.replace("crm.notes'", "crm.memos'")));
    assert_eq!(registered(&mut client, "crm.memos"), options);
    assert_eq!(rows(&db, "crm.notes_pii"), before);
}

/// The ciphertexts of a renamed column are bound to its first name.
#[test]
fn renamed_column_takes_its_own_field_along() {
    let (db, mut client) = notes_in_clear();
    ok(client.batch_execute(&call("crm.notes", NOTES_OPTIONS, false)));
    ok(client.batch_execute("SELECT thorbis.encrypt_existing('crm.notes')"));
    let before = rows(&db, "crm.notes_pii");
    ok(client.batch_execute(
        "ALTER TABLE crm.notes RENAME COLUMN email TO mail;
         ALTER TABLE crm.notes RENAME COLUMN email_encrypted TO mail_encrypted;
         ALTER TABLE crm.notes RENAME COLUMN email_bidx TO mail_bidx",
    ));
    let mut options = registered(&mut client, "crm.notes");
    options["pii"][0]["column"] = "mail".into();
    ok(client.batch_execute(&call("crm.notes", &options.to_string(), false)));
    assert_eq!(fields(&mut client, "crm.notes"), ["crm.notes.email", "crm.notes.body"]);
    let renamed = "(SELECT mail AS email, remark, body, customer_id, updated_at FROM crm.notes_pii) v";
    assert_eq!(rows(&db, renamed), before);
    let found = "SELECT count(*) FROM thorbis.find_by_pii('crm.notes', 'mail', 'N2@clear.example')";
    assert_eq!(as_owner(&db, &A, |tx| Ok(one::<i64>(tx, found, &[]))), 1);
    assert_eq!(errors(&mut client), Vec::<String>::new());
}

#[test]
fn one_of_several_columns_ends_being_encrypted() {
    for options in [r#"{"pii": ["body"]}"#, r#"{"pii": ["body", {"column": "email", "method": "clear"}]}"#] {
        let (db, mut client) = notes_in_clear();
        ok(client.batch_execute(&call("crm.notes", NOTES_OPTIONS, false)));
        ok(client.batch_execute(&call("crm.notes", options, false)));
        ok(client.batch_execute("SELECT thorbis.encrypt_existing('crm.notes')"));
        let shown = rows(&db, "crm.notes_pii");
        assert_eq!((shown.len(), &shown[11]["email"]), (30, &json!("n2@clear.example")));
        assert_eq!(rows(&db, "crm.notes")[11]["email"], "n2@clear.example", "it stands in clear");
        assert_eq!(statements(&mut client, &call("crm.notes", options, false)), Vec::<String>::new());
    }
}

// --- a new table under the name of an old one

const NEW_NOTES: &str = "
    CREATE TABLE crm.notes (tenant_id uuid NOT NULL, id uuid DEFAULT gen_random_uuid(), customer_id uuid, email text,
                            body jsonb, remark text, updated_at timestamptz, PRIMARY KEY (tenant_id, id));
    ALTER TABLE crm.notes OWNER TO thorbis_owner";

/// The views of a renamed table keep their names, and are not taken for those of the table that has the name now.
#[test]
fn views_of_a_renamed_table_are_not_taken_over() {
    let (db, mut client) = notes_in_clear();
    ok(client.batch_execute(&call("crm.notes", NOTES_OPTIONS, false)));
    ok(client.batch_execute("SELECT thorbis.encrypt_existing('crm.notes')"));
    let shown = rows(&db, "crm.notes_pii");
    ok(client.batch_execute(&format!("ALTER TABLE crm.notes RENAME TO notes_archive; {NEW_NOTES}")));
    let before = objects(&mut client);
    let error = assert_sqlstate(client.batch_execute(&call("crm.notes", NOTES_OPTIONS, false)), "42710");
    assert!(error.hint().is_some_and(|hint| hint.contains("RENAME")), "{:?}", error.hint());
    assert_same("refused protection", &before, &objects(&mut client));
    assert_eq!(rows(&db, "crm.notes_pii"), shown);
    assert_eq!(statements(&mut client, "SELECT thorbis.protect('crm.notes_archive')"), Vec::<String>::new());
}

#[test]
fn old_and_new_table_of_one_name_read_nothing_of_each_other() {
    let (db, mut client) = notes_in_clear();
    ok(client.batch_execute(&call("crm.notes", NOTES_OPTIONS, false)));
    ok(client.batch_execute("SELECT thorbis.encrypt_existing('crm.notes')"));
    let old = rows(&db, "crm.notes_pii");
    ok(client.batch_execute(&format!(
        "ALTER SCHEMA crm RENAME TO archive; CREATE SCHEMA crm AUTHORIZATION thorbis_owner; {NEW_NOTES}"
    )));
    ok(client.batch_execute(&call("crm.notes", NOTES_OPTIONS, false)));
    ok(client.batch_execute("SELECT thorbis.protect('archive.notes')"));
    let (of_old, of_new) = (fields(&mut client, "archive.notes"), fields(&mut client, "crm.notes"));
    assert_eq!(of_old, ["crm.notes.email", "crm.notes.body"]);
    assert!(of_new.iter().all(|field| !of_old.contains(field)), "{of_new:?}");
    as_owner(&db, &A, |tx| {
        tx.execute(
            "INSERT INTO crm.notes (customer_id, email, body) VALUES ($1, 'new@notes.example', '{}')",
            &[&A.customer],
        )
    });
    assert_eq!(rows(&db, "archive.notes_pii"), old);
    let new = rows(&db, "crm.notes_pii");
    assert_eq!((new.len(), &new[0]["email"]), (1, &json!("new@notes.example")));
    // A ciphertext of one opens in no row of the other, not even in one of the same id.
    ok(client.execute(
        "INSERT INTO crm.notes (tenant_id, id, email_encrypted)
         SELECT tenant_id, id, email_encrypted FROM archive.notes WHERE tenant_id = $1 AND email_encrypted IS NOT NULL LIMIT 1",
        &[&A.id],
    ));
    let read = in_context(&mut db.app(), A.id, A.owner, |tx| tx.query("SELECT email FROM crm.notes_pii", &[]));
    assert_sqlstate(read, "22000");
    assert_eq!(errors(&mut client), Vec::<String>::new());
}
