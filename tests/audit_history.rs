//! Reading the log: the history of a row under every key it had, who changed what, and the row as it was.

use postgres::{Client, Error, GenericClient};
use serde_json::{Value, json};
use std::collections::HashMap;
use thorbis_tests::audit::{ODD_SETTINGS, count, defined_table, table, with_crm};
use thorbis_tests::people::{erase, with_customer};
use thorbis_tests::personal::give;
use thorbis_tests::{A, B, Database, Tenant, as_owner, assert_sqlstate, in_context, ok, one, set_local};
use uuid::Uuid;

/// A transaction of A's owner who is a superuser besides, so that keys can be changed too.
#[track_caller]
fn change(client: &mut Client, sql: &str) {
    ok(client.batch_execute(&format!("BEGIN; {}; {sql}; COMMIT", set_local(A.id, A.owner))));
}

/// Now, as text that every session understands.
fn now(client: &mut impl GenericClient) -> String {
    one(client, "SELECT to_char(clock_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')", &[])
}

/// `UPDATE 1 to 2` of each change of a row, oldest first.
fn try_history(tx: &mut impl GenericClient, table: &str, key: &str) -> Result<Vec<String>, Error> {
    let sql = "SELECT concat_ws(' to ', operation || ' ' || row_key, new_row_key) FROM audit.record_history($1::text::regclass, $2)";
    Ok(tx.query(sql, &[&table, &key])?.iter().map(|row| row.get(0)).collect())
}

fn try_preview(tx: &mut impl GenericClient, table: &str, key: &str, at: &str) -> Result<Option<Value>, Error> {
    let sql = "SELECT audit.restore_preview($1::text::regclass, $2::text, $3::text::timestamptz)";
    Ok(tx.query_one(sql, &[&table, &key, &at])?.get(0))
}

#[track_caller]
fn history(db: &Database, table: &str, key: &str) -> Vec<String> {
    as_owner(db, &A, |tx| try_history(tx, table, key))
}

#[track_caller]
fn preview(db: &Database, table: &str, key: &str, at: &str) -> Option<Value> {
    as_owner(db, &A, |tx| try_preview(tx, table, key, at))
}

const PLAIN: &str = r#"{"not_personal": ["name", "data", "id"]}"#;
const ITEMS: &str = "id text, name text, price numeric, data jsonb, at timestamptz DEFAULT now(), list int[]";

// --- history

#[test]
fn history_of_a_row_goes_through_its_keys() {
    let (db, mut client) = with_crm();
    table(&mut client, "items", ITEMS, PLAIN);
    for sql in [
        "INSERT INTO crm.items (id, name) VALUES ('a', 'first')",
        "UPDATE crm.items SET id = 'b'",
        "UPDATE crm.items SET name = 'second'",
        "INSERT INTO crm.items (id, name) VALUES ('a', 'another')",
        "UPDATE crm.items SET id = 'c', price = 2 WHERE id = 'b'",
        "DELETE FROM crm.items WHERE id = 'a'",
        "DELETE FROM crm.items WHERE id = 'c'",
    ] {
        change(&mut client, sql);
    }
    let first = ["INSERT a", "UPDATE a to b", "UPDATE b", "UPDATE b to c", "DELETE c"];
    for key in ["b", "c"] {
        assert_eq!(history(&db, "crm.items", key), first, "{key}");
    }
    // Of both rows that were called so.
    let both = ["INSERT a", "UPDATE a to b", "UPDATE b", "INSERT a", "UPDATE b to c", "DELETE a", "DELETE c"];
    assert_eq!(history(&db, "crm.items", "a"), both);
    assert_eq!(history(&db, "crm.items", "d"), Vec::<String>::new());
    // By another name, and by what the log is called.
    ok(client.batch_execute("ALTER TABLE crm.items RENAME TO things"));
    assert_eq!(history(&db, "crm.things", "b"), first);
}

