//! Requests that must not be done twice: the same key gives the same answer, to the user whose key it is.

use postgres::{Client, Error, Transaction};
use serde_json::{Value, json};
use thorbis_tests::{A, B, Database, Session, assert_sqlstate, in_context, ok, one, until};
use uuid::Uuid;

fn begin(tx: &mut Transaction<'_>, key: &str, request: &Value) -> Result<Option<Value>, Error> {
    Ok(tx.query_one("SELECT shared.begin_idempotent_request($1, $2)", &[&key, request])?.get(0))
}

/// A request as an application does it: its effect is one location.
fn request(tx: &mut Transaction<'_>, key: &str, what: &Value) -> Result<Value, Error> {
    if let Some(answer) = begin(tx, key, what)? {
        return Ok(answer);
    }
    let make = "INSERT INTO shared.locations (name) VALUES ('made ' || gen_random_uuid()) RETURNING id";
    let id: Uuid = tx.query_one(make, &[])?.get(0);
    let answer = json!({ "location": id.to_string() });
    tx.execute("SELECT shared.complete_idempotent_request($1, $2)", &[&key, &answer])?;
    Ok(answer)
}

fn by_owner(app: &mut Client, key: &str, what: &Value) -> Result<Value, Error> {
    in_context(app, A.id, A.owner, |tx| request(tx, key, what))
}

fn effects(db: &Database) -> i64 {
    one(&mut db.superuser(), "SELECT count(*) FROM shared.locations WHERE name LIKE 'made %'", &[])
}

#[test]
fn a_repeated_request_has_one_effect_and_the_same_answer() {
    let db = Database::new();
    let mut app = db.app();
    let what = json!({"name": "Harbour", "size": 10.50});
    let first = ok(by_owner(&mut app, "k", &what));
    // The order of the fields is no difference.
    assert_eq!(ok(by_owner(&mut app, "k", &json!({"size": 10.50, "name": "Harbour"}))), first);
    assert_eq!(effects(&db), 1);
    assert_ne!(ok(by_owner(&mut app, "k2", &what)), first);
    // Within one transaction as well.
    let again =
        ok(in_context(&mut app, A.id, A.owner, |tx| Ok((request(tx, "k3", &what)?, request(tx, "k3", &what)?))));
    assert_eq!(again.0, again.1);
    assert_eq!(effects(&db), 3);
}

#[test]
fn the_same_key_for_another_request_is_refused() {
    let db = Database::new();
    let mut app = db.app();
    ok(by_owner(&mut app, "k", &json!({"amount": 1})));
    for other in [json!({"amount": 2}), json!({}), json!(null), json!({"amount": "1"})] {
        let error = assert_sqlstate(by_owner(&mut app, "k", &other), "22023");
        assert_eq!(error.message(), "the key was used for another request");
        assert!(!format!("{error:?}").contains("location"), "nothing of the answer");
    }
    assert_eq!(effects(&db), 1);
}

#[test]
fn a_key_belongs_to_a_user_of_a_tenant() {
    let db = Database::new();
    let mut app = db.app();
    let what = json!({});
    ok(in_context(&mut app, A.id, A.owner, |tx| {
        begin(tx, "k", &what)?;
        tx.execute("SELECT shared.complete_idempotent_request('k', '\"for the owner\"')", &[])
    }));
    // The same id in another tenant is another user.
    for (tenant, user) in [(A.id, A.employee), (B.id, B.owner), (B.id, A.owner)] {
        let answer = in_context(&mut app, tenant, user, |tx| {
            let answer = begin(tx, "k", &json!({"another": "request"}))?;
            tx.execute("SELECT shared.complete_idempotent_request('k', '\"mine\"')", &[])?;
            Ok(answer)
        });
        assert_eq!(ok(answer), None);
    }
    // A user without permissions sees the own ones only.
    let seen = in_context(&mut app, A.id, A.employee, |tx| {
        tx.query("SELECT response::text FROM shared.idempotency_keys WHERE key = 'k'", &[])
    });
    let seen: Vec<String> = ok(seen).iter().map(|row| row.get(0)).collect();
    assert_eq!(seen, ["\"mine\""]);
    for sql in ["UPDATE shared.idempotency_keys SET response = '1'", "DELETE FROM shared.idempotency_keys"] {
        assert_sqlstate(in_context(&mut app, A.id, A.owner, |tx| tx.batch_execute(sql)), "42501");
    }
}

