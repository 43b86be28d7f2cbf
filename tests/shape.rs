//! The shape that every tenant table must have, and what must be true of policies, views and functions, checked over
//! the catalog: a table added later is held to it without anybody listing it.

use std::collections::BTreeSet;
use thorbis_tests::{Database, assert_none, ok, one, tenant_tables};

/// `condition` over c (pg_class) and k.tenant (its tenant column) must hold for each tenant table.
#[track_caller]
fn holds(rule: &str, condition: &str, exceptions: &[&str]) {
    let mut client = Database::untouched().superuser();
    let mut offenders = Vec::new();
    for table in tenant_tables(&mut client) {
        let sql = format!(
            "SELECT {condition} FROM pg_class c, (VALUES ($2::text)) k(tenant) WHERE c.oid = $1::text::regclass"
        );
        let held: bool = one(&mut client, &sql, &[&table.name, &table.tenant_column]);
        if !held && !exceptions.contains(&table.name.as_str()) {
            offenders.push(table.name);
        }
    }
    assert!(offenders.is_empty(), "{rule}: {offenders:?}");
}

#[test]
fn row_security_is_enabled_and_forced() {
    holds("row security is not enabled and forced", "c.relrowsecurity AND c.relforcerowsecurity", &[]);
}

#[test]
fn owner_cannot_log_in() {
    holds("owned by another role", "c.relowner = 'thorbis_owner'::regrole", &[]);
    assert_none(
        "the owner can log in",
        "SELECT rolname::text FROM pg_roles WHERE rolname LIKE 'thorbis\\_%' AND rolcanlogin",
        &[],
    );
}

#[test]
fn tenant_column_is_not_null_and_defaults_to_the_current_tenant() {
    let column = "EXISTS (SELECT FROM pg_attribute a LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
                           WHERE a.attrelid = c.oid AND a.attname = k.tenant AND a.attnotnull AND a.atttypid = 'uuid'::regtype";
    holds("nullable tenant column", &format!("{column})"), &[]);
    let default = format!("{column} AND pg_get_expr(d.adbin, d.adrelid) LIKE '%get_current_tenant_id()')");
    holds("no default", &default, &["shared.tenants"]);
}

#[test]
fn an_index_leads_with_the_tenant() {
    let index = "EXISTS (SELECT FROM pg_index i JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = i.indkey[0]
                          WHERE i.indrelid = c.oid AND a.attname = k.tenant AND i.indpred IS NULL AND i.indisvalid)";
    holds("no whole index with the tenant in front", index, &[]);
}

#[test]
fn unique_keys_begin_with_the_tenant() {
    assert_none(
        "a key across tenants tells one what another has",
        "SELECT i.indexrelid::regclass::text FROM pg_index i JOIN pg_class t ON t.oid = i.indrelid
           JOIN pg_attribute ten ON ten.attrelid = t.oid AND ten.attname = 'tenant_id'
          WHERE t.relnamespace = ANY ({schemas}) AND t.relnamespace <> 'thorbis'::regnamespace
            AND (i.indisunique OR i.indisexclusion) AND i.indkey[0] <> ten.attnum",
        &[],
    );
}

#[test]
fn foreign_keys_between_tenant_tables_carry_the_tenant() {
    assert_none(
        "the tenant is not on both sides",
        "SELECT k.conrelid::regclass || ' ' || k.conname FROM pg_constraint k
           JOIN pg_attribute child ON child.attrelid = k.conrelid AND child.attname = 'tenant_id'
           JOIN pg_attribute parent ON parent.attrelid = k.confrelid AND parent.attname = 'tenant_id'
          WHERE k.contype = 'f' AND child.attnum > 0
            AND (k.conkey[1] <> child.attnum OR k.confkey[1] <> parent.attnum)",
        &[],
    );
    assert_none(
        "no foreign key to the tenant",
        "SELECT c.oid::regclass::text FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'tenant_id'
          WHERE c.relnamespace = ANY ({schemas}) AND c.relnamespace <> 'thorbis'::regnamespace AND c.relkind IN ('r', 'p')
            AND NOT c.relispartition
            AND NOT EXISTS (SELECT FROM pg_constraint k WHERE k.conrelid = c.oid AND k.contype = 'f'
                               AND k.confrelid = 'shared.tenants'::regclass AND k.conkey = ARRAY[a.attnum])",
        &[
            ("audit.change_log", "outlives the tenants"),
            ("audit.security_events", "outlives the tenants, and the platform has events too"),
        ],
    );
}

