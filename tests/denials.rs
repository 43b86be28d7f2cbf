//! Denials stand in the server log, though the transaction that was refused left nothing: who, which rule, no personal
//! data; they are read back, and nobody forges one.

use postgres::{Client, GenericClient, Row};
use std::time::SystemTime;
use thorbis_tests::{
    A, B, Cluster, Database, assert_sqlstate, db_error, force_parallel, in_context, make_database, ok, one, set_local,
    until,
};
use uuid::Uuid;

/// The log of the cluster of all tests: stands beside its data.
const LOG: &str = "current_setting('data_directory') || '/../log'";

#[derive(Debug, PartialEq)]
struct Denial {
    tenant: Option<Uuid>,
    user: Option<Uuid>,
    /// As which role, and who had logged in.
    roles: [String; 2],
    code: String,
    rule: String,
}

fn denial(row: &Row) -> Denial {
    Denial { tenant: row.get(0), user: row.get(1), roles: [row.get(2), row.get(3)], code: row.get(4), rule: row.get(5) }
}

/// Those of this database, in their order.
fn denials(superuser: &mut impl GenericClient, call: &str) -> Vec<Denial> {
    let sql = format!(
        "SELECT tenant_id, user_id, database_role, session_role, code, rule FROM {call}
          WHERE database_name = current_database()"
    );
    ok(superuser.query(&sql, &[])).iter().map(denial).collect()
}

fn in_log(superuser: &mut impl GenericClient) -> Vec<Denial> {
    denials(superuser, &format!("audit.read_denials({LOG})"))
}

/// The lines that a session wrote.
fn lines_of(superuser: &mut Client, pid: i32) -> Vec<String> {
    let log: String = one(superuser, &format!("SELECT convert_from(pg_read_binary_file({LOG}), 'SQL_ASCII')"), &[]);
    let tag = format!("[{pid}]");
    // Further lines of a message begin with a tab.
    let mut own = false;
    let of_session = |line: &&str| {
        own = if line.starts_with('\t') { own } else { line.contains(&tag) };
        own
    };
    log.lines().filter(of_session).map(str::to_owned).collect()
}

fn of_app(tenant: Option<Uuid>, user: Option<Uuid>, code: &str, rule: &str) -> Denial {
    let app = || "app_login".to_owned();
    Denial { tenant, user, roles: [app(), app()], code: code.into(), rule: rule.into() }
}

#[test]
fn a_denied_decryption_that_is_rolled_back_leaves_a_line() {
    let db = Database::new();
    let mut superuser = db.superuser();
    let began: SystemTime = one(&mut superuser, "SELECT clock_timestamp()", &[]);
    let mut app = db.app();
    ok(app.batch_execute(&format!("BEGIN; {}", set_local(A.id, A.employee))));
    let error = db_error(app.query("SELECT email FROM shared.customers_pii", &[]));
    ok(app.batch_execute("ROLLBACK"));
    // The error is what it was.
    assert_eq!(error.code().code(), "42501");
    assert_eq!(error.message(), "permission denied: customers:pii is required");
    assert!(error.hint().is_some_and(|hint| hint.contains("administrator")), "{error:?}");
    let expected = of_app(Some(A.id), Some(A.employee), "42501", "permission denied: customers:pii is required");
    assert_eq!(in_log(&mut superuser), [expected]);
    let when = format!(
        "SELECT max(occurred_at) BETWEEN $1 AND clock_timestamp() FROM audit.read_denials({LOG})
                         WHERE database_name = current_database()"
    );
    assert!(one::<bool>(&mut superuser, &when, &[&began]));
}

