//! The log is complete: sixteen writers, rolled back and killed at random, and what the log says afterwards is what the
//! table holds, every committed change once and no other. On a cluster of its own that keeps its promises (fsync).

use postgres::{Client, Error, NoTls, SimpleQueryMessage};
use std::collections::{BTreeMap, HashSet};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};
use thorbis_tests::audit_log::{Entry, Rows, replay, rows_of};
use thorbis_tests::listing::assert_same;
use thorbis_tests::{A, B, Cluster, Tenant, make_database, ok, one, set_local, until};

const DATABASE: &str = "ledger";
const WRITERS: usize = 16;
/// Keys of each tenant: few, so that writers meet.
const KEYS: u64 = 300;
/// How many transactions come to their end between one blow and the next.
const BETWEEN_BLOWS: usize = 1500;

/// Commit timestamps tell which of two changes of a row came first: a number is given to a transaction when it begins.
const SETTINGS: &[&str] =
    &["fsync=on", "full_page_writes=on", "track_commit_timestamp=on", "deadlock_timeout=50ms", "max_connections=50"];

const TABLE: &str = "
    CREATE SCHEMA ledger; GRANT USAGE ON SCHEMA ledger TO PUBLIC;
    CREATE TABLE ledger.accounts (tenant_id uuid NOT NULL DEFAULT get_current_tenant_id(), id bigint NOT NULL,
        amount numeric(12,2) NOT NULL DEFAULT 0, tag text, detail jsonb, PRIMARY KEY (tenant_id, id));
    ALTER TABLE ledger.accounts OWNER TO thorbis_owner;
    SELECT thorbis.protect('ledger.accounts', options => '{\"not_personal\": [\"tag\", \"detail\"]}');
    GRANT UPDATE (id) ON ledger.accounts TO thorbis_app";

/// Numbers that are the same in every run (splitmix64).
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % end
    }

    fn percent(&mut self, chance: u64) -> bool {
        self.below(100) < chance
    }
}

/// Operation, key, and the new key where it changed: what the log must say, as the writer was told.
type Change = (String, String, Option<String>);

/// What the writers did.
#[derive(Default)]
struct Journal {
    /// By the number of the transaction, of those whose COMMIT was answered.
    committed: BTreeMap<i64, Vec<Change>>,
    /// Those whose COMMIT was not: either all of it, or nothing.
    in_doubt: HashSet<(i64, Vec<Change>)>,
    rolled_back: usize,
    rolled_back_savepoints: usize,
    failed: usize,
    lost_connections: usize,
}

/// What became of a transaction, or of a part of it.
enum Failure {
    Refused,
    Disconnected,
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        // FATAL and PANIC end the connection: shutdowns of the server are told so.
        let over = |e: &postgres::error::DbError| {
            e.severity() == "FATAL" || e.severity() == "PANIC" || e.code().code() == "57P02"
        };
        match error.as_db_error() {
            Some(e) if !over(e) => {
                let expected = ["40P01", "23505"];
                assert!(expected.contains(&e.code().code()), "{}", thorbis_tests::describe(&error));
                Failure::Refused
            }
            _ => Failure::Disconnected,
        }
    }
}

/// Answers of the server as texts; one round trip.
fn answers(client: &mut Client, sql: &str) -> Result<Vec<Vec<Option<String>>>, Failure> {
    let texts = |row: postgres::SimpleQueryRow| (0..row.len()).map(|i| row.get(i).map(str::to_owned)).collect();
    let messages = client.simple_query(sql)?;
    Ok(messages
        .into_iter()
        .filter_map(|m| if let SimpleQueryMessage::Row(row) = m { Some(texts(row)) } else { None })
        .collect())
}

