//! thorbis.create_tenant() and thorbis.add_industry(): which roles and permissions a tenant starts with, and those that an
//! industry brings when it is installed later.

use postgres::{Client, Error};
use thorbis_tests::{A, B, Database, assert_sqlstate, in_context, ok, one};
use uuid::Uuid;

const INDUSTRY: &str = "restaurants";

fn create(client: &mut Client, slug: &str, more: &str) -> Result<Uuid, Error> {
    let sql = format!("SELECT thorbis.create_tenant('A tenant', $1, $2, 'owner@example.com'{more})");
    Ok(client.query_one(&sql, &[&slug, &Uuid::new_v4()])?.get(0))
}

fn industries(client: &mut Client, tenant: Uuid) -> Vec<String> {
    one(client, "SELECT industries FROM shared.tenants WHERE id = $1", &[&tenant])
}

/// "role resource:action", and the bare role for one that permits nothing.
fn permissions(client: &mut Client, tenant: Uuid) -> Vec<String> {
    let sql = "SELECT concat_ws(' ', r.code, CASE WHEN r.is_owner THEN '(owner)' END, p.resource || ':' || p.action)
                 FROM rbac.roles r
                 LEFT JOIN rbac.role_permissions p ON p.tenant_id = r.tenant_id AND p.role_id = r.id
                WHERE r.tenant_id = $1 ORDER BY 1";
    ok(client.query(sql, &[&tenant])).iter().map(|row| row.get(0)).collect()
}

#[test]
fn tenant_starts_with_the_templates_of_its_industries() {
    let db = Database::installed();
    let mut client = db.superuser();
    let template = |client: &mut Client, modules: &str| -> Vec<String> {
        let sql = format!(
            "SELECT concat_ws(' ', t.code, CASE WHEN t.is_owner THEN '(owner)' END, p.resource || ':' || p.action)
               FROM rbac.role_templates t
               LEFT JOIN rbac.role_template_permissions p ON p.role_template_code = t.code
              WHERE t.module IN ({modules}) ORDER BY 1"
        );
        ok(client.query(&sql, &[])).iter().map(|row| row.get(0)).collect()
    };
    let all = ok(create(&mut client, "all", ""));
    assert_eq!(industries(&mut client, all), [INDUSTRY], "what is installed, when nothing is said");
    let expected = template(&mut client, "'shared', 'restaurants'");
    assert!(expected.contains(&"server orders:update".to_owned()) && expected.contains(&"owner (owner)".to_owned()));
    assert_eq!(permissions(&mut client, all), expected);
    let named = ok(create(&mut client, "named", ", industries => '{restaurants}'"));
    assert_eq!(permissions(&mut client, named), expected);

    let none = ok(create(&mut client, "none", ", industries => '{}'"));
    assert_eq!(industries(&mut client, none), Vec::<String>::new());
    let roles: Vec<String> =
        one(&mut client, "SELECT array_agg(code ORDER BY code) FROM rbac.roles WHERE tenant_id = $1", &[&none]);
    assert_eq!(roles, ["employee", "manager", "owner"]);
}

#[test]
fn first_user_owns_the_tenant_and_may_begin() {
    let db = Database::new();
    let (tenant, owner) = (Uuid::new_v4(), Uuid::new_v4());
    let sql = "SELECT thorbis.create_tenant('New', 'new', $1, 'new@example.com', timezone => 'Europe/Berlin',
                                            currency => 'EUR', id => $2)";
    assert_eq!(one::<Uuid>(&mut db.superuser(), sql, &[&owner, &tenant]), tenant);
    let seen = in_context(&mut db.app(), tenant, owner, |tx| {
        tx.execute("INSERT INTO restaurants.orders DEFAULT VALUES", &[])?;
        tx.query_one(
            "SELECT t.timezone, t.currency::text, (SELECT count(*) FROM shared.users), (SELECT max(order_number) FROM restaurants.orders)
               FROM shared.tenants t",
            &[],
        )
    });
    let row = ok(seen);
    assert_eq!((row.get(0), row.get(1), row.get(2), row.get(3)), ("Europe/Berlin", "EUR", 1i64, 1i32));
}

