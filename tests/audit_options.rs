//! What protection is asked to log of a table, and tables that changed since.

use postgres::Client;
use thorbis_tests::audit::{count, lines, logged, operations, table, with_crm};
use thorbis_tests::audit_log::Entry;
use thorbis_tests::{A, as_owner, findings, ok, one};

// --- what protection is asked for

#[test]
fn excluded_columns_are_left_out_and_secret_ones_show_that_they_changed() {
    let (_db, mut client) = with_crm();
    let options = r#"{"audit": {"exclude": ["seen", "noise"], "secret": ["pin", "tokens"]}}"#;
    table(&mut client, "cards", "id int, seen timestamptz, noise text, pin int, tokens text[]", options);
    ok(client.batch_execute(
        "INSERT INTO crm.cards (id, seen, noise, pin, tokens) VALUES (1, now(), 'x', 1234, '{sesame}'), (2, now(), 'x', NULL, NULL);
         UPDATE crm.cards SET seen = now(), noise = 'y'; UPDATE crm.cards SET pin = 4321, noise = 'z' WHERE id = 1;
         UPDATE crm.cards SET tokens = '{}' WHERE id = 1; UPDATE crm.cards SET pin = NULL WHERE id = 1; DELETE FROM crm.cards",
    ));
    assert_eq!(
        lines(&mut client, "crm.cards"),
        [
            r#"INSERT 1: -> {"id": 1, "pin": "changed", "tokens": "changed"}"#,
            r#"INSERT 2: -> {"id": 2}"#,
            r#"UPDATE 1: {"pin": "changed"} -> {"pin": "changed"}"#,
            r#"UPDATE 1: {"tokens": "changed"} -> {"tokens": "changed"}"#,
            r#"UPDATE 1: {"pin": "changed"} -> {"pin": null}"#,
            r#"DELETE 2: {"id": 2}"#,
            r#"DELETE 1: {"id": 1, "tokens": "changed"}"#
        ]
    );
    for text in ["1234", "4321", "sesame"] {
        let sql =
            format!("SELECT count(*) FROM audit.change_log l WHERE table_name = 'crm.cards' AND l::text ~ '{text}'");
        assert_eq!(one::<i64>(&mut client, &sql, &[]), 0, "{text}");
    }
}

fn triggers(client: &mut Client, table: &str) -> Vec<String> {
    let sql = "SELECT tgname::text FROM pg_trigger t JOIN pg_proc p ON p.oid = t.tgfoid WHERE t.tgrelid = $1::text::regclass AND p.proname ~ '^audit_' ORDER BY 1";
    ok(client.query(sql, &[&table])).iter().map(|row| row.get(0)).collect()
}

