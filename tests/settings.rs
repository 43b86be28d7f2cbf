//! Settings of the database that protection depends on: set by installing, noted, given again to a copy or a restored
//! database, and left alone where somebody took them back. Restoring a dump is in dump_restore.rs.

use postgres::Client;
use thorbis_tests::{A, Database, in_context, ok, one};

/// What ALTER DATABASE has set here.
fn settings(client: &mut Client) -> Vec<String> {
    let sql = "SELECT c FROM pg_db_role_setting s, unnest(s.setconfig) c
                WHERE s.setrole = 0 AND s.setdatabase = (SELECT oid FROM pg_database WHERE datname = current_database())
                ORDER BY 1";
    ok(client.query(sql, &[])).iter().map(|row| row.get(0)).collect()
}

/// What repair() runs.
fn repair(client: &mut Client) -> Vec<String> {
    ok(client.query("SELECT thorbis.repair()", &[])).iter().map(|row| row.get(0)).collect()
}

fn alter(db: &Database, what: &str) {
    ok(db.superuser().batch_execute(&format!("ALTER DATABASE {} {what}", db.name)));
}

fn repair_needed(client: &mut Client) -> Vec<String> {
    let sql = "SELECT concat_ws(' ', severity, detail) FROM thorbis.doctor() WHERE code = 'repair_needed'";
    ok(client.query(sql, &[])).iter().map(|row| row.get(0)).collect()
}

// --- preload

#[test]
fn preloading_keeps_the_libraries_that_are_there() {
    for (existing, expected) in [
        ("plpgsql", "plpgsql, thorbis_db"),
        ("'plpgsql', 'plpgsql'", "plpgsql, plpgsql, thorbis_db"),
        ("'plpgsql', 'thorbis_db'", "plpgsql, thorbis_db"),
        ("'thorbis_db', '$libdir/plpgsql'", "thorbis_db, \"$libdir/plpgsql\""),
        ("'$libdir/plpgsql'", "\"$libdir/plpgsql\", thorbis_db"),
    ] {
        let db = Database::new();
        alter(&db, &format!("SET session_preload_libraries = {existing}"));
        ok(db.superuser().batch_execute("SELECT thorbis.install(preload => true)"));
        // Whoever logs in next needs all of them: an entry that was mangled keeps everybody out.
        let mut reconnected = db.superuser();
        assert_eq!(one::<String>(&mut reconnected, "SHOW session_preload_libraries", &[]), expected, "{existing}");
        assert_eq!(repair(&mut reconnected), Vec::<String>::new(), "{existing}");
        ok(in_context(&mut db.app(), A.id, A.owner, |tx| tx.query("SELECT 1 FROM shared.customers", &[])));
    }
}

#[test]
fn preloading_is_for_those_who_ask() {
    let db = Database::new();
    ok(db.superuser().batch_execute("SELECT thorbis.install(); SELECT thorbis.repair()"));
    assert_eq!(settings(&mut db.superuser()), Vec::<String>::new());
    ok(db.superuser().batch_execute("SELECT thorbis.install(preload => true)"));
    assert_eq!(settings(&mut db.superuser()), ["session_preload_libraries=thorbis_db"]);
}

// --- taken back, and copied

/// Notes the setting the way it is used: set, then repair() as the doctor asks for.
fn with_noted_claim() -> Database {
    let db = Database::new();
    alter(&db, "SET thorbis.tenant_claim = 'app_metadata.tenant_id'");
    let mut client = db.superuser();
    assert!(repair_needed(&mut client).iter().any(|line| line.starts_with("warning")), "the doctor wants it noted");
    assert_eq!(repair(&mut client).len(), 1);
    assert_eq!(repair_needed(&mut client), Vec::<String>::new());
    drop(client);
    db
}

#[test]
fn setting_that_was_reset_is_not_set_again() {
    for again in
        ["SELECT thorbis.repair()", "SELECT thorbis.install()", "SELECT thorbis.install(); SELECT thorbis.repair()"]
    {
        let db = with_noted_claim();
        alter(&db, "RESET thorbis.tenant_claim");
        ok(db.superuser().batch_execute(again));
        assert_eq!(settings(&mut db.superuser()), Vec::<String>::new(), "{again}");
        // Not in a copy either: it was given up before.
        let copy = db.copy();
        ok(copy.superuser().batch_execute("SELECT thorbis.repair()"));
        assert_eq!(settings(&mut copy.superuser()), Vec::<String>::new(), "{again}, in a copy");
    }
}

#[test]
fn setting_that_was_changed_stays_changed() {
    let db = with_noted_claim();
    alter(&db, "SET thorbis.tenant_claim = 'org_id'");
    ok(db.superuser().batch_execute("SELECT thorbis.repair(); SELECT thorbis.install()"));
    assert_eq!(settings(&mut db.superuser()), ["thorbis.tenant_claim=org_id"]);
    let copy = db.copy();
    ok(copy.superuser().batch_execute("SELECT thorbis.repair()"));
    assert_eq!(settings(&mut copy.superuser()), ["thorbis.tenant_claim=org_id"]);
}

#[test]
fn copied_database_gets_its_settings_from_repair() {
    let db = with_noted_claim();
    ok(db.superuser().batch_execute("SELECT thorbis.install(preload => true)"));
    let copy = db.copy();
    let mut client = copy.superuser();
    assert_eq!(settings(&mut client), Vec::<String>::new(), "PostgreSQL copies no settings");
    let errors = repair_needed(&mut client);
    assert_eq!(errors.iter().filter(|line| line.starts_with("error")).count(), 2, "{errors:?}");
    let done = repair(&mut client);
    assert_eq!(done.iter().filter(|line| line.starts_with("ALTER DATABASE")).count(), 2, "{done:?}");
    assert_eq!(repair(&mut client), Vec::<String>::new(), "nothing is left");
    assert_eq!(repair_needed(&mut client), Vec::<String>::new());
    assert_eq!(
        settings(&mut client),
        ["session_preload_libraries=thorbis_db", "thorbis.tenant_claim=app_metadata.tenant_id"]
    );
}

/// Once repair() has set them, the settings are the copy's own.
#[test]
fn reset_in_a_copied_database_is_respected_too() {
    let db = with_noted_claim();
    let copy = db.copy();
    let mut client = copy.superuser();
    ok(client.batch_execute("SELECT thorbis.repair()"));
    assert_eq!(settings(&mut client), ["thorbis.tenant_claim=app_metadata.tenant_id"]);
    alter(&copy, "RESET thorbis.tenant_claim");
    ok(client.batch_execute("SELECT thorbis.repair()"));
    assert_eq!(settings(&mut client), Vec::<String>::new());
    assert_eq!(settings(&mut db.superuser()).len(), 1, "the original keeps what it has");
}
