//! Attacks on the log of changes: reading another tenant's, changing it, switching it off. Lying to it: audit_hostile.rs.
//! Attempts that are rolled back: denials.rs. Losing changes by killing the server: audit_complete.rs.

use postgres::{Client, GenericClient, SimpleQueryMessage, SimpleQueryRow, Transaction};
use serde_json::json;
use std::io::Read;
use thorbis_tests::audit_log::{Entry, bound, log_rows};
use thorbis_tests::listing::assert_same;
use thorbis_tests::{
    A, B, Database, assert_sqlstate, assert_sqlstate_in, describe, in_context, ok, one, set_local, sqlstate,
};
use uuid::Uuid;

const LOG: &str = "audit.change_log";

/// Partitions of the log.
fn partitions(superuser: &mut impl GenericClient) -> Vec<String> {
    let sql = "SELECT relid::regclass::text FROM pg_partition_tree('audit.change_log') WHERE isleaf ORDER BY 1";
    ok(superuser.query(sql, &[])).iter().map(|row| row.get(0)).collect()
}

// --- reading

/// Those who read the log of A: (who, a connection, what begins a transaction).
fn readers(db: &Database) -> Vec<(&'static str, Client, String)> {
    vec![
        ("the application", db.app(), format!("BEGIN; {}", set_local(A.id, A.owner))),
        ("a bound role", bound(db, "bi", &A, A.owner, "thorbis_app"), "BEGIN".into()),
        (
            "a bound role that is a gateway",
            bound(db, "gate", &A, A.owner, "thorbis_app, thorbis_gateway"),
            "BEGIN".into(),
        ),
        ("an auditor", bound(db, "auditor", &A, A.owner, "thorbis_auditor"), "BEGIN".into()),
    ]
}

fn text(messages: &[SimpleQueryMessage]) -> String {
    let line = |row: &SimpleQueryRow| {
        (0..row.len()).map(|i| row.get(i).unwrap_or_default()).collect::<Vec<_>>().join("\t") + "\n"
    };
    messages
        .iter()
        .map(|message| if let SimpleQueryMessage::Row(row) = message { line(row) } else { String::new() })
        .collect()
}

/// Something of B is in the answer.
fn is_of_b(text: &str) -> bool {
    [&B.id, &B.owner, &B.customer].iter().any(|id| text.contains(&id.to_string())) || text.contains("bbbbbbbb")
}

