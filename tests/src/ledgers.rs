//! What the tests of the ledgers share: the fixture's things, requests, and the proof that the books are right.

use crate::{A, Database, Tenant, ok, one};
use postgres::types::ToSql;
use postgres::{Error, GenericClient};
use serde_json::{Value, json};
use uuid::Uuid;

/// The last digits of the fixture's ids: the same in both tenants.
pub const CARD: u128 = 0xc01;
pub const PROGRAM: u128 = 0xc11;
pub const ACCOUNT: u128 = 0xc12;
pub const EARNED: u128 = 0xc13;
pub const SPENT: u128 = 0xc14;
pub const FLOUR: u128 = 0xc21;
pub const CUP: u128 = 0xc22;
pub const STORE: u128 = 0xc31;
pub const VAN: u128 = 0xc32;
pub const SUPPLIER: u128 = 0xc33;
pub const CUSTOMER: u128 = 0xc34;
pub const CORRECTIONS: u128 = 0xc35;
pub const RESERVATION: u128 = 0xc41;
pub const COUNT: u128 = 0xc51;

/// A thing of the fixture.
pub fn of(tenant: &Tenant, digits: u128) -> Uuid {
    Uuid::from_u128(tenant.id.as_u128() & !0xffff | digits)
}

/// A line for `shared.post_stock_movements()`.
pub fn line(item: u128, from: u128, to: u128, quantity: impl Into<Value>) -> Value {
    json!({"stock_item_id": of(&A, item).to_string(), "from_location_id": of(&A, from).to_string(), "to_location_id": of(&A, to).to_string(),
           "quantity": quantity.into(), "reason": "transfer"})
}

pub fn post(tx: &mut impl GenericClient, lines: &Value, key: Option<&str>) -> Result<Value, Error> {
    call(tx, "SELECT shared.post_stock_movements($1::text::jsonb, $2)", &[&lines.to_string(), &key])
}

/// The one jsonb that a function returns.
pub fn call(tx: &mut impl GenericClient, sql: &str, params: &[&(dyn ToSql + Sync)]) -> Result<Value, Error> {
    Ok(tx.query_one(sql, params)?.get(0))
}

/// The uuid under a key of an answer.
pub fn id(answer: &Value, key: &str) -> Uuid {
    answer[key].as_str().and_then(|text| text.parse().ok()).unwrap_or_else(|| panic!("no {key} in {answer}"))
}

/// (on hand, reserved, incoming) as text without zeros at the end.
pub fn balance(db: &Database, item: u128, location: u128) -> (String, String, String) {
    let sql = "SELECT trim_scale(on_hand)::text, trim_scale(reserved)::text, trim_scale(incoming)::text
                 FROM shared.stock_balances WHERE tenant_id = $1 AND stock_item_id = $2 AND stock_location_id = $3";
    let row = ok(db.superuser().query_opt(sql, &[&A.id, &of(&A, item), &of(&A, location)]));
    row.map_or(("0".into(), "0".into(), "0".into()), |row| (row.get(0), row.get(1), row.get(2)))
}

pub fn on_hand(db: &Database, item: u128, location: u128) -> String {
    balance(db, item, location).0
}

/// What `thorbis.verify_ledgers()` finds.
pub fn disagreements(db: &Database) -> Vec<String> {
    let sql =
        "SELECT concat_ws(' ', ledger, tenant_id, key, coalesce(stored, '-'), expected) FROM thorbis.verify_ledgers()";
    ok(db.superuser().query(sql, &[])).iter().map(|row| row.get(0)).collect()
}

#[track_caller]
pub fn assert_books_are_right(db: &Database) {
    assert_eq!(disagreements(db), [""; 0]);
}

/// Gives the employee of A these permissions, beside those on customers and orders.
pub fn permit_employee(db: &Database, permissions: &[(&str, &str)]) {
    for (resource, action) in permissions {
        let sql = "INSERT INTO rbac.role_permissions (tenant_id, role_id, resource, action) VALUES ($1, $2, $3, $4)";
        ok(db.superuser().execute(sql, &[&A.id, &A.employee_role, resource, action]));
    }
}

/// Gives the employee of A these permissions, and takes those to read stock, cards and points.
pub fn permit_employee_without_reading(db: &Database, permissions: &[(&str, &str)]) {
    let sql = "DELETE FROM rbac.role_permissions WHERE tenant_id = $1 AND role_id = $2 AND resource = ANY ($3)";
    let resources = ["stock", "gift_cards", "loyalty"];
    ok(db.superuser().execute(sql, &[&A.id, &A.employee_role, &resources.as_slice()]));
    permit_employee(db, permissions);
}

/// None of these tables of schema shared shows a row.
#[track_caller]
pub fn assert_sees_nothing(tx: &mut impl GenericClient, tables: &[&str]) {
    for table in tables {
        assert_eq!(one::<i64>(tx, &format!("SELECT count(*) FROM shared.{table}"), &[]), 0, "{table}");
    }
}

/// What a superuser brings into A's books; the triggers see it as they see every other row.
pub fn import(db: &Database, sql: &str) -> Result<u64, Error> {
    let mut superuser = db.superuser();
    let mut tx = superuser.transaction()?;
    tx.batch_execute(&format!("SET LOCAL app.current_tenant_id = '{}'", A.id))?;
    let written = tx.execute(sql, &[])?;
    tx.commit()?;
    Ok(written)
}

/// How many rows a table has, of all tenants.
pub fn rows(db: &Database, table: &str) -> i64 {
    one(&mut db.superuser(), &format!("SELECT count(*) FROM {table}"), &[])
}
