//! Numbers of documents: what they look like, that none comes twice, and who may do what with them.

use postgres::Client;
use thorbis_tests::desk::{NOTE, define, desk, note, slip};
use thorbis_tests::{A, B, assert_sqlstate, in_context, ok, one};
use uuid::Uuid;

// --- how they look

#[test]
fn number_has_prefix_period_and_digits() {
    let db = desk();
    define(&db, "slips", "prefix, pad, reset_period) VALUES ('INV-', 4, 'year')");
    let mut app = db.app();
    let year: String = one(&mut app, "SELECT to_char(now() AT TIME ZONE 'UTC', 'YYYY')", &[]);
    assert_eq!(ok(slip(&mut app)), format!("INV-{year}-0001"));
    assert_eq!(ok(slip(&mut app)), format!("INV-{year}-0002"));
}

/// At 02:30 it is still yesterday where the day begins at four, and somewhere it is another day anyway.
#[test]
fn period_is_of_the_business_date_of_the_place() {
    let db = desk();
    define(&db, "slips", "prefix, reset_period) VALUES ('D-', 'day')");
    ok(db.superuser().execute("UPDATE shared.tenants SET timezone = 'Pacific/Kiritimati' WHERE id = $1", &[&A.id]));
    let place: Uuid = one(
        &mut db.superuser(),
        "INSERT INTO shared.locations (tenant_id, name, timezone, business_day_cutoff)
         VALUES ($1, 'Far west', 'Pacific/Pago_Pago', '11:59') RETURNING id",
        &[&A.id],
    );
    let expected = |zone: &str, cutoff: &str| -> String {
        let sql = "SELECT 'D-' || to_char((now() AT TIME ZONE $1) - $2::text::interval, 'YYYYMMDD') || '-1'";
        one(&mut db.superuser(), sql, &[&zone, &cutoff])
    };
    let mut app = db.app();
    let before = expected("Pacific/Kiritimati", "0");
    let number = ok(slip(&mut app));
    assert!([before, expected("Pacific/Kiritimati", "0")].contains(&number), "{number}");
    let before = expected("Pacific/Pago_Pago", "11:59");
    let number: String = ok(in_context(&mut app, A.id, A.owner, |tx| {
        let sql = "INSERT INTO desk.slips (location_id) VALUES ($1) RETURNING number";
        Ok(tx.query_one(sql, &[&place])?.get(0))
    }));
    assert!([before, expected("Pacific/Pago_Pago", "11:59")].contains(&number), "{number}");
}

/// Whatever is done to the definition, what was counted together goes on where it was.
#[test]
fn definition_can_change_and_no_number_comes_twice() {
    let db = desk();
    define(&db, "slips", "prefix) VALUES ('A-')");
    let mut app = db.app();
    assert_eq!(ok(slip(&mut app)), "A-1");
    let set = |set: &str| {
        let sql = format!("UPDATE shared.number_series SET {set} WHERE series = 'slips' AND location_id IS NULL");
        ok(in_context(&mut db.app(), A.id, A.owner, |tx| tx.execute(&sql, &[])));
    };
    let year: String = one(&mut app, "SELECT to_char(now() AT TIME ZONE 'UTC', 'YYYY')", &[]);
    set("reset_period = 'year'");
    assert_eq!(ok(slip(&mut app)), format!("A-{year}-1"));
    set(&format!("reset_period = 'never', prefix = 'A-{year}-'"));
    assert_eq!(ok(slip(&mut app)), format!("A-{year}-2"));
    set("prefix = 'A-', pad = 3");
    assert_eq!(ok(slip(&mut app)), "A-002");
    // Another place with the same prefix counts with the others.
    define(
        &db,
        "slips",
        &format!(
            "location_id, prefix) VALUES ('{}', 'A-')",
            one::<Uuid>(&mut db.superuser(), "SELECT id FROM shared.locations WHERE tenant_id = $1", &[&A.id])
        ),
    );
    let number: String = ok(in_context(&mut app, A.id, A.owner, |tx| {
        Ok(tx
            .query_one("INSERT INTO desk.slips (location_id) SELECT id FROM shared.locations RETURNING number", &[])?
            .get(0))
    }));
    assert_eq!(number, "A-3");
    for prefix in ["A-1", "9", "a\u{1}b-", "a'--"] {
        let sql = "UPDATE shared.number_series SET prefix = $1 WHERE series = 'slips'";
        assert_sqlstate(in_context(&mut app, A.id, A.owner, |tx| tx.execute(sql, &[&prefix])), "23514");
    }
}

/// From counting without gaps to counting in blocks and back.
#[test]
fn way_of_counting_can_change_and_no_number_comes_twice() {
    let db = desk();
    define(&db, "notes", "gap_free) VALUES (true)");
    let mut app = db.app();
    let mut seen = Vec::new();
    for round in 0..6 {
        for _ in 0..40 {
            seen.push(ok(note(&mut app)));
        }
        let sql = "UPDATE shared.number_series SET gap_free = $1 WHERE series = 'notes'";
        ok(in_context(&mut app, A.id, A.owner, |tx| tx.execute(sql, &[&(round % 2 == 1)])));
    }
    let count = seen.len();
    seen.sort();
    seen.dedup();
    assert_eq!(seen.len(), count);
}