/// With these one DDL serves one machine and a database sharded by tenant.
#[test]
fn nothing_stands_in_the_way_of_sharding_by_tenant() {
    assert_none(
        "ON DELETE SET NULL would null the tenant",
        "SELECT conname::text FROM pg_constraint WHERE contype = 'f' AND (confdeltype IN ('n', 'd') OR confupdtype IN ('n', 'd'))",
        &[],
    );
    assert_none(
        "identity column",
        "SELECT attrelid::regclass || '.' || attname FROM pg_attribute WHERE attidentity <> ''",
        &[],
    );
    assert_none(
        "sequence",
        "SELECT oid::regclass::text FROM pg_class WHERE relkind = 'S' AND relnamespace = ANY ({schemas})",
        &[],
    );
    assert_none(
        "sub-query in a policy",
        "SELECT tablename || ' ' || policyname FROM pg_policies WHERE concat(qual, with_check) ~* '\\mselect\\M'",
        &[],
    );
}

#[test]
fn policies_are_those_of_protection() {
    let count =
        |condition: &str| format!("(SELECT count(*) FROM pg_policy p WHERE p.polrelid = c.oid AND {condition})");
    holds("not one restrictive policy", &format!("{} = 1", count("NOT p.polpermissive")), &[]);
    let backstop = count("NOT p.polpermissive AND p.polcmd = '*' AND p.polname = 'tenant_isolation_' || c.relname");
    holds("the restrictive policy is not tenant_isolation_<table>", &format!("{backstop} = 1"), &[]);
    let app_only = "p.polpermissive AND p.polroles <> ARRAY['thorbis_app'::regrole::oid]";
    // thorbis_auditor reads the log of its tenant.
    let audit = ["audit.change_log", "audit.security_events"];
    holds("a permissive policy for others than thorbis_app", &format!("{} = 0", count(app_only)), &audit);
    let no_tenant = "pg_get_expr(coalesce(p.polqual, p.polwithcheck), p.polrelid) !~ ('\\m' || k.tenant || ' = ')";
    holds("a policy that does not name the tenant", &format!("{} = 0", count(no_tenant)), &[]);
}

#[test]
fn updated_at_is_kept_by_a_trigger() {
    holds(
        "no set_updated_at trigger",
        "NOT EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attname = 'updated_at')
         OR EXISTS (SELECT FROM pg_trigger g WHERE g.tgrelid = c.oid AND g.tgname = 'set_updated_at_' || c.relname)",
        &[],
    );
    holds(
        "created_at or updated_at is missing",
        "2 = (SELECT count(*) FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attname IN ('created_at', 'updated_at'))",
        // Rows that never change, with another name for the time they were made; and one that changes with every number.
        &["audit.change_log", "shared.status_history", "shared.number_counters"],
    );
}

/// Policies hold for the relation that a statement names: tenants reach the rows of a partition through its parent only.
#[test]
fn partitions_are_closed() {
    assert_none(
        "granted to somebody, or without forced row security",
        "SELECT c.oid::regclass::text FROM pg_class c
          WHERE c.relnamespace = ANY ({schemas}) AND c.relispartition AND c.relkind IN ('r', 'p')
            AND (NOT (c.relrowsecurity AND c.relforcerowsecurity)
                 OR EXISTS (SELECT FROM aclexplode(c.relacl) x
                            WHERE x.grantee NOT IN (c.relowner, 'thorbis_platform'::regrole)))",
        &[],
    );
}

#[test]
fn every_tenant_table_is_registered() {
    holds(
        "not in thorbis.protected_tables",
        "EXISTS (SELECT FROM thorbis.protected_tables p WHERE p.table_id = c.oid)",
        &[],
    );
}

#[test]
fn views_run_with_the_rights_of_the_caller() {
    assert_none(
        "view without security_invoker",
        "SELECT oid::regclass::text FROM pg_class WHERE relkind IN ('v', 'm') AND relnamespace = ANY ({schemas})
            AND relnamespace <> 'thorbis'::regnamespace
            AND NOT coalesce('security_invoker=true' = ANY (reloptions), false)",
        &[],
    );
}