#[test]
fn a_table_can_be_taken_out_of_the_log_and_put_back() {
    let (_db, mut client) = with_crm();
    table(&mut client, "notes", "id int", "{}");
    let mut id = 0;
    let mut insert = |client: &mut Client| {
        id += 1;
        ok(client.execute("INSERT INTO crm.notes VALUES ($1, $2)", &[&A.id, &id]));
    };
    insert(&mut client);
    for n in 1..=2 {
        for _ in 0..2 {
            ok(client.batch_execute("SELECT thorbis.protect('crm.notes', options => '{\"audit\": false}')"));
        }
        assert_eq!(triggers(&mut client, "crm.notes"), [""; 0]);
        insert(&mut client);
        assert_eq!(count(&mut client, "crm.notes"), n);
        for _ in 0..2 {
            ok(client.batch_execute("SELECT thorbis.protect('crm.notes', options => '{\"audit\": true}')"));
        }
        assert_eq!(triggers(&mut client, "crm.notes"), ["audit_notes_changes", "audit_notes_truncate"]);
        insert(&mut client);
        assert_eq!(count(&mut client, "crm.notes"), n + 1, "its history goes on under its name");
    }
    assert!(ok(findings(&mut client)).iter().all(|found| found.severity != "error"));
    // With other options the triggers are made anew, not once more.
    ok(client.batch_execute("SELECT thorbis.protect('crm.notes', options => '{\"audit\": {\"exclude\": [\"id\"]}}')"));
    assert_eq!(triggers(&mut client, "crm.notes"), ["audit_notes_changes", "audit_notes_truncate"]);
    ok(client
        .batch_execute("SELECT thorbis.protect('crm.notes', options => '{\"triggers\": {\"audit\": \"watch\"}}')"));
    assert_eq!(triggers(&mut client, "crm.notes"), ["audit_notes_truncate", "watch"]);
    assert_eq!(
        logged(&mut client, "crm.notes", "UPDATE crm.notes SET id = -id WHERE id = 1"),
        [r#"UPDATE 1 to -1: {"id": 1} -> {"id": -1}"#]
    );
    ok(client.batch_execute("SELECT thorbis.unprotect('crm.notes')"));
    assert_eq!(triggers(&mut client, "crm.notes"), [""; 0]);
    let before = count(&mut client, "crm.notes");
    ok(client.batch_execute("DELETE FROM crm.notes"));
    assert_eq!(count(&mut client, "crm.notes"), before);
}

#[test]
fn a_table_keeps_its_name_in_the_log() {
    let (db, mut client) = with_crm();
    table(&mut client, "notes", "id int", "{}");
    let mut warm = db.superuser();
    ok(warm.batch_execute("INSERT INTO crm.notes (id) VALUES (1)"));
    ok(client.batch_execute("ALTER TABLE crm.notes RENAME TO memos"));
    ok(warm.batch_execute("INSERT INTO crm.memos (id) VALUES (2)"));
    ok(client.batch_execute("SELECT thorbis.protect('crm.memos'); CREATE SCHEMA other AUTHORIZATION thorbis_owner; ALTER TABLE crm.memos SET SCHEMA other"));
    ok(warm.execute("INSERT INTO other.memos VALUES ($1, 3)", &[&A.id]));
    ok(client.batch_execute("SELECT thorbis.protect('other.memos')"));
    ok(warm.batch_execute("DELETE FROM other.memos"));
    assert_eq!(count(&mut client, "crm.notes"), 6);
    // Another that gets the name has another in the log: histories are not mixed.
    table(&mut client, "notes", "id int", "{}");
    ok(warm.batch_execute("INSERT INTO crm.notes (id) VALUES (1)"));
    assert_eq!(count(&mut client, "crm.notes"), 6);
}

// --- tables that changed since

#[test]
fn columns_that_come_go_or_are_computed_are_logged_as_they_are() {
    let (db, mut client) = with_crm();
    table(
        &mut client,
        "notes",
        "id int, gone int, kind int, price numeric, twice numeric GENERATED ALWAYS AS (price * 2) STORED",
        "{}",
    );
    let mut warm = db.superuser();
    ok(warm.batch_execute("INSERT INTO crm.notes (id, gone, price) VALUES (1, 7, 1.5)"));
    ok(client.batch_execute(
        "ALTER TABLE crm.notes DROP gone, ADD late text DEFAULT 'old rows have it', ADD \"odd \"\"name\" int DEFAULT 3",
    ));
    ok(warm.batch_execute(
        "UPDATE crm.notes SET price = 2; UPDATE crm.notes SET late = 'x'; INSERT INTO crm.notes (id) VALUES (2)",
    ));
    ok(client.batch_execute("ALTER TABLE crm.notes RENAME late TO lately; ALTER TABLE crm.notes ALTER kind TYPE text"));
    ok(warm.batch_execute(
        "UPDATE crm.notes SET lately = 'y', kind = 'cheap' WHERE id = 2; DELETE FROM crm.notes WHERE id = 1",
    ));
    assert_eq!(
        lines(&mut client, "crm.notes"),
        [
            r#"INSERT 1: -> {"id": 1, "gone": 7, "price": 1.5, "twice": 3.0}"#,
            r#"UPDATE 1: {"price": 1.5, "twice": 3.0} -> {"price": 2, "twice": 4}"#,
            r#"UPDATE 1: {"late": "old rows have it"} -> {"late": "x"}"#,
            r#"INSERT 2: -> {"id": 2, "late": "old rows have it", "odd \"name": 3}"#,
            r#"UPDATE 2: {"kind": null, "lately": "old rows have it"} -> {"kind": "cheap", "lately": "y"}"#,
            r#"DELETE 1: {"id": 1, "price": 2, "twice": 4, "lately": "x", "odd \"name": 3}"#
        ]
    );
}

/// What is no longer called as protection knows it must not come to stand in the log in clear.
#[test]
fn a_personal_column_that_was_renamed_stays_hidden() {
    let options = r#"{"pii": [{"column": "mail", "method": "clear", "category": "contact"}], "not_personal": ["note"],
                      "audit": {"secret": ["pin"]}}"#;
    for (change, columns) in [
        ("RENAME mail TO address", "id, note, address, pin"),
        ("RENAME pin TO code", "id, note, mail, code"),
        ("DROP mail", "id, note, note, pin"),
    ] {
        let (db, mut client) = with_crm();
        table(&mut client, "people", "id int, note text, mail text, pin text, free text", options);
        let mut warm = db.superuser();
        ok(warm.batch_execute(
            "INSERT INTO crm.people (id, note, mail, pin) VALUES (1, 'n', 'eva@example.com', 'sesame')",
        ));
        ok(client.batch_execute(&format!("ALTER TABLE crm.people {change}")));
        let columns = columns.replace("note, note, pin", "note, pin, free");
        ok(warm.batch_execute(&format!(
            "INSERT INTO crm.people ({columns}) VALUES (2, 'n', 'eva@example.com', 'sesame')"
        )));
        ok(warm.batch_execute("UPDATE crm.people SET note = 'm', free = 'x'; DELETE FROM crm.people"));
        for text in ["eva@example", "sesame"] {
            let sql = format!(
                "SELECT count(*) FROM audit.change_log l WHERE table_name = 'crm.people' AND l::text ~ '{text}'"
            );
            assert_eq!(one::<i64>(&mut client, &sql, &[]), 0, "{change}: {text}");
        }
        let expected = [("DELETE", 2), ("INSERT", 2), ("UPDATE", 2)].map(|(operation, n)| (operation.to_owned(), n));
        assert_eq!(operations(&mut client, "crm.people"), expected, "{change}");
    }
}

