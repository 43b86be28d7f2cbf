//! Events for other systems: there if and only if their cause was committed, of the tenant of the row, and without personal
//! data. How they are consumed is in outbox_consumers.rs.

use thorbis_tests::events::{NOTES, claim, events, note, permit, with_notes};
use thorbis_tests::{A, B, Database, as_owner, assert_sqlstate, in_context, ok, one};
use uuid::Uuid;

#[test]
fn an_event_is_there_if_its_cause_is() {
    let db = with_notes();
    let mut app = db.app();
    let failed = in_context(&mut app, A.id, A.owner, |tx| {
        note(tx, 1)?;
        tx.batch_execute("SELECT 1 / 0")
    });
    assert_sqlstate(failed, "22012");
    assert_eq!(events(&db), 0);
    as_owner(&db, &A, |tx| {
        note(tx, 1)?;
        tx.batch_execute("SAVEPOINT s")?;
        note(tx, 2)?;
        tx.batch_execute("ROLLBACK TO s")
    });
    assert_eq!(claim(&mut app, &A, "'x'").iter().map(|(_, stars)| *stars).collect::<Vec<_>>(), [1]);
}

#[test]
fn events_show_the_listed_columns_and_what_happened() {
    let db = with_notes();
    let id: Uuid = as_owner(&db, &A, |tx| {
        let sql = "INSERT INTO crm.notes (stars, price, at, during, is_public, extra, body, mood)
                   VALUES (5, 12.340, '2026-05-04 10:00+02', '[2026-05-04 10:00+02,)', true, '{\"a\": [1, null]}', 'secret', 'sad')
                   RETURNING id";
        let id: Uuid = tx.query_one(sql, &[])?.get(0);
        // The session's settings do not show.
        tx.batch_execute("SET LOCAL timezone = 'Asia/Tokyo'; SET LOCAL datestyle = 'German'")?;
        tx.execute("UPDATE crm.notes SET stars = NULL, is_public = false, extra = NULL WHERE id = $1", &[&id])?;
        tx.execute("DELETE FROM crm.notes WHERE id = $1", &[&id])?;
        Ok(id)
    });
    let rows = ok(db.superuser().query(
        "SELECT topic, document, document_id, operation, payload::text, tenant_id FROM shared.outbox ORDER BY occurred_at",
        &[],
    ));
    let told: Vec<(String, String)> = rows.iter().map(|row| (row.get(3), row.get(4))).collect();
    let (at, during) = ("2026-05-04 08:00:00+00", r#"[\"2026-05-04 08:00:00+00\",)"#);
    let payload = |stars: &str, public: &str, extra: &str| {
        format!(
            "{{\"at\": \"{at}\", \"extra\": {extra}, \"price\": 12.340, \"stars\": {stars}, \"during\": \"{during}\", \
             \"is_public\": {public}, \"customer_id\": null}}"
        )
    };
    assert_eq!(
        told,
        [
            ("insert".into(), payload("5", "true", "{\"a\": [1, null]}")),
            ("update".into(), payload("null", "false", "null")),
            ("delete".into(), payload("null", "false", "null")),
        ]
    );
    for row in rows {
        let about: (String, String, Uuid, Uuid) = (row.get(0), row.get(1), row.get(2), row.get(5));
        assert_eq!(about, ("note".into(), "crm.notes".into(), id, A.id));
    }
}

/// Listed by mistake, personal data stays where it is: the write is refused, also when it became personal later.
#[test]
fn personal_columns_go_into_no_event() {
    let db = with_notes();
    let mut superuser = db.superuser();
    for column in ["body", "mood", "mood_encrypted"] {
        ok(superuser.batch_execute(&format!(
            "CREATE OR REPLACE TRIGGER write_notes_event AFTER INSERT ON crm.notes FOR EACH ROW
                 EXECUTE FUNCTION write_outbox_event('note', 'stars', '{column}')"
        )));
        let refused = in_context(&mut db.app(), A.id, A.owner, |tx| note(tx, 1));
        let error = assert_sqlstate(refused, "42501");
        assert!(error.message().contains(&format!("\"{column}\"")), "{}", error.message());
    }
    ok(superuser.batch_execute(
        "CREATE OR REPLACE TRIGGER write_notes_event AFTER INSERT ON crm.notes FOR EACH ROW
             EXECUTE FUNCTION write_outbox_event('note', 'extra')",
    ));
    let mut app = db.app();
    ok(in_context(&mut app, A.id, A.owner, |tx| note(tx, 1)));
    ok(superuser.batch_execute(
        r#"SELECT thorbis.protect('crm.notes', 'customers', '{"pii": [{"column": "body", "method": "clear"}, "mood",
            {"column": "extra", "method": "clear"}], "subject": {"kind": "customer", "column": "customer_id"}}')"#,
    ));
    assert_sqlstate(in_context(&mut app, A.id, A.owner, |tx| note(tx, 1)), "42501");
}

