//! Data keys that are made and rolled back, and that several sessions need at once: nothing becomes unreadable.

use thorbis_tests::people::{unreadable_in, with_customer};
use thorbis_tests::personal::TABLES;
use thorbis_tests::{A, Database, as_owner, in_context, ok, one, set_local, until};
use uuid::Uuid;

// --- keys that are made and rolled back

/// Steps of one session, after which the row must be readable in it and in another.
fn readable_after(steps: &[&str]) {
    let db = Database::new();
    for table in TABLES {
        let id = Uuid::new_v4();
        let mut app = db.app();
        for step in steps {
            let insert = |email: &str| {
                format!(
                    "INSERT INTO {table} (id, email, phone, first_name, last_name)
                     VALUES ('{id}', '{email}@savepoint.example', '+1 555 0113', 'A', 'B')"
                )
            };
            let sql = match *step {
                "BEGIN" => format!("BEGIN; {}", set_local(A.id, A.owner)),
                "first" => insert("first"),
                "last" => insert("last"),
                "fail" => format!(
                    "DO $$BEGIN {}; RAISE division_by_zero; EXCEPTION WHEN division_by_zero THEN NULL; END$$",
                    insert("failed")
                ),
                other => other.to_owned(),
            };
            ok(app.batch_execute(&sql));
        }
        for client in [&mut app, &mut db.app()] {
            let sql = format!("SELECT email, phone FROM {table}_pii WHERE id = $1");
            let row = ok(in_context(client, A.id, A.owner, |tx| tx.query_one(&sql, &[&id])));
            assert_eq!((row.get(0), row.get(1)), ("last@savepoint.example", "+1 555 0113"), "{steps:?}");
        }
    }
}

#[test]
fn insert_after_a_rolled_back_savepoint_stays_readable() {
    readable_after(&["BEGIN", "SAVEPOINT s", "first", "ROLLBACK TO s", "last", "COMMIT"]);
    readable_after(&["BEGIN", "SAVEPOINT s", "first", "ROLLBACK TO s", "SAVEPOINT t", "last", "RELEASE t", "COMMIT"]);
    readable_after(&["BEGIN", "SAVEPOINT s", "SAVEPOINT t", "first", "RELEASE t", "ROLLBACK TO s", "last", "COMMIT"]);
    readable_after(&["BEGIN", "fail", "last", "COMMIT"]);
    readable_after(&["BEGIN", "fail", "fail", "SAVEPOINT s", "first", "ROLLBACK TO s", "fail", "last", "COMMIT"]);
}

#[test]
fn insert_after_a_rollback_stays_readable() {
    readable_after(&["BEGIN", "first", "ROLLBACK", "BEGIN", "last", "COMMIT"]);
    readable_after(&[
        "BEGIN",
        "SAVEPOINT s",
        "first",
        "RELEASE s",
        "ROLLBACK",
        "BEGIN",
        "SAVEPOINT s",
        "last",
        "COMMIT",
    ]);
}

/// The key of a tenant that has none yet, made in a transaction that is rolled back.
#[test]
fn first_values_of_a_new_tenant_stay_readable_after_a_rollback() {
    let db = Database::new();
    ok(db.superuser().execute("DELETE FROM thorbis.data_keys WHERE tenant_id = $1", &[&A.id]));
    ok(db.superuser().batch_execute(
        "UPDATE shared.customers SET email = '', phone = ''; UPDATE shared.users SET email = '', phone = ''",
    ));
    let mut app = db.app();
    let insert = |email: &str| {
        format!("INSERT INTO shared.customers (email, first_name, last_name) VALUES ('{email}', 'A', 'B')")
    };
    ok(app.batch_execute(&format!("BEGIN; {}; {}; ROLLBACK", set_local(A.id, A.owner), insert("lost@new.example"))));
    ok(app.batch_execute(&format!("BEGIN; {}; {}; COMMIT", set_local(A.id, A.owner), insert("kept@new.example"))));
    for client in [&mut app, &mut db.app()] {
        let found = in_context(client, A.id, A.owner, |tx| {
            tx.query("SELECT email FROM shared.customers_pii WHERE id IN (SELECT thorbis.find_customer_by_email('KEPT@new.example'))", &[])
        });
        assert_eq!(ok(found).iter().map(|row| row.get(0)).collect::<Vec<&str>>(), ["kept@new.example"]);
    }
}

/// Rows about one person in a table of one's own.
const NOTES: &str = "
    CREATE SCHEMA crm AUTHORIZATION thorbis_owner;
    CREATE TABLE crm.notes (tenant_id uuid, id uuid DEFAULT gen_random_uuid(), customer_id uuid, body text,
                            PRIMARY KEY (tenant_id, id));
    ALTER TABLE crm.notes OWNER TO thorbis_owner;
    SELECT thorbis.protect('crm.notes', options =>
        '{\"pii\": [\"body\"], \"subject\": {\"kind\": \"customer\", \"column\": \"customer_id\"}}')";