/// One statement, and the changes it makes.
fn statement(random: &mut Random) -> String {
    let (id, other, n) = (random.below(KEYS), random.below(KEYS), random.below(10_000));
    let few = format!("id BETWEEN {id} AND {id} + 4");
    let row = format!("({id}, {n} / 100.0, 'tag {n}', '{{\"n\": [{n}, null]}}')");
    let insert = format!("INSERT INTO ledger.accounts AS t (id, amount, tag, detail) VALUES {row} ON CONFLICT");
    match random.below(100) {
        0..25 => format!("{insert} DO NOTHING RETURNING 'INSERT', id, NULL"),
        25..40 => format!(
            "{insert} (tenant_id, id) DO UPDATE SET amount = t.amount + 1, tag = NULL
             RETURNING CASE WHEN xmax = 0 THEN 'INSERT' ELSE 'UPDATE' END, id, NULL"
        ),
        40..55 => {
            format!("UPDATE ledger.accounts SET amount = amount + 0.01 WHERE id = {id} RETURNING 'UPDATE', id, NULL")
        }
        55..65 => format!(
            "UPDATE ledger.accounts SET tag = 'few {n}', amount = amount + 1 WHERE {few} RETURNING 'UPDATE', id, NULL"
        ),
        // Nothing changes, and nothing is to be logged.
        65..70 => format!("UPDATE ledger.accounts SET tag = tag, amount = amount WHERE {few} RETURNING NULL"),
        70..80 if id != other => {
            format!("UPDATE ledger.accounts SET id = {other} WHERE id = {id} RETURNING 'UPDATE', {id}, {other}")
        }
        70..92 => format!("DELETE FROM ledger.accounts WHERE id = {id} RETURNING 'DELETE', id, NULL"),
        _ => format!("DELETE FROM ledger.accounts WHERE {few} RETURNING 'DELETE', id, NULL"),
    }
}

fn run(client: &mut Client, random: &mut Random, changes: &mut Vec<Change>) -> Result<(), Failure> {
    for mut row in answers(client, &statement(random))? {
        if let [Some(operation), Some(key), new_key] = row.as_mut_slice() {
            changes.push((std::mem::take(operation), std::mem::take(key), new_key.take()));
        }
    }
    Ok(())
}

/// Statements, some within savepoints of which some are rolled back. Returns the number of the transaction, if it has one.
fn work(
    client: &mut Client,
    random: &mut Random,
    changes: &mut Vec<Change>,
    journal: &mut Journal,
) -> Result<Option<i64>, Failure> {
    for _ in 0..1 + random.below(5) {
        if random.percent(60) {
            run(client, random, changes)?;
            continue;
        }
        answers(client, "SAVEPOINT s")?;
        let before = changes.len();
        let done = (0..1 + random.below(3)).try_for_each(|_| run(client, random, changes));
        match done {
            Err(Failure::Disconnected) => return Err(Failure::Disconnected),
            Ok(()) if random.percent(60) => drop(answers(client, "RELEASE s")?),
            _ => {
                answers(client, "ROLLBACK TO s; RELEASE s")?;
                changes.truncate(before);
                journal.rolled_back_savepoints += 1;
            }
        }
    }
    let rows = answers(client, "SELECT pg_current_xact_id_if_assigned()")?;
    Ok(rows[0][0].as_ref().map(|number| number.parse().expect("a number")))
}

/// One transaction from beginning to end.
fn transaction(
    client: &mut Client,
    tenant: &Tenant,
    random: &mut Random,
    journal: &mut Journal,
) -> Result<(), Failure> {
    answers(client, &format!("BEGIN; {}", set_local(tenant.id, tenant.owner)))?;
    let mut changes = Vec::new();
    let worked = work(client, random, &mut changes, journal);
    let number = match worked {
        Ok(number) if !random.percent(20) => number,
        Err(Failure::Disconnected) => return Err(Failure::Disconnected),
        other => {
            match other {
                Ok(_) => journal.rolled_back += 1,
                Err(_) => journal.failed += 1,
            }
            return answers(client, "ROLLBACK").map(drop);
        }
    };
    let committed = answers(client, "COMMIT");
    let Some(number) = number.filter(|_| !changes.is_empty()) else { return committed.map(drop) };
    match committed {
        Ok(_) => drop(journal.committed.insert(number, changes)),
        Err(_) => drop(journal.in_doubt.insert((number, changes))),
    }
    committed.map(drop)
}

/// Waits for a server that is on its way up again.
fn connect(server: &Cluster, role: &str) -> Client {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        match server.config(DATABASE, role).connect(NoTls) {
            Ok(client) => return client,
            Err(e) => assert!(Instant::now() < deadline, "it does not come back: {}", thorbis_tests::describe(&e)),
        }
        thread::sleep(Duration::from_millis(20));
    }
}

fn write(server: &Cluster, number: usize, ended: &AtomicUsize, stop: &AtomicBool) -> Journal {
    let tenant = if number.is_multiple_of(2) { &A } else { &B };
    let (mut random, mut journal) = (Random(number as u64), Journal::default());
    let mut client = connect(server, "app_login");
    while !stop.load(Ordering::Relaxed) {
        if let Err(Failure::Disconnected) = transaction(&mut client, tenant, &mut random, &mut journal) {
            journal.lost_connections += 1;
            client = connect(server, "app_login");
        }
        ended.fetch_add(1, Ordering::Relaxed);
    }
    journal
}

fn signal(name: &str, process: &str) -> bool {
    Command::new("kill").args([name, process]).output().expect("there is a kill").status.success()
}

