//! Stock: balances follow movements, which the functions alone write, and nothing else changes them.

use serde_json::json;
use thorbis_tests::ledgers::{
    CORRECTIONS, CUP, CUSTOMER, FLOUR, STORE, SUPPLIER, VAN, assert_books_are_right, import, line, of, on_hand,
    permit_employee, post, rows,
};
use thorbis_tests::{A, B, Database, as_owner, assert_sqlstate, assert_sqlstate_in, in_context, ok, one, set_local};
use uuid::Uuid;

/// As A's owner, one transaction; the SQLSTATE where it fails.
fn try_post(db: &Database, lines: serde_json::Value) -> Result<serde_json::Value, postgres::Error> {
    in_context(&mut db.app(), A.id, A.owner, |tx| post(tx, &lines, None))
}

fn insert(item: u128, from: u128, to: u128, quantity: &str) -> String {
    format!(
        "INSERT INTO shared.stock_movements (stock_item_id, from_location_id, to_location_id, quantity, reason)
         VALUES ('{}', '{}', '{}', {quantity}, 'transfer')",
        of(&A, item),
        of(&A, from),
        of(&A, to)
    )
}

fn try_sql(db: &Database, sql: &str) -> Result<u64, postgres::Error> {
    in_context(&mut db.app(), A.id, A.owner, |tx| tx.execute(sql, &[]))
}

#[test]
fn balances_follow_on_both_sides() {
    let db = Database::new();
    ok(try_post(&db, json!([line(FLOUR, STORE, VAN, 12.5), line(FLOUR, VAN, CUSTOMER, "0.00001")])));
    assert_eq!(on_hand(&db, FLOUR, STORE), "87.5");
    assert_eq!(on_hand(&db, FLOUR, VAN), "12.49999", "quantities are exact");
    ok(try_post(&db, json!([line(FLOUR, VAN, STORE, "2.49999")])));
    assert_eq!((on_hand(&db, FLOUR, STORE), on_hand(&db, FLOUR, VAN)), ("89.99999".into(), "10".into()));
    assert_eq!(on_hand(&db, FLOUR, CUSTOMER), "0", "what is outside has no balance");
    assert_books_are_right(&db);
}

#[test]
fn no_more_leaves_than_there_is() {
    let db = Database::new();
    for result in [
        try_post(&db, json!([line(CUP, STORE, CUSTOMER, "50.00001")])).map(|_| 0),
        try_post(&db, json!([line(CUP, STORE, CUSTOMER, 30), line(CUP, STORE, CUSTOMER, 21)])).map(|_| 0),
        try_post(&db, json!([line(CUP, VAN, CUSTOMER, 1)])).map(|_| 0),
        import(&db, &insert(CUP, STORE, CUSTOMER, "51")),
    ] {
        let error = assert_sqlstate(result, "23514");
        assert!(error.message().contains("not enough stock"), "{}", error.message());
        assert!(!error.message().contains("50") && error.detail().is_none(), "no balance is told");
    }
    assert_eq!(on_hand(&db, CUP, STORE), "50", "all lines or none");
    ok(try_post(&db, json!([line(CUP, STORE, CUSTOMER, 50)])));
    assert_eq!(on_hand(&db, CUP, STORE), "0");
    assert_books_are_right(&db);
}

#[test]
fn quantities_and_places_that_make_no_sense_are_refused() {
    let db = Database::new();
    let movements = rows(&db, "shared.stock_movements");
    for quantity in ["0", "-1", "'NaN'", "0.000001", "'Infinity'", "'-Infinity'", "1e30"] {
        assert_sqlstate_in(import(&db, &insert(FLOUR, SUPPLIER, STORE, quantity)), &["22023", "22003"]);
        let by_function = try_post(&db, json!([line(FLOUR, SUPPLIER, STORE, quantity.trim_matches('\''))]));
        assert_sqlstate_in(by_function, &["22023", "22003"]);
    }
    assert_sqlstate(try_post(&db, json!([line(FLOUR, STORE, STORE, 1)])), "22023");
    assert_sqlstate(try_post(&db, json!([line(FLOUR, STORE, CUSTOMER, json!(null))])), "23502");
    // Beyond what the column holds.
    ok(try_post(&db, json!([line(FLOUR, SUPPLIER, STORE, 999999800)])));
    assert_sqlstate(try_post(&db, json!([line(FLOUR, SUPPLIER, STORE, 999999800)])), "22003");
    let mut future = line(FLOUR, STORE, CUSTOMER, 1);
    future["occurred_at"] = json!("2999-01-01T00:00:00Z");
    assert_sqlstate(try_post(&db, json!([future])), "22023");
    let mut unknown_key = line(FLOUR, STORE, CUSTOMER, 1);
    unknown_key["quantty"] = json!(1);
    for lines in [json!({}), json!([]), json!([1]), json!(null), json!([unknown_key]), json!([{"quantity": 1}])] {
        assert_sqlstate_in(try_post(&db, lines), &["22023"]);
    }
    assert_eq!(rows(&db, "shared.stock_movements"), movements + 1);
    assert_books_are_right(&db);
}

