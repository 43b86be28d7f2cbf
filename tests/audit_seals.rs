//! Sealing: everything that is committed once, nothing that is not, whoever writes and seals meanwhile; and who may do what.

use postgres::Client;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;
use thorbis_tests::seals::{assert_verifies, newest_root, seal_all, verify, verify_with, write_foreign_rows};
use thorbis_tests::{
    A, B, Cluster, Database, Dump, as_owner, assert_sqlstate, in_context, make_database, ok, one, until,
};

/// (number, kind, system, from, to, month, rows) of all seals.
type Seal = (i64, String, i64, i64, i64, String, i64);

fn seals(client: &mut Client) -> Vec<Seal> {
    let sql = "SELECT number, kind, system_id, from_transaction, to_transaction, month::text, row_count
                 FROM audit.seals ORDER BY number";
    let seal =
        |row: &postgres::Row| (row.get(0), row.get(1), row.get(2), row.get(3), row.get(4), row.get(5), row.get(6));
    ok(client.query(sql, &[])).iter().map(seal).collect()
}

fn log_rows(client: &mut Client) -> i64 {
    one(client, "SELECT count(*) FROM audit.change_log", &[])
}

fn sealed_rows(client: &mut Client) -> i64 {
    one(client, "SELECT coalesce(sum(row_count), 0)::bigint FROM audit.seals", &[])
}

/// A change by A's owner.
fn change(db: &Database) {
    as_owner(db, &A, |tx| tx.execute("UPDATE restaurants.orders SET table_number = (random() * 1e9)::int", &[]));
}

// --- what is sealed

#[test]
fn all_that_is_committed_is_sealed_once() {
    let db = Database::new();
    let mut client = db.superuser();
    assert_eq!(verify(&mut client), ["ok"], "no seals yet");
    change(&db);
    seal_all(&mut client);
    assert!(log_rows(&mut client) > 100);
    assert_eq!(sealed_rows(&mut client), log_rows(&mut client));
    assert_verifies(&mut client);
    let before = seals(&mut client);
    assert!(ok(client.query("SELECT * FROM audit.seal()", &[])).is_empty(), "nothing new, no seal");
    change(&db);
    seal_all(&mut client);
    assert_eq!(seals(&mut client)[..before.len()], before, "what was sealed stays");
    assert_eq!(sealed_rows(&mut client), log_rows(&mut client));
    assert_verifies(&mut client);
}

#[test]
fn what_is_not_committed_is_not_sealed() {
    let db = Database::new();
    let mut client = db.superuser();
    seal_all(&mut client);
    let before = seals(&mut client);
    let mut open = db.app();
    ok(open.batch_execute(&format!("BEGIN; {}", thorbis_tests::set_local(A.id, A.owner))));
    ok(open.batch_execute("UPDATE shared.customers SET company_name = 'open'"));
    // Later ones wait for it as well: among them there must be no gap.
    change(&db);
    ok(client.batch_execute("SELECT audit.seal()"));
    assert_eq!(seals(&mut client), before);
    let (rows, lag) = {
        let row = ok(client.query_one("SELECT unsealed_rows, lag > interval '0' FROM audit.v_chain_status", &[]));
        (row.get::<_, i64>(0), row.get::<_, bool>(1))
    };
    assert!(rows > 0 && lag);
    ok(open.batch_execute("ROLLBACK"));
    seal_all(&mut client);
    assert_eq!(sealed_rows(&mut client), log_rows(&mut client));
    assert_verifies(&mut client);
}

#[test]
fn prepared_transactions_hold_sealing_back_and_are_sealed_then() {
    let db = Database::new();
    let mut client = db.superuser();
    seal_all(&mut client);
    let before = seals(&mut client);
    let name = format!("waiting_{}", db.name);
    ok(client.batch_execute(&format!(
        "BEGIN; UPDATE shared.customers SET company_name = 'prepared'; PREPARE TRANSACTION '{name}'"
    )));
    change(&db);
    ok(client.batch_execute("SELECT audit.seal()"));
    let meanwhile = seals(&mut client);
    // First of all, or a failure here would hold up all other tests.
    ok(client.batch_execute(&format!("COMMIT PREPARED '{name}'")));
    assert_eq!(meanwhile, before);
    seal_all(&mut client);
    assert_eq!(sealed_rows(&mut client), log_rows(&mut client));
    assert_verifies(&mut client);
}

