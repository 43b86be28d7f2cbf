//! Numbers of documents when many come at the same time: none comes twice, legal ones have no gaps, and nobody waits for a
//! cheap one, whoever rolls back or is killed.

use postgres::{Client, Error};
use std::sync::Barrier;
use std::thread;
use thorbis_tests::desk::{NOTE, SLIP, begin, desk, note, numbers, slip};
use thorbis_tests::{B, Database, assert_sqlstate, assert_sqlstate_in, ok, one, set_local, sqlstate, until};

#[test]
fn nobody_waits_for_a_cheap_number() {
    let db = desk();
    let mut sessions: Vec<Client> = (0..5).map(|_| db.app()).collect();
    let mut all = Vec::new();
    for client in &mut sessions {
        begin(client, "READ COMMITTED");
        ok(client.batch_execute("SET LOCAL lock_timeout = '1ms'"));
    }
    for _ in 0..3 {
        for client in &mut sessions {
            all.push(one::<i32>(client, NOTE, &[]));
        }
    }
    for client in &mut sessions {
        ok(client.batch_execute("COMMIT"));
    }
    let count = all.len();
    all.sort();
    all.dedup();
    assert_eq!(all.len(), count, "{all:?}");
}

#[test]
fn one_session_leaves_no_gap_in_cheap_numbers_either() {
    let db = desk();
    let mut app = db.app();
    for turn in 0..200 {
        begin(&mut app, "READ COMMITTED");
        ok(app.execute("INSERT INTO desk.notes SELECT FROM generate_series(1, 3)", &[]));
        ok(app.batch_execute(if turn % 3 == 0 { "ROLLBACK" } else { "SAVEPOINT s" }));
        if turn % 3 != 0 {
            ok(app.batch_execute("INSERT INTO desk.notes DEFAULT VALUES; ROLLBACK TO s; COMMIT"));
        }
    }
    let numbers = numbers(&db, "notes");
    assert_eq!(numbers, (1..=numbers.len() as i32).collect::<Vec<_>>());
    let rows: i64 = one(&mut db.superuser(), "SELECT count(*) FROM shared.number_counters WHERE series = 'notes'", &[]);
    assert!(rows <= 2, "blocks that are used up go: {rows}");
}

/// Next to each other, two sessions fill the gaps that a third one left.
#[test]
fn sessions_that_follow_each_other_are_dense() {
    let db = desk();
    let (mut first, mut second, mut third) = (db.app(), db.app(), db.app());
    begin(&mut first, "READ COMMITTED");
    assert_eq!(one::<i32>(&mut first, NOTE, &[]), 1);
    let apart = ok(note(&mut second));
    assert!(apart > 1, "{apart}");
    ok(first.batch_execute("COMMIT"));
    let next: Vec<i32> = [&mut first, &mut second, &mut third].into_iter().map(|client| ok(note(client))).collect();
    assert_eq!(next, [2, 3, 4]);
}

/// Whatever is open at once, no lock of a block outlives the statement that took it.
#[test]
fn many_numbers_in_one_transaction_take_no_locks() {
    let db = desk();
    let (mut open, mut app) = (db.app(), db.app());
    begin(&mut open, "READ COMMITTED");
    ok(open.execute("INSERT INTO desk.notes SELECT FROM generate_series(1, 5000)", &[]));
    let held: i64 = one(&mut open, "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'", &[]);
    assert_eq!(held, 0);
    ok(app.execute("SET lock_timeout = '1s'", &[]));
    let apart = ok(note(&mut app));
    ok(open.batch_execute("COMMIT"));
    let numbers = numbers(&db, "notes");
    assert_eq!(numbers.len(), 5001);
    assert!(numbers.windows(2).all(|pair| pair[0] < pair[1]) && numbers.contains(&apart));
}

#[test]
fn who_needs_a_legal_number_waits_for_its_turn() {
    let db = desk();
    let (mut first, mut second) = (db.app(), db.app());
    begin(&mut first, "READ COMMITTED");
    assert_eq!(one::<String>(&mut first, SLIP, &[]), "1");
    begin(&mut second, "READ COMMITTED");
    ok(second.batch_execute("SET LOCAL lock_timeout = '50ms'"));
    assert_sqlstate(second.query(SLIP, &[]), "55P03");
    ok(second.batch_execute("ROLLBACK"));
    // Another tenant does not wait.
    ok(second.batch_execute(&format!("BEGIN; {}; SET LOCAL lock_timeout = '50ms'", set_local(B.id, B.owner))));
    assert_eq!(one::<String>(&mut second, SLIP, &[]), "1");
    ok(second.batch_execute("COMMIT"));
    ok(first.batch_execute("ROLLBACK"));
    assert_eq!(ok(slip(&mut second)), "1", "what was rolled back is given again");
}

