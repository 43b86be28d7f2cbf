//! No double booking: what is live does not overlap, the way there included, nor crosses time off.

use postgres::{Client, Error, Transaction};
use thorbis_tests::{
    A, B, Database, Session, Tenant, as_owner, assert_sqlstate, describe, in_context, ok, one, sqlstate,
};
use uuid::Uuid;

/// Of the fixture: 0xe1 is Emil, who has a booking and time off, 0xe2 a bay.
fn thing(tenant: &Tenant, number: u128) -> Uuid {
    Uuid::from_u128(tenant.id.as_u128() - 1 + number)
}

/// The bay of the tenant, on a day when nothing is booked.
fn bay(tenant: &Tenant) -> Uuid {
    thing(tenant, 0xe2)
}

/// `10:00-11:00` of that day as a range.
fn on_day(times: &str) -> String {
    let (from, to) = times.split_once('-').expect("from-to");
    format!("[2026-05-04 {from}+00,2026-05-04 {to}+00)")
}

fn book(tx: &mut Transaction<'_>, resource: Uuid, times: &str, more: &str) -> Result<Uuid, Error> {
    let (columns, values) = more.split_once('=').map_or((String::new(), String::new()), |(column, value)| {
        (format!(", {}", column.trim()), format!(", {}", value.trim()))
    });
    let sql = format!(
        "INSERT INTO shared.bookings (bookable_resource_id, during{columns}) VALUES ($1, '{}'{values}) RETURNING id",
        on_day(times)
    );
    Ok(tx.query_one(&sql, &[&resource])?.get(0))
}

/// One booking of A's bay in a transaction of its own.
fn try_book(app: &mut Client, times: &str, more: &str) -> Result<Uuid, Error> {
    in_context(app, A.id, A.owner, |tx| book(tx, bay(&A), times, more))
}

fn change(app: &mut Client, id: Uuid, set: &str) -> Result<u64, Error> {
    in_context(app, A.id, A.owner, |tx| tx.execute(&format!("UPDATE shared.bookings SET {set} WHERE id = $1"), &[&id]))
}

/// 23P01, in our words, with nothing of the other booking.
#[track_caller]
fn assert_taken<T>(result: Result<T, Error>) {
    let error = assert_sqlstate(result, "23P01");
    assert_eq!(error.message(), "the resource is booked at that time already");
    assert_eq!(error.detail(), None);
}

#[test]
fn overlapping_is_refused_and_touching_is_not() {
    let db = Database::new();
    let mut app = db.app();
    ok(try_book(&mut app, "10:00-11:00", ""));
    for overlapping in ["10:00-11:00", "10:59-12:00", "09:00-10:01", "10:15-10:45", "09:00-12:00"] {
        assert_taken(try_book(&mut app, overlapping, ""));
    }
    ok(try_book(&mut app, "11:00-12:00", ""));
    ok(try_book(&mut app, "09:00-10:00", ""));
    ok(in_context(&mut app, A.id, A.owner, |tx| book(tx, thing(&A, 0xe1), "10:00-11:00", "")));
}

#[test]
fn what_is_cancelled_frees_its_time_and_collides_when_it_is_reopened() {
    let db = Database::new();
    let mut app = db.app();
    let first = ok(try_book(&mut app, "10:00-11:00", ""));
    ok(change(&mut app, first, "status = 'cancelled'"));
    let second = ok(try_book(&mut app, "10:30-11:30", ""));
    assert_taken(change(&mut app, first, "status = 'confirmed'"));
    // As long as it is not live, it may be anywhere.
    ok(change(&mut app, first, &format!("during = '{}'", on_day("10:45-11:45"))));
    ok(change(&mut app, second, "status = 'no_show'"));
    ok(change(&mut app, first, "status = 'confirmed'"));
    assert_taken(change(&mut app, second, "status = 'confirmed'"));
}

