//! The upkeep of the log of changes: partitions ahead, rows moved out of the default partition, whole months dropped after
//! their time.

use postgres::{Client, Error};
use thorbis_tests::listing::{assert_same, objects, rows as listing};
use thorbis_tests::{A, B, Database, Tenant, as_owner, assert_sqlstate, in_context, ok, one, set_local, until};
use uuid::Uuid;

/// (object, action, count) of what a call returns.
type Steps = Vec<(String, String, i64)>;

fn try_steps(client: &mut Client, call: &str) -> Result<Steps, Error> {
    let rows = client.query(&format!("SELECT object, action, count FROM {call}"), &[])?;
    Ok(rows.iter().map(|row| (row.get(0), row.get(1), row.get(2))).collect())
}

#[track_caller]
fn steps(client: &mut Client, call: &str) -> Steps {
    ok(try_steps(client, call))
}

/// What is done to partitions.
#[track_caller]
fn maintain(client: &mut Client, dry_run: bool) -> Steps {
    steps(client, &format!("thorbis.maintain({dry_run}) WHERE task <> 'seals'"))
}

#[track_caller]
fn apply(client: &mut Client, dry_run: bool) -> Steps {
    steps(client, &format!("audit.apply_retention({dry_run})"))
}

fn step(object: &str, action: &str, count: i64) -> (String, String, i64) {
    (format!("audit.change_log_{object}"), action.to_owned(), count)
}

/// The name of the partition of the month `ahead` of this one.
fn month(client: &mut Client, ahead: i32) -> String {
    let sql = "SELECT to_char((now() AT TIME ZONE 'UTC') + make_interval(months => $1), 'YYYY_MM')";
    one(client, sql, &[&ahead])
}

fn partitions(client: &mut Client) -> Vec<String> {
    let sql = "SELECT substr(c.relname, 12) FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
                WHERE i.inhparent = 'audit.change_log'::regclass ORDER BY 1";
    ok(client.query(sql, &[])).iter().map(|row| row.get(0)).collect()
}

/// Rows as they came from another cluster: one a day from a day on.
fn log_days(client: &mut Client, tenant: &Tenant, from: &str, days: i32) {
    ok(client.execute(
        "INSERT INTO audit.change_log (tenant_id, occurred_at, id, system_id, transaction_id, table_name, operation, row_key,
                                       old_values, new_values, session_role, database_role, client_address)
         SELECT $1, $2::text::timestamptz + n * interval '1 day', gen_random_uuid(), 4711, (extract(epoch FROM $2::timestamptz) + n)::int8,
                'crm.old', 'UPDATE', n::text, jsonb_build_object('n', n, 'x', 1.50), jsonb_build_object('n', n + 1, 'x', 'ä'), 'a', 'b', '10.0.0.1'
           FROM generate_series(0, $3 - 1) n",
        &[&tenant.id, &from, &days],
    ));
}

/// All rows, whichever partition they are in.
fn contents(client: &mut Client) -> Vec<String> {
    let rows =
        ok(client
            .query("SELECT to_jsonb(c)::text FROM audit.change_log c ORDER BY c.tenant_id, c.occurred_at, c.id", &[]));
    rows.iter().map(|row| row.get(0)).collect()
}

fn in_default(client: &mut Client) -> i64 {
    one(client, "SELECT count(*) FROM audit.change_log_default", &[])
}

/// What `audit.verify()` finds.
fn findings(client: &mut Client) -> Vec<String> {
    ok(client.query("SELECT finding FROM audit.verify()", &[])).iter().map(|row| row.get(0)).collect()
}

fn platform(db: &Database) -> Client {
    let login = db.role("operator", "LOGIN IN ROLE thorbis_platform");
    let mut client = db.connect_as(&login);
    ok(client.batch_execute("SET ROLE thorbis_platform"));
    client
}

// --- partitions

