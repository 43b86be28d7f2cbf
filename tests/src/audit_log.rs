//! The log of changes as tests read it, and what replaying it gives.

use crate::database::Database;
use crate::tenants::Tenant;
use postgres::{Client, GenericClient};
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use uuid::Uuid;

/// One row of `audit.change_log`.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    pub tenant: Uuid,
    pub transaction: i64,
    pub table: String,
    pub operation: String,
    pub key: String,
    pub new_key: Option<String>,
    pub old: Option<Value>,
    pub new: Option<Value>,
    pub actor: Option<Uuid>,
    pub session_role: String,
    pub database_role: String,
    pub application: Option<String>,
    pub client_address: Option<String>,
    pub request_id: Option<String>,
}

impl Entry {
    /// The rows that `which` (what follows FROM audit.change_log) selects, in its order.
    pub fn read(client: &mut impl GenericClient, which: &str) -> Vec<Entry> {
        let sql = format!(
            "SELECT tenant_id, transaction_id, table_name, operation, row_key, new_row_key, old_values, new_values, actor_id,
                    session_role, database_role, application, client_address::text, request_id
               FROM audit.change_log {which}"
        );
        let entry = |row: &postgres::Row| Entry {
            tenant: row.get(0),
            transaction: row.get(1),
            table: row.get(2),
            operation: row.get(3),
            key: row.get(4),
            new_key: row.get(5),
            old: row.get(6),
            new: row.get(7),
            actor: row.get(8),
            session_role: row.get(9),
            database_role: row.get(10),
            application: row.get(11),
            client_address: row.get(12),
            request_id: row.get(13),
        };
        crate::ok(client.query(&sql, &[])).iter().map(entry).collect()
    }

    /// All changes of a table, oldest first.
    pub fn of_table(client: &mut impl GenericClient, table: &str) -> Vec<Entry> {
        Entry::read(client, &format!("WHERE table_name = '{table}' ORDER BY occurred_at, id"))
    }

    /// The newest change of a table.
    #[track_caller]
    pub fn last_of(client: &mut impl GenericClient, table: &str) -> Entry {
        Entry::of_table(client, table).pop().unwrap_or_else(|| panic!("no change of {table} is logged"))
    }

    /// A column as it was and as it is, NULL where that is not in the row.
    pub fn values(&self, column: &str) -> [Value; 2] {
        [&self.old, &self.new].map(|values| values.as_ref().map_or(Value::Null, |values| values[column].clone()))
    }
}

/// The rows of a table by tenant and key.
pub type Rows = BTreeMap<(Uuid, String), Map<String, Value>>;

/// What the changes, in the order of their commits, make of an empty table. Panics at one that does not follow from those
/// before it.
pub fn replay(changes: &[Entry]) -> Rows {
    let mut rows = Rows::new();
    for change in changes {
        let key = (change.tenant, change.key.clone());
        match (change.operation.as_str(), &change.old, &change.new) {
            ("INSERT", None, Some(new)) => {
                let before = rows.insert(key, columns(new));
                assert_eq!(before, None, "inserted, though it was there: {change:?}");
            }
            ("DELETE", Some(old), None) => assert_eq!(rows.remove(&key), Some(columns(old)), "deleted: {change:?}"),
            ("UPDATE", Some(Value::Object(old)), Some(Value::Object(new))) => {
                let mut row =
                    rows.remove(&key).unwrap_or_else(|| panic!("updated, though it was not there: {change:?}"));
                assert!(!old.is_empty() && old.keys().eq(new.keys()), "{change:?}");
                for (column, value) in old {
                    assert_eq!(row.get(column).unwrap_or(&Value::Null), value, "{column} before: {change:?}");
                    row.insert(column.clone(), new[column].clone());
                }
                row.retain(|_, value| !value.is_null());
                let key = (change.tenant, change.new_key.clone().unwrap_or(key.1));
                assert_eq!(rows.insert(key, row), None, "moved to a key that was taken: {change:?}");
            }
            other => panic!("no such change: {other:?}"),
        }
    }
    rows
}

/// Those that are not NULL: the others are not in the image of a row.
fn columns(row: &Value) -> Map<String, Value> {
    let columns = row.as_object().expect("an image is an object");
    columns.iter().filter(|(_, value)| !value.is_null()).map(|(name, value)| (name.clone(), value.clone())).collect()
}