#[test]
fn computed_columns_are_nobodys_to_write() {
    let db = Database::new();
    // Not even by a superuser who imports, but for who moved it.
    let sql = format!(
        "INSERT INTO shared.stock_movements (stock_item_id, from_location_id, to_location_id, quantity, reason,
             from_balance_after, to_balance_after, recorded_at, created_by)
         VALUES ('{}', '{}', '{}', 1, 'sale', 1000, 1000, '2001-01-01', '{}')",
        of(&A, FLOUR),
        of(&A, STORE),
        of(&A, CUSTOMER),
        A.employee
    );
    ok(import(&db, &sql));
    let kept: bool = one(
        &mut db.superuser(),
        "SELECT from_balance_after = 99 AND to_balance_after IS NULL AND recorded_at > '2002-01-01' AND created_by = $2
           FROM shared.stock_movements WHERE tenant_id = $1 AND reason = 'sale'",
        &[&A.id, &A.employee],
    );
    assert!(kept);
    for sql in [
        "UPDATE shared.stock_balances SET on_hand = 1000",
        "INSERT INTO shared.stock_balances (stock_item_id, stock_location_id, on_hand) SELECT stock_item_id, stock_location_id, 9 FROM shared.stock_balances",
        "DELETE FROM shared.stock_balances",
        &insert(FLOUR, SUPPLIER, STORE, "1"),
        "UPDATE shared.stock_movements SET quantity = 1",
        "DELETE FROM shared.stock_movements",
        "TRUNCATE shared.stock_movements",
        "UPDATE shared.stock_reservations SET status = 'open', closed_at = NULL",
        "UPDATE shared.stock_locations SET kind = 'customer'",
        "INSERT INTO shared.ledger_requests (idempotency_key, request_hash) VALUES ('x', '')",
    ] {
        assert_sqlstate(try_sql(&db, sql), "42501");
    }
    // Nor by whoever operates all tenants.
    let mut platform = db.superuser();
    ok(platform.batch_execute("SET ROLE thorbis_platform"));
    assert_sqlstate(platform.batch_execute("UPDATE shared.stock_balances SET on_hand = 1000"), "42501");
    assert_sqlstate(platform.batch_execute("UPDATE shared.stock_movements SET quantity = 1"), "42501");
    assert_sqlstate(platform.batch_execute(&insert(FLOUR, SUPPLIER, STORE, "1")), "42501");
    assert_books_are_right(&db);
}

/// A trigger of somebody else that leaves a row out, after its balance was changed, undoes the request.
#[test]
fn rows_that_are_left_out_change_no_balance() {
    let db = Database::new();
    ok(db.superuser().batch_execute(
        "CREATE FUNCTION public.leave_out() RETURNS trigger LANGUAGE plpgsql AS $f$ BEGIN RETURN NULL; END $f$;
         CREATE TRIGGER z_leave_out BEFORE INSERT ON shared.stock_movements FOR EACH ROW
         WHEN (NEW.quantity = 7) EXECUTE FUNCTION public.leave_out()",
    ));
    for lines in [json!([line(FLOUR, STORE, VAN, 7)]), json!([line(FLOUR, STORE, VAN, 1), line(FLOUR, STORE, VAN, 7)])]
    {
        assert_sqlstate(try_post(&db, lines), "0A000");
    }
    assert_eq!((on_hand(&db, FLOUR, STORE), on_hand(&db, FLOUR, VAN)), ("100".into(), "0".into()));
    ok(try_post(&db, json!([line(FLOUR, STORE, VAN, 6)])));
    assert_books_are_right(&db);
}