/// One of the writers' processes: the server restarts all of them.
fn kill_a_backend(server: &Cluster) {
    let sql =
        "SELECT pid::text FROM pg_stat_activity WHERE usename = 'app_login' AND state = 'active' ORDER BY pid LIMIT 1";
    let mut superuser = connect(server, "postgres");
    let mut victim = None;
    until("a writer is at work", || {
        victim = ok(superuser.query_opt(sql, &[])).map(|row| row.get::<_, String>(0));
        victim.is_some()
    });
    assert!(signal("-KILL", &victim.expect("there is one")));
    until("the server noticed", || superuser.batch_execute("SELECT 1").is_err());
}

fn kill_the_server(server: &Cluster) {
    let sql = "SELECT split_part(pg_read_file('postmaster.pid'), E'\\n', 1)";
    let process: String = one(&mut connect(server, "postgres"), sql, &[]);
    assert!(signal("-KILL", &process));
    until("it is gone", || !signal("-0", &process));
    // Not before the last of its children noticed.
    until("it starts again", || server.start_again(SETTINGS).is_ok());
}

#[test]
fn every_committed_change_is_logged_once_and_no_other_though_backend_and_server_are_killed() {
    let server = Cluster::fresh_with("complete", SETTINGS);
    make_database(&server, DATABASE);
    ok(server.connect(DATABASE, "postgres").batch_execute(TABLE));
    let (ended, stop) = (AtomicUsize::new(0), AtomicBool::new(false));
    let journals: Vec<Journal> = thread::scope(|scope| {
        let writer = |number| {
            scope.spawn({
                let (server, ended, stop) = (&server, &ended, &stop);
                move || write(server, number, ended, stop)
            })
        };
        let writers: Vec<_> = (0..WRITERS).map(writer).collect();
        let wait = |blows: usize| {
            until("the writers write", || {
                assert!(writers.iter().all(|w| !w.is_finished()), "a writer gave up");
                ended.load(Ordering::Relaxed) >= blows * BETWEEN_BLOWS
            })
        };
        wait(1);
        ok(connect(&server, "postgres").batch_execute("SELECT audit.seal()"));
        kill_a_backend(&server);
        wait(2);
        kill_the_server(&server);
        wait(3);
        stop.store(true, Ordering::Relaxed);
        writers.into_iter().map(|w| w.join().expect("no writer panics")).collect()
    });
    let mut superuser = server.connect(DATABASE, "postgres");
    let log = Entry::read(
        &mut superuser,
        "WHERE table_name = 'ledger.accounts' ORDER BY pg_xact_commit_timestamp(transaction_id::text::xid), transaction_id, id",
    );
    says_what_the_writers_did(&log, journals);
    ok(superuser.batch_execute("SELECT audit.seal()"));
    assert_eq!(one::<String>(&mut superuser, "SELECT string_agg(finding, ' ') FROM audit.verify()", &[]), "ok");
    let lines = |rows: Rows| rows.iter().map(|row| format!("{row:?}")).collect::<Vec<_>>();
    assert_same(
        "the table and the log replayed",
        &lines(rows_of(&mut superuser, "ledger.accounts")),
        &lines(replay(&log)),
    );
}

fn says_what_the_writers_did(log: &[Entry], journals: Vec<Journal>) {
    let mut logged: BTreeMap<i64, Vec<Change>> = BTreeMap::new();
    for entry in log {
        let change = (entry.operation.clone(), entry.key.clone(), entry.new_key.clone());
        logged.entry(entry.transaction).or_default().push(change);
    }
    let sum = |of: fn(&Journal) -> usize| journals.iter().map(of).sum::<usize>();
    let counts = [
        sum(|j| j.committed.len()),
        sum(|j| j.rolled_back),
        sum(|j| j.rolled_back_savepoints),
        sum(|j| j.failed),
        sum(|j| j.lost_connections),
        sum(|j| j.in_doubt.len()),
        log.len(),
    ];
    assert!(
        counts[0] > BETWEEN_BLOWS && counts[1] > 100 && counts[2] > 100 && counts[4] >= WRITERS,
        "too little happened: {counts:?}"
    );
    for (number, changes) in journals.iter().flat_map(|journal| &journal.committed) {
        assert_eq!(logged.remove(number).as_ref(), Some(changes), "transaction {number}");
    }
    // What is left was in doubt. A number that a crash made forgotten may be given again.
    for found in logged {
        assert!(journals.iter().any(|journal| journal.in_doubt.contains(&found)), "nobody committed {found:?}");
    }
}
