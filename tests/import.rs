//! thorbis.import_rows(): bulk loading where row security makes PostgreSQL refuse COPY FROM. What it must not let through
//! is in isolation_writes.rs too.

use postgres::{Client, Error, Transaction};
use std::io::Write;
use thorbis_tests::{A, B, Database, assert_sqlstate, in_context, ok, one};
use uuid::Uuid;

/// What one call of A's owner imports.
fn import(app: &mut Client, arguments: &str) -> Result<i64, Error> {
    in_context(app, A.id, A.owner, |tx| {
        Ok(tx.query_one(&format!("SELECT thorbis.import_rows({arguments})"), &[])?.get(0))
    })
}

/// (tenant, first name, email, created_by) of the customers made since the fixture.
fn imported(db: &Database) -> Vec<(Uuid, String, Option<String>, Option<Uuid>)> {
    let sql = "SELECT tenant_id, first_name, email, created_by FROM shared.customers_pii
                WHERE last_name = 'Imported' ORDER BY 2";
    let rows = in_context(&mut db.superuser(), A.id, A.owner, |tx| tx.query(sql, &[]));
    ok(rows).iter().map(|r| (r.get(0), r.get(1), r.get(2), r.get(3))).collect()
}

#[test]
fn json_objects_become_rows_with_the_defaults_of_the_table() {
    let db = Database::new();
    let rows = r#"[{"first_name": "Ann", "last_name": "Imported", "email": "ann@example.com", "tags": ["a", "b"]},
                   {"first_name": "Bob", "last_name": "Imported"}]"#;
    // Not typed: the second argument is jsonb.
    assert_eq!(ok(import(&mut db.app(), &format!("'shared.customers', '{rows}'"))), 2);
    assert_eq!(
        imported(&db),
        [
            (A.id, "Ann".into(), Some("ann@example.com".into()), Some(A.owner)),
            (A.id, "Bob".into(), None, Some(A.owner))
        ]
    );
    let tags: Vec<String> = one(&mut db.superuser(), "SELECT tags FROM shared.customers WHERE first_name = 'Ann'", &[]);
    assert_eq!(tags, ["a", "b"]);
    for nothing in ["[]", "[{}, {}]"] {
        assert_eq!(ok(import(&mut db.app(), &format!("'shared.customers', rows => '{nothing}'"))), 0, "{nothing}");
    }
}

#[test]
fn triggers_number_imported_orders() {
    let db = Database::new();
    let rows = r#"[{"order_type": "online"}, {"order_type": "takeout"}, {"order_type": "online"}]"#;
    assert_eq!(ok(import(&mut db.app(), &format!("'restaurants.orders', '{rows}'"))), 3);
    let sql = "SELECT count(*) = max(order_number) FROM restaurants.orders WHERE tenant_id = $1";
    assert!(one::<bool>(&mut db.superuser(), sql, &[&A.id]), "numbered without gaps");
}

fn copy(tx: &mut Transaction<'_>, into: &str, lines: &str) -> Result<(), Error> {
    let mut writer = tx.copy_in(&format!("COPY {into} FROM STDIN"))?;
    writer.write_all(lines.as_bytes()).expect("the connection takes it");
    writer.finish().map(drop)
}

#[test]
fn rows_of_a_temporary_table_that_copy_filled_are_imported() {
    let db = Database::new();
    let lines: String = (0..1000).map(|n| format!("C{n:04}\tImported\t{n}@example.com\n")).collect();
    let imported_now: i64 = ok(in_context(&mut db.app(), A.id, A.owner, |tx| {
        tx.batch_execute(
            "CREATE TEMPORARY TABLE staging (first_name text, last_name text, email text) ON COMMIT DROP",
        )?;
        copy(tx, "staging", &lines)?;
        Ok(tx.query_one("SELECT thorbis.import_rows('shared.customers', source => 'staging')", &[])?.get(0))
    }));
    assert_eq!(imported_now, 1000);
    let rows = imported(&db);
    assert_eq!((rows.len(), rows[7].1.as_str(), rows[7].3), (1000, "C0007", Some(A.owner)));
    assert!(rows.iter().all(|row| row.0 == A.id));
}

