//! Personal data in the log of changes: never in clear, under the key of the person it is about, gone with it.

use postgres::{Client, GenericClient};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use thorbis_tests::audit_log::Entry;
use thorbis_tests::keyring::Kept;
use thorbis_tests::people::{SECRETS, erase, steps, with_customer};
use thorbis_tests::personal::give;
use thorbis_tests::traces::holding;
use thorbis_tests::{
    A, B, Cluster, Database, Dump, Tenant, as_owner, assert_sqlstate, in_context, make_database, ok, one, set_local,
    until,
};
use uuid::Uuid;

/// An encrypted value in the log.
#[derive(Debug, Clone)]
struct Sealed {
    table: String,
    operation: String,
    field: String,
    row: String,
    text: String,
    data_key: Uuid,
}

/// Those of a tenant, oldest first.
fn sealed(superuser: &mut impl GenericClient, tenant: &Tenant) -> Vec<Sealed> {
    let sql = "SELECT c.table_name, c.operation, c.table_name || '.' || regexp_replace(e.key, '_encrypted$', ''), v.row_key, e.value,
                      encode(substr(decode(e.value, 'base64'), 4, 16), 'hex')::uuid
                 FROM audit.change_log c,
                      LATERAL (VALUES (c.old_values, c.row_key), (c.new_values, coalesce(c.new_row_key, c.row_key))) v(image, row_key),
                      jsonb_each_text(v.image) e
                WHERE c.tenant_id = $1 AND e.value LIKE 'THv1%' ORDER BY c.occurred_at, c.id";
    let of = |row: &postgres::Row| Sealed {
        table: row.get(0),
        operation: row.get(1),
        field: row.get(2),
        row: row.get(3),
        text: row.get(4),
        data_key: row.get(5),
    };
    ok(superuser.query(sql, &[&tenant.id])).iter().map(of).collect()
}

const OPEN: &str = "SELECT decrypt_pii($1, $2, $3)";

/// The clear value for the owner of the tenant; None when it does not open.
fn opened(app: &mut Client, tenant: &Tenant, value: &Sealed) -> Option<String> {
    let read =
        in_context(app, tenant.id, tenant.owner, |tx| tx.query_one(OPEN, &[&value.text, &value.field, &value.row]));
    match read {
        Ok(row) => Some(row.get(0)),
        Err(e) => {
            assert_eq!(thorbis_tests::sqlstate(&e), "22000", "{}", thorbis_tests::describe(&e));
            None
        }
    }
}

/// The ids of the data keys of one subject.
fn keys_of(superuser: &mut impl GenericClient, tenant: &Tenant, subject: Uuid) -> Vec<Uuid> {
    let sql = "SELECT id FROM thorbis.data_keys WHERE tenant_id = $1 AND subject_id = $2";
    ok(superuser.query(sql, &[&tenant.id, &subject])).iter().map(|row| row.get(0)).collect()
}

/// The log shows none of the texts, neither to whoever reads it nor to whoever opens every value that opens.
#[track_caller]
fn nothing_shows(db: &Database, texts: &[&str]) {
    let (mut superuser, mut app) = (db.superuser(), db.app());
    for text in texts {
        let found = Entry::read(&mut superuser, &format!("c WHERE position(lower('{text}') IN lower(c::text)) > 0"));
        assert!(found.is_empty(), "{text} stands in the log in clear: {found:?}");
    }
    for value in sealed(&mut superuser, &A) {
        if let Some(clear) = opened(&mut app, &A, &value) {
            assert!(texts.iter().all(|text| !clear.contains(text)), "{value:?} opens to {clear}");
        }
    }
}

const ORDER: &str = "INSERT INTO restaurants.orders (customer_id, special_instructions, metadata)
                     VALUES ($1, 'no gluten', '{\"for\": \"Zebulon\"}') RETURNING id";
const ITEMS: &str = "INSERT INTO restaurants.order_items (order_id, item_name, unit_price, special_instructions)
                     SELECT $1, 'Soup', 5, 'gluten ' || n FROM generate_series(1, 2) n";

fn order_with_items(tx: &mut impl GenericClient, customer: Uuid) -> Uuid {
    let order: Uuid = one(tx, ORDER, &[&customer]);
    ok(tx.execute(ITEMS, &[&order]));
    order
}

// --- as it stands there

