//! `thorbis.protect` and `thorbis.unprotect`.

use crate::access::invalidation;
use crate::domain::names;
use crate::pg::error::{OrRaise, SqlError, required};
use crate::pg::{raw, sql};
use crate::protect::error::ProtectError;
use crate::protect::options::Options;
use crate::protect::registry::{self, Entry};
use crate::protect::table::Table;
use crate::protect::{audit, pii, plan, policies};
use pgrx::JsonB;
use pgrx::prelude::*;
use pgrx::spi::quote_identifier;

/// Protects a table, or returns what that would take. Rows: the statements, in order.
#[pg_extern(sql = false)]
fn protect(
    table: Option<pg_sys::Oid>,
    resource: Option<&str>,
    options: Option<JsonB>,
    dry_run: Option<bool>,
) -> SetOfIterator<'static, String> {
    crate::deploy::require_installed();
    let table = Table::read(required("table", table)).or_raise();
    require_owner(&table);
    let before = registry::find(table.oid);
    let mut options = match (options, &before) {
        (Some(options), _) => Options::parse(options.0).or_raise(),
        (None, Some(entry)) => entry.options.clone(),
        (None, None) => Options::default(),
    };
    let previous = before.as_ref().map(|entry| &entry.options);
    let (field, audit_name) = (|column: &str| registry::new_field(&table, column), || registry::new_audit_name(&table));
    options.settle(&table.name, previous, field, audit_name).or_raise();
    // A default of '' stands for no value once the column is encrypted.
    let requires = |name: &str| {
        table.column(name).is_some_and(|c| c.not_null && !c.default.as_ref().is_some_and(|d| d.starts_with("''")))
    };
    for pii in options.pii.iter_mut().filter(|pii| pii.is_encrypted()) {
        pii.required |= requires(&pii.column);
    }
    let resource = match (resource, &before) {
        (Some(resource), _) => resource.to_owned(),
        (None, Some(entry)) => entry.resource.clone(),
        (None, None) => names::resource_for(&table.name),
    };
    let entry = Entry { table: table.oid, resource, options };
    let statements = if required("dry_run", dry_run) {
        missing(&table, &entry, before.as_ref())
    } else {
        apply(&table, &entry, before.as_ref())
    };
    SetOfIterator::new(statements)
}

fn missing(table: &Table, entry: &Entry, before: Option<&Entry>) -> Vec<String> {
    let previous = before.map(|entry| (entry.resource.clone(), entry.options.clone()));
    plan::missing(table, &entry.resource, &entry.options, previous.as_ref()).or_raise()
}

/// Brings the table to what the entry says and registers it. Returns the statements that were run.
pub fn apply(table: &Table, entry: &Entry, before: Option<&Entry>) -> Vec<String> {
    let statements = missing(table, entry, before);
    for statement in &statements {
        sql::run(statement, &[]);
    }
    if table.column("updated_at").is_some_and(|c| c.data_type != plan::TIMESTAMPTZ) {
        notice!("updated_at of {} is no timestamptz: nothing maintains it", table.quoted());
    }
    if before != Some(entry) || !registry::resource_is_known(&entry.resource) {
        registry::save(entry);
    } else if statements.is_empty() {
        notice!("{} is protected already, nothing to do", table.quoted());
    }
    let clear = pii::in_clear(table, &entry.options);
    if !clear.is_empty() {
        let columns = clear.join(", ");
        notice!("{columns} of {0} hold values in clear: SELECT thorbis.encrypt_existing('{0}');", table.quoted());
    }
    statements
}