#[test]
fn history_by_uuid_and_by_several_columns() {
    let (db, mut client) = with_crm();
    let options = r#"{"not_personal": ["place", "note"]}"#;
    let definition = "(tenant_id uuid, day date, place text, note text, PRIMARY KEY (place, tenant_id, day))";
    defined_table(&mut client, "visits", definition, options);
    change(&mut client, "INSERT INTO crm.visits (day, place, note) VALUES ('2024-02-29', 'a \"b\", ü', 'x')");
    let before = now(&mut client);
    change(&mut client, "UPDATE crm.visits SET day = '2024-03-01', note = 'y'");
    let (old, new) = (r#"["a \"b\", ü","2024-02-29"]"#, r#"["a \"b\", ü","2024-03-01"]"#);
    for key in [old, new] {
        assert_eq!(history(&db, "crm.visits", key), [format!("INSERT {old}"), format!("UPDATE {old} to {new}")]);
        let row = preview(&db, "crm.visits", key, &before).expect("it was there");
        assert_eq!((&row["day"], &row["note"]), (&json!("2024-02-29"), &json!("x")));
    }
    for nonsense in ["", "x", "[]", r#"["a"]"#, r#"["a", "b", "c"]"#, "{}"] {
        assert_eq!(preview(&db, "crm.visits", nonsense, &before), None, "{nonsense}");
    }
    let by_uuid = "SELECT count(*) FROM audit.record_history('shared.customers', $1::uuid)";
    assert_eq!(as_owner(&db, &A, |tx| Ok(one::<i64>(tx, by_uuid, &[&A.customer]))), 1);
    let by_uuid = "SELECT audit.restore_preview('shared.customers', $1::uuid, now()) ->> 'first_name'";
    assert_eq!(as_owner(&db, &A, |tx| Ok(one::<String>(tx, by_uuid, &[&A.customer]))), "Carla");
}

/// A transaction that began first may have changed the row last.
#[test]
fn changes_are_in_the_order_in_which_they_were_made() {
    let (db, mut client) = with_crm();
    table(&mut client, "items", ITEMS, PLAIN);
    change(&mut client, "INSERT INTO crm.items (id, name) VALUES ('a', 'zero')");
    let (mut early, mut late) = (db.superuser(), db.superuser());
    ok(early.batch_execute(&format!("BEGIN; {}; SELECT count(*) FROM crm.items", set_local(A.id, A.owner))));
    std::thread::sleep(std::time::Duration::from_millis(5));
    change(&mut late, "UPDATE crm.items SET name = 'one'");
    ok(early.batch_execute("UPDATE crm.items SET name = 'two'; COMMIT"));
    let sql = "SELECT new_values ->> 'name' FROM audit.record_history('crm.items', 'a'::text)";
    let names = as_owner(&db, &A, |tx| tx.query(sql, &[]));
    assert_eq!(names.iter().map(|row| row.get(0)).collect::<Vec<&str>>(), ["zero", "one", "two"]);
}

#[test]
fn who_changed_what_has_a_row_for_each_column() {
    let db = Database::new();
    let mut app = db.app();
    ok(in_context(&mut app, A.id, A.manager, |tx| {
        tx.batch_execute("SET LOCAL app.request_id = 'r-1'; SET LOCAL application_name = 'till'")?;
        tx.execute(
            "UPDATE restaurants.orders SET status = 'preparing', special_instructions = 'no salt' WHERE id = $1",
            &[&A.order],
        )
    }));
    let sql = "SELECT concat_ws(' ', column_name, old_value, coalesce(new_value, 'null')), actor_id, session_role, database_role, application, request_id
                 FROM audit.v_who_changed
                WHERE table_name = 'restaurants.orders' AND row_key = $1::text AND operation = 'UPDATE' AND column_name IN ('status', 'updated_by')
                ORDER BY 1";
    let rows = as_owner(&db, &A, |tx| tx.query(sql, &[&A.order.to_string()]));
    let changed: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
    assert!(changed.iter().any(|line| line.starts_with("status \"") && line.ends_with("\"preparing\"")), "{changed:?}");
    for row in &rows {
        assert_eq!(row.get::<_, Option<Uuid>>(1), Some(A.manager));
        let words: Vec<String> = (2..6).map(|i| row.get(i)).collect();
        assert_eq!(words, ["app_login", "app_login", "till", "r-1"]);
    }
    // Personal values are encrypted here as well.
    let personal = "SELECT new_value #>> '{}' FROM audit.v_who_changed WHERE column_name = 'special_instructions' AND row_key = $1 AND operation = 'UPDATE'";
    let personal: String = as_owner(&db, &A, |tx| Ok(one(tx, personal, &[&A.order.to_string()])));
    assert!(personal.starts_with("THv1"), "{personal}");
    // Each change has as many rows as columns; a truncation has one.
    let (db, mut client) = with_crm();
    table(&mut client, "items", "id text, name text", r#"{"not_personal": ["id", "name"]}"#);
    change(&mut client, "INSERT INTO crm.items (id, name) VALUES ('a', 'x'), ('b', NULL)");
    change(&mut client, "DELETE FROM crm.items WHERE id = 'a'");
    change(&mut client, "TRUNCATE crm.items");
    let sql = "SELECT concat_ws(' ', operation, row_key, column_name, old_value, new_value) FROM audit.v_who_changed
                WHERE table_name = 'crm.items' AND column_name IS DISTINCT FROM 'tenant_id' ORDER BY transaction_id, change_id, column_name";
    let lines: Vec<String> = as_owner(&db, &A, |tx| tx.query(sql, &[])).iter().map(|row| row.get(0)).collect();
    let expected = [
        "INSERT a id \"a\"",
        "INSERT a name \"x\"",
        "INSERT b id \"b\"",
        "DELETE a id \"a\"",
        "DELETE a name \"x\"",
        "TRUNCATE  1",
    ];
    assert_eq!(lines, expected);
}

// --- the row as it was

/// The rows of crm.items by key, as PostgreSQL writes them in UTC.
fn items(client: &mut Client) -> HashMap<String, Value> {
    let sql = "SELECT id, to_jsonb(i) FROM crm.items i WHERE tenant_id = $1";
    ok(client.query(sql, &[&A.id])).iter().map(|row| (row.get(0), row.get(1))).collect()
}

#[test]
fn a_row_can_be_seen_as_it_was_at_any_time() {
    let (db, mut client) = with_crm();
    table(&mut client, "items", ITEMS, PLAIN);
    // Rows of the time before the log.
    ok(client.batch_execute(
        "ALTER TABLE crm.items DISABLE TRIGGER audit_items_changes; SET TimeZone = 'UTC';
         INSERT INTO crm.items (id, name, price, data) SELECT 'old' || n, 'old', n / 3.0, '{}' FROM generate_series(1, 2) n;
         ALTER TABLE crm.items ENABLE ALWAYS TRIGGER audit_items_changes",
    ));
    assert_eq!(count(&mut client, "crm.items"), 0);
    let mut seen = vec![(now(&mut client), items(&mut client))];
    for sql in [
        "INSERT INTO crm.items (id, name, price, data, list) VALUES ('a', 'Ä', 1.50, '{\"x\": 1.00, \"y\": [null, \"\"]}', '{1,NULL,3}')",
        "UPDATE crm.items SET price = 1.500, data = '\"text\"' WHERE id = 'a'",
        "UPDATE crm.items SET name = NULL WHERE id = 'old1'",
        "UPDATE crm.items SET id = 'new1', price = 123456789012345678901234567890.12 WHERE id = 'old1'",
        "INSERT INTO crm.items (id, name) VALUES ('old1', 'took the key')",
        "DELETE FROM crm.items WHERE id = 'a'",
        "UPDATE crm.items SET name = name || '!', list = '{}'",
        "INSERT INTO crm.items (id, name) VALUES ('a', 'again')",
        "UPDATE crm.items SET id = 'b' WHERE id = 'a'; UPDATE crm.items SET id = 'a' WHERE id = 'old2'",
        "UPDATE crm.items SET id = id || '.'",
        "DELETE FROM crm.items WHERE id IN ('b.', 'new1.')",
        "UPDATE crm.items SET at = 'infinity', data = 'null', price = 'NaN'",
        "BEGIN; SAVEPOINT s; UPDATE crm.items SET name = 'undone'; ROLLBACK TO s; UPDATE crm.items SET name = 'done'",
    ] {
        change(&mut client, sql);
        seen.push((now(&mut client), items(&mut client)));
    }
    // In whatever session.
    let mut reader = db.app();
    ok(reader.batch_execute(ODD_SETTINGS));
    let mut look =
        |key: &str, at: &str| ok(in_context(&mut reader, A.id, A.owner, |tx| try_preview(tx, "crm.items", key, at)));
    // By the key that a row has now, or had in the end.
    let ways = [
        (
            "a.",
            &["old2", "old2", "old2", "old2", "old2", "old2", "old2", "old2", "old2", "a", "a.", "a.", "a.", "a."][..],
        ),
        (
            "new1.",
            &["old1", "old1", "old1", "old1", "new1", "new1", "new1", "new1", "new1", "new1", "new1.", "-", "-", "-"],
        ),
        (
            "old1.",
            &["-", "-", "-", "-", "-", "old1", "old1", "old1", "old1", "old1", "old1.", "old1.", "old1.", "old1."],
        ),
        ("b.", &["-", "a", "a", "a", "a", "a", "-", "-", "a", "b", "b.", "-", "-", "-"]),
        ("nobody", &["-"; 14]),
    ];
    for (key, then) in ways {
        for ((at, rows), key_then) in seen.iter().zip(then) {
            assert_eq!(look(key, at).as_ref(), rows.get(*key_then), "{key} at {at}");
        }
    }
    // By a former key that nobody has now.
    assert_eq!(look("b", &seen[1].0).as_ref(), seen[1].1.get("a"));
    assert_eq!(look("new1", &seen[0].0).as_ref(), seen[0].1.get("old1"));
    // Digits stay as they are.
    let text = "SELECT audit.restore_preview('crm.items', 'b.'::text, $1::text::timestamptz)::text";
    let text: String = as_owner(&db, &A, |tx| Ok(one(tx, text, &[&seen[1].0])));
    assert!(text.contains("\"price\": 1.50,") && text.contains("\"x\": 1.00"), "{text}");
}

/// Rows are told apart by `uid`, which nobody changes; keys come and go.
#[test]
fn whatever_happened_can_be_undone() {
    let (db, mut client) = with_crm();
    table(&mut client, "items", "id int, uid int, n int", "{}");
    let mut seed = 4711_u64;
    let mut random = |below: u64| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) % below
    };
    // A key that a deleted row had is not used again: a row made under it would count as the same.
    let (mut rows, mut deleted): (HashMap<u64, u64>, Vec<u64>) = Default::default();
    let mut seen = Vec::new();
    for step in 0..150 {
        let live: Vec<u64> = (0..80).filter(|key| rows.contains_key(key)).collect();
        let free: Vec<u64> = (0..80).filter(|key| !rows.contains_key(key) && !deleted.contains(key)).collect();
        let (to, from) =
            (free[random(free.len() as u64) as usize], live.get(random(live.len().max(1) as u64) as usize));
        let sql = match (random(10), from) {
            (0..3, _) | (_, None) => {
                rows.insert(to, step);
                format!("INSERT INTO crm.items (id, uid, n) VALUES ({to}, {step}, {step})")
            }
            (3..6, Some(from)) => {
                let uid = rows.remove(from).expect("it is live");
                rows.insert(to, uid);
                format!("UPDATE crm.items SET id = {to} WHERE id = {from}")
            }
            (6, Some(from)) if deleted.len() < 15 => {
                rows.remove(from);
                deleted.push(*from);
                format!("DELETE FROM crm.items WHERE id = {from}")
            }
            (_, Some(from)) => format!("UPDATE crm.items SET n = {step} WHERE id = {from}"),
        };
        change(&mut client, &sql);
        let by_uid = "SELECT uid, to_jsonb(i) FROM crm.items i";
        let by_uid: HashMap<i32, Value> =
            ok(client.query(by_uid, &[])).iter().map(|row| (row.get(0), row.get(1))).collect();
        seen.push((now(&mut client), by_uid));
    }
    assert!(rows.len() > 5 && deleted.len() > 3, "{rows:?} {deleted:?}");
    as_owner(&db, &A, |tx| {
        for (key, uid) in &rows {
            for (at, by_uid) in seen.iter().step_by(15) {
                let found = try_preview(tx, "crm.items", &key.to_string(), at)?;
                assert_eq!(found.as_ref(), by_uid.get(&(*uid as i32)), "{key} at {at}");
            }
        }
        Ok(())
    });
}

