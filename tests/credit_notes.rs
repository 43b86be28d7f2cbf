//! Credit notes: never more than was sold, to the cent, however it is split.

use postgres::Error;
use std::sync::atomic::{AtomicUsize, Ordering};
use thorbis_tests::billing::{assert_books_agree, credit, draft, issue, issued, pay, state, user_with};
use thorbis_tests::{A, Database, as_owner, assert_sqlstate, in_context, ok, one};
use uuid::Uuid;

/// Two taxes, one in the price and one on top; a charge that is taxed, a discount and a tip.
const PRICING: &str = r#"{"taxes": [{"id": "vat", "percent": "7", "inclusive": true}, {"id": "city", "percent": "1.333"}],
    "discounts": [{"id": "d", "percent": "10"}], "service_charges": [{"id": "s", "percent": "5", "taxable": true}],
    "tip": {"amount": "1.00"}}"#;

fn sold(db: &Database) -> (Uuid, Vec<Uuid>) {
    as_owner(db, &A, |tx| {
        let invoice = draft(tx, PRICING, &[("9.99", "7"), ("0.35", "3"), ("12.345678", "1.5")])?;
        issue(tx, invoice)?;
        let lines =
            tx.query("SELECT id FROM shared.invoice_lines WHERE invoice_id = $1 ORDER BY line_number", &[&invoice])?;
        Ok((invoice, lines.iter().map(|row| row.get(0)).collect()))
    })
}