#[test]
fn a_live_booking_cannot_be_moved_into_another() {
    let db = Database::new();
    let mut app = db.app();
    ok(try_book(&mut app, "10:00-11:00", ""));
    let second = ok(try_book(&mut app, "12:00-13:00", ""));
    let elsewhere = ok(in_context(&mut app, A.id, A.owner, |tx| book(tx, thing(&A, 0xe1), "10:30-11:30", "")));
    for set in [
        format!("during = '{}'", on_day("10:30-12:30")),
        "travel_before = '61 minutes'".into(),
        "during = tstzrange(lower(during) - interval '70 minutes', upper(during))".into(),
    ] {
        assert_taken(change(&mut app, second, &set));
    }
    assert_taken(change(&mut app, elsewhere, &format!("bookable_resource_id = '{}'", bay(&A))));
    assert_eq!(ok(change(&mut app, second, "travel_before = '60 minutes', notes = 'just in time'")), 1);
}

#[test]
fn the_way_there_takes_the_resource_too() {
    let db = Database::new();
    let mut app = db.app();
    ok(try_book(&mut app, "10:00-11:00", ""));
    assert_taken(try_book(&mut app, "11:10-12:00", "travel_before = '15 minutes'"));
    let id = ok(try_book(&mut app, "11:15-12:00", "travel_before = '15 minutes'"));
    let occupied = "SELECT occupied = tstzrange('2026-05-04 11:00+00', '2026-05-04 12:00+00') AND is_live
                      FROM shared.bookings WHERE id = $1";
    assert!(one::<bool>(&mut db.superuser(), occupied, &[&id]));
    // Somebody else's way leads through it.
    assert_taken(try_book(&mut app, "12:30-13:00", "travel_before = '31 minutes'"));
    for (column, value) in [("occupied", "'[2026-01-01,2026-01-02)'"), ("is_live", "false")] {
        assert_sqlstate(change(&mut app, id, &format!("{column} = {value}")), "428C9");
        assert_sqlstate(try_book(&mut app, "18:00-19:00", &format!("{column} = {value}")), "428C9");
    }
}

/// And not as what they would be in the way of.
#[test]
fn other_ranges_than_bounded_ones_are_refused() {
    let db = Database::new();
    let mut app = db.app();
    ok(try_book(&mut app, "10:00-11:00", ""));
    for range in [
        "(,)",
        "[2026-05-04 10:00+00,)",
        "(,2026-05-04 10:00+00)",
        "empty",
        "[2026-05-04 10:00+00,2026-05-04 10:00+00)",
        "[2026-05-04 10:00+00,2026-05-04 10:00+00]",
        "[2026-05-04 10:00+00,2026-05-04 11:00+00]",
        "(2026-05-04 10:00+00,2026-05-04 11:00+00]",
        "(2026-05-04 10:00+00,2026-05-04 11:00+00)",
        "[2026-05-04 10:00+00,infinity)",
        "[-infinity,2026-05-04 10:00+00)",
        "[-infinity,infinity)",
    ] {
        let sql = "INSERT INTO shared.bookings (bookable_resource_id, during) VALUES ($1, $2::text::tstzrange)";
        let refused = in_context(&mut app, A.id, A.owner, |tx| tx.execute(sql, &[&bay(&A), &range]));
        assert_eq!(assert_sqlstate(refused, "23514").constraint(), Some("bookings_during_check"), "{range}");
    }
    // The last is 23 hours when it is compared, since months have 30 days then, and leads into the next day.
    for travel in ["-1 minute", "1 day 1 second", "1 year", "-1 month 30 days 23 hours"] {
        let refused = try_book(&mut app, "10:00-11:00", &format!("travel_before = '{travel}'"));
        assert_sqlstate(refused, "23514");
    }
    for range in ["(,2026-05-04 10:30+00)", "[2026-05-04 10:00+00,2026-05-04 10:30+00]"] {
        let sql = "INSERT INTO shared.time_off (bookable_resource_id, during) VALUES ($1, $2::text::tstzrange)";
        let refused = in_context(&mut app, A.id, A.owner, |tx| tx.execute(sql, &[&bay(&A), &range]));
        assert_eq!(assert_sqlstate(refused, "23514").constraint(), Some("time_off_during_check"), "{range}");
    }
}

