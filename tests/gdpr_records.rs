//! The records of data protection: consents that are never changed, deadlines, holds, and that every column that can hold
//! personal data was classified. Export and erasure are in gdpr.rs, retention is in retention.rs.

use postgres::Error;
use thorbis_tests::listing::{assert_same, rows as listing};
use thorbis_tests::{
    A, B, Database, as_owner, assert_none, assert_sqlstate, assert_sqlstate_in, findings, in_context, ok, one,
};
use uuid::Uuid;

/// One statement of A's owner.
fn execute(db: &Database, sql: &str) -> Result<u64, Error> {
    in_context(&mut db.app(), A.id, A.owner, |tx| tx.execute(sql, &[]))
}

// --- classification

/// The same rule as the view's, written a second time.
#[test]
fn every_column_that_can_hold_personal_data_is_classified() {
    assert_none(
        "neither personal nor looked at",
        "SELECT format('%s.%I', a.attrelid::regclass, a.attname) FROM thorbis.protected_tables p
           JOIN pg_attribute a ON a.attrelid = p.table_id AND a.attnum > 0 AND NOT a.attisdropped
          WHERE format_type(a.atttypid, NULL) ~ '^(text|character varying|character|name|citext|jsonb?|inet|cidr)(\\[\\])?$'
            AND NOT EXISTS (SELECT FROM gdpr.pii_catalog c
                             WHERE c.table_id = p.table_id
                               AND a.attname IN (c.column_name, CASE c.method WHEN 'encrypt' THEN c.column_name || '_encrypted' END))",
        &[],
    );
    assert_none("gap", "SELECT column_name FROM gdpr.v_pii_coverage_gaps", &[]);
    assert_none("unclassified", "SELECT object FROM thorbis.doctor() WHERE code = 'unclassified_column'", &[]);
    assert_none(
        "classified, and not there",
        "SELECT format('%s.%s', table_id, column_name) FROM gdpr.pii_catalog c
          WHERE NOT EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = c.table_id AND a.attname = c.column_name AND NOT attisdropped)",
        &[],
    );
    assert_none(
        "classified twice",
        "SELECT format('%s.%s', table_id, column_name) FROM gdpr.pii_catalog GROUP BY 1 HAVING count(*) > 1",
        &[],
    );
}

#[test]
fn columns_added_later_are_reported_until_they_are_classified() {
    let db = Database::new();
    let mut client = db.superuser();
    ok(client.batch_execute("CREATE DOMAIN public.nickname AS text CHECK (value <> '')"));
    for (n, data_type) in [
        "text",
        "varchar(10)",
        "char(3)",
        "name",
        "jsonb",
        "json",
        "inet",
        "cidr",
        "text[]",
        "jsonb[]",
        "public.nickname",
    ]
    .iter()
    .enumerate()
    {
        ok(client.batch_execute(&format!("ALTER TABLE shared.locations ADD COLUMN added{n} {data_type}")));
        let gaps = "SELECT count(*) FROM gdpr.v_pii_coverage_gaps WHERE table_id = 'shared.locations'::regclass";
        assert_eq!(one::<i64>(&mut db.app(), gaps, &[]), 1, "{data_type}: the application sees it too");
        let found = ok(findings(&mut client)).into_iter().filter(|f| f.code == "unclassified_column");
        let found: Vec<_> = found.map(|f| (f.severity, f.object.contains(&format!("added{n}")))).collect();
        assert_eq!(found, [("warning".to_owned(), true)], "{data_type}");
        ok(client.batch_execute(&format!("ALTER TABLE shared.locations DROP COLUMN added{n}")));
    }
    ok(client.batch_execute("ALTER TABLE shared.locations ADD COLUMN visitors integer, ADD COLUMN opened date"));
    assert_eq!(one::<i64>(&mut client, "SELECT count(*) FROM gdpr.v_pii_coverage_gaps", &[]), 0, "numbers and dates");
}

// --- consents

fn decide(db: &Database, decision: &str, at: &str) {
    let sql = format!(
        "INSERT INTO gdpr.consents (customer_id, purpose, decision, text_version, source, at)
         VALUES ('{}', 'telephone', '{decision}', 'v2', 'paper', {at})",
        A.customer
    );
    assert_eq!(ok(execute(db, &sql)), 1);
}

