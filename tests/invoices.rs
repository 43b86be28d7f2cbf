//! Invoices: the number comes with the issue, without a gap, and what was issued stays as it is for everybody.

use postgres::Error;
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use thorbis_tests::billing::{credit, draft, issue, issued, pay, refund, state, user_with};
use thorbis_tests::{A, B, Database, as_owner, assert_sqlstate, assert_sqlstate_in, in_context, ok, one, sqlstate};
use uuid::Uuid;

fn an_issued_invoice(db: &Database) -> Uuid {
    as_owner(db, &A, |tx| issued(tx, "100.00"))
}

fn number(db: &Database, invoice: Uuid) -> Option<String> {
    one(&mut db.superuser(), "SELECT invoice_number FROM shared.invoices WHERE id = $1", &[&invoice])
}

// --- numbers

#[test]
fn number_comes_with_the_issue() {
    let db = Database::new();
    let invoice = as_owner(&db, &A, |tx| draft(tx, "{}", &[("10.00", "1")]));
    assert_eq!(number(&db, invoice), None);
    let given = as_owner(&db, &A, |tx| issue(tx, invoice));
    assert_eq!(number(&db, invoice).as_deref(), Some(given.as_str()));
    assert_eq!(as_owner(&db, &A, |tx| issue(tx, invoice)), given, "again, after an answer that was lost");
}

#[test]
fn draft_cannot_have_a_number() {
    let db = Database::new();
    let invoice = as_owner(&db, &A, |tx| {
        let sql = "INSERT INTO shared.invoices (invoice_number, paid_total, hash, issued_at)
                   VALUES ('7', 5, 'x', now()) RETURNING id";
        Ok(tx.query_one(sql, &[])?.get::<_, Uuid>(0))
    });
    assert_eq!(number(&db, invoice), None, "what the engine writes is nobody else's");
    let mut superuser = db.superuser();
    ok(superuser.batch_execute("ALTER TABLE shared.invoices DISABLE TRIGGER USER"));
    let forced = superuser.execute("UPDATE shared.invoices SET invoice_number = '7' WHERE id = $1", &[&invoice]);
    assert_sqlstate(forced, "23514");
}

/// 16 sessions, a third of them roll back at random: no gap, nothing twice.
#[test]
fn numbers_have_no_gaps_under_rollbacks_and_sixteen_sessions() {
    let db = Database::new();
    let before: i64 = one(
        &mut db.superuser(),
        "SELECT count(*) FROM shared.invoices WHERE tenant_id = $1 AND invoice_number IS NOT NULL",
        &[&A.id],
    );
    let committed = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for session in 0..16_usize {
            let (db, committed) = (&db, &committed);
            scope.spawn(move || {
                let mut app = db.app();
                for round in 0..8_usize {
                    let undo = (session * 7 + round * 5) % 3 == 0;
                    let outcome: Result<Option<()>, Error> = in_context(&mut app, A.id, A.owner, |tx| {
                        let invoice = draft(tx, "{}", &[("10.00", "1")])?;
                        let mut savepoint = tx.savepoint("before_issue")?;
                        issue(&mut savepoint, invoice)?;
                        if undo && round % 2 == 0 {
                            savepoint.rollback()?;
                            return Ok(None);
                        }
                        savepoint.commit()?;
                        if undo {
                            tx.batch_execute("DO $$ BEGIN RAISE EXCEPTION 'undone' USING ERRCODE = 'P0001'; END $$")?;
                        }
                        Ok(Some(()))
                    });
                    match outcome {
                        Ok(Some(())) => drop(committed.fetch_add(1, Ordering::Relaxed)),
                        Ok(None) => {}
                        Err(e) => assert_eq!(sqlstate(&e), "P0001", "{e}"),
                    }
                }
            });
        }
    });
    let mut superuser = db.superuser();
    let rows = ok(superuser.query(
        "SELECT invoice_number::bigint FROM shared.invoices WHERE tenant_id = $1 AND invoice_number IS NOT NULL",
        &[&A.id],
    ));
    let numbers: BTreeSet<i64> = rows.iter().map(|row| row.get(0)).collect();
    let issued = before + committed.into_inner() as i64;
    assert!(issued > before + 50 && issued < before + 128, "{issued}: some were undone, most were not");
    assert_eq!(numbers, (1..=issued).collect(), "no gaps");
    assert_eq!(numbers.len(), rows.len(), "nothing twice");
    thorbis_tests::billing::assert_books_agree(&mut superuser);
}