#[test]
fn killed_session_leaves_no_gap() {
    let db = desk();
    let mut app = db.app();
    ok(slip(&mut app));
    let mut victim = db.app();
    let pid: i32 = one(&mut victim, "SELECT pg_backend_pid()", &[]);
    begin(&mut victim, "READ COMMITTED");
    assert_eq!(one::<String>(&mut victim, SLIP, &[]), "2");
    assert_eq!(one::<i32>(&mut victim, NOTE, &[]), 1);
    ok(db.superuser().execute("SELECT pg_terminate_backend($1)", &[&pid]));
    let gone = "SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE pid = $1)";
    until("the session is gone", || one(&mut db.superuser(), gone, &[&pid]));
    assert_eq!((ok(slip(&mut app)), ok(note(&mut app))), ("2".into(), 1));
}

/// A stricter transaction sees the counts of its beginning: it fails and can be tried again, or is right.
#[test]
fn stricter_levels_fail_rather_than_repeat() {
    for level in ["REPEATABLE READ", "SERIALIZABLE"] {
        let db = desk();
        let (mut strict, mut app) = (db.app(), db.app());
        ok(slip(&mut app));
        ok(note(&mut app));
        for statement in [SLIP, NOTE] {
            begin(&mut strict, level);
            ok(strict.batch_execute("SELECT count(*) FROM desk.notes"));
            ok(slip(&mut app));
            ok(note(&mut app));
            match strict.query(statement, &[]) {
                Ok(_) => ok(strict.batch_execute("COMMIT")),
                Err(error) => {
                    assert_eq!(sqlstate(&error), "40001", "{level}");
                    ok(strict.batch_execute("ROLLBACK"));
                }
            }
            begin(&mut strict, level);
            ok(strict.query(statement, &[]));
            ok(strict.batch_execute("COMMIT"));
        }
        let slips = numbers(&db, "slips");
        assert_eq!(slips, (1..=slips.len() as i32).collect::<Vec<_>>(), "{level}");
    }
}

/// Sixteen sessions, a third of whose transactions end in a rollback: of the whole transaction or to a savepoint.
fn storm(db: &Database, level: &'static str, statement: &'static str, turns: usize) -> usize {
    const SESSIONS: usize = 16;
    let barrier = Barrier::new(SESSIONS);
    let session = |seed: u64| {
        let mut client = db.app();
        let (mut state, mut done) = (seed * 2 + 1, 0);
        barrier.wait();
        for _ in 0..turns {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let way = state >> 33;
            begin(&mut client, level);
            let worked = (|| -> Result<bool, Error> {
                for _ in 0..=way % 2 {
                    client.query(statement, &[])?;
                }
                match way % 6 {
                    0 => client.batch_execute("ROLLBACK").map(|()| false),
                    1 => {
                        client.batch_execute("SAVEPOINT s")?;
                        client.query(statement, &[])?;
                        client.batch_execute("ROLLBACK TO s; COMMIT").map(|()| true)
                    }
                    _ => client.batch_execute("COMMIT").map(|()| true),
                }
            })();
            match worked {
                Ok(committed) => done += usize::from(committed),
                Err(error) => {
                    let expected: &[&str] = if level == "READ COMMITTED" { &[] } else { &["40001"] };
                    assert_sqlstate_in(Err::<(), _>(error), expected);
                    ok(client.batch_execute("ROLLBACK"));
                }
            }
        }
        done
    };
    thread::scope(|scope| {
        let sessions: Vec<_> = (0..SESSIONS as u64).map(|seed| scope.spawn(move || session(seed))).collect();
        sessions.into_iter().map(|session| session.join().expect("the session works")).sum()
    })
}

#[test]
fn storm_of_legal_numbers_has_no_gap_and_no_duplicate() {
    let db = desk();
    let committed = storm(&db, "READ COMMITTED", SLIP, 40);
    let numbers = numbers(&db, "slips");
    assert!(numbers.len() >= committed && committed > 300, "{committed}");
    assert_eq!(numbers, (1..=numbers.len() as i32).collect::<Vec<_>>());
}

#[test]
fn storm_of_legal_numbers_under_serializable_has_no_gap() {
    let db = desk();
    let committed = storm(&db, "SERIALIZABLE", SLIP, 20);
    let numbers = numbers(&db, "slips");
    assert!(numbers.len() >= committed && committed > 0, "{committed}");
    assert_eq!(numbers, (1..=numbers.len() as i32).collect::<Vec<_>>());
}

#[test]
fn storm_of_cheap_numbers_has_no_duplicate() {
    for level in ["READ COMMITTED", "REPEATABLE READ"] {
        let db = desk();
        // Nothing keeps duplicates out but the counter.
        ok(db.superuser().batch_execute("ALTER TABLE desk.notes DROP CONSTRAINT notes_tenant_id_number_key"));
        let committed = storm(&db, level, NOTE, 40);
        let mut numbers = numbers(&db, "notes");
        let count = numbers.len();
        assert!(count >= committed && committed > 0, "{committed}");
        numbers.dedup();
        assert_eq!(numbers.len(), count, "{level}");
    }
}
