//! Keys, indexes and counters tell nothing about another tenant. Constraints are checked behind row security: only their
//! columns keep tenants apart.

use postgres::error::DbError;
use thorbis_tests::{A, B, Database, Session, assert_sqlstate, assert_sqlstate_in, db_error, in_context, ok, one};
use uuid::Uuid;

const ORDER_OF: &str = "INSERT INTO restaurants.orders (customer_id) VALUES ($1) RETURNING tenant_id";

fn order_for(db: &Database, customer: Uuid) -> Result<u64, postgres::Error> {
    in_context(&mut db.app(), A.id, A.owner, |tx| tx.execute(ORDER_OF, &[&customer]))
}

#[test]
fn order_cannot_reference_a_customer_of_the_other_tenant() {
    let db = Database::new();
    ok(order_for(&db, A.customer));
    assert_sqlstate(order_for(&db, B.customer), "23503");
    let moved = in_context(&mut db.app(), A.id, A.owner, |tx| {
        tx.execute("UPDATE restaurants.orders SET customer_id = $1", &[&B.customer])
    });
    assert_sqlstate(moved, "23503");
}

/// Every foreign key of every tenant table: what A's rows may point at is A's.
#[test]
fn no_foreign_key_accepts_another_tenants_parent() {
    let db = Database::new();
    let mut superuser = db.superuser();
    let keys = ok(superuser.query(
        "SELECT k.conrelid::regclass::text, a.attname::text, k.confrelid::regclass::text, f.attname::text, k.conname::text
           FROM pg_constraint k
           JOIN pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = k.conkey[2]
           JOIN pg_attribute f ON f.attrelid = k.confrelid AND f.attnum = k.confkey[2]
           JOIN pg_attribute t ON t.attrelid = k.conrelid AND t.attnum = k.conkey[1] AND t.attname = 'tenant_id'
          WHERE k.contype = 'f' AND array_length(k.conkey, 1) = 2 AND k.conparentid = 0",
        &[],
    ));
    assert!(keys.len() > 10, "composite foreign keys are found");
    for key in keys {
        let (table, column, parent, parent_column, name): (String, String, String, String, String) =
            (key.get(0), key.get(1), key.get(2), key.get(3), key.get(4));
        // As superuser: not the policies but the key itself must refuse.
        let point = format!(
            "UPDATE {table} SET {column} = (SELECT {parent_column} FROM {parent} WHERE tenant_id = $1 LIMIT 1)
              WHERE ctid = (SELECT ctid FROM {table} WHERE tenant_id = $2 LIMIT 1)"
        );
        let mut tx = ok(superuser.transaction());
        // Triggers of ours would set updated_by themselves; those of the keys are not among USER.
        ok(tx.batch_execute(&format!("ALTER TABLE {table} DISABLE TRIGGER USER")));
        // A CHECK would refuse first where the column goes with others.
        let checks = "SELECT conname::text FROM pg_constraint WHERE conrelid = $1::text::regclass AND contype = 'c'";
        for check in ok(tx.query(checks, &[&table])).iter().map(|row| row.get::<_, String>(0)) {
            ok(tx.batch_execute(&format!("ALTER TABLE {table} DROP CONSTRAINT {check}")));
        }
        println!("{name}");
        let pointed =
            tx.execute(&point, &[&B.id, &A.id]).and_then(|_| tx.batch_execute("SET CONSTRAINTS ALL IMMEDIATE"));
        assert_sqlstate(pointed, "23503");
    }
}

fn without_ids(error: &DbError, id: Uuid) -> String {
    format!("{} {} {:?}", error.code().code(), error.message(), error.detail()).replace(&id.to_string(), "ID")
}

#[test]
fn foreign_key_answers_alike_for_foreign_and_missing_parents() {
    let db = Database::new();
    let missing = Uuid::new_v4();
    let foreign = without_ids(&db_error(order_for(&db, B.customer)), B.customer);
    assert_eq!(foreign, without_ids(&db_error(order_for(&db, missing)), missing));
}

#[test]
fn null_tenant_does_not_skip_the_composite_key() {
    let db = Database::new();
    let inserted = in_context(&mut db.app(), A.id, A.owner, |tx| {
        tx.execute("INSERT INTO restaurants.orders (tenant_id, customer_id) VALUES (NULL, $1)", &[&B.customer])
    });
    assert_sqlstate_in(inserted, &["23502", "42501"]);
    let inserted = db.superuser().execute(
        "INSERT INTO restaurants.order_items (tenant_id, order_id, item_name, unit_price) VALUES (NULL, $1, 'x', 1)",
        &[&B.order],
    );
    assert_sqlstate(inserted, "23502");
}