// --- frozen

/// Every column but the maintained ones, one by one, as the owner of the tenant, as the platform and as a superuser.
#[test]
fn no_column_of_an_issued_invoice_changes() {
    let db = Database::new();
    let invoice = an_issued_invoice(&db);
    let mut superuser = db.superuser();
    for (table, key) in [("shared.invoices", "id"), ("shared.invoice_lines", "invoice_id")] {
        let columns = ok(superuser.query(
            "SELECT a.attname::text, format_type(a.atttypid, a.atttypmod) FROM pg_attribute a
              WHERE a.attrelid = $1::text::regclass AND a.attnum > 0 AND a.attname <> ALL ('{tenant_id,id,updated_at,updated_by}')",
            &[&table],
        ));
        assert!(columns.len() > 10);
        for row in columns {
            let (column, of): (String, String) = (row.get(0), row.get(1));
            let other = match of.split('(').next().unwrap_or_default() {
                "numeric" | "integer" | "bigint" => format!("coalesce({column}, 0) + 1"),
                "jsonb" => r#"'{"other": 1}'"#.into(),
                "timestamp with time zone" => "now() - interval '1 hour'".into(),
                "date" => "DATE '2001-01-01'".into(),
                "bytea" => r"'\x00'".into(),
                "uuid" => "gen_random_uuid()".into(),
                "character" => "'XXX'".into(),
                _ => "'other'".into(),
            };
            let update = format!("UPDATE {table} SET {column} = {other} WHERE {key} = '{invoice}'");
            for role in ["postgres", "thorbis_platform"] {
                ok(superuser.batch_execute(&format!("SET ROLE {role}")));
                assert_sqlstate(superuser.batch_execute(&update), "55000");
                ok(superuser.batch_execute("RESET ROLE"));
            }
            let by_owner = in_context(&mut db.app(), A.id, A.owner, |tx| tx.batch_execute(&update));
            let error = assert_sqlstate_in(by_owner, &["55000", "42501"]);
            if error.code().code() == "55000" {
                assert!(error.hint().unwrap_or_default().contains("credit_invoice"), "{column}: {error}");
            }
        }
    }
}

#[test]
fn issued_invoice_keeps_its_lines_and_cannot_be_deleted() {
    let db = Database::new();
    let invoice = an_issued_invoice(&db);
    for statement in [
        "DELETE FROM shared.invoices WHERE id = '{i}'",
        "DELETE FROM shared.invoice_lines WHERE invoice_id = '{i}'",
        "INSERT INTO shared.invoice_lines (tenant_id, invoice_id, line_number, description, unit_price) VALUES ('{t}', '{i}', 9, 'x', 1)",
        "UPDATE shared.invoice_lines SET description = 'x' WHERE invoice_id = '{i}'",
        "DELETE FROM shared.invoice_taxes WHERE invoice_id = '{i}'",
        "UPDATE shared.invoice_taxes SET amount = 0 WHERE invoice_id = '{i}'",
    ] {
        let sql = statement.replace("{i}", &invoice.to_string()).replace("{t}", &A.id.to_string());
        let by_owner = in_context(&mut db.app(), A.id, A.owner, |tx| tx.execute(&sql, &[]));
        let refused = if sql.contains("invoice_taxes") { "42501" } else { "55000" };
        assert_sqlstate(by_owner, refused);
        let by_superuser = db.superuser().execute(&sql, &[]);
        match by_superuser {
            Ok(rows) => assert_eq!(rows, 0, "{sql}"),
            Err(e) => assert_eq!(sqlstate(&e), "55000", "{sql}"),
        }
    }
    assert_eq!(
        one::<i64>(&mut db.superuser(), "SELECT count(*) FROM shared.invoice_lines WHERE invoice_id = $1", &[&invoice]),
        1
    );
}