#[test]
fn consents_are_added_and_never_changed() {
    let db = Database::new();
    decide(&db, "granted", "now()");
    let attempts = [
        "UPDATE gdpr.consents SET decision = 'granted'",
        "UPDATE gdpr.consents SET at = '2001-01-01'",
        "DELETE FROM gdpr.consents",
        "TRUNCATE gdpr.consents",
    ];
    let before = listing(&mut db.superuser());
    for sql in attempts {
        assert_sqlstate(execute(&db, sql), "42501");
    }
    // Not with the privilege either.
    ok(db.superuser().batch_execute(
        "GRANT UPDATE, DELETE, TRUNCATE ON gdpr.consents, gdpr.erasures TO thorbis_app;
         CREATE POLICY anything ON gdpr.consents TO thorbis_app USING (true) WITH CHECK (true);
         CREATE POLICY anything ON gdpr.erasures TO thorbis_app USING (true) WITH CHECK (true)",
    ));
    for sql in attempts {
        assert_sqlstate(execute(&db, sql), "42501");
        let erasures = sql.replace("gdpr.consents", "gdpr.erasures").replace("decision = 'granted'", "counts = '{}'");
        assert_sqlstate(execute(&db, &erasures), "42501");
    }
    assert_same("refused changes", &before, &listing(&mut db.superuser()));
}

#[test]
fn latest_decision_counts_and_a_withdrawal_at_once() {
    let db = Database::new();
    let current = || -> Option<bool> {
        let sql = "SELECT is_granted FROM gdpr.v_consent_current WHERE customer_id = $1 AND purpose = 'telephone'";
        as_owner(&db, &A, |tx| Ok(tx.query_opt(sql, &[&A.customer])?.map(|row| row.get(0))))
    };
    assert_eq!(current(), None);
    decide(&db, "granted", "now() - interval '2 days'");
    assert_eq!(current(), Some(true));
    decide(&db, "withdrawn", "now()");
    assert_eq!(current(), Some(false));
    // One that was expressed before and entered later changes nothing; of the same moment the withdrawal counts.
    decide(&db, "granted", "now() - interval '1 day'");
    assert_eq!(current(), Some(false));
    decide(&db, "granted", "(SELECT max(at) FROM gdpr.consents)");
    assert_eq!(current(), Some(false));
    decide(&db, "granted", "now()");
    assert_eq!(current(), Some(true));
    let other =
        as_owner(&db, &B, |tx| tx.query("SELECT 1 FROM gdpr.v_consent_current WHERE purpose = 'telephone'", &[]));
    assert!(other.is_empty());
}

#[test]
fn consents_that_cannot_be_are_refused() {
    let db = Database::new();
    let insert = |customer: Uuid, values: &str| {
        execute(
            &db,
            &format!(
                "INSERT INTO gdpr.consents (customer_id, purpose, decision, text_version, source, at) VALUES ('{customer}', {values})"
            ),
        )
    };
    assert_sqlstate(insert(B.customer, "'news', 'granted', 'v1', 'web', now()"), "23503");
    for values in [
        "'news', 'granted', 'v1', 'web', now() + interval '1 day'",
        "'news', 'granted', NULL, 'web', now()",
        "'news', 'granted', ' ', 'web', now()",
        "'news', 'perhaps', 'v1', 'web', now()",
        "'no word', 'granted', 'v1', 'web', now()",
        "'news', 'granted', 'v1', '', now()",
    ] {
        assert_sqlstate(insert(A.customer, values), "23514");
    }
}

// --- requests and breaches

