//! The rules inside one tenant and attacks on policies: what one added, forgotten or bypassed by somebody must not open,
//! and what each of the named policies lets through.

use postgres::Client;
use thorbis_tests::{A, B, Database, Session, assert_sqlstate, assert_sqlstate_in, in_context, ok, one, tenant_tables};
use uuid::Uuid;

// --- what somebody adds later

#[test]
fn permissive_policy_using_true_opens_no_other_tenant() {
    let db = Database::new();
    let mut superuser = db.superuser();
    let tables = tenant_tables(&mut superuser);
    for (i, table) in tables.iter().enumerate() {
        // The verbs only where the application has them: a policy gives no privilege.
        ok(superuser
            .batch_execute(&format!("CREATE POLICY opened_{i} ON {} USING (true) WITH CHECK (true)", table.name)));
    }
    let mut app = db.app();
    for table in &tables {
        let sql = format!("SELECT count(*) FROM {} WHERE {} <> $1", table.name, table.tenant_column);
        let foreign = in_context(&mut app, A.id, A.owner, |tx| Ok(one::<i64>(tx, &sql, &[&A.id])));
        assert_eq!(ok(foreign), 0, "{}", table.name);
        let row = table.with_new_id(table.row_of(&mut superuser, &B)).to_string();
        assert_sqlstate(in_context(&mut app, A.id, A.owner, |tx| tx.execute(&table.insert_sql(), &[&row])), "42501");
        let nobody: i64 = one(&mut app, &format!("SELECT count(*) FROM {}", table.name), &[]);
        assert_eq!(nobody, 0, "{} without a context", table.name);
    }
}

#[test]
fn role_only_insert_policy_does_not_admit_another_tenant() {
    let db = Database::new();
    ok(db.superuser().batch_execute(
        "CREATE POLICY anybody_inserts ON shared.customers FOR INSERT TO thorbis_app WITH CHECK (true)",
    ));
    let inserted = in_context(&mut db.app(), A.id, A.owner, |tx| {
        tx.execute("INSERT INTO shared.customers (tenant_id, first_name, last_name) VALUES ($1, 'x', 'y')", &[&B.id])
    });
    assert_sqlstate(inserted, "42501");
}

#[test]
fn update_policy_with_check_true_moves_no_row() {
    let db = Database::new();
    ok(db.superuser().batch_execute(
        "CREATE POLICY anybody_updates ON shared.customers FOR UPDATE TO thorbis_app USING (true) WITH CHECK (true);
         GRANT UPDATE ON shared.customers TO thorbis_app",
    ));
    let mut app = db.app();
    let moved =
        in_context(&mut app, A.id, A.owner, |tx| tx.execute("UPDATE shared.customers SET tenant_id = $1", &[&B.id]));
    assert!(moved.is_err(), "rows moved to another tenant");
}

#[test]
fn table_made_later_is_closed_until_protected() {
    let db = Database::new();
    let mut superuser = db.superuser();
    ok(superuser.batch_execute(
        "CREATE TABLE shared.later (id uuid PRIMARY KEY, tenant_id uuid);
         CREATE TABLE restaurants.later (id uuid PRIMARY KEY, tenant_id uuid);
         SET ROLE thorbis_owner; CREATE TABLE shared.later_by_owner (id uuid PRIMARY KEY); RESET ROLE",
    ));
    let mut app = db.app();
    for table in ["shared.later", "restaurants.later", "shared.later_by_owner"] {
        assert_sqlstate(app.query(&format!("SELECT * FROM {table}"), &[]), "42501");
    }
}

// --- who would bypass row security

#[test]
fn owner_of_the_tables_sees_nothing() {
    let db = Database::new();
    let mut client = db.superuser();
    ok(client.batch_execute("SET ROLE thorbis_owner"));
    for table in tenant_tables(&mut db.superuser()) {
        let rows = ok(client.query(&format!("SELECT 1 FROM {}", table.name), &[]));
        assert!(rows.is_empty(), "{}: FORCE ROW LEVEL SECURITY is missing", table.name);
    }
}

#[test]
fn owner_that_switches_force_off_is_found_by_the_doctor() {
    let db = Database::new();
    let mut client = db.superuser();
    let findings = |client: &mut Client| -> i64 {
        one(client, "SELECT count(*) FROM thorbis.doctor() WHERE object LIKE '%customers%' AND severity <> 'ok'", &[])
    };
    let before = findings(&mut client);
    ok(client.batch_execute("ALTER TABLE shared.customers NO FORCE ROW LEVEL SECURITY"));
    assert!(findings(&mut client) > before);
}

