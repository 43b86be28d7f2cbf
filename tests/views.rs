//! What the views show, counted by hand: sales to the cent, orders and tickets that are open, and who may do what.

use postgres::Client;
use std::collections::{BTreeMap, BTreeSet};
use thorbis_tests::{A, B, Database, assert_sqlstate, in_context, ok, one};
use uuid::Uuid;

/// The rows of a query with one text column, on behalf of a user of A.
fn lines(db: &Database, user: Uuid, sql: &str) -> Vec<String> {
    let rows = ok(in_context(&mut db.app(), A.id, user, |tx| tx.query(sql, &[])));
    rows.iter().map(|row| row.get(0)).collect()
}

// --- restaurants.v_daily_sales

/// A generator of numbers that are the same in every run.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: u64) -> i64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) % limit) as i64
    }
}

fn cents(amount: i64) -> String {
    format!("{}.{:02}", amount / 100, amount % 100)
}

/// subtotal, discount, service charge, tax, tip, total, refunded
type Amounts = [i64; 7];
const COLUMNS: &str =
    "subtotal, discount_amount, service_charge_amount, tax_amount, tip_amount, total_amount, refunded_amount";

fn insert_order(client: &mut Client, tenant: Uuid, amounts: Amounts, columns: &str, values: &str) {
    let amounts = amounts.map(cents).join(", ");
    let sql = format!(
        "INSERT INTO restaurants.orders (tenant_id, {COLUMNS}, {columns}) VALUES ('{tenant}', {amounts}, {values})"
    );
    ok(client.batch_execute(&sql));
}

#[test]
fn daily_sales_are_exact_to_the_cent() {
    let db = Database::new();
    let mut superuser = db.superuser();
    let mut numbers = Numbers(20_240_301);
    let mut expected: BTreeMap<String, (i64, i64, Amounts)> = BTreeMap::new();
    for n in 0..300 {
        let day = format!("2024-03-{:02}", 1 + numbers.below(5));
        let place = if numbers.below(2) == 0 { None } else { Some("aaaaaaaa-0000-4000-8000-000000000051") };
        let (subtotal, discount) = (10_000 + numbers.below(2_000_000), numbers.below(10_000));
        let (charge, tax, tip) = (numbers.below(10_000), numbers.below(100_000), numbers.below(10_000));
        let total = subtotal - discount + charge + tax + tip;
        let amounts = [subtotal, discount, charge, tax, tip, total, numbers.below(total as u64)];
        let guests = 1 + numbers.below(9);
        // Every tenth is not a sale.
        let (status, voided, deleted) = match n % 10 {
            0 if n % 20 == 0 => ("cancelled", "NULL", "NULL"),
            0 => ("served", "NULL", "NULL"),
            1 if n % 20 == 1 => ("paid", "now()", "NULL"),
            1 => ("paid", "NULL", "now()"),
            _ => ("paid", "NULL", "NULL"),
        };
        let quoted = place.map_or("NULL".to_owned(), |place| format!("'{place}'"));
        let values =
            format!("{guests}, '{status}', {voided}, 'mistake', {deleted}, '{day}', {quoted}, '2024-03-09 12:00+00'");
        let columns = "guest_count, status, voided_at, void_reason, deleted_at, business_date, location_id, opened_at";
        insert_order(&mut superuser, A.id, amounts, columns, &values);
        if status == "paid" && voided == "NULL" && deleted == "NULL" {
            let sums = expected.entry(format!("{day} {}", place.unwrap_or("-"))).or_default();
            sums.0 += 1;
            sums.1 += guests;
            sums.2 = std::array::from_fn(|i| sums.2[i] + amounts[i]);
        }
    }
    insert_order(&mut superuser, B.id, [100; 7], "status, business_date", "'paid', '2024-03-01'");
    let mut expected: Vec<String> = expected
        .into_iter()
        .map(|(key, (orders, guests, [subtotal, discount, charge, tax, tip, total, refunded]))| {
            let net = subtotal - discount + charge;
            let sums = [subtotal, discount, charge, net, tax, tip, total, refunded].map(cents).join(" ");
            format!("{key} USD {orders} {guests} {sums}")
        })
        .collect();
    expected.sort();
    assert_eq!(expected.len(), 10, "five days in two places");
    let sales =
        "SELECT concat_ws(' ', business_date, coalesce(location_id::text, '-'), currency, order_count, guest_count,
                                  gross_sales, discounts, service_charges, net_sales, tax, tips, total, refunds)
                   FROM restaurants.v_daily_sales WHERE business_date < '2024-04-01'";
    let mut found = lines(&db, A.owner, sales);
    found.sort();
    assert_eq!(found, expected);
}