#[test]
fn tenant_that_cannot_be_made_leaves_nothing_behind() {
    let db = Database::new();
    let mut client = db.superuser();
    let count = "SELECT (SELECT count(*) FROM shared.tenants), (SELECT count(*) FROM rbac.roles)";
    let counted = |client: &mut Client| {
        let row = ok(client.query_one(count, &[]));
        (row.get::<_, i64>(0), row.get::<_, i64>(1))
    };
    let before = counted(&mut client);
    for (slug, more, code) in [
        ("x", ", industries => '{space}'", "22023"),
        ("x", ", industries => '{restaurants,space}'", "22023"),
        ("x", ", timezone => 'Nowhere/Land'", "22023"),
        ("x", ", currency => 'euros'", "22023"),
        ("x", ", currency => 'eur'", "22023"),
        ("x", ", currency => 'XXX'", "22023"),
        ("x", ", currency => 'KWD'", "22023"),
        ("Not A Slug", "", "23514"),
        ("alpha-diner", "", "23505"),
        ("x", &format!(", id => '{}'", A.id), "23505"),
    ] {
        println!("{slug} {more}");
        assert_sqlstate(create(&mut client, slug, more), code);
    }
    assert_eq!(counted(&mut client), before);
}

#[test]
fn only_installed_industries_are_for_tenants() {
    let db = Database::with_extension();
    let mut client = db.superuser();
    ok(client.batch_execute("SELECT thorbis.install('{}')"));
    let tenant = ok(create(&mut client, "base", ""));
    assert_eq!(industries(&mut client, tenant), Vec::<String>::new(), "none is installed");
    let error = assert_sqlstate(create(&mut client, "x", ", industries => '{restaurants}'"), "55000");
    assert!(error.message().contains(INDUSTRY), "{}", error.message());
    assert!(error.hint().is_some_and(|hint| hint.contains("thorbis.install(")), "{:?}", error.hint());
    let added = client.execute("SELECT thorbis.add_industry($1, 'restaurants')", &[&tenant]);
    assert_sqlstate(added, "55000");
    let added = client.execute("SELECT thorbis.add_industry($1, 'space')", &[&tenant]);
    assert_sqlstate(added, "22023");
}

#[test]
fn industry_that_is_added_later_equals_one_from_the_start() {
    let db = Database::with_extension();
    let mut client = db.superuser();
    ok(client.batch_execute("SELECT thorbis.install('{}')"));
    let (early, other) = (ok(create(&mut client, "early", "")), ok(create(&mut client, "other", "")));
    let before = permissions(&mut client, other);
    ok(client.batch_execute("SELECT thorbis.install('{restaurants}')"));
    let late = ok(create(&mut client, "late", ""));
    assert_eq!(permissions(&mut client, early), before, "installing gives nobody anything");

    let add = "SELECT thorbis.add_industry($1, 'restaurants')";
    assert!(one::<bool>(&mut client, add, &[&early]), "there was something to add");
    assert_eq!(industries(&mut client, early), [INDUSTRY]);
    assert_eq!(permissions(&mut client, early), permissions(&mut client, late));
    assert!(!one::<bool>(&mut client, add, &[&early]), "nothing is left to add");
    assert!(!one::<bool>(&mut client, add, &[&late]));
    assert_eq!(industries(&mut client, early), [INDUSTRY]);
    assert_eq!(permissions(&mut client, early), permissions(&mut client, late));
    assert_eq!((permissions(&mut client, other), industries(&mut client, other)), (before, vec![]), "another tenant");
}

/// What a tenant took from its roles stays taken; roles of its own are its own, even under a template's code.
#[test]
fn adding_an_industry_keeps_what_the_tenant_changed() {
    let db = Database::with_extension();
    let mut client = db.superuser();
    ok(client.batch_execute("SELECT thorbis.install('{}')"));
    let tenant = ok(create(&mut client, "early", ""));
    ok(client.execute(
        "INSERT INTO rbac.roles (tenant_id, code, name) VALUES ($1, 'server', 'The one in the cellar')",
        &[&tenant],
    ));
    ok(client.execute(
        "DELETE FROM rbac.role_permissions p USING rbac.roles r WHERE p.tenant_id = $1 AND r.tenant_id = $1 AND r.id = p.role_id
            AND r.code = 'manager' AND p.resource = 'customers'",
        &[&tenant],
    ));
    ok(client.batch_execute("SELECT thorbis.install('{restaurants}')"));
    assert!(one::<bool>(&mut client, "SELECT thorbis.add_industry($1, 'restaurants')", &[&tenant]));
    let held = permissions(&mut client, tenant);
    assert!(
        held.contains(&"manager orders:admin".to_owned()) && held.contains(&"kitchen orders:read".to_owned()),
        "{held:?}"
    );
    assert!(!held.contains(&"manager customers:admin".to_owned()), "taken back before");
    assert_eq!(held.iter().filter(|line| line.starts_with("server")).collect::<Vec<_>>(), ["server"], "its own role");
    let name = "SELECT name FROM rbac.roles WHERE tenant_id = $1 AND code = 'server'";
    assert_eq!(one::<String>(&mut client, name, &[&tenant]), "The one in the cellar");
}