#[test]
fn a_truncated_row_comes_back_as_far_as_the_log_knows_it() {
    let (db, mut client) = with_crm();
    table(&mut client, "items", ITEMS, PLAIN);
    change(&mut client, "INSERT INTO crm.items (id, name) VALUES ('a', 'one')");
    let first = now(&mut client);
    change(&mut client, "UPDATE crm.items SET name = 'two'");
    let second = now(&mut client);
    change(&mut client, "TRUNCATE crm.items");
    let third = now(&mut client);
    change(&mut client, "INSERT INTO crm.items (id, name) VALUES ('a', 'three')");
    let names = [&first, &second, &third].map(|at| preview(&db, "crm.items", "a", at).map(|row| row["name"].clone()));
    assert_eq!(names, [Some(json!("one")), Some(json!("two")), None]);
    assert_eq!(history(&db, "crm.items", "a"), ["INSERT a", "UPDATE a", "TRUNCATE ", "INSERT a"]);
}

/// A partition stands for its table.
#[test]
fn rows_of_partitions_are_those_of_the_table() {
    let (db, mut client) = with_crm();
    ok(client.batch_execute(
        "CREATE TABLE crm.events (tenant_id uuid, id int, name text, PRIMARY KEY (tenant_id, id)) PARTITION BY RANGE (id);
         CREATE TABLE crm.low PARTITION OF crm.events FOR VALUES FROM (0) TO (10);
         CREATE TABLE crm.high PARTITION OF crm.events FOR VALUES FROM (10) TO (20);
         ALTER TABLE crm.events OWNER TO thorbis_owner; ALTER TABLE crm.low OWNER TO thorbis_owner; ALTER TABLE crm.high OWNER TO thorbis_owner;
         SELECT thorbis.protect('crm.events', options => '{\"not_personal\": [\"name\"]}')",
    ));
    change(&mut client, &format!("INSERT INTO crm.events VALUES ('{}', 1, 'x')", A.id));
    let before = now(&mut client);
    change(&mut client, "UPDATE crm.events SET name = 'y'");
    for table in ["crm.events", "crm.low"] {
        assert_eq!(history(&db, table, "1"), ["INSERT 1", "UPDATE 1"]);
        assert_eq!(preview(&db, table, "1", &before).map(|row| row["name"].clone()), Some(json!("x")));
    }
    // To PostgreSQL a row that goes to another partition is deleted and made.
    change(&mut client, "UPDATE crm.events SET id = 11");
    assert_eq!(history(&db, "crm.events", "1"), ["INSERT 1", "UPDATE 1", "DELETE 1"]);
    assert_eq!(history(&db, "crm.events", "11"), ["INSERT 11"]);
}

