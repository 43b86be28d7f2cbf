//! `thorbis.add_exclusion`: the same promise by a constraint and, without btree_gist, by a trigger.

use postgres::Client;
use thorbis_tests::{A, B, Database, as_owner, assert_sqlstate, in_context, ok, one};
use uuid::Uuid;

const TABLE: &str = "
    CREATE SCHEMA garage AUTHORIZATION thorbis_owner; GRANT USAGE ON SCHEMA garage TO thorbis_app;
    CREATE TABLE garage.stays (tenant_id uuid NOT NULL DEFAULT get_current_tenant_id(), id uuid NOT NULL DEFAULT gen_random_uuid(),
        lift integer, bay text, until_paid boolean NOT NULL DEFAULT true, during tstzrange, PRIMARY KEY (tenant_id, id));
    ALTER TABLE garage.stays OWNER TO thorbis_owner";

const EXCLUDE: &str =
    "SELECT thorbis.add_exclusion('garage.stays', 'stays_lift_during_excl', '{lift,bay}', 'during', 'until_paid')";

/// A table of one's own with the rule, once with the constraint and once with the trigger.
fn both(test: impl Fn(&Database)) {
    for with_btree_gist in [true, false] {
        let db = Database::new();
        let mut superuser = db.superuser();
        if !with_btree_gist {
            ok(superuser.batch_execute("DROP EXTENSION btree_gist CASCADE"));
        }
        ok(superuser.batch_execute(&format!(
            "{TABLE}; {EXCLUDE};
             SELECT thorbis.protect('garage.stays', 'bookings', '{{\"not_personal\": [\"bay\"]}}')"
        )));
        let kinds = "SELECT (SELECT count(*) FROM pg_constraint WHERE conname = 'stays_lift_during_excl'),
                            (SELECT count(*) FROM pg_trigger WHERE tgname = 'write_stays_lift_during_excl' AND tgenabled = 'A')";
        let row = ok(superuser.query_one(kinds, &[]));
        let (constraints, triggers): (i64, i64) = (row.get(0), row.get(1));
        assert_eq!((constraints, triggers), if with_btree_gist { (1, 0) } else { (0, 1) });
        test(&db);
    }
}

fn insert(lift: &str, bay: &str, from: u32, to: u32, more: &str) -> String {
    let (columns, values) = more.split_once('=').map_or(("", ""), |(column, value)| (column, value));
    let comma = if columns.is_empty() { "" } else { ", " };
    format!(
        "INSERT INTO garage.stays (lift, bay, during{comma}{columns})
         VALUES ({lift}, {bay}, '[2026-05-04 {from}:00+00,2026-05-04 {to}:00+00)'{comma}{values})"
    )
}

fn run(app: &mut Client, sql: &str) -> Result<(), postgres::Error> {
    in_context(app, A.id, A.owner, |tx| tx.batch_execute(sql))
}

#[test]
fn rows_that_are_equal_do_not_overlap() {
    both(|db| {
        let mut app = db.app();
        ok(run(&mut app, &insert("1", "'a'", 10, 11, "")));
        let error = assert_sqlstate(run(&mut app, &insert("1", "'a'", 10, 12, "")), "23P01");
        let detail = error.detail().unwrap_or_default();
        assert!(!detail.contains("2026") && !detail.contains("'a'"), "nothing of the other row: {detail}");
        for free in [
            insert("1", "'a'", 11, 12, ""),
            insert("2", "'a'", 10, 11, ""),
            insert("1", "'b'", 10, 11, ""),
            insert("NULL", "'a'", 10, 11, ""),
            insert("NULL", "'a'", 10, 11, ""),
            insert("1", "NULL", 10, 11, ""),
            insert("1", "'a'", 10, 11, "until_paid=false"),
            "INSERT INTO garage.stays (lift, bay, during) VALUES (1, 'a', NULL), (1, 'a', 'empty')".into(),
        ] {
            ok(run(&mut app, &free));
        }
        as_owner(db, &B, |tx| tx.batch_execute(&insert("1", "'a'", 10, 11, "")));
    });
}