#[test]
fn every_rule_of_the_library_is_told() {
    let db = Database::new();
    let (mut app, mut superuser) = (db.app(), db.superuser());
    let pii = "permission denied: pii:decrypt is required";
    let cases = [
        // The latch: the tenant that was read, not the one that was tried.
        (
            set_local(A.id, A.owner),
            format!(
                "SELECT count(*) FROM shared.customers; {}; SELECT count(*) FROM shared.customers",
                set_local(B.id, B.owner)
            ),
            of_app(Some(A.id), Some(A.owner), "28000", "tenant context cannot change within a transaction"),
        ),
        (
            set_local(A.id, A.employee),
            format!("SELECT gdpr.export_subject('{}')", A.customer),
            of_app(Some(A.id), Some(A.employee), "42501", "permission denied: gdpr:export is required"),
        ),
        (set_local(A.id, A.manager), "UPDATE rbac.roles SET is_owner = true".into(), of_app(None, None, "", "")),
        (
            set_local(A.id, A.owner),
            format!("SELECT gdpr.export_subject('{}')", B.customer),
            of_app(Some(A.id), Some(A.owner), "42501", "no such customer in this tenant"),
        ),
        (
            set_local(A.id, A.owner),
            format!("DELETE FROM rbac.user_roles WHERE user_id = '{}'", A.owner),
            of_app(None, None, "", ""),
        ),
        // Nobody was ever known in the transaction.
        ("SELECT 1".into(), "SELECT decrypt_pii('x')".into(), of_app(None, None, "42501", pii)),
        (
            set_local(A.id, A.owner),
            "SET LOCAL ROLE thorbis_gateway; SELECT thorbis.set_context(NULL, NULL)".into(),
            of_app(None, None, "", ""),
        ),
    ];
    let mut expected = Vec::new();
    for (context, sql, denial) in cases {
        ok(app.batch_execute(&format!("BEGIN; {context}")));
        let error = db_error(app.batch_execute(&sql));
        ok(app.batch_execute("ROLLBACK"));
        // What PostgreSQL refuses, and errors that are no denials, leave none.
        if !denial.code.is_empty() {
            assert_eq!((error.code().code(), error.message()), (denial.code.as_str(), denial.rule.as_str()), "{sql}");
            expected.push(denial);
        }
    }
    assert_eq!(in_log(&mut superuser), expected);
}

#[test]
fn the_role_is_the_one_that_was_set_and_who_logged_in() {
    let db = Database::new();
    let mut superuser = db.superuser();
    let person = db.role("person", "NOLOGIN IN ROLE thorbis_app");
    ok(superuser.batch_execute(&format!("GRANT {person} TO app_login")));
    let mut app = db.app();
    ok(app.batch_execute(&format!("BEGIN; {}; SET LOCAL ROLE {person}", set_local(A.id, A.employee))));
    assert_sqlstate(app.query("SELECT decrypt_pii('x')", &[]), "42501");
    ok(app.batch_execute("ROLLBACK"));
    assert_eq!(in_log(&mut superuser)[0].roles, [person, "app_login".into()]);
}

/// Workers of a parallel query refuse too, in processes of their own.
#[test]
fn denials_of_workers_are_told() {
    let db = Database::new();
    let mut app = db.app();
    force_parallel(&mut app);
    ok(app.batch_execute(&format!("BEGIN; {}", set_local(A.id, A.employee))));
    let sql = "SELECT count(*) FROM restaurants.orders WHERE decrypt_pii(order_type) = 'x'";
    let error = db_error(app.query(sql, &[]));
    assert_eq!(error.code().code(), "42501");
    assert!(error.where_().is_some_and(|place| place.contains("parallel worker")), "{error:?}");
    ok(app.batch_execute("ROLLBACK"));
    let told = in_log(&mut db.superuser());
    let expected = of_app(Some(A.id), Some(A.employee), "42501", "permission denied: pii:decrypt is required");
    assert!(!told.is_empty() && told.iter().all(|denial| *denial == expected), "{told:?}");
}

/// An attempt counts, whatever becomes of the transaction.
#[test]
fn a_denial_that_is_caught_is_told_and_the_transaction_goes_on() {
    let db = Database::new();
    let mut app = db.app();
    ok(in_context(&mut app, A.id, A.employee, |tx| {
        tx.batch_execute(
            "DO $$ BEGIN PERFORM public.decrypt_pii('x'); EXCEPTION WHEN insufficient_privilege THEN NULL; END $$",
        )?;
        tx.execute("SELECT count(*) FROM shared.customers", &[])
    }));
    assert_eq!(in_log(&mut db.superuser()).len(), 1);
}

