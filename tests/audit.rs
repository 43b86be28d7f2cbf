//! Every way to change a row of a protected table comes to stand in the log, once, with what was there and what is there now.

use std::io::Write;
use thorbis_tests::audit::{ODD_SETTINGS, count, defined_table, lines, logged, operations, table, with_crm};
use thorbis_tests::audit_log::Entry;
use thorbis_tests::{A, B, Database, as_owner, assert_sqlstate, ok, one, set_local};
use uuid::Uuid;

// --- one row

#[test]
fn an_insert_an_update_and_a_delete_leave_what_was_and_what_is() {
    let (_db, mut client) = with_crm();
    table(&mut client, "notes", "id int, body text, n numeric", "{}");
    ok(client.batch_execute(
        "INSERT INTO crm.notes (id, body) VALUES (1, 'a'); UPDATE crm.notes SET body = 'b', n = 1.50; DELETE FROM crm.notes",
    ));
    assert_eq!(
        lines(&mut client, "crm.notes"),
        [
            r#"INSERT 1: -> {"id": 1, "body": "a"}"#,
            r#"UPDATE 1: {"n": null, "body": "a"} -> {"n": 1.50, "body": "b"}"#,
            r#"DELETE 1: {"n": 1.50, "id": 1, "body": "b"}"#
        ]
    );
    let tenants: Vec<Uuid> = Entry::of_table(&mut client, "crm.notes").iter().map(|entry| entry.tenant).collect();
    assert_eq!(tenants, [A.id; 3]);
}