/// The same of the table itself, whose key is `id`.
pub fn rows_of(superuser: &mut impl GenericClient, table: &str) -> Rows {
    let sql = format!("SELECT tenant_id, id::text, to_jsonb(t) FROM {table} t");
    let rows = crate::ok(superuser.query(&sql, &[]));
    rows.iter().map(|row| ((row.get(0), row.get(1)), columns(&row.get(2)))).collect()
}

// --- who attacks it, and what it is then

/// A session of a login that is bound to a user of `tenant`.
pub fn bound(db: &Database, purpose: &str, tenant: &Tenant, user: Uuid, groups: &str) -> Client {
    let role = db.role(purpose, &format!("LOGIN IN ROLE {groups}"));
    crate::ok(db.superuser().batch_execute(&format!("SELECT thorbis.bind_role('{role}', '{}', '{user}')", tenant.id)));
    db.connect_as(&role)
}

/// Everything that the log and what belongs to it hold.
pub fn log_rows(superuser: &mut impl GenericClient) -> Vec<String> {
    crate::listing::rows(superuser).into_iter().filter(|line| line.starts_with("audit.")).collect()
}

// --- encrypted values

/// An encrypted value in the log.
#[derive(Debug, Clone)]
pub struct Sealed {
    pub table: String,
    pub operation: String,
    pub field: String,
    pub row: String,
    pub text: String,
    pub data_key: Uuid,
}

/// Those of a tenant, oldest first.
pub fn sealed_values(superuser: &mut impl GenericClient, tenant: &Tenant) -> Vec<Sealed> {
    let sql = "SELECT c.table_name, c.operation, c.table_name || '.' || regexp_replace(e.key, '_encrypted$', ''), v.row_key, e.value,
                      encode(substr(decode(e.value, 'base64'), 4, 16), 'hex')::uuid
                 FROM audit.change_log c,
                      LATERAL (VALUES (c.old_values, c.row_key), (c.new_values, coalesce(c.new_row_key, c.row_key))) v(image, row_key),
                      jsonb_each_text(v.image) e
                WHERE c.tenant_id = $1 AND e.value LIKE 'THv1%' ORDER BY c.occurred_at, c.id";
    let of = |row: &postgres::Row| Sealed {
        table: row.get(0),
        operation: row.get(1),
        field: row.get(2),
        row: row.get(3),
        text: row.get(4),
        data_key: row.get(5),
    };
    crate::ok(superuser.query(sql, &[&tenant.id])).iter().map(of).collect()
}

pub const OPEN: &str = "SELECT decrypt_pii($1, $2, $3)";

/// The clear value for the owner of the tenant; None when it does not open.
pub fn opened(app: &mut Client, tenant: &Tenant, value: &Sealed) -> Option<String> {
    let read = crate::in_context(app, tenant.id, tenant.owner, |tx| {
        tx.query_one(OPEN, &[&value.text, &value.field, &value.row])
    });
    match read {
        Ok(row) => Some(row.get(0)),
        Err(e) => {
            assert_eq!(crate::sqlstate(&e), "22000", "{}", crate::describe(&e));
            None
        }
    }
}

/// The ids of the data keys of one subject.
pub fn keys_of(superuser: &mut impl GenericClient, tenant: &Tenant, subject: Uuid) -> Vec<Uuid> {
    let sql = "SELECT id FROM thorbis.data_keys WHERE tenant_id = $1 AND subject_id = $2";
    crate::ok(superuser.query(sql, &[&tenant.id, &subject])).iter().map(|row| row.get(0)).collect()
}

const ORDER: &str = "INSERT INTO restaurants.orders (customer_id, special_instructions, metadata)
                     VALUES ($1, 'no gluten', '{\"for\": \"Zebulon\"}') RETURNING id";
const ITEMS: &str = "INSERT INTO restaurants.order_items (order_id, item_name, unit_price, special_instructions)
                     SELECT $1, 'Soup', 5, 'gluten ' || n FROM generate_series(1, 2) n";

pub fn order_with_items(tx: &mut impl GenericClient, customer: Uuid) -> Uuid {
    let order: Uuid = crate::one(tx, ORDER, &[&customer]);
    crate::ok(tx.execute(ITEMS, &[&order]));
    order
}
