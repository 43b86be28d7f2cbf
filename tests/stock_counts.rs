//! Counts: the balances become what was counted, and what happened before stays in the past.

use postgres::Error;
use serde_json::{Value, json};
use thorbis_tests::ledgers::{
    COUNT, CUP, CUSTOMER, FLOUR, STORE, SUPPLIER, VAN, assert_books_are_right, assert_sees_nothing, call, import, line,
    of, on_hand, permit_employee, permit_employee_without_reading, post,
};
use thorbis_tests::{A, B, Database, as_owner, assert_sqlstate, in_context, ok, one, set_local};
use uuid::Uuid;

fn by_owner(db: &Database, sql: &str) -> Result<u64, Error> {
    in_context(&mut db.app(), A.id, A.owner, |tx| tx.execute(sql, &[]))
}

/// A count of the store room that is ready to be posted.
fn count(db: &Database, lines: &[(u128, &str)], counted_at: &str) -> Uuid {
    as_owner(db, &A, |tx| {
        let sql = format!(
            "INSERT INTO shared.stock_counts (stock_location_id, counted_at) VALUES ($1, {counted_at}) RETURNING id"
        );
        let count: Uuid = one(tx, &sql, &[&of(&A, STORE)]);
        for (item, quantity) in lines {
            let sql = format!(
                "INSERT INTO shared.stock_count_lines (stock_count_id, stock_item_id, counted_quantity, expected_quantity) VALUES ($1, $2, {quantity}, 7)"
            );
            tx.execute(&sql, &[&count, &of(&A, *item)])?;
        }
        tx.execute("UPDATE shared.stock_counts SET status = 'counting' WHERE id = $1", &[&count])?;
        Ok(count)
    })
}

fn post_count(db: &Database, count: Uuid) -> Result<Value, Error> {
    in_context(&mut db.app(), A.id, A.owner, |tx| call(tx, "SELECT shared.post_stock_count($1)", &[&count]))
}

/// A movement that happened some time ago and comes in now.
fn late(db: &Database, from: u128, to: u128, quantity: i32, ago: &str) -> Result<Value, Error> {
    let mut movement = line(CUP, from, to, quantity);
    let at: String = one(&mut db.superuser(), &format!("SELECT (now() - interval '{ago}')::text"), &[]);
    movement["occurred_at"] = json!(at);
    in_context(&mut db.app(), A.id, A.owner, |tx| post(tx, &json!([movement]), None))
}

fn move_now(db: &Database, from: u128, to: u128, quantity: i32) {
    ok(in_context(&mut db.app(), A.id, A.owner, |tx| post(tx, &json!([line(CUP, from, to, quantity)]), None)));
}

#[test]
fn balances_become_what_was_counted() {
    let db = Database::new();
    let id = count(&db, &[(CUP, "47.5"), (FLOUR, "101")], "NULL");
    let answer = ok(post_count(&db, id));
    assert_eq!(answer["corrections"], 2);
    assert_eq!((on_hand(&db, CUP, STORE), on_hand(&db, FLOUR, STORE)), ("47.5".into(), "101".into()));
    let expected: bool = one(
        &mut db.superuser(),
        "SELECT bool_and(expected_quantity = CASE WHEN counted_quantity = 101 THEN 100 ELSE 50 END)
           FROM shared.stock_count_lines WHERE stock_count_id = $1",
        &[&id],
    );
    assert!(expected, "what there should have been");
    let corrections: i64 = one(
        &mut db.superuser(),
        "SELECT count(*) FROM shared.stock_movements WHERE stock_count_id = $1 AND reason = 'count'",
        &[&id],
    );
    assert_eq!(corrections, 2);
    // An item that never was there, and one that is gone.
    ok(post_count(&db, count(&db, &[(CUP, "0")], "NULL")));
    assert_eq!(on_hand(&db, CUP, STORE), "0");
    assert_books_are_right(&db);
}

#[test]
fn what_happened_before_a_count_changes_it_no_more() {
    let db = Database::new();
    ok(post_count(&db, count(&db, &[(CUP, "40")], "NULL")));
    // The till was offline: the sale was before the count, which has it.
    ok(late(&db, STORE, CUSTOMER, 5, "1 hour"));
    assert_eq!(on_hand(&db, CUP, STORE), "40", "recorded, and in the count already");
    ok(late(&db, STORE, CUSTOMER, 500, "1 hour"));
    ok(late(&db, SUPPLIER, STORE, 5, "1 hour"));
    // Only the place that was counted knows.
    ok(late(&db, STORE, VAN, 5, "1 hour"));
    assert_eq!((on_hand(&db, CUP, STORE), on_hand(&db, CUP, VAN)), ("40".into(), "5".into()));
    let recorded: i64 = one(
        &mut db.superuser(),
        "SELECT count(*) FROM shared.stock_movements WHERE occurred_at < now() - interval '30 minutes' AND from_balance_after IS NULL",
        &[],
    );
    assert_eq!(recorded, 4);
    move_now(&db, STORE, CUSTOMER, 5);
    assert_eq!(on_hand(&db, CUP, STORE), "35", "what happens now counts");
    assert_books_are_right(&db);
}

