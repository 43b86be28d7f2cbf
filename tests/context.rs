//! Who may say which tenant it is (spec: security, section A1). Each test is named after the attack. What gateway mode
//! exposes by design, because whoever sends SQL as the gateway chooses the context, is asserted as exposed.

use postgres::Client;
use thorbis_tests::{
    A, B, Database, NO_TENANTS, Session, assert_sqlstate, assert_sqlstate_in, db_error, in_context, ok, one, set_local,
    sqlstate,
};

fn claims(tenant: impl std::fmt::Display, user: impl std::fmt::Display) -> String {
    format!(r#"SET LOCAL request.jwt.claims = '{{"tenant_id":"{tenant}","sub":"{user}"}}'"#)
}

/// Makes PostgreSQL load the library, as the first read of a protected table does.
fn load_library(client: &mut Client) {
    ok(client.batch_execute("SELECT get_current_tenant_id()"));
}

// --- app.current_tenant_id, set by whom

#[test]
fn gateway_chooses_any_tenant_exposed_in_gateway_mode() {
    let db = Database::new();
    let mut app = db.app();
    for tenant in [&A, &B] {
        app.begin_as(tenant);
        assert_eq!(ok(app.tenants_seen()), [tenant.id]);
        ok(app.batch_execute("COMMIT"));
    }
}

#[test]
fn role_that_is_no_gateway_cannot_set_the_tenant() {
    let db = Database::new();
    let mut client = db.app_only();
    load_library(&mut client);
    for attack in [
        format!("SET LOCAL app.current_tenant_id = '{}'", B.id),
        format!("SET app.current_tenant_id = '{}'", B.id),
        format!("SELECT set_config('app.current_tenant_id', '{}', true)", B.id),
        format!("SELECT set_config('app.current_user_id', '{}', true)", B.owner),
        format!("SELECT thorbis.set_context('{}', '{}')", B.id, B.owner),
    ] {
        ok(client.batch_execute("BEGIN"));
        assert_sqlstate(client.batch_execute(&attack), "42501");
        ok(client.batch_execute("ROLLBACK"));
    }
}

#[test]
fn value_set_before_the_library_loads_is_dropped() {
    let db = Database::new();
    // Until the library is loaded the names are unknown and PostgreSQL takes any value from anybody.
    let mut client = db.app_only();
    ok(client.batch_execute(&format!("BEGIN; {}", set_local(B.id, B.owner))));
    assert_eq!(ok(client.tenants_seen()), NO_TENANTS);
    assert_eq!(ok(client.current_tenant()), None);
    ok(client.batch_execute("COMMIT"));
    let mut client = db.app_only();
    ok(client.batch_execute(&format!("SET app.current_tenant_id = '{}'", B.id)));
    assert_eq!(ok(client.tenants_seen()), NO_TENANTS);
}

/// Until the library is loaded nobody checks the text: it names nobody, and the session goes on.
#[test]
fn malformed_value_set_before_the_library_loads_is_no_context_and_no_error() {
    let db = Database::new();
    for role in ["app_login", "app_only_login"] {
        for value in ["nonsense", "aaaaaaaa-0000-4000-8000-00000000000", "' OR true --"] {
            for scope in ["SET", "SET LOCAL"] {
                let mut client = db.connect_as(role);
                let value = value.replace('\'', "''");
                ok(client.batch_execute(&format!(
                    "BEGIN; {scope} app.current_tenant_id = '{value}'; {scope} app.current_user_id = '{value}'"
                )));
                assert_eq!(ok(client.tenants_seen()), NO_TENANTS, "{role}: {scope} {value}");
                assert_eq!(ok(client.current_tenant()), None);
                ok(client.batch_execute("COMMIT"));
                assert_eq!(ok(client.tenants_seen()), NO_TENANTS);
            }
        }
    }
}

#[test]
fn gateways_value_set_before_the_library_loads_counts() {
    let db = Database::new();
    let mut app = db.app();
    app.begin_as(&A);
    assert_eq!(ok(app.tenants_seen()), [A.id]);
}

#[test]
fn startup_packet_option_is_no_context() {
    let db = Database::new();
    for role in ["app_only_login", "app_login"] {
        let options = format!("-c app.current_tenant_id={} -c app.current_user_id={}", B.id, B.owner);
        // Refusing the connection is as good as ignoring the option.
        if let Ok(mut client) = db.connect_with_options(role, &options) {
            assert_eq!(ok(client.tenants_seen()), NO_TENANTS, "{role}");
        }
    }
}

#[test]
fn standing_tenant_of_a_role_is_no_context() {
    let db = Database::new();
    let role = db.role("standing", "LOGIN IN ROLE thorbis_app, thorbis_gateway");
    let mut client = db.connect_as(&role);
    load_library(&mut client);
    for (setting, value) in [("app.current_tenant_id", B.id), ("app.current_user_id", B.owner)] {
        // Whether ALTER ROLE is refused or its value ignored at the next login: it must choose no tenant.
        let _ = client.batch_execute(&format!("ALTER ROLE {role} SET {setting} = '{value}'"));
    }
    assert_eq!(ok(db.connect_as(&role).tenants_seen()), NO_TENANTS);
}

#[test]
fn standing_tenant_needs_the_grant() {
    let db = Database::new();
    let role = db.role("plain", "LOGIN IN ROLE thorbis_app");
    let mut client = db.connect_as(&role);
    assert_sqlstate(
        client.batch_execute(&format!("ALTER ROLE {role} SET app.current_tenant_id = '{}'", B.id)),
        "42501",
    );
    let option = format!(
        "CREATE FUNCTION pg_temp.f() RETURNS int LANGUAGE sql SET app.current_tenant_id = '{}' AS 'SELECT 1'",
        B.id
    );
    assert_sqlstate(client.batch_execute(&option), "42501");
}

#[test]
fn session_value_does_not_outlive_its_transaction() {
    let db = Database::new();
    let mut app = db.app();
    ok(app.batch_execute(&format!(
        "BEGIN; SET app.current_tenant_id = '{}'; SET app.current_user_id = '{}'",
        A.id, A.owner
    )));
    assert_eq!(ok(app.tenants_seen()), [A.id]);
    ok(app.batch_execute("COMMIT"));
    assert_eq!(ok(app.current_tenant()), None);
    assert_eq!(ok(app.tenants_seen()), NO_TENANTS);
}

#[test]
fn autocommit_set_config_is_lost_at_once() {
    let db = Database::new();
    let mut app = db.app();
    for local in ["true", "false"] {
        ok(app.batch_execute(&format!(
            "SELECT set_config('app.current_tenant_id', '{}', {local}), set_config('app.current_user_id', '{}', {local})",
            A.id, A.owner
        )));
        assert_eq!(ok(app.tenants_seen()), NO_TENANTS, "is_local = {local}");
    }
}

#[test]
fn set_outside_a_transaction_block_is_refused() {
    let db = Database::new();
    let mut app = db.app();
    load_library(&mut app);
    assert_sqlstate(app.batch_execute(&format!("SET app.current_tenant_id = '{}'", A.id)), "25P01");
}

#[test]
fn malformed_uuid_in_a_setting_is_refused_at_the_set() {
    let db = Database::new();
    let mut app = db.app();
    load_library(&mut app);
    for value in ["x", "1", "aaaaaaaa-0000-4000-8000-00000000000", "' OR true --"] {
        ok(app.batch_execute("BEGIN"));
        let set = app.execute("SELECT set_config('app.current_tenant_id', $1, true)", &[&value]);
        assert_sqlstate(set, "22023");
        ok(app.batch_execute("ROLLBACK"));
    }
}

#[test]
fn empty_text_is_no_context() {
    let db = Database::new();
    let mut app = db.app();
    app.begin_as(&A);
    ok(app.batch_execute("COMMIT"));
    // After SET LOCAL the setting is the empty text, not NULL: casting it raised in the document's function.
    assert_eq!(ok(app.current_tenant()), None);
    ok(app.batch_execute("BEGIN; SET LOCAL app.current_tenant_id = ''; SET LOCAL app.current_user_id = ''"));
    assert_eq!(ok(app.tenants_seen()), NO_TENANTS);
}

#[test]
fn reset_and_discard_fail_closed() {
    let db = Database::new();
    let mut app = db.app();
    app.begin_as(&A);
    assert_eq!(ok(app.tenants_seen()), [A.id]);
    ok(app.batch_execute("RESET ALL"));
    assert_eq!(ok(app.tenants_seen()), NO_TENANTS);
    ok(app.batch_execute("COMMIT"));
    ok(app.batch_execute("DISCARD ALL"));
    assert_eq!(ok(app.tenants_seen()), NO_TENANTS);
}

// --- thorbis.set_context()

#[test]
fn set_context_needs_a_transaction_block() {
    let db = Database::new();
    let set = db.app().execute("SELECT thorbis.set_context($1, $2)", &[&A.id, &A.owner]);
    let error = assert_sqlstate(set, "25P01");
    assert!(error.hint().is_some_and(|hint| hint.contains("BEGIN")), "the hint shows how: {:?}", error.hint());
}

#[test]
fn set_context_in_a_savepoint_is_refused() {
    let db = Database::new();
    let mut app = db.app();
    ok(app.batch_execute("BEGIN; SAVEPOINT s"));
    assert_sqlstate(app.execute("SELECT thorbis.set_context($1, $2)", &[&A.id, &A.owner]), "25001");
}

#[test]
fn set_context_without_a_tenant_is_refused() {
    let db = Database::new();
    let mut app = db.app();
    ok(app.batch_execute("BEGIN"));
    let error = db_error(app.batch_execute("SELECT thorbis.set_context(NULL, NULL)"));
    assert!(error.code().code().starts_with("22"), "{}", error.code().code());
}

#[test]
fn set_context_ends_with_its_transaction() {
    let db = Database::new();
    let mut app = db.app();
    ok(in_context(&mut app, A.id, A.owner, |tx| {
        assert_eq!(one::<Option<uuid::Uuid>>(tx, "SELECT get_current_tenant_id()", &[]), Some(A.id));
        assert_eq!(one::<Option<uuid::Uuid>>(tx, "SELECT get_current_user_id()", &[]), Some(A.owner));
        Ok(())
    }));
    assert_eq!(ok(app.current_tenant()), None);
    assert_eq!(one::<Option<uuid::Uuid>>(&mut app, "SELECT get_current_user_id()", &[]), None);
}

#[test]
fn set_context_without_a_user_grants_nothing() {
    let db = Database::new();
    let mut app = db.app();
    ok(app.batch_execute(&format!("BEGIN; SELECT thorbis.set_context('{}')", A.id)));
    assert_eq!(ok(app.current_tenant()), Some(A.id));
    assert_eq!(ok(app.tenants_seen()), NO_TENANTS, "a tenant without a user has no permissions");
}

#[test]
fn user_of_another_tenant_sees_nothing() {
    let db = Database::new();
    let seen = in_context(&mut db.app(), B.id, A.owner, |tx| tx.query("SELECT 1 FROM shared.customers", &[]));
    assert!(ok(seen).is_empty());
}

// --- request.jwt.claims

#[test]
fn claims_choose_the_tenant_exposed_in_gateway_mode() {
    let db = Database::new();
    let mut app = db.app();
    for tenant in [&A, &B] {
        ok(app.batch_execute(&format!("BEGIN; {}", claims(tenant.id, tenant.owner))));
        assert_eq!(ok(app.tenants_seen()), [tenant.id]);
        ok(app.batch_execute("COMMIT"));
    }
}

#[test]
fn claims_of_a_role_that_is_no_gateway_count_for_nothing() {
    let db = Database::new();
    let mut client = db.app_only();
    ok(client.batch_execute(&format!("BEGIN; {}", claims(B.id, B.owner))));
    assert_eq!(ok(client.tenants_seen()), NO_TENANTS);
}

#[test]
fn claims_that_disagree_with_the_settings_are_an_error() {
    let db = Database::new();
    let mut app = db.app();
    ok(app.batch_execute(&format!("BEGIN; {}; {}", claims(A.id, A.owner), set_local(B.id, B.owner))));
    let error = assert_sqlstate(app.tenants_seen(), "28000");
    assert!(error.hint().is_some());
    ok(app.batch_execute("ROLLBACK"));
    ok(app.batch_execute(&format!("BEGIN; {}; {}", claims(A.id, A.owner), set_local(A.id, A.owner))));
    assert_eq!(ok(app.tenants_seen()), [A.id], "agreeing sources are fine");
}

#[test]
fn claims_changed_after_the_first_read_show_no_other_tenant() {
    let db = Database::new();
    let mut app = db.app();
    ok(app.batch_execute(&format!("BEGIN; {}", claims(A.id, A.owner))));
    assert_eq!(ok(app.tenants_seen()), [A.id]);
    ok(app.batch_execute(&claims(B.id, B.owner)));
    match app.tenants_seen() {
        Ok(seen) => assert_eq!(seen, [A.id]),
        Err(e) => assert_eq!(sqlstate(&e), "28000"),
    }
}

#[test]
fn malformed_claims_show_nothing_and_raise_nothing() {
    let db = Database::new();
    let mut app = db.app();
    for json in [
        "{bad",
        "[]",
        "null",
        "7",
        "\"text\"",
        "{}",
        r#"{"tenant_id": 7}"#,
        r#"{"tenant_id": null}"#,
        r#"{"tenant_id": "not a uuid"}"#,
        r#"{"tenant_id": {"tenant_id": "x"}}"#,
        r#"{"tenant_id": "\u0000"}"#,
        r#"{"sub": "auth0|12345"}"#,
        &"[".repeat(100_000),
    ] {
        ok(app.batch_execute("BEGIN"));
        ok(app.execute("SELECT set_config('request.jwt.claims', $1, true)", &[&json]));
        let shown = &json[..json.len().min(40)];
        assert_eq!(ok(app.tenants_seen()), NO_TENANTS, "{shown}");
        assert_eq!(ok(app.current_tenant()), None, "{shown}");
        ok(app.batch_execute("COMMIT"));
    }
}

#[test]
fn tenant_claim_path_is_not_for_users_to_choose() {
    let db = Database::new();
    let mut app = db.app();
    load_library(&mut app);
    for setting in ["thorbis.tenant_claim = 'user_metadata.tenant_id'", "thorbis.context_mode = 'gateway'"] {
        assert_sqlstate(app.batch_execute(&format!("SET {setting}")), "42501");
    }
}

#[test]
fn nested_tenant_claim_is_read_where_the_operator_put_it() {
    let db = Database::new();
    let path = format!("ALTER DATABASE {} SET thorbis.tenant_claim = 'app_metadata.tenant_id'", db.name);
    ok(db.superuser().batch_execute(&format!("SELECT get_current_tenant_id(); {path}")));
    let mut app = db.app();
    let json = format!(
        r#"{{"sub":"{}","app_metadata":{{"tenant_id":"{}"}},"user_metadata":{{"tenant_id":"{}"}},"tenant_id":"{}"}}"#,
        A.owner, A.id, B.id, B.id
    );
    ok(app.batch_execute(&format!("BEGIN; SET LOCAL request.jwt.claims = '{json}'")));
    assert_eq!(ok(app.tenants_seen()), [A.id]);
}

// --- verified mode: the settings and claims are not believed

#[test]
fn verified_mode_ignores_settings_and_claims() {
    let db = Database::new();
    let mode = format!("ALTER DATABASE {} SET thorbis.context_mode = 'verified'", db.name);
    ok(db.superuser().batch_execute(&format!("SELECT get_current_tenant_id(); {mode}")));
    let mut app = db.app();
    for context in [set_local(B.id, B.owner), claims(B.id, B.owner)] {
        ok(app.batch_execute(&format!("BEGIN; {context}")));
        match app.tenants_seen() {
            Ok(seen) => assert_eq!(seen, NO_TENANTS, "{context}"),
            Err(e) => drop(assert_sqlstate_in(Err::<(), _>(e), &["28000", "42501"])),
        }
        ok(app.batch_execute("ROLLBACK"));
    }
}