/// Both sessions need a key that is not there yet. One of them makes it; the other waits for its transaction.
#[test]
fn two_sessions_that_first_write_about_a_person_end_up_readable() {
    for end in ["COMMIT", "ROLLBACK"] {
        let db = Database::new();
        ok(db.superuser().batch_execute(NOTES));
        let customer: Uuid = as_owner(&db, &A, |tx| {
            Ok(one(
                tx,
                "INSERT INTO shared.customers (first_name, last_name) VALUES ('No', 'Address') RETURNING id",
                &[],
            ))
        });
        let write = |body: &str| format!("INSERT INTO crm.notes (customer_id, body) VALUES ('{customer}', '{body}')");
        let (mut first, mut second, mut superuser) = (db.app(), db.app(), db.superuser());
        let pid: i32 = one(&mut second, "SELECT pg_backend_pid()", &[]);
        ok(first.batch_execute(&format!("BEGIN; {}; {}", set_local(A.id, A.owner), write("first"))));
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| {
                ok(second.batch_execute(&format!("BEGIN; {}; {}; COMMIT", set_local(A.id, A.owner), write("second"))))
            });
            let blocked = "SELECT count(*) FROM pg_stat_activity WHERE pid = $1 AND wait_event_type = 'Lock'";
            until("the second session waits or is done", || {
                waiting.is_finished() || one::<i64>(&mut superuser, blocked, &[&pid]) == 1
            });
            ok(first.batch_execute(end));
            waiting.join().expect("the second session writes");
        });
        let bodies = as_owner(&db, &A, |tx| tx.query("SELECT body FROM crm.notes_pii ORDER BY body", &[]));
        let bodies: Vec<&str> = bodies.iter().map(|row| row.get(0)).collect();
        assert_eq!(bodies, if end == "COMMIT" { vec!["first", "second"] } else { vec!["second"] });
        let keys = "SELECT count(*) FROM thorbis.data_keys WHERE subject_id = $1";
        assert_eq!(one::<i64>(&mut superuser, keys, &[&customer]), 1);
    }
}

#[test]
fn many_sessions_at_once_end_up_readable() {
    let db = Database::new();
    ok(db.superuser().batch_execute(NOTES));
    let customers: Vec<Uuid> = as_owner(&db, &A, |tx| {
        let sql =
            "INSERT INTO shared.customers (first_name, last_name) SELECT 'No', 'Address' FROM generate_series(1, 20)
                   RETURNING id";
        Ok(tx.query(sql, &[])?.iter().map(|row| row.get(0)).collect())
    });
    std::thread::scope(|scope| {
        for session in 0..4 {
            let (db, customers) = (&db, &customers);
            scope.spawn(move || {
                let mut app = db.app();
                for customer in customers {
                    let body = format!("session {session}");
                    ok(in_context(&mut app, A.id, A.owner, |tx| {
                        tx.execute("INSERT INTO crm.notes (customer_id, body) VALUES ($1, $2)", &[customer, &body])
                    }));
                }
            });
        }
    });
    let sql = "SELECT count(body), count(DISTINCT (customer_id, body)) FROM crm.notes_pii";
    let row = as_owner(&db, &A, |tx| tx.query_one(sql, &[]));
    assert_eq!((row.get(0), row.get(1)), (80_i64, 80_i64));
}

/// The indexes by which keys are found get other numbers: a session that has found some keeps finding them.
#[test]
fn rebuilt_indexes_of_the_keys_are_found_by_open_sessions() {
    let db = with_customer();
    let mut app = db.app();
    let work = |app: &mut postgres::Client, email: &str| {
        ok(in_context(app, A.id, A.owner, |tx| {
            let found = "SELECT thorbis.find_customer_by_email('CARLA@aaaaaaaa.example')";
            assert_eq!(one::<Uuid>(tx, found, &[]), A.customer);
            let read = "SELECT count(email) FROM shared.customers_pii";
            let before: i64 = one(tx, read, &[]);
            tx.execute("INSERT INTO shared.customers (email, first_name, last_name) VALUES ($1, 'R', 'R')", &[&email])?;
            assert_eq!(one::<i64>(tx, read, &[]), before + 1);
            let export = "SELECT gdpr.export_subject($1)::text LIKE '%carla@aaaaaaaa.example%'";
            assert!(one::<bool>(tx, export, &[&A.customer]));
            Ok(())
        }))
    };
    work(&mut app, "before@reindex.example");
    for reindex in [
        "REINDEX TABLE CONCURRENTLY thorbis.data_keys",
        "REINDEX INDEX CONCURRENTLY thorbis.data_keys_pkey",
        "REINDEX TABLE thorbis.data_keys",
        "VACUUM FULL thorbis.data_keys",
    ] {
        ok(db.superuser().batch_execute(reindex));
        work(&mut app, &format!("{}@reindex.example", reindex.replace(' ', "-")));
    }
    ok(db.superuser().batch_execute("REINDEX TABLE CONCURRENTLY thorbis.data_keys"));
    ok(in_context(&mut app, A.id, A.owner, |tx| {
        tx.execute("SELECT * FROM gdpr.erase_subject($1, false)", &[&A.customer])
    }));
    assert!(unreadable_in(&db, &mut app, &A, A.customer));
}