/// Takes protection back: policies, triggers and grants. The table is closed to tenants first, then opened to its
/// owner; columns, indexes and rows stay.
#[pg_extern(sql = false)]
fn unprotect(table: Option<pg_sys::Oid>, dry_run: Option<bool>) -> SetOfIterator<'static, String> {
    crate::deploy::require_installed();
    let (table, dry_run) = (required("table", table), required("dry_run", dry_run));
    let entry = registry::expect(table).or_raise();
    let table = Table::read(table).or_raise();
    require_owner(&table);
    let base = entry.options.base(&table.name);
    let encrypted: Vec<_> = entry.options.encrypted().collect();
    if pii::has_encrypted_rows(&table, &encrypted) {
        let column = encrypted[0].column.clone();
        ProtectError::StillEncrypted { table: table.quoted(), column }.raise();
    }
    let mut statements =
        vec![format!("REVOKE ALL ON {} FROM thorbis_app, thorbis_platform, thorbis_auditor", table.quoted())];
    statements.extend(pii::removals(&table, &entry.options));
    let tables = std::iter::once((table.oid, table.quoted())).chain(table.descendants());
    for (oid, name) in tables {
        for policy in policies::desired(base, &entry.resource, &entry.options) {
            if sql::exists(
                "SELECT 1 FROM pg_policy WHERE polrelid = $1 AND polname = $2",
                &[oid.into(), policy.name.as_str().into()],
            ) {
                statements.push(format!("DROP POLICY {} ON {name}", quote_identifier(&policy.name)));
            }
        }
        statements.push(format!("ALTER TABLE {name} NO FORCE ROW LEVEL SECURITY"));
        statements.push(format!("ALTER TABLE {name} DISABLE ROW LEVEL SECURITY"));
    }
    let mut ours = vec![
        names::derived("set_updated_at_", base, ""),
        names::derived("update_", base, "_own_columns"),
        names::derived("update_", base, "_tenant_guard"),
    ];
    let audit = [audit::row_trigger(&table, &entry.options), audit::truncate_trigger(&table, &entry.options)];
    ours.extend(audit.into_iter().flatten().map(|(name, _)| name));
    for (oid, name) in std::iter::once((table.oid, table.quoted())).chain(table.descendants()) {
        // Those of partitions that came from the parent go with it.
        let present = sql::query(
            "SELECT tgname::text FROM pg_trigger
              WHERE tgrelid = $1 AND tgname = ANY ($2) AND NOT tgisinternal AND tgparentid = 0",
            &[oid.into(), ours.clone().into()],
            |row| sql::column::<String>(row, 1),
        );
        let drop = |trigger: String| format!("DROP TRIGGER {} ON {name}", quote_identifier(trigger));
        statements.extend(present.into_iter().map(drop));
    }
    if !dry_run {
        for statement in &statements {
            sql::run(statement, &[]);
        }
        registry::remove(table.oid);
    }
    SetOfIterator::new(statements)
}

/// Raises 42501 unless the caller has the rights of the table's owner.
pub fn require_owner(table: &Table) {
    let (_, user) = raw::user_ids();
    let owner = invalidation::owner_of(table.oid).unwrap_or(pg_sys::InvalidOid);
    // SAFETY: look-ups in the role cache; a superuser has the rights of every role.
    if !unsafe { pg_sys::has_privs_of_role(user, owner) } {
        ProtectError::NotOwner { table: table.quoted() }.raise();
    }
}

#[cfg(any(test, feature = "pg_test"))]
#[pg_schema]
mod tests {
    use pgrx::prelude::*;

    fn run(sql: &str) {
        Spi::run(sql).unwrap();
    }

    fn statements(sql: &str) -> i64 {
        Spi::get_one::<i64>(&format!("SELECT count(*) FROM {sql}")).unwrap().unwrap()
    }

    /// A table without anything to object to.
    fn fleet() {
        run("SELECT thorbis.install('{}')");
        run("CREATE SCHEMA fleet; CREATE TABLE fleet.trucks (tenant_id uuid, id uuid, plate text, updated_at timestamptz,
             PRIMARY KEY (tenant_id, id)); ALTER TABLE fleet.trucks OWNER TO thorbis_owner");
    }

    #[pg_test]
    fn protecting_twice_does_nothing_the_second_time() {
        fleet();
        let planned = statements("thorbis.protect('fleet.trucks', dry_run => true)");
        assert_eq!(statements("thorbis.protect('fleet.trucks')"), planned);
        assert!(planned > 10);
        assert_eq!(statements("thorbis.protect('fleet.trucks')"), 0);
        assert_eq!(statements("thorbis.doctor() WHERE severity = 'error'"), 0);
    }

    #[pg_test]
    fn changed_options_replace_what_they_made() {
        fleet();
        let own = |column| {
            format!(
                r#"thorbis.protect('fleet.trucks', options => '{{"own_rows": {{"user_column": "id", "update_columns": ["{column}"]}}}}')"#
            )
        };
        run(&format!("SELECT {}", own("plate")));
        assert_eq!(statements(&own("updated_at")), 2, "the trigger is dropped and made again");
        assert_eq!(statements(&own("updated_at")), 0);
        run("SELECT thorbis.protect('fleet.trucks')");
        let kept = "SELECT count(*) FROM pg_policies WHERE tablename = 'trucks' AND policyname LIKE 'own_rows%'";
        assert_eq!(Spi::get_one::<i64>(kept).unwrap(), Some(2), "options that are left out stay");
        run("SELECT thorbis.protect('fleet.trucks', options => '{}')");
        let left = "SELECT count(*) FROM pg_policies WHERE tablename = 'trucks' AND policyname LIKE 'own_rows%'";
        assert_eq!(Spi::get_one::<i64>(left).unwrap(), Some(0));
    }

