//! The background worker that seals.

use thorbis_tests::seals::assert_verifies;
use thorbis_tests::{Cluster, ok, one, until};

/// (its process, what it does) of the sealer; None while there is none.
fn sealer(client: &mut postgres::Client) -> Option<i32> {
    let sql = "SELECT pid FROM pg_stat_activity WHERE backend_type = 'thorbis sealer'";
    ok(client.query_opt(sql, &[])).map(|row| row.get(0))
}

#[test]
fn a_worker_seals_and_goes_on_after_errors() {
    let settings = ["shared_preload_libraries=thorbis_db", "thorbis.seal_database=postgres", "thorbis.seal_interval=1"];
    let server = Cluster::fresh_with("sealer", &settings);
    let mut client = server.maintenance();
    until("the worker runs", || sealer(&mut client).is_some());
    let first = sealer(&mut client);
    // Without the extension, and then without its schemas, it waits.
    ok(client.batch_execute("CREATE EXTENSION thorbis_db; SELECT pg_sleep(1.5)"));
    ok(client.batch_execute("SELECT thorbis.install()"));
    let sealed = "SELECT count(*) FROM audit.seals";
    until("the worker seals", || one::<i64>(&mut client, sealed, &[]) > 0);
    // What fails is tried again.
    ok(client.batch_execute("ALTER TABLE audit.seals RENAME COLUMN root TO gone"));
    ok(client.batch_execute(
        "SELECT count(*) FROM thorbis.create_tenant('Late', 'late', gen_random_uuid(), 'late@late.example')",
    ));
    let log = server.data_directory().with_file_name("log");
    let complains = || {
        let text = std::fs::read_to_string(&log).unwrap_or_default();
        text.contains("the audit log could not be sealed: column")
    };
    until("the worker complains", complains);
    ok(client.batch_execute("ALTER TABLE audit.seals RENAME COLUMN gone TO root"));
    let rest = "SELECT unsealed_rows FROM audit.v_chain_status";
    until("the worker seals the rest", || one::<i64>(&mut client, rest, &[]) == 0);
    assert_eq!(sealer(&mut client), first, "it is the same process");
    assert_verifies(&mut client);
    // Another database needs another process; an empty name none.
    ok(client.batch_execute("ALTER SYSTEM SET thorbis.seal_database = ''"));
    ok(client.batch_execute("SELECT pg_reload_conf()"));
    until("the worker has ended", || sealer(&mut client) != first);
    // A stop does not wait for it.
    server.stop();
}

#[test]
fn without_a_database_there_is_no_worker() {
    let server = Cluster::fresh_with("no-sealer", &["shared_preload_libraries=thorbis_db"]);
    let mut client = server.maintenance();
    ok(client.batch_execute("SELECT pg_sleep(1)"));
    assert_eq!(sealer(&mut client), None);
    assert_eq!(one::<String>(&mut client, "SHOW thorbis.seal_interval", &[]), "1min");
}
