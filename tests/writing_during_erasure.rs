//! Writing about a person while somebody erases them: whoever comes second waits for the first, and no value is left that
//! nobody can read.

use postgres::Client;
use thorbis_tests::people::{steps, with_customer};
use thorbis_tests::{A, Database, as_owner, assert_sqlstate, in_context, ok, one, set_local, until};
use uuid::Uuid;

const NOTE: &str = "INSERT INTO crm.notes (customer_id, body, free) VALUES ('aaaaaaaa-0000-4000-8000-000000000021', $1, 'written beside')";
const PHONE: &str =
    "UPDATE shared.customers SET phone = '+1 555 0177' WHERE id = 'aaaaaaaa-0000-4000-8000-000000000021'";

fn begin(level: &str) -> String {
    format!("BEGIN ISOLATION LEVEL {level}; {}", set_local(A.id, A.owner))
}

fn erasure() -> String {
    format!("SELECT * FROM gdpr.erase_subject('{}', false)", A.customer)
}

fn note(text: &str) -> String {
    NOTE.replace("$1", &format!("'{text}'"))
}

/// Runs `sql` in a session of its own and `meanwhile` once it waits for a lock.
#[track_caller]
fn waiting(db: &Database, session: &mut Client, sql: &str, meanwhile: impl FnOnce()) -> Result<(), postgres::Error> {
    let (mut superuser, pid) = (db.superuser(), one::<i32>(session, "SELECT pg_backend_pid()", &[]));
    std::thread::scope(|scope| {
        let running = scope.spawn(|| session.batch_execute(sql));
        let blocked = "SELECT cardinality(pg_blocking_pids($1)) > 0";
        until("the session waits", || {
            assert!(!running.is_finished(), "it does not wait: {sql}");
            one::<bool>(&mut superuser, blocked, &[&pid])
        });
        meanwhile();
        running.join().expect("it returns")
    })
}

/// Every row of every view opens, and nothing of the customer is left.
#[track_caller]
fn nothing_is_left(db: &Database) {
    as_owner(db, &A, |tx| {
        for view in ["shared.customers_pii", "shared.customers_masked", "crm.notes_pii", "crm.notes_masked"] {
            tx.query(&format!("SELECT to_jsonb(v) FROM {view} v"), &[])?;
        }
        let bodies = tx.query("SELECT body FROM crm.notes_pii WHERE body IS NOT NULL", &[])?;
        assert_eq!(bodies.iter().map(|row| row.get(0)).collect::<Vec<&str>>(), ["somebody else"]);
        let phone = "SELECT coalesce(phone, email) FROM shared.customers_pii WHERE id = $1";
        assert_eq!(one::<Option<String>>(tx, phone, &[&A.customer]), None);
        let left = steps(tx, &format!("gdpr.residue_scan('{}', '{{raced,+1 555 0177}}')", A.customer));
        assert!(left.is_empty(), "{left:?}");
        Ok(())
    });
}

#[test]
fn erasure_waits_for_whoever_writes_about_the_person() {
    for write in [note("raced"), PHONE.to_owned(), format!("{}; {PHONE}", note("raced"))] {
        let db = with_customer();
        let (mut writer, mut eraser) = (db.app(), db.app());
        ok(writer.batch_execute(&format!("{}; {write}", begin("READ COMMITTED"))));
        let erase = format!("{}; {}; COMMIT", begin("READ COMMITTED"), erasure());
        ok(waiting(&db, &mut eraser, &erase, || ok(writer.batch_execute("COMMIT"))));
        nothing_is_left(&db);
        let keys = "SELECT count(*) FROM thorbis.data_keys WHERE subject_id = $1";
        assert_eq!(one::<i64>(&mut db.superuser(), keys, &[&A.customer]), 0);
    }
}

