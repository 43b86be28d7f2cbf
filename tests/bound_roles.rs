//! Roles whose tenant is fixed by `thorbis.bind_role()`: for BI tools and people who write SQL themselves. Nothing such
//! a role sends may change its tenant.

use postgres::Client;
use thorbis_tests::{
    A, B, Database, NO_TENANTS, Session, Tenant, assert_sqlstate, assert_sqlstate_in, ok, one, set_local, sqlstate,
};

/// A login bound to the owner of `tenant`. `groups` are the roles it is a member of.
fn bound(db: &Database, purpose: &str, tenant: &Tenant, groups: &str) -> (String, Client) {
    let role = db.role(purpose, &format!("LOGIN IN ROLE {groups}"));
    let bind = format!("SELECT thorbis.bind_role('{role}', '{}', '{}')", tenant.id, tenant.owner);
    ok(db.superuser().batch_execute(&bind));
    let client = db.connect_as(&role);
    (role, client)
}

#[test]
fn bound_role_sees_its_tenant_without_any_context() {
    let db = Database::new();
    let (_, mut client) = bound(&db, "bi", &A, "thorbis_app");
    assert_eq!(ok(client.current_tenant()), Some(A.id));
    assert_eq!(ok(client.tenants_seen()), [A.id]);
}

/// The look-up goes through the key when there is one; a binding holds without it too.
#[test]
fn binding_holds_when_the_key_of_the_bindings_is_gone() {
    let db = Database::new();
    let (_, mut client) = bound(&db, "bi", &B, "thorbis_app");
    ok(db.superuser().batch_execute("ALTER TABLE thorbis.bound_roles DROP CONSTRAINT bound_roles_pkey"));
    assert_eq!(ok(client.current_tenant()), Some(B.id));
    assert_eq!(ok(client.tenants_seen()), [B.id]);
}

