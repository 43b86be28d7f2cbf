//! Attacks on the log of changes: reading another tenant's, changing it, switching it off, lying to it, and flooding it.
//! Denials that are rolled back: denials.rs. Losing changes by killing the server: audit_complete.rs.

use postgres::{Client, GenericClient, NoTls, SimpleQueryMessage, SimpleQueryRow, Transaction};
use serde_json::{Value, json};
use std::ffi::OsStr;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use thorbis_tests::audit_log::Entry;
use thorbis_tests::listing::{assert_same, rows};
use thorbis_tests::{
    A, B, Database, Dump, Tenant, as_owner, assert_sqlstate, assert_sqlstate_in, describe, in_context, ok, one,
    set_local, sqlstate,
};
use uuid::Uuid;

const LOG: &str = "audit.change_log";

/// A login bound to a user of `tenant`.
fn bound(db: &Database, purpose: &str, tenant: &Tenant, user: Uuid, groups: &str) -> Client {
    let role = db.role(purpose, &format!("LOGIN IN ROLE {groups}"));
    ok(db.superuser().batch_execute(&format!("SELECT thorbis.bind_role('{role}', '{}', '{user}')", tenant.id)));
    db.connect_as(&role)
}

/// Partitions of the log.
fn partitions(superuser: &mut impl GenericClient) -> Vec<String> {
    let sql = "SELECT relid::regclass::text FROM pg_partition_tree('audit.change_log') WHERE isleaf ORDER BY 1";
    ok(superuser.query(sql, &[])).iter().map(|row| row.get(0)).collect()
}

