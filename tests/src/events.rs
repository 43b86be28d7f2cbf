//! A table of somebody's own whose changes are events for other systems.

use crate::database::Database;
use crate::ok;
use crate::session::{in_context, one};
use crate::tenants::{A, Tenant};
use postgres::{Client, Error, Transaction};
use uuid::Uuid;

/// A table of somebody's own, protected, with events. Nobody reads or writes the outbox by hand.
pub const NOTES: &str = r#"
    CREATE SCHEMA crm AUTHORIZATION thorbis_owner; GRANT USAGE ON SCHEMA crm TO thorbis_app;
    CREATE TABLE crm.notes (tenant_id uuid, id uuid DEFAULT gen_random_uuid(), customer_id uuid, body text, mood text,
        stars integer, price numeric, at timestamptz, during tstzrange, is_public boolean, extra jsonb,
        PRIMARY KEY (tenant_id, id));
    ALTER TABLE crm.notes OWNER TO thorbis_owner;
    SELECT thorbis.protect('crm.notes', 'customers', '{"pii": [{"column": "body", "method": "clear"}, "mood"],
        "not_personal": ["extra"], "subject": {"kind": "customer", "column": "customer_id"}}');
    CREATE TRIGGER write_notes_event AFTER INSERT OR UPDATE OR DELETE ON crm.notes FOR EACH ROW
        EXECUTE FUNCTION write_outbox_event('note', 'stars', 'price', 'at', 'during', 'is_public', 'extra', 'customer_id')"#;

pub fn with_notes() -> Database {
    let db = Database::new();
    ok(db.superuser().batch_execute(&format!("{NOTES}; DELETE FROM shared.outbox")));
    db
}

pub fn note(tx: &mut Transaction<'_>, stars: i32) -> Result<Uuid, Error> {
    Ok(tx.query_one("INSERT INTO crm.notes (stars) VALUES ($1) RETURNING id", &[&stars])?.get(0))
}

pub fn events(db: &Database) -> i64 {
    one(&mut db.superuser(), "SELECT count(*) FROM shared.outbox", &[])
}

/// (id, stars) of the events that a consumer of the tenant gets.
pub fn claim(app: &mut Client, tenant: &Tenant, call: &str) -> Vec<(Uuid, i32)> {
    let sql = format!("SELECT id, (payload ->> 'stars')::int FROM shared.claim_outbox_events({call})");
    let rows = in_context(app, tenant.id, tenant.owner, |tx| tx.query(&sql, &[]));
    ok(rows).iter().map(|row| (row.get(0), row.get(1))).collect()
}

/// How many of the events a consumer of A completed or failed.
pub fn tell(app: &mut Client, verb: &str, consumer: &str, ids: &[Uuid]) -> i64 {
    let sql = format!("SELECT shared.{verb}_outbox_events($1, $2)");
    ok(in_context(app, A.id, A.owner, |tx| Ok(tx.query_one(&sql, &[&consumer, &ids])?.get(0))))
}

pub fn permit(db: &Database, resource: &str, action: &str) {
    let sql = "INSERT INTO rbac.role_permissions (tenant_id, role_id, resource, action) VALUES ($1, $2, $3, $4)";
    ok(db.superuser().execute(sql, &[&A.id, &A.employee_role, &resource, &action]));
}