#[test]
fn lines_hold_no_statement_and_no_value() {
    let db = Database::new();
    let (mut app, mut superuser) = (db.app(), db.superuser());
    let pid: i32 = one(&mut app, "SELECT pg_backend_pid()", &[]);
    let context = set_local(A.id, A.employee);
    for sql in [
        "SELECT decrypt_pii('carla@secret.example')",
        "DO $$ BEGIN PERFORM public.decrypt_pii('carla@secret.example'); END $$",
        "SELECT * FROM shared.customers_pii WHERE email = 'carla@secret.example'",
        "SELECT thorbis.find_customer_by_email('carla@secret.example')",
    ] {
        ok(app.batch_execute(&format!("BEGIN; {context}")));
        assert_sqlstate(app.batch_execute(sql), "42501");
        ok(app.batch_execute("ROLLBACK"));
    }
    let lines = lines_of(&mut superuser, pid);
    let told: Vec<usize> = (0..lines.len()).filter(|i| lines[*i].contains("LOG:  thorbis_db denial: {")).collect();
    assert_eq!(told.len(), 4, "{lines:#?}");
    for i in told {
        assert!(!lines[i].contains("carla") && !lines[i].contains("SELECT"), "{}", lines[i]);
        assert!(lines[i + 1].contains("ERROR:  "), "no statement and no context of its own: {}", lines[i + 1]);
    }
    assert!(lines.iter().any(|line| line.contains("STATEMENT:  ")), "PostgreSQL's own lines are as ever");
}

#[test]
fn forged_lines_do_not_count() {
    let db = Database::new();
    let (mut app, mut superuser) = (db.app(), db.superuser());
    let pid: i32 = one(&mut app, "SELECT pg_backend_pid()", &[]);
    ok(app.batch_execute(&format!("BEGIN; {}", set_local(A.id, A.employee))));
    assert_sqlstate(app.query("SELECT decrypt_pii('x')", &[]), "42501");
    ok(app.batch_execute("ROLLBACK"));
    let lines = lines_of(&mut superuser, pid);
    let genuine = lines.iter().find_map(|line| line.split_once("LOG:  ").map(|(_, line)| line)).expect("it is told");
    assert!(genuine.starts_with("thorbis_db denial: {"), "{genuine}");
    let told = in_log(&mut superuser);
    assert_eq!(told.len(), 1);
    let forged = genuine.replace(&A.employee.to_string(), &B.owner.to_string());
    let say = |app: &mut Client, level: &str, text: &str| {
        let quoted = text.replace('\'', "''");
        let statement = format!("DO $$ BEGIN RAISE {level} USING MESSAGE = '{quoted}'; END $$");
        let _ = app.batch_execute(&statement);
    };
    for text in [
        forged.clone(),
        format!("x\n2026-11-22 20:34:08.857 UTC [1] app_login@{} LOG:  {forged}", db.name),
        format!("{forged}\n"),
        genuine.replace("\"mac\":\"", "\"mac\":\"0"),
        genuine.replace("42501", "28000"),
        // Nobody who may not read the log can say this; who may, and does, adds nothing.
        genuine.to_owned(),
    ] {
        for level in ["LOG", "WARNING", "EXCEPTION"] {
            say(&mut app, level, &text);
        }
        let _ = app.batch_execute(&format!("SELECT '{}'::int", text.replace('\'', "''")));
        let _ = app.batch_execute(&format!("SET application_name = '{}'", text.replace('\'', "''")));
    }
    assert_eq!(in_log(&mut superuser), told);
    let believed = denials(&mut superuser, &format!("audit.read_denials({LOG}, verify => false)"));
    assert!(believed.len() > told.len(), "without the code they do: {believed:?}");
    // Text that somebody hands over is read alike.
    let parse = |text: &str| {
        let call = format!("audit.parse_denials('{}')", text.replace('\'', "''"));
        denials(&mut db.superuser(), &call).len()
    };
    assert_eq!([parse(genuine), parse(&forged), parse(""), parse("thorbis_db denial: {")], [1, 0, 0, 0]);
}

