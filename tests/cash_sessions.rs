//! Drawers of cash: one open session each, movements while it is open, a count that says what is missing.

use postgres::Error;
use std::sync::atomic::{AtomicUsize, Ordering};
use thorbis_tests::billing::{assert_books_agree, user_with};
use thorbis_tests::{A, B, Database, as_owner, assert_sqlstate, assert_sqlstate_in, in_context, ok, one};
use uuid::Uuid;

fn open(db: &Database, drawer: &str) -> Result<Uuid, Error> {
    let sql = "SELECT shared.open_cash_session($1, 100.00)";
    in_context(&mut db.app(), A.id, A.owner, |tx| Ok(tx.query_one(sql, &[&drawer])?.get(0)))
}

fn take(db: &Database, session: Uuid, amount: &str, key: &str) -> Result<Uuid, Error> {
    let sql =
        "SELECT shared.record_payment('cash', $2::text::numeric, $3, tendered_amount => 50.00, cash_session_id => $1)";
    in_context(&mut db.app(), A.id, A.owner, |tx| Ok(tx.query_one(sql, &[&session, &amount, &key])?.get(0)))
}

fn movement(db: &Database, session: Uuid, kind: &str, amount: &str, key: &str) -> Result<Uuid, Error> {
    let sql = "SELECT shared.record_cash_movement($1, $2, $3::text::numeric, 'change', $4)";
    in_context(&mut db.app(), A.id, A.owner, |tx| Ok(tx.query_one(sql, &[&session, &kind, &amount, &key])?.get(0)))
}

fn close(db: &Database, session: Uuid, counted: &str) -> Result<String, Error> {
    let sql = "SELECT shared.close_cash_session($1, $2::text::numeric)::text";
    in_context(&mut db.app(), A.id, A.owner, |tx| Ok(tx.query_one(sql, &[&session, &counted])?.get(0)))
}

#[test]
fn drawer_has_one_open_session() {
    let db = Database::new();
    let done = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| match open(&db, "Bar") {
                Ok(_) => drop(done.fetch_add(1, Ordering::Relaxed)),
                refused => drop(assert_sqlstate(refused, "23505")),
            });
        }
    });
    assert_eq!(done.into_inner(), 1);
    let session: Uuid = one(&mut db.superuser(), "SELECT id FROM shared.cash_sessions WHERE drawer = 'Bar'", &[]);
    ok(close(&db, session, "100.00"));
    ok(open(&db, "Bar"));
}

#[test]
fn close_says_what_is_missing() {
    let db = Database::new();
    let session = ok(open(&db, "Bar"));
    let payment = ok(take(&db, session, "20.00", "p-1"));
    ok(take(&db, session, "7.35", "p-2"));
    ok(movement(&db, session, "pay_out", "-12.00", "m-1"));
    ok(movement(&db, session, "pay_out", "-12.00", "m-1"));
    ok(movement(&db, session, "pay_in", "5.00", "m-2"));
    assert_sqlstate(movement(&db, session, "pay_in", "6.00", "m-2"), "22023");
    as_owner(&db, &A, |tx| {
        let sql = "SELECT shared.refund_payment($1, 4.00, 'cold', 'r-1', cash_session_id => $2)";
        tx.execute(sql, &[&payment, &session])
    });
    // 100 + 20 + 7.35 - 12 + 5 - 4
    assert_eq!(ok(close(&db, session, "115.00")), "-1.35");
    let sql = "SELECT concat_ws(' ', expected_amount, counted_amount, variance_amount, closed_by = $2)
                 FROM shared.cash_sessions WHERE id = $1";
    assert_eq!(one::<String>(&mut db.superuser(), sql, &[&session, &A.owner]), "116.35 115.00 -1.35 t");
    assert_books_agree(&mut db.superuser());
}