fn credit_line(db: &Database, invoice: Uuid, line: Uuid, quantity: &str, key: &str) -> Result<Uuid, Error> {
    let lines = format!(r#"[{{"invoice_line_id": "{line}", "quantity": {quantity}}}]"#);
    let sql = "SELECT shared.credit_invoice($1, 'returned', $2, $3::text::jsonb)";
    in_context(&mut db.app(), A.id, A.owner, |tx| Ok(tx.query_one(sql, &[&invoice, &key, &lines])?.get(0)))
}

/// Whether what was credited is line by line, tax by tax and in sum what was sold.
const EQUAL: &str = "
SELECT i.credited_total = i.total AND i.status = 'credited'
   AND NOT EXISTS (SELECT FROM shared.invoice_lines l WHERE l.invoice_id = i.id
                      AND (l.quantity, l.net, l.total) IS DISTINCT FROM
                          (SELECT (sum(c.quantity), sum(c.net), sum(c.total)) FROM shared.credit_note_lines c WHERE c.invoice_line_id = l.id))
   AND NOT EXISTS (SELECT FROM shared.invoice_taxes t WHERE t.invoice_id = i.id AND t.invoice_line_id IS NOT NULL
                      AND (t.amount, t.taxable_amount) IS DISTINCT FROM
                          (SELECT (sum(c.amount), sum(c.taxable_amount)) FROM shared.credit_note_taxes c WHERE c.invoice_tax_id = t.id))
  FROM shared.invoices i WHERE i.id = $1";

#[test]
fn everything_at_once_gives_back_exactly_the_invoice() {
    let db = Database::new();
    let (invoice, _) = sold(&db);
    as_owner(&db, &A, |tx| credit(tx, invoice, "all"));
    assert!(one::<bool>(&mut db.superuser(), EQUAL, &[&invoice]));
    assert_books_agree(&mut db.superuser());
    let again = in_context(&mut db.app(), A.id, A.owner, |tx| credit(tx, invoice, "more"));
    assert_sqlstate(again, "23514");
}

#[test]
fn any_split_gives_back_exactly_the_invoice() {
    let db = Database::new();
    let (invoice, lines) = sold(&db);
    for (i, quantity) in ["1", "2", "0.5", "3", "0.00001"].into_iter().enumerate() {
        ok(credit_line(&db, invoice, lines[0], quantity, &format!("a{i}")));
    }
    for i in 0..3 {
        ok(credit_line(&db, invoice, lines[1], "1", &format!("b{i}")));
    }
    assert!(state(&mut db.superuser(), invoice).starts_with("issued"));
    as_owner(&db, &A, |tx| credit(tx, invoice, "rest"));
    assert!(one::<bool>(&mut db.superuser(), EQUAL, &[&invoice]));
    assert_books_agree(&mut db.superuser());
}

#[test]
fn never_more_than_was_sold() {
    let db = Database::new();
    let (invoice, lines) = sold(&db);
    for (quantity, code) in [
        ("7.00001", "23514"),
        ("8", "23514"),
        ("0", "22023"),
        ("-1", "22023"),
        ("0.000001", "22023"),
        ("\"NaN\"", "22023"),
    ] {
        assert_sqlstate(credit_line(&db, invoice, lines[0], quantity, "too much"), code);
    }
    ok(credit_line(&db, invoice, lines[0], "5", "five"));
    assert_sqlstate(credit_line(&db, invoice, lines[0], "3", "three"), "23514");
    ok(credit_line(&db, invoice, lines[0], "2", "two"));
    // One line twice in one request.
    let twice = format!(
        r#"[{{"invoice_line_id": "{0}", "quantity": 2}}, {{"invoice_line_id": "{0}", "quantity": 2}}]"#,
        lines[1]
    );
    let sql = "SELECT shared.credit_invoice($1, 'returned', 'twice', $2::text::jsonb)";
    assert_sqlstate(in_context(&mut db.app(), A.id, A.owner, |tx| tx.execute(sql, &[&invoice, &twice])), "23514");
    // A line of another invoice, and none.
    let other = as_owner(&db, &A, |tx| issued(tx, "5.00"));
    let foreign: Uuid =
        one(&mut db.superuser(), "SELECT id FROM shared.invoice_lines WHERE invoice_id = $1", &[&other]);
    for line in [foreign, Uuid::new_v4()] {
        assert_sqlstate(credit_line(&db, invoice, line, "1", "wrong line"), "P0002");
    }
    let charges = "SELECT shared.credit_invoice($1, 'kind', $2, charge_amount => $3::text::numeric)";
    let charge = |amount: &str, key: &str| {
        in_context(&mut db.app(), A.id, A.owner, |tx| tx.execute(charges, &[&invoice, &key, &amount]))
    };
    ok(charge("1.00", "tip"));
    assert_sqlstate(charge("100.00", "charges"), "23514");
    assert_sqlstate(charge("-1.00", "negative"), "22023");
    assert_books_agree(&mut db.superuser());
}

/// 16 sessions take back one of seven each.
#[test]
fn sixteen_sessions_credit_what_was_sold_once() {
    let db = Database::new();
    let (invoice, lines) = sold(&db);
    let done = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for session in 0..16 {
            let (db, done, line) = (&db, &done, lines[0]);
            scope.spawn(move || match credit_line(db, invoice, line, "1", &format!("k{session}")) {
                Ok(_) => drop(done.fetch_add(1, Ordering::Relaxed)),
                refused => drop(assert_sqlstate(refused, "23514")),
            });
        }
    });
    assert_eq!(done.into_inner(), 7);
    let sql = "SELECT sum(quantity) = 7 FROM shared.credit_note_lines WHERE invoice_line_id = $1";
    assert!(one::<bool>(&mut db.superuser(), sql, &[&lines[0]]));
    let numbers = "SELECT count(*) = max(credit_note_number::int) FROM shared.credit_notes WHERE tenant_id = $1";
    assert!(one::<bool>(&mut db.superuser(), numbers, &[&A.id]), "no gaps");
    assert_books_agree(&mut db.superuser());
}

#[test]
fn the_same_request_is_done_once() {
    let db = Database::new();
    let (invoice, lines) = sold(&db);
    let first = ok(credit_line(&db, invoice, lines[0], "1", "once"));
    assert_eq!(ok(credit_line(&db, invoice, lines[0], "1", "once")), first);
    assert_sqlstate(credit_line(&db, invoice, lines[0], "2", "once"), "22023");
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| ok(credit_line(&db, invoice, lines[1], "3", "at once")));
        }
    });
    assert_books_agree(&mut db.superuser());
}

#[test]
fn credit_settles_what_is_left() {
    let db = Database::new();
    let invoice = as_owner(&db, &A, |tx| {
        let invoice = draft(tx, "{}", &[("10.00", "4")])?;
        issue(tx, invoice)?;
        pay(tx, invoice, "30.00", "c-1")?;
        Ok(invoice)
    });
    let line: Uuid = one(&mut db.superuser(), "SELECT id FROM shared.invoice_lines WHERE invoice_id = $1", &[&invoice]);
    ok(credit_line(&db, invoice, line, "1", "c-2"));
    assert_eq!(state(&mut db.superuser(), invoice), "paid 30.00 10.00");
    let more = in_context(&mut db.app(), A.id, A.owner, |tx| pay(tx, invoice, "1.00", "c-3"));
    assert_sqlstate(more, "23514");
    ok(credit_line(&db, invoice, line, "3", "c-4"));
    assert_eq!(state(&mut db.superuser(), invoice), "credited 30.00 40.00");
    assert_books_agree(&mut db.superuser());
}