/// An envelope has a text as it is, anything else as its JSON.
#[test]
fn personal_values_of_any_type_are_sealed() {
    let (db, mut client) = with_crm();
    let values = [
        ("code", "uuid", "0188c3a2-0000-4000-8000-000000000001", "0188c3a2-0000-4000-8000-000000000001"),
        ("born", "date", "1990-05-06", "1990-05-06"),
        ("size", "numeric", "1.80", "1.80"),
        ("mails", "text[]", "{a@b.example,NULL}", r#"["a@b.example", null]"#),
        ("member", "bool", "t", "true"),
        ("home", "inet", "10.1.2.3", "10.1.2.3"),
    ];
    let clear = values.map(|(name, ..)| format!(r#"{{"column": "{name}", "method": "clear", "category": "other"}}"#));
    let columns = values.map(|(name, of, ..)| format!("{name} {of}"));
    let options = format!(r#"{{"pii": [{}]}}"#, clear.join(", "));
    table(&mut client, "people", &format!("id int, {}", columns.join(", ")), &options);
    let literals = values.map(|(_, _, value, _)| format!("'{value}'"));
    ok(client.batch_execute(&format!(
        "INSERT INTO crm.people ({}, id) VALUES ({}, 1)",
        values.map(|(name, ..)| name).join(", "),
        literals.join(", ")
    )));
    let logged = Entry::last_of(&mut client, "crm.people");
    for (name, _, _, expected) in values {
        let sealed = logged.values(name)[1].as_str().expect("an envelope is text").to_owned();
        let open = "SELECT decrypt_pii($1, $2, '1')";
        let opened: String = as_owner(&db, &A, |tx| Ok(one(tx, open, &[&sealed, &format!("crm.people.{name}")])));
        assert_eq!(opened, expected, "{name}");
    }
}
