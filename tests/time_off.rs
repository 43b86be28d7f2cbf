//! No booking crosses time off, whichever of the two comes first.

use postgres::{Client, Error};
use thorbis_tests::billing::user_with;
use thorbis_tests::{A, B, Database, assert_sqlstate, in_context, ok, one};
use uuid::Uuid;

fn emil() -> Uuid {
    Uuid::from_u128(A.id.as_u128() - 1 + 0xe1)
}

fn statement(table: &str, times: &str) -> String {
    let (from, to) = times.split_once('-').expect("from-to");
    let to = if to.is_empty() { String::new() } else { format!("2026-05-04 {to}+00") };
    format!(
        "INSERT INTO shared.{table} (bookable_resource_id, during) VALUES ('{}', '[2026-05-04 {from}+00,{to})')",
        emil()
    )
}

fn by_owner(app: &mut Client, sql: &str) -> Result<(), Error> {
    in_context(app, A.id, A.owner, |tx| tx.batch_execute(sql))
}

#[track_caller]
fn assert_refused(result: Result<(), Error>, message: &str) {
    let error = assert_sqlstate(result, "23P01");
    assert_eq!((error.message(), error.detail()), (message, None));
}

const OFF: &str = "the resource has time off then";
const BOOKED: &str = "the resource has bookings in that time";

#[test]
fn bookings_do_not_cross_time_off() {
    let db = Database::new();
    let mut app = db.app();
    ok(by_owner(&mut app, &statement("time_off", "12:00-13:00")));
    for crossing in ["12:30-14:00", "11:00-12:01", "12:00-13:00", "11:00-14:00"] {
        assert_refused(by_owner(&mut app, &statement("bookings", crossing)), OFF);
    }
    ok(by_owner(&mut app, &statement("bookings", "11:00-12:00")));
    ok(by_owner(&mut app, &statement("bookings", "13:00-14:00")));
    let travel = "UPDATE shared.bookings SET travel_before = '1 minute' WHERE lower(during) = '2026-05-04 13:00+00'";
    assert_refused(by_owner(&mut app, travel), OFF);
    ok(by_owner(
        &mut app,
        "UPDATE shared.bookings SET status = 'cancelled' WHERE lower(during) = '2026-05-04 13:00+00'",
    ));
    ok(by_owner(
        &mut app,
        "UPDATE shared.time_off SET during = '[2026-05-04 13:00+00,2026-05-04 14:00+00)'
                            WHERE lower(during) = '2026-05-04 12:00+00'",
    ));
    let reopen = "UPDATE shared.bookings SET status = 'confirmed' WHERE lower(during) = '2026-05-04 13:00+00'";
    assert_refused(by_owner(&mut app, reopen), OFF);
}

#[test]
fn time_off_does_not_cross_bookings() {
    let db = Database::new();
    let mut app = db.app();
    ok(by_owner(&mut app, &statement("bookings", "12:00-13:00")));
    ok(by_owner(
        &mut app,
        "UPDATE shared.bookings SET travel_before = '30 minutes' WHERE lower(during) > '2026-01-01'",
    ));
    for crossing in ["12:30-14:00", "11:00-11:31", "08:00-", "11:00-14:00"] {
        assert_refused(by_owner(&mut app, &statement("time_off", crossing)), BOOKED);
    }
    ok(by_owner(&mut app, &statement("time_off", "13:00-")));
    ok(by_owner(&mut app, &statement("time_off", "11:00-11:30")));
    let extend = "UPDATE shared.time_off SET during = tstzrange(lower(during), upper(during) + interval '1 minute')
                   WHERE lower(during) = '2026-05-04 11:00+00'";
    assert_refused(by_owner(&mut app, extend), BOOKED);
    // What is not live is in nobody's way.
    ok(by_owner(&mut app, "UPDATE shared.bookings SET status = 'cancelled' WHERE lower(during) > '2026-01-01'"));
    ok(by_owner(&mut app, extend));
    assert_refused(by_owner(&mut app, &statement("bookings", "14:00-15:00")), OFF);
}

#[test]
fn both_in_one_statement_are_refused() {
    let db = Database::new();
    let mut app = db.app();
    for (first, second) in [("bookings", "time_off"), ("time_off", "bookings")] {
        let sql =
            format!("WITH x AS ({} RETURNING 1) {}", statement(first, "12:00-13:00"), statement(second, "12:30-14:00"));
        assert_sqlstate(by_owner(&mut app, &sql), "23P01");
    }
}