    #[pg_test]
    fn unprotecting_leaves_the_table_closed_to_the_application() {
        fleet();
        run("SELECT thorbis.protect('fleet.trucks'); SELECT thorbis.unprotect('fleet.trucks')");
        let open = "SELECT has_table_privilege('thorbis_app', 'fleet.trucks', 'SELECT')";
        assert_eq!(Spi::get_one::<bool>(open).unwrap(), Some(false));
        let forced = "SELECT relforcerowsecurity OR relrowsecurity FROM pg_class WHERE oid = 'fleet.trucks'::regclass";
        assert_eq!(Spi::get_one::<bool>(forced).unwrap(), Some(false));
    }

    #[pg_test]
    fn odd_names_are_quoted() {
        run("SELECT thorbis.install('{}')");
        run(
            r#"CREATE SCHEMA "My ""Schema"; CREATE TABLE "My ""Schema"."T'able; DROP" ("Ten ant" uuid, id uuid, "Col""umn" text,
               PRIMARY KEY ("Ten ant", id)); ALTER TABLE "My ""Schema"."T'able; DROP" OWNER TO thorbis_owner"#,
        );
        let protect = r#"thorbis.protect('"My ""Schema"."T''able; DROP"', options => '{"tenant_column": "Ten ant"}')"#;
        assert!(statements(protect) > 5);
        assert_eq!(statements(protect), 0);
    }

    #[pg_test]
    fn partitions_get_the_policies_of_their_parent() {
        run("SELECT thorbis.install('{}')");
        run("CREATE SCHEMA p; CREATE TABLE p.events (tenant_id uuid, id uuid, at date, PRIMARY KEY (tenant_id, id, at))
             PARTITION BY RANGE (at); CREATE TABLE p.old PARTITION OF p.events FOR VALUES FROM ('2020-01-01') TO ('2021-01-01');
             ALTER TABLE p.events OWNER TO thorbis_owner; ALTER TABLE p.old OWNER TO thorbis_owner");
        run("SELECT thorbis.protect('p.events')");
        let bare = "SELECT count(*) FROM pg_class c WHERE relname IN ('events', 'old') AND relforcerowsecurity
                       AND 5 = (SELECT count(*) FROM pg_policy WHERE polrelid = c.oid)";
        assert_eq!(Spi::get_one::<i64>(bare).unwrap(), Some(2));
        run("CREATE TABLE p.new PARTITION OF p.events FOR VALUES FROM ('2021-01-01') TO ('2022-01-01')");
        assert!(statements("thorbis.doctor() WHERE code = 'protection_incomplete' AND object = 'p.events'") > 0);
    }

    #[pg_test(error = "public.v is a view: only ordinary and partitioned tables can be protected")]
    fn a_view_is_refused() {
        run(
            "SELECT thorbis.install('{}'); CREATE VIEW public.v AS SELECT 1 AS one; SELECT thorbis.protect('public.v')",
        );
    }

    #[pg_test(error = "pg_catalog.pg_class is a system table and cannot be protected")]
    fn a_system_table_is_refused() {
        run("SELECT thorbis.install('{}'); SELECT thorbis.protect('pg_class')");
    }

    #[pg_test(error = "public.t has rows but no column \"tenant_id\"")]
    fn rows_without_a_tenant_are_refused() {
        run(
            "SELECT thorbis.install('{}'); CREATE TABLE public.t AS SELECT 1 AS id; SELECT thorbis.protect('public.t')",
        );
    }

    #[pg_test(error = "public.t cannot be protected as it is")]
    fn what_voids_protection_is_refused() {
        run("SELECT thorbis.install('{}'); CREATE TABLE public.t (tenant_id uuid, id uuid PRIMARY KEY);
             SELECT thorbis.protect('public.t')");
    }

    #[pg_test(error = "thorbis_db is not installed in this database")]
    fn protecting_needs_an_installation() {
        run("CREATE TABLE public.t (id int); SELECT thorbis.protect('public.t')");
    }
}
