//! Tables of a test's own that are logged, and what the log says of them in a line each.

use crate::database::Database;
use crate::ok;
use crate::session::one;
use crate::tenants::A;
use postgres::{Client, GenericClient};

/// A database with a schema for tables of a test's own, and its superuser.
pub fn with_crm() -> (Database, Client) {
    let db = Database::new();
    let mut client = db.superuser();
    ok(client.batch_execute("CREATE SCHEMA crm AUTHORIZATION thorbis_owner"));
    (db, client)
}

/// Makes crm.`name`, with the key (tenant_id, id), and protects it. A superuser's rows in it are A's.
#[track_caller]
pub fn table(client: &mut Client, name: &str, columns: &str, options: &str) {
    let definition = format!("(tenant_id uuid, {columns}, PRIMARY KEY (tenant_id, id))");
    defined_table(client, name, &definition, options);
}

/// The same of a table with another key, or none.
#[track_caller]
pub fn defined_table(client: &mut Client, name: &str, definition: &str, options: &str) {
    ok(client.batch_execute(&format!(
        "CREATE TABLE crm.{name} {definition}; ALTER TABLE crm.{name} OWNER TO thorbis_owner;
         SELECT thorbis.protect('crm.{name}', options => '{options}');
         ALTER TABLE crm.{name} ALTER tenant_id SET DEFAULT '{}'",
        A.id
    )));
}

/// The log must not show what a session likes to see.
pub const ODD_SETTINGS: &str = "
    SET TimeZone = 'Asia/Kathmandu'; SET DateStyle = 'SQL, DMY'; SET IntervalStyle = 'iso_8601'; SET bytea_output = 'escape';
    SET extra_float_digits = -10; SET xmlbinary = 'hex'; SET standard_conforming_strings = on";

/// What the log says of a table, in the order in which it happened: `UPDATE 1 to 2: {"id": 1} -> {"id": 2}`. The tenant is
/// left out.
pub fn lines(client: &mut impl GenericClient, table: &str) -> Vec<String> {
    let sql = "
        SELECT operation || ' ' || row_key || coalesce(' to ' || new_row_key, '') || ':'
               || coalesce(' ' || (old_values - 'tenant_id')::text, '') || coalesce(' -> ' || (new_values - 'tenant_id')::text, '')
          FROM audit.change_log WHERE table_name = $1 ORDER BY transaction_id, id";
    ok(client.query(sql, &[&table])).iter().map(|row| row.get(0)).collect()
}

/// The lines of what a superuser's statements, which are one transaction, add to the log.
#[track_caller]
pub fn logged(client: &mut Client, table: &str, statements: &str) -> Vec<String> {
    let before = count(client, table);
    ok(client.batch_execute(statements));
    lines(client, table).split_off(before as usize)
}

pub fn count(client: &mut impl GenericClient, table: &str) -> i64 {
    one(client, "SELECT count(*) FROM audit.change_log WHERE table_name = $1", &[&table])
}

/// How many changes of each operation.
pub fn operations(client: &mut impl GenericClient, table: &str) -> Vec<(String, i64)> {
    let sql = "SELECT operation, count(*) FROM audit.change_log WHERE table_name = $1 GROUP BY 1 ORDER BY 1";
    ok(client.query(sql, &[&table])).iter().map(|row| (row.get(0), row.get(1))).collect()
}