#[test]
fn what_is_not_protected_or_listed_wrongly_is_refused() {
    let db = Database::new();
    let mut superuser = db.superuser();
    ok(superuser.batch_execute("CREATE TABLE public.t (tenant_id uuid, id uuid, a int)"));
    for (columns, code) in [("'topic', 'a'", "55000"), ("", "39P01")] {
        ok(superuser.batch_execute(&format!(
            "CREATE OR REPLACE TRIGGER e AFTER INSERT ON public.t FOR EACH ROW EXECUTE FUNCTION write_outbox_event({columns})"
        )));
        assert_sqlstate(superuser.batch_execute("INSERT INTO public.t VALUES (NULL, NULL, 1)"), code);
    }
    ok(superuser.batch_execute(NOTES));
    ok(superuser.batch_execute(
        "CREATE OR REPLACE TRIGGER write_notes_event AFTER INSERT ON crm.notes FOR EACH ROW
             EXECUTE FUNCTION write_outbox_event('note', 'nowhere')",
    ));
    assert_sqlstate(in_context(&mut db.app(), A.id, A.owner, |tx| note(tx, 1)), "42703");
}

#[test]
fn who_may_neither_read_nor_write_the_outbox_causes_events_all_the_same() {
    let db = with_notes();
    permit(&db, "customers", "create");
    let mut app = db.app();
    ok(in_context(&mut app, A.id, A.employee, |tx| tx.execute("INSERT INTO crm.notes (stars) VALUES (3)", &[])));
    // A job without a user, for another tenant than any context says.
    ok(db.superuser().execute("INSERT INTO crm.notes (tenant_id, stars) VALUES ($1, 4)", &[&B.id]));
    let of: Vec<Uuid> = ok(db.superuser().query("SELECT tenant_id FROM shared.outbox ORDER BY occurred_at", &[]))
        .iter()
        .map(|row| row.get(0))
        .collect();
    assert_eq!(of, [A.id, B.id], "the tenant is that of the row");
    let seen =
        in_context(&mut app, A.id, A.employee, |tx| Ok(one::<i64>(tx, "SELECT count(*) FROM shared.outbox", &[])));
    assert_eq!(ok(seen), 0);
    for sql in [
        "INSERT INTO shared.outbox (topic, document, document_id, operation, payload)
         VALUES ('x', 'x', gen_random_uuid(), 'insert', '{}')",
        "UPDATE shared.outbox SET published_at = now()",
        "DELETE FROM shared.outbox",
    ] {
        assert_sqlstate(in_context(&mut app, A.id, A.owner, |tx| tx.batch_execute(sql)), "42501");
    }
}

#[test]
fn tenants_with_events_can_be_deleted() {
    let db = with_notes();
    as_owner(&db, &B, |tx| note(tx, 1));
    ok(db.superuser().batch_execute(
        "CREATE TABLE crm.tickets (tenant_id uuid REFERENCES shared.tenants ON DELETE CASCADE, id uuid DEFAULT gen_random_uuid(),
             PRIMARY KEY (tenant_id, id));
         ALTER TABLE crm.tickets OWNER TO thorbis_owner; SELECT thorbis.protect('crm.tickets', 'customers');
         CREATE TRIGGER write_tickets_event AFTER INSERT OR DELETE ON crm.tickets FOR EACH ROW
             EXECUTE FUNCTION write_outbox_event('ticket')",
    ));
    // Tenant C has a ticket only: the other tables of a tenant keep it from being deleted just so.
    let c = Uuid::new_v4();
    let mut superuser = db.superuser();
    ok(superuser.execute("INSERT INTO shared.tenants (id, name, slug) VALUES ($1, 'C', 'c')", &[&c]));
    ok(superuser.execute("INSERT INTO crm.tickets (tenant_id) VALUES ($1)", &[&c]));
    assert_eq!(ok(superuser.execute("DELETE FROM shared.tenants WHERE id = $1", &[&c])), 1);
    assert_eq!(one::<i64>(&mut superuser, "SELECT count(*) FROM shared.outbox WHERE tenant_id = $1", &[&c]), 0);
}

#[test]
fn bookings_tell_of_themselves_without_telling_of_people() {
    let db = Database::new();
    ok(db.superuser().batch_execute("DELETE FROM shared.outbox"));
    as_owner(&db, &A, |tx| {
        tx.batch_execute(
            "UPDATE shared.bookings SET notes = 'Mrs. Jones'; UPDATE shared.bookings SET status = 'cancelled'",
        )
    });
    let told: String = one(&mut db.superuser(), "SELECT string_agg(to_jsonb(o)::text, ' ') FROM shared.outbox o", &[]);
    assert!(told.contains("cancelled") && !told.contains("Jones") && told.matches("\"topic\"").count() == 1, "{told}");
    assert!(!told.contains(&A.customer.to_string()), "{told}");
}
