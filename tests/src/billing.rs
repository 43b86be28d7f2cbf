//! Invoices and payments as an application makes them.

use crate::database::Database;
use crate::tenants::Tenant;
use postgres::{Client, Error, GenericClient};
use uuid::Uuid;

/// A new user of the tenant who holds these permissions and no others.
#[track_caller]
pub fn user_with(db: &Database, tenant: &Tenant, permissions: &[(&str, &str)]) -> Uuid {
    let user = Uuid::new_v4();
    let mut superuser = db.superuser();
    let sql =
        "WITH u AS (INSERT INTO shared.users (tenant_id, id, email) VALUES ($1, $2, concat($2::uuid, '@x.example'))),
                    r AS (INSERT INTO rbac.roles (tenant_id, id, code, name)
                          VALUES ($1, $2, 'r_' || left(replace(concat($2::uuid), '-', ''), 20), 'Test') RETURNING id)
               SELECT 1";
    crate::ok(superuser.execute(sql, &[&tenant.id, &user]));
    let sql = "INSERT INTO rbac.user_roles (tenant_id, user_id, role_id) VALUES ($1, $2, $2)";
    crate::ok(superuser.execute(sql, &[&tenant.id, &user]));
    for (resource, action) in permissions {
        let sql = "INSERT INTO rbac.role_permissions (tenant_id, role_id, resource, action) VALUES ($1, $2, $3, $4)";
        crate::ok(superuser.execute(sql, &[&tenant.id, &user, resource, action]));
    }
    user
}

/// A draft with lines of price and quantity.
pub fn draft(tx: &mut impl GenericClient, pricing: &str, lines: &[(&str, &str)]) -> Result<Uuid, Error> {
    let sql = "INSERT INTO shared.invoices (pricing) VALUES ($1::text::jsonb) RETURNING id";
    let invoice: Uuid = tx.query_one(sql, &[&pricing])?.get(0);
    for (i, (price, quantity)) in lines.iter().enumerate() {
        let sql = "INSERT INTO shared.invoice_lines (invoice_id, line_number, description, unit_price, quantity)
                   VALUES ($1, $2, 'Work', $3::text::numeric, $4::text::numeric)";
        tx.execute(sql, &[&invoice, &(i as i32 + 1), price, quantity])?;
    }
    Ok(invoice)
}

pub fn issue(tx: &mut impl GenericClient, invoice: Uuid) -> Result<String, Error> {
    Ok(tx.query_one("SELECT shared.issue_invoice($1)", &[&invoice])?.get(0))
}

/// An issued invoice of that total, without taxes.
pub fn issued(tx: &mut impl GenericClient, total: &str) -> Result<Uuid, Error> {
    let invoice = draft(tx, "{}", &[(total, "1")])?;
    issue(tx, invoice)?;
    Ok(invoice)
}

/// A captured payment by card that pays one invoice.
pub fn pay(tx: &mut impl GenericClient, invoice: Uuid, amount: &str, key: &str) -> Result<Uuid, Error> {
    record(tx, amount, key, &format!(r#"[{{"invoice_id": "{invoice}", "amount": "{amount}"}}]"#))
}

/// A captured payment by card.
pub fn record(tx: &mut impl GenericClient, amount: &str, key: &str, allocations: &str) -> Result<Uuid, Error> {
    let sql = "SELECT shared.record_payment('card', $1::text::numeric, $2, $3::text::jsonb)";
    Ok(tx.query_one(sql, &[&amount, &key, &allocations])?.get(0))
}

pub fn refund(tx: &mut impl GenericClient, payment: Uuid, amount: &str, key: &str) -> Result<Uuid, Error> {
    let sql = "SELECT shared.refund_payment($1, $2::text::numeric, 'returned', $3)";
    Ok(tx.query_one(sql, &[&payment, &amount, &key])?.get(0))
}

/// Everything that is left is credited.
pub fn credit(tx: &mut impl GenericClient, invoice: Uuid, key: &str) -> Result<Uuid, Error> {
    Ok(tx.query_one("SELECT shared.credit_invoice($1, 'wrong', $2)", &[&invoice, &key])?.get(0))
}

/// Status, paid and credited, as text.
#[track_caller]
pub fn state(client: &mut impl GenericClient, invoice: Uuid) -> String {
    let sql = "SELECT concat_ws(' ', status, paid_total, credited_total) FROM shared.invoices WHERE id = $1";
    crate::one(client, sql, &[&invoice])
}

/// Whatever the books of all tenants disagree about.
#[track_caller]
pub fn assert_books_agree(superuser: &mut Client) {
    let sql = "SELECT concat_ws(' ', document, measure, stored, ledger) FROM shared.v_payment_reconciliation";
    let wrong: Vec<String> = crate::ok(superuser.query(sql, &[])).iter().map(|row| row.get(0)).collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
    let sql = "SELECT concat_ws(' ', document, series, chain_position, problem) FROM thorbis.verify_invoice_chain()";
    let wrong: Vec<String> = crate::ok(superuser.query(sql, &[])).iter().map(|row| row.get(0)).collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}
