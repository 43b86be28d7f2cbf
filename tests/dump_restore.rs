//! pg_dump and pg_restore into an empty server: the same catalog and the same rows, whatever users added included, and
//! what no dump carries is restored by thorbis.repair(), which the doctor asks for.

use postgres::Client;
use thorbis_tests::listing::{assert_same, objects, rows};
use thorbis_tests::{A, Cluster, Database, Dump, Session, ok, one};

/// What a customer of this extension does to the database, and what must survive.
fn user_changes(db: &Database) {
    ok(db.superuser().batch_execute(
        "ALTER TABLE shared.customers ADD COLUMN favourite_table integer DEFAULT 7;
         COMMENT ON COLUMN shared.customers.favourite_table IS 'added by a user';
         UPDATE shared.customers SET favourite_table = 3;
         CREATE INDEX customers_favourite ON shared.customers (tenant_id, favourite_table);
         CREATE POLICY vip_only ON shared.customers AS RESTRICTIVE FOR DELETE TO thorbis_app USING (favourite_table <> 1);
         CREATE VIEW public.my_view WITH (security_invoker = true) AS SELECT tenant_id, favourite_table FROM shared.customers;
         GRANT SELECT ON public.my_view TO thorbis_app;
         CREATE TABLE public.my_table (tenant_id uuid, id uuid, note text, updated_at timestamptz, PRIMARY KEY (tenant_id, id));
         ALTER TABLE public.my_table OWNER TO thorbis_owner;
         SELECT thorbis.protect('public.my_table', 'my_table')",
    ));
}

/// What the doctor says about something; remedies are left out, they repeat options of whole tables.
fn findings(client: &mut Client, about: &str) -> Vec<String> {
    let sql = "SELECT concat_ws(' ', severity, code, object, detail) FROM thorbis.doctor()
                WHERE concat_ws(' ', code, object, detail) ~* $1";
    ok(client.query(sql, &[&about])).iter().map(|row| row.get(0)).collect()
}

fn application_works(server: &Cluster) {
    let mut client = server.connect("restored", "postgres");
    ok(client.batch_execute("CREATE ROLE restored_app LOGIN; SELECT thorbis.grant_app('restored_app')"));
    let mut app = server.connect("restored", "restored_app");
    app.begin_as(&A);
    assert_eq!(ok(app.tenants_seen()), [A.id]);
    ok(app.batch_execute("INSERT INTO restaurants.orders DEFAULT VALUES; COMMIT"));
}

#[test]
fn restored_database_is_identical_and_repair_mends_what_no_dump_carries() {
    let db = Database::new();
    user_changes(&db);
    let mut client = db.superuser();
    // Settings of the database are in no dump of one database; the doctor wants them noted, repair notes them.
    ok(client.batch_execute(&format!(
        "ALTER DATABASE {} SET thorbis.tenant_claim = 'app_metadata.tenant_id'; SELECT thorbis.install(preload => true)",
        db.name
    )));
    assert_eq!(findings(&mut client, "tenant_claim"), Vec::<String>::new());
    let (catalog, data) = (objects(&mut client), rows(&mut client));
    let dump = Dump::of(db.cluster(), &db.name, "postgres", &[]);
    let server = dump.restored_into_an_empty_server();
    let mut restored = server.connect("restored", "postgres");
    assert_same("catalog before the dump and after the restore", &catalog, &objects(&mut restored));
    // Includes updated_at: no trigger fired.
    assert_same("rows before the dump and after the restore", &data, &rows(&mut restored));

    let granted = "SELECT has_parameter_privilege('thorbis_gateway', 'app.current_tenant_id', 'SET')
                      AND has_parameter_privilege('thorbis_gateway', 'app.current_user_id', 'SET')";
    assert!(!one::<bool>(&mut restored, granted, &[]), "a dump of one database carries no grant on a parameter");
    assert!(!findings(&mut restored, r"app\.current_tenant_id").is_empty(), "the doctor says so");
    ok(restored.batch_execute("SELECT thorbis.repair()"));
    assert!(one::<bool>(&mut restored, granted, &[]));
    assert_eq!(findings(&mut restored, r"app\.current_tenant_id"), Vec::<String>::new());
    assert_eq!(ok(restored.query("SELECT thorbis.repair()", &[])).len(), 0, "nothing is left to repair");
    assert_same("repair and the original", &catalog, &objects(&mut restored));
    let mut reconnected = server.connect("restored", "postgres");
    assert_eq!(one::<String>(&mut reconnected, "SHOW thorbis.tenant_claim", &[]), "app_metadata.tenant_id");
    assert_eq!(one::<String>(&mut reconnected, "SHOW session_preload_libraries", &[]), "thorbis_db");
    application_works(&server);
    data_only_restore_is_mended(&server, &dump);
}