#[test]
fn what_is_not_logged_is_not_shown() {
    let (db, mut client) = with_crm();
    let options = r#"{"pii": [{"column": "pin", "category": "credential"}], "not_personal": ["name", "token", "notes"],
                      "audit": {"secret": ["token"], "exclude": ["notes"]}}"#;
    table(&mut client, "keys", "id int, name text, token text, pin text, notes text", options);
    change(
        &mut client,
        "INSERT INTO crm.keys (id, name, token, pin, notes) VALUES (1, 'n', 'SECRET-1', '1234', 'NOTES')",
    );
    let before = now(&mut client);
    change(&mut client, "UPDATE crm.keys SET name = 'm', token = NULL, pin = '4321', notes = 'MORE'");
    let after = now(&mut client);
    let row = |name: &str, token: Value| json!({"tenant_id": A.id.to_string(), "id": 1, "name": name, "token": token, "pin": "changed"});
    assert_eq!(preview(&db, "crm.keys", "1", &before), Some(row("n", json!("changed"))));
    assert_eq!(preview(&db, "crm.keys", "1", &after), Some(row("m", Value::Null)));
    change(&mut client, "DELETE FROM crm.keys");
    assert_eq!(preview(&db, "crm.keys", "1", &before), Some(row("n", json!("changed"))));
}

