//! The records of data protection: consents that are never changed, deadlines, holds, retention, and that every column
//! that can hold personal data was classified. Export and erasure are in gdpr.rs.

use postgres::{Client, Error};
use std::collections::BTreeMap;
use thorbis_tests::listing::{assert_same, rows as listing};
use thorbis_tests::{
    A, B, Database, Tenant, as_owner, assert_none, assert_sqlstate, assert_sqlstate_in, findings, in_context, ok, one,
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

// --- retention

/// Rows of three people, one old and one new each, in a table of one's own; a policy that keeps a year.
fn with_old_rows(action: &str) -> Database {
    let db = Database::new();
    ok(db.superuser().batch_execute(&format!(
        "CREATE SCHEMA crm AUTHORIZATION thorbis_owner;
         CREATE TABLE crm.visits (tenant_id uuid, id uuid DEFAULT gen_random_uuid(), customer_id uuid, at timestamptz NOT NULL, remark text,
                                  PRIMARY KEY (tenant_id, id));
         ALTER TABLE crm.visits OWNER TO thorbis_owner;
         SELECT thorbis.protect('crm.visits', options => '{{\"pii\": [\"remark\"], \"subject\": {{\"kind\": \"customer\", \"column\": \"customer_id\"}}}}');
         INSERT INTO gdpr.retention_policies (tenant_id, table_name, timestamp_column, period, action, basis)
         VALUES ('{}', 'crm.visits', 'at', '1 year', '{action}', 'consent')",
        A.id
    )));
    for tenant in [&A, &B] {
        as_owner(&db, tenant, |tx| {
            tx.execute(
                "INSERT INTO crm.visits (customer_id, at, remark)
                 SELECT c, now() - age, 'came' FROM (VALUES ($1::uuid, interval '2 years'), ($1, '400 days'), ($2, '2 years'), ($2, '1 day'),
                                                            (NULL, '2 years'), (NULL, '1 hour')) v(c, age)",
                &[&tenant.customer, &tenant.restricted_customer],
            )
        });
    }
    db
}

/// (rows affected, error code) by table, of what an operator runs.
fn apply(client: &mut Client, dry_run: bool) -> BTreeMap<String, (i64, Option<String>)> {
    let sql = "SELECT table_name, rows_affected, error_code FROM gdpr.apply_retention($1) WHERE tenant_id = $2";
    let rows = ok(client.query(sql, &[&dry_run, &A.id]));
    rows.iter().map(|row| (row.get(0), (row.get(1), row.get(2)))).collect()
}

fn platform(db: &Database) -> Client {
    let login = db.role("operator", "LOGIN IN ROLE thorbis_platform");
    let mut client = db.connect_as(&login);
    ok(client.batch_execute("SET ROLE thorbis_platform"));
    client
}

fn visits(db: &Database, tenant: &Tenant) -> i64 {
    one(&mut db.superuser(), "SELECT count(*) FROM crm.visits WHERE tenant_id = $1", &[&tenant.id])
}

#[test]
fn retention_deletes_what_is_older_and_nothing_else() {
    let db = with_old_rows("delete");
    let mut operator = platform(&db);
    let before = listing(&mut db.superuser());
    assert_eq!(apply(&mut operator, true)["crm.visits"], (4, None));
    assert_same("a dry run", &before, &listing(&mut db.superuser()));
    let due = "SELECT due_count FROM gdpr.v_retention_due WHERE table_name = 'crm.visits'";
    assert_eq!(as_owner(&db, &A, |tx| Ok(one::<i64>(tx, due, &[]))), 4);
    assert_eq!(apply(&mut operator, false)["crm.visits"], (4, None));
    assert_eq!((visits(&db, &A), visits(&db, &B)), (2, 6), "B has no policy");
    assert_eq!(apply(&mut operator, false)["crm.visits"], (0, None));
}

#[test]
fn retention_erases_people_whose_rows_are_all_older() {
    let db = with_old_rows("erase_subject");
    let mut operator = platform(&db);
    assert_eq!(apply(&mut operator, true)["crm.visits"], (1, None));
    assert_eq!(apply(&mut operator, false)["crm.visits"], (1, None));
    let emails =
        as_owner(&db, &A, |tx| tx.query("SELECT email FROM shared.customers_pii WHERE email IS NOT NULL", &[]));
    assert_eq!(emails.iter().map(|row| row.get(0)).collect::<Vec<&str>>(), ["rita@aaaaaaaa.example"]);
    assert_eq!(apply(&mut operator, false)["crm.visits"], (0, None), "once");
    assert_eq!(
        as_owner(&db, &B, |tx| tx.query("SELECT email FROM shared.customers_pii WHERE email IS NOT NULL", &[])).len(),
        2
    );
}

#[test]
fn retention_respects_holds() {
    for action in ["delete", "erase_subject"] {
        let db = with_old_rows(action);
        let (mut operator, mut superuser) = (platform(&db), db.superuser());
        let place = |client: &mut Client, subject: &str| {
            ok(client.batch_execute(&format!(
                "UPDATE gdpr.legal_holds SET released_at = now() WHERE released_at IS NULL;
                 INSERT INTO gdpr.legal_holds (tenant_id, subject_kind, subject_id, reason) VALUES ('{}', {subject}, 'case 1')",
                A.id
            )));
        };
        let before = listing(&mut superuser)
            .into_iter()
            .filter(|line| line.contains("crm.visits") || line.contains("shared.customers"));
        let before: Vec<String> = before.collect();
        place(&mut superuser, "NULL, NULL");
        assert!(!apply(&mut operator, false).contains_key("crm.visits"), "{action}: the whole tenant is held");
        ok(superuser.execute("UPDATE shared.tenants SET legal_hold = true WHERE id = $1", &[&A.id]));
        place(&mut superuser, &format!("'customer', '{}'", A.restricted_customer));
        assert!(
            !apply(&mut operator, false).contains_key("crm.visits"),
            "{action}: so it is by the switch of the tenant"
        );
        ok(superuser.execute("UPDATE shared.tenants SET legal_hold = false WHERE id = $1", &[&A.id]));
        let after = listing(&mut superuser)
            .into_iter()
            .filter(|line| line.contains("crm.visits") || line.contains("shared.customers"));
        assert_same(action, &before, &after.collect::<Vec<_>>());
        place(&mut superuser, &format!("'customer', '{}'", A.customer));
        // The held customer's two rows stay, or the held customer; what is due of others is done.
        let expected = if action == "delete" { 2 } else { 0 };
        assert_eq!(apply(&mut operator, false)["crm.visits"], (expected, None), "{action}");
        let held = "SELECT count(*) FROM crm.visits_pii WHERE customer_id = $1 AND remark = 'came'";
        assert_eq!(as_owner(&db, &A, |tx| Ok(one::<i64>(tx, held, &[&A.customer]))), 2, "{action}");
    }
}

/// Tenants write policies; operators run them. Whatever the text says, it is a name or it is refused.
#[test]
fn policies_that_name_something_else_do_no_harm_and_stop_no_other() {
    let db = with_old_rows("delete");
    let mut superuser = db.superuser();
    ok(superuser.batch_execute(
        "CREATE TABLE public.loose (tenant_id uuid, id uuid, at timestamptz); CREATE VIEW crm.all_visits AS SELECT * FROM crm.visits",
    ));
    let policies = [
        ("crm.visits; DROP TABLE crm.visits", "at"),
        ("crm.visits t; --", "at"),
        ("crm.visits", "at) OR true --"),
        ("crm.visits", "id"),
        ("crm.visits", "nothing"),
        ("nothing.at_all", "at"),
        ("public.loose", "at"),
        ("crm.all_visits", "at"),
        ("pg_catalog.pg_class", "relname"),
        ("thorbis.data_keys", "created_at"),
        ("rbac.user_roles", "created_at"),
        ("shared.tenants", "created_at"),
        ("gdpr.consents", "at"),
        ("gdpr.erasures", "at"),
        ("\"unbalanced", "at"),
    ];
    for (table, column) in policies {
        as_owner(&db, &A, |tx| {
            tx.execute(
                "INSERT INTO gdpr.retention_policies (table_name, timestamp_column, period, action, basis) VALUES ($1, $2, '1 day', 'delete', 'x')",
                &[&table, &column],
            )
        });
    }
    let untouched = |client: &mut Client| -> Vec<String> {
        let changed = ["crm.visits", "gdpr.retention_policies"];
        listing(client).into_iter().filter(|line| changed.iter().all(|table| !line.starts_with(table))).collect()
    };
    let before = untouched(&mut superuser);
    let mut operator = platform(&db);
    let sql = "SELECT table_name, rows_affected, error_code FROM gdpr.apply_retention(false) WHERE tenant_id = $1";
    let results = ok(operator.query(sql, &[&A.id]));
    assert_eq!(results.len(), policies.len() + 1);
    let failed = results.iter().filter(|row| row.get::<_, Option<String>>(2).is_some()).count();
    assert_eq!(failed, policies.len(), "{results:?}");
    assert_eq!(visits(&db, &A), 2, "the good one was applied");
    assert_same("refused policies", &before, &untouched(&mut superuser));
    let due = "SELECT count(*) FROM gdpr.v_retention_due WHERE due_count IS NULL";
    assert_eq!(as_owner(&db, &A, |tx| Ok(one::<i64>(tx, due, &[]))), policies.len() as i64);
}

#[test]
fn application_applies_no_retention() {
    let db = with_old_rows("delete");
    for dry_run in [true, false] {
        assert_sqlstate(execute(&db, &format!("SELECT gdpr.apply_retention({dry_run})")), "42501");
    }
    assert_sqlstate(
        in_context(&mut db.app(), A.id, A.employee, |tx| {
            tx.execute("INSERT INTO gdpr.retention_policies (table_name, timestamp_column, period, action, basis) VALUES ('crm.visits', 'at', '1 day', 'delete', 'x')", &[])
        }),
        "42501",
    );
    for period in ["'0'", "'-1 day'", "'1 hour'"] {
        let insert = format!(
            "INSERT INTO gdpr.retention_policies (table_name, timestamp_column, period, action, basis) VALUES ('crm.visits', 'at', {period}, 'delete', 'x')"
        );
        assert_sqlstate(execute(&db, &insert), "23514");
    }
    assert_eq!(visits(&db, &A), 6);
}