/// An order belongs to the day on which it was opened where the tenant is.
#[test]
fn sales_without_a_business_date_count_on_the_tenants_day() {
    let db = Database::new();
    let mut superuser = db.superuser();
    ok(superuser.execute("UPDATE shared.tenants SET timezone = 'Pacific/Auckland' WHERE id = $1", &[&A.id]));
    for opened in
        ["2024-02-29 10:59:59+00", "2024-02-29 11:00:00+00", "2024-03-01 10:59:59+00", "2024-03-01 11:00:00+00"]
    {
        insert_order(
            &mut superuser,
            A.id,
            [100, 0, 0, 0, 0, 100, 0],
            "status, opened_at",
            &format!("'paid', '{opened}'"),
        );
    }
    let sql = "SELECT business_date || ' ' || order_count || ' ' || total FROM restaurants.v_daily_sales ORDER BY 1";
    let (here, everywhere) =
        (["2024-02-29 1 1.00", "2024-03-01 2 2.00", "2024-03-02 1 1.00"], ["UTC", "America/Denver"]);
    for zone in everywhere {
        let mut app = db.app();
        ok(app.batch_execute(&format!("SET TimeZone = '{zone}'")));
        let rows = ok(in_context(&mut app, A.id, A.owner, |tx| tx.query(sql, &[])));
        assert_eq!(rows.iter().map(|row| row.get::<_, &str>(0)).collect::<Vec<_>>(), here, "{zone}");
    }
    // Sales on the wrong date would be worse than none.
    assert_eq!(lines(&db, A.employee, sql), Vec::<String>::new(), "the employee may not read the tenant");
}

// --- restaurants.v_active_orders, restaurants.v_kitchen_queue

#[test]
fn active_orders_are_those_neither_paid_nor_given_up() {
    let db = Database::new();
    let mut superuser = db.superuser();
    ok(superuser.execute("UPDATE restaurants.orders SET status = 'cancelled' WHERE tenant_id = $1", &[&A.id]));
    let tenant = A.id;
    for (n, (status, more)) in [
        ("pending", "NULL, NULL"),
        ("preparing", "NULL, NULL"),
        ("ready", "NULL, NULL"),
        ("served", "NULL, NULL"),
        ("paid", "NULL, NULL"),
        ("cancelled", "NULL, NULL"),
        ("pending", "now(), NULL"),
        ("pending", "NULL, now()"),
    ]
    .into_iter()
    .enumerate()
    {
        let number = 100 + n;
        ok(superuser.batch_execute(&format!(
            "WITH o AS (INSERT INTO restaurants.orders (tenant_id, order_number, status, void_reason, voided_at, deleted_at)
                        VALUES ('{tenant}', {number}, '{status}', 'mistake', {more}) RETURNING id)
             INSERT INTO restaurants.order_items (tenant_id, order_id, item_name, unit_price, status)
             SELECT '{tenant}', o.id, s, 1, s FROM o, unnest(ARRAY['new', 'sent', 'ready', 'served', 'voided']) s
              WHERE {n} < 2"
        )));
    }
    let sql =
        "SELECT order_number || ' ' || status || ' ' || item_count || ' ' || unserved_item_count || ' ' || (age >= '0')
                 FROM restaurants.v_active_orders ORDER BY order_number";
    let expected = ["100 pending 4 3 true", "101 preparing 4 3 true", "102 ready 0 0 true", "103 served 0 0 true"];
    assert_eq!(lines(&db, A.owner, sql), expected);
    assert_eq!(lines(&db, A.employee, sql), expected, "the employee reads orders");
}