#[test]
fn resources_that_are_equal_in_two_tenants_do_not_collide() {
    let db = Database::new();
    let shared = Uuid::new_v4();
    for tenant in [&A, &B] {
        as_owner(&db, tenant, |tx| {
            let sql = "INSERT INTO shared.bookable_resources (id, kind, name) VALUES ($1, 'bay', 'The same')";
            tx.execute(sql, &[&shared])?;
            book(tx, shared, "10:00-11:00", "")
        });
    }
    let mut app = db.app();
    assert_taken(in_context(&mut app, B.id, B.owner, |tx| book(tx, shared, "10:30-11:30", "")));
}

/// What is booked there does not show, nor whether there is such a resource.
#[test]
fn resources_of_another_tenant_are_as_unknown_ones() {
    let db = Database::new();
    as_owner(&db, &B, |tx| book(tx, bay(&B), "10:00-11:00", ""));
    let mut app = db.app();
    for times in ["10:00-11:00", "15:00-16:00"] {
        for resource in [bay(&B), Uuid::new_v4()] {
            let refused = in_context(&mut app, A.id, A.owner, |tx| book(tx, resource, times, ""));
            assert_eq!(assert_sqlstate(refused, "23503").constraint(), Some("bookings_bookable_resource_id_fkey"));
            let sql = format!(
                "INSERT INTO shared.bookings (tenant_id, bookable_resource_id, during) VALUES ('{}', $1, '{}')",
                B.id,
                on_day(times)
            );
            assert_sqlstate(in_context(&mut app, A.id, A.owner, |tx| tx.execute(&sql, &[&resource])), "42501");
        }
    }
}

/// Taken or free: whoever may not book is told the same.
#[test]
fn who_may_not_book_learns_nothing() {
    let db = Database::new();
    let mut app = db.app();
    ok(try_book(&mut app, "10:00-11:00", ""));
    let mut said = |times| {
        let refused = in_context(&mut app, A.id, A.employee, |tx| book(tx, bay(&A), times, ""));
        assert_sqlstate(refused, "42501").message().to_owned()
    };
    assert_eq!(said("10:00-11:00"), said("15:00-16:00"));
}

fn permit(db: &Database, resource: &str, action: &str) {
    let sql = "INSERT INTO rbac.role_permissions (tenant_id, role_id, resource, action) VALUES ($1, $2, $3, $4)";
    ok(db.superuser().execute(sql, &[&A.id, &A.employee_role, &resource, &action]));
}

/// The rule sees what the caller does not.
#[test]
fn who_may_book_and_read_nothing_is_held_to_what_is_booked() {
    let db = Database::new();
    let mut app = db.app();
    ok(try_book(&mut app, "10:00-11:00", ""));
    permit(&db, "bookings", "create");
    let sql = format!(
        "INSERT INTO shared.bookings (bookable_resource_id, during) VALUES ('{}', '{}')",
        bay(&A),
        on_day("10:30-11:30")
    );
    let by_employee = |app: &mut Client, sql: &str| in_context(app, A.id, A.employee, |tx| tx.execute(sql, &[]));
    assert_taken(by_employee(&mut app, &sql));
    ok(by_employee(&mut app, &sql.replace("10:30", "11:00")));
    let seen =
        in_context(&mut app, A.id, A.employee, |tx| Ok(one::<i64>(tx, "SELECT count(*) FROM shared.bookings", &[])));
    assert_eq!(ok(seen), 0);
}

#[test]
fn jobs_without_a_user_are_held_to_it_too() {
    let db = Database::new();
    let mut superuser = db.superuser();
    let sql = format!(
        "INSERT INTO shared.bookings (tenant_id, bookable_resource_id, during) VALUES ('{}', '{}', '{}')",
        A.id,
        bay(&A),
        on_day("10:00-11:00")
    );
    for role in ["postgres", "thorbis_platform"] {
        ok(superuser.batch_execute(&format!("SET ROLE {role}")));
        if role == "postgres" {
            ok(superuser.batch_execute(&sql));
        }
        assert_taken(superuser.batch_execute(&sql));
    }
}