#[test]
fn only_the_platform_role_bypasses_row_security_and_it_cannot_log_in() {
    let db = Database::new();
    let rows = ok(db.superuser().query(
        "SELECT rolname::text, rolcanlogin, rolsuper FROM pg_roles
          WHERE (rolsuper OR rolbypassrls) AND rolname LIKE 'thorbis%'",
        &[],
    ));
    let found: Vec<(String, bool, bool)> = rows.iter().map(|r| (r.get(0), r.get(1), r.get(2))).collect();
    assert_eq!(found, [("thorbis_platform".to_owned(), false, false)]);
}

#[test]
fn application_is_no_member_of_owner_or_platform() {
    let db = Database::new();
    let mut app = db.app();
    for role in ["thorbis_owner", "thorbis_platform", "postgres"] {
        assert_sqlstate(app.batch_execute(&format!("SET ROLE {role}")), "42501");
    }
    for attack in [
        "ALTER TABLE shared.customers DISABLE ROW LEVEL SECURITY",
        "ALTER TABLE shared.customers NO FORCE ROW LEVEL SECURITY",
        "DROP POLICY tenant_isolation_customers ON shared.customers",
        "CREATE POLICY mine ON shared.customers USING (true)",
        "ALTER TABLE shared.customers DISABLE TRIGGER ALL",
        "CREATE TRIGGER t BEFORE INSERT ON shared.customers FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger()",
        "CREATE TRIGGER t AFTER INSERT ON shared.customers EXECUTE FUNCTION triggered_change_notification()",
        "SET session_replication_role = replica",
        "CREATE RULE r AS ON INSERT TO shared.customers DO INSTEAD NOTHING",
        "CREATE TABLE shared.mine (id int)",
    ] {
        let refused = app.batch_execute(attack);
        assert_sqlstate_in(refused, &["42501", "42883"]);
    }
}

#[test]
fn row_security_off_raises_instead_of_leaking() {
    let db = Database::new();
    let mut app = db.app();
    app.begin_as(&A);
    ok(app.batch_execute("SET LOCAL row_security = off"));
    assert_sqlstate(app.tenants_seen(), "42501");
}

// --- the document's named policies

#[test]
fn employee_reads_customers_and_writes_none() {
    let db = Database::new();
    let mut app = db.app();
    let as_employee = |app: &mut Client, sql: &str| in_context(app, A.id, A.employee, |tx| tx.execute(sql, &[]));
    assert_eq!(ok(as_employee(&mut app, "SELECT id FROM shared.customers")), 1);
    let insert = "INSERT INTO shared.customers (first_name, last_name) VALUES ('x', 'y')";
    assert_sqlstate(as_employee(&mut app, insert), "42501");
    assert_eq!(ok(as_employee(&mut app, "UPDATE shared.customers SET first_name = 'x'")), 0);
    assert_eq!(ok(as_employee(&mut app, "DELETE FROM shared.customers")), 0);
}

#[test]
fn sensitive_customers_are_for_holders_of_admin() {
    let db = Database::new();
    let mut app = db.app();
    let mut sees = |user: Uuid| {
        let rows = in_context(&mut app, A.id, user, |tx| tx.query("SELECT id FROM shared.customers ORDER BY id", &[]));
        ok(rows).iter().map(|row| row.get(0)).collect::<Vec<Uuid>>()
    };
    assert_eq!(sees(A.employee), [A.customer]);
    assert_eq!(sees(A.manager), [A.customer, A.restricted_customer]);
    assert_eq!(sees(A.owner), [A.customer, A.restricted_customer]);
}

#[test]
fn users_see_and_change_their_own_row_only() {
    let db = Database::new();
    let mut app = db.app();
    ok(in_context(&mut app, A.id, A.employee, |tx| {
        let seen = tx.query("SELECT id FROM shared.users", &[])?;
        assert_eq!(seen.iter().map(|row| row.get(0)).collect::<Vec<Uuid>>(), [A.employee]);
        assert_eq!(tx.execute("UPDATE shared.users SET first_name = 'Emilia'", &[])?, 1);
        Ok(())
    }));
    for column in ["email = 'other@example.com'", "status = 'inactive'", "deleted_at = now()"] {
        let changed =
            in_context(&mut app, A.id, A.employee, |tx| tx.execute(&format!("UPDATE shared.users SET {column}"), &[]));
        assert_sqlstate(changed, "42501");
    }
    let deleted = in_context(&mut app, A.id, A.employee, |tx| tx.execute("DELETE FROM shared.users", &[]));
    assert_eq!(ok(deleted), 0);
}

