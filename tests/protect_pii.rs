//! Personal data in a table of one's own: thorbis.protect() with pii options, rows that were there before, the way back.

use serde_json::{Value, json};
use thorbis_tests::listing::{assert_same, objects};
use thorbis_tests::notes::{NOTES, NOTES_OPTIONS, call, errors, notes_in_clear, rows, statements};
use thorbis_tests::{A, B, Database, as_owner, assert_sqlstate, in_context, ok, one};
use uuid::Uuid;

const TABLE: &str = r#""My ""Schema"."T'able; DROP""#;

/// Odd names, and a column of each type that can be encrypted.
const ODD: &str = r#"
    CREATE SCHEMA "My ""Schema"; ALTER SCHEMA "My ""Schema" OWNER TO thorbis_owner;
    CREATE TABLE "My ""Schema"."T'able; DROP" ("Ten ant" uuid, "I D" uuid DEFAULT gen_random_uuid(), "Col""umn" text,
        "E-Mail" varchar(200), "His tory" jsonb, "select" text, "Born" date, owner_id uuid, updated_at timestamptz,
        PRIMARY KEY ("Ten ant", "I D"));
    ALTER TABLE "My ""Schema"."T'able; DROP" OWNER TO thorbis_owner"#;

fn odd_options() -> String {
    let options = json!({
        "tenant_column": "Ten ant",
        "pii": [
            "Col\"umn",
            {"column": "E-Mail", "kind": "email", "index": true, "category": "contact"},
            {"column": "His tory", "category": "health"},
            {"column": "Born", "method": "clear", "category": "identity"}
        ],
        "not_personal": ["select"],
        "subject": {"kind": "customer", "column": "owner_id"}
    });
    options.to_string().replace('\'', "''")
}

// --- end to end