// --- the constraint that stands behind

/// Should somebody drop the trigger, the constraint still holds, and tells a tenant's user nothing of the other row.
#[test]
fn constraint_holds_without_the_trigger_and_hides_the_other_booking() {
    let db = Database::new();
    ok(db.superuser().batch_execute("DROP TRIGGER write_bookings_time ON shared.bookings"));
    let mut app = db.app();
    ok(try_book(&mut app, "10:00-11:00", "notes = 'Mrs. Jones'"));
    let error = assert_sqlstate(try_book(&mut app, "10:30-11:30", ""), "23P01");
    assert_eq!(error.constraint(), Some("bookings_bookable_resource_id_occupied_excl"));
    assert_eq!(error.detail(), Some("Key conflicts with existing key."), "neither its time nor its resource");
    let both = format!(
        "INSERT INTO shared.bookings (bookable_resource_id, during) VALUES ('{0}', '{1}'), ('{0}', '{1}')",
        bay(&A),
        on_day("15:00-16:00")
    );
    assert_sqlstate(in_context(&mut app, A.id, A.owner, |tx| tx.batch_execute(&both)), "23P01");
}

#[test]
fn rows_of_one_statement_collide_too() {
    let db = Database::new();
    let mut app = db.app();
    for rows in [
        "VALUES ('{0}'::uuid, '{1}'::tstzrange), ('{0}', '{1}')",
        "SELECT '{0}'::uuid, '{1}'::tstzrange FROM generate_series(1, 2)",
    ] {
        let rows = rows.replace("{0}", &bay(&A).to_string()).replace("{1}", &on_day("15:00-16:00"));
        let sql = format!("INSERT INTO shared.bookings (bookable_resource_id, during) {rows}");
        assert_taken(in_context(&mut app, A.id, A.owner, |tx| tx.batch_execute(&sql)));
    }
}

// --- one after the other

#[test]
fn whoever_comes_second_waits_and_sees_what_the_first_did() {
    let db = Database::new();
    for (end, isolation) in
        [("COMMIT", "READ COMMITTED"), ("ROLLBACK", "READ COMMITTED"), ("COMMIT", "REPEATABLE READ")]
    {
        let (mut first, mut second) = (db.app(), db.app());
        let day = format!("DELETE FROM shared.bookings WHERE bookable_resource_id = '{}'", bay(&A));
        as_owner(&db, &A, |tx| tx.batch_execute(&day));
        first.begin_as(&A);
        let sql = format!(
            "INSERT INTO shared.bookings (bookable_resource_id, during) VALUES ('{}', '{}')",
            bay(&A),
            on_day("10:00-11:00")
        );
        ok(first.batch_execute(&sql));
        let result = std::thread::scope(|scope| {
            let waiting = scope.spawn(|| {
                ok(second.batch_execute(&format!("BEGIN ISOLATION LEVEL {isolation}")));
                ok(second.batch_execute(&thorbis_tests::set_local(A.id, A.owner)));
                // The snapshot of a REPEATABLE READ transaction is older than the other's commit.
                ok(second.batch_execute("SELECT 1 FROM shared.bookings"));
                let result = second.batch_execute(&sql);
                let _ = second.batch_execute(if result.is_ok() { "COMMIT" } else { "ROLLBACK" });
                result
            });
            let mut superuser = db.superuser();
            thorbis_tests::until("the second session waits", || {
                let waits = "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock'
                              AND datname = current_database() AND query LIKE 'INSERT INTO shared.bookings%')";
                one(&mut superuser, waits, &[])
            });
            ok(first.batch_execute(end));
            waiting.join().expect("the thread ends")
        });
        match (end, result) {
            ("ROLLBACK", result) => ok(result),
            (_, Err(e)) if isolation == "REPEATABLE READ" => {
                assert!(["23P01", "40001"].contains(&sqlstate(&e)), "{}", describe(&e));
            }
            (_, result) => assert_taken(result),
        }
        let live = "SELECT count(*) FROM shared.bookings WHERE bookable_resource_id = $1";
        assert_eq!(one::<i64>(&mut db.superuser(), live, &[&bay(&A)]), 1, "{end} {isolation}");
    }
}

