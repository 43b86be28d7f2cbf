//! Row triggers at their worst: rows that are to move, and triggers attached as nobody should. The worst that may come of
//! it is an error: a crash would end the sessions of all tenants.

use postgres::{Client, Error, NoTls};
use thorbis_tests::{
    A, B, Cluster, Database, assert_sqlstate, assert_sqlstate_in, describe, in_context, ok, one, tenant_tables,
};
use uuid::Uuid;

// --- a row stays with its tenant, whoever moves it

#[test]
fn not_even_a_superuser_moves_a_row_to_another_tenant() {
    let db = Database::new();
    let mut superuser = db.superuser();
    for table in tenant_tables(&mut superuser) {
        let (name, column) = (&table.name, &table.tenant_column);
        for target in [format!("'{}'", B.id), "gen_random_uuid()".into(), "NULL".into()] {
            let moved =
                superuser.execute(&format!("UPDATE {name} SET {column} = {target} WHERE {column} = $1"), &[&A.id]);
            let error = assert_sqlstate(moved, "42501");
            let bare = name.split('.').next_back().expect("split gives a part");
            // Of a partitioned table, the partition that has the row is named.
            let (before, after) = (format!("a row of \"{bare}"), "\" cannot move to another tenant");
            let message = error.message();
            assert!(message.starts_with(&before) && message.ends_with(after), "{target}: {message}");
            assert!(table.is_partitioned || message.len() == before.len() + after.len(), "{target}: {message}");
            assert!(error.hint().is_some_and(|hint| hint.contains("Insert a new row")), "{:?}", error.hint());
        }
        let same = format!("UPDATE {name} SET {column} = {column} WHERE {column} = $1");
        assert!(ok(superuser.execute(&same, &[&A.id])) > 0, "{name}: the same tenant is no move");
    }
}

#[test]
fn upsert_and_merge_move_no_row_either() {
    let db = Database::new();
    let mut superuser = db.superuser();
    for sql in [
        format!(
            "INSERT INTO shared.customers (tenant_id, id, first_name, last_name) VALUES ('{}', '{}', 'x', 'y')
             ON CONFLICT (tenant_id, id) DO UPDATE SET tenant_id = '{}'",
            A.id, A.customer, B.id
        ),
        format!(
            "MERGE INTO shared.customers c USING (VALUES (1)) v ON c.id = '{}'
             WHEN MATCHED THEN UPDATE SET tenant_id = '{}'",
            A.customer, B.id
        ),
    ] {
        let error = assert_sqlstate(superuser.batch_execute(&sql), "42501");
        assert!(error.message().contains("cannot move to another tenant"), "{sql}: {}", error.message());
    }
}

/// The trigger names its column as text: after a renaming it must not pass everything without a word.
#[test]
fn guard_of_a_renamed_column_still_holds() {
    let db = Database::new();
    let mut superuser = db.superuser();
    ok(superuser.batch_execute("ALTER TABLE shared.locations RENAME COLUMN tenant_id TO belongs_to"));
    let moved = superuser.execute("UPDATE shared.locations SET belongs_to = $1 WHERE belongs_to = $2", &[&B.id, &A.id]);
    assert_sqlstate_in(moved, &["42501", "42703"]);
}

/// A column of that name may be anything in a table of one's own.
#[test]
fn updated_by_of_another_type_is_left_alone() {
    let db = Database::new();
    let mut superuser = db.superuser();
    for (i, (column, value)) in [("text", "'me'"), ("integer", "7"), ("jsonb", "'{}'")].into_iter().enumerate() {
        ok(superuser.batch_execute(&format!(
            "CREATE TABLE public.t_{i} (id int, updated_at timestamptz, updated_by {column});
             INSERT INTO public.t_{i} VALUES (1, '2001-01-01', {value});
             CREATE TRIGGER stamp BEFORE UPDATE ON public.t_{i} FOR EACH ROW EXECUTE FUNCTION public.set_updated_at_column()"
        )));
        ok(in_context(&mut superuser, A.id, A.owner, |tx| tx.execute(&format!("UPDATE public.t_{i} SET id = 2"), &[])));
        let kept = format!("SELECT updated_by = {value} AND updated_at > '2001-01-02' FROM public.t_{i}");
        assert!(one::<bool>(&mut superuser, &kept, &[]), "{column}");
    }
}

