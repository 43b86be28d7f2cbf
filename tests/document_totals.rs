//! Stored totals, on tables of the DBA's own: right whoever writes what, and nobody forges them.

use thorbis_tests::bills::{PRICING, add, amounts, assert_right, bill, desk, run};
use thorbis_tests::{A, B, assert_sqlstate, assert_sqlstate_in, in_context, ok, one};
use uuid::Uuid;

// --- right amounts

#[test]
fn amounts_follow_the_lines() {
    let db = desk();
    let mut app = db.app();
    let id = bill(&mut app);
    assert_eq!(amounts(&db, id), ["0.00", "0.00", "0.00", "0.00"]);
    ok(run(&mut app, A.owner, &add(id, "10, 20")));
    assert_eq!(amounts(&db, id), ["30.00", "1.00", "2.90", "31.90"]);
    assert_right(&db);
    ok(run(&mut app, A.owner, "UPDATE desk.bill_lines SET quantity = 2 WHERE unit_price = 10"));
    assert_eq!(amounts(&db, id), ["40.00", "1.00", "3.90", "42.90"]);
    ok(run(&mut app, A.owner, "UPDATE desk.bill_lines SET voided_at = now() WHERE unit_price = 20"));
    assert_eq!(amounts(&db, id), ["20.00", "1.00", "1.90", "20.90"]);
    let voided: Option<String> =
        one(&mut db.superuser(), "SELECT line_total::text FROM desk.bill_lines WHERE unit_price = 20", &[]);
    assert_eq!(voided.as_deref(), Some("0.00"), "what does not count has no amount");
    ok(run(&mut app, A.owner, "DELETE FROM desk.bill_lines"));
    assert_eq!(amounts(&db, id), ["0.00", "0.00", "0.00", "0.00"]);
    assert_right(&db);
}