/// A line may come, go and move between drafts, never into or out of what was issued.
#[test]
fn lines_move_between_drafts_only() {
    let db = Database::new();
    let frozen = an_issued_invoice(&db);
    let open = as_owner(&db, &A, |tx| draft(tx, "{}", &[("10.00", "1")]));
    let mut superuser = db.superuser();
    for (from, to) in [(frozen, open), (open, frozen)] {
        let sql = "UPDATE shared.invoice_lines SET invoice_id = $2, line_number = 7 WHERE invoice_id = $1";
        assert_sqlstate(superuser.execute(sql, &[&from, &to]), "55000");
    }
    as_owner(&db, &A, |tx| tx.execute("DELETE FROM shared.invoices WHERE id = $1", &[&open]));
}

const LINE: &str =
    "INSERT INTO shared.invoice_lines (invoice_id, line_number, description, unit_price) VALUES ($1, $2, 'x', 1)";

/// Whoever adds a line while somebody issues waits, and is refused then. The issue does not wait for them in turn.
#[test]
fn line_that_waits_for_the_issue_is_refused() {
    let db = Database::new();
    let invoice = as_owner(&db, &A, |tx| draft(tx, "{}", &[("10.00", "1")]));
    let (mut issuer, mut writer) = (db.app(), db.app());
    ok(issuer.batch_execute(&format!("BEGIN; {}", thorbis_tests::set_local(A.id, A.owner))));
    ok(issuer.execute(LINE, &[&invoice, &3]));
    std::thread::scope(|scope| {
        let late = scope.spawn(|| in_context(&mut writer, A.id, A.owner, |tx| tx.execute(LINE, &[&invoice, &2])));
        let waits = "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock')";
        let mut superuser = db.superuser();
        thorbis_tests::until("the line waits", || one::<bool>(&mut superuser, waits, &[]));
        ok(issue(&mut issuer, invoice));
        ok(issuer.batch_execute("COMMIT"));
        let error = assert_sqlstate(late.join().expect("it does not panic"), "55000");
        assert!(error.message().contains("status (draft)"), "{error}");
    });
}

/// A line is in the totals that are issued, or refused.
#[test]
fn lines_that_race_with_the_issue_are_in_it_or_refused() {
    let db = Database::new();
    let invoices: Vec<Uuid> = (0..10).map(|_| as_owner(&db, &A, |tx| draft(tx, "{}", &[("10.00", "1")]))).collect();
    let barrier = std::sync::Barrier::new(16);
    let added = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for session in 0..16 {
            let (db, invoices, barrier, added) = (&db, &invoices, &barrier, &added);
            scope.spawn(move || {
                let mut app = db.app();
                for invoice in invoices {
                    barrier.wait();
                    let done = in_context(&mut app, A.id, A.owner, |tx| match session {
                        // Half of those who issue add a last line.
                        0 => issue(tx, *invoice).map(|_| 0),
                        1 => tx.execute(LINE, &[invoice, &2]).and_then(|lines| issue(tx, *invoice).map(|_| lines)),
                        _ => tx.execute(LINE, &[invoice, &(session + 1)]),
                    });
                    match done {
                        Ok(lines) => drop(added.fetch_add(lines as usize, Ordering::Relaxed)),
                        Err(e) => assert_eq!(sqlstate(&e), "55000", "{e}"),
                    }
                }
            });
        }
    });
    let mut superuser = db.superuser();
    let sql = "SELECT count(*) FILTER (WHERE i.total = l.total AND i.status = 'issued'), sum(l.lines)::bigint
                 FROM shared.invoices i, LATERAL (SELECT sum(unit_price) AS total, count(*) AS lines
                                                    FROM shared.invoice_lines WHERE invoice_id = i.id) l WHERE i.id = ANY ($1)";
    let row = ok(superuser.query_one(sql, &[&invoices]));
    assert_eq!((row.get::<_, i64>(0), row.get::<_, i64>(1)), (10, 10 + added.into_inner() as i64));
    thorbis_tests::billing::assert_books_agree(&mut superuser);
    thorbis_tests::bills::assert_right(&db);
}

// --- status

