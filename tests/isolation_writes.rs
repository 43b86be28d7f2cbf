//! No verb writes another tenant's rows: every writing statement on every tenant table in the catalog, as the
//! application's login on behalf of the owner of tenant A, built from B's own rows. Afterwards each row of B is
//! compared, version included.

use postgres::{Client, Error};
use std::collections::BTreeMap;
use thorbis_tests::{
    A, B, Cluster, Database, TenantTable, assert_sqlstate, assert_sqlstate_in, describe, in_context, ok, one,
    set_local, sqlstate, tenant_tables,
};

/// A database under attack, and B's rows as they were before.
struct Arena {
    db: Database,
    tables: Vec<TenantTable>,
    before: BTreeMap<String, String>,
}

impl Arena {
    fn new() -> Arena {
        let db = Database::new();
        let mut superuser = db.superuser();
        let tables = tenant_tables(&mut superuser);
        let before = fingerprints(&mut superuser, &tables);
        Arena { db, tables, before }
    }

    /// Runs `attack` on every table, then compares B's rows with what they were.
    fn run(self, mut attack: impl FnMut(&mut Client, &mut Client, &TenantTable)) {
        let (mut app, mut superuser) = (self.db.app(), self.db.superuser());
        for table in &self.tables {
            println!("{}", table.name);
            attack(&mut app, &mut superuser, table);
            let _ = app.batch_execute("ROLLBACK");
        }
        assert_eq!(fingerprints(&mut superuser, &self.tables), self.before, "rows of tenant B changed");
    }
}

fn fingerprints(superuser: &mut Client, tables: &[TenantTable]) -> BTreeMap<String, String> {
    tables.iter().map(|table| (table.name.clone(), table.fingerprint(superuser, B.id))).collect()
}

/// One statement of A's owner, with one text parameter.
fn as_a(app: &mut Client, sql: &str, parameter: Option<&str>) -> Result<u64, Error> {
    in_context(app, A.id, A.owner, |tx| match parameter {
        Some(text) => tx.execute(sql, &[&text]),
        None => tx.execute(sql, &[]),
    })
}

/// B's row under another key, as text.
fn forged(superuser: &mut Client, table: &TenantTable) -> String {
    table.with_new_id(table.row_of(superuser, &B)).to_string()
}

#[test]
fn insert_of_rows_of_the_other_tenant_is_refused() {
    Arena::new().run(|app, superuser, table| {
        let row = forged(superuser, table);
        assert_sqlstate(as_a(app, &table.insert_sql(), Some(&row)), "42501");
        assert_sqlstate(as_a(app, &format!("{} RETURNING {}", table.insert_sql(), table.all()), Some(&row)), "42501");
    });
}

#[test]
fn insert_without_context_is_refused() {
    Arena::new().run(|app, superuser, table| {
        let row = forged(superuser, table);
        // A trigger that needs to know who grants says 28000 before the policy says 42501.
        assert_sqlstate_in(app.execute(&table.insert_sql(), &[&row]), &["42501", "28000"]);
    });
}

/// A duplicate of B's key must be refused by the policy, before the unique index could tell that it is there.
#[test]
fn on_conflict_reveals_and_changes_nothing_of_the_other_tenant() {
    Arena::new().run(|app, superuser, table| {
        let existing = table.row_of(superuser, &B).to_string();
        let insert = table.insert_sql();
        assert_sqlstate(as_a(app, &format!("{insert} ON CONFLICT DO NOTHING"), Some(&existing)), "42501");
        if let Some(column) = table.updatable.first() {
            let key = primary_key(superuser, table);
            let upsert = format!("{insert} ON CONFLICT ({key}) DO UPDATE SET {column} = EXCLUDED.{column}");
            assert_sqlstate(as_a(app, &upsert, Some(&existing)), "42501");
        }
    });
}

/// B's key with A's tenant is another key: whatever comes of it, B's row stays.
#[test]
fn upsert_with_the_other_tenants_id_touches_own_rows_only() {
    Arena::new().run(|app, superuser, table| {
        let Some(column) = table.updatable.first() else { return };
        let mut row = table.row_of(superuser, &B);
        row[&table.tenant_column] = A.id.to_string().into();
        let key = primary_key(superuser, table);
        let upsert = format!("{} ON CONFLICT ({key}) DO UPDATE SET {column} = EXCLUDED.{column}", table.insert_sql());
        let _ = as_a(app, &upsert, Some(&row.to_string()));
    });
}

fn primary_key(superuser: &mut Client, table: &TenantTable) -> String {
    let sql = "SELECT string_agg(quote_ident(a.attname), ', ') FROM pg_index i
                 JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = ANY (i.indkey)
                WHERE i.indrelid = $1::text::regclass AND i.indisprimary";
    one(superuser, sql, &[&table.name])
}