// --- triggers attached as they should not be

/// A server of its own: should it crash after all, only this test is lost.
struct Arena {
    cluster: Cluster,
    witness: Client,
    started: String,
}

const TENANT: Uuid = A.id;
const STARTED: &str = "SELECT pg_postmaster_start_time()::text || ' ' || pg_backend_pid()";

/// Columns by name and definition.
type Columns<'a> = &'a [(&'a str, &'a str)];

/// Every column that a trigger function reads, of the type it wants.
const COLUMNS: [(&str, &str); 14] = [
    ("tenant_id", "uuid DEFAULT '{tenant}'"),
    ("id", "uuid DEFAULT gen_random_uuid()"),
    ("role_id", "uuid DEFAULT gen_random_uuid()"),
    ("resource", "text DEFAULT 'customers'"),
    ("action", "text DEFAULT 'read'"),
    ("is_owner", "boolean DEFAULT true"),
    ("number", "integer"),
    ("status", "text DEFAULT 'active'"),
    ("deleted_at", "timestamptz"),
    ("updated_at", "timestamptz"),
    ("updated_by", "uuid"),
    ("note_encrypted", "text"),
    ("note_bidx", "bytea"),
    ("note", "text"),
];

const BEFORE_ROW: [&str; 9] = [
    "set_updated_at_column()",
    "keep_tenant_id()",
    "check_own_row_update('customers', 'number')",
    "assign_document_number('number')",
    "check_status_transition('ticket')",
    TOTALS,
    "check_role_grant('roles')",
    "check_role_grant('role_permissions')",
    ENCRYPT,
];
const ENCRYPT: &str = "encrypt_pii_columns('tenant_id', 'id', '', '', 'scratch.t.note', 'note', 'text', 'index')";
const TOTALS: &str =
    "keep_document_totals('{\"document\": \"scratch.t\", \"lines\": \"scratch.t\", \"key\": \"role_id\",
    \"line_inputs\": {\"unit_price\": \"number\"}, \"document_outputs\": {\"number\": \"total\"}}')";
const AFTER_ROW: [&str; 3] =
    ["keep_last_owner('users')", "keep_last_owner('user_roles')", "record_status_change('ticket')"];

/// The statement that fires a trigger of this event.
fn fire(event: &str) -> &'static str {
    match event {
        "INSERT" => "INSERT INTO scratch.t DEFAULT VALUES",
        "UPDATE" => "UPDATE scratch.t SET note = 'changed'",
        "DELETE" => "DELETE FROM scratch.t",
        _ => "TRUNCATE scratch.t",
    }
}

impl Arena {
    fn new() -> Arena {
        let cluster = Cluster::fresh("guards");
        let mut client = cluster.maintenance();
        ok(client.batch_execute("CREATE EXTENSION thorbis_db; SELECT thorbis.install('{}')"));
        let made = "SELECT thorbis.create_tenant('A', 'a', $1, 'a@example.com', '{}', id => $2)";
        ok(client.execute(made, &[&A.owner, &TENANT]));
        let mut witness = cluster.maintenance();
        let started = one(&mut witness, STARTED, &[]);
        Arena { cluster, witness, started }
    }