#[test]
fn nobody_sets_the_status_by_hand() {
    let db = Database::new();
    let open = as_owner(&db, &A, |tx| draft(tx, "{}", &[("10.00", "1")]));
    let frozen = an_issued_invoice(&db);
    for status in ["issued", "paid", "void", "draft"] {
        for invoice in [open, frozen] {
            let sql = format!("UPDATE shared.invoices SET status = '{status}' WHERE id = '{invoice}'");
            let changed = in_context(&mut db.app(), A.id, A.owner, |tx| tx.execute(&sql, &[]));
            assert_sqlstate(changed, "42501");
            if !(invoice == open && status == "draft" || invoice == frozen && status == "issued") {
                assert_sqlstate_in(db.superuser().execute(&sql, &[]), &["55000", "42501"]);
            }
        }
        let sql = format!("INSERT INTO shared.invoices (status) VALUES ('{status}')");
        let inserted = in_context(&mut db.app(), A.id, A.owner, |tx| tx.execute(&sql, &[]));
        assert_eq!(inserted.is_ok(), status == "draft", "{status}");
    }
}

#[test]
fn issuing_and_voiding_need_their_permissions() {
    let db = Database::new();
    let clerk = user_with(&db, &A, &[("invoices", "create"), ("invoices", "read"), ("invoices", "update")]);
    let invoice = ok(in_context(&mut db.app(), A.id, clerk, |tx| draft(tx, "{}", &[("10.00", "1")])));
    assert_sqlstate(in_context(&mut db.app(), A.id, clerk, |tx| issue(tx, invoice)), "42501");
    // Who issues need not be able to read.
    let issuer = user_with(&db, &A, &[("invoices", "issue"), ("invoices", "void")]);
    ok(in_context(&mut db.app(), A.id, issuer, |tx| issue(tx, invoice)));
    let void = "SELECT shared.void_invoice($1, 'mistake')";
    assert_sqlstate(in_context(&mut db.app(), A.id, clerk, |tx| tx.execute(void, &[&invoice])), "42501");
    ok(in_context(&mut db.app(), A.id, issuer, |tx| tx.execute(void, &[&invoice])));
    assert_eq!(state(&mut db.superuser(), invoice), "void 0.00 0.00");
}

#[test]
fn void_needs_a_reason_and_no_payments() {
    let db = Database::new();
    let void = |invoice: Uuid, reason: &str| {
        let sql = "SELECT shared.void_invoice($1, $2)";
        in_context(&mut db.app(), A.id, A.owner, |tx| tx.execute(sql, &[&invoice, &reason]))
    };
    let open = as_owner(&db, &A, |tx| draft(tx, "{}", &[("10.00", "1")]));
    assert_sqlstate(void(open, "why not"), "23514");
    let invoice = an_issued_invoice(&db);
    assert_sqlstate(void(invoice, "  "), "22023");
    let payment = as_owner(&db, &A, |tx| pay(tx, invoice, "40.00", "void-1"));
    assert_sqlstate(void(invoice, "mistake"), "23514");
    as_owner(&db, &A, |tx| refund(tx, payment, "40.00", "void-2"));
    ok(void(invoice, "mistake"));
    ok(void(invoice, "again"));
    let kept = "SELECT void_reason FROM shared.invoices WHERE id = $1 AND invoice_number IS NOT NULL";
    assert_eq!(one::<String>(&mut db.superuser(), kept, &[&invoice]), "mistake");
    let credited = an_issued_invoice(&db);
    as_owner(&db, &A, |tx| credit(tx, credited, "void-3"));
    assert_sqlstate(void(credited, "mistake"), "23514");
    let late = in_context(&mut db.app(), A.id, A.owner, |tx| pay(tx, invoice, "1.00", "void-4"));
    assert_sqlstate(late, "23514");
}