#[test]
fn rows_of_other_clusters_are_sealed_at_once_and_cut_between_transactions() {
    let db = Database::new();
    let mut client = db.superuser();
    seal_all(&mut client);
    let first = seals(&mut client).len();
    // 150 transactions of 1000 rows, then one that is larger than a seal; of a second cluster few, in three months.
    write_foreign_rows(&mut client, A.id, 77, 150_000, "50 + n / 1000", "'2026-03-05 10:00+00'");
    write_foreign_rows(&mut client, A.id, 77, 110_000, "1000", "'2026-03-06 10:00+00'");
    write_foreign_rows(
        &mut client,
        B.id,
        -5,
        9,
        "n / 2",
        "timestamptz '2026-01-31 23:00+00' + n / 3 * interval '30 days'",
    );
    seal_all(&mut client);
    let made = seals(&mut client).split_off(first);
    let foreign = made.iter().map(|(_, kind, system, from, to, month, rows)| {
        assert_eq!(kind, "rows");
        (*system, *from, *to, month.as_str(), *rows)
    });
    assert_eq!(
        foreign.filter(|seal| [77, -5].contains(&seal.0)).collect::<Vec<_>>(),
        [
            (-5, 0, 5, "2026-01-01", 3),
            (-5, 0, 5, "2026-03-01", 3),
            (-5, 0, 5, "2026-04-01", 3),
            (77, 0, 150, "2026-03-01", 100_000),
            (77, 150, 1001, "2026-03-01", 160_000),
        ]
    );
    assert_verifies(&mut client);
    // What comes later of a cluster that is known already.
    write_foreign_rows(&mut client, A.id, 77, 10, "2000 + n", "'2026-03-07 10:00+00'");
    assert_eq!(one::<i64>(&mut client, "SELECT unsealed_rows FROM audit.v_chain_status", &[]), 10);
    seal_all(&mut client);
    let last = seals(&mut client).pop().expect("a seal");
    assert_eq!((last.2, last.3, last.4, last.6), (77, 1001, 2010, 10));
    assert_verifies(&mut client);
}

/// They are in UTC, wherever the session is.
#[test]
fn settings_of_the_session_do_not_matter() {
    let db = Database::new();
    let mut client = db.superuser();
    write_foreign_rows(&mut client, A.id, 77, 20, "n", "timestamptz '2026-03-31 14:00+00' + n * interval '1 hour'");
    let odd = "SET TimeZone = 'Pacific/Kiritimati'; SET DateStyle = 'German, DMY'; SET bytea_output = 'escape';
               SET IntervalStyle = 'sql_standard'; SET extra_float_digits = -15; SET search_path = ''";
    let mut other = db.superuser();
    ok(other.batch_execute(odd));
    seal_all(&mut other);
    let months: Vec<(String, i64)> =
        seals(&mut client).into_iter().filter(|seal| seal.2 == 77).map(|seal| (seal.5, seal.6)).collect();
    assert_eq!(months, [("2026-03-01".to_owned(), 10), ("2026-04-01".to_owned(), 10)]);
    assert_verifies(&mut client);
    assert_verifies(&mut other);
    let limits = "(SELECT min(sealed_at) FROM audit.roots), (SELECT max(sealed_at) FROM audit.roots)";
    assert_eq!(verify_with(&mut other, limits), ["ok"]);
    assert_eq!(verify_with(&mut other, "'-infinity', 'infinity'"), ["ok"]);
}

// --- at once

#[test]
fn a_second_sealer_waits_and_goes_on_from_there() {
    let db = Database::new();
    let (mut first, mut client) = (db.superuser(), db.superuser());
    seal_all(&mut client);
    let before = seals(&mut client).len();
    for end in ["ROLLBACK", "COMMIT"] {
        change(&db);
        ok(first.batch_execute("BEGIN"));
        until("the first one seals", || !ok(first.query("SELECT * FROM audit.seal()", &[])).is_empty());
        // Nobody who writes waits meanwhile.
        ok(in_context(&mut db.app(), A.id, A.owner, |tx| {
            tx.batch_execute("SET LOCAL lock_timeout = '2s'; UPDATE shared.customers SET company_name = 'meanwhile'")
        }));
        let mut second = db.superuser();
        let pid: i32 = one(&mut second, "SELECT pg_backend_pid()", &[]);
        thread::scope(|scope| {
            let waiting = scope.spawn(|| ok(second.query("SELECT * FROM audit.seal()", &[])).len());
            let waits = "SELECT EXISTS (SELECT FROM pg_locks WHERE pid = $1 AND NOT granted)";
            until("the second one waits", || one::<bool>(&mut client, waits, &[&pid]));
            ok(first.batch_execute(end));
            waiting.join().expect("the second one seals");
        });
        seal_all(&mut client);
        assert_eq!(sealed_rows(&mut client), log_rows(&mut client), "after {end}");
        assert_verifies(&mut client);
    }
    assert!(seals(&mut client).len() >= before + 3);
}

