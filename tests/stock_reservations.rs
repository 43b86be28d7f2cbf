//! Reservations: what is held back is nobody else's, until it is used, released or expired.

use postgres::Error;
use serde_json::{Value, json};
use thorbis_tests::ledgers::{
    CUP, CUSTOMER, FLOUR, RESERVATION, STORE, SUPPLIER, VAN, assert_books_are_right, assert_sees_nothing, balance,
    call, id, line, of, permit_employee, permit_employee_without_reading, post,
};
use thorbis_tests::{A, B, Database, assert_sqlstate, assert_sqlstate_in, in_context, ok, one};
use uuid::Uuid;

fn by_owner(db: &Database, sql: &str) -> Result<Value, Error> {
    in_context(&mut db.app(), A.id, A.owner, |tx| call(tx, sql, &[]))
}

fn reserve(db: &Database, quantity: &str, more: &str) -> Result<Uuid, Error> {
    let sql = format!("SELECT shared.reserve_stock('{}', '{}', {quantity}{more})", of(&A, CUP), of(&A, STORE));
    by_owner(db, &sql).map(|answer| id(&answer, "reservation_id"))
}

fn release(db: &Database, reservation: Uuid) -> Result<Value, Error> {
    by_owner(db, &format!("SELECT shared.release_stock_reservation('{reservation}')"))
}

fn take(db: &Database, quantity: i32, reservation: Option<Uuid>) -> Result<Value, Error> {
    let mut sale = line(CUP, STORE, CUSTOMER, quantity);
    sale["stock_reservation_id"] = json!(reservation.map(|id| id.to_string()));
    in_context(&mut db.app(), A.id, A.owner, |tx| post(tx, &json!([sale]), None))
}

fn cups(db: &Database) -> (String, String, String) {
    balance(db, CUP, STORE)
}

fn is(on_hand: &str, reserved: &str, incoming: &str) -> (String, String, String) {
    (on_hand.into(), reserved.into(), incoming.into())
}

fn let_expire(db: &Database, reservation: Uuid) {
    let sql = "UPDATE shared.stock_reservations SET expires_at = '2001-01-01' WHERE id = $1 AND tenant_id = $2";
    assert_eq!(ok(db.superuser().execute(sql, &[&reservation, &A.id])), 1);
}

fn status(db: &Database, reservation: Uuid) -> String {
    one(&mut db.superuser(), "SELECT status FROM shared.stock_reservations WHERE id = $1", &[&reservation])
}

#[test]
fn what_is_reserved_is_nobody_elses() {
    let db = Database::new();
    let reservation = ok(reserve(&db, "40", ""));
    assert_eq!(cups(&db), is("50", "40", "0"));
    assert_sqlstate(take(&db, 11, None), "23514");
    assert_sqlstate(reserve(&db, "11", "").map(|_| ()), "23514");
    ok(take(&db, 10, None));
    ok(take(&db, 15, Some(reservation)));
    assert_eq!((cups(&db), status(&db, reservation)), (is("25", "25", "0"), "open".into()));
    assert_sqlstate(take(&db, 26, Some(reservation)), "23514");
    ok(take(&db, 25, Some(reservation)));
    assert_eq!((cups(&db), status(&db, reservation)), (is("0", "0", "0"), "fulfilled".into()));
    assert_sqlstate_in(take(&db, 1, Some(reservation)), &["23514"]);
    assert_sqlstate(release(&db, reservation), "55000");
    assert_books_are_right(&db);
}

#[test]
fn a_reservation_is_released_once() {
    let db = Database::new();
    let reservation = ok(reserve(&db, "40", ""));
    ok(take(&db, 10, Some(reservation)));
    ok(release(&db, reservation));
    assert_eq!(cups(&db), is("40", "0", "0"));
    assert_eq!(ok(release(&db, reservation))["status"], "released", "twice is once");
    assert_sqlstate(take(&db, 1, Some(reservation)), "23514");
    assert_eq!(cups(&db), is("40", "0", "0"));
    assert_books_are_right(&db);
}

#[test]
fn expired_reservations_hold_nothing_and_cannot_be_used() {
    let db = Database::new();
    let reservation = ok(reserve(&db, "40", ", now() + interval '1 hour'"));
    let_expire(&db, reservation);
    assert_sqlstate(take(&db, 1, Some(reservation)), "23514");
    assert_eq!(status(&db, reservation), "open", "that was rolled back");
    // Nobody has to wait for the job.
    ok(take(&db, 45, None));
    assert_eq!((cups(&db), status(&db, reservation)), (is("5", "0", "0"), "expired".into()));

    let second = ok(reserve(&db, "5", ""));
    let_expire(&db, second);
    let maintain = "SELECT coalesce(sum(count), 0)::bigint FROM thorbis.maintain() WHERE task = 'reservations'";
    assert_eq!(one::<i64>(&mut db.superuser(), maintain, &[]), 1);
    assert_eq!(one::<i64>(&mut db.superuser(), maintain, &[]), 0);
    assert_eq!(cups(&db), is("5", "0", "0"));
    assert_books_are_right(&db);
}

