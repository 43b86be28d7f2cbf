//! Points: whole, in lots that expire, spent oldest first, never below zero, and taken back as far as they are there.

use postgres::Error;
use serde_json::Value;
use std::sync::atomic::{AtomicI64, Ordering};
use thorbis_tests::ledgers::{
    ACCOUNT, EARNED, PROGRAM, SPENT, assert_books_are_right, assert_sees_nothing, call, id, import, of,
    permit_employee, permit_employee_without_reading, rows,
};
use thorbis_tests::{
    A, B, Database, assert_sqlstate, assert_sqlstate_in, describe, in_context, ok, one, set_local, sqlstate,
};
use uuid::Uuid;

fn by_owner(db: &Database, sql: &str) -> Result<Value, Error> {
    in_context(&mut db.app(), A.id, A.owner, |tx| call(tx, sql, &[]))
}

fn earn(db: &Database, points: i64) -> Uuid {
    id(&ok(by_owner(db, &format!("SELECT shared.earn_points('{}', {points})", of(&A, ACCOUNT)))), "entry_id")
}

fn spend(db: &Database, points: i64) -> Result<Value, Error> {
    by_owner(db, &format!("SELECT shared.spend_points('{}', {points})", of(&A, ACCOUNT)))
}

fn reverse(db: &Database, entry: Uuid, points: &str) -> Result<Value, Error> {
    by_owner(db, &format!("SELECT shared.reverse_points('{entry}', {points})"))
}

fn points(db: &Database) -> i64 {
    let sql = "SELECT points_balance FROM shared.loyalty_accounts WHERE tenant_id = $1";
    one(&mut db.superuser(), sql, &[&A.id])
}

/// What is left of each lot of A, the oldest first.
fn lots(db: &Database) -> Vec<i64> {
    let sql = "SELECT points_remaining FROM shared.loyalty_lots WHERE tenant_id = $1 ORDER BY earned_at, id";
    ok(db.superuser().query(sql, &[&A.id])).iter().map(|row| row.get(0)).collect()
}

fn let_expire(db: &Database, entry: Uuid) {
    let sql = "UPDATE shared.loyalty_lots SET expires_at = '2001-01-01' WHERE loyalty_entry_id = $1 AND tenant_id = $2";
    assert_eq!(ok(db.superuser().execute(sql, &[&entry, &A.id])), 1);
}

fn maintain(db: &Database) -> i64 {
    let sql = "SELECT coalesce(sum(count), 0)::bigint FROM thorbis.maintain() WHERE task = 'points'";
    one(&mut db.superuser(), sql, &[])
}

#[test]
fn points_are_spent_oldest_first() {
    let db = Database::new();
    assert_eq!((points(&db), lots(&db)), (70, vec![70]), "the fixture");
    earn(&db, 50);
    earn(&db, 20);
    ok(spend(&db, 100));
    assert_eq!((points(&db), lots(&db)), (40, vec![0, 20, 20]));
    assert_sqlstate(spend(&db, 41), "23514");
    assert_eq!(ok(spend(&db, 40))["points_balance"], 0);
    assert_sqlstate(spend(&db, 1), "23514");
    let expires: bool = one(
        &mut db.superuser(),
        "SELECT bool_and(expires_at > now() + interval '360 days') FROM shared.loyalty_lots",
        &[],
    );
    assert!(expires, "as the program says");
    assert_books_are_right(&db);
}

#[test]
fn numbers_that_make_no_sense_are_refused() {
    let db = Database::new();
    for number in ["0", "-5", "-9223372036854775808", "9223372036854775807"] {
        let result = by_owner(&db, &format!("SELECT shared.spend_points('{}', {number})", of(&A, ACCOUNT)));
        assert_sqlstate_in(result, &["22023", "23514", "22003"]);
    }
    for number in ["0", "-5", "9223372036854775807"] {
        let result = by_owner(&db, &format!("SELECT shared.earn_points('{}', {number})", of(&A, ACCOUNT)));
        assert_sqlstate_in(result, &["22023", "22003"]);
    }
    for number in ["0", "-71", "-9223372036854775808", "9223372036854775807"] {
        let result = by_owner(&db, &format!("SELECT shared.adjust_points('{}', {number}, 'x')", of(&A, ACCOUNT)));
        assert_sqlstate_in(result, &["22023", "22003", "23514"]);
    }
    assert_eq!(points(&db), 70);
    assert_books_are_right(&db);
}