    /// The table with some columns changed (or, with an empty definition, left out), the trigger, and the statement, on
    /// behalf of the tenant's owner: without a context some of the functions look at nothing.
    fn attempt(&mut self, columns: Columns, trigger: &str, statement: &str) -> Result<(), String> {
        let definition = |name: &str, usual: &str| {
            let other = columns.iter().find(|(n, _)| *n == name).map(|(_, d)| (*d).to_owned());
            let definition = other.unwrap_or_else(|| usual.to_owned());
            (!definition.is_empty()).then(|| format!("{name} {definition}"))
        };
        let columns: Vec<String> = COLUMNS.iter().filter_map(|(name, usual)| definition(name, usual)).collect();
        // Owned as the tables the guards are for: on others they refuse to work at all.
        let table = format!(
            "CREATE SCHEMA scratch; CREATE TABLE scratch.t ({}); ALTER TABLE scratch.t OWNER TO thorbis_owner",
            columns.join(", ")
        )
        .replace("{tenant}", &TENANT.to_string());
        let connected = self.cluster.config("postgres", "postgres").connect(NoTls);
        let mut client = connected.map_err(|e| format!("the server does not answer: {e}"))?;
        ok(client.batch_execute(&format!("{table}; INSERT INTO scratch.t DEFAULT VALUES; {trigger}")));
        let outcome = in_context(&mut client, TENANT, A.owner, |tx| tx.batch_execute(statement));
        self.alive()?;
        let code = outcome.map_err(|e| e.code().map_or_else(|| describe(&e), |code| code.code().to_owned()));
        ok(client.batch_execute("DROP SCHEMA scratch CASCADE"));
        code
    }

    fn alive(&mut self) -> Result<(), String> {
        let asked: Result<String, Error> = self.witness.query_one(STARTED, &[]).map(|row| row.get(0));
        match asked {
            Ok(started) if started == self.started => Ok(()),
            Ok(_) => Err("the server was started again".into()),
            Err(e) => panic!("the server crashed: {}", describe(&e)),
        }
    }

    /// Complains unless the attempt ends with this SQLSTATE; None: anything but a crash.
    fn expect(&mut self, failures: &mut Vec<String>, columns: Columns, trigger: &str, event: &str, code: Option<&str>) {
        println!("{columns:?} {trigger}");
        let outcome = self.attempt(columns, trigger, fire(event));
        let right = match (code, &outcome) {
            (Some(code), Err(found)) => code == found,
            (Some(_), Ok(())) => false,
            (None, Ok(())) => true,
            // Five characters: an answer of the server.
            (None, Err(found)) => found.len() == 5 && found != "XX000",
        };
        if !right {
            failures.push(format!("{columns:?} {trigger}: {outcome:?}, expected {}", code.unwrap_or("no crash")));
        }
    }
}

fn trigger(timing: &str, event: &str, level: &str, call: &str) -> String {
    format!("CREATE TRIGGER misused {timing} {event} ON scratch.t FOR EACH {level} EXECUTE FUNCTION public.{call}")
}

#[test]
fn trigger_of_the_wrong_level_or_timing_raises_when_it_first_fires() {
    let mut arena = Arena::new();
    let mut failures = Vec::new();
    let before = BEFORE_ROW.map(|call| (call, "AFTER"));
    let after = AFTER_ROW.map(|call| (call, "BEFORE"));
    for (call, wrong_timing) in before.into_iter().chain(after) {
        for event in ["INSERT", "UPDATE", "DELETE", "TRUNCATE"] {
            for timing in ["BEFORE", "AFTER"] {
                arena.expect(&mut failures, &[], &trigger(timing, event, "STATEMENT", call), event, Some("39P01"));
            }
            if event != "TRUNCATE" {
                arena.expect(&mut failures, &[], &trigger(wrong_timing, event, "ROW", call), event, Some("39P01"));
            }
        }
        let on_view = format!(
            "ALTER TABLE scratch.t RENAME TO t_below; CREATE VIEW scratch.t AS SELECT * FROM scratch.t_below;
             CREATE TRIGGER misused INSTEAD OF UPDATE ON scratch.t FOR EACH ROW EXECUTE FUNCTION public.{call}"
        );
        let outcome = arena.attempt(&[], &on_view, fire("UPDATE"));
        if outcome != Err("39P01".to_owned()) {
            failures.push(format!("INSTEAD OF UPDATE, {call}: {outcome:?}, expected 39P01"));
        }
    }
    assert!(failures.is_empty(), "{} failures:\n{}", failures.len(), failures.join("\n"));
}