/// What is said to have happened before a count leaves the counted balance alone, and would be stock out of nothing in the
/// hands of whoever may only move.
#[test]
fn late_movements_are_for_those_who_may_adjust() {
    let db = Database::new();
    let allow =
        "INSERT INTO rbac.role_permissions (tenant_id, role_id, resource, action) VALUES ($1, $2, 'stock', 'move')";
    ok(db.superuser().execute(allow, &[&A.id, &A.employee_role]));
    ok(post_count(&db, count(&db, &[(CUP, "50")], "NULL")));
    let by_employee = |at: Option<&str>| {
        let mut movement = line(CUP, STORE, VAN, 10);
        if let Some(at) = at {
            movement["occurred_at"] = json!(at);
        }
        in_context(&mut db.app(), A.id, A.employee, |tx| post(tx, &json!([movement]), None))
    };
    assert_sqlstate(by_employee(Some("2001-01-01")), "42501");
    assert_sqlstate(by_employee(Some("-infinity")), "42501");
    ok(by_employee(None));
    assert_eq!(on_hand(&db, CUP, STORE), "40");
    let mut movement = line(CUP, STORE, VAN, 10);
    movement["occurred_at"] = json!("-infinity");
    let never = in_context(&mut db.app(), A.id, A.owner, |tx| post(tx, &json!([movement]), None));
    assert_sqlstate(never, "23514");
    assert_books_are_right(&db);
}

#[test]
fn what_happened_after_a_count_is_kept_on_top() {
    let db = Database::new();
    // Counted ten hours ago: before the opening stock of the fixture was booked, however long the tests run, and these movements.
    ok(late(&db, SUPPLIER, STORE, 30, "20 hours"));
    move_now(&db, STORE, CUSTOMER, 10);
    ok(late(&db, STORE, CUSTOMER, 4, "5 hours"));
    assert_eq!(on_hand(&db, CUP, STORE), "66");
    // Expected then: 30; 33 were there; since then 50 - 10 - 4.
    ok(post_count(&db, count(&db, &[(CUP, "33")], "now() - interval '10 hours'")));
    assert_eq!(on_hand(&db, CUP, STORE), "69");
    ok(late(&db, STORE, CUSTOMER, 1, "5 hours"));
    ok(late(&db, STORE, CUSTOMER, 1, "15 hours"));
    assert_eq!(on_hand(&db, CUP, STORE), "68");
    // One of an earlier moment that is posted later corrects nothing.
    let earlier = count(&db, &[(CUP, "1"), (FLOUR, "90")], "now() - interval '15 hours'");
    assert_eq!(ok(post_count(&db, earlier))["corrections"], 1);
    assert_eq!((on_hand(&db, CUP, STORE), on_hand(&db, FLOUR, STORE)), ("68".into(), "190".into()));
    assert_books_are_right(&db);
}

#[test]
fn a_posted_count_stays_as_it_is() {
    let db = Database::new();
    let id = count(&db, &[(CUP, "40")], "NULL");
    assert_sqlstate(
        by_owner(&db, &format!("UPDATE shared.stock_counts SET status = 'posted' WHERE id = '{id}'")),
        "42501",
    );
    assert_sqlstate(
        db.superuser().execute("UPDATE shared.stock_counts SET status = 'posted' WHERE id = $1", &[&id]),
        "42501",
    );
    ok(post_count(&db, id));
    assert_sqlstate(post_count(&db, id), "55000");
    for sql in [
        format!("UPDATE shared.stock_counts SET status = 'counting' WHERE id = '{id}'"),
        format!("UPDATE shared.stock_counts SET counted_at = '2001-01-01' WHERE id = '{id}'"),
        format!("UPDATE shared.stock_count_lines SET counted_quantity = 1 WHERE stock_count_id = '{id}'"),
        format!("DELETE FROM shared.stock_count_lines WHERE stock_count_id = '{id}'"),
        format!(
            "INSERT INTO shared.stock_count_lines (stock_count_id, stock_item_id, counted_quantity) VALUES ('{id}', '{}', 1)",
            of(&A, FLOUR)
        ),
    ] {
        assert_sqlstate(by_owner(&db, &sql), "55000");
    }
    let forged = format!(
        "INSERT INTO shared.stock_movements (stock_item_id, from_location_id, to_location_id, quantity, reason, stock_count_id)
         VALUES ('{}', '{}', '{}', 1, 'count', '{id}')",
        of(&A, CUP), of(&A, STORE), of(&A, CUSTOMER)
    );
    assert_sqlstate(by_owner(&db, &forged), "42501");
    assert_sqlstate(import(&db, &forged), "42501");
    assert_books_are_right(&db);
}