#[test]
fn a_year_of_partitions_is_there_after_installing() {
    let db = Database::new();
    let mut client = db.superuser();
    let mut expected: Vec<String> = (0..=12).map(|ahead| month(&mut client, ahead)).collect();
    expected.push("default".into());
    assert_eq!(partitions(&mut client), expected);
    for dry_run in [true, false] {
        assert_eq!(maintain(&mut client, dry_run), []);
    }
    let differs = "SELECT c.relname::text FROM pg_class p, pg_class c
                    WHERE p.oid = 'audit.change_log'::regclass AND c.relnamespace = p.relnamespace AND c.relispartition AND c.relkind = 'r'
                      AND ((c.relowner, c.relrowsecurity, c.relforcerowsecurity) <> (p.relowner, true, true)
                           OR obj_description(c.oid) IS NULL OR c.relacl::text LIKE '%=%/%' AND c.relacl::text NOT LIKE '{thorbis_owner=%/thorbis_owner}'
                           OR (SELECT count(*) FROM pg_index i WHERE i.indrelid = c.oid) <> (SELECT count(*) FROM pg_index i WHERE i.indrelid = p.oid)
                           OR EXISTS (SELECT FROM pg_index i WHERE i.indrelid = c.oid AND NOT EXISTS (SELECT FROM pg_inherits h WHERE h.inhrelid = i.indexrelid))
                           OR ARRAY(SELECT (o.polname, o.polcmd, o.polpermissive, o.polroles, pg_get_expr(o.polqual, o.polrelid))::text
                                      FROM pg_policy o WHERE o.polrelid = c.oid ORDER BY 1)
                              <> ARRAY(SELECT (o.polname, o.polcmd, o.polpermissive, o.polroles, pg_get_expr(o.polqual, o.polrelid))::text
                                         FROM pg_policy o WHERE o.polrelid = p.oid ORDER BY 1)
                           OR NOT EXISTS (SELECT FROM pg_trigger t WHERE t.tgrelid = c.oid AND t.tgname = 'write_change_log_append_only' AND t.tgenabled <> 'D'))";
    let differs: Vec<String> = ok(client.query(differs, &[])).iter().map(|row| row.get(0)).collect();
    assert_eq!(differs, Vec::<String>::new(), "partitions that are not as the log is");
}

#[test]
fn missing_partitions_are_made_again_and_a_dry_run_makes_none() {
    let db = Database::new();
    let mut client = db.superuser();
    let (before, [third, last]) = (objects(&mut client), [3, 12].map(|ahead| month(&mut client, ahead)));
    ok(client.batch_execute(&format!(
        "DROP TABLE audit.change_log_{third}, audit.change_log_{last}, audit.change_log_default"
    )));
    let expected = [step("default", "create", 1), step(&third, "create", 1), step(&last, "create", 1)];
    let without = objects(&mut client);
    assert_eq!(maintain(&mut client, true), expected);
    assert_same("a dry run", &without, &objects(&mut client));
    // The session's settings make no difference, and an operator may do it.
    let mut operator = platform(&db);
    ok(operator
        .batch_execute("SET TimeZone = 'Pacific/Kiritimati'; SET DateStyle = 'SQL, DMY'; SET search_path = shared"));
    assert_eq!(maintain(&mut operator, false), expected);
    assert_same("made again", &before, &objects(&mut client));
    for client in [&mut client, &mut operator] {
        assert_eq!(maintain(client, false), []);
    }
    let drift: Vec<String> = ok(client.query("SELECT detail FROM thorbis.status() WHERE state <> 'current'", &[]))
        .iter()
        .map(|r| r.get(0))
        .collect();
    assert_eq!(drift, Vec::<String>::new());
    let errors: i64 = one(&mut client, "SELECT count(*) FROM thorbis.doctor() WHERE severity = 'error'", &[]);
    assert_eq!(errors, 0);
}