#[test]
fn a_job_without_a_user_has_keys_of_its_own_and_without_a_tenant_none() {
    let db = Database::new();
    let mut superuser = db.superuser();
    for expected in [None, Some(json!(7))] {
        let mut tx = ok(superuser.transaction());
        ok(tx.batch_execute(&format!("SELECT thorbis.set_context('{}')", A.id)));
        let answer = ok(begin(&mut tx, "job", &json!(1)));
        assert_eq!(answer, expected);
        if answer.is_none() {
            ok(tx.execute("SELECT shared.complete_idempotent_request('job', '7')", &[]));
        }
        ok(tx.commit());
    }
    for client in [&mut superuser, &mut db.app()] {
        assert_sqlstate(client.execute("SELECT shared.begin_idempotent_request('job', '1')", &[]), "28000");
        assert_sqlstate(client.execute("SELECT shared.complete_idempotent_request('job', '1')", &[]), "28000");
    }
}

#[test]
fn what_was_rolled_back_can_be_done_again() {
    let db = Database::new();
    let mut app = db.app();
    let what = json!({});
    let failed = in_context(&mut app, A.id, A.owner, |tx| {
        request(tx, "k", &what)?;
        tx.batch_execute("SELECT 1 / 0")
    });
    assert_sqlstate(failed, "22012");
    // With another request even: nothing is left of the first.
    ok(by_owner(&mut app, "k", &json!({"other": true})));
    let savepoint = in_context(&mut app, A.id, A.owner, |tx| {
        tx.batch_execute("SAVEPOINT s")?;
        request(tx, "k2", &what)?;
        tx.batch_execute("ROLLBACK TO s")?;
        request(tx, "k2", &what)
    });
    ok(savepoint);
    assert_eq!(effects(&db), 2);
}

#[test]
fn what_was_begun_and_not_completed_is_not_done_again() {
    let db = Database::new();
    let mut app = db.app();
    let what = json!({});
    assert_eq!(ok(in_context(&mut app, A.id, A.owner, |tx| begin(tx, "k", &what))), None);
    assert_sqlstate(by_owner(&mut app, "k", &what), "55000");
    assert_sqlstate(by_owner(&mut app, "k", &json!(1)), "22023");
    let mut complete = |key: &str, response: &str| {
        let sql = format!("SELECT shared.complete_idempotent_request('{key}', '{response}')");
        in_context(&mut app, A.id, A.owner, |tx| tx.execute(&sql, &[]))
    };
    assert_sqlstate(complete("unknown", "1"), "P0002");
    ok(complete("k", "1"));
    ok(complete("k", "1"));
    assert_sqlstate(complete("k", "2"), "55000");
    assert_eq!(ok(by_owner(&mut app, "k", &what)), json!(1));
}

#[test]
fn expired_keys_are_as_new_and_removed() {
    let db = Database::new();
    let (mut app, mut superuser) = (db.app(), db.superuser());
    let first = ok(by_owner(&mut app, "k", &json!({"a": 1})));
    let expire = "UPDATE shared.idempotency_keys SET expires_at = now() - interval '1 second' WHERE key = 'k'";
    ok(superuser.batch_execute(expire));
    assert_ne!(ok(by_owner(&mut app, "k", &json!({"b": 2}))), first);
    assert_sqlstate(by_owner(&mut app, "k", &json!({"a": 1})), "22023");
    assert_eq!(effects(&db), 2);
    ok(superuser.batch_execute(expire));
    let steps = "SELECT action, count FROM thorbis.maintain(dry_run => $1) WHERE task = 'requests'";
    for dry_run in [true, false] {
        let rows = ok(superuser.query(steps, &[&dry_run]));
        assert_eq!((rows[0].get::<_, String>(0), rows[0].get::<_, i64>(1)), ("remove expired keys".into(), 1));
    }
    let left = "SELECT count(*) FROM shared.idempotency_keys WHERE key IN ('k', 'fixture')";
    assert_eq!(one::<i64>(&mut superuser, left, &[]), 2, "those that have not expired stay");
}