#[test]
fn update_reaches_own_rows_only() {
    let mut changed = 0;
    Arena::new().run(|app, _, table| {
        let TenantTable { name, tenant_column: c, .. } = table;
        let Some(set) = table.set_to_itself() else {
            assert_sqlstate(as_a(app, &format!("UPDATE {name} SET {c} = {c}"), None), "42501");
            return;
        };
        assert_eq!(ok(as_a(app, &format!("UPDATE {name} SET {set} WHERE {c} = '{}'", B.id), None)), 0);
        // Without a WHERE: business rules may refuse A's own rows, what counts is that B's are not reached.
        changed += as_a(app, &format!("UPDATE {name} SET {set}"), None).unwrap_or(0);
        let returned =
            in_context(app, A.id, A.owner, |tx| tx.query(&format!("UPDATE {name} SET {set} RETURNING {c}"), &[]));
        for row in returned.unwrap_or_default() {
            assert_eq!(row.get::<_, uuid::Uuid>(0), A.id, "{name}");
        }
    });
    assert!(changed > 0, "no UPDATE changed anything, so none proved anything");
}

/// With a WHERE the new row must pass the SELECT policies too, so the form without one is the test.
#[test]
fn moving_rows_to_the_other_tenant_is_refused() {
    Arena::new().run(|app, _, table| {
        let TenantTable { name, tenant_column: c, .. } = table;
        for filter in ["", &format!(" WHERE {c} = '{}'", A.id)] {
            assert_sqlstate(as_a(app, &format!("UPDATE {name} SET {c} = '{}'{filter}", B.id), None), "42501");
        }
    });
}

/// Somebody may grant UPDATE on the tenant column one day: the policy and the guard trigger still hold.
#[test]
fn moving_rows_is_refused_even_with_the_columns_privilege() {
    let arena = Arena::new();
    let mut superuser = arena.db.superuser();
    for table in &arena.tables {
        ok(superuser.batch_execute(&format!("GRANT UPDATE ON {} TO thorbis_app", table.name)));
    }
    arena.run(|app, _, table| {
        let moved = as_a(app, &format!("UPDATE {} SET {} = '{}'", table.name, table.tenant_column, B.id), None);
        match moved {
            // No policy lets the row be updated at all.
            Ok(rows) => assert_eq!(rows, 0, "rows of {} moved", table.name),
            Err(e) => assert_ne!(sqlstate(&e), "XX000", "{}: {}", table.name, describe(&e)),
        }
    });
}

#[test]
fn delete_reaches_own_rows_only() {
    let mut deleted = 0;
    Arena::new().run(|app, _, table| {
        let TenantTable { name, tenant_column: c, .. } = table;
        if !table.may("DELETE") {
            assert_sqlstate(as_a(app, &format!("DELETE FROM {name}"), None), "42501");
            return;
        }
        assert_eq!(
            ok(as_a(app, &format!("DELETE FROM {name} WHERE {c} = '{}' RETURNING {}", B.id, table.all()), None)),
            0
        );
        // Foreign keys and business rules may keep A's rows; cascades must stay within A.
        match as_a(app, &format!("DELETE FROM {name}"), None) {
            Ok(rows) => deleted += rows,
            Err(e) => assert_ne!(sqlstate(&e), "XX000", "{name}: {}", describe(&e)),
        }
    });
    assert!(deleted > 0, "no DELETE removed anything, so none proved anything");
}

#[test]
fn merge_with_the_other_tenants_keys_matches_nothing() {
    Arena::new().run(|app, superuser, table| {
        let TenantTable { name, tenant_column: c, .. } = table;
        let row = table.row_of(superuser, &B).to_string();
        let source = format!(
            "MERGE INTO {name} t USING (SELECT * FROM jsonb_populate_record(NULL::{name}, $1::text::jsonb)) s ON t.{c} = s.{c}"
        );
        if let Some(set) = table.set_to_itself() {
            let set = set.replace(" = ", " = t.");
            assert_eq!(ok(as_a(app, &format!("{source} WHEN MATCHED THEN UPDATE SET {set}"), Some(&row))), 0, "{name}");
        }
        if table.may("DELETE") {
            assert_eq!(ok(as_a(app, &format!("{source} WHEN MATCHED THEN DELETE"), Some(&row))), 0, "{name}");
        }
        let columns = table.columns.join(", ");
        let values: Vec<String> = table.columns.iter().map(|column| format!("s.{column}")).collect();
        let insert = format!("{source} WHEN NOT MATCHED THEN INSERT ({columns}) VALUES ({})", values.join(", "));
        assert_sqlstate(as_a(app, &insert, Some(&row)), "42501");
    });
}