#[test]
fn only_what_was_issued_is_credited_and_only_by_whom_may() {
    let db = Database::new();
    let open = as_owner(&db, &A, |tx| draft(tx, "{}", &[("10.00", "4")]));
    assert_sqlstate(in_context(&mut db.app(), A.id, A.owner, |tx| credit(tx, open, "open")), "23514");
    let invoice = as_owner(&db, &A, |tx| issued(tx, "10.00"));
    let reader = user_with(&db, &A, &[("invoices", "read"), ("invoices", "update")]);
    assert_sqlstate(in_context(&mut db.app(), A.id, reader, |tx| credit(tx, invoice, "no")), "42501");
    let issuer = user_with(&db, &A, &[("invoices", "issue")]);
    let note = ok(in_context(&mut db.app(), A.id, issuer, |tx| credit(tx, invoice, "yes")));
    for sql in [
        "UPDATE shared.credit_notes SET reason = 'x' WHERE id = $1",
        "DELETE FROM shared.credit_notes WHERE id = $1",
        "UPDATE shared.credit_note_lines SET quantity = 0.5 WHERE credit_note_id = $1",
    ] {
        assert_sqlstate(db.superuser().execute(sql, &[&note]), "55000");
        assert_sqlstate(in_context(&mut db.app(), A.id, A.owner, |tx| tx.execute(sql, &[&note])), "42501");
    }
}

/// Who may credit and read nothing credits no more than anybody, and a job without a user does too.
#[test]
fn who_sees_nothing_credits_what_was_sold_and_no_more() {
    let db = Database::new();
    let (invoice, lines) = sold(&db);
    let blind = user_with(&db, &A, &[("invoices", "issue")]);
    let request = |quantity: u32, key: &str| {
        let lines = format!(r#"[{{"invoice_line_id": "{}", "quantity": {quantity}}}]"#, lines[0]);
        format!("SELECT shared.credit_invoice('{invoice}', 'returned', '{key}', '{lines}')")
    };
    let seen = in_context(&mut db.app(), A.id, blind, |tx| {
        tx.batch_execute(&request(4, "blind"))?;
        Ok(one::<i64>(tx, "SELECT count(*) FROM shared.credit_notes", &[]))
    });
    assert_eq!(ok(seen), 0);
    let mut superuser = db.superuser();
    for (quantity, key, refused) in [(4, "more", true), (3, "rest", false)] {
        let mut job = ok(superuser.transaction());
        ok(job.execute("SELECT set_config('app.current_tenant_id', $1, true)", &[&A.id.to_string()]));
        let done = job.batch_execute(&request(quantity, key));
        if refused {
            assert_sqlstate(done, "23514");
        } else {
            ok(done);
            ok(job.commit());
        }
    }
    assert_sqlstate(in_context(&mut db.app(), A.id, blind, |tx| tx.batch_execute(&request(1, "none"))), "23514");
    assert_books_agree(&mut superuser);
}

/// A million such quantities do not fit into 64 bits: a request has a limit well below.
#[test]
fn no_sum_of_a_request_overflows() {
    let db = Database::new();
    let (invoice, lines) = sold(&db);
    let sql = "SELECT shared.credit_invoice($1, 'returned', 'much', (SELECT jsonb_agg(jsonb_build_object(
                   'invoice_line_id', $2::uuid, 'quantity', '99999999.99999')) FROM generate_series(1, $3::int)))";
    for (entries, code) in [(2500, "23514"), (2501, "22023"), (1_000_000, "22023")] {
        let refused = in_context(&mut db.app(), A.id, A.owner, |tx| tx.execute(sql, &[&invoice, &lines[0], &entries]));
        assert_sqlstate(refused, code);
    }
    let sql = "SELECT shared.record_payment('card', 1, 'much', (SELECT jsonb_agg(jsonb_build_object(
                   'invoice_id', $1::uuid, 'amount', '9999999999.99')) FROM generate_series(1, $2::int)))";
    for (entries, code) in [(2500, "22003"), (2501, "22023")] {
        let refused = in_context(&mut db.app(), A.id, A.owner, |tx| tx.execute(sql, &[&invoice, &entries]));
        assert_sqlstate(refused, code);
    }
}