#[test]
fn rows_of_other_months_are_moved_as_they_are() {
    let db = Database::new();
    let mut client = db.superuser();
    log_days(&mut client, &A, "2023-12-30 23:30+00", 40);
    log_days(&mut client, &B, "2024-02-29 00:00+00", 2);
    log_days(&mut client, &B, "2051-01-31 23:59:59.999999+00", 1);
    // Half of it is sealed before, half of it after.
    ok(client.batch_execute("SELECT count(*) FROM audit.seal()"));
    log_days(&mut client, &B, "2099-07-01 00:00+00", 3);
    let before = contents(&mut client);
    let moved: Steps =
        [("2023_12", 2), ("2024_01", 31), ("2024_02", 8), ("2024_03", 1), ("2051_01", 1), ("2099_07", 3)]
            .iter()
            .flat_map(|(month, rows)| [step(month, "create", 1), step(month, "move rows", *rows)])
            .collect();
    for dry_run in [true, false] {
        assert_eq!(in_default(&mut client), 46);
        assert_eq!(maintain(&mut client, dry_run), moved);
    }
    assert_eq!(maintain(&mut client, false), []);
    assert_eq!(in_default(&mut client), 0);
    assert_same("the log", &before, &contents(&mut client));
    assert_eq!(findings(&mut client), ["ok"]);
    ok(client.batch_execute("SELECT count(*) FROM audit.seal()"));
    assert_eq!(findings(&mut client), ["ok"]);
    let seen = as_owner(&db, &A, |tx| {
        Ok(one::<i64>(tx, "SELECT count(*) FROM audit.change_log WHERE table_name = 'crm.old'", &[]))
    });
    assert_eq!(seen, 40, "the policies hold on the new partitions");
    assert_sqlstate(
        in_context(&mut db.app(), A.id, A.owner, |tx| tx.query("SELECT FROM audit.change_log_2024_01", &[])),
        "42501",
    );
}

/// What a transaction did not commit is nowhere.
#[test]
fn upkeep_that_is_rolled_back_leaves_everything() {
    let db = Database::new();
    let mut client = db.superuser();
    log_days(&mut client, &A, "2023-12-30 23:30+00", 40);
    let (rows, definitions) = (contents(&mut client), objects(&mut client));
    ok(client.batch_execute("SET thorbis.audit_retention = '1 year'; BEGIN"));
    assert!(maintain(&mut client, false).contains(&step("2024_01", "drop", 31)));
    ok(client.batch_execute("ROLLBACK"));
    assert_same("rows", &rows, &contents(&mut client));
    assert_same("objects", &definitions, &objects(&mut client));
    assert_eq!(one::<i64>(&mut client, "SELECT count(*) FROM audit.seals", &[]), 0);
}

#[test]
fn a_name_that_is_taken_keeps_the_rows_where_they_are() {
    let db = Database::new();
    let mut client = db.superuser();
    log_days(&mut client, &A, "2024-01-01 00:00+00", 60);
    ok(client.batch_execute("CREATE TABLE audit.change_log_2024_01 ()"));
    let taken = step("2024_01", "name is taken by another table", 31);
    let made = [step("2024_02", "create", 1), step("2024_02", "move rows", 29)];
    for dry_run in [true, false] {
        assert_eq!(maintain(&mut client, dry_run), [std::slice::from_ref(&taken), &made[..]].concat());
    }
    assert_eq!(maintain(&mut client, false), [taken]);
    assert_eq!(in_default(&mut client), 31);
    ok(client.batch_execute("DROP TABLE audit.change_log_2024_01"));
    assert_eq!(maintain(&mut client, false), [step("2024_01", "create", 1), step("2024_01", "move rows", 31)]);
    // A partition somebody else made, of another size, is left alone.
    ok(client.batch_execute(
        "CREATE TABLE audit.change_log_old PARTITION OF audit.change_log FOR VALUES FROM (MINVALUE) TO ('2023-06-15 00:00+00')",
    ));
    log_days(&mut client, &A, "2023-06-14 00:00+00", 2);
    assert_eq!(maintain(&mut client, false), []);
    assert_eq!(in_default(&mut client), 1);
}

// --- beside others

/// This month has no partition: writers write into the default one.
fn without_partition() -> (Database, String) {
    let db = Database::new();
    let mut client = db.superuser();
    let this = month(&mut client, 0);
    ok(client.batch_execute(&format!("DROP TABLE audit.change_log_{this}")));
    (db, this)
}

fn change(customer: Uuid, name: &str) -> String {
    format!("UPDATE shared.customers SET last_name = '{name}' WHERE id = '{customer}'")
}

fn is_blocked(client: &mut Client, pid: i32) -> bool {
    one(client, "SELECT cardinality(pg_blocking_pids($1)) > 0", &[&pid])
}

fn changes_in(client: &mut Client, relation: &str) -> i64 {
    let sql = format!("SELECT count(*) FROM ONLY {relation} WHERE table_name = 'shared.customers'");
    one(client, &sql, &[])
}

