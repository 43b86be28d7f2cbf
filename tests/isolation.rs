//! No verb reads another tenant's rows: every reading statement on every tenant table in the catalog, as the
//! application's login on behalf of the owner of tenant A, who holds every permission. What keeps B's rows away is
//! isolation alone.

use postgres::fallible_iterator::FallibleIterator;
use postgres::{Client, Transaction};
use std::io::Read;
use thorbis_tests::{A, B, Database, Session, TenantTable, assert_sqlstate, in_context, ok, one, tenant_tables};

/// Runs `attack` on every tenant table, each in a transaction of A's owner.
fn on_every_table(attack: impl Fn(&mut Transaction<'_>, &TenantTable)) {
    let db = Database::new();
    let tables = tenant_tables(&mut db.superuser());
    let mut app = db.app();
    for table in &tables {
        println!("{}", table.name);
        ok(in_context(&mut app, A.id, A.owner, |tx| {
            attack(tx, table);
            Ok(())
        }));
    }
}

/// Rows of other tenants, and of A, that `sql` (ending in a query over the tenant column `t`) shows.
fn counts(tx: &mut Transaction<'_>, rows: &str) -> (i64, i64) {
    let sql = format!("SELECT count(*) FILTER (WHERE t <> $1), count(*) FILTER (WHERE t = $1) FROM ({rows}) r(t)");
    let row = ok(tx.query_one(&sql, &[&A.id]));
    (row.get(0), row.get(1))
}

#[test]
fn every_tenant_table_holds_rows_of_both_tenants() {
    let db = Database::new();
    let mut superuser = db.superuser();
    for table in tenant_tables(&mut superuser) {
        for tenant in [&A, &B] {
            table.row_of(&mut superuser, tenant);
        }
    }
}

#[test]
fn select_sees_own_rows_only() {
    on_every_table(|tx, table| {
        let column = &table.tenant_column;
        let (foreign, own) = counts(tx, &format!("SELECT {column} FROM {}", table.name));
        assert_eq!(foreign, 0, "{} shows rows of another tenant", table.name);
        assert!(own > 0, "{}: the owner of A must see A's rows, or this test proves nothing", table.name);
    });
}

#[test]
fn select_by_key_of_the_other_tenant_finds_nothing() {
    on_every_table(|tx, table| {
        let found = ok(tx.query(&format!("SELECT 1 FROM {} WHERE {} = $1", table.name, table.tenant_column), &[&B.id]));
        assert!(found.is_empty(), "{}", table.name);
    });
}

#[test]
fn joins_and_subqueries_reach_no_other_tenant() {
    on_every_table(|tx, table| {
        let TenantTable { name, tenant_column: c, .. } = table;
        let all = table.all();
        for rows in [
            format!("SELECT x.{c} FROM {name} x RIGHT JOIN {name} y ON y.{c} <> x.{c} WHERE x.{c} IS NOT NULL"),
            format!("SELECT {c} FROM {name} WHERE {c} IN (SELECT {c} FROM {name})"),
            format!("WITH all_rows AS MATERIALIZED (SELECT {all} FROM {name}) SELECT {c} FROM all_rows"),
            format!("SELECT l.{c} FROM generate_series(1, 2), LATERAL (SELECT {c} FROM {name}) l"),
            format!("SELECT {c} FROM {name} TABLESAMPLE SYSTEM (100)"),
        ] {
            assert_eq!(counts(tx, &rows).0, 0, "{rows}");
        }
    });
}

#[test]
fn cheap_leaky_functions_see_own_rows_only() {
    let db = Database::new();
    // A cost of almost nothing invites the planner to run the function before everything else.
    let leak = "CREATE TABLE leaked (t text); GRANT INSERT, SELECT ON leaked TO PUBLIC;
        CREATE FUNCTION leak(row_text text) RETURNS boolean LANGUAGE plpgsql COST 0.0000001
        AS 'BEGIN INSERT INTO public.leaked VALUES (row_text); RETURN true; END'";
    ok(db.superuser().batch_execute(leak));
    let mut app = db.app();
    for table in tenant_tables(&mut db.superuser()) {
        let TenantTable { name, tenant_column: c, .. } = &table;
        ok(in_context(&mut app, A.id, A.owner, |tx| {
            tx.query(&format!("SELECT 1 FROM {name} WHERE public.leak({c}::text)"), &[])
        }));
    }
    let leaked: Vec<String> =
        ok(db.superuser().query("SELECT DISTINCT t FROM leaked", &[])).iter().map(|r| r.get(0)).collect();
    assert_eq!(leaked, [A.id.to_string()]);
}

#[test]
fn without_context_nothing_is_visible_and_nothing_raises() {
    let db = Database::new();
    let mut app = db.app();
    for table in tenant_tables(&mut db.superuser()) {
        let rows = ok(app.query(&format!("SELECT 1 FROM {}", table.name), &[]));
        assert!(rows.is_empty(), "{} shows rows without a context", table.name);
    }
}

#[test]
fn select_for_update_and_share_lock_own_rows_only() {
    on_every_table(|tx, table| {
        // Row locks need UPDATE on some column.
        if table.updatable.is_empty() {
            return;
        }
        for strength in ["UPDATE", "NO KEY UPDATE", "SHARE", "KEY SHARE"] {
            let rows = format!("SELECT {} FROM {} FOR {strength}", table.tenant_column, table.name);
            let seen = ok(tx.query(&rows, &[]));
            assert!(seen.iter().all(|row| row.get::<_, uuid::Uuid>(0) == A.id), "{rows}");
        }
    });
}

fn copy_out(tx: &mut Transaction<'_>, what: &str) -> String {
    let mut text = String::new();
    ok(tx.copy_out(&format!("COPY {what} TO STDOUT"))).read_to_string(&mut text).expect("COPY sends UTF-8");
    text
}

#[test]
fn copy_to_writes_own_rows_only() {
    on_every_table(|tx, table| {
        let TenantTable { name, columns, .. } = table;
        // Generated columns have no place in COPY of a table.
        let stored: Vec<&str> = columns.iter().filter(|c| table.readable.contains(c)).map(String::as_str).collect();
        for what in [format!("{name} ({})", stored.join(", ")), format!("(SELECT {} FROM {name})", table.all())] {
            let text = copy_out(tx, &what);
            assert!(!text.contains(&B.id.to_string()), "COPY {what} shows tenant B");
            // Under row security COPY of a table reads that table alone, not its partitions.
            let has_rows = !table.is_partitioned || what.starts_with('(');
            assert_eq!(text.contains(&A.id.to_string()), has_rows, "COPY {what} shows nothing of A");
        }
    });
}

#[test]
fn cursors_fetch_own_rows_only() {
    on_every_table(|tx, table| {
        let query = format!("SELECT {} FROM {}", table.tenant_column, table.name);
        ok(tx.batch_execute(&format!("DECLARE c SCROLL CURSOR FOR {query}")));
        for fetch in ["FETCH ALL FROM c", "FETCH BACKWARD ALL FROM c"] {
            let rows = ok(tx.query(fetch, &[]));
            assert!(!rows.is_empty() && rows.iter().all(|row| row.get::<_, uuid::Uuid>(0) == A.id), "{}", table.name);
        }
        ok(tx.batch_execute("CLOSE c"));
    });
}

#[test]
fn portals_of_the_protocol_fetch_own_rows_only() {
    on_every_table(|tx, table| {
        let portal = ok(tx.bind(&format!("SELECT {} FROM {}", table.tenant_column, table.name), &[]));
        let mut rows = ok(tx.query_portal_raw(&portal, 1));
        while let Some(row) = ok(rows.next()) {
            assert_eq!(row.get::<_, uuid::Uuid>(0), A.id, "{}", table.name);
        }
    });
}

#[test]
fn hold_cursors_keep_the_rows_of_their_own_transaction_only() {
    let db = Database::new();
    let mut app = db.app();
    for table in tenant_tables(&mut db.superuser()) {
        let query = format!("SELECT {} FROM {}", table.tenant_column, table.name);
        ok(in_context(&mut app, A.id, A.owner, |tx| {
            tx.batch_execute(&format!("DECLARE held CURSOR WITH HOLD FOR {query}"))
        }));
        let rows = ok(app.query("FETCH ALL FROM held", &[]));
        assert!(rows.iter().all(|row| row.get::<_, uuid::Uuid>(0) == A.id), "{}", table.name);
        ok(app.batch_execute("CLOSE held"));
    }
}

/// The same prepared statement, run for A, for B, for nobody: rows of the tenant of that moment, whichever plan.
fn prepared_statements_under(plan_cache_mode: &str) {
    let db = Database::new();
    let mut app = db.app();
    ok(app.batch_execute(&format!("SET plan_cache_mode = {plan_cache_mode}")));
    for table in tenant_tables(&mut db.superuser()) {
        let TenantTable { name, tenant_column: c, .. } = &table;
        let all = ok(app.prepare(&format!("SELECT {c} FROM {name}")));
        let of_one = ok(app.prepare(&format!("SELECT {c} FROM {name} WHERE {c} = $1")));
        for (tenant, other) in [(&A, &B), (&B, &A), (&A, &B)] {
            ok(in_context(&mut app, tenant.id, tenant.owner, |tx| {
                let rows = tx.query(&all, &[])?;
                assert!(!rows.is_empty() && rows.iter().all(|row| row.get::<_, uuid::Uuid>(0) == tenant.id), "{name}");
                assert_eq!(tx.query(&of_one, &[&tenant.id])?.len(), rows.len(), "{name}");
                assert!(tx.query(&of_one, &[&other.id])?.is_empty(), "{name}");
                Ok(())
            }));
            assert!(ok(app.query(&all, &[])).is_empty(), "{name} without a context");
        }
    }
}

#[test]
fn prepared_statements_with_generic_plans() {
    prepared_statements_under("force_generic_plan");
}

#[test]
fn prepared_statements_with_custom_plans() {
    prepared_statements_under("force_custom_plan");
}

#[test]
fn views_show_own_rows_only() {
    let db = Database::new();
    let mut superuser = db.superuser();
    // Sales need orders that are paid, what is due needs a policy in force, and reconciliation a sum that is wrong.
    ok(superuser.batch_execute(
        "UPDATE restaurants.orders SET status = 'paid' WHERE order_type = 'takeout';
         UPDATE gdpr.retention_policies SET is_active = true;
         SET session_replication_role = replica; UPDATE shared.invoices SET paid_total = paid_total + 1;
         RESET session_replication_role",
    ));
    let views = ok(superuser.query(
        "SELECT c.oid::regclass::text FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'tenant_id'
          WHERE c.relkind IN ('v', 'm') AND c.relnamespace::regnamespace::text !~ '^(pg_|information_schema$)'
            AND has_table_privilege('thorbis_app', c.oid, 'SELECT')",
        &[],
    ));
    assert!(views.len() >= 6, "the catalog shows only {} views: is everything installed?", views.len());
    let mut app = db.app();
    for view in views.iter().map(|row| row.get::<_, String>(0)) {
        ok(in_context(&mut app, A.id, A.owner, |tx| {
            let (foreign, own) = counts(tx, &format!("SELECT tenant_id FROM {view}"));
            assert_eq!(foreign, 0, "{view} shows rows of another tenant");
            assert!(own > 0, "{view}: the owner of A must see A's rows, or this test proves nothing");
            Ok(())
        }));
        assert!(ok(app.query(&format!("SELECT 1 FROM {view}"), &[])).is_empty(), "{view} without a context");
    }
}

#[test]
fn truncate_is_refused() {
    let db = Database::new();
    let mut app = db.app();
    for table in tenant_tables(&mut db.superuser()) {
        for tail in ["", " CASCADE"] {
            let truncated =
                in_context(&mut app, A.id, A.owner, |tx| tx.batch_execute(&format!("TRUNCATE {}{tail}", table.name)));
            assert_sqlstate(truncated, "42501");
        }
    }
}

/// LOCK TABLE asks for table privileges, not for rows, and no policy can change that (spec: documented, not closed).
/// What must hold: it needs a writer's privilege, and gives nobody a row to see.
#[test]
fn lock_table_needs_a_writers_privilege_exposed_to_writers() {
    let db = Database::new();
    let mut app = db.app();
    for table in tenant_tables(&mut db.superuser()) {
        let TenantTable { name, tenant_column, .. } = &table;
        let locked = in_context(&mut app, A.id, A.owner, |tx| {
            tx.batch_execute(&format!("LOCK TABLE {name} IN ACCESS EXCLUSIVE MODE"))?;
            Ok(counts(tx, &format!("SELECT {tenant_column} FROM {name}")).0)
        });
        match ["UPDATE", "DELETE", "TRUNCATE"].iter().any(|privilege| table.may(privilege)) {
            true => assert_eq!(ok(locked), 0, "{name}"),
            false => drop(assert_sqlstate(locked, "42501")),
        }
    }
    let mut stranger = db.connect_as("stranger_login");
    ok(stranger.batch_execute("BEGIN"));
    assert_sqlstate(stranger.batch_execute("LOCK TABLE shared.customers IN ACCESS SHARE MODE"), "42501");
}

#[test]
fn roles_that_were_granted_nothing_read_nothing() {
    let db = Database::new();
    let mut stranger = db.connect_as("stranger_login");
    for table in tenant_tables(&mut db.superuser()) {
        assert_sqlstate(stranger.query(&format!("SELECT 1 FROM {}", table.name), &[]), "42501");
    }
}

#[test]
fn each_tenant_sees_what_the_superuser_counts_for_it() {
    let db = Database::new();
    let (mut superuser, mut app) = (db.superuser(), db.app());
    for table in tenant_tables(&mut superuser) {
        let TenantTable { name, tenant_column: c, .. } = &table;
        for tenant in [&A, &B] {
            let all: i64 = one(&mut superuser, &format!("SELECT count(*) FROM {name} WHERE {c} = $1"), &[&tenant.id]);
            let seen =
                in_context(&mut app, tenant.id, tenant.owner, |tx| tx.query(&format!("SELECT 1 FROM {name}"), &[]));
            assert_eq!(ok(seen).len() as i64, all, "{name} of {}", tenant.name);
        }
    }
}

#[test]
fn a_person_of_two_tenants_sees_one_at_a_time() {
    let db = Database::new();
    // The same id in both tenants: one row per (tenant, person).
    ok(db.superuser().batch_execute(&format!(
        "INSERT INTO shared.users (tenant_id, id, email) VALUES ('{b}', '{person}', 'two@tenants.example');
         INSERT INTO rbac.user_roles (tenant_id, user_id, role_id)
         SELECT '{b}', '{person}', id FROM rbac.roles WHERE tenant_id = '{b}' AND is_owner",
        b = B.id,
        person = A.owner
    )));
    let mut app: Client = db.app();
    for tenant in [&A, &B] {
        ok(app.batch_execute(&format!("BEGIN; {}", thorbis_tests::set_local(tenant.id, A.owner))));
        assert_eq!(ok(app.tenants_seen()), [tenant.id]);
        ok(app.batch_execute("COMMIT"));
    }
}