/// (timing, event, call, columns of another type)
type Misuse<'a> = (&'a str, &'a str, &'a str, &'a [(&'a str, &'a str)]);

#[test]
fn trigger_on_a_table_of_another_shape_raises_and_never_crashes() {
    let mut arena = Arena::new();
    let mut failures = Vec::new();
    let wrong_type = Some("42804");
    let wrong_types: &[Misuse] = &[
        ("BEFORE", "UPDATE", "set_updated_at_column()", &[("updated_at", "text"), ("updated_at", "date")]),
        ("BEFORE", "UPDATE", "set_updated_at_column()", &[("updated_at", "timestamp"), ("updated_at", "bigint")]),
        (
            "BEFORE",
            "UPDATE",
            "keep_tenant_id()",
            &[("tenant_id", "integer DEFAULT 1"), ("tenant_id", "text DEFAULT 'x'")],
        ),
        ("BEFORE", "UPDATE", "keep_tenant_id('note')", &[("note", "text DEFAULT 'x'")]),
        (
            "BEFORE",
            "INSERT",
            "assign_document_number()",
            &[("number", "bytea"), ("number", "bigint"), ("number", "int2")],
        ),
        ("BEFORE", "INSERT", "assign_document_number()", &[("tenant_id", "text DEFAULT 'x'")]),
        ("BEFORE", "INSERT", "check_role_grant('role_permissions')", &[("tenant_id", "integer DEFAULT 1")]),
        ("BEFORE", "INSERT", "check_role_grant('role_permissions')", &[("resource", "integer DEFAULT 1")]),
        ("BEFORE", "UPDATE", "check_role_grant('role_permissions')", &[("action", "bytea DEFAULT 'x'")]),
        ("BEFORE", "INSERT", "check_role_grant('roles')", &[("is_owner", "text DEFAULT 'yes'")]),
        ("BEFORE", "INSERT", "check_role_grant('user_roles')", &[("role_id", "integer DEFAULT 1")]),
        ("AFTER", "UPDATE", "keep_last_owner('users')", &[("tenant_id", "integer DEFAULT 1")]),
        ("AFTER", "UPDATE", "keep_last_owner('users')", &[("status", "integer DEFAULT 1")]),
        ("AFTER", "DELETE", "keep_last_owner('roles')", &[("is_owner", "integer DEFAULT 1")]),
        ("AFTER", "DELETE", "keep_last_owner('user_roles')", &[("role_id", "text DEFAULT 'x'")]),
        (
            "BEFORE",
            "UPDATE",
            ENCRYPT,
            &[("tenant_id", "integer DEFAULT 1"), ("note_encrypted", "integer"), ("note_bidx", "text")],
        ),
    ];
    for (timing, event, call, columns) in wrong_types {
        for column in *columns {
            arena.expect(&mut failures, &[*column], &trigger(timing, event, "ROW", call), event, wrong_type);
        }
    }
    for (event, call, column) in [
        ("UPDATE", "set_updated_at_column()", "updated_at"),
        ("INSERT", "assign_document_number()", "number"),
        ("INSERT", "assign_document_number('nowhere')", "number"),
    ] {
        arena.expect(&mut failures, &[(column, "")], &trigger("BEFORE", event, "ROW", call), event, Some("42703"));
    }
    // What these do then is their own affair, as long as the server stands.
    for call in BEFORE_ROW.iter().chain(&AFTER_ROW) {
        let timing = if AFTER_ROW.contains(call) { "AFTER" } else { "BEFORE" };
        for event in ["INSERT", "UPDATE", "DELETE"] {
            arena.expect(&mut failures, &[], &trigger(timing, event, "ROW", call), event, None);
            for (column, _) in COLUMNS.iter().filter(|(name, _)| *name != "note") {
                arena.expect(&mut failures, &[(*column, "")], &trigger(timing, event, "ROW", call), event, None);
            }
        }
    }
    for call in [
        "check_own_row_update()",
        "check_role_grant()",
        "keep_tenant_id('nowhere')",
        "keep_tenant_id('')",
        "encrypt_pii_columns()",
        "encrypt_pii_columns('tenant_id', 'id')",
        "encrypt_pii_columns('tenant_id', 'id', 'customer', 'id', 'f')",
        "encrypt_pii_columns('tenant_id', 'id', 'customer', 'nowhere', 'f', 'note', 'text', '')",
        "encrypt_pii_columns('id', 'tenant_id', 'A b', 'note', '', 'note', 'colour', 'perhaps')",
        "encrypt_pii_columns('tenant_id', 'number', 'customer', 'role_id', 'f', 'number', 'email', 'index')",
        "write_pii_view('scratch.t', 'tenant_id', 'id', '0', 'note')",
        "keep_append_only('argument')",
        "check_status_transition()",
        "check_status_transition('ticket', 'nowhere')",
        "check_status_transition('ticket', 'number')",
        "assign_document_number('number', '', 'perhaps')",
        "keep_document_totals()",
        "keep_document_totals('[]')",
        "keep_document_totals('{\"document\": \"a.b\", \"lines\": \"c.d\", \"key\": \"x\", \"document_outputs\": {}}')",
        "refresh_document_totals('{}')",
    ] {
        arena.expect(&mut failures, &[], &trigger("BEFORE", "UPDATE", "ROW", call), "UPDATE", None);
    }
    assert!(failures.is_empty(), "{} failures:\n{}", failures.len(), failures.join("\n"));
}