#[test]
fn a_writer_waits_while_rows_are_moved_and_finds_the_new_partition() {
    let (db, this) = without_partition();
    let (mut upkeep, mut writer, mut watcher) = (db.superuser(), db.app(), db.superuser());
    as_owner(&db, &A, |tx| tx.batch_execute(&change(A.customer, "First")));
    assert_eq!(changes_in(&mut watcher, "audit.change_log_default"), 1);
    ok(upkeep.batch_execute("BEGIN"));
    let moved = maintain(&mut upkeep, false);
    assert!(
        moved.iter().any(|(object, action, rows)| object.ends_with(&this) && action == "move rows" && *rows >= 1),
        "{moved:?}"
    );
    let pid: i32 = one(&mut writer, "SELECT pg_backend_pid()", &[]);
    std::thread::scope(|scope| {
        let writing = scope
            .spawn(|| in_context(&mut writer, A.id, A.owner, |tx| tx.batch_execute(&change(A.customer, "Second"))));
        until("the writer waits", || is_blocked(&mut watcher, pid));
        ok(upkeep.batch_execute("COMMIT"));
        ok(writing.join().expect("it returns"));
    });
    assert_eq!(changes_in(&mut watcher, "audit.change_log_default"), 0);
    assert_eq!(changes_in(&mut watcher, &format!("audit.change_log_{this}")), 2);
    // A session that knew the default partition goes on with the new one.
    ok(in_context(&mut writer, A.id, A.owner, |tx| tx.batch_execute(&change(A.customer, "Third"))));
    assert_eq!(changes_in(&mut watcher, &format!("audit.change_log_{this}")), 3);
}

#[test]
fn rows_of_a_transaction_that_still_runs_are_waited_for_and_moved() {
    let (db, this) = without_partition();
    let (mut upkeep, mut writer, mut watcher) = (db.superuser(), db.app(), db.superuser());
    ok(writer.batch_execute(&format!("BEGIN; {}; {}", set_local(A.id, A.owner), change(A.customer, "Slow"))));
    // Not for ever, and then nothing is half done.
    ok(upkeep.batch_execute("SET lock_timeout = '100ms'"));
    let before = objects(&mut watcher);
    assert_eq!(maintain(&mut upkeep, false), [("audit.change_log".to_owned(), "busy, next time".to_owned(), 1)]);
    assert_same("busy", &before, &objects(&mut watcher));
    assert!(one::<String>(&mut upkeep, "SHOW lock_timeout", &[]) == "100ms");
    ok(upkeep.batch_execute("SET lock_timeout = '30s'"));
    let pid: i32 = one(&mut upkeep, "SELECT pg_backend_pid()", &[]);
    std::thread::scope(|scope| {
        let moving = scope.spawn(|| maintain(&mut upkeep, false));
        until("the upkeep waits", || is_blocked(&mut watcher, pid));
        ok(writer.batch_execute("COMMIT"));
        let moved = moving.join().expect("it returns");
        assert!(moved.iter().any(|(_, action, _)| action == "move rows"), "{moved:?}");
    });
    assert_eq!(in_default(&mut watcher), 0);
    assert_eq!(changes_in(&mut watcher, &format!("audit.change_log_{this}")), 1);
}

/// In an ordinary month nobody waits for the upkeep, whether it makes partitions or not.
#[test]
fn making_partitions_ahead_blocks_no_writer() {
    let db = Database::new();
    let (mut upkeep, mut writer, mut busy) = (db.superuser(), db.app(), db.app());
    let last = month(&mut upkeep, 12);
    ok(upkeep.batch_execute(&format!("DROP TABLE audit.change_log_{last}")));
    ok(busy.batch_execute(&format!("BEGIN; {}; {}", set_local(A.id, A.owner), change(A.customer, "Before"))));
    ok(upkeep.batch_execute("BEGIN"));
    assert_eq!(maintain(&mut upkeep, false), [step(&last, "create", 1)]);
    ok(writer.batch_execute("SET lock_timeout = '2s'"));
    ok(in_context(&mut writer, B.id, B.owner, |tx| tx.batch_execute(&change(B.customer, "Meanwhile"))));
    ok(busy.batch_execute(&format!("{}; COMMIT", change(A.customer, "After"))));
    ok(upkeep.batch_execute("COMMIT"));
    assert_eq!(maintain(&mut upkeep, false), []);
}