/// Otherwise cash that never was in the drawer would hide what is missing in it.
#[test]
fn refund_takes_out_of_a_drawer_what_was_put_into_one() {
    let db = Database::new();
    let session = ok(open(&db, "Bar"));
    let refund = |payment: Uuid, session: Uuid, key: &str| {
        let sql = "SELECT shared.refund_payment($1, 4.00, 'cold', $3, cash_session_id => $2)";
        in_context(&mut db.app(), A.id, A.owner, |tx| tx.execute(sql, &[&payment, &session, &key]))
    };
    let sql = "SELECT shared.record_payment('cash', 100, 'aside')";
    let aside: Uuid = as_owner(&db, &A, |tx| Ok(tx.query_one(sql, &[])?.get(0)));
    let error = assert_sqlstate(refund(aside, session, "r-1"), "23514");
    assert!(error.message().contains("its payment was put into one"), "{}", error.message());
    let payment = ok(take(&db, session, "20.00", "p-1"));
    ok(refund(payment, session, "r-2"));
    // What one drawer took, another may pay back.
    ok(refund(payment, ok(open(&db, "Front desk")), "r-3"));
    assert_eq!(ok(close(&db, session, "116.00")), "0.00");
    assert_books_agree(&mut db.superuser());
}

#[test]
fn drawer_holds_no_less_than_nothing() {
    let db = Database::new();
    let session = ok(open(&db, "Bar"));
    for (kind, amount, key) in [
        ("pay_out", "-9999999999", "m-1"),
        ("drop", "-100.01", "m-2"),
        ("pay_in", "9999999999.99", "m-3"),
        ("pay_in", "9999999900.00", "m-4"),
    ] {
        let error = assert_sqlstate(movement(&db, session, kind, amount, key), "23514");
        assert!(error.message().contains("less than nothing"), "{}", error.message());
    }
    // Nor in parts: of one statement, or of sessions that race.
    let parts = "INSERT INTO shared.cash_movements (tenant_id, cash_session_id, kind, amount, reason)
                 SELECT tenant_id, id, 'drop', -50.01, 'x' FROM shared.cash_sessions, generate_series(1, 2) WHERE id = $1";
    assert_sqlstate(db.superuser().execute(parts, &[&session]), "23514");
    let done = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for clerk in 0..8 {
            let (db, done) = (&db, &done);
            scope.spawn(move || match movement(db, session, "drop", "-30.00", &format!("race-{clerk}")) {
                Ok(_) => drop(done.fetch_add(1, Ordering::Relaxed)),
                refused => drop(assert_sqlstate(refused, "23514")),
            });
        }
    });
    assert_eq!(done.into_inner(), 3);
    // One request that is sent many times at once is none of those: the first one counts.
    let other = ok(open(&db, "Front desk"));
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| ok(movement(&db, other, "drop", "-60.00", "once")));
        }
    });
    assert_eq!(ok(close(&db, other, "40.00")), "0.00");
    ok(movement(&db, session, "drop", "-10.00", "m-5"));
    ok(movement(&db, session, "pay_in", "9999999999.99", "m-6"));
    assert_eq!(ok(close(&db, session, "0")), "-9999999999.99");
}

/// Whoever waits for the lock in a REPEATABLE READ transaction sees what the other took, too.
#[test]
fn drawer_is_looked_into_after_the_lock() {
    let db = Database::new();
    let session = ok(open(&db, "Bar"));
    let mut late = db.superuser();
    let mut tx = ok(late.build_transaction().isolation_level(postgres::IsolationLevel::RepeatableRead).start());
    ok(tx.execute("SELECT count(*) FROM shared.cash_movements", &[]));
    ok(movement(&db, session, "drop", "-60.00", "m-1"));
    let out = "INSERT INTO shared.cash_movements (tenant_id, cash_session_id, kind, amount, reason)
               SELECT tenant_id, id, 'drop', -60, 'x' FROM shared.cash_sessions WHERE id = $1";
    assert_sqlstate(tx.execute(out, &[&session]), "23514");
}