#[test]
fn writers_and_sealers_at_once_lose_nothing() {
    let db = Database::new();
    let stop = AtomicBool::new(false);
    let running = || !stop.load(Ordering::Relaxed);
    thread::scope(|scope| {
        for writer in 0..4 {
            let (db, running) = (&db, &running);
            scope.spawn(move || {
                let mut app = db.app();
                let mut n = writer;
                while running() {
                    n += 1;
                    let tenant = if n % 2 == 0 { &A } else { &B };
                    let result = in_context(&mut app, tenant.id, tenant.owner, |tx| {
                        tx.batch_execute(
                            "UPDATE shared.customers SET company_name = gen_random_uuid()::text; SAVEPOINT one",
                        )?;
                        tx.batch_execute("INSERT INTO restaurants.orders DEFAULT VALUES")?;
                        let then = ["RELEASE one", "ROLLBACK TO one", "SELECT pg_sleep(0.02)", "SELECT 1 / 0"];
                        tx.batch_execute(then[n % then.len()])
                    });
                    assert_eq!(result.is_err(), n % 4 == 3);
                }
            });
        }
        for _ in 0..2 {
            scope.spawn(|| {
                let mut client = db.superuser();
                while running() {
                    ok(client.batch_execute("SELECT * FROM audit.seal()"));
                    thread::sleep(Duration::from_millis(3));
                }
            });
        }
        let mut client = db.superuser();
        let verified = (0..12).map(|_| {
            thread::sleep(Duration::from_millis(250));
            verify(&mut client)
        });
        let verified: Vec<_> = verified.collect();
        stop.store(true, Ordering::Relaxed);
        assert!(verified.iter().all(|found| found == &["ok"]), "{verified:?}");
    });
    let mut client = db.superuser();
    seal_all(&mut client);
    assert_eq!(sealed_rows(&mut client), log_rows(&mut client));
    let made = seals(&mut client);
    assert!(made.len() > 10, "they did seal meanwhile: {}", made.len());
    assert!(made.iter().map(|seal| seal.0).eq(1..=made.len() as i64));
    assert_verifies(&mut client);
}

#[test]
fn one_snapshot_for_the_transaction_is_refused() {
    let db = Database::untouched();
    for level in ["REPEATABLE READ", "SERIALIZABLE"] {
        let mut client = db.superuser();
        ok(client.batch_execute(&format!("BEGIN ISOLATION LEVEL {level}")));
        assert_sqlstate(client.query("SELECT * FROM audit.seal()", &[]), "25000");
        ok(client.batch_execute(&format!("ROLLBACK; BEGIN ISOLATION LEVEL {level}")));
        assert_eq!(verify(&mut client), ["ok"], "verifying needs one snapshot only");
    }
}

// --- who may

#[test]
fn tenants_neither_see_nor_make_seals() {
    let db = Database::new();
    seal_all(&mut db.superuser());
    for sql in [
        "SELECT * FROM audit.seals",
        "SELECT * FROM audit.roots",
        "SELECT * FROM audit.v_chain_status",
        "SELECT * FROM audit.seal()",
        "SELECT * FROM thorbis.seal_audit()",
        "SELECT * FROM audit.verify()",
        "SELECT * FROM thorbis.verify_audit(NULL, NULL, NULL)",
        "SELECT * FROM thorbis.get_chain_status()",
        "INSERT INTO audit.seals SELECT * FROM audit.seals",
        "DELETE FROM audit.seals",
    ] {
        let denied = in_context(&mut db.app(), A.id, A.owner, |tx| tx.query(sql, &[]));
        assert_sqlstate(denied, "42501");
        assert_sqlstate(db.connect_as("stranger_login").query(sql, &[]), "42501");
    }
    // EXECUTE is not enough for somebody whom row security holds.
    let role = db.role("helper", "LOGIN");
    ok(db.superuser().batch_execute(&format!(
        "GRANT USAGE ON SCHEMA audit, thorbis TO {role}; GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA audit TO {role};
         GRANT EXECUTE ON FUNCTION thorbis.seal_audit, thorbis.verify_audit TO {role}"
    )));
    for sql in ["SELECT * FROM audit.seal()", "SELECT * FROM audit.verify()"] {
        assert_sqlstate(db.connect_as(&role).query(sql, &[]), "42501");
    }
}