#[test]
fn amounts_follow_the_inputs_of_the_document() {
    let db = desk();
    let mut app = db.app();
    let id = bill(&mut app);
    ok(run(&mut app, A.owner, &add(id, "10, 20, 30")));
    ok(run(
        &mut app,
        A.owner,
        "UPDATE desk.bills SET tip = 5, pricing = '{\"taxes\": [{\"id\": \"vat\", \"percent\": \"20\"}]}'",
    ));
    assert_eq!(amounts(&db, id), ["60.00", "0.00", "12.00", "77.00"]);
    let lines =
        "SELECT string_agg(line_total::text || ' ' || line_taxes::text, ', ' ORDER BY unit_price) FROM desk.bill_lines";
    let lines: String = one(&mut db.superuser(), lines, &[]);
    assert_eq!(lines, r#"12.00 {"vat": "2.00"}, 24.00 {"vat": "4.00"}, 36.00 {"vat": "6.00"}"#);
    let noted = "SELECT calc_version IS NOT NULL AND length(input_hash) = 32 FROM desk.bills";
    assert!(one::<bool>(&mut db.superuser(), noted, &[]));
    assert_right(&db);
}

#[test]
fn line_that_moves_changes_both_documents() {
    let db = desk();
    let mut app = db.app();
    let (from, to) = (bill(&mut app), bill(&mut app));
    ok(run(&mut app, A.owner, &add(from, "10, 20")));
    ok(run(&mut app, A.owner, &format!("UPDATE desk.bill_lines SET bill_id = '{to}' WHERE unit_price = 20")));
    assert_eq!((&amounts(&db, from)[3], &amounts(&db, to)[3]), (&"9.90".to_owned(), &"20.90".to_owned()));
    ok(run(&mut app, A.owner, &format!("DELETE FROM desk.bills WHERE id = '{to}'")));
    assert_right(&db);
}

/// Amounts of lines and documents of two tenants in one statement of a job.
#[test]
fn job_writes_for_several_tenants_at_once() {
    let db = desk();
    let mut job = db.superuser();
    let sql = "INSERT INTO desk.bills (tenant_id, pricing) SELECT unnest($1::uuid[]), $2::text::jsonb";
    ok(job.execute(sql, &[&vec![A.id, B.id], &PRICING]));
    ok(job.batch_execute(
        "INSERT INTO desk.bill_lines (tenant_id, bill_id, unit_price) SELECT tenant_id, id, 11 FROM desk.bills",
    ));
    let right: i64 = one(&mut job, "SELECT count(*) FROM desk.bills WHERE total = 11.00", &[]);
    assert_eq!(right, 2);
    assert_right(&db);
}

#[test]
fn invalid_inputs_are_refused_with_their_code() {
    let db = desk();
    let mut app = db.app();
    let id = bill(&mut app);
    for (sql, state, code) in [
        ("UPDATE desk.bills SET pricing = '{\"discuonts\": []}'".to_owned(), "22023", "E_UNKNOWN_KEY"),
        (
            format!("INSERT INTO desk.bill_lines (bill_id, unit_price, quantity) VALUES ('{id}', 1, 0)"),
            "22023",
            "E_QUANTITY",
        ),
        (add(id, "99999999, 99999999"), "22003", "E_RANGE"),
        // Three decimal places, and columns with two.
        ("UPDATE desk.bills SET currency = 'KWD'".to_owned(), "22003", "decimal places"),
    ] {
        let error = assert_sqlstate(run(&mut app, A.owner, &sql), state);
        assert!(error.message().contains(code), "{sql}: {}", error.message());
    }
    assert_right(&db);
}

// --- whoever writes

/// The employee creates orders: lines may be written, and neither lines nor documents read.
#[test]
fn caller_who_sees_nothing_gets_right_amounts() {
    let db = desk();
    let mut app = db.app();
    let id = bill(&mut app);
    ok(run(&mut app, A.owner, &add(id, "10")));
    let take = "DELETE FROM rbac.role_permissions WHERE tenant_id = $1 AND role_id = $2 AND resource = 'orders' AND action = 'read'";
    ok(db.superuser().execute(take, &[&A.id, &A.employee_role]));
    for table in ["desk.bills", "desk.bill_lines"] {
        let sql = format!("SELECT 1 FROM {table}");
        assert_eq!(ok(in_context(&mut app, A.id, A.employee, |tx| tx.query(&sql, &[]))).len(), 0);
    }
    ok(run(&mut app, A.employee, &add(id, "20")));
    assert_eq!(amounts(&db, id), ["30.00", "1.00", "2.90", "31.90"]);
    assert_right(&db);
}

#[test]
fn amounts_cannot_be_forged() {
    let db = desk();
    let mut app = db.app();
    let id = bill(&mut app);
    ok(run(
        &mut app,
        A.owner,
        &format!(
            "INSERT INTO desk.bill_lines (bill_id, unit_price, net, line_total, line_taxes) VALUES ('{id}', 10, 1, 1, '{{}}')"
        ),
    ));
    let expected = ["10.00", "1.00", "0.90", "9.90"];
    for forged in [
        "UPDATE desk.bills SET total = 0, subtotal = 0, taxes = '{}', input_hash = NULL, calc_version = 'x'",
        "UPDATE desk.bills SET total = 0, note = 'paid', tip = NULL",
        "UPDATE desk.bill_lines SET line_total = 0",
        "UPDATE desk.bill_lines SET net = NULL, note = 'x'",
        "UPDATE desk.bill_lines SET line_taxes = '{\"vat\": \"0.00\"}'",
    ] {
        ok(run(&mut app, A.owner, forged));
        assert_eq!(amounts(&db, id), expected, "{forged}");
        assert_right(&db);
        // Nor by somebody for whom no policy holds.
        ok(db.superuser().batch_execute(forged));
        assert_right(&db);
    }
    let made: String = ok(in_context(&mut app, A.id, A.owner, |tx| {
        let sql = "INSERT INTO desk.bills (total, subtotal, taxes) VALUES (1000, 1, '{}') RETURNING total::text";
        Ok(tx.query_one(sql, &[])?.get(0))
    }));
    assert_eq!(made, "0.00");
}

/// What a tenant learns of another's document: nothing, not even that it is there.
#[test]
fn document_of_another_tenant_is_neither_read_nor_changed() {
    let db = desk();
    let mut job = db.superuser();
    let sql = "INSERT INTO desk.bills (tenant_id) VALUES ($1) RETURNING id";
    let theirs: Uuid = one(&mut job, sql, &[&B.id]);
    ok(job
        .execute("INSERT INTO desk.bill_lines (tenant_id, bill_id, unit_price) VALUES ($1, $2, 7)", &[&B.id, &theirs]));
    let mut app = db.app();
    let mut refused = |sql: &str, id: Uuid, states: &[&str]| {
        let result = in_context(&mut app, A.id, A.owner, |tx| tx.execute(sql, &[&id]));
        assert_sqlstate_in(result, states).message().to_owned()
    };
    let line = "INSERT INTO desk.bill_lines (bill_id, unit_price) VALUES ($1, 1)";
    assert_eq!(refused(line, theirs, &["23503"]), refused(line, Uuid::new_v4(), &["23503"]));
    let foreign = "INSERT INTO desk.bills (tenant_id, id, pricing) VALUES ('{b}', $1, '{\"nonsense\": 1}')";
    let foreign = foreign.replace("{b}", &B.id.to_string());
    assert_eq!(refused(&foreign, theirs, &["42501"]), refused(&foreign, Uuid::new_v4(), &["42501"]));
    assert_eq!(amounts(&db, theirs)[3], "7.00");
}

/// What a trigger of the DBA's own writes while the engine writes amounts counts as anything else does.
#[test]
fn trigger_on_lines_may_write_other_lines() {
    let db = desk();
    let mut app = db.app();
    let (id, other) = (bill(&mut app), bill(&mut app));
    let follower = "INSERT INTO desk.bill_lines (bill_id, unit_price, note) VALUES ('{bill}', 10, 'follows')";
    for bill in [id, other] {
        ok(run(&mut app, A.owner, &follower.replace("{bill}", &bill.to_string())));
    }
    ok(db.superuser().batch_execute(
        "CREATE FUNCTION desk.follow() RETURNS trigger LANGUAGE plpgsql AS $$
             BEGIN UPDATE desk.bill_lines SET quantity = 5 WHERE note = 'follows'; RETURN NULL; END $$;
         CREATE TRIGGER update_bill_lines_follow AFTER UPDATE ON desk.bill_lines FOR EACH ROW
             WHEN (NEW.unit_price = 20 AND OLD.net IS NULL) EXECUTE FUNCTION desk.follow()",
    ));
    ok(run(&mut app, A.owner, &add(id, "20")));
    assert_right(&db);
    assert_eq!((&amounts(&db, id)[0], &amounts(&db, other)[0]), (&"70.00".to_owned(), &"50.00".to_owned()));
}

// --- what it costs

/// A statement of many lines calculates once for each document, one that changes no input not at all.
#[test]
fn documents_are_written_once_a_statement_and_only_when_needed() {
    let db = desk();
    let mut app = db.app();
    let (one_bill, other) = (bill(&mut app), bill(&mut app));
    ok(db.superuser().batch_execute(
        "CREATE TABLE desk.seen (n int); ALTER TABLE desk.seen OWNER TO thorbis_owner;
         CREATE FUNCTION desk.count_writes() RETURNS trigger LANGUAGE plpgsql AS $$
             BEGIN INSERT INTO desk.seen VALUES (1); RETURN NULL; END $$;
         CREATE TRIGGER update_bills_seen AFTER UPDATE ON desk.bills FOR EACH ROW EXECUTE FUNCTION desk.count_writes();
         GRANT INSERT ON desk.seen TO thorbis_app",
    ));
    let mut writes = |sql: &str| -> i64 {
        ok(db.superuser().batch_execute("TRUNCATE desk.seen"));
        ok(run(&mut app, A.owner, sql));
        one(&mut db.superuser(), "SELECT count(*) FROM desk.seen", &[])
    };
    let lines = format!(
        "INSERT INTO desk.bill_lines (bill_id, unit_price)
         SELECT id, n FROM unnest('{{{one_bill}, {other}}}'::uuid[]) id, generate_series(1, 50) n"
    );
    assert_eq!(writes(&lines), 2);
    assert_eq!(writes("UPDATE desk.bill_lines SET note = 'x'"), 0);
    assert_eq!(writes("UPDATE desk.bill_lines SET quantity = quantity"), 0);
    assert_eq!(writes(&format!("UPDATE desk.bill_lines SET quantity = 2 WHERE bill_id = '{other}'")), 1);
    assert_eq!(writes("DELETE FROM desk.bill_lines"), 2);
}

// --- verification

#[test]
fn verification_finds_what_is_wrong() {
    let db = desk();
    let mut app = db.app();
    let (id, other) = (bill(&mut app), bill(&mut app));
    ok(run(&mut app, A.owner, &add(id, "10")));
    let mut job = db.superuser();
    ok(job.batch_execute(&format!(
        "ALTER TABLE desk.bills DISABLE TRIGGER USER; ALTER TABLE desk.bill_lines DISABLE TRIGGER USER;
         UPDATE desk.bills SET total = 5, taxes = NULL WHERE id = '{id}'; UPDATE desk.bill_lines SET net = 1;
         UPDATE desk.bills SET pricing = '{{\"nonsense\": 1}}' WHERE id = '{other}';
         ALTER TABLE desk.bills ENABLE TRIGGER USER; ALTER TABLE desk.bill_lines ENABLE TRIGGER USER"
    )));
    let found = |document: &str| -> Vec<String> {
        let sql = format!(
            "SELECT concat_ws(' ', CASE document_id WHEN '{id}' THEN 'bill' ELSE 'other' END, column_name, stored, expected,
                              CASE WHEN line_id IS NOT NULL THEN 'line' END)
               FROM thorbis.verify_totals({document}) WHERE tenant_id = '{}' ORDER BY 1",
            A.id
        );
        ok(db.superuser().query(&sql, &[])).iter().map(|row| row.get(0)).collect()
    };
    let expected = [
        "bill net 1.00 9.00 line",
        "bill taxes {\"vat\": \"0.90\"}",
        "bill total 5.00 9.90",
        "other * the inputs are not valid",
    ];
    assert_eq!(found("'desk.bills'"), expected);
    assert_eq!(found(""), expected);
    assert_eq!(found("'shared.customers'"), [""; 0]);
    assert_sqlstate(db.app().query("SELECT * FROM thorbis.verify_totals()", &[]), "42501");
}

