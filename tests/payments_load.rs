//! Payments that race: sixteen sessions, rollbacks, retries, invoices in any order.

use postgres::Error;
use std::sync::atomic::{AtomicUsize, Ordering};
use thorbis_tests::billing::{assert_books_agree, issued, pay, record, refund, state};
use thorbis_tests::{A, Database, as_owner, in_context, ok, one, sqlstate};
use uuid::Uuid;

const SESSIONS: usize = 16;

/// Each session does its rounds; what it may be refused with is `allowed`.
fn race(
    db: &Database,
    rounds: usize,
    allowed: &[&str],
    work: impl Fn(&mut postgres::Client, usize, usize) -> Result<(), Error> + Sync,
) -> usize {
    let done = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for session in 0..SESSIONS {
            let (db, done, work) = (&db, &done, &work);
            scope.spawn(move || {
                let mut app = db.app();
                for round in 0..rounds {
                    match work(&mut app, session, round) {
                        Ok(()) => drop(done.fetch_add(1, Ordering::Relaxed)),
                        Err(e) => assert!(allowed.contains(&sqlstate(&e)), "{}", thorbis_tests::describe(&e)),
                    }
                }
            });
        }
    });
    done.into_inner()
}

#[test]
fn racing_payments_never_overpay() {
    let db = Database::new();
    let invoice = as_owner(&db, &A, |tx| issued(tx, "100.00"));
    let paid = race(&db, 4, &["23514"], |app, session, round| {
        in_context(app, A.id, A.owner, |tx| pay(tx, invoice, "7.00", &format!("{session}-{round}"))).map(drop)
    });
    assert_eq!(paid, 14, "fourteen times seven fit into a hundred");
    assert_eq!(state(&mut db.superuser(), invoice), "partially_paid 98.00 0.00");
    assert_books_agree(&mut db.superuser());
}

/// A snapshot from before the race ends as an error, never as a payment too much.
#[test]
fn racing_payments_never_overpay_in_higher_isolation() {
    let db = Database::new();
    let invoice = as_owner(&db, &A, |tx| issued(tx, "100.00"));
    race(&db, 6, &["23514", "40001"], |app, session, round| {
        let mut tx = app.build_transaction().isolation_level(postgres::IsolationLevel::RepeatableRead).start()?;
        tx.execute("SELECT thorbis.set_context($1, $2)", &[&A.id, &A.owner])?;
        tx.execute("SELECT count(*) FROM shared.invoices", &[])?;
        pay(&mut tx, invoice, "7.00", &format!("{session}-{round}"))?;
        tx.commit()
    });
    let fits = "SELECT paid_total <= 98 AND paid_total > 0 FROM shared.invoices WHERE id = $1";
    assert!(one::<bool>(&mut db.superuser(), fits, &[&invoice]));
    assert_books_agree(&mut db.superuser());
}

/// One payment is spent on many invoices at once.
#[test]
fn racing_allocations_spend_a_payment_once() {
    let db = Database::new();
    let invoices: Vec<Uuid> = (0..SESSIONS).map(|_| as_owner(&db, &A, |tx| issued(tx, "100.00"))).collect();
    let payment = as_owner(&db, &A, |tx| record(tx, "50.00", "k", "[]"));
    let done = race(&db, 3, &["23514"], |app, session, _| {
        let list = format!(r#"[{{"invoice_id": "{}", "amount": 3}}]"#, invoices[session]);
        in_context(app, A.id, A.owner, |tx| {
            tx.execute("SELECT shared.allocate_payment($1, $2::text::jsonb)", &[&payment, &list])
        })
        .map(drop)
    });
    assert_eq!(done, 16, "sixteen times three fit into fifty");
    assert_books_agree(&mut db.superuser());
}

/// Payments of several invoices given in any order, refunds of them, credit notes, rollbacks: no deadlock, and every sum right.
#[test]
fn any_order_of_invoices_ends_without_a_deadlock() {
    let db = Database::new();
    let invoices: Vec<Uuid> = (0..6).map(|_| as_owner(&db, &A, |tx| issued(tx, "200.00"))).collect();
    let done = race(&db, 8, &["23514", "40001", "P0001"], |app, session, round| {
        let order = |i: usize| if (session + round) % 2 == 0 { i } else { invoices.len() - 1 - i };
        let parts: Vec<String> = (0..invoices.len())
            .map(|i| {
                format!(r#"{{"invoice_id": "{}", "amount": "1.5"}}"#, invoices[(order(i) + session) % invoices.len()])
            })
            .collect();
        let key = format!("{session}-{round}");
        let payment = in_context(app, A.id, A.owner, |tx| {
            let payment = record(tx, "9.00", &key, &format!("[{}]", parts.join(",")))?;
            if (session + round) % 5 == 0 {
                tx.batch_execute("DO $$ BEGIN RAISE EXCEPTION 'undone' USING ERRCODE = 'P0001'; END $$")?;
            }
            Ok(payment)
        })?;
        if round % 2 == 0 {
            in_context(app, A.id, A.owner, |tx| refund(tx, payment, "4.00", &key))?;
        }
        Ok(())
    });
    assert!(done > 60, "{done}: some were undone, most were not");
    assert_books_agree(&mut db.superuser());
}

/// The same refund and others of the same payment at once.
#[test]
fn racing_refunds_pay_back_once() {
    let db = Database::new();
    let invoice = as_owner(&db, &A, |tx| issued(tx, "100.00"));
    let payment = as_owner(&db, &A, |tx| pay(tx, invoice, "100.00", "k"));
    let done = race(&db, 2, &["23514"], |app, session, round| {
        in_context(app, A.id, A.owner, |tx| refund(tx, payment, "9.00", &format!("{}-{round}", session % 8))).map(drop)
    });
    assert!(done >= 11, "{done}");
    let sql = "SELECT refunded_amount = 99 AND allocated_total = 1 AND (SELECT count(*) = 11 FROM shared.refunds r WHERE r.payment_id = p.id)
                 FROM shared.payments p WHERE p.id = $1";
    assert!(one::<bool>(&mut db.superuser(), sql, &[&payment]));
    assert_books_agree(&mut db.superuser());
}

/// A session that dies in the middle leaves nothing behind.
#[test]
fn killed_session_leaves_no_payment() {
    let db = Database::new();
    let invoice = as_owner(&db, &A, |tx| issued(tx, "100.00"));
    let mut app = db.app();
    ok(app.batch_execute(&format!("BEGIN; {}", thorbis_tests::set_local(A.id, A.owner))));
    ok(pay(&mut app, invoice, "60.00", "lost"));
    let pid: i32 = one(&mut app, "SELECT pg_backend_pid()", &[]);
    ok(db.superuser().execute("SELECT pg_terminate_backend($1, 10000)", &[&pid]));
    ok(in_context(&mut db.app(), A.id, A.owner, |tx| pay(tx, invoice, "100.00", "lost")));
    assert_eq!(state(&mut db.superuser(), invoice), "paid 100.00 0.00");
    assert_books_agree(&mut db.superuser());
}