/// Everything that the log and what belongs to it hold.
fn log_rows(superuser: &mut impl GenericClient) -> Vec<String> {
    rows(superuser).into_iter().filter(|line| line.starts_with("audit.")).collect()
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

// --- lying to it

fn rename(client: &mut Client, before: &str, name: &str) -> Result<(), postgres::Error> {
    client.batch_execute(&format!("BEGIN; {before}; UPDATE shared.locations SET name = '{name}'; COMMIT"))
}

#[test]
fn no_claim_setting_role_or_function_changes_the_actor_the_tenant_or_the_roles() {
    let db = Database::new();
    let mut superuser = db.superuser();
    let group = db.role("group", "NOLOGIN IN ROLE thorbis_app");
    let mut client = bound(&db, "bi", &A, A.owner, &format!("thorbis_app, {group}"));
    let login: String = one(&mut client, "SELECT session_user::text", &[]);
    ok(superuser.batch_execute(
        "CREATE FUNCTION public.as_superuser(name text) RETURNS void SECURITY DEFINER LANGUAGE sql AS
             'UPDATE shared.locations SET name = $1 WHERE tenant_id = get_current_tenant_id()';
         GRANT EXECUTE ON FUNCTION public.as_superuser(text) TO PUBLIC",
    ));
    let claims =
        format!(r#"{{"sub": "{0}", "tenant_id": "{1}", "role": "service_role", "user_id": "{0}"}}"#, B.owner, B.id);
    let attempts = [
        format!("SET LOCAL request.jwt.claims = '{claims}'"),
        format!("SET LOCAL request.jwt.claim.sub = '{}'", A.manager),
        set_local(A.id, A.manager),
        set_local(B.id, B.owner),
        format!("SET LOCAL app.current_user_id = '{}'", A.manager),
        format!("SET LOCAL app.actor_id = '{}'; SET LOCAL audit.actor_id = '{}'", A.manager, A.manager),
        format!("SELECT thorbis.set_context('{}', '{}')", A.id, A.manager),
        format!("UPDATE shared.locations SET name = 'first'; SET LOCAL app.current_user_id = '{}'", A.manager),
        "SET LOCAL ROLE thorbis_platform".into(),
        "SET LOCAL SESSION AUTHORIZATION postgres".into(),
        "SET LOCAL is_superuser = on".into(),
        "SELECT 1".into(),
    ];
    let mut accepted = 0;
    for (n, attempt) in attempts.iter().enumerate() {
        let name = format!("attempt {n}");
        match rename(&mut client, attempt, &name) {
            Err(e) => {
                assert!(
                    ["28000", "42501", "55P02", "22023", "42704"].contains(&sqlstate(&e)),
                    "{attempt}: {}",
                    describe(&e)
                );
                ok(client.batch_execute("ROLLBACK"));
            }
            Ok(()) => {
                accepted += 1;
                let entry = Entry::last_of(&mut superuser, "shared.locations");
                assert_eq!(
                    (&entry.values("name")[1], entry.actor, entry.tenant),
                    (&json!(name), Some(A.owner), A.id),
                    "{attempt}"
                );
                assert_eq!((&entry.session_role, &entry.database_role), (&login, &login), "{attempt}");
            }
        }
    }
    assert!(accepted >= 2, "nothing was accepted: the test proves nothing");
    // SET ROLE is what it is, a function that runs as somebody else is not.
    ok(rename(&mut client, &format!("SET LOCAL ROLE {group}"), "as the group"));
    let entry = Entry::last_of(&mut superuser, "shared.locations");
    assert_eq!((entry.actor, entry.session_role, entry.database_role), (Some(A.owner), login.clone(), group));
    ok(client.batch_execute("SELECT public.as_superuser('by a function')"));
    let entry = Entry::last_of(&mut superuser, "shared.locations");
    assert_eq!(entry.values("name")[1], json!("by a function"));
    assert_eq!((entry.actor, entry.session_role, entry.database_role), (Some(A.owner), login.clone(), login));
}

#[test]
fn time_and_table_are_the_librarys_own() {
    let db = Database::new();
    let (mut superuser, mut app) = (db.superuser(), db.app());
    // Rows say what they like of their own times; the log has the transaction's.
    ok(in_context(&mut app, A.id, A.owner, |tx| {
        tx.execute("INSERT INTO restaurants.orders (created_at, opened_at) VALUES ('1999-01-01', '1999-01-01')", &[])
    }));
    let near = "SELECT occurred_at BETWEEN now() - interval '1 minute' AND now() FROM audit.change_log
                 WHERE table_name = 'restaurants.orders' ORDER BY occurred_at DESC, id DESC LIMIT 1";
    assert!(one::<bool>(&mut superuser, near, &[]));
    // A table of one's own that writes into the log under another's name.
    let before = log_rows(&mut superuser);
    let spec = "{\"table\": \"shared.customers\", \"tenant\": \"tenant_id\"}";
    ok(app.batch_execute("CREATE TEMP TABLE customers (tenant_id uuid, id uuid PRIMARY KEY)"));
    for (timing, function) in [
        ("AFTER INSERT", "audit_row_changes"),
        ("BEFORE TRUNCATE", "audit_truncate"),
        ("AFTER INSERT", "record_security_event"),
    ] {
        let level = if timing == "BEFORE TRUNCATE" { "STATEMENT" } else { "ROW" };
        let trigger = format!(
            "CREATE TRIGGER forge {timing} ON pg_temp.customers FOR EACH {level} EXECUTE FUNCTION public.{function}('{spec}')"
        );
        assert_sqlstate(app.batch_execute(&trigger), "42501");
        assert_sqlstate_in(app.batch_execute(&format!("SELECT public.{function}()")), &["42501", "0A000"]);
    }
    ok(app.batch_execute(&format!("INSERT INTO pg_temp.customers VALUES ('{}', gen_random_uuid())", B.id)));
    // Nor another tenant's row.
    let foreign = format!("INSERT INTO shared.locations (tenant_id, name) VALUES ('{}', 'x')", B.id);
    assert_sqlstate(in_context(&mut app, A.id, A.owner, |tx| tx.execute(&foreign, &[])), "42501");
    assert_same("the log", &before, &log_rows(&mut superuser));
}

// --- ways around a trigger

#[test]
fn rows_written_straight_into_a_partition_are_logged_under_the_tables_name() {
    let db = Database::new();
    let mut superuser = db.superuser();
    ok(superuser.batch_execute(
        "CREATE SCHEMA parts;
         CREATE TABLE parts.stock (tenant_id uuid NOT NULL, id integer NOT NULL, n integer, PRIMARY KEY (tenant_id, id)) PARTITION BY RANGE (id);
         CREATE TABLE parts.low PARTITION OF parts.stock FOR VALUES FROM (0) TO (100);
         ALTER TABLE parts.stock OWNER TO thorbis_owner; ALTER TABLE parts.low OWNER TO thorbis_owner;
         SELECT thorbis.protect('parts.stock');
         CREATE TABLE parts.high (n integer, id integer NOT NULL, tenant_id uuid NOT NULL);
         ALTER TABLE parts.high OWNER TO thorbis_owner;
         ALTER TABLE parts.stock ATTACH PARTITION parts.high FOR VALUES FROM (100) TO (200)",
    ));
    for sql in [
        "INSERT INTO parts.low VALUES ($1, 1, 1)",
        "INSERT INTO parts.high VALUES (1, 101, $1)",
        "INSERT INTO parts.stock VALUES ($1, 2, 1)",
    ] {
        ok(superuser.execute(sql, &[&A.id]));
        assert_sqlstate(
            in_context(&mut db.app(), A.id, A.owner, |tx| tx.execute(&sql.replace("stock", "low"), &[&A.id])),
            "42501",
        );
    }
    // Within a partition, and to another one.
    ok(superuser.batch_execute("UPDATE parts.low SET n = 2 WHERE id = 1; UPDATE parts.stock SET id = 102 WHERE id = 2; DELETE FROM parts.high WHERE id = 101; TRUNCATE parts.low"));
    let log = Entry::of_table(&mut superuser, "parts.stock");
    let found: Vec<_> = log.iter().map(|entry| (entry.operation.as_str(), entry.key.as_str())).collect();
    let moved = [("DELETE", "2"), ("INSERT", "102")];
    let expected = [
        ("INSERT", "1"),
        ("INSERT", "101"),
        ("INSERT", "2"),
        ("UPDATE", "1"),
        moved[0],
        moved[1],
        ("DELETE", "101"),
        ("TRUNCATE", ""),
    ];
    assert_eq!(found, expected);
}

#[test]
fn changed_keys_are_logged_row_by_row_and_history_follows_them() {
    let db = Database::new();
    let mut superuser = db.superuser();
    ok(superuser.batch_execute(&format!(
        "CREATE SCHEMA keyed;
         CREATE TABLE keyed.items (tenant_id uuid NOT NULL, id integer NOT NULL, n integer, PRIMARY KEY (tenant_id, id));
         ALTER TABLE keyed.items OWNER TO thorbis_owner; SELECT thorbis.protect('keyed.items');
         INSERT INTO keyed.items SELECT '{}', n, n FROM generate_series(1, 5) n; UPDATE keyed.items SET id = id + 100",
        A.id
    )));
    let log = Entry::of_table(&mut superuser, "keyed.items");
    let moved: Vec<_> = log[5..].iter().map(|entry| (entry.key.clone(), entry.new_key.clone())).collect();
    assert_eq!(moved, (1..=5).map(|n| (n.to_string(), Some((n + 100).to_string()))).collect::<Vec<_>>());
    assert!(log[5..].iter().all(|entry| entry.operation == "UPDATE"
        && entry.old.as_ref().is_some_and(|old| old.as_object().is_some_and(|old| old.len() == 1))));
    let history = "SELECT operation FROM audit.record_history('keyed.items', '103')";
    let history = as_owner(&db, &A, |tx| tx.query(history, &[]));
    assert_eq!(history.iter().map(|row| row.get(0)).collect::<Vec<&str>>(), ["INSERT", "UPDATE"]);
}

// --- flooding it and breaking its JSON

const PAD: &str = "
    CREATE SCHEMA pad;
    CREATE TABLE pad.notes (tenant_id uuid NOT NULL DEFAULT get_current_tenant_id(), id integer NOT NULL, n integer, body text,
        data jsonb, plain json, ssn text, said text, PRIMARY KEY (tenant_id, id));
    ALTER TABLE pad.notes OWNER TO thorbis_owner;
    SELECT thorbis.protect('pad.notes', options => '{\"not_personal\": [\"body\", \"data\", \"plain\"],
        \"pii\": [{\"column\": \"said\", \"method\": \"clear\"}], \"audit\": {\"secret\": [\"ssn\"]}}')";

fn with_notes() -> (Database, Client) {
    let db = Database::new();
    ok(db.superuser().batch_execute(PAD));
    let app = db.app();
    (db, app)
}

/// Executes as A's owner, and returns what the log has of it.
#[track_caller]
fn note(db: &Database, app: &mut Client, sql: &str) -> Entry {
    assert_eq!(ok(in_context(app, A.id, A.owner, |tx| tx.execute(sql, &[]))), 1);
    Entry::last_of(&mut db.superuser(), "pad.notes")
}

#[test]
fn huge_values_are_logged_once_or_as_their_length() {
    let (db, mut app) = with_notes();
    let large =
        "INSERT INTO pad.notes (id, body) SELECT 1, string_agg(md5(n::text), '') FROM generate_series(1, 320 * 1024) n";
    let entry = note(&db, &mut app, large);
    assert_eq!(entry.values("body")[1].as_str().map(str::len), Some(10 << 20));
    // Beside a column that changed it is not repeated.
    let entry = note(&db, &mut app, "UPDATE pad.notes SET n = 1 WHERE id = 1");
    assert_eq!(entry.new, Some(json!({"n": 1})));
    for (id, column, value) in [
        (2, "body", "repeat('x', 20 << 20)"),
        (3, "data", "to_jsonb(repeat('x', 20 << 20))"),
        (4, "plain", "to_json(repeat('x', 20 << 20))"),
    ] {
        let entry = note(&db, &mut app, &format!("INSERT INTO pad.notes (id, {column}) VALUES ({id}, {value})"));
        let logged = entry.values(column)[1].as_str().expect("it is a text").to_owned();
        assert!(logged.starts_with("[2097") && logged.ends_with(" bytes, not logged]"), "{logged}");
    }
    // Personal ones, as envelopes; in all forms.
    for (id, size) in [(5, 10), (6, 20)] {
        let entry =
            note(&db, &mut app, &format!("INSERT INTO pad.notes (id, said) VALUES ({id}, repeat('x', {size} << 20))"));
        let envelope = entry.values("said")[1].as_str().expect("it is a text").to_owned();
        let opened: String = as_owner(&db, &A, |tx| {
            Ok(one(tx, "SELECT decrypt_pii($1, 'pad.notes.said', $2)", &[&envelope, &id.to_string()]))
        });
        assert!(
            opened.len() == size << 20 || opened == format!("[{} bytes, not logged]", (size << 20) + 4),
            "{}",
            opened.len()
        );
    }
}

#[test]
fn escapes_duplicate_keys_and_odd_characters_are_kept_as_they_are() {
    let (db, mut app) = with_notes();
    let odd = [
        r"\u0000 \x00 \000 \\u0000",
        "\u{202e}txt.exe\u{202c} \u{200b}\u{feff}\u{1f468}\u{200d}\u{1f469}",
        "\u{1} \u{7f} \u{85} \u{2028} \r\n\t\u{8}\u{c}",
        r#"","operation":"DELETE","x":""#,
        "'; DROP TABLE audit.change_log; --",
        "$$ {} [] null",
        "\u{10ffff}\u{e000}",
    ];
    for (id, text) in (0..).zip(odd) {
        let sql = "INSERT INTO pad.notes (id, body, data, said, ssn) VALUES ($1, $2, jsonb_build_object($2::text, $2::text), $2, $2)";
        ok(in_context(&mut app, A.id, A.owner, |tx| tx.execute(sql, &[&id, &text])));
        let entry = Entry::last_of(&mut db.superuser(), "pad.notes");
        assert_eq!((entry.operation.as_str(), &entry.values("body")[1]), ("INSERT", &json!(text)));
        let mut data = serde_json::Map::new();
        data.insert(text.to_owned(), json!(text));
        assert_eq!(entry.values("data")[1], Value::Object(data));
        // What is secret or personal is not there in clear.
        assert_eq!(entry.values("ssn")[1], json!("changed"));
        let envelope = entry.values("said")[1].as_str().expect("it is a text").to_owned();
        let opened: String = as_owner(&db, &A, |tx| {
            Ok(one(tx, "SELECT decrypt_pii($1, 'pad.notes.said', $2)", &[&envelope, &id.to_string()]))
        });
        assert_eq!(opened, text);
    }
    let entry = note(
        &db,
        &mut app,
        r#"INSERT INTO pad.notes (id, data, plain) VALUES (20, '{"a": 1, "a": {"b": 2, "b": 3}}', '{"a": 1, "a": 2, "tenant_id": "x"}')"#,
    );
    assert_eq!(
        [entry.values("data")[1].clone(), entry.values("plain")[1].clone()],
        [json!({"a": {"b": 3}}), json!({"a": 2, "tenant_id": "x"})]
    );
    assert_eq!((entry.tenant, entry.values("tenant_id")[1].clone()), (A.id, json!(A.id.to_string())));
    // A column can be called anything.
    ok(db.superuser().batch_execute(
        r#"ALTER TABLE pad.notes ADD "old_values" text, ADD """,{}'\ " text, ADD "ключ" integer DEFAULT 7"#,
    ));
    let entry = note(&db, &mut app, r#"INSERT INTO pad.notes (id, "old_values", """,{}'\ ") VALUES (21, 'x', 'y')"#);
    let columns: Vec<String> =
        entry.new.as_ref().and_then(Value::as_object).expect("an object").keys().cloned().collect();
    assert!(columns.contains(&"\",{}'\\ ".to_owned()) && columns.contains(&"ключ".to_owned()), "{columns:?}");
}

/// JSON that PostgreSQL stores as json and cannot turn into jsonb must not keep anybody from their work.
#[test]
fn json_that_cannot_be_jsonb_does_not_refuse_the_change() {
    let (db, mut app) = with_notes();
    for (id, json) in [(1, r#"{"a": "\u0000"}"#), (2, r#"["\ud800"]"#), (3, "1e1000000")] {
        let entry = note(&db, &mut app, &format!("INSERT INTO pad.notes (id, plain) VALUES ({id}, '{json}')"));
        // As a text then.
        assert_eq!(entry.values("plain")[1], json!(json));
    }
}

/// A key that the table's own index takes, and whose text is several times as long.
#[test]
fn keys_of_any_length_are_logged_and_found() {
    let db = Database::new();
    let mut superuser = db.superuser();
    ok(superuser.batch_execute(
        "CREATE SCHEMA keyed;
         CREATE TABLE keyed.bytes (tenant_id uuid NOT NULL, id bytea, n integer, PRIMARY KEY (tenant_id, id));
         CREATE TABLE keyed.texts (tenant_id uuid NOT NULL, a text, b text, n integer, PRIMARY KEY (tenant_id, a, b));
         ALTER TABLE keyed.bytes OWNER TO thorbis_owner; ALTER TABLE keyed.texts OWNER TO thorbis_owner;
         SELECT thorbis.protect('keyed.bytes'); SELECT thorbis.protect('keyed.texts', options => '{\"not_personal\": [\"a\", \"b\"]}')",
    ));
    let random = "(SELECT string_agg(sha256(n::text::bytea), '' ORDER BY n) FROM generate_series(1, 83) n)";
    let insert = format!(
        "INSERT INTO keyed.bytes VALUES ($1, {random});
         INSERT INTO keyed.texts SELECT $1, string_agg(chr(1 + get_byte({random}, i) % 31), '' ORDER BY i), '\"' FROM generate_series(0, 2599) i"
    );
    ok(superuser.batch_execute(&insert.replace("$1", &format!("'{}'", A.id))));
    ok(superuser
        .batch_execute("UPDATE keyed.bytes SET n = 1, id = id || '\\x00'; UPDATE keyed.texts SET n = 1, b = ''"));
    for table in ["keyed.bytes", "keyed.texts"] {
        let [inserted, updated] = Entry::of_table(&mut superuser, table).try_into().expect("two changes");
        assert!(
            inserted.key.len() > 5000
                && updated.key == inserted.key
                && updated.new_key.is_some_and(|key| key.len() > 5000)
        );
        let history = format!("SELECT operation FROM audit.record_history('{table}', $1::text)");
        let history = as_owner(&db, &A, |tx| tx.query(&history, &[&inserted.key]));
        assert_eq!(history.iter().map(|row| row.get(0)).collect::<Vec<&str>>(), ["INSERT", "UPDATE"], "{table}");
    }
}

#[test]
fn what_a_client_says_of_itself_is_cut_and_stands_in_its_own_columns() {
    let (db, mut app) = with_notes();
    let mut write = |id: i32, before: &str| {
        ok(app.batch_execute(&format!("BEGIN; {}; {before}", set_local(A.id, A.owner))));
        ok(app.execute("INSERT INTO pad.notes (id) VALUES ($1)", &[&id]));
        ok(app.batch_execute("COMMIT; RESET application_name"));
        Entry::last_of(&mut db.superuser(), "pad.notes")
    };
    let entry = write(1, "SET LOCAL app.request_id = 'r-1'; SET LOCAL application_name = 'till 3'");
    assert_eq!((entry.request_id.as_deref(), entry.application.as_deref()), (Some("r-1"), Some("till 3")));
    let entry = write(
        2,
        "SELECT set_config('app.request_id', repeat('€', 3000000), true), set_config('application_name', repeat('x', 1000), true)",
    );
    assert_eq!(entry.request_id, Some("€".repeat(42)), "128 bytes, and no half character");
    assert_eq!(entry.application.map(|name| name.len()), Some(63));
    let hostile = "a\u{202e}\n\t\"{},NULL\\'";
    let entry =
        write(3, &format!("SET LOCAL app.request_id = E'{}'", hostile.replace('\\', "\\\\").replace('\'', "\\'")));
    assert_eq!(entry.request_id.as_deref(), Some(hostile));
    let entry = write(4, "SET LOCAL app.request_id = ''; SET LOCAL application_name = ''");
    assert_eq!((entry.request_id, entry.application), (None, None));
    // Bytes that are no text in any encoding come only with the start-up packet.
    let mut psql = db.cluster().program("psql");
    psql.env("PGOPTIONS", OsStr::from_bytes(b"-c app.request_id=x\xff\xfe\xc3"))
        .env("PGAPPNAME", OsStr::from_bytes(b"till\xff\xfe"));
    psql.args(["-X", "-v", "ON_ERROR_STOP=1", "-U", "app_login", "-d", &db.name, "-c"]);
    psql.arg(format!("BEGIN; {}; INSERT INTO pad.notes (id) VALUES (5); COMMIT", set_local(A.id, A.owner)));
    let output = psql.output().expect("psql is installed");
    let entry = Entry::last_of(&mut db.superuser(), "pad.notes");
    if output.status.success() {
        assert_eq!(entry.key, "5");
        assert!(entry.request_id.is_some_and(|id| id.starts_with('x')));
    } else {
        assert_eq!(entry.key, "4");
    }
    // The log can be read and dumped.
    ok(db.superuser().query("SELECT t::text FROM audit.change_log t", &[]));
}

// --- what it does not depend on

#[test]
fn log_and_its_verification_do_not_depend_on_the_settings_of_a_session() {
    let db = Database::new();
    let mut superuser = db.superuser();
    ok(superuser.batch_execute(
        "CREATE SCHEMA odd; CREATE TYPE odd.pair AS (a float8, b timestamptz);
         CREATE TABLE odd.types (tenant_id uuid NOT NULL, at timestamptz NOT NULL, d date NOT NULL, n serial, ts timestamp, iv interval,
             f4 real, f8 double precision, b bytea, m money, x xml, p odd.pair, ranges tstzrange, times timestamptz[], t timetz,
             ip inet, j json, PRIMARY KEY (tenant_id, at, d, n));
         ALTER TABLE odd.types OWNER TO thorbis_owner;
         SELECT thorbis.protect('odd.types', options => '{\"not_personal\": [\"x\", \"p\", \"times\", \"ip\", \"j\"]}')",
    ));
    let usual = "DateStyle = 'ISO, MDY'; TimeZone = 'UTC'; IntervalStyle = 'postgres'; bytea_output = 'hex'; extra_float_digits = 1; xmlbinary = 'base64'; lc_monetary = 'C'";
    let odd = "DateStyle = 'SQL, DMY'; TimeZone = 'Asia/Kathmandu'; IntervalStyle = 'sql_standard'; bytea_output = 'escape'; extra_float_digits = -15; xmlbinary = 'hex'; lc_monetary = 'C'";
    let set = |client: &mut Client, settings: &str| {
        ok(client.batch_execute(&settings.split("; ").map(|s| format!("SET {s};")).collect::<String>()));
    };
    let insert = "INSERT INTO odd.types (tenant_id, at, d, ts, iv, f4, f8, b, m, x, p, ranges, times, t, ip, j)
        VALUES ($1, '2024-02-03 04:05:06.123456+00', '2024-02-03'::date, make_timestamp(2024, 2, 3, 4, 5, 6.5), make_interval(days => 3, hours => -4),
            0.1::real, 0.1::float8 + 0.2::float8, decode('00ff5c', 'hex'), 1234.5::numeric::money, '<a/>', ROW(0.1::float8 + 0.2::float8, 'epoch'::timestamptz)::odd.pair,
            tstzrange('2024-02-03 04:05:06+00', NULL), ARRAY['2024-02-03 04:05:06+00'::timestamptz], make_time(4, 5, 6)::text::timetz AT TIME ZONE 'UTC', '10.0.0.1/8', '{\"b\": 1, \"a\": 2}')";
    set(&mut superuser, usual);
    ok(superuser.execute(insert, &[&A.id]));
    set(&mut superuser, odd);
    ok(superuser.execute(insert, &[&A.id]));
    set(&mut superuser, usual);
    let texts = "SELECT replace(row_key, '\"2\"', '\"1\"'), (new_values - 'n' - 't')::text FROM audit.change_log WHERE table_name = 'odd.types'";
    let texts: Vec<(String, String)> =
        ok(superuser.query(texts, &[])).iter().map(|row| (row.get(0), row.get(1))).collect();
    assert_eq!(texts.len(), 2);
    assert_eq!(texts[0], texts[1]);
    // Sealed under some settings, verified under others.
    let mut other = db.superuser();
    for (sealing, verifying) in [(usual, odd), (odd, usual)] {
        set(&mut superuser, sealing);
        set(&mut other, verifying);
        ok(superuser.execute(insert, &[&A.id]));
        ok(superuser.batch_execute("SELECT audit.seal()"));
        for client in [&mut other, &mut superuser] {
            assert_eq!(
                one::<String>(client, "SELECT string_agg(finding || detail, ' ') FROM audit.verify()", &[]).get(..2),
                Some("ok")
            );
        }
    }
}

#[test]
fn history_is_found_under_the_same_name_after_rename_dump_and_restore() {
    let db = Database::new();
    let mut superuser = db.superuser();
    ok(superuser.batch_execute("ALTER TABLE shared.locations RENAME TO branches"));
    ok(superuser
        .batch_execute("SELECT thorbis.repair(); UPDATE shared.branches SET name = 'renamed'; SELECT audit.seal()"));
    let history = |client: &mut Client, table: &str| -> Vec<(String, String)> {
        let sql = format!(
            "SELECT table_name, operation FROM audit.record_history('{table}', (SELECT id FROM {table} LIMIT 1))"
        );
        let rows = ok(in_context(client, A.id, A.owner, |tx| tx.query(&sql, &[])));
        rows.iter().map(|row| (row.get(0), row.get(1))).collect()
    };
    let names = |operations: &[&str]| -> Vec<_> {
        operations.iter().map(|o| ("shared.locations".to_owned(), (*o).to_owned())).collect()
    };
    assert_eq!(history(&mut db.app(), "shared.branches"), names(&["INSERT", "UPDATE"]));
    let before = log_rows(&mut superuser);
    let oid = "SELECT 'shared.branches'::regclass::oid::bigint";
    let old_oid: i64 = one(&mut superuser, oid, &[]);

    let server = Dump::of(db.cluster(), &db.name, "postgres", &[]).restored_into_an_empty_server();
    let mut restored = server.connect("restored", "postgres");
    assert_same("the log before the dump and after the restore", &before, &log_rows(&mut restored));
    assert_ne!(one::<i64>(&mut restored, oid, &[]), old_oid, "the number is the same: the test proves nothing");
    assert_eq!(one::<String>(&mut restored, "SELECT string_agg(finding, ' ') FROM audit.verify()", &[]), "ok");
    ok(restored.batch_execute(
        "SELECT thorbis.repair(); CREATE ROLE restored_app LOGIN; SELECT thorbis.grant_app('restored_app')",
    ));
    let mut app = server.config("restored", "restored_app").connect(NoTls).expect("it connects");
    assert_eq!(history(&mut app, "shared.branches"), names(&["INSERT", "UPDATE"]));
    ok(in_context(&mut app, A.id, A.owner, |tx| tx.execute("UPDATE shared.branches SET name = 'restored'", &[])));
    assert_eq!(history(&mut app, "shared.branches"), names(&["INSERT", "UPDATE", "UPDATE"]));
    let systems = "SELECT count(DISTINCT system_id) FROM audit.change_log WHERE table_name = 'shared.locations'";
    assert_eq!(one::<i64>(&mut restored, systems, &[]), 2);
    ok(restored.batch_execute("SELECT audit.seal()"));
    assert_eq!(one::<String>(&mut restored, "SELECT string_agg(finding, ' ') FROM audit.verify()", &[]), "ok");
}