/// Attached or described as nobody should.
#[test]
fn misused_trigger_says_so() {
    let db = desk();
    let mut job = db.superuser();
    for (trigger, fire, state) in [
        (
            "AFTER INSERT ON desk.bill_lines FOR EACH STATEMENT EXECUTE FUNCTION public.refresh_document_totals('{}')",
            "lines",
            "39P01",
        ),
        (
            "BEFORE INSERT ON desk.bill_lines FOR EACH ROW EXECUTE FUNCTION public.refresh_document_totals('{}')",
            "lines",
            "39P01",
        ),
        (
            "AFTER INSERT ON desk.bill_lines REFERENCING NEW TABLE AS other FOR EACH STATEMENT EXECUTE FUNCTION public.refresh_document_totals('{}')",
            "lines",
            "39P01",
        ),
        (
            "AFTER INSERT ON desk.bills FOR EACH ROW EXECUTE FUNCTION public.keep_document_totals('{}')",
            "bills",
            "39P01",
        ),
        (
            "BEFORE INSERT ON desk.bills FOR EACH ROW EXECUTE FUNCTION public.keep_document_totals('{}')",
            "bills",
            "22023",
        ),
        ("BEFORE INSERT ON desk.bills FOR EACH ROW EXECUTE FUNCTION public.keep_document_totals()", "bills", "22023"),
    ] {
        ok(job.batch_execute(&format!("CREATE TRIGGER a_misused {trigger}")));
        let sql = format!("INSERT INTO desk.bills (tenant_id) VALUES ('{}')", A.id);
        let lines =
            "INSERT INTO desk.bill_lines (tenant_id, bill_id, unit_price) SELECT tenant_id, id, 1 FROM desk.bills";
        let fired = if fire == "bills" {
            job.batch_execute(&sql)
        } else {
            ok(job.batch_execute(&sql));
            job.batch_execute(lines)
        };
        assert_sqlstate(fired, state);
        ok(job.batch_execute(
            "DROP TRIGGER IF EXISTS a_misused ON desk.bills; DROP TRIGGER IF EXISTS a_misused ON desk.bill_lines",
        ));
    }
}