#[test]
fn what_is_announced_comes_in() {
    let db = Database::new();
    let announced = ok(reserve(&db, "20", ", direction => 'in'"));
    assert_eq!(cups(&db), is("50", "0", "20"));
    let mut delivery = line(CUP, SUPPLIER, STORE, 15);
    delivery["stock_reservation_id"] = json!(announced.to_string());
    ok(in_context(&mut db.app(), A.id, A.owner, |tx| post(tx, &json!([delivery]), None)));
    assert_eq!(cups(&db), is("65", "0", "5"));
    // It holds nothing that could leave.
    assert_sqlstate(take(&db, 5, Some(announced)), "23514");
    ok(release(&db, announced));
    assert_eq!(cups(&db), is("65", "0", "0"));
    assert_books_are_right(&db);
}

#[test]
fn reservations_of_other_things_cannot_be_used() {
    let db = Database::new();
    let reservation = ok(reserve(&db, "10", ""));
    for (item, from, to) in [(FLOUR, STORE, CUSTOMER), (CUP, SUPPLIER, STORE), (CUP, VAN, CUSTOMER)] {
        let mut other = line(item, from, to, 1);
        other["stock_reservation_id"] = json!(reservation.to_string());
        let result = in_context(&mut db.app(), A.id, A.owner, |tx| post(tx, &json!([other]), None));
        assert_sqlstate(result, "23514");
    }
    for stranger in [of(&B, RESERVATION), Uuid::new_v4()] {
        assert_sqlstate(take(&db, 1, Some(stranger)), "P0002");
        assert_sqlstate(release(&db, stranger), "P0002");
    }
    for quantity in ["0", "-1", "'NaN'", "'Infinity'", "0.000001"] {
        assert_sqlstate_in(reserve(&db, quantity, "").map(|_| ()), &["22023", "22003"]);
    }
    assert_sqlstate(reserve(&db, "1", ", direction => 'sideways'").map(|_| ()), "23514");
    let at_a_customers = format!("SELECT shared.reserve_stock('{}', '{}', 1)", of(&A, CUP), of(&A, CUSTOMER));
    assert_sqlstate(by_owner(&db, &at_a_customers), "22023");
    let foreign = format!("SELECT shared.reserve_stock('{}', '{}', 1)", of(&B, CUP), of(&A, STORE));
    assert_sqlstate(by_owner(&db, &foreign), "P0002");
    assert_eq!(cups(&db), is("50", "10", "0"));
    assert_books_are_right(&db);
}

#[test]
fn reserving_needs_the_permission_and_is_done_once_with_a_key() {
    let db = Database::new();
    let sql =
        format!("SELECT shared.reserve_stock('{}', '{}', 5, idempotency_key => 'cart-1')", of(&A, CUP), of(&A, STORE));
    let by_employee = || in_context(&mut db.app(), A.id, A.employee, |tx| call(tx, &sql, &[]));
    assert_sqlstate(by_employee(), "42501");
    permit_employee(&db, &[("stock", "move")]);
    let first = ok(by_employee());
    assert_eq!(ok(by_employee()), first);
    assert_sqlstate(by_owner(&db, &sql.replace(", 5,", ", 6,")), "22023");
    assert_eq!(cups(&db), is("50", "5", "0"));
    assert_books_are_right(&db);
}

#[test]
fn jobs_without_a_user_reserve_and_whoever_reserves_need_not_read() {
    let db = Database::new();
    let sql = format!("SELECT shared.reserve_stock('{}', '{}', 5)", of(&A, CUP), of(&A, STORE));
    let release = "SELECT shared.release_stock_reservation($1)";
    for role in ["RESET ROLE", "SET ROLE thorbis_platform"] {
        let mut job = db.superuser();
        ok(job.batch_execute(&format!("{role}; BEGIN; SET LOCAL app.current_tenant_id = '{}'", A.id)));
        let reservation = id(&ok(call(&mut job, &sql, &[])), "reservation_id");
        ok(call(&mut job, &sql, &[]));
        assert_eq!(ok(call(&mut job, release, &[&reservation]))["status"], "released");
        ok(job.batch_execute("COMMIT"));
    }
    assert_eq!(cups(&db), is("50", "10", "0"));
    permit_employee_without_reading(&db, &[("stock", "move")]);
    ok(in_context(&mut db.app(), A.id, A.employee, |tx| {
        assert_sees_nothing(tx, &["stock_reservations", "stock_balances", "stock_items", "stock_locations"]);
        let reservation = id(&call(tx, &sql, &[])?, "reservation_id");
        call(tx, &sql, &[])?;
        call(tx, release, &[&reservation])
    }));
    assert_eq!(cups(&db), is("50", "15", "0"));
    assert_books_are_right(&db);
}