/// The second of three is bad: none is there afterwards.
#[test]
fn one_bad_row_refuses_all() {
    let db = Database::new();
    let row = |more: &str| format!(r#"{{"first_name": "X", "last_name": "Imported"{more}}}"#);
    for (bad, code) in [
        (format!(r#", "tenant_id": "{}""#, B.id), "42501"),
        (r#", "email": "no address""#.into(), "23514"),
        (r#", "first_name": null"#.into(), "23502"),
        (format!(r#", "merged_into_id": "{}""#, B.customer), "23503"),
        (r#", "tax_exempt": "perhaps""#.into(), "22P02"),
    ] {
        // Columns that only some objects name are NULL in the others, so all name the tenant.
        let own = format!(r#", "tenant_id": "{}""#, A.id);
        let own = if bad.contains("tenant_id") { own.as_str() } else { "" };
        let tax = if bad.contains("tax") { r#", "tax_exempt": true"# } else { "" };
        let good = row(&format!("{own}{tax}"));
        let rows = format!("[{good}, {}, {good}]", row(&bad));
        assert_sqlstate(import(&mut db.app(), &format!("'shared.customers', '{rows}'")), code);
        assert_eq!(imported(&db), [], "{bad}");
    }
    let staged = in_context(&mut db.app(), A.id, A.owner, |tx| {
        tx.batch_execute("CREATE TEMPORARY TABLE staging (first_name text, last_name text)")?;
        copy(tx, "staging", "Ann\tImported\nBob\t\\N\n")?;
        tx.execute("SELECT thorbis.import_rows('shared.customers', source => 'staging')", &[])
    });
    assert_sqlstate(staged, "23502");
    assert_eq!(imported(&db), []);
}

#[test]
fn a_permission_is_needed_like_for_any_insert() {
    let db = Database::new();
    let call = r#"SELECT thorbis.import_rows('shared.customers', '[{"first_name": "X", "last_name": "Imported"}]')"#;
    assert_sqlstate(in_context(&mut db.app(), A.id, A.employee, |tx| tx.execute(call, &[])), "42501");
    assert_sqlstate(db.app().execute(call, &[]), "42501");
    ok(db.superuser().batch_execute("CREATE TABLE public.secret AS SELECT 'X' AS first_name, 'Imported' AS last_name"));
    let unreadable = "SELECT thorbis.import_rows('shared.customers', source => 'public.secret')";
    assert_sqlstate(in_context(&mut db.app(), A.id, A.owner, |tx| tx.execute(unreadable, &[])), "42501");
    assert_eq!(imported(&db), []);
}

#[test]
fn columns_that_are_not_there_or_computed_are_refused() {
    let db = Database::new();
    ok(db.superuser().batch_execute(
        "CREATE TABLE public.boxes (tenant_id uuid, id uuid DEFAULT gen_random_uuid(), width int, height int,
                                    area int GENERATED ALWAYS AS (width * height) STORED, PRIMARY KEY (tenant_id, id));
         ALTER TABLE public.boxes OWNER TO thorbis_owner; SELECT thorbis.protect('public.boxes')",
    ));
    let mut app = db.app();
    for (rows, column) in [
        (r#"[{"width": 2, "depth": 3}]"#, "depth"),
        (r#"[{"width": 2}, {"Width": 3}]"#, "Width"),
        (r#"[{"width": 2, "area": 3}]"#, "area"),
        (r#"[{"width": 2, "x) SELECT 1; --": 3}]"#, "x) SELECT 1; --"),
        (r#"[{"width": 2, "": 3}]"#, ""),
    ] {
        let error = assert_sqlstate(import(&mut app, &format!("'public.boxes', '{rows}'")), "42703");
        assert!(error.message().contains(&format!("\"{column}\"")), "{}", error.message());
        assert!(error.hint().is_some_and(|hint| hint.contains("column of the target")), "{:?}", error.hint());
    }
    let staged = in_context(&mut app, A.id, A.owner, |tx| {
        tx.batch_execute("CREATE TEMPORARY TABLE staging (width int, area int)")?;
        tx.execute("SELECT thorbis.import_rows('public.boxes', source => 'staging')", &[])
    });
    assert_sqlstate(staged, "42703");
    assert_eq!(ok(import(&mut app, r#"'public.boxes', '[{"width": 2, "height": 3}]'"#)), 1);
    let area = in_context(&mut app, A.id, A.owner, |tx| Ok(one::<i32>(tx, "SELECT area FROM public.boxes", &[])));
    assert_eq!(ok(area), 6);
}

#[test]
fn names_are_quoted() {
    let db = Database::new();
    ok(db.superuser().batch_execute(
        r#"CREATE SCHEMA "My ""Schema"; ALTER SCHEMA "My ""Schema" OWNER TO thorbis_owner;
           CREATE TABLE "My ""Schema"."T'able; DROP" (tenant_id uuid, id uuid DEFAULT gen_random_uuid(), "Col""umn" text,
               "select" int, PRIMARY KEY (tenant_id, id));
           ALTER TABLE "My ""Schema"."T'able; DROP" OWNER TO thorbis_owner;
           SELECT thorbis.protect('"My ""Schema"."T''able; DROP"')"#,
    ));
    let target = r#"'"My ""Schema"."T''able; DROP"'"#;
    let mut app = db.app();
    assert_eq!(ok(import(&mut app, &format!(r#"{target}, '[{{"Col\"umn": "it''s", "select": 7}}]'"#))), 1);
    let from_table: i64 = ok(in_context(&mut app, A.id, A.owner, |tx| {
        tx.batch_execute(
            r#"CREATE TEMPORARY TABLE "St'aging; Table" ("select" int, "Col""umn" text);
               INSERT INTO "St'aging; Table" VALUES (8, 'two')"#,
        )?;
        let call = format!(r#"SELECT thorbis.import_rows({target}, source => '"St''aging; Table"')"#);
        Ok(tx.query_one(&call, &[])?.get(0))
    }));
    assert_eq!(from_table, 1);
    let sum = r#"SELECT sum("select") FROM "My ""Schema"."T'able; DROP" WHERE "Col""umn" IN ('it''s', 'two')"#;
    assert_eq!(ok(in_context(&mut app, A.id, A.owner, |tx| Ok(one::<i64>(tx, sum, &[])))), 15);
}

#[test]
fn rows_come_from_exactly_one_place() {
    let db = Database::new();
    let mut app = db.app();
    let (rows, source) = ("rows => '[]'", "source => 'shared.customers'");
    for (arguments, code) in [
        ("'shared.customers'".to_owned(), "22023"),
        ("NULL, '[]'".to_owned(), "22004"),
        (format!("'shared.customers', {rows}, {source}"), "22023"),
        ("'shared.customers', '{}'".to_owned(), "22023"),
        ("'shared.customers', '[1, 2]'".to_owned(), "22023"),
        ("'shared.customers', '\"text\"'".to_owned(), "22023"),
    ] {
        let error = assert_sqlstate(import(&mut app, &arguments), code);
        assert!(error.hint().is_some_and(|hint| !hint.is_empty()), "{arguments}: no hint");
    }
    let functions = "SELECT count(*) FROM pg_proc WHERE proname = 'import_rows'";
    assert_eq!(one::<i64>(&mut db.superuser(), functions, &[]), 1);
}