/// The arguments are what protect() writes; somebody else may write others.
#[test]
fn trigger_of_a_view_with_odd_arguments_never_crashes() {
    let mut arena = Arena::new();
    let mut failures = Vec::new();
    for arguments in [
        "",
        "'scratch.t_below'",
        "'scratch.t_below', 'tenant_id', 'id', '99', 'note'",
        "'scratch.t_below', 'tenant_id', 'id', '-1', 'note'",
        "'scratch.t_below', 'tenant_id', 'id', 'many', 'note'",
        "'scratch.t_below', 'tenant_id', 'id', '1', 'note', 'status'",
        "'scratch.t_below', 'tenant_id', 'nowhere', '0', 'note'",
        "'scratch.t_below', 'tenant_id', 'id', '0', 'nowhere'",
        "'scratch.t_below', 'note', 'number', '1', 'updated_at', 'is_owner'",
        "'scratch.nowhere', 'tenant_id', 'id', '0', 'note'",
        "'scratch.t', 'tenant_id', 'id', '0', 'note'",
    ] {
        for event in ["INSERT", "UPDATE", "DELETE"] {
            let on_view = format!(
                "ALTER TABLE scratch.t RENAME TO t_below; CREATE VIEW scratch.t AS SELECT * FROM scratch.t_below;
                 CREATE TRIGGER misused INSTEAD OF {event} ON scratch.t FOR EACH ROW
                     EXECUTE FUNCTION public.write_pii_view({arguments})"
            );
            arena.expect(&mut failures, &[], &on_view, event, None);
        }
    }
    assert!(failures.is_empty(), "{} failures:\n{}", failures.len(), failures.join("\n"));
}

/// It belongs AFTER; BEFORE a row, what it returns would make the row vanish without a word.
#[test]
fn invalidation_trigger_before_the_row_does_not_swallow_it() {
    let db = Database::new();
    let mut superuser = db.superuser();
    ok(superuser.batch_execute(
        "CREATE TABLE public.t (id int); CREATE TRIGGER misused BEFORE INSERT ON public.t FOR EACH ROW
             EXECUTE FUNCTION public.invalidate_permissions()",
    ));
    match superuser.execute("INSERT INTO public.t VALUES (1)", &[]) {
        Ok(rows) => assert_eq!(rows, 1, "the row vanished"),
        refused => drop(assert_sqlstate(refused, "39P01")),
    }
}
