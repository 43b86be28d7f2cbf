//! Installing, rolling back and who may do it, on real connections: concurrency, and databases left as they were.

use postgres::{Client, Config, NoTls};
use std::sync::{Arc, Mutex};
use thorbis_tests::listing::{assert_same, objects, rows};
use thorbis_tests::{A, B, Database, Session, assert_sqlstate, db_error, in_context, ok, one};

fn names(client: &mut Client, sql: &str) -> Vec<String> {
    ok(client.query(sql, &[])).iter().map(|row| row.get(0)).collect()
}

/// Everything but the rows that say when something happened.
fn listing(db: &Database) -> Vec<String> {
    let mut client = db.superuser();
    let mut lines = objects(&mut client);
    lines.extend(
        rows(&mut client).into_iter().filter(|line| !line.starts_with("thorbis.") && !line.starts_with("audit.")),
    );
    lines.extend(names(
        &mut client,
        "SELECT concat_ws(' ', 'migration', module, version, name, checksum) FROM thorbis.migrations ORDER BY 1",
    ));
    lines.extend(names(
        &mut client,
        "SELECT concat_ws(' ', 'protected', table_id, resource, options) FROM thorbis.protected_tables ORDER BY 1",
    ));
    lines
}

/// A superuser whose notices are kept.
fn with_notices(db: &Database) -> (Client, Arc<Mutex<Vec<String>>>) {
    let notices = Arc::new(Mutex::new(Vec::new()));
    let sink = Arc::clone(&notices);
    let mut config = Config::new();
    config.host(&db.cluster().host).port(db.cluster().port).dbname(&db.name).user("postgres");
    config.notice_callback(move |notice| sink.lock().expect("only pushes").push(notice.message().to_owned()));
    (ok(config.connect(NoTls)), notices)
}

#[test]
fn create_extension_names_the_next_step() {
    let db = Database::empty();
    let (mut client, notices) = with_notices(&db);
    ok(client.batch_execute("CREATE EXTENSION thorbis_db"));
    let said = notices.lock().expect("only pushes").join("\n");
    assert!(said.contains("thorbis.install()"), "{said}");
    assert_eq!(one::<i64>(&mut client, "SELECT count(*) FROM pg_class WHERE relname = 'tenants'", &[]), 0);
}

#[test]
fn installing_twice_says_so_and_does_nothing() {
    let db = Database::with_extension();
    let (mut client, notices) = with_notices(&db);
    ok(client.batch_execute("SELECT thorbis.install()"));
    let before = (listing(&db), rows(&mut client));
    notices.lock().expect("only pushes").clear();
    assert_eq!(names(&mut client, "SELECT thorbis.install()"), Vec::<String>::new());
    let said = notices.lock().expect("only pushes").join("\n");
    assert!(said.contains("nothing to do"), "{said:?}");
    assert_same("installing again", &before.0, &listing(&db));
    assert_same("rows after installing again", &before.1, &rows(&mut client));
}

#[test]
fn unknown_industry_changes_nothing() {
    let db = Database::with_extension();
    let mut client = db.superuser();
    let before = objects(&mut client);
    let error = assert_sqlstate(client.batch_execute("SELECT thorbis.install('{restaurants,space}')"), "22023");
    assert!(error.message().contains("space"), "{}", error.message());
    assert!(error.hint().is_some_and(|hint| hint.contains("restaurants")), "the hint lists what there is");
    assert_same("a refused installation", &before, &objects(&mut client));
}

#[test]
fn dry_run_prints_the_statements_and_changes_nothing() {
    let db = Database::with_extension();
    let mut client = db.superuser();
    let before = objects(&mut client);
    let printed = names(&mut client, "SELECT thorbis.install(dry_run => true)");
    assert!(printed.iter().any(|line| line.contains("CREATE TABLE restaurants.orders")));
    assert_same("a dry run", &before, &objects(&mut client));

    ok(client.batch_execute("SELECT thorbis.install('{}')"));
    let before = listing(&db);
    assert_eq!(names(&mut client, "SELECT thorbis.migrate(dry_run => true)"), Vec::<String>::new());
    assert!(!names(&mut client, "SELECT thorbis.install('{restaurants}', dry_run => true)").is_empty());
    let down = names(&mut client, "SELECT thorbis.rollback('gdpr', 0, dry_run => true)");
    assert!(down.iter().any(|line| line.contains("DROP TABLE")));
    assert_same("dry runs", &before, &listing(&db));
}