// --- inactive resources, statuses

#[test]
fn inactive_resources_are_booked_no_more() {
    let db = Database::new();
    let mut app = db.app();
    let id = ok(try_book(&mut app, "10:00-11:00", ""));
    as_owner(&db, &A, |tx| {
        tx.execute("UPDATE shared.bookable_resources SET is_active = false WHERE id = $1", &[&bay(&A)])
    });
    assert_sqlstate(try_book(&mut app, "12:00-13:00", ""), "23514");
    ok(change(&mut app, id, "status = 'in_progress'"));
    ok(change(&mut app, id, "status = 'completed'"));
    let elsewhere = ok(in_context(&mut app, A.id, A.owner, |tx| book(tx, thing(&A, 0xe1), "12:00-13:00", "")));
    assert_sqlstate(change(&mut app, elsewhere, &format!("bookable_resource_id = '{}'", bay(&A))), "23514");
}

#[test]
fn status_follows_the_table_of_transitions() {
    let db = Database::new();
    let mut app = db.app();
    assert_sqlstate(try_book(&mut app, "10:00-11:00", "status = 'completed'"), "23514");
    let id = ok(try_book(&mut app, "10:00-11:00", "status = 'tentative'"));
    assert_sqlstate(change(&mut app, id, "status = 'completed'"), "23514");
    for (status, column) in
        [("confirmed", None), ("in_progress", Some("started_at")), ("completed", Some("completed_at"))]
    {
        ok(change(&mut app, id, &format!("status = '{status}'")));
        if let Some(column) = column {
            let set = format!("SELECT {column} IS NOT NULL FROM shared.bookings WHERE id = $1");
            assert!(one::<bool>(&mut db.superuser(), &set, &[&id]), "{column}");
        }
    }
    permit(&db, "bookings", "read");
    permit(&db, "bookings", "update");
    let reopen = |user| {
        in_context(&mut db.app(), A.id, user, |tx| {
            tx.execute("UPDATE shared.bookings SET status = 'in_progress' WHERE id = $1", &[&id])
        })
    };
    assert_sqlstate(reopen(A.employee), "42501");
    ok(reopen(A.owner));
    let history = "SELECT string_agg(to_status, ' ' ORDER BY at) FROM shared.status_history WHERE document_id = $1";
    let history: String = one(&mut db.superuser(), history, &[&id]);
    assert_eq!(history, "tentative confirmed in_progress completed in_progress");
}

/// A booking that is live again was neither completed nor cancelled, and nobody but the status writes those times.
#[test]
fn reopened_bookings_lose_the_times_of_their_end() {
    let db = Database::new();
    let mut app = db.app();
    let id = ok(try_book(&mut app, "10:00-11:00", ""));
    let sql =
        "SELECT concat_ws(' ', 'started' || left(started_at::text, 0), 'completed' || left(completed_at::text, 0),
                   'cancelled' || left(cancelled_at::text, 0)) FROM shared.bookings WHERE id = $1";
    let times = || -> String { one(&mut db.superuser(), sql, &[&id]) };
    for (status, expected) in [
        ("cancelled", "cancelled"),
        ("confirmed", ""),
        ("in_progress", "started"),
        ("completed", "started completed"),
        ("in_progress", "started"),
        ("cancelled", "started cancelled"),
        ("confirmed", ""),
    ] {
        ok(change(&mut app, id, &format!("status = '{status}'")));
        assert_eq!(times(), expected, "{status}");
    }
    ok(change(&mut app, id, "status = 'in_progress'"));
    ok(change(&mut app, id, "started_at = NULL, cancelled_at = now()"));
    assert_eq!(times(), "started");
}