/// A trigger of a DBA that moves more stock for each movement, as for the parts of a set.
#[test]
fn movements_may_cause_movements() {
    let db = Database::new();
    let follow = insert(FLOUR, STORE, CUSTOMER, "NEW.quantity");
    ok(db.superuser().batch_execute(&format!(
        "CREATE FUNCTION public.follow() RETURNS trigger LANGUAGE plpgsql AS $f$ BEGIN {follow}; RETURN NULL; END $f$;
         CREATE TRIGGER z_follow AFTER INSERT ON shared.stock_movements FOR EACH ROW
         WHEN (NEW.stock_item_id = '{}') EXECUTE FUNCTION public.follow()",
        of(&A, CUP)
    )));
    ok(try_post(&db, json!([line(CUP, STORE, CUSTOMER, 3), line(CUP, STORE, CUSTOMER, 4)])));
    ok(import(&db, &insert(CUP, STORE, CUSTOMER, "1")));
    assert_eq!((on_hand(&db, CUP, STORE), on_hand(&db, FLOUR, STORE)), ("42".into(), "92".into()));
    assert_books_are_right(&db);
}

#[test]
fn things_of_the_other_tenant_are_unknown() {
    let db = Database::new();
    let missing = Uuid::new_v4();
    let mut messages = Vec::new();
    for stranger in [of(&B, FLOUR), missing] {
        let mut by_item = line(FLOUR, STORE, CUSTOMER, 1);
        by_item["stock_item_id"] = json!(stranger.to_string());
        messages.push(assert_sqlstate(try_post(&db, json!([by_item])), "P0002").message().to_owned());
    }
    for stranger in [of(&B, STORE), missing] {
        for column in ["from_location_id", "to_location_id"] {
            let mut by_place = line(FLOUR, STORE, VAN, 1);
            by_place[column] = json!(stranger.to_string());
            let message = assert_sqlstate(try_post(&db, json!([by_place])), "P0002").message().to_owned();
            messages.push(message);
        }
    }
    assert_eq!(messages[0], messages[1]);
    assert!(messages[2..].iter().all(|message| *message == messages[2]), "{messages:?}");
    assert_books_are_right(&db);
}

#[test]
fn who_moves_need_not_read() {
    let db = Database::new();
    let mut app = db.app();
    let sale = json!([line(FLOUR, STORE, CUSTOMER, 1), line(CUP, STORE, CUSTOMER, 1)]);
    let mut as_employee =
        |lines: &serde_json::Value| in_context(&mut app, A.id, A.employee, |tx| post(tx, lines, None));
    assert_sqlstate(as_employee(&sale), "42501");
    permit_employee(&db, &[("stock", "move")]);
    ok(as_employee(&sale));
    let correction = json!([line(FLOUR, STORE, CORRECTIONS, 1)]);
    assert_sqlstate(as_employee(&correction), "42501");
    permit_employee(&db, &[("stock", "adjust")]);
    ok(as_employee(&correction));
    assert_eq!(on_hand(&db, FLOUR, STORE), "98");
    let seen = ok(in_context(&mut app, A.id, A.employee, |tx| tx.query("SELECT 1 FROM shared.stock_balances", &[])));
    assert!(seen.is_empty(), "the employee cannot read what was changed");
    assert_books_are_right(&db);
}

/// Rows inserted in any order would lock their balances in that order, and sessions would wait for one another in a circle.
#[test]
fn movements_are_written_by_the_functions_alone() {
    let db = Database::new();
    permit_employee(&db, &[("stock", "create"), ("stock", "move"), ("stock", "adjust")]);
    for user in [A.owner, A.employee] {
        let written = in_context(&mut db.app(), A.id, user, |tx| tx.execute(&insert(FLOUR, STORE, CUSTOMER, "1"), &[]));
        assert_sqlstate(written, "42501");
    }
    assert_eq!(on_hand(&db, FLOUR, STORE), "100");
}

#[test]
fn jobs_without_a_user_move_stock() {
    let db = Database::new();
    let mut job = db.superuser();
    for role in ["RESET ROLE", "SET ROLE thorbis_platform"] {
        ok(job.batch_execute(&format!("{role}; BEGIN; SET LOCAL app.current_tenant_id = '{}'", A.id)));
        ok(post(&mut job, &json!([line(FLOUR, STORE, CORRECTIONS, 1), line(FLOUR, STORE, VAN, 1)]), None));
        ok(post(&mut job, &json!([line(FLOUR, VAN, CUSTOMER, 1)]), None));
        ok(job.batch_execute("COMMIT"));
    }
    assert_eq!(on_hand(&db, FLOUR, STORE), "96");
    let nobody = post(&mut db.app(), &json!([line(FLOUR, STORE, VAN, 1)]), None);
    assert_sqlstate(nobody, "28000");
    assert_books_are_right(&db);
}