#[test]
fn drawer_adds_up_one_currency() {
    let db = Database::new();
    let session = ok(open(&db, "Bar"));
    let own: String = one(&mut db.superuser(), "SELECT currency::text FROM shared.tenants WHERE id = $1", &[&A.id]);
    let foreign = if own == "EUR" { "USD" } else { "EUR" };
    let pay = |currency: &str| {
        let sql = "SELECT shared.record_payment('cash', 5, $2, currency => $2, cash_session_id => $1)";
        in_context(&mut db.app(), A.id, A.owner, |tx| tx.execute(sql, &[&session, &currency]))
    };
    assert_sqlstate(pay(foreign), "22023");
    ok(pay(&own));
    assert_eq!(ok(close(&db, session, "105.00")), "0.00");
}

#[test]
fn closed_session_is_frozen() {
    let db = Database::new();
    let session = ok(open(&db, "Bar"));
    ok(close(&db, session, "100.00"));
    assert_sqlstate(close(&db, session, "100.00"), "55000");
    assert_sqlstate(take(&db, session, "1.00", "p-1"), "55000");
    assert_sqlstate(movement(&db, session, "pay_in", "1.00", "m-1"), "55000");
    let inserted = "INSERT INTO shared.cash_movements (tenant_id, cash_session_id, kind, amount, reason)
                    SELECT tenant_id, id, 'pay_in', 1, 'x' FROM shared.cash_sessions WHERE id = $1";
    assert_sqlstate(db.superuser().execute(inserted, &[&session]), "55000");
    for sql in [
        "UPDATE shared.cash_sessions SET counted_amount = 1, variance_amount = -99 WHERE id = $1",
        "UPDATE shared.cash_sessions SET status = 'open' WHERE id = $1",
        "DELETE FROM shared.cash_sessions WHERE id = $1",
    ] {
        assert_sqlstate(in_context(&mut db.app(), A.id, A.owner, |tx| tx.execute(sql, &[&session])), "42501");
        assert_sqlstate(db.superuser().execute(sql, &[&session]), "55000");
    }
}

/// Sales go on while the drawer is closed: each is either in the count or refused.
#[test]
fn close_counts_every_sale_that_was_taken() {
    let db = Database::new();
    let session = ok(open(&db, "Bar"));
    let taken = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for clerk in 0..8 {
            let (db, taken) = (&db, &taken);
            scope.spawn(move || {
                for sale in 0..10 {
                    match take(db, session, "1.00", &format!("{clerk}-{sale}")) {
                        Ok(_) => drop(taken.fetch_add(1, Ordering::Relaxed)),
                        refused => drop(assert_sqlstate(refused, "55000")),
                    }
                }
            });
        }
        scope.spawn(|| {
            thorbis_tests::until("something was sold", || taken.load(Ordering::Relaxed) > 5);
            ok(close(&db, session, "100.00"));
        });
    });
    let sql = "SELECT expected_amount = 100 + $2 FROM shared.cash_sessions WHERE id = $1";
    assert!(one::<bool>(&mut db.superuser(), sql, &[&session, &(taken.into_inner() as i32)]));
    assert_books_agree(&mut db.superuser());
}

#[test]
fn cash_needs_permission_and_the_own_tenant() {
    let db = Database::new();
    let reader = user_with(&db, &A, &[("cash", "read"), ("payments", "record")]);
    let sql = "SELECT shared.open_cash_session('Bar', 0)";
    assert_sqlstate(in_context(&mut db.app(), A.id, reader, |tx| tx.execute(sql, &[])), "42501");
    let session = ok(open(&db, "Bar"));
    // A payment goes into the drawer of whoever may not read it.
    let clerk = user_with(&db, &A, &[("payments", "record")]);
    let pay = "SELECT shared.record_payment('cash', 1.00, 'k', cash_session_id => $1)";
    ok(in_context(&mut db.app(), A.id, clerk, |tx| tx.execute(pay, &[&session])));
    let by_card = "SELECT shared.record_payment('card', 1.00, 'l', cash_session_id => $1)";
    assert_sqlstate(in_context(&mut db.app(), A.id, clerk, |tx| tx.execute(by_card, &[&session])), "22023");
    for id in [session, Uuid::new_v4()] {
        for (sql, code) in [
            ("SELECT shared.close_cash_session($1, 1)", "P0002"),
            ("SELECT shared.record_cash_movement($1, 'pay_in', 1, 'x', 'y')", "P0002"),
            (pay, "P0002"),
        ] {
            assert_sqlstate(in_context(&mut db.app(), B.id, B.owner, |tx| tx.execute(sql, &[&id])), code);
        }
    }
    for amount in ["NaN", "-1", "1.001"] {
        let opened = in_context(&mut db.app(), A.id, A.owner, |tx| {
            tx.execute("SELECT shared.open_cash_session('Other', $1::text::numeric)", &[&amount])
        });
        assert_sqlstate_in(opened, &["22023"]);
    }
}