#[test]
fn each_tenant_and_each_place_counts_for_itself() {
    let db = desk();
    let mut app = db.app();
    ok(note(&mut app));
    ok(note(&mut app));
    let other: i32 = ok(in_context(&mut app, B.id, B.owner, |tx| Ok(tx.query_one(NOTE, &[])?.get(0))));
    assert_eq!(other, 1);
    // In a table whose numbers may be the same in two places.
    ok(db.superuser().batch_execute("ALTER TABLE desk.notes DROP CONSTRAINT notes_tenant_id_number_key"));
    let place: Uuid = one(&mut db.superuser(), "SELECT id FROM shared.locations WHERE tenant_id = $1", &[&A.id]);
    let mut there = || -> i32 {
        ok(in_context(&mut app, A.id, A.owner, |tx| {
            Ok(tx.query_one("INSERT INTO desk.notes (location_id) VALUES ($1) RETURNING number", &[&place])?.get(0))
        }))
    };
    assert_eq!(there(), 3, "a place without a definition counts with the others");
    define(&db, "notes", &format!("location_id) VALUES ('{place}')"));
    assert_eq!((there(), there()), (1, 2));
}

#[test]
fn draft_gets_its_number_when_it_is_issued() {
    let db = desk();
    let mut app = db.app();
    let number: Option<String> = ok(in_context(&mut app, A.id, A.owner, |tx| {
        Ok(tx.query_one("INSERT INTO desk.slips (issued) VALUES (false) RETURNING number", &[])?.get(0))
    }));
    assert_eq!(number, None);
    let issue = "UPDATE desk.slips SET issued = true WHERE NOT issued RETURNING number";
    let number: String = ok(in_context(&mut app, A.id, A.owner, |tx| Ok(tx.query_one(issue, &[])?.get(0))));
    assert_eq!(number, "1");
}

// --- what is given

#[test]
fn legal_number_is_not_given_by_hand() {
    let db = desk();
    let mut app = db.app();
    let given =
        in_context(&mut app, A.id, A.owner, |tx| tx.execute("INSERT INTO desk.slips (number) VALUES ('7')", &[]));
    let error = assert_sqlstate(given, "42501");
    assert!(error.message().contains("have no gaps"), "{}", error.message());
    // An import may, and the series steps over what it brought.
    ok(db.superuser().execute("INSERT INTO desk.slips (tenant_id, number) VALUES ($1, '2')", &[&A.id]));
    assert_eq!([ok(slip(&mut app)), ok(slip(&mut app))], ["1", "3"]);
}

#[test]
fn huge_number_does_not_exhaust_the_series() {
    let db = desk();
    let mut app = db.app();
    let give = |app: &mut Client, number: i32| {
        in_context(app, A.id, A.owner, |tx| tx.execute("INSERT INTO desk.notes (number) VALUES ($1)", &[&number]))
    };
    for number in [i32::MAX, i32::MAX - 1, 1_000_000_000, -5, 0] {
        ok(give(&mut app, number));
    }
    assert_eq!(ok(note(&mut app)), 1);
    ok(give(&mut app, 500));
    assert_eq!(ok(note(&mut app)), 501);
    assert_sqlstate(give(&mut app, 501), "23505");
    assert_eq!(ok(note(&mut app)), 502);
    // Those of an import are stepped over when the series gets there.
    let import = "INSERT INTO desk.notes (tenant_id, number) SELECT $1, n FROM generate_series(510, 25000) n";
    ok(db.superuser().execute(import, &[&A.id]));
    let next: Vec<i32> = (0..8).map(|_| ok(note(&mut app))).collect();
    assert_eq!(next, [503, 504, 505, 506, 507, 508, 509, 25001]);
}

#[test]
fn table_that_gets_its_trigger_later_counts_on() {
    let db = desk();
    ok(db
        .superuser()
        .execute("INSERT INTO desk.notes (tenant_id, number) SELECT $1, n FROM generate_series(1, 300) n", &[&A.id]));
    let mut app = db.app();
    assert_eq!([ok(note(&mut app)), ok(note(&mut app))], [301, 302]);
}

// --- who may do what

#[test]
fn counts_are_written_by_the_trigger_alone() {
    let db = desk();
    let mut app = db.app();
    ok(note(&mut app));
    for sql in [
        "UPDATE shared.number_counters SET next_value = 1",
        "DELETE FROM shared.number_counters",
        "INSERT INTO shared.number_counters (series, location_id, scope, block, next_value)
         VALUES ('notes', '00000000-0000-0000-0000-000000000000', '', 1, 1)",
        "UPDATE shared.number_series SET series = 'x'",
    ] {
        assert_sqlstate(in_context(&mut app, A.id, A.owner, |tx| tx.execute(sql, &[])), "42501");
    }
    // An employee creates documents and cannot see a series or a count, or change a definition.
    let employee = |sql: &str| in_context(&mut db.app(), A.id, A.employee, |tx| tx.query(sql, &[]));
    assert_eq!(ok(employee("SELECT 1 FROM shared.number_series")).len(), 0);
    assert_eq!(ok(employee("SELECT 1 FROM shared.number_counters")).len(), 0);
    assert_eq!(ok(employee(NOTE))[0].get::<_, i32>(0), 2);
    assert_eq!(ok(employee("UPDATE shared.number_series SET pad = 9 RETURNING 1")).len(), 0);
}

#[test]
fn row_for_another_tenant_counts_nowhere() {
    let db = desk();
    let insert = "INSERT INTO desk.notes (tenant_id) VALUES ($1)";
    assert_sqlstate(in_context(&mut db.app(), A.id, A.owner, |tx| tx.execute(insert, &[&B.id])), "42501");
    let counted: i64 =
        one(&mut db.superuser(), "SELECT count(*) FROM shared.number_counters WHERE series = 'notes'", &[]);
    assert_eq!(counted, 0);
    // A job counts for the tenant of the row.
    let number: i32 = one(&mut db.superuser(), &format!("{insert} RETURNING number"), &[&B.id]);
    assert_eq!(number, 1);
}