#[test]
fn maintenance_marks_what_is_overdue() {
    let db = Database::new();
    let make = |due: &str| {
        as_owner(&db, &A, |tx| {
            let invoice = draft(tx, "{}", &[("10.00", "1")])?;
            tx.execute(&format!("UPDATE shared.invoices SET due_date = {due} WHERE id = $1"), &[&invoice])?;
            issue(tx, invoice)?;
            Ok(invoice)
        })
    };
    let (late, early) = (make("CURRENT_DATE - 3"), make("CURRENT_DATE + 3"));
    let mut superuser = db.superuser();
    ok(superuser.batch_execute("SET ROLE thorbis_platform"));
    let count = "SELECT coalesce(sum(count), 0)::bigint FROM thorbis.maintain($1) WHERE task = 'invoices'";
    assert_eq!(one::<i64>(&mut superuser, count, &[&true]), 1);
    assert_eq!(one::<i64>(&mut superuser, count, &[&false]), 1);
    assert_eq!(one::<i64>(&mut superuser, count, &[&false]), 0);
    ok(superuser.batch_execute("RESET ROLE"));
    assert!(state(&mut superuser, late).starts_with("overdue") && state(&mut superuser, early).starts_with("issued"));
    as_owner(&db, &A, |tx| pay(tx, late, "4.00", "o-1"));
    assert_eq!(state(&mut superuser, late), "overdue 4.00 0.00");
    as_owner(&db, &A, |tx| pay(tx, late, "6.00", "o-2"));
    assert_eq!(state(&mut superuser, late), "paid 10.00 0.00");
}

// --- tenants and people

#[test]
fn invoice_of_the_other_tenant_is_as_unknown_as_none() {
    let db = Database::new();
    let foreign: Uuid = one(&mut db.superuser(), "SELECT id FROM shared.invoices WHERE tenant_id = $1", &[&B.id]);
    for sql in [
        "SELECT shared.issue_invoice($1)",
        "SELECT shared.void_invoice($1, 'x')",
        "SELECT shared.credit_invoice($1, 'x', 'foreign')",
        "SELECT shared.apply_invoice_taxes($1)",
    ] {
        let said = [foreign, Uuid::new_v4()].map(|id| {
            assert_sqlstate(in_context(&mut db.app(), A.id, A.owner, |tx| tx.execute(sql, &[&id])), "P0002").to_string()
        });
        assert_eq!(said[0], said[1]);
    }
}

/// The tenant's currency and ways of rounding are taken over by a caller who may not read the tenant.
#[test]
fn draft_takes_the_tenants_currency() {
    let db = Database::new();
    let clerk = user_with(&db, &A, &[("invoices", "create"), ("invoices", "read")]);
    ok(db
        .superuser()
        .execute("UPDATE shared.tenants SET currency = 'EUR', rounding_mode = 'half_up' WHERE id = $1", &[&A.id]));
    let sql = "INSERT INTO shared.invoices DEFAULT VALUES RETURNING currency::text || ' ' || rounding_mode";
    let taken = ok(in_context(&mut db.app(), A.id, clerk, |tx| Ok(one::<String>(tx, sql, &[]))));
    assert_eq!(taken, "EUR half_up");
}

#[test]
fn customer_with_an_invoice_cannot_be_deleted_and_can_be_erased() {
    let db = Database::new();
    let customer = Uuid::new_v4();
    let invoice = as_owner(&db, &A, |tx| {
        let sql = "INSERT INTO shared.customers (id, first_name, last_name) VALUES ($1, 'Ida', 'Invoiced')";
        tx.execute(sql, &[&customer])?;
        let invoice = draft(tx, "{}", &[("10.00", "1")])?;
        tx.execute(
            "UPDATE shared.invoices SET customer_id = $2, billing_name = 'Ida Invoiced', billing_address = '{\"city\": \"X\"}',
                    notes = 'Thank you, Ida' WHERE id = $1",
            &[&invoice, &customer],
        )?;
        issue(tx, invoice)?;
        Ok(invoice)
    });
    let deleted = in_context(&mut db.app(), A.id, A.owner, |tx| {
        tx.execute("DELETE FROM shared.customers WHERE id = $1", &[&customer])
    });
    assert_sqlstate(deleted, "23503");
    as_owner(&db, &A, |tx| tx.execute("SELECT gdpr.erase_subject($1, false)", &[&customer]));
    let kept = "SELECT invoice_number IS NOT NULL AND total = 10 AND customer_id = $2 AND billing_name IS NULL
                       AND billing_address IS NULL AND notes IS NULL
                  FROM shared.invoices WHERE id = $1";
    assert!(one::<bool>(&mut db.superuser(), kept, &[&invoice, &customer]), "the books stay, the person goes");
    thorbis_tests::billing::assert_books_agree(&mut db.superuser());
}