/// NULL and '' differ, and 1.0 and 1.00; what is written as it was does not, stored otherwise or not.
#[test]
fn an_update_shows_the_columns_that_changed_and_is_silent_when_none_did() {
    let (_db, mut client) = with_crm();
    table(&mut client, "notes", "id int, a text, b numeric, c jsonb, d float8", "{}");
    ok(client.batch_execute(
        "INSERT INTO crm.notes (id, a, b, c, d) VALUES (1, 'x', 1.0, '{\"k\": [1]}', '-0'), (2, repeat('y', 20000), NULL, NULL, NULL)",
    ));
    let update = |set: &str| format!("UPDATE crm.notes SET {set} WHERE id = 1");
    for same in ["a = a", "a = 'x', b = 1.0, c = '{\"k\":[1]}', d = '-0'", "id = 1, tenant_id = tenant_id"] {
        assert_eq!(logged(&mut client, "crm.notes", &update(same)), [""; 0], "{same}");
    }
    // Compressed, and not: the same value.
    ok(client.batch_execute("ALTER TABLE crm.notes ALTER a SET STORAGE EXTERNAL"));
    let uncompressed = "UPDATE crm.notes SET a = repeat('y', 20000) WHERE id = 2";
    assert_eq!(logged(&mut client, "crm.notes", uncompressed), [""; 0]);
    for (different, line) in [
        ("a = ''", r#"{"a": "x"} -> {"a": ""}"#),
        ("a = NULL", r#"{"a": ""} -> {"a": null}"#),
        ("b = 1.00", r#"{"b": 1.0} -> {"b": 1.00}"#),
        // JSON has no negative zero.
        ("d = 0", r#"{"d": 0} -> {"d": 0}"#),
        ("c = '{\"k\": [1, null]}'", r#"{"c": {"k": [1]}} -> {"c": {"k": [1, null]}}"#),
        ("c = 'null'", r#"{"c": {"k": [1, null]}} -> {"c": null}"#),
        ("c = NULL", r#"{"c": null} -> {"c": null}"#),
    ] {
        assert_eq!(logged(&mut client, "crm.notes", &update(different)), [format!("UPDATE 1: {line}")], "{different}");
    }
}

// --- keys

#[test]
fn a_changed_key_stands_beside_the_old_one() {
    let (_db, mut client) = with_crm();
    table(&mut client, "notes", "id int, body text", "{}");
    ok(client.batch_execute("INSERT INTO crm.notes VALUES (DEFAULT, 1, 'a')"));
    assert_eq!(
        logged(&mut client, "crm.notes", "UPDATE crm.notes SET id = id + 1; UPDATE crm.notes SET body = 'b'"),
        [r#"UPDATE 1 to 2: {"id": 1} -> {"id": 2}"#, r#"UPDATE 2: {"body": "a"} -> {"body": "b"}"#]
    );
}

#[test]
fn keys_of_any_type_and_of_several_columns_are_text() {
    let (_db, mut client) = with_crm();
    for (n, (columns, key, values, expected)) in [
        ("id text", "tenant_id, id", "'it''s \"ü\"'", "it's \"ü\""),
        ("id timestamptz", "tenant_id, id", "'2024-03-31 12:00+02'", "2024-03-31 10:00:00+00"),
        ("id bigint", "id", "-9223372036854775808", "-9223372036854775808"),
        ("b int, a text", "tenant_id, a, b", r#"7, 'x,"y\'"#, r#"["x,\"y\\","7"]"#),
        ("b date, a interval", "tenant_id, b, a", "'2024-03-31', '1 mon -3 days'", r#"["2024-03-31","1 mon -3 days"]"#),
        ("a text, b text", "b, tenant_id, a", "'', 'b'", r#"["b",""]"#),
        ("id int", "tenant_id", "1", ""),
        ("id bytea", "tenant_id, id", r"'\x00ff'", r"\x00ff"),
        ("id bpchar(4)", "tenant_id, id", "'ab'", "ab  "),
        ("id float8", "tenant_id, id", "0.1", "0.1"),
    ]
    .into_iter()
    .enumerate()
    {
        let definition = format!("(tenant_id uuid, {columns}, PRIMARY KEY ({key}))");
        let name = format!("keys{n}");
        defined_table(&mut client, &name, &definition, r#"{"accept_risks": ["primary_key_without_tenant"]}"#);
        ok(client.batch_execute(ODD_SETTINGS));
        ok(client.batch_execute(&format!("INSERT INTO crm.{name} VALUES (DEFAULT, {values})")));
        ok(client.batch_execute("RESET ALL"));
        assert_eq!(Entry::last_of(&mut client, &format!("crm.{name}")).key, expected, "{definition}");
    }
}

/// Other unique columns do not stand in for it.
#[test]
fn rows_without_a_primary_key_have_no_key_in_the_log() {
    let (_db, mut client) = with_crm();
    defined_table(&mut client, "notes", "(tenant_id uuid, id int, UNIQUE (tenant_id, id))", "{}");
    ok(client
        .batch_execute("INSERT INTO crm.notes (id) VALUES (1); UPDATE crm.notes SET id = 2; DELETE FROM crm.notes"));
    let lines = lines(&mut client, "crm.notes");
    assert_eq!(lines, [r#"INSERT : -> {"id": 1}"#, r#"UPDATE : {"id": 1} -> {"id": 2}"#, r#"DELETE : {"id": 2}"#]);
}

/// A superuser can move a row to another tenant: each of the two has a change.
#[test]
fn a_row_that_gets_another_tenant_leaves_the_one_and_comes_to_the_other() {
    let (_db, mut client) = with_crm();
    table(&mut client, "notes", "id int, body text", "{}");
    ok(client.batch_execute("INSERT INTO crm.notes VALUES (DEFAULT, 1, 'a'); ALTER TABLE crm.notes DISABLE TRIGGER update_notes_tenant_guard"));
    ok(client.execute("UPDATE crm.notes SET tenant_id = $1, id = 2", &[&B.id]));
    let entries = Entry::of_table(&mut client, "crm.notes").split_off(1);
    let seen: Vec<_> = entries.iter().map(|e| (e.tenant, e.operation.as_str(), e.key.as_str())).collect();
    assert_eq!(seen, [(A.id, "DELETE", "1"), (B.id, "INSERT", "2")]);
}

// --- statements that do several things

#[test]
fn an_upsert_logs_the_branch_that_was_taken() {
    let (_db, mut client) = with_crm();
    table(&mut client, "notes", "id int, body text", "{}");
    let upsert = |body: &str, conflict: &str| {
        format!("INSERT INTO crm.notes (id, body) VALUES (1, '{body}') ON CONFLICT (tenant_id, id) DO {conflict}")
    };
    let replace = "UPDATE SET body = EXCLUDED.body";
    assert_eq!(logged(&mut client, "crm.notes", &upsert("a", replace)), [r#"INSERT 1: -> {"id": 1, "body": "a"}"#]);
    assert_eq!(
        logged(&mut client, "crm.notes", &upsert("b", replace)),
        [r#"UPDATE 1: {"body": "a"} -> {"body": "b"}"#]
    );
    assert_eq!(logged(&mut client, "crm.notes", &upsert("b", replace)), [""; 0]);
    assert_eq!(logged(&mut client, "crm.notes", &upsert("c", "NOTHING")), [""; 0]);
    assert_eq!(logged(&mut client, "crm.notes", &upsert("c", &format!("{replace} WHERE false"))), [""; 0]);
}

#[test]
fn a_merge_logs_each_of_its_actions() {
    let (_db, mut client) = with_crm();
    table(&mut client, "notes", "id int, body text", "{}");
    ok(client.batch_execute("INSERT INTO crm.notes (id, body) VALUES (1, 'a'), (2, 'b'), (3, 'c')"));
    let merge = "MERGE INTO crm.notes n USING (VALUES (1), (2), (3), (4)) v(id) ON n.id = v.id
                 WHEN MATCHED AND v.id = 1 THEN DELETE
                 WHEN MATCHED AND v.id = 2 THEN UPDATE SET body = 'B'
                 WHEN MATCHED THEN DO NOTHING
                 WHEN NOT MATCHED THEN INSERT (id, body) VALUES (v.id, 'd')";
    let mut lines = logged(&mut client, "crm.notes", merge);
    lines.sort();
    assert_eq!(
        lines,
        [
            r#"DELETE 1: {"id": 1, "body": "a"}"#,
            r#"INSERT 4: -> {"id": 4, "body": "d"}"#,
            r#"UPDATE 2: {"body": "b"} -> {"body": "B"}"#
        ]
    );
}

#[test]
fn statements_within_one_another_log_all_they_change() {
    let (_db, mut client) = with_crm();
    table(&mut client, "notes", "id int, body text", "{}");
    table(&mut client, "old_notes", "id int, body text", "{}");
    ok(client.batch_execute("INSERT INTO crm.notes (id, body) SELECT n, 'x' FROM generate_series(1, 5) n"));
    ok(client.batch_execute(
        "WITH gone AS (DELETE FROM crm.notes WHERE id < 4 RETURNING *), kept AS (UPDATE crm.notes SET body = 'y' WHERE id = 4)
         INSERT INTO crm.old_notes SELECT * FROM gone",
    ));
    let expected = |counts: &[(&str, i64)]| counts.iter().map(|(o, n)| ((*o).to_owned(), *n)).collect::<Vec<_>>();
    assert_eq!(operations(&mut client, "crm.notes"), expected(&[("DELETE", 3), ("INSERT", 5), ("UPDATE", 1)]));
    assert_eq!(operations(&mut client, "crm.old_notes"), expected(&[("INSERT", 3)]));
}

// --- many rows

#[test]
fn rows_that_copy_and_import_bring_are_logged_each() {
    let (db, mut client) = with_crm();
    table(&mut client, "notes", "id int, body text", "{}");
    let mut writer = ok(client.copy_in("COPY crm.notes (id, body) FROM STDIN"));
    let rows: String = (1..=3000).map(|n| format!("{n}\tcopied\n")).collect();
    writer.write_all(rows.as_bytes()).expect("the connection takes it");
    assert_eq!(ok(writer.finish()), 3000);
    let sql = "SELECT count(DISTINCT row_key), count(DISTINCT transaction_id), count(*), min(new_values->>'body')
                 FROM audit.change_log WHERE table_name = 'crm.notes' AND operation = 'INSERT'";
    let row = ok(client.query_one(sql, &[]));
    assert_eq!((row.get::<_, i64>(0), row.get::<_, i64>(1), row.get::<_, i64>(2)), (3000, 1, 3000));
    assert_eq!(row.get::<_, &str>(3), "copied");

    let before = count(&mut client, "shared.locations");
    as_owner(&db, &B, |tx| {
        let rows = r#"[{"name": "Harbour"}, {"name": "Station"}]"#;
        let import = "SELECT thorbis.import_rows('shared.locations', rows => $1::text::jsonb)";
        assert_eq!(one::<i64>(tx, import, &[&rows]), 2);
        Ok(())
    });
    let imported = Entry::of_table(&mut client, "shared.locations").split_off(before as usize);
    let names: Vec<_> = imported.iter().map(|entry| entry.values("name")[1].clone()).collect();
    assert_eq!(names, ["Harbour", "Station"]);
    for entry in &imported {
        assert_eq!((entry.tenant, entry.actor, entry.session_role.as_str()), (B.id, Some(B.owner), "app_login"));
    }
}

/// COPY that fails at its last line leaves nothing, as every statement that fails.
#[test]
fn rows_of_a_copy_that_fails_are_not_logged() {
    let (_db, mut client) = with_crm();
    table(&mut client, "notes", "id int, body text", "{}");
    let mut writer = ok(client.copy_in("COPY crm.notes (id, body) FROM STDIN"));
    writer.write_all(b"1\ta\n2\tb\n1\tc\n").expect("the connection takes it");
    assert_sqlstate(writer.finish(), "23505");
    assert_eq!(count(&mut client, "crm.notes"), 0);
}

// --- changes that follow from others

#[test]
fn foreign_keys_that_cascade_are_logged_as_what_they_do() {
    let (db, mut client) = with_crm();
    table(&mut client, "boxes", "id int", "{}");
    let reference = |action: &str| format!("FOREIGN KEY (tenant_id, box) REFERENCES crm.boxes {action}");
    table(
        &mut client,
        "dropped",
        &format!("id int, box int, {}", reference("ON DELETE CASCADE ON UPDATE CASCADE")),
        "{}",
    );
    table(
        &mut client,
        "emptied",
        &format!("id int, box int, {}", reference("ON DELETE SET NULL (box) ON UPDATE CASCADE")),
        "{}",
    );
    for name in ["boxes", "dropped", "emptied"] {
        let values = if name == "boxes" { "1" } else { "7, 1" };
        as_owner(&db, &A, |tx| tx.execute(&format!("INSERT INTO crm.{name} VALUES ('{}', {values})", A.id), &[]));
    }
    for sql in ["UPDATE crm.boxes SET id = 2", "DELETE FROM crm.boxes"] {
        ok(client.batch_execute(&format!("BEGIN; {}; {sql}; COMMIT", set_local(A.id, A.manager))));
    }
    let update = r#"UPDATE 7: {"box": 1} -> {"box": 2}"#;
    assert_eq!(lines(&mut client, "crm.dropped")[1..], [update, r#"DELETE 7: {"id": 7, "box": 2}"#]);
    assert_eq!(lines(&mut client, "crm.emptied")[1..], [update, r#"UPDATE 7: {"box": 2} -> {"box": null}"#]);
    for table in ["crm.boxes", "crm.dropped", "crm.emptied"] {
        let last = Entry::last_of(&mut client, table);
        // The foreign key's query runs as the table's owner, which is nobody's decision.
        assert_eq!((last.actor, last.database_role.as_str()), (Some(A.manager), "postgres"), "{table}");
    }
}

/// Its whole content goes with it, and the log of it all stays.
#[test]
fn the_end_of_a_tenant_is_logged_row_by_row() {
    let db = Database::new();
    let mut client = db.superuser();
    let tables =
        "SELECT c.oid::regclass::text, CASE WHEN c.oid = 'shared.tenants'::regclass THEN 'id' ELSE 'tenant_id' END
                    FROM thorbis.protected_tables p JOIN pg_class c ON c.oid = p.table_id
                   WHERE c.relnamespace <> 'audit'::regnamespace AND p.options -> 'audit' IS DISTINCT FROM 'false' ORDER BY 1";
    let mut expected = Vec::new();
    for row in ok(client.query(tables, &[])) {
        let (table, tenant): (String, String) = (row.get(0), row.get(1));
        let rows: i64 = one(&mut client, &format!("SELECT count(*) FROM {table} WHERE {tenant} = $1"), &[&A.id]);
        expected.push((table, rows));
    }
    expected.retain(|(_, rows)| *rows > 0);
    assert!(expected.len() > 20, "{expected:?}");
    let others: i64 = one(&mut client, "SELECT count(*) FROM audit.change_log WHERE tenant_id = $1", &[&B.id]);
    ok(client.execute("DELETE FROM shared.tenants WHERE id = $1", &[&A.id]));
    let sql = "SELECT table_name, count(DISTINCT row_key) FROM audit.change_log
                WHERE operation = 'DELETE' AND tenant_id = $1 AND table_name !~ '^audit' GROUP BY 1 ORDER BY 1";
    let found: Vec<(String, i64)> = ok(client.query(sql, &[&A.id])).iter().map(|r| (r.get(0), r.get(1))).collect();
    assert_eq!(found, expected);
    assert_eq!(one::<i64>(&mut client, "SELECT count(*) FROM audit.change_log WHERE tenant_id = $1", &[&B.id]), others);
}

// --- TRUNCATE

#[test]
fn truncate_says_how_many_rows_each_tenant_lost() {
    let (_db, mut client) = with_crm();
    table(&mut client, "notes", "id int, body text", "{}");
    table(&mut client, "lines", "id int, note int, FOREIGN KEY (tenant_id, note) REFERENCES crm.notes", "{}");
    ok(client.batch_execute(&format!(
        "INSERT INTO crm.notes SELECT t, n FROM unnest('{{{}, {}}}'::uuid[]) WITH ORDINALITY u(t, o), generate_series(1, 3 * o) n;
         INSERT INTO crm.lines VALUES (DEFAULT, 1, 1)",
        A.id, B.id
    )));
    ok(client.batch_execute("BEGIN; DELETE FROM crm.notes WHERE id > 5; TRUNCATE crm.notes CASCADE; COMMIT"));
    let of = |client: &mut _, table: &str| {
        let entries = Entry::of_table(client, table).into_iter().filter(|e| e.operation == "TRUNCATE");
        let mut rows: Vec<_> = entries.map(|e| (e.tenant, e.key, e.old.map(|v| v.to_string()), e.new)).collect();
        rows.sort_by_key(|row| row.0);
        rows
    };
    let lost = |tenant, rows: i32| (tenant, String::new(), Some(format!("{{\"rows\":{rows}}}")), None);
    assert_eq!(of(&mut client, "crm.notes"), [lost(A.id, 3), lost(B.id, 5)]);
    assert_eq!(of(&mut client, "crm.lines"), [lost(A.id, 1)], "a table that goes along");
    // Nothing is lost by truncating what is empty.
    assert_eq!(logged(&mut client, "crm.notes", "TRUNCATE crm.notes, crm.lines RESTART IDENTITY"), [""; 0]);
    // As the owner, whom row security binds too; and in a transaction that has no number yet.
    ok(client.batch_execute(
        "INSERT INTO crm.lines SELECT FROM (SELECT) x WHERE false; INSERT INTO crm.notes (id) VALUES (1)",
    ));
    let last = logged(&mut client, "crm.notes", "SET ROLE thorbis_owner; TRUNCATE crm.notes CASCADE; RESET ROLE");
    assert_eq!(last, [r#"TRUNCATE : {"rows": 1}"#]);
}

/// TRUNCATE waits for who writes, and counts what they committed meanwhile.
#[test]
fn truncate_counts_the_rows_that_it_waited_for() {
    let (db, mut client) = with_crm();
    table(&mut client, "notes", "id int, body text", "{}");
    let mut writer = db.superuser();
    ok(writer.batch_execute("BEGIN; INSERT INTO crm.notes (id) SELECT generate_series(1, 4)"));
    std::thread::scope(|scope| {
        let truncating = scope.spawn(|| client.batch_execute("TRUNCATE crm.notes"));
        thorbis_tests::until("TRUNCATE waits", || {
            one(
                &mut db.superuser(),
                "SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted AND relation = 'crm.notes'::regclass)",
                &[],
            )
        });
        ok(writer.batch_execute("COMMIT"));
        ok(truncating.join().expect("it does not panic"));
    });
    assert_eq!(lines(&mut writer, "crm.notes").last().map(String::as_str), Some(r#"TRUNCATE : {"rows": 4}"#));
}

/// It takes rows that its transaction cannot see.
#[test]
fn truncate_counts_rows_that_are_newer_than_its_snapshot() {
    let (db, mut client) = with_crm();
    table(&mut client, "notes", "id int, body text", "{}");
    ok(client.batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM crm.notes"));
    ok(db.superuser().batch_execute("INSERT INTO crm.notes (id) SELECT generate_series(1, 4)"));
    ok(client.batch_execute("INSERT INTO crm.notes (id) VALUES (5); TRUNCATE crm.notes; COMMIT"));
    assert_eq!(lines(&mut client, "crm.notes").last().map(String::as_str), Some(r#"TRUNCATE : {"rows": 5}"#));
}