#[test]
fn every_personal_value_opens_with_its_field_and_the_key_of_its_row_and_with_the_permission_only() {
    let db = with_customer();
    let (mut superuser, mut app) = (db.superuser(), db.app());
    let insert = "INSERT INTO shared.customers (email, phone, first_name, last_name, company_name, address, preferences, tags,
                      tax_exemption_no, settings, metadata)
                  VALUES ('ada@new.example', '+1 555 0100', 'Ada', 'Lovelace', 'Engines', '{\"street\": \"A\", \"n\": [1, 2.50]}',
                      '{\"likes\": \"b\"}', '{vip,\"x y\"}', 'T-1', '{\"s\": true}', '{\"m\": null}') RETURNING id";
    let id: Uuid = as_owner(&db, &A, |tx| Ok(one(tx, insert, &[])));
    let values: Vec<Sealed> =
        sealed(&mut superuser, &A).into_iter().filter(|value| value.row == id.to_string()).collect();
    let clear: BTreeMap<String, String> =
        values.iter().map(|value| (value.field.clone(), opened(&mut app, &A, value).expect("it opens"))).collect();
    let expected = [
        ("email", "ada@new.example"),
        ("phone", "+1 555 0100"),
        ("first_name", "Ada"),
        ("last_name", "Lovelace"),
        ("company_name", "Engines"),
        ("address", r#"{"n": [1, 2.50], "street": "A"}"#),
        ("preferences", r#"{"likes": "b"}"#),
        ("tags", r#"["vip", "x y"]"#),
        ("tax_exemption_no", "T-1"),
        ("settings", r#"{"s": true}"#),
        ("metadata", r#"{"m": null}"#),
    ];
    let expected = expected.map(|(column, text)| (format!("shared.customers.{column}"), text.to_owned()));
    assert_eq!(clear, expected.into_iter().collect());
    // All under one key, that of the person.
    assert_eq!(
        values.iter().map(|value| value.data_key).collect::<BTreeSet<_>>().into_iter().collect::<Vec<_>>(),
        keys_of(&mut superuser, &A, id)
    );
    for value in &values {
        // For nobody without the permission, nor in another tenant; and nowhere else.
        let arguments: [&(dyn postgres::types::ToSql + Sync); 3] = [&value.text, &value.field, &value.row];
        assert_sqlstate(in_context(&mut app, A.id, A.employee, |tx| tx.query(OPEN, &arguments)), "42501");
        assert_sqlstate(in_context(&mut app, B.id, B.owner, |tx| tx.query(OPEN, &arguments)), "22000");
        for (field, row) in
            [(value.field.clone(), A.customer.to_string()), ("shared.customers.nickname".to_owned(), value.row.clone())]
        {
            assert_sqlstate(
                in_context(&mut app, A.id, A.owner, |tx| tx.query(OPEN, &[&value.text, &field, &row])),
                "22000",
            );
        }
    }
    give(&db, &A, "customers", "pii");
    let read = in_context(&mut app, A.id, A.employee, |tx| {
        tx.query(OPEN, &[&values[0].text, &values[0].field, &values[0].row])
    });
    assert_eq!(ok(read).len(), 1);
    // What is empty says nothing, and needs no key.
    let nobody: Uuid = as_owner(&db, &A, |tx| {
        Ok(one(tx, "INSERT INTO shared.customers (first_name, last_name) VALUES ('', '') RETURNING id", &[]))
    });
    let entry = Entry::last_of(&mut superuser, "shared.customers");
    for (column, empty) in
        [("first_name", json!("")), ("tags", json!([])), ("settings", json!({})), ("email_encrypted", Value::Null)]
    {
        assert_eq!(entry.values(column)[1], empty, "{column}");
    }
    assert!(keys_of(&mut superuser, &A, nobody).is_empty());
}

/// In the order in which they change: before and after.
#[test]
fn changes_show_both_values_and_blind_indexes_are_in_none() {
    let db = with_customer();
    let (mut superuser, mut app) = (db.superuser(), db.app());
    as_owner(&db, &A, |tx| {
        tx.execute(
            "UPDATE shared.customers SET email = 'other@new.example', first_name = 'Other' WHERE id = $1",
            &[&A.customer],
        )
    });
    let last: Vec<Option<String>> =
        sealed(&mut superuser, &A).iter().rev().take(4).map(|value| opened(&mut app, &A, value)).collect();
    let mut last: Vec<String> = last.into_iter().flatten().collect();
    last.sort();
    assert_eq!(last, ["Other", "Zebulon", "carla@aaaaaaaa.example", "other@new.example"]);
    as_owner(&db, &A, |tx| tx.execute("DELETE FROM crm.notes", &[]));
    let named = "SELECT count(*) FROM audit.change_log c WHERE c::text LIKE '%\\_bidx%'";
    assert_eq!(one::<i64>(&mut superuser, named, &[]), 0);
    let indexes = "SELECT encode(email_bidx, f) FROM shared.customers, unnest('{hex,base64,escape}'::text[]) f WHERE email_bidx IS NOT NULL
                   UNION ALL SELECT encode(email_bidx, f) FROM shared.users, unnest('{hex,base64}'::text[]) f WHERE email_bidx IS NOT NULL";
    let indexes: Vec<String> = ok(superuser.query(indexes, &[])).iter().map(|row| row.get(0)).collect();
    assert!(indexes.len() > 10);
    let texts: String = one(&mut superuser, "SELECT string_agg(c::text, ' ') FROM audit.change_log c", &[]);
    assert!(indexes.iter().all(|index| !texts.contains(index.as_str())));
}

#[test]
fn credentials_and_secret_columns_read_changed_in_every_operation() {
    let db = Database::new();
    let mut superuser = db.superuser();
    ok(superuser.batch_execute(
        "CREATE SCHEMA safe; GRANT ALL ON SCHEMA safe TO thorbis_owner;
         CREATE TABLE safe.tokens (tenant_id uuid NOT NULL DEFAULT get_current_tenant_id(), id uuid DEFAULT gen_random_uuid(), token text,
             ssn text, pin text, note text, hidden text, PRIMARY KEY (tenant_id, id));
         ALTER TABLE safe.tokens OWNER TO thorbis_owner;
         SELECT thorbis.protect('safe.tokens', options => '{\"not_personal\": [\"token\", \"hidden\"], \"audit\": {\"secret\": [\"token\", \"ssn\"], \"exclude\": [\"hidden\"]},
             \"pii\": [\"ssn\", {\"column\": \"pin\", \"method\": \"clear\", \"category\": \"credential\"}, {\"column\": \"note\", \"method\": \"clear\"}]}')",
    ));
    as_owner(&db, &A, |tx| {
        tx.execute("INSERT INTO safe.tokens (token, ssn, pin, note, hidden) VALUES ('SSN-IN-AUDIT', 'SSN-IN-AUDIT', 'SSN-IN-AUDIT', 'SSN-IN-AUDIT', 'SSN-IN-AUDIT')", &[])?;
        tx.execute("UPDATE safe.tokens SET token = 'SSN-IN-AUDIT 2', ssn = 'SSN-IN-AUDIT 2', pin = 'SSN-IN-AUDIT 2', hidden = 'SSN-IN-AUDIT 2'", &[])?;
        tx.execute("DELETE FROM safe.tokens", &[])?;
        tx.execute("UPDATE shared.users SET pin_hash = 'SSN-IN-AUDIT' WHERE id = $1", &[&A.owner])
    });
    let log = Entry::of_table(&mut superuser, "safe.tokens");
    for (entry, sides) in log.iter().zip([&[1][..], &[0, 1], &[0]]) {
        for side in sides {
            for column in ["token", "ssn_encrypted", "pin"] {
                assert_eq!(entry.values(column)[*side], json!("changed"), "{column}: {entry:?}");
            }
            assert_eq!(entry.values("hidden")[*side], Value::Null);
        }
    }
    let [before, after] = Entry::last_of(&mut superuser, "shared.users").values("pin_hash");
    assert_eq!((before, after), (Value::Null, json!("changed")));
    let clear = "SELECT count(*) FROM audit.change_log c WHERE c::text LIKE '%SSN-IN-AUDIT%'";
    assert_eq!(one::<i64>(&mut superuser, clear, &[]), 0);
}

// --- after the person was erased

/// Everything that may happen to what is known of a person.
fn live(db: &Database) {
    as_owner(db, &A, |tx| {
        let kept = order_with_items(tx, A.customer);
        tx.execute("UPDATE restaurants.orders SET special_instructions = 'gluten, none' WHERE id = $1", &[&kept])?;
        // Deleted alone, and with what hangs on it.
        tx.execute("DELETE FROM restaurants.order_items WHERE id = (SELECT id FROM restaurants.order_items WHERE order_id = $1 LIMIT 1)", &[&kept])?;
        let gone = order_with_items(tx, A.customer);
        tx.execute("DELETE FROM restaurants.orders WHERE id = $1", &[&gone])?;
        tx.execute("DELETE FROM crm.notes WHERE customer_id = $1", &[&A.customer])?;
        tx.execute("INSERT INTO crm.notes (customer_id, body) VALUES ($1, 'met at the fair, again')", &[&A.customer])
    });
    // In transactions of their own, with savepoints, and changed before it is deleted.
    let order = as_owner(db, &A, |tx| Ok(order_with_items(tx, A.customer)));
    as_owner(db, &A, |tx| tx.execute("DELETE FROM restaurants.orders WHERE id = $1", &[&order]));
    let order = as_owner(db, &A, |tx| Ok(order_with_items(tx, A.customer)));
    ok(db.app().batch_execute(&format!(
        "BEGIN; {}; SAVEPOINT a; DELETE FROM restaurants.orders WHERE id = '{order}'; ROLLBACK TO a;
         UPDATE restaurants.orders SET special_instructions = 'gluten?' WHERE id = '{order}';
         SAVEPOINT b; DELETE FROM restaurants.orders WHERE id = '{order}'; RELEASE b; COMMIT",
        set_local(A.id, A.owner)
    )));
    // By an upsert and a MERGE.
    as_owner(db, &A, |tx| {
        tx.execute(
            "INSERT INTO shared.customers (id, email, first_name, last_name) VALUES ($1, 'carla@aaaaaaaa.example', 'Zebulon', 'X')
             ON CONFLICT (tenant_id, id) DO UPDATE SET last_name = 'Customerson II', phone = '+1 555 0142 '",
            &[&A.customer],
        )?;
        tx.execute(
            "MERGE INTO shared.customers c USING (SELECT $1::uuid AS id) s ON c.id = s.id
              WHEN MATCHED THEN UPDATE SET company_name = 'Zebulon and Sons'",
            &[&A.customer],
        )
    });
}

#[test]
fn nobody_reads_an_erased_persons_values_in_the_log() {
    let db = with_customer();
    let (mut superuser, mut app) = (db.superuser(), db.app());
    live(&db);
    let [key] = keys_of(&mut superuser, &A, A.customer).try_into().expect("the customer has one key");
    let of_person: Vec<Sealed> = sealed(&mut superuser, &A).into_iter().filter(|value| value.data_key == key).collect();
    assert!(of_person.iter().all(|value| opened(&mut app, &A, value).is_some()));
    let kinds: BTreeSet<_> = of_person.iter().map(|value| (value.table.as_str(), value.operation.as_str())).collect();
    for table in ["restaurants.orders", "restaurants.order_items", "crm.notes"] {
        for operation in ["INSERT", "DELETE"] {
            assert!(kinds.contains(&(table, operation)), "{operation} of {table}: {kinds:?}");
        }
    }
    // Others' values open before and after.
    let others = |superuser: &mut Client, app: &mut Client| {
        let all = sealed(superuser, &A).into_iter().filter(|value| value.data_key != key);
        all.filter_map(|value| opened(app, &A, &value)).collect::<Vec<_>>()
    };
    let before = others(&mut superuser, &mut app);
    assert!(before.iter().any(|text| text == "somebody else"));
    ok(superuser.batch_execute("SELECT audit.seal()"));
    erase(&db, &A, A.customer);
    assert!(keys_of(&mut superuser, &A, A.customer).is_empty(), "the erasure itself made a key");
    assert_eq!(others(&mut superuser, &mut app), before);
    // As the application, as the operator, and as superuser.
    let operator = db.role("operator", "LOGIN IN ROLE thorbis_platform, thorbis_gateway");
    let mut operator = db.connect_as(&operator);
    ok(operator.batch_execute("SET ROLE thorbis_platform"));
    for client in [&mut app, &mut operator, &mut superuser] {
        for value in &of_person {
            assert_eq!(opened(client, &A, value), None, "{value:?}");
        }
    }
    nothing_shows(&db, &SECRETS);
    assert_eq!(one::<String>(&mut superuser, "SELECT string_agg(finding, ' ') FROM audit.verify()", &[]), "ok");
    ok(superuser.batch_execute("SELECT audit.seal()"));
    assert_eq!(one::<String>(&mut superuser, "SELECT string_agg(finding, ' ') FROM audit.verify()", &[]), "ok");
    // Nor is a clear value found in any table.
    let secrets = SECRETS.join(",");
    let left = as_owner(&db, &A, |tx| Ok(steps(tx, &format!("gdpr.residue_scan('{}', '{{{secrets}}}')", A.customer))));
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn erasure_itself_is_logged_without_what_it_erases() {
    let db = with_customer();
    let mut superuser = db.superuser();
    let begun: i64 = one(&mut superuser, "SELECT pg_current_xact_id()::text::bigint", &[]);
    erase(&db, &A, A.customer);
    let log = Entry::read(&mut superuser, &format!("WHERE transaction_id > {begun} ORDER BY occurred_at, id"));
    let update = |table: &str| {
        log.iter()
            .find(|entry| entry.table == table && entry.operation == "UPDATE")
            .unwrap_or_else(|| panic!("{table}: {log:?}"))
    };
    let customer = update("shared.customers");
    for column in
        ["first_name", "last_name", "address", "preferences", "tags", "company_name", "tax_exemption_no", "metadata"]
    {
        assert_eq!(customer.values(column)[0], json!("erased"), "{column}");
    }
    assert_eq!(customer.values("deleted_at")[0], Value::Null);
    assert!(customer.values("deleted_at")[1].is_string() && customer.actor == Some(A.owner), "{customer:?}");
    for table in ["restaurants.orders", "restaurants.order_items"] {
        assert_eq!(update(table).values("special_instructions"), [json!("erased"), Value::Null], "{table}");
    }
    // Ciphertexts are what they were, and open no more.
    let mut app = db.app();
    let old =
        sealed(&mut superuser, &A).into_iter().filter(|value| value.text == customer.values("email_encrypted")[0]);
    assert!(old.map(|value| opened(&mut app, &A, &value)).eq([None, None]), "{customer:?}");
    let text = format!("{log:?}");
    assert!(SECRETS.iter().all(|secret| !text.contains(secret)), "{text}");
}

/// Columns that may not be NULL hold something after an erasure too: of every type that erasure knows, with a default and
/// without.
const GUESTS: &str = "
    CREATE SCHEMA inn;
    CREATE TABLE inn.guests (tenant_id uuid NOT NULL DEFAULT get_current_tenant_id(), id uuid DEFAULT gen_random_uuid(),
        name text NOT NULL, nick varchar(5) NOT NULL, kind text NOT NULL DEFAULT 'regular', born date NOT NULL, seen timestamptz NOT NULL, height integer NOT NULL,
        weight numeric NOT NULL, smokes boolean NOT NULL, address inet NOT NULL, diet text[] NOT NULL, data json NOT NULL, extra jsonb NOT NULL DEFAULT '{\"x\": 1}',
        PRIMARY KEY (tenant_id, id));
    ALTER TABLE inn.guests OWNER TO thorbis_owner;
    SELECT thorbis.protect('inn.guests', options => format('{\"subject\": {\"kind\": \"guest\", \"column\": \"id\"}, \"pii\": [%s]}',
        (SELECT string_agg(format('{\"column\": \"%s\", \"method\": \"clear\"}', attname), ', ') FROM pg_attribute
          WHERE attrelid = 'inn.guests'::regclass AND attnum > 2))::jsonb)";
const GUEST: &str = "INSERT INTO inn.guests (name, nick, kind, born, seen, height, weight, smokes, address, diet, data, extra)
    VALUES ('Yolanda', 'Yo', 'vip', '1990-01-02', now(), 171, 60.5, true, '10.1.2.3', '{vegan}', '{\"a\": \"Yolanda\"}', '{\"b\": \"Yolanda\"}') RETURNING id";

#[test]
fn erased_row_that_is_changed_or_deleted_later_makes_no_new_key() {
    let db = with_customer();
    let mut superuser = db.superuser();
    ok(superuser.batch_execute(GUESTS));
    let guest: Uuid = as_owner(&db, &A, |tx| Ok(one(tx, GUEST, &[])));
    assert_eq!(keys_of(&mut superuser, &A, guest).len(), 1);
    as_owner(&db, &A, |tx| tx.execute("SELECT * FROM gdpr.erase_subject($1, false, 'guest')", &[&guest]));
    as_owner(&db, &A, |tx| tx.execute("UPDATE inn.guests SET nick = '' WHERE id = $1", &[&guest]));
    assert!(keys_of(&mut superuser, &A, guest).is_empty(), "by an update");
    as_owner(&db, &A, |tx| tx.execute("DELETE FROM inn.guests WHERE id = $1", &[&guest]));
    let entry = Entry::last_of(&mut superuser, "inn.guests");
    assert!(keys_of(&mut superuser, &A, guest).is_empty(), "by a deletion: {entry:?}");
    assert_eq!(entry.operation, "DELETE");
    // The customer's rows, by the operator: the application does not delete people.
    erase(&db, &A, A.customer);
    for table in [
        "crm.notes WHERE customer_id",
        "restaurants.order_items WHERE order_id",
        "gdpr.consents WHERE customer_id",
        "gdpr.data_subject_requests WHERE customer_id",
    ] {
        let id = if table.contains("order_id") { A.order } else { A.customer };
        if !table.contains("order_items") {
            ok(superuser.execute(&format!("DELETE FROM {table} = $1"), &[&id]));
        }
    }
    ok(superuser.batch_execute(&format!(
        "SET session_replication_role = replica; DELETE FROM restaurants.order_items WHERE order_id = '{}'; DELETE FROM restaurants.orders WHERE customer_id = '{}';
         DELETE FROM shared.customers WHERE id = '{}'; RESET session_replication_role",
        A.order, A.customer, A.customer
    )));
    assert_eq!(Entry::last_of(&mut superuser, "shared.customers").operation, "DELETE");
    assert!(keys_of(&mut superuser, &A, A.customer).is_empty(), "of the customer");
    nothing_shows(&db, &SECRETS);
    nothing_shows(&db, &["Yolanda", "10.1.2.3", "vegan", "1990-01-02"]);
}

/// Over several tables: those in between are gone when the last row is logged.
#[test]
fn rows_deleted_with_their_parents_are_under_the_key_of_the_person() {
    let db = with_customer();
    let mut superuser = db.superuser();
    ok(superuser.batch_execute(
        "CREATE TABLE crm.item_notes (tenant_id uuid NOT NULL DEFAULT get_current_tenant_id(), id integer NOT NULL, order_item_id uuid, said text,
             PRIMARY KEY (tenant_id, id),
             FOREIGN KEY (tenant_id, order_item_id) REFERENCES restaurants.order_items (tenant_id, id) ON DELETE CASCADE DEFERRABLE);
         ALTER TABLE crm.item_notes OWNER TO thorbis_owner;
         SELECT thorbis.protect('crm.item_notes', options => '{\"pii\": [{\"column\": \"said\", \"method\": \"clear\"}],
             \"subject\": {\"kind\": \"customer\", \"column\": \"order_item_id\", \"through\": \"restaurants.order_items\"}}')",
    ));
    let [key] = keys_of(&mut superuser, &A, A.customer).try_into().expect("the customer has one key");
    let note = "INSERT INTO crm.item_notes (id, order_item_id, said) SELECT 10 * $2 + row_number() OVER (), id, 'met at the fair'
                  FROM restaurants.order_items WHERE order_id = $1";
    let delete = "DELETE FROM restaurants.orders WHERE id = $1";
    // Deleted in a later transaction; in that which made it; after the order came to the person; and all at the end.
    for n in 0..4_i32 {
        let first = if n == 2 { A.restricted_customer } else { A.customer };
        let order = as_owner(&db, &A, |tx| {
            let order = order_with_items(tx, first);
            tx.execute(note, &[&order, &n])?;
            if n == 1 {
                tx.execute(delete, &[&order])?;
            }
            Ok(order)
        });
        if n != 1 {
            as_owner(&db, &A, |tx| {
                tx.batch_execute("SET CONSTRAINTS ALL DEFERRED")?;
                tx.execute(
                    "UPDATE restaurants.orders SET customer_id = $1, guest_count = 2 WHERE id = $2",
                    &[&A.customer, &order],
                )?;
                tx.execute(delete, &[&order])
            });
        }
        let deleted: Vec<Sealed> =
            sealed(&mut superuser, &A).into_iter().rev().take_while(|value| value.operation == "DELETE").collect();
        let tables: BTreeSet<&str> = deleted.iter().map(|value| value.table.as_str()).collect();
        let expected = ["crm.item_notes", "restaurants.order_items", "restaurants.orders"];
        assert!(tables.into_iter().eq(expected), "{n}: {deleted:?}");
        assert!(deleted.iter().all(|value| value.data_key == key), "{n}: {deleted:?}");
    }
}

/// Two records of one person.
#[test]
fn log_of_merged_duplicates_is_unreadable_too() {
    let db = with_customer();
    let duplicate: Uuid = as_owner(&db, &A, |tx| {
        let insert = "INSERT INTO shared.customers (email, first_name, last_name, merged_into_id) VALUES ('second@merged.example', 'Dup', 'Licate', $1) RETURNING id";
        let id: Uuid = one(tx, insert, &[&A.customer]);
        order_with_items(tx, id);
        Ok(id)
    });
    erase(&db, &A, A.customer);
    assert!(keys_of(&mut db.superuser(), &A, duplicate).is_empty());
    nothing_shows(&db, &["second@merged.example", "Dup", "Licate"]);
    nothing_shows(&db, &SECRETS);
}

/// Writing about somebody in a table whose values stand in clear: an erasure beside it waits, or there would be a row that it
/// never saw.
#[test]
fn erasure_waits_for_whoever_logs_something_about_the_person() {
    let db = with_customer();
    let (mut superuser, mut writer, mut eraser) = (db.superuser(), db.app(), db.app());
    ok(writer.batch_execute(&format!("BEGIN; {}", set_local(A.id, A.owner))));
    order_with_items(&mut writer, A.customer);
    let pid: i32 = one(&mut eraser, "SELECT pg_backend_pid()", &[]);
    std::thread::scope(|scope| {
        let erasing = scope.spawn(|| {
            in_context(&mut eraser, A.id, A.owner, |tx| {
                tx.execute("SELECT * FROM gdpr.erase_subject($1, false)", &[&A.customer])
            })
        });
        until("the erasure waits, or is over", || {
            erasing.is_finished()
                || one::<bool>(&mut superuser, "SELECT cardinality(pg_blocking_pids($1)) > 0", &[&pid])
        });
        ok(writer.batch_execute("COMMIT"));
        ok(erasing.join().expect("it returns"));
    });
    let left =
        as_owner(&db, &A, |tx| Ok(steps(tx, &format!("gdpr.residue_scan('{}', '{{gluten,Zebulon}}')", A.customer))));
    let left: Vec<_> = left.iter().filter(|(_, finding)| finding != "unreadable envelope").collect();
    assert!(left.is_empty(), "{left:?}");
    nothing_shows(&db, &SECRETS);
}

// --- whose key it is

#[test]
fn row_about_nobody_is_under_the_tenants_key_and_others_under_that_of_their_person() {
    let db = with_customer();
    let mut superuser = db.superuser();
    let [tenant_key] = keys_of(&mut superuser, &A, A.id).try_into().expect("the tenant has one key");
    let insert = "INSERT INTO restaurants.orders (customer_id, special_instructions) VALUES ($1, 'quickly')";
    let last = |superuser: &mut Client| sealed(superuser, &A).pop().expect("something is encrypted");
    as_owner(&db, &A, |tx| tx.execute(insert, &[&None::<Uuid>]));
    assert_eq!(last(&mut superuser).data_key, tenant_key);
    as_owner(&db, &A, |tx| tx.execute(insert, &[&A.restricted_customer]));
    assert_eq!([last(&mut superuser).data_key].to_vec(), keys_of(&mut superuser, &A, A.restricted_customer));
    // Through the order.
    as_owner(&db, &A, |tx| Ok(order_with_items(tx, A.customer)));
    let item = last(&mut superuser);
    assert_eq!(
        (item.table.as_str(), vec![item.data_key]),
        ("restaurants.order_items", keys_of(&mut superuser, &A, A.customer))
    );
    as_owner(&db, &A, |tx| tx.execute("UPDATE shared.users SET first_name = 'New' WHERE id = $1", &[&A.employee]));
    assert_eq!([last(&mut superuser).data_key].to_vec(), keys_of(&mut superuser, &A, A.employee));
    // One that goes over to somebody else: each value under the key of whom it was about.
    as_owner(&db, &A, |tx| {
        tx.execute("UPDATE restaurants.orders SET customer_id = $1, special_instructions = 'now of another' WHERE special_instructions = 'no gluten' AND customer_id = $2", &[&A.restricted_customer, &A.customer])
    });
    let [.., old, new] =
        sealed(&mut superuser, &A).try_into().map(|[a, b]: [Sealed; 2]| [a, b]).unwrap_or_else(|all| {
            let n = all.len();
            [all[n - 2].clone(), all[n - 1].clone()]
        });
    let mut keys = [old.data_key, new.data_key];
    let mut expected =
        [keys_of(&mut superuser, &A, A.customer)[0], keys_of(&mut superuser, &A, A.restricted_customer)[0]];
    keys.sort();
    expected.sort();
    assert_eq!(keys, expected);
}

#[test]
fn purge_of_a_tenant_leaves_no_key_and_nothing_readable() {
    let db = with_customer();
    let (mut superuser, mut app) = (db.superuser(), db.app());
    live(&db);
    let before = sealed(&mut superuser, &A);
    assert!(before.iter().any(|value| opened(&mut app, &A, value).is_some()));
    ok(superuser.execute("DELETE FROM shared.tenants WHERE id = $1", &[&A.id]));
    let keys = "SELECT count(*) FROM thorbis.data_keys WHERE tenant_id = $1";
    assert_eq!(one::<i64>(&mut superuser, keys, &[&A.id]), 0);
    let after = sealed(&mut superuser, &A);
    assert!(after.len() >= before.len());
    for value in &after {
        for client in [&mut superuser, &mut app] {
            let mut tx = ok(client.transaction());
            ok(tx.execute("SELECT thorbis.set_context($1, $2)", &[&A.id, &A.owner]));
            assert!(tx.query(OPEN, &[&value.text, &value.field, &value.row]).is_err(), "{value:?}");
        }
    }
    let log = Entry::read(
        &mut superuser,
        &format!("WHERE tenant_id = '{}' AND table_name = 'shared.tenants' ORDER BY occurred_at, id", A.id),
    );
    assert_eq!(log.last().map(|entry| entry.operation.as_str()), Some("DELETE"));
    assert!(SECRETS.iter().all(|secret| !format!("{:?}", Entry::read(&mut superuser, "")).contains(secret)));
    // The other tenant's are as they were.
    assert!(sealed(&mut superuser, &B).iter().all(|value| opened(&mut app, &B, value).is_some()));
}

#[test]
fn without_the_keyring_personal_changes_are_refused_by_name_and_all_others_go_on() {
    let kept = Kept::in_a_new_database();
    let mut superuser = kept.db.superuser();
    kept.file.sh("rm \"$FILE\"");
    let mut app = kept.db.app();
    for sql in [
        "UPDATE shared.customers SET first_name = 'Anybody'",
        "INSERT INTO restaurants.orders (special_instructions) VALUES ('quickly')",
        "UPDATE shared.users SET last_name = 'X'",
    ] {
        let error = assert_sqlstate(kept.uses(&mut app, sql), "58P01");
        assert!(error.message().contains(&kept.file.path), "{}", error.message());
    }
    for sql in [
        "UPDATE restaurants.menu_items SET price = 7",
        "INSERT INTO restaurants.orders DEFAULT VALUES",
        "UPDATE shared.customers SET marketing_consent = true",
        "UPDATE restaurants.orders SET guest_count = 2",
    ] {
        assert!(ok(kept.uses(&mut app, sql)) > 0, "{sql}");
    }
    assert_eq!(Entry::last_of(&mut superuser, "shared.customers").values("marketing_consent")[1], json!(true));
    // A key the keyring has lost.
    let mut other = kept.ring.clone();
    other.keys.clear();
    other.add(&mut superuser, "another");
    kept.file.write(&other);
    let error =
        assert_sqlstate(kept.uses(&mut kept.db.app(), "UPDATE shared.customers SET first_name = 'Anybody'"), "55000");
    assert!(error.message().contains(&format!("\"{}\"", kept.ring.active)), "{}", error.message());
    kept.file.write(&kept.ring);
    assert!(ok(kept.uses(&mut kept.db.app(), "UPDATE shared.customers SET first_name = 'Anybody'")) > 0);
}

// --- and nowhere on disk

/// Stands in every value of an encrypted column: nowhere at all in clear.
const SECRET: &str = "zq7xvk9";
/// In every value of a column that its table keeps in clear: nowhere in what the log writes.
const CLEAR: &str = "zq5jwq3";
/// In what is nobody's: whoever finds nothing else must find this.
const CONTROL: &str = "zq8ctrl5";

const DATABASE: &str = "shop";
const SETTINGS: &[&str] =
    &["wal_level=logical", "full_page_writes=on", "log_min_messages=debug1", "log_parameter_max_length_on_error=0"];

/// A table with columns of both kinds, one of them in clear JSON.
const VISITS: &str = "
    CREATE SCHEMA visits; GRANT ALL ON SCHEMA visits TO thorbis_owner;
    CREATE TABLE visits.visits (tenant_id uuid NOT NULL DEFAULT get_current_tenant_id(), id integer NOT NULL, customer_id uuid, host text, guest text,
        data jsonb, words text[], free text, PRIMARY KEY (tenant_id, id));
    ALTER TABLE visits.visits OWNER TO thorbis_owner;
    SELECT thorbis.protect('visits.visits', options => '{\"not_personal\": [\"free\"], \"subject\": {\"kind\": \"customer\", \"column\": \"customer_id\"},
        \"pii\": [{\"column\": \"host\"}, {\"column\": \"guest\", \"method\": \"clear\"}, {\"column\": \"data\", \"method\": \"clear\"}, {\"column\": \"words\", \"method\": \"clear\"}]}')";

/// Values of both kinds in every operation, committed and rolled back.
fn business(app: &mut Client) {
    let mut n = 0;
    let mut run = |sql: &str, rolled_back: bool| {
        n += 1;
        let values = [
            format!("{SECRET}-{n}@plain.example"),
            format!("+7319402586{n:02}"),
            format!("{CLEAR} {n}"),
            format!("{{\"{CLEAR}\": \"{CLEAR} {n}\"}}"),
            CONTROL.to_owned(),
        ];
        // Each statement is given all of them.
        let sql = format!(
            "WITH v(email, phone, clear, json, control) AS (VALUES ($1::text, $2::text, $3::text, $4::text::jsonb, $5::text)) {sql}"
        );
        let values: Vec<&(dyn postgres::types::ToSql + Sync)> = values.iter().map(|value| value as _).collect();
        let mut tx = ok(app.transaction());
        ok(tx.execute("SELECT thorbis.set_context($1, $2)", &[&A.id, &A.owner]));
        let touched = ok(tx.execute(&sql, &values));
        assert!(touched > 0 || rolled_back, "{sql}");
        ok(if rolled_back { tx.rollback() } else { tx.commit() });
    };
    for rolled_back in [false, true] {
        for sql in [
            "INSERT INTO shared.customers (email, phone, first_name, last_name, company_name, address, preferences, tags, tax_exemption_no, settings, metadata)
                 SELECT email, phone, clear, clear, clear, json, json, ARRAY[clear], clear, json, json FROM v",
            "INSERT INTO shared.customers_pii (email, first_name, last_name) SELECT email, clear, clear FROM v",
            "INSERT INTO shared.customers (id, email, first_name, last_name) SELECT 'aaaaaaaa-0000-4000-8000-000000000021', email, clear, clear FROM v
                 ON CONFLICT (tenant_id, id) DO UPDATE SET email = excluded.email, first_name = excluded.first_name",
            "UPDATE shared.customers c SET email = v.email, address = json FROM v WHERE id = 'aaaaaaaa-0000-4000-8000-000000000022'",
            "UPDATE shared.customers c SET first_name = clear || '!', tags = tags || clear, metadata = json FROM v",
            "UPDATE shared.users u SET phone = v.phone, last_name = clear, settings = json FROM v",
            "MERGE INTO shared.users u USING v ON u.id = 'aaaaaaaa-0000-4000-8000-000000000013' WHEN MATCHED THEN UPDATE SET email = v.email, metadata = json",
            "UPDATE restaurants.orders SET special_instructions = clear, metadata = json FROM v",
            "UPDATE restaurants.order_items SET special_instructions = clear, metadata = json FROM v",
            "INSERT INTO visits.visits (id, customer_id, host, guest, data, words, free)
                 SELECT n, CASE WHEN n > 3 THEN 'aaaaaaaa-0000-4000-8000-000000000021'::uuid END, email, clear, json, ARRAY[clear], control FROM v, generate_series(1, 6) n ON CONFLICT DO NOTHING",
            "UPDATE visits.visits t SET host = email, guest = clear || '?', data = json || '{\"x\": 1}', words = ARRAY[clear, clear] FROM v WHERE t.id < 6",
            "DELETE FROM visits.visits USING v WHERE id IN (1, 5)",
            "INSERT INTO restaurants.order_items (order_id, item_name, unit_price, special_instructions)
                 SELECT 'aaaaaaaa-0000-4000-8000-000000000031', 'Extra', 1, clear FROM v",
            "DELETE FROM restaurants.order_items USING v WHERE item_name = 'Extra'",
        ] {
            run(sql, rolled_back);
        }
    }
}

#[test]
fn no_personal_value_stands_in_clear_in_the_log_its_files_its_wal_or_a_dump_of_it() {
    let server = Cluster::fresh_with("logged", SETTINGS);
    make_database(&server, DATABASE);
    let mut superuser = server.connect(DATABASE, "postgres");
    ok(superuser.batch_execute(VISITS));
    // What the log writes into the WAL, apart from what the tables do.
    ok(superuser.batch_execute("CREATE PUBLICATION log FOR TABLE audit.change_log, audit.security_events"));
    ok(superuser.batch_execute("SELECT pg_create_logical_replication_slot('reader', 'pgoutput')"));
    let mut app = server.connect(DATABASE, "app_login");
    business(&mut app);
    // What was written is there, for whoever may read it.
    let mut readable = 0;
    for value in sealed(&mut superuser, &A) {
        readable +=
            usize::from(opened(&mut app, &A, &value).is_some_and(|text| text.contains(SECRET) || text.contains(CLEAR)));
    }
    assert!(readable > 80, "only {readable} values are there: the test would prove nothing");

    let changes = "SELECT data FROM pg_logical_slot_peek_binary_changes('reader', NULL, NULL, 'proto_version', '1', 'publication_names', 'log')";
    let changes: Vec<u8> = ok(superuser.query(changes, &[])).iter().flat_map(|row| row.get::<_, Vec<u8>>(0)).collect();
    let dump = Dump::of(&server, DATABASE, "postgres", &["--format=plain", "--schema=audit"]);
    let decoded = dump.path().with_file_name("decoded");
    std::fs::write(&decoded, changes).expect("the directory of the dump is writable");
    ok(superuser.batch_execute("ANALYZE audit.change_log; CHECKPOINT; SELECT pg_switch_wal(); CHECKPOINT"));
    let data = server.data_directory();
    let files = "SELECT pg_relation_filepath(r.oid)
                   FROM pg_class c, LATERAL (VALUES (c.oid), (c.reltoastrelid)) r(oid)
                  WHERE c.relnamespace = 'audit'::regnamespace AND c.relkind IN ('r', 'i') AND r.oid <> 0";
    let files: Vec<PathBuf> =
        ok(superuser.query(files, &[])).iter().map(|row| data.join(row.get::<_, &str>(0))).collect();
    drop((superuser, app));
    // Files no longer change while they are searched.
    server.stop();
    let log = data.parent().expect("it stands in the cluster's").join("log");
    let mut places: Vec<&Path> = files.iter().map(PathBuf::as_path).collect();
    places.extend([dump.path(), &decoded]);
    for control in
        [files.as_slice(), &[dump.path().to_owned()], std::slice::from_ref(&decoded), std::slice::from_ref(&data)]
    {
        let control: Vec<&Path> = control.iter().map(PathBuf::as_path).collect();
        assert!(!holding(CONTROL, &control).is_empty(), "the search does not find what is there: {control:?}");
    }
    for (text, places) in [
        (CLEAR, &places[..]),
        (SECRET, &places),
        ("7319402586", &places),
        (SECRET, &[&data, &log]),
        ("7319402586", &[&data, &log]),
    ] {
        let found = holding(text, places);
        assert!(found.is_empty(), "{text} in clear:\n{}", found.join("\n"));
    }
}