/// A request that somebody is doing right now under a key that has expired keeps maintenance from nothing.
#[test]
fn maintenance_waits_for_nobody() {
    let db = Database::new();
    let (mut app, mut superuser) = (db.app(), db.superuser());
    for key in ["held", "free"] {
        ok(by_owner(&mut app, key, &json!(1)));
    }
    ok(superuser.batch_execute("UPDATE shared.idempotency_keys SET expires_at = now() WHERE key IN ('held', 'free')"));
    app.begin_as(&A);
    ok(app.batch_execute("SELECT shared.begin_idempotent_request('held', '2')"));
    let removed = "SELECT coalesce(sum(count), 0)::bigint FROM thorbis.maintain() WHERE task = 'requests'";
    assert_eq!(one::<i64>(&mut superuser, removed, &[]), 1);
    ok(app.batch_execute("ROLLBACK"));
    assert_eq!(one::<i64>(&mut superuser, removed, &[]), 1);
}

#[test]
fn whoever_comes_with_the_same_key_waits_for_the_answer() {
    let db = Database::new();
    for end in ["COMMIT", "ROLLBACK"] {
        let (mut first, mut second) = (db.app(), db.app());
        first.begin_as(&A);
        let sql = format!("SELECT shared.begin_idempotent_request('{end}', '1')");
        ok(first.batch_execute(&sql));
        ok(first.batch_execute(&format!("SELECT shared.complete_idempotent_request('{end}', '42')")));
        let answer = std::thread::scope(|scope| {
            let waiting = scope.spawn(|| in_context(&mut second, A.id, A.owner, |tx| begin(tx, end, &json!(1))));
            let mut superuser = db.superuser();
            until("the second waits", || {
                let waits = "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database()
                              AND wait_event_type = 'Lock' AND query LIKE 'SELECT shared.begin%')";
                one(&mut superuser, waits, &[])
            });
            ok(first.batch_execute(end));
            ok(waiting.join().expect("the thread ends"))
        });
        assert_eq!(answer, (end == "COMMIT").then(|| json!(42)), "{end}");
    }
}

#[test]
fn sixteen_sessions_with_one_key_have_one_effect() {
    let db = Database::new();
    for isolation in ["READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE"] {
        let before = effects(&db);
        let barrier = std::sync::Barrier::new(16);
        let answers: Vec<Value> = std::thread::scope(|scope| {
            let sessions: Vec<_> = (0..16)
                .map(|_| {
                    let (db, barrier) = (&db, &barrier);
                    scope.spawn(move || {
                        let mut app = db.app();
                        ok(app.batch_execute(&format!("SET default_transaction_isolation = '{isolation}'")));
                        barrier.wait();
                        loop {
                            match by_owner(&mut app, isolation, &json!({"what": isolation})) {
                                Ok(answer) => return answer,
                                Err(e) => drop(assert_sqlstate(Err::<(), _>(e), "40001")),
                            }
                        }
                    })
                })
                .collect();
            sessions.into_iter().map(|session| session.join().expect("a session ends")).collect()
        });
        assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:?}");
        assert_eq!(effects(&db), before + 1, "{isolation}");
    }
}

#[test]
fn keys_and_answers_have_their_limits() {
    let db = Database::new();
    let mut app = db.app();
    for key in ["", &"x".repeat(201)] {
        assert_sqlstate(by_owner(&mut app, key, &json!(1)), "22023");
    }
    ok(by_owner(&mut app, &"ä".repeat(200), &json!(1)));
    for call in [
        "begin_idempotent_request(NULL, '1')",
        "begin_idempotent_request('k', NULL)",
        "complete_idempotent_request('k', NULL)",
    ] {
        let sql = format!("SELECT shared.{call}");
        assert_sqlstate(in_context(&mut app, A.id, A.owner, |tx| tx.execute(&sql, &[])), "22004");
    }
}