#[test]
fn two_at_once_do_it_once() {
    let (db, this) = without_partition();
    let (mut first, mut second, mut watcher) = (db.superuser(), db.superuser(), db.superuser());
    ok(second.batch_execute("SET lock_timeout = '30s'"));
    ok(first.batch_execute("BEGIN"));
    assert_eq!(maintain(&mut first, false), [step(&this, "create", 1)]);
    let pid: i32 = one(&mut second, "SELECT pg_backend_pid()", &[]);
    std::thread::scope(|scope| {
        let also = scope.spawn(|| maintain(&mut second, false));
        until("the second waits", || is_blocked(&mut watcher, pid));
        ok(first.batch_execute("COMMIT"));
        assert_eq!(also.join().expect("it returns"), []);
    });
}

// --- retention

/// Three old months of A, of which B has rows in the second; a retention of a year in this session.
fn with_old_months() -> (Database, Client) {
    let db = Database::new();
    let mut client = db.superuser();
    log_days(&mut client, &A, "2023-01-01 00:00+00", 90);
    log_days(&mut client, &B, "2023-02-10 00:00+00", 5);
    maintain(&mut client, false);
    ok(client.batch_execute("SET thorbis.audit_retention = '1 year'"));
    (db, client)
}

fn dropped() -> Steps {
    vec![step("2023_01", "drop", 31), step("2023_02", "drop", 33), step("2023_03", "drop", 31)]
}

#[test]
fn months_older_than_the_retention_leave_tombstones() {
    let (_db, mut client) = with_old_months();
    let recent: i64 = one(&mut client, "SELECT count(*) FROM audit.change_log WHERE occurred_at > '2024-01-01'", &[]);
    let (rows, before) = (listing(&mut client), objects(&mut client));
    assert_eq!(apply(&mut client, true), dropped());
    assert_eq!(steps(&mut client, "thorbis.maintain(true) WHERE task = 'retention'"), dropped());
    assert_eq!(steps(&mut client, "audit.apply_retention()"), dropped(), "a dry run unless told otherwise");
    assert_same("a dry run", &rows, &listing(&mut client));
    assert_same("a dry run", &before, &objects(&mut client));

    let root: Vec<u8> = {
        ok(client.batch_execute("SELECT count(*) FROM audit.seal()"));
        one(&mut client, "SELECT hash FROM audit.seals ORDER BY number DESC LIMIT 1", &[])
    };
    assert_eq!(apply(&mut client, false), dropped());
    assert_eq!(apply(&mut client, false), []);
    assert_eq!(maintain(&mut client, false), []);
    assert!(!partitions(&mut client).iter().any(|name| name.starts_with("2023")));
    assert_eq!(one::<i64>(&mut client, "SELECT count(*) FROM audit.change_log", &[]), recent);
    let tombstones =
        "SELECT month::text, row_count, (system_id, from_transaction, to_transaction, octet_length(blinding_key))::text
                        FROM audit.seals WHERE kind = 'tombstone' ORDER BY number";
    let tombstones: Vec<(String, i64, String)> =
        ok(client.query(tombstones, &[])).iter().map(|row| (row.get(0), row.get(1), row.get(2))).collect();
    let tombstone = |month: &str, rows| (month.to_owned(), rows, "(0,0,0,0)".to_owned());
    assert_eq!(tombstones, [tombstone("2023-01-01", 31), tombstone("2023-02-01", 33), tombstone("2023-03-01", 31)]);
    assert_eq!(findings(&mut client), ["ok"]);
    let since_export: String = one(&mut client, "SELECT finding FROM audit.verify(root => $1)", &[&root]);
    assert_eq!(since_export, "ok");
    // The month before the last is kept, whatever the hour.
    ok(client.batch_execute("SET thorbis.audit_retention = '1 day'"));
    let old = ["-1 month", "-2 months"].map(|ago| {
        one::<String>(&mut client, "SELECT (date_trunc('month', now()) + $1::text::interval)::text", &[&ago])
    });
    old.iter().for_each(|day| log_days(&mut client, &A, day, 1));
    maintain(&mut client, false);
    let left = partitions(&mut client);
    assert!(left.contains(&month(&mut client, 0)) && !left.contains(&month(&mut client, -2)), "{left:?}");
}