/// Savepoints: the lock of one that was rolled back is gone with it, and is taken again.
#[test]
fn erasure_waits_for_a_write_after_a_rolled_back_savepoint() {
    let db = with_customer();
    let (mut writer, mut eraser) = (db.app(), db.app());
    let write = format!("SAVEPOINT s; {}; ROLLBACK TO s; {}", note("lost"), note("raced"));
    ok(writer.batch_execute(&format!("{}; {write}", begin("READ COMMITTED"))));
    let erase = format!("{}; {}; COMMIT", begin("READ COMMITTED"), erasure());
    ok(waiting(&db, &mut eraser, &erase, || ok(writer.batch_execute("COMMIT"))));
    nothing_is_left(&db);
}

#[test]
fn writer_waits_for_an_erasure_and_goes_on_under_a_new_key() {
    for (end, knows_the_key) in [("COMMIT", true), ("COMMIT", false), ("ROLLBACK", true)] {
        let db = with_customer();
        let key = "SELECT id::text FROM thorbis.data_keys WHERE subject_id = $1";
        let before: String = one(&mut db.superuser(), key, &[&A.customer]);
        let (mut writer, mut eraser) = (db.app(), db.app());
        if knows_the_key {
            ok(in_context(&mut writer, A.id, A.owner, |tx| tx.batch_execute(&note("before"))));
        }
        ok(eraser.batch_execute(&format!("{}; {}", begin("READ COMMITTED"), erasure())));
        let write = format!("{}; {}; COMMIT", begin("READ COMMITTED"), note("raced"));
        ok(waiting(&db, &mut writer, &write, || ok(eraser.batch_execute(end))));
        for session in [&mut writer, &mut eraser, &mut db.app()] {
            let read = "SELECT count(*) FILTER (WHERE body = 'raced'), count(*) FILTER (WHERE body = 'before') FROM crm.notes_pii";
            let row = ok(in_context(session, A.id, A.owner, |tx| tx.query_one(read, &[])));
            let others = i64::from(end == "ROLLBACK" && knows_the_key);
            assert_eq!((row.get(0), row.get(1)), (1_i64, others), "{end}");
        }
        let after: String = one(&mut db.superuser(), key, &[&A.customer]);
        assert_eq!(after == before, end == "ROLLBACK");
    }
}

// --- older snapshots: one would look past what the other did. Either an error that says "try again", or it is done well.

const LEVELS: [&str; 2] = ["REPEATABLE READ", "SERIALIZABLE"];

/// Within a transaction that is open: `sql`, or the same in a new transaction when the first says so.
#[track_caller]
fn perhaps_again(session: &mut Client, level: &str, sql: &str) {
    let first = session.batch_execute(&format!("{sql}; COMMIT"));
    if first.is_err() {
        assert_sqlstate(first, "40001");
        ok(session.batch_execute(&format!("ROLLBACK; {}; {sql}; COMMIT", begin(level))));
    }
}

#[test]
fn erasure_with_an_older_snapshot_is_refused() {
    for level in LEVELS {
        let db = with_customer();
        let mut eraser = db.app();
        ok(eraser.batch_execute(&format!("{}; SELECT count(*) FROM crm.notes", begin(level))));
        assert_sqlstate(eraser.batch_execute(&erasure()), "25000");
    }
}

#[test]
fn writer_with_a_snapshot_older_than_the_key_does_not_wait_for_ever() {
    for level in LEVELS {
        let db = with_customer();
        let customer: Uuid = as_owner(&db, &A, |tx| {
            let insert = "INSERT INTO shared.customers (first_name, last_name) VALUES ('No', 'Address') RETURNING id";
            Ok(one(tx, insert, &[]))
        });
        let about = |text: &str| note(text).replace(&A.customer.to_string(), &customer.to_string());
        let mut writer = db.app();
        let old = format!("SET statement_timeout = '15s'; {}; SELECT count(*) FROM crm.notes", begin(level));
        ok(writer.batch_execute(&old));
        as_owner(&db, &A, |tx| tx.batch_execute(&about("first")));
        perhaps_again(&mut writer, level, &about("second"));
        let read = "SELECT body FROM crm.notes_pii WHERE customer_id = $1 ORDER BY body";
        let bodies = as_owner(&db, &A, |tx| tx.query(read, &[&customer]));
        assert_eq!(bodies.iter().map(|row| row.get(0)).collect::<Vec<&str>>(), ["first", "second"]);
    }
}