/// Who may work with drawers and read none, and a job without a user.
#[test]
fn who_sees_no_drawer_is_held_to_what_is_in_it() {
    let db = Database::new();
    let blind = user_with(&db, &A, &[("cash", "create"), ("cash", "update")]);
    let session = in_context(&mut db.app(), A.id, blind, |tx| {
        let session: Uuid = tx.query_one("SELECT shared.open_cash_session('Bar', 100.00)", &[])?.get(0);
        tx.execute("SELECT shared.record_cash_movement($1, 'pay_out', -30.00, 'change', 'blind')", &[&session])?;
        assert_eq!(one::<i64>(tx, "SELECT count(*) FROM shared.cash_sessions", &[]), 0);
        Ok(session)
    });
    let session = ok(session);
    let mut superuser = db.superuser();
    let mut job = ok(superuser.transaction());
    ok(job.execute("SELECT set_config('app.current_tenant_id', $1, true)", &[&A.id.to_string()]));
    ok(job.execute("SELECT shared.record_cash_movement($1, 'pay_in', 5.00, 'change', 'job')", &[&session]));
    assert_eq!(one::<String>(&mut job, "SELECT shared.close_cash_session($1, 75.00)::text", &[&session]), "0.00");
    ok(job.commit());
    let late = "SELECT shared.record_cash_movement($1, 'pay_in', 5.00, 'change', 'late')";
    assert_sqlstate(in_context(&mut db.app(), A.id, blind, |tx| tx.execute(late, &[&session])), "55000");
    assert_books_agree(&mut superuser);
}

/// A row that names a session of another tenant says nothing of that session, open, closed or none.
#[test]
fn session_of_another_tenant_is_none_of_ours() {
    let db = Database::new();
    let open: Uuid =
        one(&mut db.superuser(), "SELECT id FROM shared.cash_sessions WHERE tenant_id = $1 LIMIT 1", &[&B.id]);
    let insert = "INSERT INTO shared.cash_movements (tenant_id, cash_session_id, kind, amount, reason)
                  VALUES ($1, $2, 'pay_in', 1, 'x')";
    let mut superuser = db.superuser();
    // Somebody else's table would be open to writing.
    ok(superuser.batch_execute("GRANT INSERT ON shared.cash_movements TO thorbis_app"));
    let mut said = |status: &str, id: Uuid| {
        let close = "UPDATE shared.cash_sessions SET status = 'closed', closed_at = now(), counted_amount = 0,
                         expected_amount = 0, variance_amount = 0 WHERE id = $1";
        if status == "closed" {
            ok(superuser.batch_execute("ALTER TABLE shared.cash_sessions DISABLE TRIGGER USER"));
            ok(superuser.execute(close, &[&id]));
        }
        let refused = in_context(&mut db.app(), A.id, A.owner, |tx| tx.execute(insert, &[&B.id, &id]));
        assert_sqlstate(refused, "42501").message().to_owned()
    };
    let unknown = said("none", Uuid::new_v4());
    assert_eq!((said("open", open), said("closed", open)), (unknown.clone(), unknown));
}