#[test]
fn functions_are_executable_by_name_only() {
    assert_none(
        "EXECUTE for PUBLIC",
        "SELECT p.oid::regprocedure::text FROM pg_proc p JOIN pg_depend d ON d.objid = p.oid AND d.deptype = 'e'
           JOIN pg_extension e ON e.oid = d.refobjid AND e.extname = 'thorbis_db'
          WHERE p.proacl IS NULL OR EXISTS (SELECT FROM aclexplode(p.proacl) x WHERE x.grantee = 0)",
        &[],
    );
    assert_none(
        "SECURITY DEFINER without a pinned search_path",
        "SELECT p.oid::regprocedure::text FROM pg_proc p WHERE p.prosecdef AND p.pronamespace = ANY ({schemas})
            AND NOT coalesce('search_path=pg_catalog, pg_temp' = ANY (p.proconfig), false)",
        &[],
    );
}

#[test]
fn triggers_that_guard_access_fire_always() {
    assert_none(
        "a trigger that replication or a restore would skip",
        "SELECT g.tgrelid::regclass || ' ' || g.tgname FROM pg_trigger g JOIN pg_proc p ON p.oid = g.tgfoid
          WHERE p.proname IN ('invalidate_permissions', 'record_security_event') AND g.tgenabled <> 'A'",
        &[],
    );
}

#[test]
fn doctor_finds_no_error_on_a_fresh_installation() {
    assert_none(
        "the doctor's findings",
        "SELECT concat_ws(' ', code, object, detail) FROM thorbis.doctor() WHERE severity = 'error'",
        &[],
    );
}

// --- what the library watches

/// The (schema, relation) pairs of src/access/invalidation.rs.
fn watched() -> BTreeSet<String> {
    let source = include_str!("../src/access/invalidation.rs");
    let (_, list) = source.split_once("const WATCHED:").expect("the list is called WATCHED");
    let (list, _) = list.split_once("];\n").expect("the list ends");
    let pairs: BTreeSet<String> = list
        .lines()
        .filter_map(|line| line.trim().strip_prefix("(c\"")?.strip_suffix("\"),")?.split_once("\", c\""))
        .map(|(schema, name)| format!("{schema}.{name}"))
        .collect();
    assert!(pairs.len() >= 11 && pairs.len() == list.matches("(c\"").count(), "pairs of schema and name: {pairs:?}");
    pairs
}

/// A table that decides access must announce its changes, by row and by TRUNCATE, also when replicated or restored; and
/// the library must know it, or nobody listens.
#[test]
fn watched_tables_are_those_that_announce_their_changes() {
    let sql = "SELECT t.tgrelid::regclass::text FROM pg_trigger t JOIN pg_proc p ON p.oid = t.tgfoid
                WHERE p.proname = 'invalidate_permissions' AND t.tgenabled = 'A' AND t.tgqual IS NULL GROUP BY 1
               HAVING bool_or(t.tgtype & 1 = 1 AND t.tgtype & 2 = 0 AND t.tgtype & 28 = 28)
                  AND bool_or(t.tgtype & 1 = 0 AND t.tgtype & 2 = 0 AND t.tgtype & 32 = 32)";
    let rows = ok(Database::untouched().superuser().query(sql, &[]));
    let announcing: BTreeSet<String> = rows.iter().map(|row| row.get(0)).collect();
    let mut watched = watched();
    assert!(watched.remove("thorbis.data_keys"), "a new key makes nothing stale: only its end is announced");
    assert!(watched.remove("thorbis.key_rotations"), "announced by thorbis.rotate_keys() itself");
    assert!(watched.remove("thorbis.permission_epoch"), "the view in whose name the announcements are sent");
    assert_eq!(watched, announcing, "src/access/invalidation.rs (left) and the tables with both triggers (right)");
    assert_none(
        "an invalidation trigger fires at another time",
        "SELECT t.tgrelid::regclass || ' ' || t.tgname FROM pg_trigger t JOIN pg_proc p ON p.oid = t.tgfoid
          WHERE p.proname = 'invalidate_permissions' AND t.tgtype & 2 <> 0",
        &[],
    );
}