#[test]
fn no_tenant_reads_the_log_of_another_by_any_statement() {
    let db = Database::new();
    ok(db.superuser().batch_execute(
        "ANALYZE; CREATE FUNCTION public.tell(what text) RETURNS boolean LANGUAGE plpgsql COST 0.0000001 AS
             'BEGIN RAISE EXCEPTION USING MESSAGE = what; END'",
    ));
    let of_b: Uuid = one(&mut db.superuser(), "SELECT id FROM audit.change_log WHERE tenant_id = $1 LIMIT 1", &[&B.id]);
    for (who, mut client, begin) in readers(&db) {
        let mut answer = |sql: &str| {
            ok(client.batch_execute(&begin));
            let answer = client.simple_query(sql).map(|messages| text(&messages)).map_err(|e| describe(&e));
            ok(client.batch_execute("ROLLBACK"));
            assert!(!is_of_b(answer.as_ref().unwrap_or_else(|error| error)), "{who}: {sql}: {answer:?}");
            answer
        };
        for relation in [LOG, "audit.security_events", "audit.v_who_changed"] {
            let own = answer(&format!("SELECT tenant_id, t.* FROM {relation} t")).expect("it is allowed");
            assert!(own.contains(&A.id.to_string()), "{who} reads nothing of their own in {relation}");
            let foreign =
                answer(&format!("SELECT FROM {relation} WHERE tenant_id = '{}'", B.id)).expect("it is allowed");
            assert_eq!(foreign, "", "{who}: {relation}");
            for sql in [
                format!("SELECT x.tenant_id FROM {relation} x RIGHT JOIN {relation} y ON y.tenant_id <> x.tenant_id"),
                format!("DECLARE c CURSOR FOR SELECT tenant_id FROM {relation}; FETCH ALL FROM c"),
                format!("DECLARE c SCROLL CURSOR WITH HOLD FOR TABLE {relation}; FETCH LAST FROM c"),
                format!("PREPARE p AS SELECT tenant_id FROM {relation}; EXECUTE p; DEALLOCATE p"),
                format!("EXPLAIN (ANALYZE, VERBOSE) SELECT * FROM {relation}"),
                // Errors that show what they stumble over: only over rows of their own.
                format!("SELECT FROM {relation} t WHERE tenant_id = '{}' AND t::text::integer = 1", B.id),
                format!("SELECT FROM {relation} t WHERE t.tenant_id::text LIKE 'b%' AND public.tell(t::text)"),
                format!(
                    "SELECT FROM {relation} t WHERE tenant_id <> '{}' AND 1 / (length(t::text) - length(t::text)) = 1",
                    A.id
                ),
            ] {
                drop(answer(&sql));
            }
        }
        // What the planner noted about the values of all tenants.
        for catalog in ["pg_stats", "pg_stats_ext"] {
            let noted = answer(&format!(
                "SELECT count(*) FROM {catalog} WHERE schemaname = 'audit' AND tablename LIKE 'change%'"
            ));
            assert!(noted.is_ok_and(|noted| noted == "0\n"), "{who}: {catalog}");
        }
        for sql in [
            format!("SELECT * FROM audit.record_history('shared.customers', '{}'::uuid)", B.customer),
            format!("SELECT audit.restore_preview('shared.customers', '{}'::uuid, now())", B.customer),
            format!("SELECT audit.prove('{of_b}')"),
        ] {
            // Refused, or nothing.
            if let Ok(found) = answer(&sql) {
                assert_eq!(found.trim(), "", "{who}: {sql}");
            }
        }
        // Past the policies of the log: its parts, and what holds hashes over the rows of all tenants.
        let parts = partitions(&mut db.superuser());
        let others = ["audit.seals", "audit.roots", "audit.v_chain_status"].map(str::to_owned);
        for relation in parts.iter().chain(&others) {
            let refused = answer(&format!("SELECT * FROM {relation}"));
            assert!(refused.is_err_and(|error| error.contains("42501")), "{who} reads {relation}");
        }
        for call in ["audit.seal()", "audit.verify()", "audit.apply_retention(true)", "thorbis.maintain()"] {
            let refused = answer(&format!("SELECT * FROM {call}"));
            assert!(refused.is_err_and(|error| error.contains("42501")), "{who} calls {call}");
        }
    }
}

#[test]
fn copy_writes_out_ones_own_log_only() {
    let db = Database::new();
    for (who, mut client, begin) in readers(&db) {
        ok(client.batch_execute(&begin));
        let mut copied = String::new();
        let copy = client.copy_out("COPY (SELECT * FROM audit.change_log) TO STDOUT");
        ok(copy).read_to_string(&mut copied).expect("the server sends text");
        assert!(copied.contains(&A.id.to_string()) && !is_of_b(&copied), "{who}");
        ok(client.batch_execute("ROLLBACK"));
        for part in partitions(&mut db.superuser()) {
            assert_sqlstate(client.copy_out(&format!("COPY {part} TO STDOUT")).map(drop), "42501");
        }
    }
}

