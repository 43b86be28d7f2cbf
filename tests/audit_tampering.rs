//! What a superuser does to the log, around all triggers and grants, is found: in the log, and in the seals themselves.

use postgres::Client;
use thorbis_check_proof::domain::merkle::{Hash256, Tree};
use thorbis_check_proof::domain::seal::{COLUMNS, Header, Kind};
use thorbis_tests::seals::{newest_root, seal_all, verify, verify_with, write_foreign_rows};
use thorbis_tests::{A, B, Database, ok, one};

/// Seal 1 of this cluster, 2 to 5 of cluster 77: on the fifth of the months 2026-01 to 2026-04, each 100 rows of 10
/// transactions.
fn sealed_log() -> (Database, Client) {
    let db = Database::installed();
    let mut client = db.superuser();
    seal_all(&mut client);
    for month in 1..=4 {
        let (transaction, time) = (format!("{month} * 100 + n / 10"), format!("'2026-0{month}-05 10:00+00'"));
        write_foreign_rows(&mut client, if month % 2 == 0 { A.id } else { B.id }, 77, 100, &transaction, &time);
        ok(client.execute("SELECT * FROM audit.seal()", &[]));
    }
    let foreign = "SELECT array_agg(number ORDER BY number) FROM audit.seals WHERE system_id = 77";
    assert_eq!(one::<Vec<i64>>(&mut client, foreign, &[]), [2, 3, 4, 5]);
    (db, client)
}

/// Does something to the log as superuser, without any trigger, looks at it, and takes it back.
#[track_caller]
fn tampering<T>(client: &mut Client, statements: &str, look: impl FnOnce(&mut Client) -> T) -> T {
    ok(client.batch_execute("BEGIN; SET LOCAL session_replication_role = replica"));
    if let Err(e) = client.batch_execute(statements) {
        panic!("{statements}: {}", thorbis_tests::describe(&e));
    }
    let seen = look(client);
    ok(client.batch_execute("ROLLBACK"));
    seen
}

#[track_caller]
fn assert_finds(client: &mut Client, statements: &str, expected: &[&str]) {
    let found = tampering(client, statements, verify);
    assert_eq!(found, expected, "{statements}");
}

/// One row of seal 3.
const ROW: &str = "c.system_id = 77 AND c.row_key = '42' AND c.occurred_at = '2026-02-05 10:00+00'";

// --- rows

#[test]
fn every_column_of_a_row_is_sealed() {
    let (_db, mut client) = sealed_log();
    assert_eq!(verify(&mut client), ["ok"]);
    let values = [
        ("tenant_id", "gen_random_uuid()", "rows_changed 3"),
        ("occurred_at", "occurred_at + interval '1 microsecond'", "rows_changed 3"),
        ("id", "gen_random_uuid()", "rows_changed 3"),
        ("table_name", "'shared.customers'", "rows_changed 3"),
        ("operation", "'UPDATE'", "rows_changed 3"),
        ("row_key", "'43'", "rows_changed 3"),
        ("new_row_key", "''", "rows_changed 3"),
        ("old_values", "'null'", "rows_changed 3"),
        ("new_values", "new_values || '{\"n\": 42.0}'", "rows_changed 3"),
        ("actor_id", "gen_random_uuid()", "rows_changed 3"),
        ("session_role", "'postgres'", "rows_changed 3"),
        ("database_role", "''", "rows_changed 3"),
        ("application", "''", "rows_changed 3"),
        ("client_address", "'::1'", "rows_changed 3"),
        ("request_id", "'x'", "rows_changed 3"),
        // To where no row is sealed: neither is it where it was.
        ("transaction_id", "transaction_id + 1", "rows_changed 3"),
        ("system_id", "system_id + 1", "rows_missing 3"),
    ];
    assert!(values.iter().all(|(column, ..)| COLUMNS.contains(column)) && values.len() == COLUMNS.len());
    for (column, value, finding) in values {
        assert_finds(&mut client, &format!("UPDATE audit.change_log c SET {column} = {value} WHERE {ROW}"), &[finding]);
    }
    assert_eq!(verify(&mut client), ["ok"], "all of it was taken back");
}