#[test]
fn bound_role_cannot_choose_another_tenant() {
    let db = Database::new();
    // Even as a gateway.
    let (_, mut client) = bound(&db, "bi", &A, "thorbis_app, thorbis_gateway");
    let claims = format!(r#"SET LOCAL request.jwt.claims = '{{"tenant_id":"{}","sub":"{}"}}'"#, B.id, B.owner);
    for attack in [set_local(B.id, B.owner), claims, format!("SELECT thorbis.set_context('{}', '{}')", B.id, B.owner)] {
        ok(client.batch_execute("BEGIN"));
        let seen = client.batch_execute(&attack).and_then(|()| client.tenants_seen());
        assert_sqlstate_in(seen, &["28000", "42501"]);
        ok(client.batch_execute("ROLLBACK"));
    }
    assert_eq!(ok(client.tenants_seen()), [A.id]);
}

#[test]
fn claims_of_a_bound_role_that_is_no_gateway_change_nothing() {
    let db = Database::new();
    let (_, mut client) = bound(&db, "bi", &A, "thorbis_app");
    let claims = format!(r#"SET request.jwt.claims = '{{"tenant_id":"{}","sub":"{}"}}'"#, B.id, B.owner);
    ok(client.batch_execute(&claims));
    match client.tenants_seen() {
        Ok(seen) => assert_eq!(seen, [A.id]),
        Err(e) => assert_eq!(sqlstate(&e), "28000"),
    }
}

#[test]
fn set_role_does_not_shed_the_binding() {
    let db = Database::new();
    let (_, mut client) = bound(&db, "bi", &A, "thorbis_app");
    ok(client.batch_execute("SET ROLE thorbis_app"));
    assert_eq!(ok(client.current_tenant()), Some(A.id));
    assert_eq!(ok(client.tenants_seen()), [A.id]);
}

#[test]
fn set_role_into_a_bound_role_takes_its_tenant() {
    let db = Database::new();
    let (role, _) = bound(&db, "bi", &A, "thorbis_app");
    let pooled = db.role("pooled", &format!("LOGIN IN ROLE {role}"));
    let mut client = db.connect_as(&pooled);
    assert_eq!(ok(client.current_tenant()), None);
    ok(client.batch_execute(&format!("SET ROLE {role}")));
    assert_eq!(ok(client.tenants_seen()), [A.id]);
}

#[test]
fn two_bindings_that_disagree_are_an_error() {
    let db = Database::new();
    let (other, _) = bound(&db, "bi_b", &B, "thorbis_app");
    let (_, mut client) = bound(&db, "bi_a", &A, &format!("thorbis_app, {other}"));
    assert_eq!(ok(client.tenants_seen()), [A.id]);
    ok(client.batch_execute(&format!("SET ROLE {other}")));
    assert_sqlstate(client.tenants_seen(), "28000");
}

#[test]
fn unbinding_holds_from_the_next_statement_on() {
    let db = Database::new();
    let (role, mut client) = bound(&db, "bi", &A, "thorbis_app");
    assert_eq!(ok(client.tenants_seen()), [A.id]);
    ok(db.superuser().batch_execute(&format!("SELECT thorbis.unbind_role('{role}')")));
    assert_eq!(ok(client.tenants_seen()), NO_TENANTS);
}

#[test]
fn verified_mode_keeps_bound_roles() {
    let db = Database::new();
    let (role, _) = bound(&db, "bi", &A, "thorbis_app");
    let mode = format!("ALTER DATABASE {} SET thorbis.context_mode = 'verified'", db.name);
    ok(db.superuser().batch_execute(&format!("SELECT get_current_tenant_id(); {mode}")));
    assert_eq!(ok(db.connect_as(&role).tenants_seen()), [A.id]);
}

#[test]
fn binding_is_the_operators_to_change() {
    let db = Database::new();
    let (role, mut client) = bound(&db, "bi", &A, "thorbis_app, thorbis_gateway");
    for attack in [
        format!("SELECT thorbis.bind_role('{role}', '{}', '{}')", B.id, B.owner),
        format!("SELECT thorbis.unbind_role('{role}')"),
        format!("UPDATE thorbis.bound_roles SET tenant_id = '{}'", B.id),
        "DELETE FROM thorbis.bound_roles".to_owned(),
    ] {
        assert_sqlstate(client.batch_execute(&attack), "42501");
    }
    assert_eq!(ok(client.tenants_seen()), [A.id]);
}

#[test]
fn binding_to_a_tenant_that_does_not_exist_is_refused() {
    let db = Database::new();
    let role = db.role("nowhere", "LOGIN IN ROLE thorbis_app");
    let bind = format!("SELECT thorbis.bind_role('{role}', '{}', NULL)", uuid::Uuid::new_v4());
    let error = assert_sqlstate(db.superuser().batch_execute(&bind), "22023");
    assert!(error.hint().is_some_and(|hint| !hint.is_empty()), "no hint");
    let bound = "SELECT count(*) FROM thorbis.bound_roles";
    assert_eq!(one::<i64>(&mut db.superuser(), bound, &[]), 0);
    assert_eq!(ok(db.connect_as(&role).tenants_seen()), NO_TENANTS);
}

/// Row security would not apply to it: the binding would only look like one.
#[test]
fn role_that_passes_row_security_is_not_bound() {
    let db = Database::new();
    let roles = [db.role("super", "LOGIN SUPERUSER"), db.role("bypassing", "LOGIN BYPASSRLS IN ROLE thorbis_app")];
    for role in roles.iter().map(String::as_str).chain(["postgres", "thorbis_platform"]) {
        let bind = format!("SELECT thorbis.bind_role('{role}', '{}', '{}')", A.id, A.owner);
        let error = assert_sqlstate(db.superuser().batch_execute(&bind), "0P000");
        assert!(error.message().contains(role), "{}", error.message());
        assert!(error.hint().is_some_and(|hint| !hint.is_empty()), "{role}: no hint");
    }
    assert_eq!(one::<i64>(&mut db.superuser(), "SELECT count(*) FROM thorbis.bound_roles", &[]), 0);
}
