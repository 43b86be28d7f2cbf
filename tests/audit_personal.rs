//! Personal data in the log of changes: never in clear, under the key of the person it is about. What becomes of it when they
//! are erased: audit_erasure.rs.

use postgres::Client;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use thorbis_tests::audit_log::{Entry, OPEN, Sealed, keys_of, opened, order_with_items, sealed_values};
use thorbis_tests::keyring::Kept;
use thorbis_tests::people::with_customer;
use thorbis_tests::personal::give;
use thorbis_tests::traces::holding;
use thorbis_tests::{A, B, Cluster, Database, Dump, as_owner, assert_sqlstate, in_context, make_database, ok, one};
use uuid::Uuid;

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
        sealed_values(&mut superuser, &A).into_iter().filter(|value| value.row == id.to_string()).collect();
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
        sealed_values(&mut superuser, &A).iter().rev().take(4).map(|value| opened(&mut app, &A, value)).collect();
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

// --- whose key it is

#[test]
fn row_about_nobody_is_under_the_tenants_key_and_others_under_that_of_their_person() {
    let db = with_customer();
    let mut superuser = db.superuser();
    let [tenant_key] = keys_of(&mut superuser, &A, A.id).try_into().expect("the tenant has one key");
    let insert = "INSERT INTO restaurants.orders (customer_id, special_instructions) VALUES ($1, 'quickly')";
    let last = |superuser: &mut Client| sealed_values(superuser, &A).pop().expect("something is encrypted");
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
    let mut keys: Vec<Uuid> =
        sealed_values(&mut superuser, &A).iter().rev().take(2).map(|value| value.data_key).collect();
    let people = [A.customer, A.restricted_customer];
    let mut expected: Vec<Uuid> = people.iter().flat_map(|person| keys_of(&mut superuser, &A, *person)).collect();
    keys.sort();
    expected.sort();
    assert_eq!(keys, expected);
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
    for value in sealed_values(&mut superuser, &A) {
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
