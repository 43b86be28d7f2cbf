//! Refunds reach as far as the roles of whoever pays back.

use thorbis_tests::billing::{record, refund, user_with};
use thorbis_tests::{A, Database, as_owner, assert_sqlstate, in_context, ok, one};
use uuid::Uuid;

/// The limit is on all that is paid back of a payment: small parts do not pass below it.
#[test]
fn refunds_stay_within_the_approval_limit() {
    let db = Database::new();
    let clerk = user_with(&db, &A, &[("payments", "refund")]);
    let limit = "INSERT INTO rbac.approval_limits (tenant_id, role_id, resource, action, max_amount, max_percent)
                 VALUES ($1, $2, 'payments', 'refund', 30, 50)";
    ok(db.superuser().execute(limit, &[&A.id, &clerk]));
    let payment = as_owner(&db, &A, |tx| record(tx, "100.00", "k", "[]"));
    let small = as_owner(&db, &A, |tx| record(tx, "20.00", "l", "[]"));
    let by_clerk = |payment: Uuid, amount: &str, key: &str| {
        in_context(&mut db.app(), A.id, clerk, |tx| refund(tx, payment, amount, key))
    };
    assert_sqlstate(by_clerk(payment, "30.01", "r1"), "42501");
    ok(by_clerk(payment, "20.00", "r2"));
    assert_sqlstate(by_clerk(payment, "10.01", "r3"), "42501");
    ok(by_clerk(payment, "10.00", "r4"));
    assert_sqlstate(by_clerk(small, "10.01", "r5"), "42501");
    ok(by_clerk(small, "10.00", "r6"));
    ok(in_context(&mut db.app(), A.id, A.owner, |tx| refund(tx, payment, "70.00", "r7")));
}

/// The highest amount is in the currency of the tenant: it says nothing about another.
#[test]
fn limits_hold_for_one_currency() {
    let db = Database::new();
    let own: String = one(&mut db.superuser(), "SELECT currency::text FROM shared.tenants WHERE id = $1", &[&A.id]);
    let foreign = if own == "EUR" { "USD" } else { "EUR" };
    let clerk = user_with(&db, &A, &[("payments", "refund")]);
    let admin = user_with(&db, &A, &[("payments", "refund"), ("payments", "admin")]);
    let by_percent = user_with(&db, &A, &[("payments", "refund")]);
    let limit = "INSERT INTO rbac.approval_limits (tenant_id, role_id, resource, action, max_amount, max_percent)
                 VALUES ($1, $2, 'payments', 'refund', $3, $4)";
    let mut superuser = db.superuser();
    for (role, amount, percent) in
        [(clerk, Some("30"), None), (admin, Some("30"), None), (by_percent, None::<&str>, Some("50"))]
    {
        let limit = limit.replace("$3", "$3::text::numeric").replace("$4", "$4::text::numeric");
        ok(superuser.execute(&limit, &[&A.id, &role, &amount, &percent]));
    }
    let sql = "SELECT shared.record_payment('card', 100.00, 'k', currency => $1)";
    let payment: Uuid = as_owner(&db, &A, |tx| Ok(tx.query_one(sql, &[&foreign])?.get(0)));
    let by = |user: Uuid, amount: &str, key: &str| {
        in_context(&mut db.app(), A.id, user, |tx| refund(tx, payment, amount, key))
    };
    assert_sqlstate(by(clerk, "0.01", "r1"), "42501");
    // A percentage says as much in any currency.
    ok(by(by_percent, "10.00", "r2"));
    assert_sqlstate(by(by_percent, "40.01", "r3"), "42501");
    ok(by(admin, "40.00", "r4"));
    ok(by(A.owner, "1.00", "r5"));
}
