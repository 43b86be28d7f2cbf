//! Numbers of documents: what they look like, that none comes twice, and who may do what with them.

use postgres::Client;
use thorbis_tests::desk::{NOTE, define, desk, note, slip};
use thorbis_tests::{A, B, Session, assert_sqlstate, in_context, ok, one};
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

/// A transaction may be open for longer than a day: the clock counts, not its beginning.
#[test]
fn period_is_of_the_time_when_the_number_is_given() {
    let db = desk();
    define(&db, "slips", "prefix, reset_period) VALUES ('D-', 'day')");
    let mut superuser = db.superuser();
    // Where it is about six in the morning by now.
    let zone: String = one(
        &mut superuser,
        "SELECT CASE WHEN shift < 0 THEN 'Etc/GMT' || shift ELSE 'Etc/GMT+' || shift END
           FROM (SELECT ((extract(hour FROM now() AT TIME ZONE 'UTC')::int + 18 + 11) % 24) - 11 AS shift) s",
        &[],
    );
    let place: Uuid = one(
        &mut superuser,
        "INSERT INTO shared.locations (tenant_id, name, timezone) VALUES ($1, 'Night shift', $2) RETURNING id",
        &[&A.id, &zone],
    );
    let mut app = db.app();
    app.begin_as(&A);
    let begun: String = one(&mut app, "SELECT to_char(now() AT TIME ZONE $1, 'HH24:MI')", &[&zone]);
    assert!(("05:00".."08:00").contains(&begun.as_str()), "{zone} {begun}");
    // The day of the place begins after the transaction.
    let cutoff =
        "UPDATE shared.locations SET business_day_cutoff = (clock_timestamp() AT TIME ZONE $2)::time WHERE id = $1";
    ok(superuser.execute(cutoff, &[&place, &zone]));
    let number: String = one(&mut app, "INSERT INTO desk.slips (location_id) VALUES ($1) RETURNING number", &[&place]);
    let expected = "SELECT 'D-' || to_char(now() AT TIME ZONE $1, 'YYYYMMDD') || '-1'";
    assert_eq!(number, one::<String>(&mut app, expected, &[&zone]));
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

/// As the guide to the engines has it: one trigger gives the number and keeps it.
const ORDERS: &str = "
CREATE TABLE desk.orders (
    tenant_id uuid NOT NULL DEFAULT public.get_current_tenant_id(), id uuid NOT NULL DEFAULT gen_random_uuid(),
    number text, status text NOT NULL DEFAULT 'draft', title text,
    PRIMARY KEY (tenant_id, id), UNIQUE (tenant_id, number),
    FOREIGN KEY (tenant_id) REFERENCES shared.tenants (id) ON DELETE CASCADE);
ALTER TABLE desk.orders OWNER TO thorbis_owner;
CREATE TRIGGER write_orders_number BEFORE INSERT OR UPDATE ON desk.orders FOR EACH ROW
    EXECUTE FUNCTION public.assign_document_number('number', 'desk.orders', 'true', 'status', 'sent', 'paid');
SELECT thorbis.protect('desk.orders', 'orders', '{\"not_personal\": [\"number\", \"status\", \"title\"]}')";

#[test]
fn trigger_for_every_change_keeps_legal_numbers() {
    let db = desk();
    ok(db.superuser().batch_execute(ORDERS));
    let by_owner = |sql: &str| in_context(&mut db.app(), A.id, A.owner, |tx| tx.execute(sql, &[]));
    let numbers = || -> String {
        let sql = "SELECT string_agg(title || ' ' || coalesce(number, '-'), ', ' ORDER BY title) FROM desk.orders";
        one(&mut db.superuser(), sql, &[])
    };
    ok(by_owner("INSERT INTO desk.orders (title, status) VALUES ('a', 'draft'), ('b', 'draft'), ('c', 'paid')"));
    assert_eq!(numbers(), "a -, b -, c 1");
    ok(by_owner("UPDATE desk.orders SET title = title"));
    assert_eq!(numbers(), "a -, b -, c 1", "a draft has none");
    for sql in [
        "INSERT INTO desk.orders (number) VALUES ('2')",
        "INSERT INTO desk.orders (number, status) VALUES ('2', 'sent')",
        "UPDATE desk.orders SET number = '2' WHERE title = 'a'",
        "UPDATE desk.orders SET number = '2', status = 'sent' WHERE title = 'a'",
        "UPDATE desk.orders SET number = 'HAND-1' WHERE title = 'c'",
        "UPDATE desk.orders SET number = NULL WHERE title = 'c'",
        "UPDATE desk.orders SET number = NULL, status = 'draft' WHERE title = 'c'",
    ] {
        assert_sqlstate(by_owner(sql), "42501");
    }
    ok(by_owner("UPDATE desk.orders SET status = 'sent' WHERE title IN ('a', 'c')"));
    assert_eq!(numbers(), "a 2, b -, c 1", "a number that is there stays");
    // An import brings its numbers, and the series steps over them.
    let import = "INSERT INTO desk.orders (tenant_id, title, status, number) VALUES ($1, 'd', 'paid', '3'), ($1, 'e', 'sent', NULL)";
    ok(db.superuser().execute(import, &[&A.id]));
    ok(db.superuser().execute("UPDATE desk.orders SET number = 'OLD-1' WHERE title = 'd'", &[]));
    ok(by_owner("UPDATE desk.orders SET status = 'sent' WHERE title = 'b'"));
    assert_eq!(numbers(), "a 2, b 5, c 1, d OLD-1, e 4");
}

/// Of any type, and with any value but NULL where none is named.
#[test]
fn column_that_is_set_gives_the_number() {
    let db = desk();
    ok(db.superuser().batch_execute(
        "DROP TRIGGER insert_slips_number ON desk.slips; DROP TRIGGER update_slips_number ON desk.slips;
         CREATE TRIGGER write_slips_number BEFORE INSERT OR UPDATE ON desk.slips FOR EACH ROW
             EXECUTE FUNCTION public.assign_document_number('number', 'slips', 'true', 'issued', 't');
         DROP TRIGGER insert_notes_number ON desk.notes;
         CREATE TRIGGER write_notes_number BEFORE INSERT OR UPDATE ON desk.notes FOR EACH ROW
             EXECUTE FUNCTION public.assign_document_number('number', 'notes', 'false', 'location_id')",
    ));
    let mut app = db.app();
    let draft = "INSERT INTO desk.slips (issued) VALUES (false) RETURNING number";
    let number = |app: &mut Client, sql: &str| -> Option<String> {
        ok(in_context(app, A.id, A.owner, |tx| Ok(tx.query_one(sql, &[])?.get(0))))
    };
    assert_eq!(number(&mut app, draft), None);
    assert_eq!(number(&mut app, "UPDATE desk.slips SET issued = true RETURNING number").as_deref(), Some("1"));
    assert_eq!(number(&mut app, "INSERT INTO desk.notes DEFAULT VALUES RETURNING number::text"), None);
    let place = "UPDATE desk.notes SET location_id = (SELECT id FROM shared.locations) RETURNING number::text";
    assert_eq!(number(&mut app, place).as_deref(), Some("1"));
    // Without the promise of no gaps a number may be given.
    assert_eq!(number(&mut app, "UPDATE desk.notes SET number = 7 RETURNING number::text").as_deref(), Some("7"));
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