#[test]
fn delete_in_one_tenant_removes_nothing_of_another() {
    let db = Database::new();
    let mut superuser = db.superuser();
    let count = "SELECT count(*) FROM restaurants.order_items WHERE tenant_id = $1";
    let before: i64 = one(&mut superuser, count, &[&A.id]);
    ok(in_context(&mut db.app(), B.id, B.owner, |tx| {
        tx.batch_execute("DELETE FROM restaurants.kitchen_ticket_items; DELETE FROM restaurants.kitchen_tickets")?;
        tx.execute("DELETE FROM restaurants.orders", &[])
    }));
    assert_eq!(one::<i64>(&mut superuser, count, &[&B.id]), 0, "B's own lines went along");
    assert_eq!(one::<i64>(&mut superuser, count, &[&A.id]), before);
}

/// A foreign key of one's own would be an oracle, and would block the other tenant's deletes.
#[test]
fn own_table_cannot_reference_tenant_tables() {
    let db = Database::new();
    ok(db.superuser().batch_execute("CREATE SCHEMA sandbox; GRANT USAGE, CREATE ON SCHEMA sandbox TO app_login"));
    let mut app = db.app();
    let create =
        "CREATE TABLE sandbox.spy (t uuid, c uuid, FOREIGN KEY (t, c) REFERENCES shared.customers (tenant_id, id))";
    assert_sqlstate(app.batch_execute(create), "42501");
    let granted: i64 = one(
        &mut db.superuser(),
        "SELECT count(*) FROM pg_class c, unnest(ARRAY['thorbis_app', 'thorbis_gateway', 'thorbis_auditor']) r
          WHERE c.relkind IN ('r', 'p') AND c.relnamespace::regnamespace::text IN ('shared', 'rbac', 'restaurants', 'gdpr')
            AND (has_any_column_privilege(r, c.oid, 'REFERENCES') OR has_table_privilege(r, c.oid, 'TRIGGER')
                 OR has_table_privilege(r, c.oid, 'TRUNCATE'))",
        &[],
    );
    assert_eq!(granted, 0);
}

#[test]
fn unique_keys_of_the_other_tenant_are_free() {
    let db = Database::new();
    ok(in_context(&mut db.app(), A.id, A.owner, |tx| {
        for sql in [
            "INSERT INTO shared.users (email) VALUES ('manager@bbbbbbbb.example')".into(),
            "INSERT INTO shared.customers (email, first_name, last_name) VALUES ('carla@bbbbbbbb.example', 'C', 'C')"
                .into(),
            format!("INSERT INTO shared.customers (id, first_name, last_name) VALUES ('{}', 'C', 'C')", B.customer),
        ] {
            tx.execute(&sql, &[])?;
        }
        Ok(())
    }));
}

#[test]
fn no_sequence_counts_for_all_tenants() {
    let db = Database::new();
    let usable: i64 = one(
        &mut db.superuser(),
        "SELECT count(*) FROM pg_class c
          WHERE CASE c.relkind WHEN 'S' THEN has_sequence_privilege('thorbis_app', c.oid, 'USAGE, SELECT, UPDATE') END",
        &[],
    );
    assert_eq!(usable, 0);
}

fn new_order_number(db: &Database, tenant: Uuid, owner: Uuid) -> i32 {
    let sql = "INSERT INTO restaurants.orders (order_type) VALUES ('online') RETURNING order_number";
    ok(in_context(&mut db.app(), tenant, owner, |tx| Ok(one::<i32>(tx, sql, &[]))))
}

#[test]
fn order_numbers_do_not_count_the_other_tenants_orders() {
    let db = Database::new();
    let first = new_order_number(&db, A.id, A.owner);
    for _ in 0..5 {
        new_order_number(&db, B.id, B.owner);
    }
    assert_eq!(new_order_number(&db, A.id, A.owner), first + 1);
}

#[test]
fn order_numbers_of_one_tenant_do_not_wait_for_the_other() {
    let db = Database::new();
    let (mut a, mut b) = (db.app(), db.app());
    a.begin_as(&A);
    ok(a.batch_execute("INSERT INTO restaurants.orders (order_type) VALUES ('online')"));
    // A's transaction holds A's number; B must not notice.
    b.begin_as(&B);
    ok(b.batch_execute(
        "SET LOCAL lock_timeout = '2s'; INSERT INTO restaurants.orders (order_type) VALUES ('online'); COMMIT",
    ));
    ok(a.batch_execute("COMMIT"));
}

#[test]
fn concurrent_orders_of_one_tenant_get_different_numbers() {
    let db = Database::new();
    let before: i64 =
        one(&mut db.superuser(), "SELECT count(*) FROM restaurants.orders WHERE tenant_id = $1", &[&A.id]);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..10 {
                    new_order_number(&db, A.id, A.owner);
                }
            });
        }
    });
    let (count, distinct): (i64, i64) = {
        let sql = "SELECT count(*), count(DISTINCT order_number) FROM restaurants.orders WHERE tenant_id = $1";
        let row = ok(db.superuser().query_one(sql, &[&A.id]));
        (row.get(0), row.get(1))
    };
    // Nobody waits for another's open transaction, so each may have left a gap: document_numbers_load.rs.
    assert_eq!((count, distinct), (before + 40, before + 40));
}