#[test]
fn removed_added_and_exchanged_rows_are_found() {
    let (_db, mut client) = sealed_log();
    let copy = |changes: &str| {
        format!(
            "CREATE TEMP TABLE one ON COMMIT DROP AS SELECT c.* FROM audit.change_log c WHERE {ROW};
             UPDATE one SET id = gen_random_uuid(); UPDATE one SET {changes}; INSERT INTO audit.change_log SELECT * FROM one"
        )
    };
    assert_finds(&mut client, &format!("DELETE FROM audit.change_log c WHERE {ROW}"), &["rows_missing 3"]);
    assert_finds(&mut client, "DELETE FROM audit.change_log c WHERE c.transaction_id = 207", &["rows_missing 3"]);
    assert_finds(
        &mut client,
        "DELETE FROM audit.change_log c WHERE c.row_key = '5' AND system_id = 77",
        &["rows_missing 2", "rows_missing 3", "rows_missing 4", "rows_missing 5"],
    );
    assert_finds(&mut client, &copy("request_id = 'more'"), &["rows_added 3"]);
    // Where no seal is: another month, before the first transaction, in the middle of another seal's transactions.
    assert_finds(&mut client, &copy("occurred_at = '2025-07-01 00:00+00'"), &["rows_added"]);
    assert_finds(&mut client, &copy("transaction_id = -7"), &["rows_added"]);
    assert_finds(&mut client, &copy("transaction_id = 3"), &["rows_added"]);
    assert_finds(&mut client, &copy("transaction_id = 305"), &["rows_added"]);
    assert_finds(&mut client, &copy("occurred_at = 'infinity'"), &["rows_added"]);
    assert_finds(&mut client, &copy("occurred_at = '-infinity'"), &["rows_added"]);
    assert_finds(
        &mut client,
        "UPDATE audit.change_log c SET new_values = o.new_values FROM audit.change_log o
          WHERE c.system_id = 77 AND o.system_id = 77 AND c.occurred_at = o.occurred_at AND c.transaction_id = 204
            AND o.transaction_id = 205 AND o.row_key::int = c.row_key::int + 10",
        &["rows_changed 3"],
    );
    // What is not sealed can be anything: it will be sealed as it is.
    assert_finds(&mut client, &copy("transaction_id = 5000"), &["ok"]);
    assert_finds(&mut client, &copy("system_id = 78"), &["ok"]);
}

#[test]
fn dropped_and_emptied_partitions_are_found() {
    let (_db, mut client) = sealed_log();
    let months = "CREATE TABLE audit.february (LIKE audit.change_log);
                  INSERT INTO audit.february SELECT * FROM audit.change_log
                   WHERE occurred_at >= '2026-02-01 00:00+00' AND occurred_at < '2026-03-01 00:00+00';
                  DELETE FROM audit.change_log
                   WHERE occurred_at >= '2026-02-01 00:00+00' AND occurred_at < '2026-03-01 00:00+00';
                  ALTER TABLE audit.change_log ATTACH PARTITION audit.february
                        FOR VALUES FROM ('2026-02-01 00:00+00') TO ('2026-03-01 00:00+00');";
    assert_finds(&mut client, months, &["ok"]);
    assert_finds(&mut client, &format!("{months} DROP TABLE audit.february"), &["rows_missing 3"]);
    assert_finds(&mut client, &format!("{months} TRUNCATE audit.february"), &["rows_missing 3"]);
    let detach = "ALTER TABLE audit.change_log DETACH PARTITION audit.february";
    assert_finds(&mut client, &format!("{months} {detach}"), &["rows_missing 3"]);
    let all = tampering(&mut client, "TRUNCATE audit.change_log", verify);
    assert_eq!(all.len(), 5);
    assert!(all.iter().all(|finding| finding.starts_with("rows_missing")));
}

#[test]
fn only_seals_between_the_times_are_recomputed() {
    let (_db, mut client) = sealed_log();
    let tamper = format!("DELETE FROM audit.change_log c WHERE {ROW}");
    let between = |first: i64, last: i64| {
        let at = |number: i64| format!("(SELECT sealed_at FROM audit.seals WHERE number = {number})");
        format!("{}, {}", at(first), at(last))
    };
    tampering(&mut client, &tamper, |tx| {
        for (arguments, found) in [
            (between(1, 1), "ok"),
            (between(4, 5), "ok"),
            (between(3, 3), "rows_missing 3"),
            (between(1, 3), "rows_missing 3"),
            ("\"from\" => now()".to_owned(), "ok"),
            ("\"to\" => now()".to_owned(), "rows_missing 3"),
            ("\"to\" => '2020-01-01'".to_owned(), "ok"),
        ] {
            assert_eq!(verify_with(tx, &arguments), [found], "{arguments}");
        }
    });
    // The chain is verified throughout.
    let found = tampering(&mut client, "DELETE FROM audit.seals WHERE number = 4", |tx| {
        verify_with(
            tx,
            "(SELECT sealed_at FROM audit.seals WHERE number = 1), (SELECT sealed_at FROM audit.seals WHERE number = 1)",
        )
    });
    assert_eq!(found, ["seal_missing 4"]);
}