/// pg_restore --disable-triggers ends with ENABLE TRIGGER ALL, which turns ENABLE ALWAYS into ENABLE.
fn data_only_restore_is_mended(server: &Cluster, dump: &Dump) {
    let mut client = server.connect("restored", "postgres");
    let always = "SELECT count(*) FROM pg_trigger g JOIN pg_proc p ON p.oid = g.tgfoid
                   WHERE p.proname = 'invalidate_permissions' AND g.tgenabled = 'A'";
    let before: i64 = one(&mut client, always, &[]);
    let hours = "SELECT count(*) FROM shared.business_hours";
    let rows: i64 = one(&mut client, hours, &[]);
    ok(client.batch_execute("TRUNCATE shared.business_hours"));
    let options = ["--data-only", "--disable-triggers"];
    let table = ["--schema=shared", "--table=business_hours"];
    dump.restore(server, &[options.as_slice(), table.as_slice()].concat());
    assert_eq!(one::<i64>(&mut client, hours, &[]), rows);
    assert!(one::<i64>(&mut client, always, &[]) < before, "ENABLE ALWAYS is lost");
    assert!(!findings(&mut client, "business_hours").is_empty(), "the doctor says so");
    ok(client.batch_execute("SELECT thorbis.repair()"));
    assert_eq!(one::<i64>(&mut client, always, &[]), before);
    assert_eq!(findings(&mut client, "business_hours"), Vec::<String>::new());
}

#[test]
fn dump_as_the_platform_role_holds_every_tenants_rows() {
    let db = Database::new();
    let mut client = db.superuser();
    let (catalog, data) = (objects(&mut client), rows(&mut client));
    // The login itself sees nothing: BYPASSRLS is not inherited, --role takes it on.
    let login = db.role("dumper", "LOGIN IN ROLE thorbis_platform");
    let dump = Dump::of(db.cluster(), &db.name, &login, &["--role=thorbis_platform"]);
    let server = dump.restored_into_an_empty_server();
    let mut restored = server.connect("restored", "postgres");
    assert_same("catalog", &catalog, &objects(&mut restored));
    assert_same("rows", &data, &rows(&mut restored));
}

#[test]
fn dump_by_the_application_is_refused_not_silently_partial() {
    let db = Database::new();
    let file = std::env::temp_dir().join(format!("thorbis-refused-{}", db.name));
    let mut dump = db.cluster().program("pg_dump");
    let output = dump.args(["--format=custom", "--username=app_login", "--file"]).arg(&file).arg(&db.name).output();
    let _ = std::fs::remove_file(&file);
    assert!(!output.expect("pg_dump is installed").status.success());
}

#[test]
fn disabled_and_enabled_triggers_are_found_and_mended() {
    let db = Database::new();
    let mut client = db.superuser();
    let before = objects(&mut client);
    ok(client.batch_execute(
        "ALTER TABLE rbac.user_roles DISABLE TRIGGER ALL; ALTER TABLE rbac.user_roles ENABLE TRIGGER ALL;
         ALTER TABLE shared.customers DISABLE TRIGGER USER",
    ));
    assert!(!findings(&mut client, "user_roles").is_empty());
    assert!(!findings(&mut client, "customers").is_empty());
    ok(client.batch_execute("SELECT thorbis.repair()"));
    assert_same("before and after the repair", &before, &objects(&mut client));
}