/// Whatever hour it is: the hours are set around the current moment, or away from it.
fn set_hours(db: &Database, open: bool) {
    let (opens, closes) = if open { ("-1 hour", "1 hour") } else { ("2 hours", "3 hours") };
    ok(db.superuser().batch_execute(&format!(
        "DELETE FROM shared.business_hours WHERE tenant_id = '{tenant}';
         INSERT INTO shared.business_hours (tenant_id, resource, weekday, opens_at, closes_at)
         SELECT '{tenant}', 'orders', weekday, date_trunc('minute', now() AT TIME ZONE t.timezone + '{opens}')::time,
                date_trunc('minute', now() AT TIME ZONE t.timezone + '{closes}')::time
           FROM shared.tenants t, generate_series(1, 7) weekday WHERE t.id = '{tenant}'",
        tenant = A.id
    )));
}

fn orders_seen(app: &mut Client, user: Uuid) -> usize {
    ok(in_context(app, A.id, user, |tx| tx.query("SELECT 1 FROM restaurants.orders", &[]))).len()
}

#[test]
fn orders_are_seen_during_business_hours_only() {
    let db = Database::new();
    let mut app = db.app();
    assert!(orders_seen(&mut app, A.employee) > 0);
    set_hours(&db, false);
    assert_eq!(orders_seen(&mut app, A.employee), 0, "closed, seen from a session that was open before");
    assert!(orders_seen(&mut app, A.manager) > 0, "holders of admin are exempt");
    assert!(orders_seen(&mut app, A.owner) > 0);
    set_hours(&db, true);
    assert!(orders_seen(&mut app, A.employee) > 0);
}

/// Without a WHERE the SELECT policy is not asked: the policies of UPDATE and DELETE close by themselves.
#[test]
fn orders_are_changed_and_deleted_during_business_hours_only() {
    let db = Database::new();
    let mut superuser = db.superuser();
    ok(superuser.execute(
        "INSERT INTO rbac.role_permissions (tenant_id, role_id, resource, action)
         SELECT $1, $2, 'orders', a FROM unnest(ARRAY['update', 'delete']) a",
        &[&A.id, &A.employee_role],
    ));
    ok(superuser.execute("DELETE FROM restaurants.kitchen_tickets WHERE tenant_id = $1", &[&A.id]));
    let count = "SELECT count(*) FROM restaurants.orders WHERE tenant_id = $1";
    let all = one::<i64>(&mut superuser, count, &[&A.id]) as u64;
    let mut app = db.app();
    let update = "UPDATE restaurants.orders SET special_instructions = 'x'";
    let delete = "DELETE FROM restaurants.orders";
    for (open, expected) in [(false, 0), (true, all), (false, 0)] {
        set_hours(&db, open);
        for sql in [update, "UPDATE restaurants.orders SET special_instructions = 'y' WHERE id IS NOT NULL"] {
            let touched = in_context(&mut app, A.id, A.employee, |tx| tx.execute(sql, &[]));
            assert_eq!(ok(touched), expected, "open: {open}, {sql}");
        }
    }
    for sql in
        [delete, "DELETE FROM restaurants.orders WHERE id IS NOT NULL", "DELETE FROM restaurants.orders RETURNING id"]
    {
        assert_eq!(ok(in_context(&mut app, A.id, A.employee, |tx| tx.execute(sql, &[]))), 0, "closed, {sql}");
    }
    assert_eq!(ok(in_context(&mut app, A.id, A.manager, |tx| tx.execute(update, &[]))), all, "admin is exempt");
    set_hours(&db, true);
    assert_eq!(ok(in_context(&mut app, A.id, A.employee, |tx| tx.execute(delete, &[]))), all);
}

#[test]
fn session_time_zone_does_not_move_business_hours() {
    let db = Database::new();
    set_hours(&db, false);
    let mut app = db.app();
    for zone in ["UTC", "Pacific/Auckland", "America/Los_Angeles", "-12", "14"] {
        ok(app.batch_execute(&format!("SET TimeZone = '{zone}'")));
        assert_eq!(orders_seen(&mut app, A.employee), 0, "{zone}");
    }
}