// --- seals

#[test]
fn every_field_of_a_seal_is_sealed() {
    let (_db, mut client) = sealed_log();
    // In the middle, where the next one has the hash; in the last one too.
    for number in [3, 5] {
        for change in [
            "kind = 'tombstone'",
            "system_id = 78",
            "from_transaction = from_transaction - 1",
            "to_transaction = to_transaction + 1",
            "month = month + 1",
            "month = month + interval '1 month'",
            "row_count = row_count - 1",
            "root = sha256('')",
            "root = ''",
            "sealed_at = sealed_at + interval '1 microsecond'",
            "previous_hash = sha256('')",
            "previous_hash = ''",
            "hash = sha256('')",
        ] {
            let statement = format!("UPDATE audit.seals SET {change} WHERE number = {number}");
            let found = tampering(&mut client, &statement, verify);
            assert_eq!(found[0], format!("seal_changed {number}"), "{statement}");
        }
        // It has no part in the hash: without it the rows are not what was sealed.
        let statement = format!("UPDATE audit.seals SET blinding_key = sha256('') WHERE number = {number}");
        assert_finds(&mut client, &statement, &[&format!("rows_changed {number}")]);
    }
}

#[test]
fn missing_seals_are_found() {
    let (_db, mut client) = sealed_log();
    let remove = |which: &str| format!("DELETE FROM audit.seals WHERE {which}");
    assert_finds(&mut client, &remove("number = 1"), &["seal_missing 1"]);
    assert_finds(&mut client, &remove("number = 2"), &["seal_missing 2", "rows_added"]);
    assert_finds(&mut client, &remove("number IN (3, 4)"), &["seal_missing 3", "rows_added", "rows_added"]);
    let renumbered =
        "DELETE FROM audit.seals WHERE number = 3; UPDATE audit.seals SET number = number - 1 WHERE number > 3";
    let found = tampering(&mut client, renumbered, verify);
    assert_eq!(found[..2], ["seal_changed 3", "seal_changed 4"]);
    // The tail needs a root that was exported.
    let root = newest_root(&mut client);
    let with_root = format!("root => decode('{root}', 'hex')");
    for tail in ["number = 5", "number > 2", "true"] {
        let found = tampering(&mut client, &remove(tail), |tx| (verify(tx), verify_with(tx, &with_root)));
        assert_eq!(found, (vec!["ok".to_owned()], vec!["root_unknown".to_owned()]), "{tail}");
    }
    for root in ["''", "'\\x00'", "sha256('')", "repeat('x', 1000)::bytea"] {
        assert_eq!(verify_with(&mut client, &format!("root => {root}")), ["root_unknown"], "{root}");
    }
    assert_eq!(verify_with(&mut client, &with_root), ["ok"]);
}

/// Everything from a seal on made anew, as the extension itself makes it: nothing within the database tells.
#[test]
fn a_rewritten_tail_needs_a_root_exported_earlier() {
    let (_db, mut client) = sealed_log();
    let roots: Vec<String> =
        ok(client.query("SELECT hash FROM audit.roots ORDER BY number", &[])).iter().map(|row| row.get(0)).collect();
    let rewrite = format!(
        "DELETE FROM audit.change_log c WHERE {ROW}; DELETE FROM audit.seals WHERE number >= 3; SELECT * FROM audit.seal()"
    );
    tampering(&mut client, &rewrite, |tx| {
        assert_eq!(verify(tx), ["ok"], "there is no other way to tell");
        for (n, root) in roots.iter().enumerate() {
            let found = verify_with(tx, &format!("root => decode('{root}', 'hex')"));
            assert_eq!(found, [if n < 2 { "ok" } else { "root_unknown" }], "seal {}", n + 1);
        }
    });
}

/// A header with a hash that fits, but not to the one after.
#[test]
fn a_seal_made_anew_does_not_lead_to_the_next_one() {
    let (_db, mut client) = sealed_log();
    for number in [1, 3, 5] {
        let mut header = header(&mut client, number);
        header.sealed_at += 1;
        let statement = format!(
            "UPDATE audit.seals SET sealed_at = sealed_at + interval '1 microsecond', hash = '\\x{}' WHERE number = {number}",
            header.hash()
        );
        let expected = if number == 5 { "ok".to_owned() } else { format!("seal_changed {}", number + 1) };
        assert_finds(&mut client, &statement, &[&expected]);
    }
}