#[test]
fn kitchen_queue_has_a_row_for_each_line_still_to_make() {
    let db = Database::new();
    let mut superuser = db.superuser();
    let queue = "SELECT station_name || ', ' || order_number || ', ' || item_name || ', ' || quantity || ', '
                        || coalesce(array_to_string(modifiers, '+'), '-') || ', ' || ticket_status
                   FROM restaurants.v_kitchen_queue ORDER BY 1";
    let soup = |status: &str| format!("Cold kitchen, 1, Soup, 1.000, Rye, {status}");
    assert_eq!(lines(&db, A.owner, queue), [soup("queued")]);
    let (tenant, order) = (A.id, A.order);
    let ticket = format!("{}72", &A.order.to_string()[..34]);
    ok(superuser.batch_execute(&format!(
        "INSERT INTO restaurants.order_item_modifiers (tenant_id, order_item_id, modifier_name, sort_order)
         SELECT tenant_id, id, 'No salt', -1 FROM restaurants.order_items WHERE tenant_id = '{tenant}';
         WITH i AS (INSERT INTO restaurants.order_items (tenant_id, order_id, item_name, unit_price, status)
                    VALUES ('{tenant}', '{order}', 'Bread', 2, 'sent'), ('{tenant}', '{order}', 'Mistake', 2, 'voided')
                    RETURNING tenant_id, id)
         INSERT INTO restaurants.kitchen_ticket_items (tenant_id, kitchen_ticket_id, order_item_id, quantity)
         SELECT tenant_id, '{ticket}', id, 2.5 FROM i"
    )));
    let both = |status: &str| {
        vec![
            format!("Cold kitchen, 1, Bread, 2.500, -, {status}"),
            format!("Cold kitchen, 1, Soup, 1.000, No salt+Rye, {status}"),
        ]
    };
    for status in ["started", "ready", "recalled", "queued"] {
        ok(superuser
            .execute("UPDATE restaurants.kitchen_tickets SET status = $1 WHERE tenant_id = $2", &[&status, &tenant]));
        assert_eq!(lines(&db, A.owner, queue), both(status));
    }
    for (gone, back) in [
        ("kitchen_tickets SET status = 'bumped'", "kitchen_tickets SET status = 'queued'"),
        ("orders SET voided_at = now(), void_reason = 'x'", "orders SET voided_at = NULL"),
        ("orders SET deleted_at = now()", "orders SET deleted_at = NULL"),
    ] {
        ok(superuser.batch_execute(&format!("UPDATE restaurants.{gone} WHERE tenant_id = '{tenant}'")));
        assert_eq!(lines(&db, A.owner, queue), Vec::<String>::new(), "{gone}");
        ok(superuser.batch_execute(&format!("UPDATE restaurants.{back} WHERE tenant_id = '{tenant}'")));
        assert_eq!(lines(&db, A.owner, queue), both("queued"), "{back}");
    }
    ok(superuser.execute("UPDATE restaurants.orders SET status = 'cancelled' WHERE tenant_id = $1", &[&tenant]));
    assert_eq!(lines(&db, A.owner, queue), Vec::<String>::new(), "cancelled");
    assert_eq!(lines(&db, A.employee, queue), Vec::<String>::new(), "the employee may not read the kitchen's tickets");
}

// --- rbac

/// Users in every state: with an assignment that ended or has not begun, inactive, deleted, with a grant of admin.
fn people(db: &Database) -> Vec<Uuid> {
    let (tenant, employee_role) = (A.id, A.employee_role);
    let ids: Vec<Uuid> = (0..6).map(|_| Uuid::new_v4()).collect();
    let mut sql = String::new();
    for (id, (state, from, to)) in ids.iter().zip([
        ("active", "'2001-01-01'", "'2001-01-02'"),
        ("active", "now() + interval '1 day'", "NULL"),
        ("inactive", "'2001-01-01'", "NULL"),
        ("active", "'2001-01-01'", "now() + interval '1 day'"),
        ("active", "'2001-01-01'", "NULL"),
        ("deleted", "'2001-01-01'", "NULL"),
    ]) {
        let (status, deleted) = if state == "deleted" { ("active", "now()") } else { (state, "NULL") };
        sql += &format!(
            "INSERT INTO shared.users (tenant_id, id, status, deleted_at) VALUES ('{tenant}', '{id}', '{status}', {deleted});
             INSERT INTO rbac.user_roles (tenant_id, user_id, role_id, valid_during)
             VALUES ('{tenant}', '{id}', '{employee_role}', tstzrange({from}, {to}));"
        );
    }
    for (id, resource, action, from, to) in [
        (ids[0], "menu", "admin", "'2001-01-01'", "now() + interval '1 day'"),
        (ids[2], "menu", "admin", "'2001-01-01'", "now() + interval '1 day'"),
        (ids[4], "tables", "read", "'2001-01-01'", "'2001-01-02'"),
        (ids[4], "rbac", "inspect", "now() + interval '1 day'", "now() + interval '2 days'"),
    ] {
        sql += &format!(
            "INSERT INTO rbac.access_grants (tenant_id, user_id, resource, action, reason, valid_during)
             VALUES ('{tenant}', '{id}', '{resource}', '{action}', 'test', tstzrange({from}, {to}));"
        );
    }
    ok(db.superuser().batch_execute(&sql));
    ids
}

