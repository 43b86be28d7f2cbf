//! Memory of the session that writes does not grow with the number of rows, though each is logged.

use postgres::Client;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use std::{fs, thread};
use thorbis_tests::{A, Database, in_context, ok, one};

const FEW: i64 = 100_000;
const MANY: i64 = 1_000_000;
/// What the log may add for nine times as many rows again. PostgreSQL remembers each row of a statement until its AFTER
/// triggers have fired, in 12 to 16 bytes: 14 MB.
const MOST_KILOBYTES: u64 = 22_000;

const TABLE: &str = "
    CREATE SCHEMA bulk;
    CREATE TABLE bulk.counters (tenant_id uuid NOT NULL DEFAULT get_current_tenant_id(), id integer NOT NULL,
        n integer NOT NULL DEFAULT 0, PRIMARY KEY (tenant_id, id));
    CREATE TABLE bulk.notes (tenant_id uuid NOT NULL DEFAULT get_current_tenant_id(), id integer NOT NULL, customer_id uuid,
        note text, PRIMARY KEY (tenant_id, id));
    ALTER TABLE bulk.counters OWNER TO thorbis_owner;
    ALTER TABLE bulk.notes OWNER TO thorbis_owner;
    SELECT thorbis.protect('bulk.counters');
    SELECT thorbis.protect('bulk.notes', options => '{\"subject\": {\"kind\": \"customer\", \"column\": \"customer_id\"},
        \"pii\": [{\"column\": \"note\", \"method\": \"clear\"}]}')";

/// Kilobytes of memory that a process has for itself: not the shared buffers.
fn own_memory(process: i32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"))?;
    line.split_whitespace().next()?.parse().ok()
}

/// The most that a session of its own has while a statement of A's owner runs.
fn peak(db: &Database, sql: &str) -> u64 {
    let mut app: Client = db.app();
    let process: i32 = one(&mut app, "SELECT pg_backend_pid()", &[]);
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let watching = scope.spawn(|| {
            let mut most = 0;
            while !over.load(Ordering::Relaxed) {
                most = most.max(own_memory(process).expect("/proc tells of the server's processes"));
                thread::sleep(Duration::from_millis(2));
            }
            most
        });
        let rows = in_context(&mut app, A.id, A.owner, |tx| tx.execute(sql, &[]));
        over.store(true, Ordering::Relaxed);
        assert!(ok(rows) > 0);
        watching.join().expect("nothing panics")
    })
}

/// How much more the second statement takes than the first.
fn growth(db: &Database, few: &str, many: &str) -> u64 {
    let (few, many) = (peak(db, few), peak(db, many));
    println!("{few} kB, then {many} kB");
    many.saturating_sub(few)
}

fn logged(db: &Database, table: &str, operation: &str) -> i64 {
    let sql = "SELECT count(*) FROM audit.change_log WHERE table_name = $1 AND operation = $2";
    one(&mut db.superuser(), sql, &[&table, &operation])
}

#[test]
fn logging_a_million_rows_takes_no_more_memory_than_logging_a_hundred_thousand() {
    let db = Database::new();
    // PostgreSQL 15 itself loses 28 bytes for each row that an UPDATE of a table with BEFORE UPDATE triggers changes: without
    // the guard of the tenant, what grows is the log's.
    ok(db.superuser().batch_execute(TABLE));
    ok(db.superuser().batch_execute(&format!(
        "DROP TRIGGER update_counters_tenant_guard ON bulk.counters;
         ALTER TABLE bulk.counters DISABLE TRIGGER audit_counters_changes;
         INSERT INTO bulk.counters (tenant_id, id) SELECT '{}', n FROM generate_series(1, {}) n;
         ALTER TABLE bulk.counters ENABLE ALWAYS TRIGGER audit_counters_changes",
        A.id,
        FEW + MANY
    )));
    let update = |which: &str| format!("UPDATE bulk.counters SET n = 1 WHERE id {which} {MANY}");
    let updated = growth(&db, &update(">"), &update("<="));
    assert_eq!(logged(&db, "bulk.counters", "UPDATE"), FEW + MANY);
    assert!(updated < MOST_KILOBYTES, "{updated} kB more");
    // Rows that come in.
    let insert = |from: i64, count: i64| {
        format!("INSERT INTO bulk.counters (id) SELECT {from} + n FROM generate_series(1, {count}) n")
    };
    let inserted = growth(&db, &insert(2 * MANY, FEW / 5), &insert(3 * MANY, 2 * FEW));
    assert!(inserted < MOST_KILOBYTES / 2, "{inserted} kB more");
}

/// A quarter of them are about somebody whose key is made for them.
#[test]
fn logging_personal_values_takes_no_more_memory_for_more_rows_and_more_people() {
    let db = Database::new();
    ok(db.superuser().batch_execute(TABLE));
    let insert = |from: i64, count: i64| {
        format!(
            "INSERT INTO bulk.notes (id, customer_id, note)
             SELECT {from} + n, CASE WHEN n % 4 = 0 THEN gen_random_uuid() END, 'note ' || n FROM generate_series(1, {count}) n"
        )
    };
    let growth = growth(&db, &insert(0, FEW / 10), &insert(FEW, FEW));
    assert_eq!(logged(&db, "bulk.notes", "INSERT"), FEW / 10 + FEW);
    assert!(growth < MOST_KILOBYTES / 2, "{growth} kB more");
}