#[test]
fn ranges_begin_at_a_time() {
    let db = Database::new();
    let (mut app, bay) = (db.app(), Uuid::from_u128(A.id.as_u128() - 1 + 0xe2));
    for range in
        ["(,2026-05-04)", "empty", "(2026-05-04,2026-05-05)", "[2026-05-04,2026-05-05]", "[-infinity,2026-05-05)"]
    {
        let sql = format!("INSERT INTO shared.time_off (bookable_resource_id, during) VALUES ('{bay}', '{range}')");
        let error = assert_sqlstate(by_owner(&mut app, &sql), "23514");
        assert_eq!(error.constraint(), Some("time_off_during_check"), "{range}");
    }
}

/// Time off of the other tenant's resource of the same id is none of ours.
#[test]
fn time_off_of_another_tenant_is_in_nobodys_way() {
    let db = Database::new();
    let mut superuser = db.superuser();
    ok(superuser.execute(
        "INSERT INTO shared.bookable_resources (tenant_id, id, kind, name) VALUES ($1, $2, 'technician', 'Other')",
        &[&B.id, &emil()],
    ));
    ok(superuser.execute(
        "INSERT INTO shared.time_off (tenant_id, bookable_resource_id, during) VALUES ($1, $2, '[2026-01-01,)')",
        &[&B.id, &emil()],
    ));
    ok(by_owner(&mut db.app(), &statement("bookings", "12:00-13:00")));
}

/// Of a booking and time off that are written at once one sees the other: never both.
#[test]
fn a_race_of_both_has_one_winner() {
    let db = Database::new();
    for round in 0..20 {
        let day = |sql: String| sql.replace("2026-05-04", &format!("2026-07-{:02}", round + 1));
        let statements = ["bookings", "time_off"].map(|table| day(statement(table, "12:00-13:00")));
        let barrier = std::sync::Barrier::new(8);
        std::thread::scope(|scope| {
            for i in 0..8 {
                let (statement, barrier, db) = (&statements[i % 2], &barrier, &db);
                scope.spawn(move || {
                    let mut app = db.app();
                    barrier.wait();
                    if let Err(e) = by_owner(&mut app, statement) {
                        assert_eq!(thorbis_tests::sqlstate(&e), "23P01", "{}", thorbis_tests::describe(&e));
                    }
                });
            }
        });
    }
    let mut superuser = db.superuser();
    let crossing =
        "SELECT count(*) FROM shared.bookings b JOIN shared.time_off t USING (tenant_id, bookable_resource_id)
                     WHERE b.is_live AND b.occupied && t.during";
    assert_eq!(one::<i64>(&mut superuser, crossing, &[]), 0);
    let days = "SELECT count(DISTINCT d) FROM (SELECT lower(during)::date d FROM shared.bookings UNION ALL
                SELECT lower(during)::date FROM shared.time_off) x WHERE d >= '2026-07-01'";
    assert_eq!(one::<i64>(&mut superuser, days, &[]), 20, "each day somebody won");
}

/// Who may write and read nothing, and jobs without a user.
#[test]
fn who_sees_nothing_is_held_to_it_too() {
    let db = Database::new();
    let blind = user_with(&db, &A, &[("bookings", "create")]);
    ok(by_owner(&mut db.app(), &statement("bookings", "12:00-13:00")));
    ok(by_owner(&mut db.app(), &statement("time_off", "14:00-15:00")));
    let mut superuser = db.superuser();
    for (table, times, said) in [("time_off", "12:30-14:00", BOOKED), ("bookings", "14:30-16:00", OFF)] {
        let sql = statement(table, times);
        assert_refused(in_context(&mut db.app(), A.id, blind, |tx| tx.batch_execute(&sql)), said);
        let mut job = ok(superuser.transaction());
        ok(job.execute("SELECT set_config('app.current_tenant_id', $1, true)", &[&A.id.to_string()]));
        assert_refused(job.batch_execute(&sql), said);
    }
    ok(in_context(&mut db.app(), A.id, blind, |tx| tx.batch_execute(&statement("time_off", "13:00-14:00"))));
}
