//! Documents of a DBA's own with numbers: slips with a legal one, notes with a cheap one.

use crate::{A, Database, in_context, ok, set_local};
use postgres::{Client, Error};

/// Slips have a legal number in a text column, notes a cheap one in an integer column.
const SETUP: &str = "
CREATE SCHEMA desk;
GRANT USAGE ON SCHEMA desk TO thorbis_owner;
CREATE TABLE desk.slips (
    tenant_id uuid NOT NULL DEFAULT public.get_current_tenant_id(), id uuid NOT NULL DEFAULT gen_random_uuid(),
    number text, location_id uuid, issued boolean NOT NULL DEFAULT true,
    PRIMARY KEY (tenant_id, id), UNIQUE (tenant_id, number),
    FOREIGN KEY (tenant_id) REFERENCES shared.tenants (id) ON DELETE CASCADE);
CREATE TABLE desk.notes (LIKE desk.slips INCLUDING ALL);
ALTER TABLE desk.notes ALTER COLUMN number TYPE integer USING NULL;
ALTER TABLE desk.slips OWNER TO thorbis_owner;
ALTER TABLE desk.notes OWNER TO thorbis_owner;
CREATE TRIGGER insert_slips_number BEFORE INSERT ON desk.slips
    FOR EACH ROW WHEN (NEW.issued) EXECUTE FUNCTION public.assign_document_number('number', 'slips', 'true');
CREATE TRIGGER update_slips_number BEFORE UPDATE ON desk.slips
    FOR EACH ROW WHEN (NEW.issued AND NOT OLD.issued) EXECUTE FUNCTION public.assign_document_number('number', 'slips', 'true');
CREATE TRIGGER insert_notes_number BEFORE INSERT ON desk.notes
    FOR EACH ROW EXECUTE FUNCTION public.assign_document_number('number', 'notes');
SELECT thorbis.protect('desk.slips', 'orders', '{\"not_personal\": [\"number\"]}');
SELECT thorbis.protect('desk.notes', 'orders', '{}')";

pub const SLIP: &str = "INSERT INTO desk.slips DEFAULT VALUES RETURNING number";
pub const NOTE: &str = "INSERT INTO desk.notes DEFAULT VALUES RETURNING number";

pub fn desk() -> Database {
    let db = Database::new();
    ok(db.superuser().batch_execute(SETUP));
    db
}

pub fn define(db: &Database, series: &str, values: &str) {
    let sql = format!(
        "INSERT INTO shared.number_series (tenant_id, series, {values}",
        values = values.replacen(") VALUES (", ") VALUES ($1, $2, ", 1)
    );
    ok(db.superuser().execute(&sql, &[&A.id, &series]));
}

pub fn slip(client: &mut Client) -> Result<String, Error> {
    in_context(client, A.id, A.owner, |tx| Ok(tx.query_one(SLIP, &[])?.get(0)))
}

pub fn note(client: &mut Client) -> Result<i32, Error> {
    in_context(client, A.id, A.owner, |tx| Ok(tx.query_one(NOTE, &[])?.get(0)))
}

/// A transaction of tenant A that is still open.
pub fn begin(client: &mut Client, level: &str) {
    ok(client.batch_execute(&format!("BEGIN ISOLATION LEVEL {level}; {}", set_local(A.id, A.owner))));
}

pub fn numbers(db: &Database, table: &str) -> Vec<i32> {
    let sql =
        format!("SELECT number::text::int FROM desk.{table} WHERE tenant_id = $1 AND number IS NOT NULL ORDER BY 1");
    ok(db.superuser().query(&sql, &[&A.id])).iter().map(|row| row.get(0)).collect()
}
