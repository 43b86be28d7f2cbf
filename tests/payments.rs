//! Payments: what was captured pays what is owed, and nothing is paid, counted or paid back twice.

use postgres::Error;
use thorbis_tests::billing::{assert_books_agree, draft, issue, issued, pay, record, refund, state, user_with};
use thorbis_tests::{A, B, Database, as_owner, assert_sqlstate, in_context, ok, one};
use uuid::Uuid;

fn invoice_of(db: &Database, total: &str) -> Uuid {
    as_owner(db, &A, |tx| issued(tx, total))
}

fn as_a<T>(db: &Database, work: impl FnOnce(&mut postgres::Transaction<'_>) -> Result<T, Error>) -> Result<T, Error> {
    in_context(&mut db.app(), A.id, A.owner, work)
}

fn payment_state(db: &Database, payment: Uuid) -> String {
    let sql = "SELECT concat_ws(' ', status, allocated_total, refunded_amount, refunded_tip) FROM shared.payments WHERE id = $1";
    one(&mut db.superuser(), sql, &[&payment])
}

fn allocate(db: &Database, payment: Uuid, invoice: Uuid, amount: &str) -> Result<u64, Error> {
    let list = format!(r#"[{{"invoice_id": "{invoice}", "amount": {amount}}}]"#);
    as_a(db, |tx| tx.execute("SELECT shared.allocate_payment($1, $2::text::jsonb)", &[&payment, &list]))
}

// --- allocations

#[test]
fn invoice_follows_its_allocations() {
    let db = Database::new();
    let invoice = invoice_of(&db, "100.00");
    let first = as_owner(&db, &A, |tx| pay(tx, invoice, "40.00", "k1"));
    assert_eq!(state(&mut db.superuser(), invoice), "partially_paid 40.00 0.00");
    as_owner(&db, &A, |tx| pay(tx, invoice, "60.00", "k2"));
    assert_eq!(state(&mut db.superuser(), invoice), "paid 100.00 0.00");
    as_owner(&db, &A, |tx| refund(tx, first, "40.00", "k3"));
    assert_eq!(state(&mut db.superuser(), invoice), "partially_paid 60.00 0.00");
    let paid_at = "SELECT paid_at IS NULL FROM shared.invoices WHERE id = $1";
    assert!(one::<bool>(&mut db.superuser(), paid_at, &[&invoice]));
    assert_books_agree(&mut db.superuser());
}

#[test]
fn allocations_exceed_neither_the_invoice_nor_the_payment() {
    let db = Database::new();
    let (invoice, other) = (invoice_of(&db, "100.00"), invoice_of(&db, "100.00"));
    assert_sqlstate(as_a(&db, |tx| pay(tx, invoice, "100.01", "k0")), "23514");
    let payment = as_owner(&db, &A, |tx| record(tx, "50.00", "k1", "[]"));
    assert_sqlstate(allocate(&db, payment, invoice, "50.01"), "23514");
    ok(allocate(&db, payment, invoice, "30.00"));
    assert_sqlstate(allocate(&db, payment, other, "20.01"), "23514");
    ok(allocate(&db, payment, other, "20.00"));
    // Taken away and given elsewhere in one call; never more than was given.
    assert_sqlstate(allocate(&db, payment, other, "-20.01"), "23514");
    let moved =
        format!(r#"[{{"invoice_id": "{invoice}", "amount": "5"}}, {{"invoice_id": "{other}", "amount": "-5.00"}}]"#);
    ok(as_a(&db, |tx| tx.execute("SELECT shared.allocate_payment($1, $2::text::jsonb)", &[&payment, &moved])));
    assert_eq!(state(&mut db.superuser(), invoice), "partially_paid 35.00 0.00");
    assert_eq!(state(&mut db.superuser(), other), "partially_paid 15.00 0.00");
    // What one payment gave, another cannot take away.
    let second = as_owner(&db, &A, |tx| record(tx, "50.00", "k2", "[]"));
    assert_sqlstate(allocate(&db, second, invoice, "-1.00"), "23514");
    assert_books_agree(&mut db.superuser());
}

#[test]
fn allocation_that_is_repeated_with_its_key_counts_once() {
    let db = Database::new();
    let invoice = invoice_of(&db, "100.00");
    let payment = as_owner(&db, &A, |tx| record(tx, "90.00", "k1", "[]"));
    let allocate = |amount: &str, key: Option<&str>| {
        let list = format!(r#"[{{"invoice_id": "{invoice}", "amount": "{amount}"}}]"#);
        as_a(&db, |tx| tx.execute("SELECT shared.allocate_payment($1, $2::text::jsonb, $3)", &[&payment, &list, &key]))
    };
    for _ in 0..2 {
        ok(allocate("30.00", Some("a1")));
    }
    assert_eq!(state(&mut db.superuser(), invoice), "partially_paid 30.00 0.00");
    assert_sqlstate(allocate("31.00", Some("a1")), "22023");
    ok(allocate("30.00", None));
    assert_eq!(state(&mut db.superuser(), invoice), "partially_paid 60.00 0.00", "without a key each call counts");
    assert_books_agree(&mut db.superuser());
}

#[test]
fn only_captured_payments_pay_and_only_what_was_issued() {
    let db = Database::new();
    let invoice = invoice_of(&db, "10.00");
    let sql = "SELECT shared.record_payment('card', 10.00, $1, status => $2)";
    for status in ["pending", "authorized"] {
        let payment: Uuid = as_owner(&db, &A, |tx| Ok(tx.query_one(sql, &[&status, &status])?.get(0)));
        assert_sqlstate(allocate(&db, payment, invoice, "1.00"), "23514");
        let list = format!(r#"[{{"invoice_id": "{invoice}", "amount": "1.00"}}]"#);
        let at_once = "SELECT shared.record_payment('card', 10.00, $1 || '2', $2::text::jsonb, status => $1)";
        assert_sqlstate(as_a(&db, |tx| tx.execute(at_once, &[&status, &list])), "23514");
        as_owner(&db, &A, |tx| tx.execute("SELECT shared.capture_payment($1)", &[&payment]));
        ok(allocate(&db, payment, invoice, "1.00"));
    }
    let open = as_owner(&db, &A, |tx| draft(tx, "{}", &[("5.00", "1")]));
    assert_sqlstate(as_a(&db, |tx| pay(tx, open, "5.00", "k")), "23514");
    ok(as_a(&db, |tx| issue(tx, open)));
    ok(db
        .superuser()
        .batch_execute("SET session_replication_role = replica; UPDATE shared.invoices SET currency = 'EUR'"));
    assert_sqlstate(as_a(&db, |tx| pay(tx, open, "5.00", "k")), "23514");
}

/// The rule stands at the table: whoever may write there, writes past it no more.
#[test]
fn superusers_overpay_no_more_than_others() {
    let db = Database::new();
    let invoice = invoice_of(&db, "10.00");
    let payment = as_owner(&db, &A, |tx| record(tx, "50.00", "k", "[]"));
    let sql =
        "INSERT INTO shared.payment_allocations (tenant_id, payment_id, invoice_id, amount) VALUES ($1, $2, $3, 10.01)";
    assert_sqlstate(db.superuser().execute(sql, &[&A.id, &payment, &invoice]), "23514");
    let sql = sql.replace("10.01", "10.00");
    ok(db.superuser().execute(&sql, &[&A.id, &payment, &invoice]));
    assert_eq!(state(&mut db.superuser(), invoice), "paid 10.00 0.00");
    for sql in [
        "UPDATE shared.payment_allocations SET amount = 1 WHERE payment_id = $1",
        "DELETE FROM shared.payment_allocations WHERE payment_id = $1",
        "UPDATE shared.payments SET amount = 9000 WHERE id = $1",
        "UPDATE shared.payments SET status = 'pending' WHERE id = $1",
        "DELETE FROM shared.payments WHERE id = $1",
    ] {
        assert_sqlstate(db.superuser().execute(sql, &[&payment]), "55000");
        assert_sqlstate(as_a(&db, |tx| tx.execute(sql, &[&payment])), "42501");
    }
}

#[test]
fn tip_and_change_pay_nothing() {
    let db = Database::new();
    let invoice = invoice_of(&db, "20.00");
    let sql = "SELECT shared.record_payment('cash', 18.00, 'k', tip_amount => 2.00, tendered_amount => 50.00)";
    let payment: Uuid = as_owner(&db, &A, |tx| Ok(tx.query_one(sql, &[])?.get(0)));
    let change = "SELECT change_amount::text FROM shared.payments WHERE id = $1";
    assert_eq!(one::<String>(&mut db.superuser(), change, &[&payment]), "30.00");
    assert_sqlstate(allocate(&db, payment, invoice, "18.01"), "23514");
    ok(allocate(&db, payment, invoice, "18.00"));
    assert_eq!(state(&mut db.superuser(), invoice), "partially_paid 18.00 0.00");
    let back = |amount: &str, tip: &str, key: &str| {
        let sql = "SELECT shared.refund_payment($1, $2::text::numeric, 'r', $4, $3::text::numeric)";
        as_a(&db, |tx| tx.execute(sql, &[&payment, &amount, &tip, &key]))
    };
    assert_sqlstate(back("0", "2.01", "r1"), "23514");
    ok(back("0", "2.00", "r2"));
    assert_eq!(payment_state(&db, payment), "partially_refunded 18.00 0.00 2.00");
    ok(back("18.00", "0", "r3"));
    assert_eq!(payment_state(&db, payment), "refunded 0.00 18.00 2.00");
    assert_eq!(state(&mut db.superuser(), invoice), "issued 0.00 0.00");
}

// --- states

#[test]
fn payment_goes_its_way_and_no_other() {
    let db = Database::new();
    let sql = "SELECT shared.record_payment('card', 10.00, gen_random_uuid()::text, status => $1)";
    let call = |function: &str, payment: Uuid| {
        as_a(&db, |tx| tx.execute(&format!("SELECT shared.{function}_payment($1)"), &[&payment]))
    };
    for (from, function, to) in [
        ("pending", "authorize", "authorized"),
        ("pending", "capture", "captured"),
        ("pending", "void", "voided"),
        ("pending", "fail", "failed"),
        ("authorized", "capture", "captured"),
        ("authorized", "void", "voided"),
        ("authorized", "fail", "failed"),
        ("captured", "authorize", ""),
        ("captured", "void", ""),
        ("captured", "fail", ""),
    ] {
        let payment: Uuid = as_owner(&db, &A, |tx| Ok(tx.query_one(sql, &[&from])?.get(0)));
        if to.is_empty() {
            assert_sqlstate(call(function, payment), "23514");
            continue;
        }
        ok(call(function, payment));
        ok(call(function, payment));
        assert!(payment_state(&db, payment).starts_with(to), "{from} {function}");
        if to == "voided" || to == "failed" {
            assert_sqlstate(call("capture", payment), "23514");
            assert_sqlstate(as_a(&db, |tx| refund(tx, payment, "1.00", "x")), "23514");
        }
    }
    assert_sqlstate(as_a(&db, |tx| tx.execute(sql, &[&"refunded"])), "22023");
    let history = "SELECT count(*) FROM shared.status_history WHERE document = 'payment' AND to_status = 'voided' AND actor_id = $1";
    assert_eq!(one::<i64>(&mut db.superuser(), history, &[&A.owner]), 2);
}

#[test]
fn amounts_are_taken_exactly_or_not_at_all() {
    let db = Database::new();
    for (amount, tip, tendered) in [
        ("0", "0", None),
        ("-1", "0", None),
        ("NaN", "0", None),
        ("1.001", "0", None),
        ("100000000000", "0", None),
        ("10", "-1", None),
        ("10", "0", Some("9.99")),
    ] {
        let sql = "SELECT shared.record_payment('cash', $1::text::numeric, 'k', tip_amount => $2::text::numeric,
                                                tendered_amount => $3::text::numeric)";
        assert_sqlstate(as_a(&db, |tx| tx.execute(sql, &[&amount, &tip, &tendered])), "22023");
    }
    for (what, code) in [("currency => 'JPY'", "22023"), ("currency => 'XXX'", "22023"), ("status => 'x'", "22023")] {
        let sql = format!("SELECT shared.record_payment('card', 10.50, 'k', {what})");
        assert_sqlstate(as_a(&db, |tx| tx.execute(&sql, &[])), code);
    }
    for sql in [
        "SELECT shared.record_payment('card', 1, repeat('k', 201))",
        "SELECT shared.record_payment('card', 1, '')",
        "SELECT shared.record_payment('card', 1, NULL)",
        "SELECT shared.record_payment(NULL, 1, 'k')",
        "SELECT shared.record_payment('card', NULL, 'k')",
    ] {
        assert_sqlstate(as_a(&db, |tx| tx.execute(sql, &[])), "22023");
    }
    // Which methods there are is said, what else was asked is not.
    let error =
        assert_sqlstate(as_a(&db, |tx| tx.execute("SELECT shared.record_payment('gold', 1, 'k')", &[])), "22023");
    assert!(error.message().contains("cash, card, bank_transfer"), "{}", error.message());
    assert_eq!(error.detail(), None);
    let count = "SELECT count(*) FROM shared.payments WHERE tenant_id = $1 AND idempotency_key = 'k'";
    assert_eq!(one::<i64>(&mut db.superuser(), count, &[&A.id]), 0);
}

/// Money is never recorded of a request that is understood in part.
#[test]
fn requests_are_understood_whole_or_refused() {
    let db = Database::new();
    let invoice = invoice_of(&db, "100.00");
    let entry = format!(r#""invoice_id": "{invoice}", "amount": "1.00""#);
    for allocations in [
        format!("{{{entry}}}"),
        format!(r#"{{"allocations": [{{{entry}}}]}}"#),
        "\"x\"".into(),
        "1".into(),
        "[1]".into(),
        "[null]".into(),
        "[[]]".into(),
        "[{}]".into(),
        format!(r#"[{{"invoice_id": "{invoice}"}}]"#),
        format!(r#"[{{{entry}, "invoice": 1}}]"#),
    ] {
        assert_sqlstate(as_a(&db, |tx| record(tx, "1.00", "k", &allocations)), "22023");
        let sql = "SELECT shared.allocate_payment(shared.record_payment('card', 1, 'k'), $1::text::jsonb)";
        assert_sqlstate(as_a(&db, |tx| tx.execute(sql, &[&allocations])), "22023");
    }
    for (i, none) in ["NULL", "'null'", "'[]'"].iter().enumerate() {
        let sql = format!("SELECT shared.record_payment('card', 1, 'none-{i}', {none})");
        ok(as_a(&db, |tx| tx.execute(&sql, &[])));
    }
    let credited = "SELECT shared.credit_invoice($1, 'wrong', 'c', '{\"invoice_line_id\": 1, \"quantity\": 1}')";
    assert_sqlstate(as_a(&db, |tx| tx.execute(credited, &[&invoice])), "22023");
    // Of the functions below those of schema shared.
    for (function, request) in [
        ("record_payment", r#""method": "card", "amount": "1", "idempotency_key": "k""#),
        ("refund_payment", r#""payment_id": "{}", "amount": "1", "reason": "x", "idempotency_key": "k""#),
        ("credit_invoice", r#""invoice_id": "{}", "reason": "x", "idempotency_key": "k""#),
        (
            "record_cash_movement",
            r#""cash_session_id": "{}", "kind": "pay_in", "amount": "1", "reason": "x", "idempotency_key": "k""#,
        ),
    ] {
        let sql = format!("SELECT thorbis.{function}($1::text::jsonb)");
        let call = |request: String| as_a(&db, |tx| tx.execute(&sql, &[&request]));
        let request = request.replace("{}", &Uuid::new_v4().to_string());
        let error = assert_sqlstate(call(format!(r#"{{{request}, "allocation": []}}"#)), "22023");
        assert!(error.message().contains("a key that is not known"), "{}", error.message());
        assert_sqlstate(call(format!("[{{{request}}}]")), "22023");
        // Without it, the request is understood.
        match function {
            "record_payment" => drop(ok(call(format!("{{{request}}}")))),
            _ => drop(assert_sqlstate(call(format!("{{{request}}}")), "P0002")),
        }
    }
    assert_eq!(state(&mut db.superuser(), invoice), "issued 0.00 0.00");
}

// --- once

#[test]
fn the_same_request_is_done_once() {
    let db = Database::new();
    let invoice = invoice_of(&db, "100.00");
    let first = ok(as_a(&db, |tx| pay(tx, invoice, "10.00", "once")));
    assert_eq!(ok(as_a(&db, |tx| pay(tx, invoice, "10.00", "once"))), first);
    assert_sqlstate(as_a(&db, |tx| pay(tx, invoice, "11.00", "once")), "22023");
    let undone = ok(as_a(&db, |tx| refund(tx, first, "4.00", "back")));
    assert_eq!(ok(as_a(&db, |tx| refund(tx, first, "4.00", "back"))), undone);
    assert_sqlstate(as_a(&db, |tx| refund(tx, first, "5.00", "back")), "22023");
    assert_eq!(state(&mut db.superuser(), invoice), "partially_paid 6.00 0.00");
    // The key of one tenant is free in another.
    ok(in_context(&mut db.app(), B.id, B.owner, |tx| record(tx, "1.00", "once", "[]")));
    // The same request many times at once.
    let ids: Vec<Uuid> = std::thread::scope(|scope| {
        let calls: Vec<_> =
            (0..8).map(|_| scope.spawn(|| ok(as_a(&db, |tx| pay(tx, invoice, "20.00", "race"))))).collect();
        calls.into_iter().map(|call| call.join().expect("it does not panic")).collect()
    });
    assert!(ids.iter().all(|id| *id == ids[0]));
    assert_eq!(state(&mut db.superuser(), invoice), "partially_paid 26.00 0.00");
    assert_books_agree(&mut db.superuser());
}

// --- refunds

#[test]
fn refunds_exceed_no_more_than_was_captured() {
    let db = Database::new();
    let invoice = invoice_of(&db, "100.00");
    let payment = as_owner(&db, &A, |tx| {
        let payment = record(tx, "100.00", "k", &format!(r#"[{{"invoice_id": "{invoice}", "amount": 70}}]"#))?;
        Ok(payment)
    });
    // What is not allocated goes first.
    ok(as_a(&db, |tx| refund(tx, payment, "30.00", "r1")));
    assert_eq!(payment_state(&db, payment), "partially_refunded 70.00 30.00 0.00");
    ok(as_a(&db, |tx| refund(tx, payment, "20.00", "r2")));
    assert_eq!(state(&mut db.superuser(), invoice), "partially_paid 50.00 0.00");
    assert_sqlstate(as_a(&db, |tx| refund(tx, payment, "50.01", "r3")), "23514");
    let direct = "INSERT INTO shared.refunds (tenant_id, payment_id, amount, reason, idempotency_key, request_hash)
                  VALUES ($1, $2, 50.01, 'x', 'x', '')";
    assert_sqlstate(db.superuser().execute(direct, &[&A.id, &payment]), "23514");
    ok(as_a(&db, |tx| refund(tx, payment, "50.00", "r4")));
    assert_eq!(payment_state(&db, payment), "refunded 0.00 100.00 0.00");
    assert_eq!(state(&mut db.superuser(), invoice), "issued 0.00 0.00");
    assert_sqlstate(allocate(&db, payment, invoice, "1.00"), "23514");
    assert_books_agree(&mut db.superuser());
}

// --- who may

#[test]
fn each_step_needs_its_permission_and_nothing_else() {
    let db = Database::new();
    let invoice = invoice_of(&db, "100.00");
    let recorder = user_with(&db, &A, &[("payments", "record")]);
    let reader = user_with(&db, &A, &[("payments", "read"), ("invoices", "read"), ("payments", "create")]);
    let refunder = user_with(&db, &A, &[("payments", "refund")]);
    let by = |user: Uuid| {
        move |db: &Database, sql: &str, id: Uuid| in_context(&mut db.app(), A.id, user, |tx| tx.execute(sql, &[&id]))
    };
    // Neither of the two may read what the triggers read and write.
    let payment = ok(in_context(&mut db.app(), A.id, recorder, |tx| pay(tx, invoice, "50.00", "k")));
    assert_eq!(state(&mut db.superuser(), invoice), "partially_paid 50.00 0.00");
    assert_sqlstate(in_context(&mut db.app(), A.id, reader, |tx| pay(tx, invoice, "50.00", "l")), "42501");
    for user in [recorder, reader] {
        let back = "SELECT shared.refund_payment($1, 1.00, 'x', 'x')";
        assert_sqlstate(by(user)(&db, back, payment), "42501");
        assert_sqlstate(by(user)(&db, "SELECT shared.void_payment($1)", payment), "42501");
    }
    ok(by(refunder)(&db, "SELECT shared.refund_payment($1, 1.00, 'x', 'x')", payment));
    for sql in [
        "INSERT INTO shared.payments (method, currency, amount, idempotency_key, request_hash, status) VALUES ('card', 'USD', 1, $1::uuid::text, '', 'captured')",
        "INSERT INTO shared.payment_allocations (payment_id, invoice_id, amount) SELECT $1, id, 1 FROM shared.invoices",
        "INSERT INTO shared.refunds (payment_id, amount, reason, idempotency_key, request_hash) VALUES ($1, 1, 'x', 'y', '')",
    ] {
        assert_sqlstate(by(A.owner)(&db, sql, payment), "42501");
    }
    // A job without a user, in the tenant's context.
    let mut superuser = db.superuser();
    let mut tx = ok(superuser.transaction());
    ok(tx.execute("SELECT set_config('app.current_tenant_id', $1, true)", &[&A.id.to_string()]));
    ok(pay(&mut tx, invoice, "10.00", "job"));
    ok(tx.commit());
    assert_eq!(state(&mut superuser, invoice), "partially_paid 59.00 0.00");
    assert_sqlstate(superuser.execute("SELECT shared.capture_payment($1)", &[&payment]), "28000");
}

#[test]
fn nothing_of_the_other_tenant_is_reached() {
    let db = Database::new();
    let foreign: Uuid = one(&mut db.superuser(), "SELECT id FROM shared.invoices WHERE tenant_id = $1", &[&B.id]);
    let payment: Uuid = one(&mut db.superuser(), "SELECT id FROM shared.payments WHERE tenant_id = $1", &[&B.id]);
    let own = as_owner(&db, &A, |tx| record(tx, "50.00", "k", "[]"));
    let missing = Uuid::new_v4();
    let said =
        [foreign, missing].map(|id| assert_sqlstate(as_a(&db, |tx| pay(tx, id, "1.00", "l")), "P0002").to_string());
    assert_eq!(said[0], said[1]);
    let said = [foreign, missing].map(|id| assert_sqlstate(allocate(&db, own, id, "1.00"), "P0002").to_string());
    assert_eq!(said[0], said[1]);
    for function in ["capture_payment($1)", "void_payment($1)", "fail_payment($1)", "refund_payment($1, 1, 'x', 'x')"] {
        let sql = format!("SELECT shared.{function}");
        let said =
            [payment, missing].map(|id| assert_sqlstate(as_a(&db, |tx| tx.execute(&sql, &[&id])), "P0002").to_string());
        assert_eq!(said[0], said[1]);
    }
}