#[test]
fn subset_now_and_the_rest_later_equals_all_at_once() {
    let at_once = Database::with_extension();
    ok(at_once.superuser().batch_execute("SELECT thorbis.install()"));
    let in_steps = Database::with_extension();
    let mut client = in_steps.superuser();
    ok(client.batch_execute("SELECT thorbis.install('{}')"));
    let schemas =
        "SELECT nspname::text FROM pg_namespace WHERE nspname IN ('shared', 'rbac', 'gdpr', 'restaurants') ORDER BY 1";
    assert_eq!(names(&mut client, schemas), ["gdpr", "rbac", "shared"]);
    ok(client.batch_execute("SELECT thorbis.install('{restaurants}'); SELECT thorbis.install()"));
    assert_same("databases installed in steps and at once", &listing(&at_once), &listing(&in_steps));
}

#[test]
fn concurrent_installs_make_one_installation() {
    let alone = Database::with_extension();
    ok(alone.superuser().batch_execute("SELECT thorbis.install()"));
    let db = Database::with_extension();
    std::thread::scope(|scope| {
        for _ in 0..3 {
            // The default lock_timeout of the engine is for production; here both shall wait their turn.
            scope.spawn(|| ok(db.superuser().batch_execute("SET lock_timeout = '2min'; SELECT thorbis.install()")));
        }
    });
    assert_same("concurrent installs and a single one", &listing(&alone), &listing(&db));
}

#[test]
fn rollback_and_install_again_gives_the_same() {
    let db = Database::with_extension();
    let mut client = db.superuser();
    ok(client.batch_execute("SELECT thorbis.install()"));
    let before = listing(&db);
    assert_sqlstate(client.batch_execute("SELECT thorbis.rollback('rbac', 0)"), "2BP01");
    for module in ["restaurants", "gdpr", "rbac", "shared"] {
        ok(client.execute("SELECT thorbis.rollback($1, 0)", &[&module]));
        let left: i64 =
            one(&mut client, "SELECT count(*) FROM pg_class WHERE relnamespace::regnamespace::text = $1", &[&module]);
        assert_eq!(left, 0, "{module}");
    }
    ok(client.batch_execute("SELECT thorbis.install()"));
    assert_same("before the rollback and after the reinstallation", &before, &listing(&db));
}

#[test]
fn rollback_keeps_data_unless_told_to_discard_it() {
    let db = Database::new();
    let mut client = db.superuser();
    let before = (listing(&db), rows(&mut client));
    let error = db_error(client.batch_execute("SELECT thorbis.rollback('restaurants', 0)"));
    assert_eq!(error.code().code(), "55000");
    assert!(error.message().contains("restaurants.orders"), "{}", error.message());
    assert_same("a refused rollback", &before.0, &listing(&db));
    assert_same("rows after a refused rollback", &before.1, &rows(&mut client));
    ok(client.batch_execute("SELECT thorbis.rollback('restaurants', 0, discard_data => true)"));
}

/// Each by name: a role without rights gets 42501, whether by the ACL or by the function.
#[test]
fn administration_is_refused_to_everybody_else() {
    let db = Database::new();
    ok(db
        .superuser()
        .batch_execute("CREATE TABLE public.mine (id uuid, tenant_id uuid); GRANT SELECT ON public.mine TO PUBLIC"));
    let before = listing(&db);
    for role in ["app_login", "app_only_login", "stranger_login"] {
        let mut client = db.connect_as(role);
        for call in [
            "thorbis.install()",
            "thorbis.install('{restaurants}')",
            "thorbis.migrate()",
            "thorbis.migrate(true)",
            "thorbis.rollback('restaurants', 0)",
            "thorbis.repair()",
            "thorbis.status()",
            "thorbis.doctor()",
            "thorbis.protect('public.mine')",
            "thorbis.protect('shared.customers', 'customers', '{\"permissions\": false}')",
            "thorbis.unprotect('shared.customers')",
            "thorbis.bind_role('app_login', gen_random_uuid())",
            "thorbis.unbind_role('app_login')",
            "thorbis.grant_app('app_login')",
            "thorbis.install_auth_shims()",
            "thorbis.create_tenant('x', 'x', gen_random_uuid(), 'x@example.com')",
        ] {
            println!("{role}: {call}");
            assert_sqlstate(client.batch_execute(&format!("SELECT {call}")), "42501");
        }
        for sql in
            ["SELECT * FROM thorbis.migrations", "SELECT * FROM thorbis.bound_roles", "DROP EXTENSION thorbis_db"]
        {
            assert_sqlstate(client.batch_execute(sql), "42501");
        }
    }
    assert_same("refused calls", &before, &listing(&db));
}

#[test]
fn only_superusers_install_and_the_hint_says_so() {
    let db = Database::with_extension();
    let mut client = db.superuser();
    ok(client.batch_execute("SET ROLE thorbis_platform"));
    let error = assert_sqlstate(client.batch_execute("SELECT thorbis.install()"), "42501");
    assert!(error.hint().is_some_and(|hint| hint.contains("superuser")), "{:?}", error.hint());
}