#[test]
fn counts_are_posted_by_those_who_may_and_when_they_can() {
    let db = Database::new();
    for stranger in [of(&B, COUNT), Uuid::new_v4()] {
        assert_sqlstate(post_count(&db, stranger), "P0002");
    }
    assert_sqlstate(post_count(&db, of(&A, COUNT)), "55000");
    assert_sqlstate(post_count(&db, count(&db, &[], "now() + interval '1 day'")), "22023");
    for quantity in ["-1", "'NaN'"] {
        let sql = format!("UPDATE shared.stock_count_lines SET counted_quantity = {quantity}");
        assert_sqlstate(by_owner(&db, &sql), "23514");
    }
    let id = count(&db, &[(CUP, "40")], "NULL");
    let by_employee = || {
        let sql = "SELECT shared.post_stock_count($1, 'count-1')";
        in_context(&mut db.app(), A.id, A.employee, |tx| call(tx, sql, &[&id]))
    };
    permit_employee(&db, &[("stock", "move")]);
    assert_sqlstate(by_employee(), "42501");
    permit_employee(&db, &[("stock", "adjust")]);
    let first = ok(by_employee());
    assert_eq!(ok(by_employee()), first);
    assert_eq!(on_hand(&db, CUP, STORE), "40");
    // What is reserved is there: it has to be released first.
    let reserve = format!("SELECT shared.reserve_stock('{}', '{}', 30)", of(&A, CUP), of(&A, STORE));
    ok(by_owner(&db, &reserve));
    assert_sqlstate(post_count(&db, count(&db, &[(CUP, "29")], "NULL")), "23514");
    ok(post_count(&db, count(&db, &[(CUP, "30")], "NULL")));
    assert_books_are_right(&db);
}

/// A sale that waits for the count comes after it.
#[test]
fn a_sale_that_waits_for_a_count_is_not_lost() {
    let db = Database::new();
    let id = count(&db, &[(CUP, "40")], "NULL");
    let mut counting = db.app();
    ok(counting.batch_execute(&format!("BEGIN; {}", set_local(A.id, A.owner))));
    ok(call(&mut counting, "SELECT shared.post_stock_count($1)", &[&id]));
    std::thread::scope(|scope| {
        let sale = scope.spawn(|| move_now(&db, STORE, CUSTOMER, 3));
        thorbis_tests::until("the sale waits", || {
            let waiting = "SELECT count(*) > 0 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
            one(&mut db.superuser(), waiting, &[])
        });
        ok(counting.batch_execute("COMMIT"));
        sale.join().expect("the sale is made");
    });
    assert_eq!(on_hand(&db, CUP, STORE), "37");
    assert_books_are_right(&db);
}

#[test]
fn jobs_without_a_user_post_counts_and_whoever_posts_need_not_read() {
    let db = Database::new();
    for (quantity, role) in [("45", "RESET ROLE"), ("44", "SET ROLE thorbis_platform")] {
        let id = count(&db, &[(CUP, quantity)], "NULL");
        let mut job = db.superuser();
        ok(job.batch_execute(&format!("{role}; BEGIN; SET LOCAL app.current_tenant_id = '{}'", A.id)));
        assert_eq!(ok(call(&mut job, "SELECT shared.post_stock_count($1)", &[&id]))["corrections"], 1);
        ok(job.batch_execute("COMMIT"));
        assert_eq!(on_hand(&db, CUP, STORE), quantity);
    }
    let id = count(&db, &[(CUP, "43")], "NULL");
    permit_employee_without_reading(&db, &[("stock", "adjust")]);
    ok(in_context(&mut db.app(), A.id, A.employee, |tx| {
        assert_sees_nothing(tx, &["stock_balances", "stock_movements", "stock_counts", "stock_count_lines"]);
        call(tx, "SELECT shared.post_stock_count($1)", &[&id])
    }));
    assert_eq!(on_hand(&db, CUP, STORE), "43");
    assert_books_are_right(&db);
}
