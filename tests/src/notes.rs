//! A table of one's own with personal data: crm.notes, with rows of both tenants in clear.

use crate::database::Database;
use crate::findings::findings;
use crate::ok;
use crate::session::as_owner;
use crate::tenants::{A, B};
use postgres::Client;
use serde_json::Value;

/// The call of thorbis.protect() for a table, as a statement.
pub fn call(table: &str, options: &str, dry_run: bool) -> String {
    format!("SELECT thorbis.protect('{}', 'things', '{options}', {dry_run})", table.replace('\'', "''"))
}

/// The texts that a statement returns.
pub fn statements(client: &mut Client, sql: &str) -> Vec<String> {
    ok(client.query(sql, &[])).iter().map(|row| row.get(0)).collect()
}

/// A clean table crm.notes with rows of both tenants in clear.
pub const NOTES: &str = "
    CREATE SCHEMA crm; GRANT ALL ON SCHEMA crm TO thorbis_owner;
    CREATE TABLE crm.notes (tenant_id uuid NOT NULL, id uuid DEFAULT gen_random_uuid(), customer_id uuid, email text,
                            body jsonb, remark text, updated_at timestamptz, PRIMARY KEY (tenant_id, id));
    ALTER TABLE crm.notes OWNER TO thorbis_owner";
pub const NOTES_OPTIONS: &str = r#"{"pii": [{"column": "email", "kind": "email", "index": true}, "body"], "not_personal": ["remark"],
    "subject": {"kind": "customer", "column": "customer_id"}}"#;

/// Rows with both values, with one, with none; the addresses differ in what surrounds them.
pub fn notes_in_clear() -> (Database, Client) {
    let db = Database::new();
    let mut client = db.superuser();
    ok(client.batch_execute(NOTES));
    for tenant in [&A, &B] {
        ok(client.execute(
            "INSERT INTO crm.notes (tenant_id, customer_id, email, body, remark, updated_at)
             SELECT $1, CASE WHEN n % 3 = 0 THEN $2::uuid END, CASE WHEN n % 2 = 0 THEN 'n' || n || '@clear.example' END,
                    CASE WHEN n % 5 = 0 THEN jsonb_build_object('n', n, 'text', 'clear text') END, 'r' || n, '2001-01-01'
               FROM generate_series(1, 30) n",
            &[&tenant.id, &tenant.customer],
        ));
    }
    (db, client)
}

/// The rows as A's owner reads them in `relation`.
pub fn rows(db: &Database, relation: &str) -> Vec<Value> {
    let sql = format!(
        "SELECT to_jsonb(n) FROM (SELECT remark, email, body, customer_id, updated_at FROM {relation}) n ORDER BY remark"
    );
    as_owner(db, &A, |tx| tx.query(&sql, &[])).iter().map(|row| row.get(0)).collect()
}

/// What the doctor calls an error.
pub fn errors(client: &mut Client) -> Vec<String> {
    let errors = ok(findings(client)).into_iter().filter(|f| f.severity == "error");
    errors.map(|f| format!("{} {} {}", f.code, f.object, f.detail)).collect()
}