#[test]
fn effective_permissions_are_those_that_hold() {
    let db = Database::new();
    let mut users = people(&db);
    users.extend([A.owner, A.manager, A.employee]);
    let mut held = BTreeSet::new();
    ok(in_context(&mut db.app(), A.id, A.owner, |tx| {
        let rows = tx.query(
            "SELECT u.id, p.resource || ':' || p.action, has_permission(u.id, p.resource, p.action),
                    EXISTS (SELECT FROM rbac.v_effective_permissions v
                             WHERE v.user_id = u.id AND v.resource = p.resource AND v.action = p.action)
               FROM shared.users u, rbac.permissions p",
            &[],
        )?;
        let permissions: i64 = one(tx, "SELECT count(*) FROM rbac.permissions", &[]);
        assert_eq!(rows.len() as i64, users.len() as i64 * permissions, "every user and every permission");
        for row in rows {
            let (user, permission, holds, shown): (Uuid, String, bool, bool) =
                (row.get(0), row.get(1), row.get(2), row.get(3));
            assert_eq!(holds, shown, "{user} {permission}: has_permission (left), v_effective_permissions (right)");
            if holds {
                held.insert((user, permission));
            }
        }
        Ok(())
    }));
    let holds = |user: Uuid, permission: &str| held.contains(&(user, permission.to_owned()));
    let [ended, not_begun, inactive, until_tomorrow, plain, deleted] = users[..6] else { panic!("six people") };
    assert!(holds(ended, "menu:delete") && !holds(ended, "customers:read"), "a grant of admin, no role any more");
    assert!(holds(until_tomorrow, "customers:read") && holds(plain, "customers:read") && !holds(plain, "tables:read"));
    assert!(holds(A.manager, "orders:create") && holds(A.owner, "rbac:admin"));
    for nobody in [not_begun, inactive, deleted] {
        assert!(!held.iter().any(|(user, _)| *user == nobody), "{nobody}");
    }
}

#[test]
fn effective_permissions_name_the_way() {
    let db = Database::untouched();
    let way = "SELECT string_agg(DISTINCT source, '+' ORDER BY source) FROM rbac.v_effective_permissions WHERE ";
    for (user, resource, action, source) in [
        (A.owner, "menu", "delete", "owner"),
        (A.manager, "menu", "read", "role"),
        (A.manager, "orders", "create", "inherited role+role"),
        (A.employee, "orders", "read", "role"),
        (A.employee, "locations", "read", "access grant"),
    ] {
        let sql = format!("{way} user_id = '{user}' AND resource = '{resource}' AND action = '{action}'");
        assert_eq!(lines(db, A.owner, &sql), [source], "{user} {resource}:{action}");
    }
    // Who may not read rbac learns nothing of others.
    assert_eq!(lines(db, A.employee, "SELECT count(*)::text FROM rbac.v_effective_permissions"), ["0"]);
    assert_sqlstate(db.connect_as("stranger_login").query("SELECT 1 FROM rbac.v_effective_permissions", &[]), "42501");
}

#[test]
fn dormant_privileges_are_those_without_effect() {
    let db = Database::new();
    let users = people(&db);
    let sql = "SELECT d.kind || ' ' || coalesce(d.user_id::text, r.code) || ' ' || coalesce(d.resource, '-') || ' ' || d.reason
                 FROM rbac.v_dormant_privileges d LEFT JOIN rbac.roles r ON r.id = d.role_id ORDER BY 1";
    let mut expected = vec![
        format!("user role {} - expired", users[0]),
        format!("user role {} - user inactive", users[2]),
        format!("user role {} - user deleted", users[5]),
        format!("access grant {} menu user inactive", users[2]),
        format!("access grant {} tables expired", users[4]),
    ];
    expected.extend(
        ["manager", "employee", "server", "host", "kitchen", "cashier"]
            .map(|role| format!("role {role} - role without members")),
    );
    expected.sort();
    let mut found = lines(&db, A.owner, sql);
    found.sort();
    assert_eq!(found, expected);
}

#[test]
fn separation_conflicts_are_those_who_hold_both() {
    let db = Database::new();
    let sql = "SELECT user_id || ' ' || first_action || ' ' || second_action || ' ' || reason || ' ' || is_owner
                 FROM rbac.v_separation_conflicts ORDER BY 1";
    let (owner, manager) =
        (format!("{} create delete four eyes true", A.owner), format!("{} create delete four eyes false", A.manager));
    assert_eq!(lines(&db, A.owner, sql), [owner.clone(), manager], "the employee creates orders and deletes none");
    ok(db.superuser().execute(
        "DELETE FROM rbac.role_permissions WHERE tenant_id = $1 AND role_id <> $2 AND resource = 'orders'
            AND role_id = (SELECT role_id FROM rbac.user_roles WHERE tenant_id = $1 AND user_id = $3)",
        &[&A.id, &A.employee_role, &A.manager],
    ));
    assert_eq!(lines(&db, A.owner, sql), [owner], "the manager only creates them now, by inheritance");
}