#[test]
fn what_is_rolled_back_leaves_nothing() {
    let db = Database::new();
    as_owner(&db, &A, |tx| {
        post(tx, &json!([line(FLOUR, STORE, VAN, 10)]), None)?;
        let mut savepoint = tx.savepoint("s")?;
        post(&mut savepoint, &json!([line(FLOUR, STORE, VAN, 20)]), Some("key"))?;
        savepoint.rollback()?;
        let mut failing = tx.savepoint("t")?;
        assert_sqlstate(post(&mut failing, &json!([line(FLOUR, STORE, VAN, 91)]), Some("key")), "23514");
        failing.rollback()?;
        // The key is free: nothing was done with it.
        post(tx, &json!([line(FLOUR, STORE, VAN, 30)]), Some("key"))
    });
    assert_eq!((on_hand(&db, FLOUR, STORE), on_hand(&db, FLOUR, VAN)), ("60".into(), "40".into()));
    assert_books_are_right(&db);
}

/// Two transactions that saw the same stock: the second one fails to serialise, or is refused, and never sells twice.
#[test]
fn lost_races_of_repeatable_read_end_in_an_error() {
    let db = Database::new();
    let (mut first, mut second) = (db.app(), db.app());
    for session in [&mut first, &mut second] {
        ok(session.batch_execute(&format!("BEGIN ISOLATION LEVEL REPEATABLE READ; {}", set_local(A.id, A.owner))));
        ok(session.query("SELECT count(*) FROM shared.stock_balances", &[]));
    }
    let sale = json!([line(CUP, STORE, CUSTOMER, 30)]);
    ok(post(&mut first, &sale, None));
    ok(first.batch_execute("COMMIT"));
    assert_sqlstate(post(&mut second, &sale, None), "40001");
    ok(second.batch_execute("ROLLBACK"));
    // A balance that the snapshot does not know.
    ok(second.batch_execute(&format!("BEGIN ISOLATION LEVEL REPEATABLE READ; {}", set_local(A.id, A.owner))));
    ok(second.query("SELECT count(*) FROM shared.stock_balances", &[]));
    ok(try_post(&db, json!([line(CUP, STORE, VAN, 5)])));
    assert_sqlstate(post(&mut second, &json!([line(CUP, VAN, CUSTOMER, 5)]), None), "40001");
    assert_eq!((on_hand(&db, CUP, STORE), on_hand(&db, CUP, VAN)), ("15".into(), "5".into()));
    assert_books_are_right(&db);
}

#[test]
fn a_request_with_a_key_is_done_once() {
    let db = Database::new();
    let mut app = db.app();
    let sale = json!([line(CUP, STORE, CUSTOMER, 20)]);
    let mut with_key = |tenant: &thorbis_tests::Tenant, lines: &serde_json::Value, key: &str| {
        in_context(&mut app, tenant.id, tenant.owner, |tx| post(tx, lines, Some(key)))
    };
    let first = ok(with_key(&A, &sale, "sale-1"));
    assert_eq!(ok(with_key(&A, &sale, "sale-1")), first, "the same answer");
    assert_eq!(on_hand(&db, CUP, STORE), "30", "no second effect");
    let error = assert_sqlstate(with_key(&A, &json!([line(CUP, STORE, CUSTOMER, 2)]), "sale-1"), "22023");
    assert!(!error.message().contains("sale-1"));
    assert_sqlstate(with_key(&A, &sale, ""), "23514");
    // A key of the other tenant is another key.
    assert_sqlstate(with_key(&B, &sale, "sale-1"), "P0002");
    assert_eq!(ok(with_key(&A, &sale, "sale-2"))["movement_ids"].as_array().map(Vec::len), Some(1));
    assert_eq!(on_hand(&db, CUP, STORE), "10");
    // A request without the permission gets no answer either.
    let stolen = in_context(&mut db.app(), A.id, A.employee, |tx| post(tx, &sale, Some("sale-1")));
    assert_sqlstate(stolen, "42501");
    assert_books_are_right(&db);
}