/// PostgreSQL refuses COPY FROM into a table with row security: import_rows() is the way.
#[test]
fn copy_from_is_refused() {
    let arena = Arena::new();
    let database = arena.db.name.clone();
    arena.run(|_, _, table| {
        // The client library loses step with the server when COPY is refused, so each gets a connection of its own.
        let mut app = Cluster::shared().connect(&database, "app_login");
        ok(app.batch_execute(&format!("BEGIN; {}", set_local(A.id, A.owner))));
        let copied = app.copy_in(&format!("COPY {} FROM STDIN", table.name)).map(drop);
        assert_sqlstate_in(copied, &["0A000", "42501"]);
    });
}

fn prepared_writes_under(plan_cache_mode: &str) {
    Arena::new().run(|app, superuser, table| {
        let TenantTable { name, tenant_column: c, .. } = table;
        ok(app.batch_execute(&format!("SET plan_cache_mode = {plan_cache_mode}")));
        let row = forged(superuser, table);
        if let Ok(insert) = app.prepare(&table.insert_sql()) {
            assert_sqlstate(in_context(app, A.id, A.owner, |tx| tx.execute(&insert, &[&row])), "42501");
        }
        let Some(set) = table.set_to_itself() else { return };
        let update = ok(app.prepare(&format!("UPDATE {name} SET {set} WHERE {c} = $1")));
        for _ in 0..2 {
            assert_eq!(ok(in_context(app, A.id, A.owner, |tx| tx.execute(&update, &[&B.id]))), 0, "{name}");
        }
    });
}

#[test]
fn prepared_writes_with_generic_plans() {
    prepared_writes_under("force_generic_plan");
}

#[test]
fn prepared_writes_with_custom_plans() {
    prepared_writes_under("force_custom_plan");
}

/// Row by row through a cursor. Business rules may keep a row as it is; what was reached must be A's.
#[test]
fn positioned_updates_and_deletes_reach_own_rows_only() {
    let mut reached = BTreeMap::from([("DELETE", 0), ("UPDATE", 0)]);
    Arena::new().run(|app, _, table| {
        let TenantTable { name, tenant_column: c, .. } = table;
        let update = table.set_to_itself().map(|set| ("UPDATE", format!("UPDATE {name} SET {set}")));
        let delete = table.may("DELETE").then(|| ("DELETE", format!("DELETE FROM {name}")));
        for (verb, statement) in update.into_iter().chain(delete) {
            let lock = if table.updatable.is_empty() { "" } else { "FOR UPDATE" };
            let rows = in_context(app, A.id, A.owner, |tx| {
                tx.batch_execute(&format!("DECLARE c CURSOR FOR SELECT {c} FROM {name} {lock}"))?;
                let mut rows = 0;
                while let Some(row) = tx.query_opt("FETCH NEXT FROM c", &[])? {
                    assert_eq!(row.get::<_, uuid::Uuid>(0), A.id, "{name}");
                    rows += tx.execute(&format!("{statement} WHERE CURRENT OF c"), &[])?;
                }
                Ok(rows)
            });
            match rows {
                Ok(rows) => *reached.get_mut(verb).expect("both verbs are there") += rows,
                Err(e) => assert_ne!(sqlstate(&e), "XX000", "{statement}: {}", describe(&e)),
            }
        }
    });
    assert!(reached.values().all(|rows| *rows > 10), "almost nothing was reached, so nothing was proved: {reached:?}");
}

#[test]
fn import_rows_takes_own_rows_only() {
    let arena = Arena::new();
    arena.run(|app, superuser, table| {
        let rows = format!("[{}]", forged(superuser, table));
        let import = format!("SELECT thorbis.import_rows('{}'::regclass, $1::text::jsonb)", table.name);
        let imported = in_context(app, A.id, A.owner, |tx| tx.execute(&import, &[&rows]));
        assert_sqlstate_in(imported, &["42501", "23514"]);
    });
}

/// The tenant need not be named: the default is the current one.
#[test]
fn insert_without_a_tenant_goes_to_the_current_one() {
    let db = Database::new();
    let mut app = db.app();
    for tenant in [&A, &B] {
        let inserted = in_context(&mut app, tenant.id, tenant.owner, |tx| {
            tx.query_one(
                "INSERT INTO shared.customers (first_name, last_name) VALUES ('New', 'One') RETURNING tenant_id, created_by",
                &[],
            )
        });
        let row = ok(inserted);
        assert_eq!(row.get::<_, uuid::Uuid>(0), tenant.id);
        assert_eq!(row.get::<_, uuid::Uuid>(1), tenant.owner);
    }
}