#[test]
fn expired_points_cannot_be_spent_and_are_taken_off_once() {
    let db = Database::new();
    let second = earn(&db, 50);
    let_expire(&db, of(&A, EARNED));
    assert_sqlstate(spend(&db, 51), "23514");
    ok(spend(&db, 10));
    assert_eq!((points(&db), lots(&db)), (110, vec![70, 40]), "the expired lot is passed over");
    assert_eq!(maintain(&db), 1);
    assert_eq!(maintain(&db), 0, "once");
    assert_eq!((points(&db), lots(&db)), (40, vec![0, 40]));
    // Two jobs at once.
    let_expire(&db, second);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| maintain(&db));
        }
    });
    let expiries: i64 =
        one(&mut db.superuser(), "SELECT count(*) FROM shared.loyalty_entries WHERE type = 'EXPIRE'", &[]);
    assert_eq!((points(&db), expiries), (0, 2));
    assert_books_are_right(&db);
}

#[test]
fn what_was_earned_is_taken_back_as_far_as_it_is_there() {
    let db = Database::new();
    let earned = earn(&db, 50);
    let answer = ok(reverse(&db, earned, "30"));
    assert_eq!((answer["points_balance"].as_i64(), answer["shortfall"].as_i64()), (Some(90), Some(0)));
    assert_eq!(lots(&db), [70, 20], "from the lot it made");
    ok(spend(&db, 85));
    assert_eq!(lots(&db), [0, 5]);
    let answer = ok(reverse(&db, earned, "NULL"));
    assert_eq!((answer["points_balance"].as_i64(), answer["shortfall"].as_i64()), (Some(0), Some(15)));
    assert_sqlstate(reverse(&db, earned, "1"), "23514");
    assert_sqlstate(reverse(&db, earned, "NULL"), "23514");
    // What has expired is gone already: it is not taken from other points.
    let old = earn(&db, 40);
    let_expire(&db, old);
    maintain(&db);
    earn(&db, 10);
    let answer = ok(reverse(&db, old, "NULL"));
    assert_eq!((answer["points_balance"].as_i64(), answer["shortfall"].as_i64()), (Some(10), Some(40)));
    assert_books_are_right(&db);
}

#[test]
fn what_was_spent_comes_back_once() {
    let db = Database::new();
    assert_eq!(ok(reverse(&db, of(&A, SPENT), "10"))["points_balance"], 80);
    assert_sqlstate(reverse(&db, of(&A, SPENT), "21"), "23514");
    assert_sqlstate(reverse(&db, of(&A, SPENT), "-1"), "23514");
    assert_eq!(ok(reverse(&db, of(&A, SPENT), "NULL"))["points_balance"], 100);
    assert_sqlstate(reverse(&db, of(&A, SPENT), "NULL"), "23514");
    assert_books_are_right(&db);
}