#[test]
fn odd_names_are_encrypted_masked_and_decrypted_like_others() {
    let db = Database::new();
    let mut client = db.superuser();
    ok(client.batch_execute(ODD));
    let options = odd_options();
    let dry = statements(&mut client, &call(TABLE, &options, true));
    assert_eq!(statements(&mut client, &call(TABLE, &options, false)), dry, "the dry run prints what is done");
    assert_eq!(statements(&mut client, &call(TABLE, &options, false)), Vec::<String>::new(), "nothing is left to do");
    assert_eq!(errors(&mut client), Vec::<String>::new());
    let [clear, masked] = [r#""My ""Schema"."T'able; DROP_pii""#, r#""My ""Schema"."T'able; DROP_masked""#];
    let columns = r#"("Col""umn", "E-Mail", "His tory", "select", "Born", owner_id)"#;
    for tenant in [&A, &B] {
        let mut ids = Vec::new();
        for relation in [TABLE, clear] {
            let insert = format!(
                r#"INSERT INTO {relation} {columns} VALUES ('it''s "odd"', $1, '{{"a": [1, null, "ü"]}}', 's', '1990-02-28', $2) RETURNING "I D""#
            );
            let email = format!("{}@odd.example", ids.len());
            ids.push(as_owner(&db, tenant, |tx| Ok(one::<Uuid>(tx, &insert, &[&email, &tenant.customer]))));
        }
        let read = |relation: &str| -> Vec<Value> {
            let sql = format!(
                r#"SELECT to_jsonb(t) - '{{"I D", "updated_at", "Ten ant"}}'::text[] FROM {relation} t ORDER BY "E-Mail""#
            );
            as_owner(&db, tenant, |tx| tx.query(&sql, &[])).iter().map(|row| row.get(0)).collect()
        };
        let row = |email: &str| {
            json!({"Col\"umn": "it's \"odd\"", "E-Mail": email, "His tory": {"a": [1, null, "ü"]}, "select": "s",
                   "Born": "1990-02-28", "owner_id": tenant.customer.to_string()})
        };
        assert_eq!(read(clear), [row("0@odd.example"), row("1@odd.example")]);
        for row in read(masked) {
            assert_eq!(
                (&row["Col\"umn"], &row["E-Mail"], &row["His tory"]),
                (&json!("***"), &json!("***@odd.example"), &json!("***"))
            );
            assert_eq!(row["Born"], json!("1990-02-28"), "what is kept in clear is not masked");
        }
        let update = format!(r#"UPDATE {clear} SET "His tory" = NULL, "Col""umn" = 'new' WHERE "I D" = $1"#);
        assert_eq!(as_owner(&db, tenant, |tx| tx.execute(&update, &[&ids[1]])), 1);
        assert_eq!((&read(clear)[1]["His tory"], &read(clear)[1]["Col\"umn"]), (&Value::Null, &json!("new")));
        let found = format!("SELECT thorbis.find_by_pii('{}', 'E-Mail', '0@ODD.example')", TABLE.replace('\'', "''"));
        assert_eq!(as_owner(&db, tenant, |tx| Ok(one::<Uuid>(tx, &found, &[]))), ids[0]);
        assert_eq!(as_owner(&db, tenant, |tx| tx.execute(&format!("DELETE FROM {clear}"), &[])), 2);
    }
    let clear = format!(
        r#"SELECT count(*) FROM {TABLE} WHERE "Col""umn" IS NOT NULL OR "E-Mail" IS NOT NULL OR "His tory" IS NOT NULL"#
    );
    assert_eq!(one::<i64>(&mut client, &clear, &[]), 0);
}

/// Names derived from long ones must stay different, and nobody's column may be taken for a ciphertext.
#[test]
fn long_names_do_not_collide() {
    let db = Database::new();
    let mut client = db.superuser();
    let [a, b] = ["a", "b"].map(|end| format!("{}{end}", "x".repeat(62)));
    let table = "y".repeat(63);
    ok(client.batch_execute(&format!(
        "CREATE SCHEMA crm AUTHORIZATION thorbis_owner;
         CREATE TABLE crm.{table} (tenant_id uuid, id uuid DEFAULT gen_random_uuid(), {a} text, {b} text, PRIMARY KEY (tenant_id, id));
         ALTER TABLE crm.{table} OWNER TO thorbis_owner"
    )));
    let options = format!(r#"{{"pii": [{{"column": "{a}", "index": true}}, {{"column": "{b}", "index": true}}]}}"#);
    ok(client.batch_execute(&call(&format!("crm.{table}"), &options, false)));
    assert_eq!(statements(&mut client, &call(&format!("crm.{table}"), &options, false)), Vec::<String>::new());
    let view: String = one(
        &mut client,
        "SELECT oid::regclass::text FROM pg_class WHERE relkind = 'v' AND relnamespace = 'crm'::regnamespace AND relname LIKE '%\\_pii'",
        &[],
    );
    let row = as_owner(&db, &A, |tx| {
        tx.execute(&format!("INSERT INTO crm.{table} ({a}, {b}) VALUES ('of a', 'of b')"), &[])?;
        tx.query_one(&format!("SELECT {a}, {b} FROM {view}"), &[])
    });
    assert_eq!((row.get(0), row.get(1)), ("of a", "of b"));
}

#[test]
fn partitioned_tables_are_encrypted() {
    let db = Database::new();
    let mut client = db.superuser();
    ok(client.batch_execute(
        "CREATE SCHEMA crm AUTHORIZATION thorbis_owner;
         CREATE TABLE crm.calls (tenant_id uuid, id uuid DEFAULT gen_random_uuid(), who text, PRIMARY KEY (tenant_id, id))
             PARTITION BY HASH (tenant_id);
         CREATE TABLE crm.calls_0 PARTITION OF crm.calls FOR VALUES WITH (MODULUS 2, REMAINDER 0);
         CREATE TABLE crm.calls_other (extra int, who text, id uuid NOT NULL DEFAULT gen_random_uuid(), tenant_id uuid NOT NULL);
         ALTER TABLE crm.calls_other DROP COLUMN extra;
         ALTER TABLE crm.calls ATTACH PARTITION crm.calls_other FOR VALUES WITH (MODULUS 2, REMAINDER 1);
         ALTER TABLE crm.calls OWNER TO thorbis_owner; ALTER TABLE crm.calls_0 OWNER TO thorbis_owner;
         ALTER TABLE crm.calls_other OWNER TO thorbis_owner;
         SELECT thorbis.protect('crm.calls', 'calls', '{\"pii\": [{\"column\": \"who\", \"index\": true}]}')",
    ));
    assert_eq!(statements(&mut client, "SELECT thorbis.protect('crm.calls')"), Vec::<String>::new());
    for tenant in [&A, &B] {
        for relation in ["crm.calls", "crm.calls_pii"] {
            as_owner(&db, tenant, |tx| tx.execute(&format!("INSERT INTO {relation} (who) VALUES ($1)"), &[&relation]));
        }
        let found = as_owner(&db, tenant, |tx| tx.query("SELECT who FROM crm.calls_pii ORDER BY 1", &[]));
        assert_eq!(found.iter().map(|row| row.get(0)).collect::<Vec<&str>>(), ["crm.calls", "crm.calls_pii"]);
        assert_eq!(as_owner(&db, tenant, |tx| tx.execute("UPDATE crm.calls_pii SET who = 'same'", &[])), 2);
    }
    let clear = "SELECT count(*) FROM crm.calls WHERE who IS NOT NULL OR who_bidx IS NULL";
    assert_eq!(one::<i64>(&mut client, clear, &[]), 0);
}

/// Keys that are no uuid, and rows that are nobody's in particular.
#[test]
fn rows_with_other_keys_and_without_a_person_are_encrypted() {
    let db = Database::new();
    let mut client = db.superuser();
    for (n, key) in ["bigint", "integer", "text", "smallint"].iter().enumerate() {
        let table = format!("crm.t{n}");
        ok(client.batch_execute(&format!(
            "CREATE SCHEMA IF NOT EXISTS crm AUTHORIZATION thorbis_owner;
             CREATE TABLE {table} (tenant_id uuid, id {key}, secret text NOT NULL, PRIMARY KEY (tenant_id, id));
             ALTER TABLE {table} OWNER TO thorbis_owner; {}",
            call(&table, r#"{"pii": ["secret"]}"#, false)
        )));
        let insert = format!("INSERT INTO {table} (id, secret) VALUES ('7', 'seven'), ('8', 'eight')");
        for tenant in [&A, &B] {
            as_owner(&db, tenant, |tx| tx.execute(&insert, &[]));
            let found = as_owner(&db, tenant, |tx| {
                Ok(one::<String>(tx, &format!("SELECT string_agg(secret, ' ' ORDER BY id) FROM {table}_pii"), &[]))
            });
            assert_eq!(found, "seven eight", "{key}");
        }
        // What had to have a value still has to.
        for missing in ["(id) VALUES ('9')", "(id, secret) VALUES ('9', NULL)", "(id, secret) VALUES ('9', '')"] {
            let inserted = in_context(&mut db.app(), A.id, A.owner, |tx| {
                tx.execute(&format!("INSERT INTO {table} {missing}"), &[])
            });
            thorbis_tests::assert_sqlstate_in(inserted, &["23502", "23514"]);
        }
    }
}

/// Whoever a row is about decides under whose key it is: with the person changes the key.
#[test]
fn row_that_is_given_to_another_person_is_encrypted_under_their_key() {
    let db = Database::new();
    let mut client = db.superuser();
    ok(client.batch_execute(NOTES));
    ok(client.batch_execute(&call("crm.notes", NOTES_OPTIONS, false)));
    let id: Uuid = as_owner(&db, &A, |tx| {
        Ok(one(
            tx,
            "INSERT INTO crm.notes (customer_id, email) VALUES ($1, 'who@key.example') RETURNING id",
            &[&A.customer],
        ))
    });
    let key = "SELECT (SELECT k.subject_kind || ' ' || k.subject_id FROM thorbis.data_keys k
                        WHERE uuid_send(k.id) = substr(decode(n.email_encrypted, 'base64'), 4, 16))
                 FROM crm.notes n WHERE id = $1";
    assert_eq!(one::<String>(&mut client, key, &[&id]), format!("customer {}", A.customer));
    for (person, expected) in [
        (Some(A.restricted_customer), format!("customer {}", A.restricted_customer)),
        (None, format!("tenant {}", A.id)),
        (Some(A.customer), format!("customer {}", A.customer)),
    ] {
        as_owner(&db, &A, |tx| tx.execute("UPDATE crm.notes SET customer_id = $2 WHERE id = $1", &[&id, &person]));
        assert_eq!(one::<String>(&mut client, key, &[&id]), expected);
        let read: String = as_owner(&db, &A, |tx| Ok(one(tx, "SELECT email FROM crm.notes_pii WHERE id = $1", &[&id])));
        assert_eq!(read, "who@key.example");
    }
}

#[test]
fn renamed_tables_and_columns_stay_readable() {
    let (db, mut client) = notes_in_clear();
    ok(client.batch_execute(&call("crm.notes", NOTES_OPTIONS, false)));
    ok(client.batch_execute("SELECT thorbis.encrypt_existing('crm.notes')"));
    let before = rows(&db, "crm.notes_pii");
    ok(client.batch_execute(
        "ALTER TABLE crm.notes RENAME TO memos; ALTER SCHEMA crm RENAME TO desk; SELECT thorbis.protect('desk.memos')",
    ));
    // The views keep their names: applications know them.
    assert_eq!(rows(&db, "desk.notes_pii"), before);
    as_owner(&db, &A, |tx| {
        tx.execute("UPDATE desk.notes_pii SET email = 'later@clear.example' WHERE remark = 'r1'", &[])
    });
    let read =
        as_owner(&db, &A, |tx| Ok(one::<String>(tx, "SELECT email FROM desk.notes_pii WHERE remark = 'r1'", &[])));
    assert_eq!(read, "later@clear.example");
}

// --- refusals

#[test]
fn options_that_do_not_fit_are_refused_and_change_nothing() {
    let db = Database::new();
    let mut client = db.superuser();
    ok(client.batch_execute(NOTES));
    ok(client.batch_execute(
        "ALTER TABLE crm.notes ADD COLUMN doubled text GENERATED ALWAYS AS (remark || remark) STORED, ADD COLUMN born date,
                               ADD COLUMN amount numeric, ADD COLUMN remark_encrypted integer;
         CREATE TABLE crm.keyless (tenant_id uuid NOT NULL, body text); ALTER TABLE crm.keyless OWNER TO thorbis_owner",
    ));
    let before = objects(&mut client);
    for (table, options, codes) in [
        ("notes", r#"{"pii": ["nothing"]}"#, ["42703"].as_slice()),
        ("notes", r#"{"not_personal": ["nothing"]}"#, &["42703"]),
        ("notes", r#"{"pii": ["email", "email"]}"#, &["22023"]),
        ("notes", r#"{"pii": ["email"], "not_personal": ["email"]}"#, &["22023"]),
        ("notes", r#"{"pii": [{"column": "email", "method": "hash"}]}"#, &["22023"]),
        ("notes", r#"{"pii": [{"column": "email", "kind": "iban"}]}"#, &["22023"]),
        ("notes", r#"{"pii": [{"column": "email", "category": "secret"}]}"#, &["22023"]),
        ("notes", r#"{"pii": [{"column": "email", "colour": "red"}]}"#, &["22023"]),
        ("notes", r#"{"pii": [{"kind": "email"}]}"#, &["22023"]),
        ("notes", r#"{"pii": "email"}"#, &["22023"]),
        ("notes", r#"{"pii": ["id"]}"#, &["22023", "42804", "0A000"]),
        ("notes", r#"{"pii": ["tenant_id"]}"#, &["22023", "42804", "0A000"]),
        ("notes", r#"{"pii": ["doubled"]}"#, &["22023", "42804", "0A000"]),
        ("notes", r#"{"pii": ["born"]}"#, &["22023", "42804", "0A000"]),
        ("notes", r#"{"pii": ["amount"]}"#, &["22023", "42804", "0A000"]),
        ("notes", r#"{"pii": ["remark"]}"#, &["22023", "42804", "42701", "55000"]),
        ("keyless", r#"{"pii": ["body"]}"#, &["42P16"]),
        ("notes", r#"{"pii": ["body"], "subject": {"kind": "customer", "column": "nothing"}}"#, &["42703"]),
        ("notes", r#"{"pii": ["body"], "subject": {"kind": "customer", "column": "remark"}}"#, &["42804", "22023"]),
        ("notes", r#"{"pii": ["body"], "subject": {"kind": "tenant", "column": "customer_id"}}"#, &["22023"]),
        ("notes", r#"{"pii": ["body"], "subject": {"kind": "A b", "column": "customer_id"}}"#, &["22023"]),
        ("notes", r#"{"pii": ["body"], "subject": {"kind": "customer"}}"#, &["22023"]),
        ("notes", r#"{"pii": ["body"], "triggers": {"decrypt": "x"}}"#, &["22023"]),
    ] {
        println!("{options}");
        let refused = client.batch_execute(&call(&format!("crm.{table}"), options, false));
        let error = thorbis_tests::assert_sqlstate_in(refused, codes);
        assert!(error.hint().is_some_and(|hint| !hint.is_empty()), "{options}: no hint");
    }
    assert_same("refused options", &before, &objects(&mut client));
}

/// What is in the way is somebody else's: it is not taken over.
#[test]
fn taken_names_of_views_and_triggers_are_refused() {
    for taken in [
        "CREATE TABLE crm.notes_pii (id int)",
        "CREATE TABLE crm.notes_masked (id int)",
        "CREATE FUNCTION crm.mine() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
         CREATE TRIGGER encrypt_notes_pii BEFORE INSERT ON crm.notes FOR EACH ROW EXECUTE FUNCTION crm.mine()",
    ] {
        let db = Database::new();
        let mut client = db.superuser();
        ok(client.batch_execute(&format!("{NOTES}; {taken}")));
        let before = objects(&mut client);
        let error = thorbis_tests::assert_sqlstate_in(
            client.batch_execute(&call("crm.notes", NOTES_OPTIONS, false)),
            &["42710", "42P07", "42809", "55000"],
        );
        assert!(error.hint().is_some_and(|hint| !hint.is_empty()), "{taken}: no hint");
        assert_same(taken, &before, &objects(&mut client));
    }
}

#[test]
fn only_the_owner_encrypts_and_only_operators_decrypt_existing_rows() {
    let (db, mut client) = notes_in_clear();
    ok(client.batch_execute(&call("crm.notes", NOTES_OPTIONS, false)));
    for role in ["app_login", "stranger_login"] {
        let mut other = db.connect_as(role);
        for function in ["encrypt_existing", "decrypt_existing"] {
            for dry_run in [true, false] {
                let sql = format!("SELECT thorbis.{function}('crm.notes', {dry_run})");
                assert_sqlstate(other.batch_execute(&sql), "42501");
            }
        }
    }
    ok(client.batch_execute("SET ROLE thorbis_platform"));
    assert_sqlstate(client.batch_execute("SELECT thorbis.encrypt_existing('crm.notes')"), "42501");
    ok(client.batch_execute("SET ROLE thorbis_owner"));
    ok(client.batch_execute("SELECT thorbis.encrypt_existing('crm.notes')"));
    assert_sqlstate(client.batch_execute("SELECT thorbis.decrypt_existing('crm.notes')"), "42501");
}

#[test]
fn rows_of_tables_without_encrypted_columns_are_not_touched() {
    let db = Database::new();
    let mut client = db.superuser();
    ok(client.batch_execute("CREATE TABLE public.loose (tenant_id uuid, id uuid, body text)"));
    for table in ["public.loose", "shared.locations", "pg_catalog.pg_class"] {
        for function in ["encrypt_existing", "decrypt_existing"] {
            let error = thorbis_tests::db_error(client.batch_execute(&format!("SELECT thorbis.{function}('{table}')")));
            assert!(["55000", "42P16"].contains(&error.code().code()), "{table}: {}", error.message());
            assert!(error.hint().is_some_and(|hint| !hint.is_empty()), "{table}: no hint");
        }
    }
}
