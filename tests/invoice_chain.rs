//! The chain of issued documents: what a superuser changes past every trigger is found.

use thorbis_tests::billing::{assert_books_agree, credit, draft, issue, issued, user_with};
use thorbis_tests::{A, B, Database, as_owner, assert_sqlstate, in_context, ok, one, set_local};
use uuid::Uuid;

/// Three invoices and a credit note of tenant A.
fn filled() -> (Database, Vec<Uuid>, Uuid) {
    let db = Database::new();
    let invoices: Vec<Uuid> = (0..3).map(|_| as_owner(&db, &A, |tx| issued(tx, "50.00"))).collect();
    let note = as_owner(&db, &A, |tx| credit(tx, invoices[1], "chain"));
    assert_books_agree(&mut db.superuser());
    (db, invoices, note)
}

fn problems(db: &Database) -> Vec<String> {
    let sql = "SELECT document || ': ' || problem FROM thorbis.verify_invoice_chain()";
    ok(db.superuser().query(sql, &[])).iter().map(|row| row.get(0)).collect()
}

/// As somebody would who can write past triggers.
fn tamper(db: &Database, sql: &str) {
    ok(db.superuser().batch_execute(&format!("SET session_replication_role = replica; {sql}")));
}

#[test]
fn every_change_of_what_was_issued_is_found() {
    for (what, sql) in [
        ("a total", "UPDATE shared.invoices SET total = total + 1 WHERE id = '{1}'"),
        ("a number", "UPDATE shared.invoices SET invoice_number = '99' WHERE id = '{1}'"),
        ("a time", "UPDATE shared.invoices SET issued_at = issued_at - interval '1 day' WHERE id = '{1}'"),
        ("a hash", "UPDATE shared.invoices SET hash = sha256('x') WHERE id = '{1}'"),
        ("a predecessor", "UPDATE shared.invoices SET prev_hash = sha256('x') WHERE id = '{1}'"),
        ("the last one", "UPDATE shared.invoices SET tax_total = 3 WHERE id = '{2}'"),
        ("a line", "UPDATE shared.invoice_lines SET quantity = 2 WHERE invoice_id = '{1}'"),
        ("what was sold", "UPDATE shared.invoice_lines SET description = 'x' WHERE invoice_id = '{1}'"),
        ("a tax date", "UPDATE shared.invoices SET tax_date = tax_date - 1 WHERE id = '{1}'"),
        ("a line more", "INSERT INTO shared.invoice_lines (tenant_id, invoice_id, line_number, description, unit_price)
                         SELECT tenant_id, id, 9, 'x', 1 FROM shared.invoices WHERE id = '{1}'"),
        ("a line less", "DELETE FROM shared.invoice_lines WHERE invoice_id = '{1}'"),
        ("a tax more", "INSERT INTO shared.invoice_taxes (tenant_id, invoice_id, tax_key, code, name, percent, is_inclusive,
                                                          is_compound, taxable_amount, amount)
                        SELECT tenant_id, id, 'x', 'x', 'x', 1, false, false, 1, 1 FROM shared.invoices WHERE id = '{1}'"),
        ("an invoice", "DELETE FROM shared.invoices WHERE id = '{1}'"),
        ("the last invoice", "DELETE FROM shared.invoices WHERE id = '{2}'"),
        ("a draft again", "UPDATE shared.invoices SET status = 'draft', invoice_number = NULL, issued_at = NULL, hash = NULL,
                           chain_position = NULL WHERE id = '{2}'"),
        ("a credit note", "UPDATE shared.credit_notes SET net_total = 1, charge_total = 0, total = 1 WHERE id = '{n}'"),
        ("its quantity", "UPDATE shared.credit_note_lines SET quantity = 0.5 WHERE credit_note_id = '{n}'"),
        ("no credit note", "DELETE FROM shared.credit_notes WHERE id = '{n}'"),
        ("the end", "UPDATE shared.hash_chains SET last_position = last_position - 1 WHERE tenant_id = '{t}'"),
    ] {
        let (db, invoices, note) = filled();
        let sql = sql.replace("{1}", &invoices[1].to_string()).replace("{2}", &invoices[2].to_string());
        tamper(&db, &sql.replace("{n}", &note.to_string()).replace("{t}", &A.id.to_string()));
        assert!(!problems(&db).is_empty(), "{what}");
    }
}

/// What is no part of the books may go.
#[test]
fn what_is_personal_is_not_in_the_chain() {
    let (db, invoices, _) = filled();
    tamper(
        &db,
        &format!(
            "UPDATE shared.invoices SET billing_name = 'x', notes = 'x', metadata = '{{\"x\": 1}}', customer_id = NULL
              WHERE id = '{}'",
            invoices[1]
        ),
    );
    assert_eq!(problems(&db), [""; 0]);
}

#[test]
fn positions_count_from_one_in_each_series() {
    let db = Database::new();
    let of_series = |series: &str| {
        in_context(&mut db.app(), A.id, A.owner, |tx| {
            let invoice = draft(tx, "{}", &[("1.00", "1")])?;
            tx.execute("UPDATE shared.invoices SET series = $2 WHERE id = $1", &[&invoice, &series])?;
            issue(tx, invoice)
        })
    };
    // Neither the numbers of other documents, nor a series that nobody defined, nor numbers that there are already.
    assert_sqlstate(of_series("credit_note"), "23514");
    assert_sqlstate(of_series("invoice_export"), "22023");
    as_owner(&db, &A, |tx| tx.execute("INSERT INTO shared.number_series (series) VALUES ('invoice_export')", &[]));
    assert_sqlstate(of_series("invoice_export"), "23505");
    as_owner(&db, &A, |tx| {
        tx.execute("UPDATE shared.number_series SET prefix = 'EX-' WHERE series = 'invoice_export'", &[])
    });
    for series in ["invoice_export", "invoice", "invoice_export"] {
        ok(of_series(series));
    }
    let sql = "SELECT array_agg(chain_position ORDER BY chain_position) FROM shared.invoices WHERE tenant_id = $1 AND series = 'invoice_export'";
    assert_eq!(one::<Vec<i64>>(&mut db.superuser(), sql, &[&A.id]), [1, 2]);
    assert_books_agree(&mut db.superuser());
}

/// A transaction that began long ago issues now.
#[test]
fn times_of_a_chain_follow_its_places() {
    let db = Database::new();
    let mut early = db.app();
    let mut open = ok(early.transaction());
    ok(open.batch_execute(&set_local(A.id, A.owner)));
    let invoice = ok(draft(&mut open, "{}", &[("1.00", "1")]));
    as_owner(&db, &A, |tx| issued(tx, "50.00"));
    ok(issue(&mut open, invoice));
    ok(open.commit());
    let sql = "SELECT bool_and(issued_at > before) FROM (
                   SELECT issued_at, lag(issued_at) OVER (ORDER BY chain_position) AS before
                     FROM shared.invoices WHERE tenant_id = $1 AND invoice_number IS NOT NULL) i WHERE before IS NOT NULL";
    assert!(one::<bool>(&mut db.superuser(), sql, &[&A.id]));
    assert_books_agree(&mut db.superuser());
}

/// Whoever writes the pricing may write any tax, but not in the name of a rate.
#[test]
fn tax_that_only_has_the_key_of_a_rate_is_none() {
    let db = Database::new();
    let rate: String = one(
        &mut db.superuser(),
        "SELECT id::text FROM shared.tax_rates WHERE tenant_id = $1 AND percent > 0 LIMIT 1",
        &[&A.id],
    );
    let taxes = format!(r#"{{"taxes": [{{"id": "{rate}", "percent": "0"}}]}}"#);
    let invoice = as_owner(&db, &A, |tx| {
        let invoice = draft(tx, &taxes, &[("10.00", "1")])?;
        issue(tx, invoice)?;
        Ok(invoice)
    });
    let sql = "SELECT concat_ws('|', jurisdiction_code, percent) FROM shared.invoice_taxes WHERE invoice_id = $1";
    assert_eq!(one::<String>(&mut db.superuser(), sql, &[&invoice]), "|0.000000");
}

#[test]
fn tenants_verify_their_own_chain_only() {
    let (db, invoices, _) = filled();
    tamper(&db, &format!("UPDATE shared.invoices SET total = 51 WHERE id = '{}'", invoices[1]));
    let seen = |tenant: &thorbis_tests::Tenant, user: Uuid, sql: &str| {
        in_context(&mut db.app(), tenant.id, user, |tx| Ok(tx.query(sql, &[])?.len()))
    };
    let own = "SELECT * FROM thorbis.verify_invoice_chain()";
    assert_eq!(ok(seen(&A, A.owner, own)), 1);
    assert_eq!(ok(seen(&B, B.owner, own)), 0);
    let other = format!("SELECT * FROM thorbis.verify_invoice_chain('{}')", A.id);
    assert_sqlstate(seen(&B, B.owner, &other), "42501");
    assert_sqlstate(seen(&A, user_with(&db, &A, &[("payments", "read")]), own), "42501");
    assert_sqlstate(db.app().query(own, &[]), "42501");
}