#[test]
fn entries_are_written_by_the_functions_alone() {
    let db = Database::new();
    let insert = |columns: &str, values: &str| {
        format!(
            "INSERT INTO shared.loyalty_entries (loyalty_account_id, balance_after, {columns})
             VALUES ('{}', 9999, {values})",
            of(&A, ACCOUNT)
        )
    };
    for sql in [
        insert("type, points", "'ACCUMULATE', 5").as_str(),
        "UPDATE shared.loyalty_accounts SET points_balance = 1000",
        "INSERT INTO shared.loyalty_accounts (loyalty_program_id, customer_id, points_balance) SELECT loyalty_program_id, customer_id, 9 FROM shared.loyalty_accounts",
        "UPDATE shared.loyalty_lots SET points_remaining = points, expires_at = NULL",
        "DELETE FROM shared.loyalty_lot_uses",
        "UPDATE shared.loyalty_entries SET points = 1",
        "DELETE FROM shared.loyalty_entries",
        "TRUNCATE shared.loyalty_entries CASCADE",
    ] {
        assert_sqlstate(in_context(&mut db.app(), A.id, A.owner, |tx| tx.execute(sql, &[])), "42501");
        let mut platform = db.superuser();
        ok(platform.batch_execute("SET ROLE thorbis_platform"));
        assert_sqlstate(platform.execute(sql, &[]), "42501");
    }
    // A superuser who imports meets the triggers.
    let entry = of(&A, EARNED);
    for (columns, values, expected) in [
        ("type, points", "'REDEEM', -71".to_owned(), "23514"),
        ("type, points", "'REDEEM', 5".into(), "23514"),
        ("type, points", "'ACCUMULATE', -5".into(), "23514"),
        ("type, points", "'ACCUMULATE', 0".into(), "23514"),
        ("type, points", "'EXPIRE', -5".into(), "42501"),
        ("type, points, reversed_entry_id", format!("'REVERSE_REDEEM', 5, '{entry}'"), "42501"),
        ("type, points, shortfall", "'REDEEM', -5, 5".into(), "23514"),
        ("type, points", "'WISH', 5".into(), "42501"),
        ("type, points", "'ACCUMULATE', NULL".into(), "23502"),
    ] {
        assert_sqlstate(import(&db, &insert(columns, &values)), expected);
    }
    ok(import(&db, &insert("type, points", "'REDEEM', -60")));
    ok(import(&db, &insert("type, points", "'ACCUMULATE', 5")));
    assert_eq!((points(&db), lots(&db)), (15, vec![10, 5]));
    assert_books_are_right(&db);
}

#[test]
fn jobs_without_a_user_move_points_and_whoever_moves_them_need_not_read() {
    let db = Database::new();
    let spend = format!("SELECT shared.spend_points('{}', 5)", of(&A, ACCOUNT));
    let earn = format!("SELECT shared.earn_points('{}', 20)", of(&A, ACCOUNT));
    let open = format!("SELECT shared.open_loyalty_account('{}', '{}')", A.customer, of(&A, PROGRAM));
    for role in ["RESET ROLE", "SET ROLE thorbis_platform"] {
        let mut job = db.superuser();
        ok(job.batch_execute(&format!("{role}; BEGIN; SET LOCAL app.current_tenant_id = '{}'", A.id)));
        assert_eq!(id(&ok(call(&mut job, &open, &[])), "loyalty_account_id"), of(&A, ACCOUNT));
        let earned = id(&ok(call(&mut job, &earn, &[])), "entry_id");
        ok(call(&mut job, &spend, &[]));
        ok(call(&mut job, "SELECT shared.reverse_points($1, 10)", &[&earned]));
        ok(job.batch_execute("COMMIT"));
    }
    assert_eq!(points(&db), 80);
    permit_employee_without_reading(&db, &[("loyalty", "redeem"), ("loyalty", "create")]);
    ok(in_context(&mut db.app(), A.id, A.employee, |tx| {
        assert_sees_nothing(tx, &["loyalty_accounts", "loyalty_entries", "loyalty_lots", "loyalty_programs"]);
        call(tx, &earn, &[])?;
        call(tx, &spend, &[])
    }));
    assert_eq!(points(&db), 95);
    assert_books_are_right(&db);
}

