//! Retention: what tenants wrote down is done by operators, to what is due and to nothing else.

use postgres::{Client, Error};
use std::collections::BTreeMap;
use thorbis_tests::listing::{assert_same, rows as listing};
use thorbis_tests::{A, B, Database, Tenant, as_owner, assert_sqlstate, in_context, ok, one};

/// One statement of A's owner.
fn execute(db: &Database, sql: &str) -> Result<u64, Error> {
    in_context(&mut db.app(), A.id, A.owner, |tx| tx.execute(sql, &[]))
}

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
        let changed = ["crm.visits", "gdpr.retention_policies", "audit.change_log"];
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

/// One call for all tenants: each person is erased in their own tenant.
#[test]
fn one_call_erases_people_of_several_tenants() {
    for role in ["postgres", "thorbis_platform"] {
        let db = with_old_rows("erase_subject");
        ok(db.superuser().execute(
            "INSERT INTO gdpr.retention_policies (tenant_id, table_name, timestamp_column, period, action, basis)
             SELECT $2, table_name, timestamp_column, period, action, basis FROM gdpr.retention_policies
              WHERE tenant_id = $1 AND is_active",
            &[&A.id, &B.id],
        ));
        let mut operator = if role == "postgres" { db.superuser() } else { platform(&db) };
        let sql = "SELECT rows_affected, error_code FROM gdpr.apply_retention(false)";
        let results: Vec<(i64, Option<String>)> =
            ok(operator.query(sql, &[])).iter().map(|row| (row.get(0), row.get(1))).collect();
        assert_eq!(results, [(1, None), (1, None)], "{role}");
        for (tenant, kept) in [(&A, "rita@aaaaaaaa.example"), (&B, "rita@bbbbbbbb.example")] {
            let emails = as_owner(&db, tenant, |tx| {
                tx.query("SELECT email FROM shared.customers_pii WHERE email IS NOT NULL", &[])
            });
            assert_eq!(emails.iter().map(|row| row.get(0)).collect::<Vec<&str>>(), [kept], "{role}");
            let logged = "SELECT count(*) FROM gdpr.erasures WHERE tenant_id = $1 AND subject_id = $2";
            assert_eq!(one::<i64>(&mut db.superuser(), logged, &[&tenant.id, &tenant.customer]), 1, "{role}");
        }
    }
}