#[test]
fn the_platform_seals_verifies_and_exports() {
    let db = Database::new();
    let role = db.role("operator", "LOGIN IN ROLE thorbis_platform");
    let mut client = db.connect_as(&role);
    ok(client.batch_execute("SET ROLE thorbis_platform"));
    seal_all(&mut client);
    assert_eq!(verify(&mut client), ["ok"]);
    let root = newest_root(&mut client);
    assert_eq!(verify_with(&mut client, &format!("root => decode('{root}', 'hex')")), ["ok"]);
    for sql in ["UPDATE audit.seals SET row_count = 0", "DELETE FROM audit.seals", "TRUNCATE audit.seals"] {
        assert_sqlstate(client.batch_execute(sql), "42501");
    }
}

#[test]
fn erasing_a_person_leaves_the_log_as_it_was_sealed() {
    let db = Database::new();
    let mut client = db.superuser();
    seal_all(&mut client);
    let root = newest_root(&mut client);
    as_owner(&db, &A, |tx| tx.execute("SELECT * FROM gdpr.erase_subject($1, false)", &[&A.customer]));
    assert_eq!(verify_with(&mut client, &format!("root => decode('{root}', 'hex')")), ["ok"]);
    seal_all(&mut client);
    assert_eq!(verify_with(&mut client, &format!("root => decode('{root}', 'hex')")), ["ok"]);
}

// --- elsewhere

#[test]
fn a_restored_log_verifies_and_is_sealed_on() {
    let db = Database::new();
    let mut client = db.superuser();
    seal_all(&mut client);
    let (root, sealed) = (newest_root(&mut client), sealed_rows(&mut client));
    change(&db);
    let rows = log_rows(&mut client);
    assert!(rows > sealed, "some are not sealed when the dump is made");
    let dump = Dump::of(db.cluster(), &db.name, "postgres", &[]);
    let server = dump.restored_into_an_empty_server();
    let mut restored = server.connect("restored", "postgres");
    let with_root = format!("root => decode('{root}', 'hex')");
    assert_eq!((log_rows(&mut restored), sealed_rows(&mut restored)), (rows, sealed));
    assert_eq!(verify_with(&mut restored, &with_root), ["ok"]);
    seal_all(&mut restored);
    assert_eq!(sealed_rows(&mut restored), rows, "rows of the other cluster are sealed at once");
    ok(restored.batch_execute("UPDATE restaurants.orders SET table_number = 7"));
    seal_all(&mut restored);
    assert_eq!(sealed_rows(&mut restored), log_rows(&mut restored));
    assert!(log_rows(&mut restored) > rows);
    let systems = "SELECT count(DISTINCT system_id) FROM audit.seals";
    assert_eq!(one::<i64>(&mut restored, systems, &[]), 2);
    assert_eq!(verify_with(&mut restored, &with_root), ["ok"]);
}

/// Of a cluster of its own: what others write in the shared one would have to be replayed as well.
#[test]
fn a_standby_verifies_and_does_not_seal() {
    let server = Cluster::fresh("sealing");
    make_database(&server, "sealed");
    let mut primary = server.connect("sealed", "postgres");
    seal_all(&mut primary);
    ok(primary.batch_execute("UPDATE restaurants.orders SET table_number = 7"));
    let standby = server.standby();
    let mut client = standby.maintenance();
    let target: String = one(&mut primary, "SELECT pg_current_wal_insert_lsn()::text", &[]);
    let caught_up = "SELECT pg_last_wal_replay_lsn() >= $1::text::pg_lsn";
    until("the standby catches up", || one::<bool>(&mut client, caught_up, &[&target]));
    let mut client = standby.connect("sealed", "postgres");
    assert_verifies(&mut client);
    let root = newest_root(&mut primary);
    assert_eq!(verify_with(&mut client, &format!("root => decode('{root}', 'hex')")), ["ok"]);
    assert!(one::<bool>(&mut client, "SELECT unsealed_rows > 0 FROM audit.v_chain_status", &[]));
    assert_sqlstate(client.query("SELECT * FROM audit.seal()", &[]), "55000");
}

#[test]
fn verifying_and_sealing_nothing_assign_no_transaction_id() {
    let db = Database::new();
    let mut client = db.superuser();
    seal_all(&mut client);
    ok(client.batch_execute("BEGIN READ ONLY"));
    assert_eq!(verify(&mut client), ["ok"]);
    ok(client.batch_execute("COMMIT; BEGIN"));
    ok(client
        .batch_execute("SELECT * FROM audit.seal(); SELECT * FROM audit.verify(); SELECT * FROM audit.v_chain_status"));
    assert_eq!(one::<Option<String>>(&mut client, "SELECT pg_current_xact_id_if_assigned()::text", &[]), None);
}