#[test]
fn nothing_of_the_log_is_seen_without_the_permission_to_read_it() {
    let db = Database::new();
    let count = |tx: &mut Transaction<'_>| {
        let relations = [LOG, "audit.security_events", "audit.v_who_changed"];
        Ok(relations.map(|from| one::<i64>(tx, &format!("SELECT count(*) FROM {from}"), &[])))
    };
    let history = format!("SELECT * FROM audit.record_history('shared.customers', '{}'::uuid)", A.customer);
    let mut app = db.app();
    assert!(ok(in_context(&mut app, A.id, A.owner, count)).iter().all(|rows| *rows > 0));
    assert!(!ok(in_context(&mut app, A.id, A.owner, |tx| tx.query(&history, &[]))).is_empty());
    for user in [A.manager, A.employee, B.owner, Uuid::new_v4()] {
        assert_eq!(ok(in_context(&mut app, A.id, user, count)), [0; 3], "{user}");
        // Nothing, or an error that says which permission is missing.
        let found = in_context(&mut app, A.id, user, |tx| tx.query(&history, &[]));
        assert!(found.map_or_else(|e| sqlstate(&e) == "42501", |rows| rows.is_empty()), "{user}");
    }
    // No context at all, and an auditor of no tenant.
    for mut client in [db.app(), db.app_only()] {
        assert_eq!(ok(count(&mut ok(client.transaction()))), [0; 3]);
        assert!(client.query(&history, &[]).map_or_else(|e| sqlstate(&e) == "28000", |rows| rows.is_empty()));
    }
    let auditor = db.role("auditor", "LOGIN IN ROLE thorbis_auditor");
    assert_eq!(one::<i64>(&mut db.connect_as(&auditor), "SELECT count(*) FROM audit.change_log", &[]), 0);
    assert_sqlstate(db.connect_as("stranger_login").query("SELECT FROM audit.change_log", &[]), "42501");
    let preview = format!("SELECT audit.restore_preview('shared.customers', '{}'::uuid, now())", A.customer);
    assert_sqlstate(in_context(&mut app, A.id, A.employee, |tx| tx.query(&preview, &[])), "42501");
}

// --- writing

/// What is tried on a relation that only the library writes.
fn writes(relation: &str) -> Vec<String> {
    vec![
        format!("INSERT INTO {relation} DEFAULT VALUES"),
        format!("INSERT INTO {relation} SELECT * FROM {relation} LIMIT 1"),
        format!("UPDATE {relation} SET system_id = 1"),
        format!("UPDATE {relation} SET tenant_id = tenant_id"),
        format!("DELETE FROM {relation}"),
        format!("WITH d AS (DELETE FROM {relation} RETURNING *) SELECT count(*) FROM d"),
        format!("MERGE INTO {relation} t USING (SELECT 1) s ON true WHEN MATCHED THEN DELETE"),
        format!("TRUNCATE {relation}"),
        format!("TRUNCATE {relation} CASCADE"),
        format!("SELECT FROM {relation} FOR UPDATE"),
        format!("ALTER TABLE {relation} DISABLE TRIGGER ALL"),
        format!("ALTER TABLE {relation} DISABLE ROW LEVEL SECURITY"),
        format!("ALTER TABLE {relation} ADD CONSTRAINT never CHECK (false) NOT VALID"),
        format!("ALTER TABLE {relation} OWNER TO CURRENT_USER"),
        format!(
            "CREATE TRIGGER swallow BEFORE INSERT ON {relation} FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger()"
        ),
        format!("CREATE RULE swallow AS ON INSERT TO {relation} DO INSTEAD NOTHING"),
        format!("CREATE POLICY everybody ON {relation} USING (true)"),
        format!("CREATE UNIQUE INDEX ON {relation} (tenant_id)"),
        format!("CREATE TABLE pg_temp.child () INHERITS ({relation})"),
        format!("LOCK {relation} IN ACCESS EXCLUSIVE MODE"),
        format!("DROP TABLE {relation}"),
    ]
}

#[test]
fn nobody_writes_changes_deletes_or_hides_rows_of_the_log() {
    let db = Database::new();
    let mut superuser = db.superuser();
    let parts = partitions(&mut superuser);
    // This month's and the last resort: the others are like them.
    let parts = [parts.first(), parts.last()].map(|part| part.expect("there are partitions").as_str());
    let relations = [LOG, parts[0], parts[1], "audit.seals", "audit.security_events"];
    let platform = db.role("operator", "LOGIN IN ROLE thorbis_platform");
    let mut clients = readers(&db);
    clients.push(("the platform", db.connect_as(&platform), "BEGIN; SET LOCAL ROLE thorbis_platform".into()));
    clients.push(("a stranger", db.connect_as("stranger_login"), "BEGIN".into()));
    ok(superuser.batch_execute("SELECT audit.seal()"));
    let before = log_rows(&mut superuser);
    for (who, client, begin) in &mut clients {
        for relation in relations {
            let detach = format!("ALTER TABLE audit.change_log DETACH PARTITION {relation}");
            for sql in writes(relation).into_iter().chain([detach]) {
                ok(client.batch_execute(begin));
                let done = client.batch_execute(&sql);
                assert!(done.is_err(), "{who}: {sql}");
                // A partitioned table cannot be inherited from, whoever asks.
                assert_sqlstate_in(done, &["42501", "42809", "42P16", "42703"]);
                ok(client.batch_execute("ROLLBACK"));
            }
            assert_sqlstate(client.batch_execute(&format!("COPY {relation} FROM STDIN")), "42501");
        }
    }
    assert_same("the log before and after the attacks", &before, &log_rows(&mut superuser));
    assert_eq!(one::<String>(&mut superuser, "SELECT string_agg(finding, ' ') FROM audit.verify()", &[]), "ok");
}