#[test]
fn nothing_is_dropped_without_a_retention() {
    let (_db, mut client) = with_old_months();
    for unset in [
        "RESET thorbis.audit_retention",
        "SET thorbis.audit_retention = ''",
        "SET thorbis.audit_retention = '90 years'",
    ] {
        ok(client.batch_execute(unset));
        for dry_run in [true, false] {
            assert_eq!(apply(&mut client, dry_run), []);
        }
        assert_eq!(maintain(&mut client, false), []);
    }
}

#[test]
fn a_legal_hold_keeps_the_whole_month() {
    let holds = [
        (
            "UPDATE shared.tenants SET legal_hold = true WHERE id = $1",
            "UPDATE shared.tenants SET legal_hold = false WHERE id = $1",
        ),
        (
            "INSERT INTO gdpr.legal_holds (tenant_id, reason) VALUES ($1, 'case 1')",
            "UPDATE gdpr.legal_holds SET released_at = now() WHERE tenant_id = $1",
        ),
        (
            "INSERT INTO gdpr.legal_holds (tenant_id, subject_kind, subject_id, reason) VALUES ($1, 'customer', gen_random_uuid(), 'case 2')",
            "UPDATE gdpr.legal_holds SET released_at = now() WHERE tenant_id = $1",
        ),
    ];
    for (place, release) in holds {
        let (_db, mut client) = with_old_months();
        ok(client.execute(place, &[&B.id]));
        let kept = step("2023_02", "keep: legal hold of tenants", 1);
        let mut expected = dropped();
        expected[1] = kept.clone();
        for dry_run in [true, false] {
            assert_eq!(apply(&mut client, dry_run), expected, "{place}");
        }
        let rows: i64 = one(&mut client, "SELECT count(*) FROM audit.change_log_2023_02", &[]);
        assert_eq!(rows, 33, "of all tenants: {place}");
        assert_eq!(apply(&mut client, false), [kept]);
        ok(client.execute(release, &[&B.id]));
        assert_eq!(apply(&mut client, false), dropped()[1..2]);
        assert_eq!(findings(&mut client), ["ok"]);
    }
}

/// Whoever places a hold while months are dropped comes first or waits.
#[test]
fn a_hold_that_is_being_placed_is_waited_for() {
    let (db, mut client) = with_old_months();
    let (mut counsel, mut watcher) = (db.superuser(), db.superuser());
    ok(client.batch_execute("SET lock_timeout = '30s'"));
    ok(counsel.batch_execute(&format!("BEGIN; UPDATE shared.tenants SET legal_hold = true WHERE id = '{}'", A.id)));
    let pid: i32 = one(&mut client, "SELECT pg_backend_pid()", &[]);
    std::thread::scope(|scope| {
        let dropping = scope.spawn(|| apply(&mut client, false));
        until("the retention waits", || is_blocked(&mut watcher, pid));
        ok(counsel.batch_execute("COMMIT"));
        let kept = dropping.join().expect("it returns");
        assert!(
            kept.len() == 3 && kept.iter().all(|(_, action, _)| action == "keep: legal hold of tenants"),
            "{kept:?}"
        );
    });
}

#[test]
fn rows_that_are_not_sealed_or_not_as_sealed_are_kept() {
    let (_db, mut client) = with_old_months();
    // Of a transaction of this cluster that is not over.
    ok(client.execute(
        "INSERT INTO audit.change_log SELECT tenant_id, occurred_at, gen_random_uuid(), s.system_identifier, pg_current_xact_id()::text::int8 + 1000000,
                table_name, operation, row_key, new_row_key, old_values, new_values, actor_id, session_role, database_role
           FROM audit.change_log_2023_01, pg_control_system() s LIMIT 2",
        &[],
    ));
    let mut expected = dropped();
    expected[0] = step("2023_01", "drop", 33);
    assert_eq!(apply(&mut client, true), expected, "a real run would seal first");
    ok(client.batch_execute("SELECT count(*) FROM audit.seal()"));
    ok(client.execute("DELETE FROM audit.change_log_2023_03 WHERE row_key = '70'", &[]));
    expected[0] = step("2023_01", "keep: rows not sealed yet", 2);
    expected[2] = step("2023_03", "keep: not the rows that were sealed", 1);
    assert_eq!(apply(&mut client, false), expected);
    assert_eq!(partitions(&mut client)[..2], ["2023_01", "2023_03"]);
    assert_eq!(findings(&mut client), ["rows_missing"], "the evidence is still there");
}