#[test]
fn accounts_of_the_other_tenant_are_unknown_and_permissions_count() {
    let db = Database::new();
    for account in [of(&B, ACCOUNT), Uuid::new_v4()] {
        assert_sqlstate(by_owner(&db, &format!("SELECT shared.spend_points('{account}', 1)")), "P0002");
        assert_sqlstate(by_owner(&db, &format!("SELECT shared.earn_points('{account}', 1)")), "P0002");
    }
    assert_sqlstate(reverse(&db, of(&B, EARNED), "1"), "P0002");
    let open = |customer: Uuid, program: Uuid| {
        by_owner(&db, &format!("SELECT shared.open_loyalty_account('{customer}', '{program}')"))
    };
    assert_sqlstate(open(B.customer, of(&A, PROGRAM)), "P0002");
    assert_sqlstate(open(A.customer, of(&B, PROGRAM)), "P0002");
    assert_eq!(id(&ok(open(A.customer, of(&A, PROGRAM))), "loyalty_account_id"), of(&A, ACCOUNT), "opened once");
    ok(open(A.restricted_customer, of(&A, PROGRAM)));
    assert_eq!(rows(&db, "shared.loyalty_accounts"), 3);

    let spend = format!("SELECT shared.spend_points('{}', 1)", of(&A, ACCOUNT));
    let earn = format!("SELECT shared.earn_points('{}', 1)", of(&A, ACCOUNT));
    let by_employee = |sql: &str| in_context(&mut db.app(), A.id, A.employee, |tx| call(tx, sql, &[]));
    assert_sqlstate(by_employee(&spend), "42501");
    permit_employee(&db, &[("loyalty", "redeem")]);
    ok(by_employee(&spend));
    assert_sqlstate(by_employee(&earn), "42501");
    permit_employee(&db, &[("loyalty", "create")]);
    ok(by_employee(&earn));
    assert_books_are_right(&db);
}

#[test]
fn a_request_with_a_key_is_done_once() {
    let db = Database::new();
    let spend = |n: i32| by_owner(&db, &format!("SELECT shared.spend_points('{}', {n}, 'spend-1')", of(&A, ACCOUNT)));
    let first = ok(spend(10));
    assert_eq!(ok(spend(10)), first);
    assert_sqlstate(spend(11), "22023");
    assert_eq!(points(&db), 60);
}

#[test]
fn lost_races_of_repeatable_read_end_in_an_error() {
    let db = Database::new();
    let mut late = db.app();
    ok(late.batch_execute(&format!("BEGIN ISOLATION LEVEL REPEATABLE READ; {}", set_local(A.id, A.owner))));
    ok(late.query("SELECT 1 FROM shared.loyalty_accounts", &[]));
    ok(spend(&db, 60));
    let second = call(&mut late, "SELECT shared.spend_points($1, 60)", &[&of(&A, ACCOUNT)]);
    assert_sqlstate(second, "40001");
    assert_books_are_right(&db);
}

#[test]
fn no_points_are_spent_twice_under_load() {
    let db = Database::new();
    for _ in 0..13 {
        earn(&db, 10);
    }
    let spent = AtomicI64::new(0);
    std::thread::scope(|scope| {
        for session in 0..16_i64 {
            let (db, spent) = (&db, &spent);
            scope.spawn(move || {
                let mut app = db.app();
                for n in 0..10 {
                    let points = 1 + (session + n) % 5;
                    let roll_back = (session * 7 + n) % 3 == 0;
                    let result = in_context(&mut app, A.id, A.owner, |tx| {
                        call(tx, "SELECT shared.spend_points($1, $2)", &[&of(&A, ACCOUNT), &points])?;
                        if roll_back { tx.batch_execute("ROLLBACK; BEGIN") } else { Ok(()) }
                    });
                    match result {
                        Ok(()) if !roll_back => drop(spent.fetch_add(points, Ordering::Relaxed)),
                        Ok(()) => {}
                        Err(e) => assert_eq!(sqlstate(&e), "23514", "{}", describe(&e)),
                    }
                }
            });
        }
    });
    assert_eq!(spent.into_inner() + points(&db), 200);
    assert_eq!(lots(&db).iter().sum::<i64>(), points(&db));
    assert_books_are_right(&db);
}