// --- people

#[test]
fn personal_values_are_opened_for_those_who_may() {
    let db = with_customer();
    let mut client = db.superuser();
    let key = A.customer.to_string();
    let before = now(&mut client);
    as_owner(&db, &A, |tx| {
        let changes = "UPDATE shared.customers_pii SET email = 'new@a.example', phone = NULL, first_name = 'Ada', address = '{}', tags = '{}', metadata = '{\"n\": 1.50}',
                              preferences = '\"peas\"' WHERE id = $1";
        tx.execute(changes, &[&A.customer])
    });
    let between = now(&mut client);
    as_owner(&db, &A, |tx| {
        tx.execute("UPDATE shared.customers_pii SET email = 'newer@a.example', metadata = '[]', preferences = NULL WHERE id = $1", &[&A.customer])
    });
    let then = preview(&db, "shared.customers", &key, &before).expect("it was there");
    let expected = json!({"email": "carla@aaaaaaaa.example", "phone": "+1 555 0142", "first_name": "Zebulon", "address": {"street": "Nut street"},
        "tags": ["Zebulon"], "metadata": {"x": "Zebulon"}, "preferences": {"likes": "peanuts"}, "company_name": "Zebulon Ltd"});
    for (column, value) in expected.as_object().expect("an object") {
        assert_eq!(&then[column], value, "{column}");
    }
    let names: Vec<&String> = then.as_object().expect("an object").keys().collect();
    assert!(!names.iter().any(|name| name.ends_with("_encrypted") || name.ends_with("_bidx")), "{names:?}");
    let later = preview(&db, "shared.customers", &key, &between).expect("it was there");
    assert_eq!(
        (&later["email"], &later["phone"], &later["metadata"], &later["preferences"]),
        (&json!("new@a.example"), &Value::Null, &json!({"n": 1.50}), &json!("peas"))
    );
    // A superuser sees no more than is there.
    let as_superuser = {
        ok(client.batch_execute(&format!("BEGIN; {}", set_local(A.id, A.owner))));
        let row = ok(try_preview(&mut client, "shared.customers", &key, &before)).expect("it was there");
        ok(client.batch_execute("ROLLBACK"));
        row
    };
    assert_eq!(as_superuser, then);

    // Who may read customers and the log, but not their encrypted data.
    let as_employee =
        |at: &str| in_context(&mut db.app(), A.id, A.employee, |tx| try_preview(tx, "shared.customers", &key, at));
    assert_sqlstate(as_employee(&before), "42501");
    give(&db, &A, "audit", "read");
    let sealed = ok(as_employee(&before)).expect("it was there");
    for column in ["email", "phone", "first_name", "address", "tags", "metadata"] {
        let value = sealed[column].as_str().unwrap_or_default();
        assert!(value.starts_with("THv1"), "{column}: {value}");
    }
    // What stands in clear in the table and was not changed since.
    assert_eq!(sealed["company_name"], "Zebulon Ltd");
    assert!(!sealed.to_string().contains("555 0142") && !sealed.to_string().contains("street"), "{sealed}");
    give(&db, &A, "customers", "pii");
    assert_eq!(ok(as_employee(&before)), Some(then));
    // The log alone is not enough.
    ok(client.execute(
        "DELETE FROM rbac.role_permissions WHERE tenant_id = $1 AND role_id = $2 AND resource = 'customers'",
        &[&A.id, &A.employee_role],
    ));
    assert_sqlstate(as_employee(&before), "42501");
}