#[test]
fn requests_are_due_in_a_month_that_can_be_extended_by_two() {
    let db = Database::new();
    let request = |received: &str| -> Uuid {
        let sql = format!(
            "INSERT INTO gdpr.data_subject_requests (customer_id, type, received_at) VALUES ('{}', 'access', {received}) RETURNING id",
            A.customer
        );
        as_owner(&db, &A, |tx| Ok(one(tx, &sql, &[])))
    };
    let deadline = |id: Uuid| -> Option<(String, bool, bool)> {
        let sql = "SELECT to_char(due_at AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI'), is_extended, is_overdue FROM gdpr.v_dsr_deadlines
                    WHERE data_subject_request_id = $1";
        as_owner(&db, &A, |tx| Ok(tx.query_opt(sql, &[&id])?.map(|row| (row.get(0), row.get(1), row.get(2)))))
    };
    let set =
        |id: Uuid, set: &str| execute(&db, &format!("UPDATE gdpr.data_subject_requests SET {set} WHERE id = '{id}'"));
    for (received, due) in [
        ("'2024-01-31 10:00+00'", "2024-02-29 10:00"),
        ("'2024-03-15 23:30+00'", "2024-04-15 23:30"),
        ("'2023-01-31 10:00+00'", "2023-02-28 10:00"),
    ] {
        assert_eq!(deadline(request(received)), Some((due.into(), false, true)), "{received}");
    }
    assert_eq!(deadline(request("now()")).map(|(_, extended, overdue)| (extended, overdue)), Some((false, false)));
    let id = request("'2024-01-31 10:00+00'");
    assert_eq!(ok(set(id, "extended_until = '2024-04-30 10:00+00', extension_reason = 'complexity'")), 1);
    assert_eq!(deadline(id), Some(("2024-04-30 10:00".into(), true, true)));
    for wrong in [
        "extended_until = '2024-05-01 10:00+00'",
        "extended_until = '2024-02-10 10:00+00'",
        "extension_reason = NULL",
        "extension_reason = 'busy'",
        "status = 'fulfilled'",
        "status = 'in_progress', verified_at = NULL",
        "status = 'rejected', closed_at = now()",
        "status = 'received', closed_at = now()",
        "verified_at = '2001-01-01'",
    ] {
        assert_sqlstate(set(id, wrong), "23514");
    }
    assert_sqlstate_in(set(id, "due_at = '2030-01-01'"), &["428C9", "42501"]);
    assert_eq!(ok(set(id, "status = 'verified', verified_at = now()")), 1);
    assert_eq!(ok(set(id, "status = 'in_progress', started_at = now()")), 1);
    assert!(deadline(id).is_some());
    assert_eq!(ok(set(id, "status = 'fulfilled', closed_at = now()")), 1);
    assert_eq!(deadline(id), None, "it is answered");
    assert_sqlstate(
        execute(
            &db,
            &format!("INSERT INTO gdpr.data_subject_requests (customer_id, type) VALUES ('{}', 'access')", B.customer),
        ),
        "23503",
    );
    let others = in_context(&mut db.app(), A.id, A.employee, |tx| tx.query("SELECT 1 FROM gdpr.v_dsr_deadlines", &[]));
    assert!(ok(others).is_empty(), "the employee may not read them");
}

#[test]
fn breaches_are_due_in_72_hours_and_stay() {
    let db = Database::new();
    let due: bool = as_owner(&db, &A, |tx| {
        let sql = "INSERT INTO gdpr.breaches (description) VALUES ('mail to the wrong guest') RETURNING authority_due_at = aware_at + interval '72 hours'";
        Ok(one(tx, sql, &[]))
    });
    assert!(due);
    for wrong in [
        "closed_at = now()",
        "risk = 'high', closed_at = now(), authority_notified_at = now()",
        "authority_notified_at = aware_at + interval '73 hours'",
        "risk = 'unknown'",
    ] {
        assert_sqlstate(
            execute(&db, &format!("UPDATE gdpr.breaches SET {wrong} WHERE description LIKE 'mail%'")),
            "23514",
        );
    }
    assert_sqlstate(execute(&db, "DELETE FROM gdpr.breaches"), "42501");
}

#[test]
fn holds_are_released_not_deleted() {
    let db = Database::new();
    ok(execute(&db, "INSERT INTO gdpr.legal_holds (reason) VALUES ('case 1')"));
    for sql in [
        "DELETE FROM gdpr.legal_holds",
        "UPDATE gdpr.legal_holds SET reason = 'none'",
        "UPDATE gdpr.legal_holds SET subject_id = NULL",
    ] {
        assert_sqlstate(execute(&db, sql), "42501");
    }
    assert_eq!(ok(execute(&db, "UPDATE gdpr.legal_holds SET released_at = now() WHERE reason = 'case 1'")), 1);
}