#[test]
fn whoever_may_not_read_the_servers_files_reads_no_denials() {
    let db = Database::new();
    let mut superuser = db.superuser();
    for sql in ["SELECT * FROM audit.parse_denials('')", "SELECT * FROM thorbis.parse_denials('', false)"] {
        assert_sqlstate(in_context(&mut db.app(), A.id, A.owner, |tx| tx.query(sql, &[])), "42501");
    }
    let read = "SELECT * FROM audit.read_denials('/etc/passwd')";
    assert_sqlstate(in_context(&mut db.app(), A.id, A.owner, |tx| tx.query(read, &[])), "42501");
    let auditor = db.role("auditor", "LOGIN IN ROLE thorbis_auditor");
    let mut client = db.connect_as(&auditor);
    ok(client.query("SELECT * FROM audit.parse_denials('')", &[]));
    assert_sqlstate(client.query(read, &[]), "42501");
    ok(superuser.batch_execute(&format!(
        "GRANT pg_read_server_files TO {auditor};
         GRANT EXECUTE ON FUNCTION pg_stat_file(text), pg_read_binary_file(text, bigint, bigint) TO {auditor}"
    )));
    let path: String = one(&mut superuser, &format!("SELECT {LOG}"), &[]);
    ok(client.query("SELECT * FROM audit.read_denials($1)", &[&path]));
    let none = db_error(superuser.query("SELECT * FROM audit.read_denials()", &[]));
    assert!(none.message().contains("no current log file") && none.hint().is_some(), "{none:?}");
}

/// The log collector's files, in each of its formats.
#[test]
fn every_format_of_the_log_is_read() {
    let settings = ["logging_collector=on", "log_destination=stderr,csvlog,jsonlog", "log_line_prefix=%a %q"];
    let cluster = Cluster::fresh_with("denials", &settings);
    make_database(&cluster, "logged");
    let mut superuser = cluster.connect("logged", "postgres");
    let mut app = cluster.connect("logged", "app_login");
    // Quotes and backslashes, which each format writes in its own way.
    let field = r#"a "b" \ 'c' é"#;
    ok(app.batch_execute(&format!("BEGIN; {}", set_local(A.id, A.employee))));
    assert_sqlstate(app.query("SELECT thorbis.find_by_pii('shared.customers', 'email', 'x')", &[]), "42501");
    ok(app.batch_execute("ROLLBACK"));
    ok(superuser.batch_execute(
        r#"CREATE ROLE "a ""b"" \ 'c' é" NOLOGIN IN ROLE thorbis_app; GRANT "a ""b"" \ 'c' é" TO app_login"#,
    ));
    ok(app.batch_execute(&format!(r#"BEGIN; {}; SET LOCAL ROLE "a ""b"" \ 'c' é""#, set_local(A.id, A.employee))));
    assert_sqlstate(app.query("SELECT decrypt_pii('x')", &[]), "42501");
    ok(app.batch_execute("ROLLBACK"));
    let role = |name: &str| [name.to_owned(), "app_login".to_owned()];
    for call in ["", "pg_current_logfile('stderr')", "pg_current_logfile('csvlog')", "pg_current_logfile('jsonlog')"] {
        let call = format!("audit.read_denials({call})");
        // The collector is another process.
        until("the denials are in the log", || denials(&mut superuser, &call).len() >= 2);
        let told = denials(&mut superuser, &call);
        let roles: Vec<_> = told.into_iter().map(|denial| denial.roles).collect();
        assert_eq!(roles, [role("app_login"), role(field)], "{call}");
    }
}