#[test]
fn of_an_erased_person_envelopes_are_left() {
    let db = with_customer();
    let mut client = db.superuser();
    let key = A.customer.to_string();
    let before = now(&mut client);
    as_owner(&db, &A, |tx| {
        tx.execute(
            "UPDATE shared.customers_pii SET phone = '+1 555 0199', first_name = 'Other' WHERE id = $1",
            &[&A.customer],
        )
    });
    let order = preview(&db, "restaurants.orders", &A.order.to_string(), &before).expect("it was there");
    assert_eq!(order["special_instructions"], "no gluten");
    erase(&db, &A, A.customer);
    let then = preview(&db, "shared.customers", &key, &before).expect("it was there");
    let text = then.to_string();
    for secret in thorbis_tests::people::SECRETS {
        assert!(!text.contains(secret), "{secret} in {text}");
    }
    assert!(then["phone"].as_str().is_some_and(|phone| phone.starts_with("THv1")), "{text}");
    assert!(then["first_name"].as_str().is_some_and(|name| name.starts_with("THv1")), "{text}");
    assert_eq!(then["deleted_at"], Value::Null, "the rest is as it was");
    let order = preview(&db, "restaurants.orders", &A.order.to_string(), &before).expect("it was there");
    assert!(!order.to_string().contains("gluten"), "{order}");
}

