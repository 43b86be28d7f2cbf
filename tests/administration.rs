//! Administrative functions: arguments that are NULL, databases they refuse, modules rolled back under a running
//! application, and the shims for Supabase's functions.

use postgres::Client;
use thorbis_tests::{A, Database, assert_sqlstate, in_context, ok, one};
use uuid::Uuid;

/// NULL is refused with 22004 and a hint, and changes nothing.
#[track_caller]
fn refuse_null(calls: &[&str]) {
    let db = Database::new();
    let mut client = db.superuser();
    let mut failures = Vec::new();
    for call in calls {
        let call = call.replace("{tenant}", &format!("'{}'", A.id));
        match client.batch_execute(&format!("SELECT {call}")) {
            Ok(()) => failures.push(format!("{call}: no error")),
            Err(e) => {
                let error = e.as_db_error().unwrap_or_else(|| panic!("{call}: the server answers, not {e}")).clone();
                if error.code().code() != "22004" || error.hint().is_none_or(str::is_empty) {
                    failures.push(format!(
                        "{call}: {} {}, hint {:?}",
                        error.code().code(),
                        error.message(),
                        error.hint()
                    ));
                }
            }
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    let changed: i64 = one(
        &mut client,
        "SELECT (SELECT count(*) FROM thorbis.bound_roles) + (SELECT count(*) FROM shared.tenants WHERE slug IN ('x', 'y'))",
        &[],
    );
    assert_eq!(changed, 0);
}

#[test]
fn null_is_refused_where_a_value_is_needed() {
    refuse_null(&[
        "thorbis.protect(NULL)",
        "thorbis.protect(NULL, 'notes', '{}', true)",
        "thorbis.bind_role(NULL, {tenant})",
        "thorbis.bind_role('app_only_login', NULL)",
        "thorbis.unbind_role(NULL)",
        "thorbis.grant_app(NULL)",
        "thorbis.create_tenant(NULL, 'x', gen_random_uuid(), 'x@example.com')",
        "thorbis.create_tenant('X', NULL, gen_random_uuid(), 'x@example.com')",
        "thorbis.create_tenant('X', 'x', NULL, 'x@example.com')",
        "thorbis.create_tenant('X', 'x', gen_random_uuid(), NULL)",
        "thorbis.create_tenant('X', 'x', gen_random_uuid(), 'x@example.com', timezone => NULL)",
        "thorbis.create_tenant('X', 'x', gen_random_uuid(), 'x@example.com', currency => NULL)",
        "thorbis.create_tenant('X', 'x', gen_random_uuid(), 'x@example.com', id => NULL)",
        "thorbis.add_industry(NULL, 'restaurants')",
        "thorbis.add_industry({tenant}, NULL)",
        "thorbis.import_rows(NULL, '[]')",
    ]);
}

/// A call that does nothing without a word looks as if it had worked.
#[test]
fn null_is_refused_where_something_is_taken_back() {
    refuse_null(&["thorbis.unprotect(NULL)", "thorbis.rollback(NULL, 0)", "thorbis.rollback('restaurants', NULL)"]);
}

#[test]
fn database_of_another_encoding_is_refused() {
    let db = Database::defined("ENCODING 'LATIN1' TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C'");
    let mut client = db.superuser();
    let error = assert_sqlstate(client.batch_execute("CREATE EXTENSION thorbis_db"), "0A000");
    assert!(error.message().contains("LATIN1"), "{}", error.message());
    assert!(error.hint().is_some_and(|hint| hint.contains("UTF8")), "{:?}", error.hint());
    let left = "SELECT count(*) FROM pg_namespace WHERE nspname = 'thorbis'";
    assert_eq!(one::<i64>(&mut client, left, &[]), 0, "nothing is left of it");
}

// --- modules rolled back

/// Policies that ask for permissions find none, and say so by showing nothing.
#[test]
fn without_its_tables_nobody_holds_a_permission_and_nothing_raises() {
    let db = Database::new();
    let mut superuser = db.superuser();
    let mut app = db.app();
    let holds = |app: &mut Client| {
        let asked = in_context(app, A.id, A.owner, |tx| {
            let sql = "SELECT has_permission('customers', 'read'), (SELECT count(*) FROM shared.customers)";
            let row = tx.query_one(sql, &[])?;
            Ok((row.get::<_, bool>(0), row.get::<_, i64>(1)))
        });
        ok(asked)
    };
    assert_eq!(holds(&mut app), (true, 2));
    ok(superuser.batch_execute(
        "SELECT thorbis.rollback('restaurants', 0, discard_data => true);
         SELECT thorbis.rollback('gdpr', 0, discard_data => true);
         SELECT thorbis.rollback('rbac', 3, discard_data => true)",
    ));
    assert_eq!(holds(&mut app), (false, 0), "in a session that knew the permission");
    assert_eq!(holds(&mut db.app()), (false, 0), "in a new one");
    ok(superuser.batch_execute("SELECT thorbis.migrate()"));
    assert_eq!(holds(&mut app), (true, 2));
}

// --- Supabase's functions where there is no Supabase

fn shims(client: &mut Client) -> Vec<(String, String)> {
    let rows = ok(client.query("SELECT function, outcome FROM thorbis.install_auth_shims() ORDER BY 1", &[]));
    rows.iter().map(|row| (row.get(0), row.get(1))).collect()
}

#[test]
fn auth_shims_answer_for_the_user_of_the_context() {
    let db = Database::new();
    let mut superuser = db.superuser();
    let all = ["auth.jwt()", "auth.role()", "auth.uid()"];
    assert_eq!(shims(&mut superuser), all.map(|function| (function.to_owned(), "installed".to_owned())));
    assert_eq!(shims(&mut superuser), all.map(|function| (function.to_owned(), "present, untouched".to_owned())));

    let mut app = db.app();
    let uid = "SELECT auth.uid()";
    assert_eq!(one::<Option<Uuid>>(&mut app, uid, &[]), None, "without a context");
    assert_eq!(one::<Option<String>>(&mut app, "SELECT auth.role()", &[]), None);
    assert_eq!(
        ok(in_context(&mut app, A.id, A.employee, |tx| Ok(one::<Option<Uuid>>(tx, uid, &[])))),
        Some(A.employee)
    );

    let claims = format!(r#"{{"tenant_id": "{}", "sub": "{}", "role": "authenticated"}}"#, A.id, A.owner);
    let mut tx = ok(app.transaction());
    ok(tx.batch_execute(&format!("SET LOCAL request.jwt.claims = '{claims}'")));
    assert_eq!(one::<Option<Uuid>>(&mut tx, uid, &[]), Some(A.owner));
    assert_eq!(one::<String>(&mut tx, "SELECT auth.role()", &[]), "authenticated");
    assert_eq!(one::<String>(&mut tx, "SELECT auth.jwt() ->> 'sub'", &[]), A.owner.to_string());
    drop(tx);
    assert_sqlstate(db.connect_as("stranger_login").execute(uid, &[]), "42501");
}

#[test]
fn auth_shims_replace_nothing_that_is_there() {
    let db = Database::new();
    let mut superuser = db.superuser();
    ok(superuser.batch_execute(
        "CREATE SCHEMA auth;
         CREATE FUNCTION auth.uid() RETURNS uuid LANGUAGE sql AS $$SELECT '00000000-0000-4000-8000-00000000000f'::uuid$$;
         CREATE FUNCTION auth.role() RETURNS text LANGUAGE sql AS $$SELECT 'theirs'$$",
    ));
    let existing = "SELECT string_agg(pg_get_functiondef(p.oid) || coalesce(p.proacl::text, ''), '' ORDER BY proname)
                      FROM pg_proc p WHERE p.pronamespace = 'auth'::regnamespace AND p.proname IN ('uid', 'role')";
    let before: String = one(&mut superuser, existing, &[]);
    let outcomes = shims(&mut superuser);
    let expected =
        [("auth.jwt()", "installed"), ("auth.role()", "present, untouched"), ("auth.uid()", "present, untouched")];
    assert_eq!(outcomes, expected.map(|(function, outcome)| (function.to_owned(), outcome.to_owned())));
    assert_eq!(one::<String>(&mut superuser, existing, &[]), before);
    assert_eq!(one::<String>(&mut superuser, "SELECT auth.role()", &[]), "theirs");
}
