//! Bills of a DBA's own, with lines, whose totals are stored.

use crate::{A, Database, in_context, ok};
use postgres::{Client, Error};
use uuid::Uuid;

const SPEC: &str = r#"{"document": "desk.bills", "lines": "desk.bill_lines", "key": "bill_id", "order": ["sort_order", "id"],
    "skip": "voided_at", "pricing": "pricing", "line_pricing": "pricing",
    "document_inputs": {"currency": "currency", "tip.amount": "tip"},
    "document_outputs": {"subtotal": "subtotal", "discount": "discount_total", "tax": "tax_total", "total": "total", "taxes": "taxes"},
    "line_outputs": {"net": "net", "line_total": "total", "line_taxes": "taxes"},
    "version": "calc_version", "hash": "input_hash"}"#;

const SETUP: &str = "
CREATE SCHEMA desk;
GRANT USAGE ON SCHEMA desk TO thorbis_owner;
CREATE TABLE desk.bills (
    tenant_id uuid NOT NULL DEFAULT public.get_current_tenant_id(), id uuid NOT NULL DEFAULT gen_random_uuid(),
    currency char(3), tip numeric(10,2), pricing jsonb NOT NULL DEFAULT '{}', note text,
    subtotal numeric(10,2), discount numeric(10,2), tax numeric(10,2), total numeric(10,2), taxes jsonb,
    calc_version text, input_hash bytea,
    PRIMARY KEY (tenant_id, id), FOREIGN KEY (tenant_id) REFERENCES shared.tenants (id) ON DELETE CASCADE);
CREATE TABLE desk.bill_lines (
    tenant_id uuid NOT NULL DEFAULT public.get_current_tenant_id(), id uuid NOT NULL DEFAULT gen_random_uuid(),
    bill_id uuid NOT NULL, unit_price numeric(10,2) NOT NULL, quantity numeric(10,3) NOT NULL DEFAULT 1,
    pricing jsonb, sort_order int NOT NULL DEFAULT 0, voided_at timestamptz, note text,
    net numeric(10,2), line_total numeric(10,2), line_taxes jsonb,
    PRIMARY KEY (tenant_id, id), FOREIGN KEY (tenant_id) REFERENCES shared.tenants (id) ON DELETE CASCADE,
    FOREIGN KEY (tenant_id, bill_id) REFERENCES desk.bills (tenant_id, id) ON DELETE CASCADE);
ALTER TABLE desk.bills OWNER TO thorbis_owner;
ALTER TABLE desk.bill_lines OWNER TO thorbis_owner;
CREATE TRIGGER write_bills_totals BEFORE INSERT OR UPDATE ON desk.bills
    FOR EACH ROW EXECUTE FUNCTION public.keep_document_totals('{spec}');
CREATE TRIGGER insert_bill_lines_totals AFTER INSERT ON desk.bill_lines REFERENCING NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION public.refresh_document_totals('{spec}');
CREATE TRIGGER update_bill_lines_totals AFTER UPDATE ON desk.bill_lines
    REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION public.refresh_document_totals('{spec}');
CREATE TRIGGER delete_bill_lines_totals AFTER DELETE ON desk.bill_lines REFERENCING OLD TABLE AS old_rows
    FOR EACH STATEMENT EXECUTE FUNCTION public.refresh_document_totals('{spec}');
SELECT thorbis.protect('desk.bills', 'menu',
    '{\"not_personal\": [\"currency\", \"pricing\", \"note\", \"taxes\", \"calc_version\"]}');
SELECT thorbis.protect('desk.bill_lines', 'orders', '{\"not_personal\": [\"pricing\", \"note\", \"line_taxes\"]}')";

/// Ten percent of tax, and a discount of one on the order.
pub const PRICING: &str =
    r#"{"taxes": [{"id": "vat", "percent": "10"}], "discounts": [{"id": "one", "amount": "1.00"}]}"#;

pub fn desk() -> Database {
    let db = Database::new();
    ok(db.superuser().batch_execute(&SETUP.replace("{spec}", SPEC)));
    db
}

pub fn bill(client: &mut Client) -> Uuid {
    ok(in_context(client, A.id, A.owner, |tx| {
        Ok(tx.query_one("INSERT INTO desk.bills (pricing) VALUES ($1::text::jsonb) RETURNING id", &[&PRICING])?.get(0))
    }))
}

pub fn run(client: &mut Client, user: Uuid, sql: &str) -> Result<u64, Error> {
    in_context(client, A.id, user, |tx| tx.execute(sql, &[]))
}

/// subtotal, discount, tax, total
pub fn amounts(db: &Database, bill: Uuid) -> [String; 4] {
    let sql = "SELECT subtotal::text, discount::text, tax::text, total::text FROM desk.bills WHERE id = $1";
    let row = ok(db.superuser().query_one(sql, &[&bill]));
    [0, 1, 2, 3].map(|i| row.get::<_, Option<String>>(i).unwrap_or_default())
}

#[track_caller]
pub fn assert_right(db: &Database) {
    let sql =
        "SELECT column_name || ': ' || coalesce(stored, 'NULL') || ', not ' || expected FROM thorbis.verify_totals()";
    let wrong: Vec<String> = ok(db.superuser().query(sql, &[])).iter().map(|row| row.get(0)).collect();
    assert!(wrong.is_empty(), "{wrong:?}");
}

pub fn add(bill: Uuid, prices: &str) -> String {
    format!(
        "INSERT INTO desk.bill_lines (bill_id, unit_price) SELECT '{bill}', p FROM unnest('{{{prices}}}'::numeric[]) p"
    )
}