/// Envelopes are bound to the key that the row had when they were written.
#[test]
fn personal_values_survive_changed_keys() {
    let (db, mut client) = with_crm();
    let options = r#"{"pii": ["email", {"column": "nick", "method": "clear"}], "not_personal": ["id", "note"]}"#;
    table(&mut client, "guests", "id text, email text, nick text, note text", options);
    change(&mut client, "INSERT INTO crm.guests (id, email, nick) VALUES ('a', 'a@x.example', 'Al')");
    let mut times = vec![now(&mut client)];
    for sql in [
        "UPDATE crm.guests SET nick = 'Bo'",
        "UPDATE crm.guests SET id = 'b', email = 'b@x.example'",
        "UPDATE crm.guests SET note = 'n', nick = NULL",
        "DELETE FROM crm.guests",
    ] {
        change(&mut client, sql);
        times.push(now(&mut client));
    }
    let found: Vec<Value> = times
        .iter()
        .map(|at| {
            preview(&db, "crm.guests", "b", at)
                .map_or(Value::Null, |row| json!([row["email"], row["nick"], row["note"]]))
        })
        .collect();
    let expected = [
        json!(["a@x.example", "Al", null]),
        json!(["a@x.example", "Bo", null]),
        json!(["b@x.example", "Bo", null]),
        json!(["b@x.example", null, "n"]),
        Value::Null,
    ];
    assert_eq!(found, expected);
}

// --- who may see what

#[test]
fn nobody_sees_another_tenants_history() {
    let db = Database::new();
    let mut client = db.superuser();
    as_owner(&db, &A, |tx| {
        tx.execute("UPDATE shared.customers SET last_name = 'Changed' WHERE id = $1", &[&A.customer])
    });
    let (key, at) = (A.customer.to_string(), now(&mut client));
    assert_eq!(history(&db, "shared.customers", &key).len(), 2);
    let seen = |tenant: &Tenant, user: Uuid| {
        in_context(&mut db.app(), tenant.id, user, |tx| {
            let views = "SELECT count(*) FROM audit.v_who_changed WHERE row_key = $1";
            let changed: i64 = one(tx, views, &[&key]);
            Ok((try_history(tx, "shared.customers", &key)?.len(), changed > 0))
        })
    };
    assert_eq!(ok(seen(&A, A.owner)), (2, true));
    assert_eq!(ok(seen(&B, B.owner)), (0, false));
    assert_eq!(ok(seen(&A, A.employee)), (0, false), "without audit:read");
    assert_eq!(ok(in_context(&mut db.app(), B.id, B.owner, |tx| try_preview(tx, "shared.customers", &key, &at))), None);
    // Not by way of operators either, in the context of B.
    ok(client.batch_execute(&format!("BEGIN; {}", set_local(B.id, B.owner))));
    assert_eq!(ok(try_history(&mut client, "shared.customers", &key)), Vec::<String>::new());
    assert_eq!(ok(try_preview(&mut client, "shared.customers", &key, &at)), None);
    ok(client.batch_execute("ROLLBACK"));
    // Nobody's: without a context.
    for client in [&mut client, &mut db.app()] {
        assert_sqlstate(try_history(client, "shared.customers", &key), "28000");
        assert_sqlstate(try_preview(client, "shared.customers", &key, &at), "28000");
    }
    assert_sqlstate(try_history(&mut db.connect_as("stranger_login"), "pg_class", &key), "42501");
}

/// Whom a policy hides a row from sees no former state of it either.
#[test]
fn rows_that_policies_hide_stay_hidden() {
    let db = Database::new();
    let mut client = db.superuser();
    let before = now(&mut client);
    as_owner(&db, &A, |tx| {
        tx.execute("UPDATE shared.customers SET last_name = 'Changed' WHERE id = $1", &[&A.restricted_customer])
    });
    give(&db, &A, "audit", "read");
    give(&db, &A, "customers", "pii");
    let key = A.restricted_customer.to_string();
    let seen =
        |user| ok(in_context(&mut db.app(), A.id, user, |tx| try_preview(tx, "shared.customers", &key, &before)));
    assert_eq!(seen(A.employee), None, "its settings restrict it");
    assert_eq!(seen(A.owner).map(|row| row["last_name"].clone()), Some(json!("Restricted")));
}