#[test]
fn extension_in_a_schema_of_its_own() {
    let db = Database::empty();
    let mut client = db.superuser();
    ok(client.batch_execute(
        "CREATE SCHEMA extensions; CREATE EXTENSION thorbis_db SCHEMA extensions; SELECT thorbis.install()",
    ));
    let made = "SELECT thorbis.create_tenant($1, $2, $3, $4, '{restaurants}', id => $5)";
    for tenant in [&A, &B] {
        let slug = tenant.name.to_lowercase().replace(' ', "-");
        ok(client.execute(made, &[&tenant.name, &slug, &tenant.owner, &"owner@example.com", &tenant.id]));
        let customer = "INSERT INTO shared.customers (tenant_id, first_name, last_name) VALUES ($1, 'C', 'C')";
        ok(client.execute(customer, &[&tenant.id]));
    }
    let role = db.role("app", "LOGIN");
    ok(client.batch_execute(&format!("SELECT thorbis.grant_app('{role}')")));
    let mut app = db.connect_as(&role);
    app.begin_as(&A);
    assert_eq!(ok(app.tenants_seen()), [A.id]);
    ok(app.batch_execute(
        "UPDATE shared.customers SET first_name = 'D'; INSERT INTO restaurants.orders DEFAULT VALUES; COMMIT",
    ));
}

#[test]
fn dropping_the_extension_is_refused_while_tables_use_it() {
    let db = Database::new();
    assert_sqlstate(db.superuser().batch_execute("DROP EXTENSION thorbis_db"), "2BP01");
}

#[test]
fn schema_somebody_else_made_is_not_taken_over() {
    let db = Database::with_extension();
    let mut client = db.superuser();
    ok(client.batch_execute("CREATE SCHEMA shared"));
    let before = objects(&mut client);
    assert_sqlstate(client.batch_execute("SELECT thorbis.install()"), "42P06");
    assert_same("a refused installation", &before, &objects(&mut client));
}

/// A user's own object under the name of one of ours makes a later migration fail half-way.
#[test]
fn failing_migration_leaves_the_database_as_it_was_and_names_the_place() {
    let db = Database::with_extension();
    let mut client = db.superuser();
    ok(client.batch_execute("SELECT thorbis.install('{}')"));
    ok(client.batch_execute("SELECT thorbis.rollback('gdpr', 2); CREATE TABLE gdpr.breaches (note text)"));
    let before = listing(&db);
    let error = db_error(client.batch_execute("SELECT thorbis.migrate()"));
    assert_eq!(error.code().code(), "42P07");
    let said = format!("{}\n{:?}\n{:?}\n{:?}", error.message(), error.detail(), error.hint(), error.where_());
    assert!(said.contains("0003") && said.contains("breaches"), "{said}");
    assert_same("a failed migration", &before, &listing(&db));
    ok(client.batch_execute("DROP TABLE gdpr.breaches; SELECT thorbis.migrate()"));
}

// --- one's own table

#[test]
fn own_table_is_isolated_after_one_call() {
    let db = Database::new();
    let mut client = db.superuser();
    ok(client.batch_execute(
        "CREATE SCHEMA crm; CREATE TABLE crm.notes (tenant_id uuid, id uuid DEFAULT gen_random_uuid(), body text,
             updated_at timestamptz, PRIMARY KEY (tenant_id, id));
         ALTER TABLE crm.notes OWNER TO thorbis_owner; ALTER SCHEMA crm OWNER TO thorbis_owner;
         SELECT thorbis.protect('crm.notes', 'notes')",
    ));
    let mut app = db.app();
    for tenant in [&A, &B] {
        let wrote = in_context(&mut app, tenant.id, tenant.owner, |tx| {
            tx.execute("INSERT INTO crm.notes (body) VALUES ($1)", &[&tenant.name])?;
            tx.query_one("SELECT count(*), min(body) FROM crm.notes", &[])
        });
        let row = ok(wrote);
        assert_eq!((row.get::<_, i64>(0), row.get::<_, &str>(1)), (1, tenant.name));
    }
    let forged = in_context(&mut app, A.id, A.owner, |tx| {
        tx.execute("INSERT INTO crm.notes (tenant_id, body) VALUES ($1, 'x')", &[&B.id])
    });
    assert_sqlstate(forged, "42501");
    // The employee holds no permission on it; nobody granted one.
    assert!(ok(in_context(&mut app, A.id, A.employee, |tx| tx.query("SELECT 1 FROM crm.notes", &[]))).is_empty());
    assert_eq!(names(&mut client, "SELECT thorbis.protect('crm.notes', 'notes')"), Vec::<String>::new(), "idempotent");
}