/// The owner of the log could. Nobody is the owner, and what a superuser does as one is found out.
#[test]
fn what_the_owner_of_the_log_forges_or_deletes_is_found_by_verification() {
    let db = Database::new();
    let mut superuser = db.superuser();
    let members = "SELECT count(*) FROM pg_auth_members WHERE roleid = 'thorbis_owner'::regrole";
    assert_eq!(one::<i64>(&mut superuser, members, &[]), 0);
    assert!(!one::<bool>(&mut superuser, "SELECT rolcanlogin FROM pg_roles WHERE rolname = 'thorbis_owner'", &[]));
    for role in ["app_login", "app_only_login", "stranger_login"] {
        assert_sqlstate(db.connect_as(role).batch_execute("SET ROLE thorbis_owner"), "42501");
    }
    ok(superuser.batch_execute("SELECT audit.seal()"));
    for forgery in [
        "DELETE FROM audit.change_log WHERE id = (SELECT max(id::text)::uuid FROM audit.change_log)",
        "UPDATE audit.change_log SET actor_id = gen_random_uuid() WHERE id = (SELECT max(id::text)::uuid FROM audit.change_log)",
        "INSERT INTO audit.change_log SELECT tenant_id, occurred_at, gen_random_uuid(), system_id, transaction_id, table_name,
             operation, row_key FROM audit.change_log LIMIT 1",
    ] {
        let mut tx = ok(superuser.transaction());
        let forgery = forgery.replace("operation, row_key FROM", "operation, row_key, new_row_key, old_values, new_values,
            actor_id, session_role, database_role, application, client_address, request_id FROM");
        assert_eq!(ok(tx.execute(&forgery, &[])), 1);
        let found: Vec<String> = ok(tx.query("SELECT finding FROM audit.verify()", &[])).iter().map(|row| row.get(0)).collect();
        assert!(!found.is_empty() && found.iter().all(|finding| finding != "ok"), "{forgery}: {found:?}");
        ok(tx.rollback());
    }
}

// --- switching it off

const RENAME: &str = "UPDATE shared.locations SET name = $1";

/// Changes a row as A's owner and looks whether the log has it.
#[track_caller]
fn is_logged(superuser: &mut Client, app: &mut Client, name: &str) {
    ok(in_context(app, A.id, A.owner, |tx| tx.execute(RENAME, &[&name])));
    assert_eq!(Entry::last_of(superuser, "shared.locations").values("name")[1], json!(name));
}

#[test]
fn no_tenant_switches_the_log_off() {
    let db = Database::new();
    let (mut superuser, mut app) = (db.superuser(), db.app());
    let mut attackers = readers(&db);
    let mut n = 0;
    for sql in [
        "SET session_replication_role = replica",
        "SET LOCAL session_replication_role = local",
        "SELECT set_config('session_replication_role', 'replica', false)",
        "ALTER TABLE shared.locations DISABLE TRIGGER ALL",
        "ALTER TABLE shared.locations DISABLE TRIGGER USER",
        "ALTER TABLE shared.locations DISABLE TRIGGER audit_locations_changes",
        "ALTER TABLE shared.locations ENABLE REPLICA TRIGGER audit_locations_changes",
        "DROP TRIGGER audit_locations_changes ON shared.locations",
        "ALTER TRIGGER audit_locations_changes ON shared.locations RENAME TO x",
        "CREATE OR REPLACE TRIGGER audit_locations_changes AFTER INSERT ON shared.locations FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger()",
        "SELECT thorbis.protect('shared.locations', options => '{\"audit\": false}')",
        "SELECT thorbis.unprotect('shared.locations')",
        "UPDATE thorbis.protected_tables SET options = options || '{\"audit\": false}'",
        "DELETE FROM thorbis.protected_tables",
        "CREATE OR REPLACE FUNCTION public.audit_row_changes() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'",
        "DROP FUNCTION public.audit_row_changes() CASCADE",
        "ALTER FUNCTION public.audit_row_changes() OWNER TO CURRENT_USER",
        "ALTER TABLE audit.change_log RENAME TO gone",
        "ALTER SCHEMA audit RENAME TO gone",
        "CREATE TABLE audit.change_log_2000_01 (LIKE audit.change_log)",
        "DROP EXTENSION thorbis_db CASCADE",
        "ALTER SYSTEM SET session_replication_role = replica",
        "ALTER ROLE CURRENT_USER SET session_replication_role = replica",
        "LOAD 'auto_explain'",
    ] {
        for (who, client, begin) in &mut attackers {
            ok(client.batch_execute(begin));
            let done = client.batch_execute(sql);
            assert!(done.is_err(), "{who}: {sql}");
            // ALTER SYSTEM is refused in a transaction, whoever asks.
            assert_sqlstate_in(done, &["42501", "25001"]);
            ok(client.batch_execute("ROLLBACK"));
        }
        n += 1;
        is_logged(&mut superuser, &mut app, &format!("name {n}"));
    }
}

/// A connection's own tables and settings come between the library and its log for nobody.
#[test]
fn own_objects_and_settings_do_not_divert_the_log() {
    let db = Database::new();
    let (mut superuser, mut app) = (db.superuser(), db.app());
    for (n, sql) in [
        "CREATE TEMP TABLE change_log (LIKE audit.change_log); SET search_path = pg_temp, audit, public",
        "SET search_path = ''",
        "SET default_transaction_read_only = off; SET lock_timeout = 1; SET work_mem = '64kB'",
        "SET enable_indexscan = off; SET enable_seqscan = off; SET constraint_exclusion = off; SET enable_partition_pruning = off",
        "SET client_encoding = 'LATIN1'; SET standard_conforming_strings = off; SET check_function_bodies = off",
        "SET default_tablespace = ''; SET temp_tablespaces = ''; SET default_table_access_method = heap",
    ]
    .iter()
    .enumerate()
    {
        ok(app.batch_execute(sql));
        let name = format!("diverted {n}");
        let mut tx = ok(app.transaction());
        ok(tx.batch_execute(&set_local(A.id, A.owner)));
        ok(tx.execute(RENAME, &[&name]));
        ok(tx.commit());
        assert_eq!(Entry::last_of(&mut superuser, "shared.locations").values("name")[1], json!(name), "{sql}");
    }
}

#[test]
fn replication_role_of_a_superuser_does_not_silence_it_and_switching_it_off_is_an_event() {
    let db = Database::new();
    let mut superuser = db.superuser();
    for role in ["replica", "local", "origin"] {
        ok(superuser.batch_execute(&format!(
            "SET session_replication_role = {role}; UPDATE shared.locations SET name = 'as {role}'; RESET session_replication_role"
        )));
        assert_eq!(Entry::last_of(&mut superuser, "shared.locations").values("name")[1], json!(format!("as {role}")));
    }
    let off = "SELECT thorbis.protect('shared.locations', 'locations', '{\"audit\": false,
                   \"not_personal\": [\"name\", \"address\", \"phone\", \"timezone\", \"metadata\"]}')";
    ok(superuser.batch_execute(off));
    let event = "SELECT event || ' ' || object || ' ' || session_role FROM audit.security_events ORDER BY occurred_at DESC LIMIT 1";
    let event: String = one(&mut superuser, event, &[]);
    assert!(event.starts_with("protected_table.update") && event.ends_with("postgres"), "{event}");
    // The event is in the log, and so sealed.
    assert_eq!(Entry::last_of(&mut superuser, "audit.security_events").session_role, "postgres");
}