#[test]
fn updates_and_rows_of_one_statement_are_held_to_it() {
    both(|db| {
        let mut app = db.app();
        ok(run(&mut app, &insert("1", "'a'", 10, 11, "")));
        ok(run(&mut app, &insert("1", "'a'", 11, 12, "")));
        ok(run(&mut app, &insert("2", "'a'", 10, 12, "")));
        ok(run(&mut app, &insert("1", "'a'", 10, 12, "until_paid=false")));
        for collision in [
            "UPDATE garage.stays SET lift = 1 WHERE lift = 2",
            "UPDATE garage.stays SET until_paid = true",
            "UPDATE garage.stays SET during = '[2026-05-04 10:30+00,2026-05-04 11:30+00)' WHERE lift = 1 AND until_paid",
            "INSERT INTO garage.stays (lift, bay, during) SELECT 7, 'x', '[2026-01-01,2026-01-02)' FROM generate_series(1, 2)",
            "WITH x AS (INSERT INTO garage.stays (lift, bay, during) VALUES (8, 'x', '[2026-01-01,2026-01-03)'))
             INSERT INTO garage.stays (lift, bay, during) VALUES (8, 'x', '[2026-01-02,2026-01-04)')",
        ] {
            assert_sqlstate(run(&mut app, collision), "23P01");
        }
        ok(run(&mut app, "UPDATE garage.stays SET during = during, bay = 'a'"));
        ok(run(&mut app, "UPDATE garage.stays SET lift = 3 WHERE lift = 2; DELETE FROM garage.stays WHERE until_paid"));
        ok(run(&mut app, "UPDATE garage.stays SET until_paid = true"));
    });
}

/// The lock of the trigger is in no place where a tenant could take it, and is gone with the transaction.
#[test]
fn nobody_waits_for_another_resource_or_tenant() {
    both(|db| {
        let (mut first, mut other) = (db.app(), db.app());
        ok(first.batch_execute(&format!("BEGIN; {}", thorbis_tests::set_local(A.id, A.owner))));
        ok(first.batch_execute(&insert("1", "'a'", 10, 11, "")));
        let quickly = |sql: String| format!("SET LOCAL lock_timeout = '1s'; {sql}");
        ok(run(&mut other, &quickly(insert("2", "'a'", 10, 11, ""))));
        ok(in_context(&mut other, B.id, B.owner, |tx| tx.batch_execute(&quickly(insert("1", "'a'", 10, 11, "")))));
        assert_sqlstate(run(&mut other, &quickly(insert("1", "'a'", 10, 11, ""))), "55P03");
        ok(first.batch_execute("ROLLBACK"));
        ok(run(&mut other, &insert("1", "'a'", 10, 11, "")));
        let held: i64 = one(&mut db.superuser(), "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'", &[]);
        assert_eq!(held, 0);
    });
}

#[test]
fn what_overlaps_already_is_told() {
    for with_btree_gist in [true, false] {
        let db = Database::new();
        let mut superuser = db.superuser();
        if !with_btree_gist {
            ok(superuser.batch_execute("DROP EXTENSION btree_gist CASCADE"));
        }
        ok(superuser.batch_execute(TABLE));
        let twice = "INSERT INTO garage.stays (tenant_id, lift, bay, during)
                     SELECT $1, 1, 'a', '[2026-01-01,2026-01-02)' FROM generate_series(1, 2)";
        ok(superuser.execute(twice, &[&A.id]));
        assert_sqlstate(superuser.batch_execute(EXCLUDE), "23P01");
        let left = "SELECT count(*) FROM pg_trigger WHERE tgrelid = 'garage.stays'::regclass AND NOT tgisinternal";
        assert_eq!(one::<i64>(&mut superuser, left, &[]), 0, "nothing is left of the attempt");
    }
}

#[test]
fn only_the_owner_adds_one_and_columns_must_be_there() {
    let db = Database::new();
    let mut superuser = db.superuser();
    ok(superuser.batch_execute(TABLE));
    for (equal, range) in [("{nowhere}", "during"), ("{lift}", "nowhere"), ("{\"lift\\\"; DROP\"}", "during")] {
        let sql = "SELECT thorbis.add_exclusion('garage.stays', 'stays_x_excl', $1::text::text[], $2)";
        assert_sqlstate(superuser.execute(sql, &[&equal, &range]), "42703");
    }
    assert_sqlstate(db.app().batch_execute(EXCLUDE), "42501");
    assert_sqlstate(db.connect_as("stranger_login").batch_execute(EXCLUDE), "42501");
    ok(superuser.batch_execute("SET ROLE thorbis_platform"));
    assert_sqlstate(superuser.batch_execute(EXCLUDE), "42501");
}

/// The generated column has its value by the time the trigger looks.
#[test]
fn bookings_are_kept_apart_without_btree_gist() {
    let db = Database::new();
    ok(db.superuser().batch_execute(
        "DROP EXTENSION btree_gist CASCADE;
         SELECT thorbis.add_exclusion('shared.bookings', 'bookings_bookable_resource_id_occupied_excl',
             '{bookable_resource_id}', 'occupied', 'is_live')",
    ));
    let mut app = db.app();
    let bay = Uuid::from_u128(A.id.as_u128() - 1 + 0xe2);
    let sql = "INSERT INTO shared.bookings (bookable_resource_id, during) VALUES ($1, '[2026-01-01,2026-01-02)')";
    ok(in_context(&mut app, A.id, A.owner, |tx| tx.execute(sql, &[&bay])));
    assert_sqlstate(in_context(&mut app, A.id, A.owner, |tx| tx.execute(sql, &[&bay])), "23P01");
}