#[test]
fn tenants_time_zone_moves_business_hours() {
    let db = Database::new();
    set_hours(&db, true);
    let mut app = db.app();
    assert!(orders_seen(&mut app, A.employee) > 0);
    let zone = format!("UPDATE shared.tenants SET timezone = 'Pacific/Auckland' WHERE id = '{}'", A.id);
    ok(db.superuser().batch_execute(&zone));
    assert_eq!(orders_seen(&mut app, A.employee), 0);
}

#[test]
fn a_closure_closes_the_day() {
    let db = Database::new();
    let mut app = db.app();
    assert!(orders_seen(&mut app, A.employee) > 0);
    // Yesterday too: hours that run past midnight belong to the day on which they began.
    ok(db.superuser().batch_execute(&format!(
        "INSERT INTO shared.business_closures (tenant_id, resource, on_date)
         SELECT '{}', 'orders', (now() AT TIME ZONE 'UTC')::date + d FROM generate_series(-1, 1) d",
        A.id
    )));
    assert_eq!(orders_seen(&mut app, A.employee), 0);
}

/// The moment of the transaction's start must not keep the shop open: hours are read from the clock.
#[test]
fn transaction_begun_before_closing_sees_nothing_after_it() {
    let db = Database::new();
    let mut app = db.app();
    ok(app.batch_execute(&format!("BEGIN; {}", thorbis_tests::set_local(A.id, A.employee))));
    assert!(!ok(app.query("SELECT 1 FROM restaurants.orders", &[])).is_empty());
    set_hours(&db, false);
    assert!(ok(app.query("SELECT 1 FROM restaurants.orders", &[])).is_empty());
}

// --- soft delete

#[test]
fn soft_delete_marks_one_row_and_restore_brings_it_back() {
    let db = Database::new();
    let mut app = db.app();
    let deleted_at = "SELECT deleted_at IS NOT NULL FROM shared.customers WHERE id = $1";
    for (function, expected) in [("soft_delete", true), ("restore", false)] {
        let call = format!("SELECT thorbis.{function}('shared.customers', $1)");
        ok(in_context(&mut app, A.id, A.owner, |tx| tx.execute(&call, &[&A.customer])));
        assert_eq!(one::<bool>(&mut db.superuser(), deleted_at, &[&A.customer]), expected);
        let others: i64 = one(
            &mut db.superuser(),
            "SELECT count(*) FROM shared.customers WHERE deleted_at IS NOT NULL AND id <> $1",
            &[&A.customer],
        );
        assert_eq!(others, 0);
    }
}

#[test]
fn soft_delete_reaches_no_other_tenant() {
    let db = Database::new();
    let mut superuser = db.superuser();
    let row = "SELECT xmin::text || to_jsonb(c) FROM shared.customers c WHERE id = $1";
    for (function, situation) in [("soft_delete", "deleted_at = NULL"), ("restore", "deleted_at = now()")] {
        ok(superuser.execute(&format!("UPDATE shared.customers SET {situation}"), &[]));
        let before: String = one(&mut superuser, row, &[&B.customer]);
        let call = format!("SELECT thorbis.{function}('shared.customers', $1)");
        let mut app = db.app();
        let mut answer =
            |id: Uuid| ok(in_context(&mut app, A.id, A.owner, |tx| Ok(tx.query_one(&call, &[&id])?.get::<_, bool>(0))));
        assert!(!answer(B.customer), "{function} says that it found B's row");
        assert!(!answer(Uuid::new_v4()), "and says the same of none");
        assert!(answer(A.customer), "{function} finds A's own");
        assert_eq!(one::<String>(&mut superuser, row, &[&B.customer]), before, "{function} touched B's row");
    }
}

/// It runs as the caller: who may not update the row marks nothing.
#[test]
fn soft_delete_needs_the_update_permission() {
    let db = Database::new();
    let marked = in_context(&mut db.app(), A.id, A.employee, |tx| {
        Ok(one::<bool>(tx, "SELECT thorbis.soft_delete('shared.customers', $1)", &[&A.customer]))
    });
    assert!(!ok(marked));
}

#[test]
fn soft_deleted_row_frees_its_key() {
    let db = Database::new();
    let insert =
        "INSERT INTO restaurants.menu_items (sku, name, category, price) VALUES ('SOUP', 'Soup', 'starters', 7)";
    let mut app = db.app();
    assert_sqlstate(in_context(&mut app, A.id, A.owner, |tx| tx.execute(insert, &[])), "23505");
    ok(in_context(&mut app, A.id, A.owner, |tx| {
        tx.execute("SELECT thorbis.soft_delete('restaurants.menu_items', id) FROM restaurants.menu_items", &[])?;
        tx.execute(insert, &[])
    }));
}
