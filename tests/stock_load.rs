//! Stock under load: many sessions, rollbacks, retries, connections that are cut, lines in any order. Exactly what there is
//! is sold, and nobody deadlocks.

use postgres::error::SqlState;
use serde_json::{Value, json};
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use thorbis_tests::ledgers::{
    CORRECTIONS, CUP, CUSTOMER, FLOUR, STORE, SUPPLIER, VAN, assert_books_are_right, call, id, line, of, on_hand, post,
};
use thorbis_tests::{A, Database, as_owner, describe, in_context, ok, one, sqlstate};

const SESSIONS: usize = 16;

/// Deterministic and different in each session.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 33) % sides
    }
}

/// Runs `work(session, dice)` in as many threads.
fn in_sessions(work: impl Fn(usize, Dice) + Sync) {
    std::thread::scope(|scope| {
        for session in 0..SESSIONS {
            let work = &work;
            scope.spawn(move || work(session, Dice(session as u64 + 7)));
        }
    });
}

#[test]
fn exactly_as_many_are_sold_as_there_are() {
    let db = Database::new();
    as_owner(&db, &A, |tx| post(tx, &json!([line(CUP, SUPPLIER, STORE, 150)]), None));
    let (sold, refused) = (AtomicI64::new(0), AtomicUsize::new(0));
    in_sessions(|session, mut dice| {
        let mut app = db.app();
        for n in 0..20 {
            let sale = json!([line(CUP, STORE, CUSTOMER, 1)]);
            let key = format!("{session}-{n}");
            let (roll_back, repeat) = (dice.roll(10) < 3, dice.roll(10) < 3);
            let result = in_context(&mut app, A.id, A.owner, |tx| {
                post(tx, &sale, Some(&key))?;
                if roll_back {
                    tx.batch_execute("ROLLBACK; BEGIN")?;
                }
                Ok(())
            });
            match result {
                Ok(()) if !roll_back => drop(sold.fetch_add(1, Ordering::Relaxed)),
                Ok(()) => continue,
                Err(e) if sqlstate(&e) == "23514" => {
                    refused.fetch_add(1, Ordering::Relaxed);
                    continue;
                }
                Err(e) => panic!("{}", describe(&e)),
            }
            if repeat {
                ok(in_context(&mut app, A.id, A.owner, |tx| post(tx, &sale, Some(&key))));
            }
        }
    });
    let sold = sold.into_inner();
    let left: i64 = on_hand(&db, CUP, STORE).parse().expect("whole cups");
    assert_eq!(sold + left, 200, "sold and left");
    // Nobody puts any back: whoever was refused met an empty shelf.
    assert!(refused.into_inner() == 0 || left == 0, "sold {sold}, left {left}");
    assert_books_are_right(&db);
}

#[test]
fn sold_out_means_sold_out() {
    let db = Database::new();
    let sold = AtomicI64::new(0);
    in_sessions(|_, _| {
        let mut app = db.app();
        for _ in 0..10 {
            let result =
                in_context(&mut app, A.id, A.owner, |tx| post(tx, &json!([line(CUP, STORE, CUSTOMER, 1)]), None));
            match result {
                Ok(_) => drop(sold.fetch_add(1, Ordering::Relaxed)),
                Err(e) => assert_eq!(sqlstate(&e), "23514", "{}", describe(&e)),
            }
        }
    });
    assert_eq!((sold.into_inner(), on_hand(&db, CUP, STORE)), (50, "0".into()));
    assert_books_are_right(&db);
}