#[test]
fn a_busy_log_is_left_for_the_next_time() {
    let (db, mut client) = with_old_months();
    let (mut reader, mut writer) = (db.superuser(), db.app());
    ok(client.batch_execute("SELECT count(*) FROM audit.seal()"));
    let (rows, before) = (listing(&mut client), objects(&mut client));
    ok(reader.batch_execute("BEGIN; SELECT count(*) FROM audit.change_log"));
    std::thread::scope(|scope| {
        let dropping = scope.spawn(|| apply(&mut client, false));
        // Whoever writes waits a second at most.
        ok(writer.batch_execute("SET lock_timeout = '4s'"));
        for _ in 0..5 {
            ok(in_context(&mut writer, A.id, A.owner, |tx| tx.query("SELECT FROM audit.change_log LIMIT 1", &[])));
        }
        let expected = [("audit.change_log".to_owned(), "busy, next time".to_owned(), 3)];
        assert_eq!(dropping.join().expect("it returns"), expected);
    });
    assert_same("busy", &rows, &listing(&mut client));
    assert_same("busy", &before, &objects(&mut client));
    ok(reader.batch_execute("COMMIT"));
    assert_eq!(apply(&mut client, false), dropped());
    assert_eq!(findings(&mut client), ["ok"]);
}

/// It reads the whole log, so nothing can be done beside it; the next time everything is.
#[test]
fn a_sealer_at_work_is_left_alone() {
    let (db, mut client) = with_old_months();
    let (mut sealer, last) = (db.superuser(), month(&mut client, 12));
    log_days(&mut client, &A, "2024-01-01 00:00+00", 1);
    ok(client.batch_execute(&format!("DROP TABLE audit.change_log_{last}; SET lock_timeout = '50ms'")));
    ok(sealer.batch_execute("BEGIN; SELECT count(*) FROM audit.seal()"));
    let busy = |object: &str, things| (object.to_owned(), "busy, next time".to_owned(), things);
    let log = "audit.change_log";
    assert_eq!(steps(&mut client, "audit.apply_retention(false)"), [busy(log, 3)]);
    assert_eq!(steps(&mut client, "thorbis.maintain()"), [busy("audit.seals", 1), busy(log, 2), busy(log, 3)]);
    ok(sealer.batch_execute("COMMIT"));
    let moved = [step("2024_01", "create", 1), step("2024_01", "move rows", 1), step(&last, "create", 1)];
    let done = [&moved[..], &dropped()[..], &[step("2024_01", "drop", 1)]].concat();
    assert_eq!(maintain(&mut client, false), done);
    assert_eq!(findings(&mut client), ["ok"]);
}

#[test]
fn two_at_once_drop_once() {
    let (db, mut first) = with_old_months();
    let (mut second, mut watcher) = (db.superuser(), db.superuser());
    ok(second.batch_execute("SET lock_timeout = '30s'; SET thorbis.audit_retention = '1 year'"));
    for (call, month) in [("audit.apply_retention(false)", "05"), ("thorbis.maintain() WHERE task <> 'seals'", "06")] {
        log_days(&mut watcher, &A, &format!("2023-{month}-01 00:00+00"), 3);
        ok(first.batch_execute("BEGIN"));
        let done = maintain(&mut first, false);
        assert!(done.contains(&step(&format!("2023_{month}"), "drop", 3)), "{done:?}");
        let pid: i32 = one(&mut second, "SELECT pg_backend_pid()", &[]);
        std::thread::scope(|scope| {
            let also = scope.spawn(|| steps(&mut second, call));
            until("the second waits", || is_blocked(&mut watcher, pid));
            ok(first.batch_execute("COMMIT"));
            assert_eq!(also.join().expect("it returns"), [], "{call}");
        });
    }
    assert_eq!(findings(&mut watcher), ["ok"]);
}

/// A backup that is restored beside brings months back that were dropped here.
#[test]
fn a_month_that_came_back_is_sealed_and_dropped_again() {
    let (_db, mut client) = with_old_months();
    assert_eq!(apply(&mut client, false), dropped());
    ok(client.execute(
        "INSERT INTO audit.change_log (tenant_id, occurred_at, id, system_id, transaction_id, table_name, operation, row_key, session_role, database_role)
         VALUES ($1, '2023-01-05', gen_random_uuid(), 4712, 1, 'crm.old', 'INSERT', '1', 'a', 'b')",
        &[&A.id],
    ));
    let steps = maintain(&mut client, false);
    assert_eq!(steps, [step("2023_01", "create", 1), step("2023_01", "move rows", 1), step("2023_01", "drop", 1)]);
    assert_eq!(maintain(&mut client, false), []);
    assert_eq!(findings(&mut client), ["rows_after_tombstone"], "they may be anything");
}