#[test]
fn the_auditor_reads_histories_of_one_tenant() {
    let db = Database::new();
    let auditor = db.role("auditor", "LOGIN IN ROLE thorbis_auditor");
    ok(db.superuser().execute("SELECT thorbis.bind_role($1::text::regrole, $2)", &[&auditor, &A.id]));
    let mut client = db.connect_as(&auditor);
    // The schema's name is not the auditor's to use.
    let customers = "(SELECT oid FROM pg_class WHERE relname = 'customers')";
    let mut histories = |tenant: &Tenant| -> i64 {
        let sql = format!("SELECT count(*) FROM audit.record_history({customers}, $1::uuid)");
        one(&mut client, &sql, &[&tenant.customer])
    };
    assert_eq!((histories(&A), histories(&B)), (1, 0));
    let tenants = ok(client.query("SELECT DISTINCT tenant_id FROM audit.v_who_changed", &[]));
    assert_eq!(tenants.iter().map(|row| row.get(0)).collect::<Vec<Uuid>>(), [A.id]);
    let preview = format!("SELECT audit.restore_preview({customers}, $1::uuid, now())");
    assert_sqlstate(client.query(&preview, &[&A.customer]), "42501");
}

#[test]
fn what_the_log_cannot_tell_is_an_error() {
    let (db, mut client) = with_crm();
    ok(client.batch_execute("CREATE TABLE crm.loose (id int); GRANT SELECT ON crm.loose TO thorbis_app"));
    table(&mut client, "quiet", "id int", r#"{"audit": false}"#);
    defined_table(&mut client, "heap", "(tenant_id uuid, id int)", "{}");
    let at = now(&mut client);
    let refused = |table: &str, at: &str| {
        assert_sqlstate(in_context(&mut db.app(), A.id, A.owner, |tx| try_preview(tx, table, "1", at)), "55000")
    };
    assert!(refused("crm.loose", &at).message().contains("not protected"));
    assert!(refused("crm.quiet", &at).message().contains("not logged"));
    assert!(refused("crm.heap", &at).message().contains("no primary key"));
    let unprotected = in_context(&mut db.app(), A.id, A.owner, |tx| try_history(tx, "crm.loose", "1"));
    assert_sqlstate(unprotected, "55000");
    assert_eq!(history(&db, "crm.quiet", "1"), Vec::<String>::new());
    // Months that were dropped: what happened in them cannot be undone.
    let customer = A.customer.to_string();
    assert_eq!(preview(&db, "shared.customers", &customer, "2023-01-31 23:59:59+00"), None, "it was not there yet");
    ok(client.execute(
        "INSERT INTO audit.change_log (tenant_id, occurred_at, id, system_id, transaction_id, table_name, operation, row_key, session_role, database_role)
         VALUES ($1, '2023-01-05', gen_random_uuid(), 4712, 1, 'crm.old', 'INSERT', '1', 'a', 'b')",
        &[&A.id],
    ));
    ok(client.batch_execute("SET thorbis.audit_retention = '1 year'; SELECT count(*) FROM thorbis.maintain()"));
    assert!(refused("shared.customers", "2023-01-31 23:59:59+00").message().contains("2023-02-01"));
    assert_eq!(preview(&db, "shared.customers", &customer, "2023-02-01 00:00+00"), None);
}

/// Injected text is a key that nobody has.
#[test]
fn keys_are_only_ever_values() {
    let (db, mut client) = with_crm();
    table(&mut client, "items", ITEMS, PLAIN);
    let at = now(&mut client);
    for key in ["' OR true --", "'; DROP TABLE crm.items; --", "$1", "\\", "%", "x' UNION SELECT 1"] {
        assert_eq!(history(&db, "crm.items", key), Vec::<String>::new());
        assert_eq!(preview(&db, "crm.items", key, &at), None);
    }
    let odd = in_context(&mut db.app(), A.id, A.owner, |tx| try_preview(tx, "shared.customers", "no uuid", &at));
    assert_sqlstate(odd, "22P02");
}