#[test]
fn operators_make_tenants_and_nobody_else_does() {
    let db = Database::new();
    let operator = db.role("operator", "LOGIN IN ROLE thorbis_platform");
    let mut client = db.connect_as(&operator);
    assert_sqlstate(create(&mut client, "x", ""), "42501");
    ok(client.batch_execute("SET ROLE thorbis_platform"));
    let tenant = ok(create(&mut client, "made-by-an-operator", ", industries => '{}'"));
    assert!(one::<bool>(&mut client, "SELECT thorbis.add_industry($1, 'restaurants')", &[&tenant]));
    let error =
        assert_sqlstate(client.execute("SELECT thorbis.add_industry($1, 'restaurants')", &[&Uuid::new_v4()]), "22023");
    assert!(error.hint().is_some_and(|hint| !hint.is_empty()), "no hint");
    for role in ["app_login", "app_only_login", "stranger_login"] {
        let added = db.connect_as(role).execute("SELECT thorbis.add_industry($1, 'restaurants')", &[&A.id]);
        assert_sqlstate(added, "42501");
    }
}

// --- their status

#[test]
fn status_of_a_tenant_is_the_platforms_to_change() {
    let db = Database::new();
    let mut operator = db.superuser();
    let mut set =
        |status: &str| operator.execute("UPDATE shared.tenants SET status = $1 WHERE id = $2", &[&status, &A.id]);
    let error = assert_sqlstate(set("purged"), "23514");
    assert_eq!(error.message(), "\"tenant\" cannot go from \"active\" to \"purged\"");
    for status in ["suspended", "active", "closed", "purged"] {
        ok(set(status));
    }
    let times = "SELECT suspended_at IS NOT NULL AND closed_at IS NOT NULL FROM shared.tenants WHERE id = $1";
    assert!(one::<bool>(&mut operator, times, &[&A.id]));
    let history =
        "SELECT to_status FROM shared.status_history WHERE document = 'tenant' AND document_id = $1 ORDER BY at";
    let steps: Vec<String> = ok(operator.query(history, &[&A.id])).iter().map(|row| row.get(0)).collect();
    assert_eq!(steps, ["active", "suspended", "active", "closed", "purged"]);
    let by_its_owner = in_context(&mut db.app(), B.id, B.owner, |tx| {
        tx.execute("UPDATE shared.tenants SET status = 'closed' WHERE id = $1", &[&B.id])
    });
    assert_sqlstate(by_its_owner, "42501");
    let possible = ok(in_context(&mut db.app(), B.id, B.owner, |tx| {
        tx.query("SELECT to_status, allowed FROM thorbis.allowed_transitions('tenant', $1)", &[&B.id])
    }));
    let possible: Vec<(String, bool)> = possible.iter().map(|row| (row.get(0), row.get(1))).collect();
    assert_eq!(possible, [("closed".to_owned(), false), ("suspended".to_owned(), false)]);
}

// --- their money

/// Three decimals do not fit into money columns.
#[test]
fn decimals_of_a_tenant_are_those_of_its_currency() {
    let db = Database::new();
    let mut client = db.superuser();
    for (slug, currency, places) in [("yen", "JPY", 0i16), ("euro", "EUR", 2)] {
        let tenant = ok(create(&mut client, slug, &format!(", currency => '{currency}'")));
        assert_eq!(one::<i16>(&mut client, "SELECT minor_unit FROM shared.tenants WHERE id = $1", &[&tenant]), places);
    }
    let error = assert_sqlstate(create(&mut client, "dinar", ", currency => 'KWD'"), "22023");
    assert!(error.hint().is_some_and(|hint| hint.contains("minor_unit")), "{:?}", error.hint());
}