#[test]
fn ranges_of_transactions_that_do_not_follow_are_found() {
    let (_db, mut client) = sealed_log();
    let last = header(&mut client, 5);
    for (from, to) in
        [(last.from_transaction + 1, last.to_transaction), (last.from_transaction - 1, last.to_transaction)]
    {
        let header = Header { from_transaction: from, to_transaction: to, ..last };
        let statement = format!(
            "UPDATE audit.seals SET from_transaction = {from}, to_transaction = {to}, hash = '\\x{}' WHERE number = 5",
            header.hash()
        );
        let found = tampering(&mut client, &statement, verify);
        assert_eq!(found[0], "range_wrong 5");
    }
}

fn header(client: &mut Client, number: i64) -> Header {
    let sql = "SELECT jsonb_build_object('number', number::text, 'kind', kind, 'system_id', system_id::text,
                      'from_transaction', from_transaction::text, 'to_transaction', to_transaction::text,
                      'month', month::text, 'row_count', row_count::text, 'root', encode(root, 'hex'),
                      'sealed_at', (extract(epoch FROM sealed_at) * 1000000)::bigint::text,
                      'previous_hash', encode(previous_hash, 'hex'))
                 FROM audit.seals WHERE number = $1";
    serde_json::from_value(one(client, sql, &[&number])).expect("a header")
}

// --- tombstones

/// The statement that adds a tombstone for the month of seal 3, of so many rows.
fn tombstone(client: &mut Client, rows: i64) -> String {
    let (buried, last) = (header(client, 3), header(client, 5));
    let header = Header {
        number: 6,
        kind: Kind::Tombstone,
        system_id: 0,
        from_transaction: 0,
        to_transaction: 0,
        month: buried.month,
        row_count: rows,
        root: [buried.root].into_iter().collect::<Tree>().root(),
        sealed_at: last.sealed_at,
        previous_hash: last.hash(),
    };
    format!(
        "INSERT INTO audit.seals SELECT 6, 'tombstone', 0, 0, 0, '{}', {rows}, '\\x{}', '', sealed_at, hash, '\\x{}'
           FROM audit.seals WHERE number = 5;",
        header.month,
        header.root,
        header.hash()
    )
}

#[test]
fn a_month_that_was_dropped_with_a_tombstone_is_not_missing() {
    let (_db, mut client) = sealed_log();
    let gone = "DELETE FROM audit.change_log WHERE occurred_at = '2026-02-05 10:00+00';";
    let good = tombstone(&mut client, 100);
    assert_finds(&mut client, &format!("{good} {gone}"), &["ok"]);
    assert_finds(&mut client, gone, &["rows_missing 3"]);
    assert_finds(&mut client, &good, &["rows_added 3"]);
    let all_but_one = format!(
        "{good} DELETE FROM audit.change_log c WHERE c.occurred_at = '2026-02-05 10:00+00' AND c.row_key <> '1'"
    );
    assert_finds(&mut client, &all_but_one, &["rows_added 3"]);
    let wrong = tombstone(&mut client, 99);
    assert_finds(&mut client, &format!("{wrong} {gone}"), &["tombstone_wrong 6"]);
    let other_root = good.replace(&header(&mut client, 3).root.to_string(), &Hash256::ZERO.to_string());
    assert_finds(&mut client, &format!("{other_root} {gone}"), &["seal_changed 6", "rows_missing 3"]);
    // A tombstone of another month excuses nothing here.
    let march = "DELETE FROM audit.change_log WHERE occurred_at = '2026-03-05 10:00+00';";
    assert_finds(&mut client, &format!("{good} {gone} {march}"), &["rows_missing 4"]);
}

/// More than a thousand things are wrong: the rest is counted.
#[test]
fn findings_end_somewhere() {
    let db = Database::installed();
    let mut client = db.superuser();
    seal_all(&mut client);
    let many = "INSERT INTO audit.seals SELECT n, 'rows', 77, n, n + 1, '2026-01-01', 1, '', '', now(), '', ''
                  FROM generate_series(1000, 2999) n";
    let found = tampering(&mut client, many, verify);
    assert_eq!(found.len(), 1001);
    assert_eq!(found.last().map(String::as_str), Some("more"));
}

/// The owner of the tables, and an application that got UPDATE by mistake, are stopped before any of this.
#[test]
fn only_the_owner_and_operators_can_change_seals() {
    let db = Database::new();
    let mut client = db.superuser();
    seal_all(&mut client);
    ok(client.batch_execute("GRANT ALL ON audit.seals TO thorbis_app"));
    for sql in ["UPDATE audit.seals SET row_count = 0", "DELETE FROM audit.seals", "TRUNCATE audit.seals"] {
        let denied = thorbis_tests::in_context(&mut db.app(), A.id, A.owner, |tx| tx.batch_execute(sql));
        assert!(denied.is_err(), "{sql}");
    }
    assert_eq!(verify(&mut client), ["ok"]);
}