/// Every request locks what it needs in the same order, whatever order its lines are in; balances that are new included.
#[test]
fn lines_in_any_order_do_not_deadlock() {
    let db = Database::new();
    ok(db.superuser().execute(
        "INSERT INTO shared.stock_items (tenant_id, id, sku, name)
         SELECT $1, ('aaaaaaaa-0000-4000-8000-000000000d0' || n)::uuid, 'N' || n, 'Item' FROM generate_series(0, 9) n",
        &[&A.id],
    ));
    in_sessions(|session, mut dice| {
        let mut app = db.app();
        for n in 0..15 {
            let mut lines: Vec<Value> =
                (0..10).map(|i| line(0xd00 + i, if i % 2 == 0 { SUPPLIER } else { CORRECTIONS }, STORE, 2)).collect();
            if n > 0 {
                lines.extend((0..10).map(|i| line(0xd00 + i, STORE, VAN, 1)));
            }
            for i in (1..lines.len()).rev() {
                // Incoming and outgoing lines stay in their halves, so that there is enough.
                let half = if i < 10 { 0 } else { 10 };
                lines.swap(i, half + dice.roll((i - half + 1) as u64) as usize);
            }
            let key = format!("{session}-{n}");
            ok(in_context(&mut app, A.id, A.owner, |tx| post(tx, &json!(lines), Some(&key))));
        }
    });
    for i in 0..10 {
        assert_eq!(on_hand(&db, 0xd00 + i, STORE), (SESSIONS * (15 * 2 - 14)).to_string());
    }
    assert_books_are_right(&db);
}

/// All sessions repeat the same requests at once: each is done by one of them.
#[test]
fn concurrent_repetitions_have_one_effect() {
    let db = Database::new();
    in_sessions(|_, _| {
        let mut app = db.app();
        for n in 0..10 {
            let sale = json!([line(FLOUR, STORE, CUSTOMER, 1)]);
            ok(in_context(&mut app, A.id, A.owner, |tx| post(tx, &sale, Some(&format!("same-{n}")))));
        }
    });
    assert_eq!(on_hand(&db, FLOUR, STORE), "90");
    assert_books_are_right(&db);
}

/// Reserving, using, releasing and selling at once, with sessions that are terminated in the middle.
#[test]
fn reservations_hold_under_load_and_when_sessions_are_cut() {
    let db = Database::new();
    as_owner(&db, &A, |tx| post(tx, &json!([line(CUP, SUPPLIER, STORE, 50)]), None));
    in_sessions(|session, mut dice| {
        let mut app = db.app();
        for _ in 0..12 {
            let result = in_context(&mut app, A.id, A.owner, |tx| {
                let reserve = "SELECT shared.reserve_stock($1, $2, 3)";
                let reservation = id(&call(tx, reserve, &[&of(&A, CUP), &of(&A, STORE)])?, "reservation_id");
                match dice.roll(4) {
                    0 => drop(call(tx, "SELECT shared.release_stock_reservation($1)", &[&reservation])?),
                    1 => {
                        let mut sale = line(CUP, STORE, CUSTOMER, 2);
                        sale["stock_reservation_id"] = json!(reservation.to_string());
                        post(tx, &json!([sale]), None)?;
                    }
                    2 => drop(post(tx, &json!([line(CUP, STORE, CUSTOMER, 1)]), None)?),
                    _ => {}
                }
                Ok(one::<i32>(tx, "SELECT pg_backend_pid()", &[]))
            });
            match result {
                Ok(pid) if session % 4 == 0 && dice.roll(3) == 0 => {
                    // In the middle of its next transaction.
                    let mut victim = app;
                    let cut = in_context(&mut victim, A.id, A.owner, |tx| {
                        post(tx, &json!([line(CUP, STORE, CUSTOMER, 1)]), None)?;
                        ok(db.superuser().execute("SELECT pg_terminate_backend($1)", &[&pid]));
                        tx.execute("SELECT pg_sleep(30)", &[])
                    });
                    assert!(cut.is_err(), "the session was to end");
                    app = db.app();
                }
                Ok(_) => {}
                Err(e) => assert!(e.code() == Some(&SqlState::CHECK_VIOLATION), "{}", describe(&e)),
            }
        }
    });
    assert_books_are_right(&db);
    let sound: bool = one(
        &mut db.superuser(),
        "SELECT bool_and(on_hand >= reserved AND reserved >= 0) FROM shared.stock_balances",
        &[],
    );
    assert!(sound);
}