// --- who may

#[test]
fn retention_is_an_interval_of_a_day_or_more() {
    let db = Database::new();
    let mut client = db.superuser();
    ok(client.batch_execute("LOAD 'thorbis_db'"));
    for bad in ["x", "-1 year", "0", "23 hours", "1 year -2 days", "1 mon -1 hour", "infinityx", "1 year; DROP TABLE x"]
    {
        let error = assert_sqlstate(client.batch_execute(&format!("SET thorbis.audit_retention = '{bad}'")), "22023");
        assert!(error.hint().is_some_and(|hint| hint.contains("10 years")), "{bad}");
    }
    for good in ["1 day", "10 years", "P7Y", "25 mons 3 days", "", " 400 days "] {
        ok(client.batch_execute(&format!("SET thorbis.audit_retention = '{good}'")));
    }
    let set = |value: &str| format!("ALTER DATABASE {} SET thorbis.audit_retention = '{value}'", db.name);
    assert_sqlstate(client.batch_execute(&set("soon")), "22023");
    ok(client.batch_execute(&set("7 years")));
    for client in [&mut db.app(), &mut platform(&db)] {
        ok(client.query("SELECT thorbis.version()", &[]));
        assert_sqlstate(client.batch_execute("SET thorbis.audit_retention = '1 day'"), "42501");
        assert_eq!(one::<String>(client, "SHOW thorbis.audit_retention", &[]), "7 years");
    }
    // A copy, as a restored dump, has it again.
    ok(client.batch_execute("SELECT thorbis.repair()"));
    drop(client);
    let copy = db.copy();
    ok(copy.superuser().batch_execute("SELECT thorbis.repair()"));
    assert_eq!(one::<String>(&mut copy.superuser(), "SHOW thorbis.audit_retention", &[]), "7 years");
}

#[test]
fn upkeep_is_for_operators() {
    let (db, mut client) = with_old_months();
    ok(client.batch_execute(&format!("ALTER DATABASE {} SET thorbis.audit_retention = '1 year'", db.name)));
    let calls = [
        "thorbis.maintain()",
        "thorbis.maintain(true)",
        "audit.apply_retention()",
        "audit.apply_retention(false)",
        "thorbis.apply_audit_retention(true)",
        "thorbis.create_audit_partitions()",
    ];
    let auditor = db.role("auditor", "LOGIN IN ROLE thorbis_auditor");
    for role in ["app_login", "app_only_login", "stranger_login", &auditor] {
        let mut client = db.connect_as(role);
        for call in calls {
            assert_sqlstate(client.query(&format!("SELECT * FROM {call}"), &[]), "42501");
        }
    }
    // Even who was granted it by mistake.
    ok(client.batch_execute("GRANT EXECUTE ON FUNCTION thorbis.maintain(boolean) TO thorbis_app"));
    let refused = in_context(&mut db.app(), A.id, A.owner, |tx| tx.query("SELECT * FROM thorbis.maintain()", &[]));
    assert_sqlstate(refused, "42501");
    assert_eq!(apply(&mut platform(&db), false), dropped());
}

#[test]
fn upkeep_needs_to_see_what_it_waits_for() {
    let (_db, mut client) = with_old_months();
    for level in ["REPEATABLE READ", "SERIALIZABLE"] {
        for call in ["thorbis.maintain()", "audit.apply_retention(false)"] {
            ok(client.batch_execute(&format!("BEGIN ISOLATION LEVEL {level}")));
            assert_sqlstate(try_steps(&mut client, call), "25000");
            ok(client.batch_execute("ROLLBACK"));
        }
        ok(client.batch_execute(&format!("BEGIN ISOLATION LEVEL {level}")));
        assert_eq!(apply(&mut client, true), dropped());
        ok(client.batch_execute("COMMIT"));
    }
    let null = assert_sqlstate(try_steps(&mut client, "thorbis.maintain(NULL)"), "22004");
    assert!(null.message().contains("dry_run"));
}
