-- Invoices. A draft is edited like any row; issuing gives the number, copies the taxes, closes the chain and freezes it.

CREATE TABLE shared.invoices (
    tenant_id uuid NOT NULL DEFAULT @extschema@.get_current_tenant_id(),
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    series text NOT NULL DEFAULT 'invoice',
    invoice_number text,
    status text NOT NULL DEFAULT 'draft',
    document_type text,
    document_id uuid,
    customer_id uuid,
    location_id uuid,
    tax_jurisdiction_id uuid,
    tax_date date NOT NULL,
    currency char(3) NOT NULL,
    rounding_mode text NOT NULL,
    tax_rounding_level text NOT NULL,
    pricing jsonb NOT NULL DEFAULT '{}',
    subtotal numeric(12,2) NOT NULL DEFAULT 0,
    discount_total numeric(12,2) NOT NULL DEFAULT 0,
    service_charge_total numeric(12,2) NOT NULL DEFAULT 0,
    tax_inclusive_total numeric(12,2) NOT NULL DEFAULT 0,
    tax_additive_total numeric(12,2) NOT NULL DEFAULT 0,
    tax_total numeric(12,2) NOT NULL DEFAULT 0,
    tip_amount numeric(12,2) NOT NULL DEFAULT 0,
    total numeric(12,2) NOT NULL DEFAULT 0,
    paid_total numeric(12,2) NOT NULL DEFAULT 0,
    credited_total numeric(12,2) NOT NULL DEFAULT 0,
    due_date date,
    issued_at timestamptz,
    paid_at timestamptz,
    voided_at timestamptz,
    voided_by uuid,
    void_reason text,
    billing_name text,
    billing_address jsonb,
    billing_tax_number text,
    notes text,
    metadata jsonb DEFAULT '{}',
    calculation_hash bytea,
    calculation_version text,
    chain_position bigint,
    prev_hash bytea,
    hash bytea,
    row_version bigint NOT NULL DEFAULT 1,
    created_by uuid DEFAULT @extschema@.get_current_actor_id(),
    updated_by uuid,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT invoices_pkey PRIMARY KEY (tenant_id, id),
    CONSTRAINT invoices_tenant_id_fkey FOREIGN KEY (tenant_id) REFERENCES shared.tenants (id) ON DELETE CASCADE,
    CONSTRAINT invoices_customer_id_fkey
        FOREIGN KEY (tenant_id, customer_id) REFERENCES shared.customers (tenant_id, id),
    CONSTRAINT invoices_location_id_fkey
        FOREIGN KEY (tenant_id, location_id) REFERENCES shared.locations (tenant_id, id),
    CONSTRAINT invoices_tax_jurisdiction_id_fkey
        FOREIGN KEY (tenant_id, tax_jurisdiction_id) REFERENCES shared.tax_jurisdictions (tenant_id, id),
    CONSTRAINT invoices_voided_by_fkey FOREIGN KEY (tenant_id, voided_by) REFERENCES shared.users (tenant_id, id),
    CONSTRAINT invoices_created_by_fkey FOREIGN KEY (tenant_id, created_by) REFERENCES shared.users (tenant_id, id),
    CONSTRAINT invoices_updated_by_fkey FOREIGN KEY (tenant_id, updated_by) REFERENCES shared.users (tenant_id, id),
    CONSTRAINT invoices_status_check CHECK (
        status IN ('draft', 'issued', 'partially_paid', 'paid', 'overdue', 'void', 'credited')),
    CONSTRAINT invoices_invoice_number_check CHECK (
        (status = 'draft') = (invoice_number IS NULL) AND (status = 'draft') = (issued_at IS NULL)
        AND (status = 'draft') = (hash IS NULL) AND (status = 'draft') = (chain_position IS NULL)),
    -- No series of other documents: it would leave a gap there.
    CONSTRAINT invoices_series_check CHECK (series ~ '^invoice(_[a-z0-9_]+)?$'),
    CONSTRAINT invoices_document_id_check CHECK ((document_type IS NULL) = (document_id IS NULL)),
    CONSTRAINT invoices_currency_check CHECK (currency ~ '^[A-Z]{3}$'),
    CONSTRAINT invoices_rounding_mode_check CHECK (rounding_mode IN ('half_even', 'half_up', 'down', 'up')),
    CONSTRAINT invoices_tax_rounding_level_check CHECK (tax_rounding_level IN ('line', 'order')),
    -- What has a column, or follows from one, is not said in pricing too: one of the two would be dropped in silence.
    CONSTRAINT invoices_pricing_check CHECK (
        jsonb_typeof(pricing) = 'object'
        AND NOT pricing ?| ARRAY['currency', 'minor_unit', 'rounding', 'tax_rounding_level', 'lines']),
    CONSTRAINT invoices_tax_date_check CHECK (isfinite(tax_date)),
    CONSTRAINT invoices_due_date_check CHECK (isfinite(due_date)),
    CONSTRAINT invoices_subtotal_check CHECK (subtotal >= 0),
    CONSTRAINT invoices_total_check CHECK (total >= 0),
    CONSTRAINT invoices_paid_total_check CHECK (paid_total BETWEEN 0 AND total),
    CONSTRAINT invoices_credited_total_check CHECK (credited_total BETWEEN 0 AND total),
    CONSTRAINT invoices_void_reason_check CHECK (
        (status = 'void') = (voided_at IS NOT NULL)
        AND (status <> 'void' OR coalesce(btrim(void_reason), '') <> '' AND paid_total = 0 AND credited_total = 0)),
    CONSTRAINT invoices_paid_at_check CHECK (status <> 'paid' OR paid_total + credited_total >= total),
    CONSTRAINT invoices_row_version_check CHECK (row_version > 0)
);

-- Indexes with a condition instead of constraints: their columns are no key that others could refer to, so the issue, which
-- fills them in, does not wait for sessions that inserted a line and wait for the issue.
CREATE UNIQUE INDEX idx_invoices_invoice_number ON shared.invoices (tenant_id, invoice_number)
    WHERE invoice_number IS NOT NULL;
CREATE UNIQUE INDEX idx_invoices_chain_position ON shared.invoices (tenant_id, series, chain_position)
    WHERE chain_position IS NOT NULL;
CREATE INDEX idx_invoices_tenant_status ON shared.invoices (tenant_id, status, due_date);
CREATE INDEX idx_invoices_tenant_issued ON shared.invoices (tenant_id, issued_at);
CREATE INDEX idx_invoices_document ON shared.invoices (tenant_id, document_id) WHERE document_id IS NOT NULL;
CREATE INDEX idx_invoices_customer_id ON shared.invoices (tenant_id, customer_id) WHERE customer_id IS NOT NULL;
CREATE INDEX idx_invoices_location_id ON shared.invoices (tenant_id, location_id) WHERE location_id IS NOT NULL;
CREATE INDEX idx_invoices_tax_jurisdiction_id ON shared.invoices (tenant_id, tax_jurisdiction_id)
    WHERE tax_jurisdiction_id IS NOT NULL;
CREATE INDEX idx_invoices_voided_by ON shared.invoices (tenant_id, voided_by) WHERE voided_by IS NOT NULL;
CREATE INDEX idx_invoices_created_by ON shared.invoices (tenant_id, created_by) WHERE created_by IS NOT NULL;
CREATE INDEX idx_invoices_updated_by ON shared.invoices (tenant_id, updated_by) WHERE updated_by IS NOT NULL;

CREATE TRIGGER write_invoices_freeze
    BEFORE INSERT OR UPDATE OR DELETE ON shared.invoices
    FOR EACH ROW EXECUTE FUNCTION @extschema@.keep_issued('draft', 'invoice_number', 'paid_total', 'credited_total',
        'issued_at', 'paid_at', 'voided_at', 'voided_by', 'void_reason', 'calculation_hash', 'calculation_version',
        'chain_position', 'prev_hash', 'hash');

CREATE TRIGGER insert_invoices_defaults
    BEFORE INSERT ON shared.invoices
    FOR EACH ROW EXECUTE FUNCTION @extschema@.set_currency_defaults();

CREATE TRIGGER write_invoices_status
    BEFORE INSERT OR UPDATE ON shared.invoices
    FOR EACH ROW EXECUTE FUNCTION @extschema@.check_status_transition('invoice');

CREATE TRIGGER write_invoices_status_history
    AFTER INSERT OR UPDATE ON shared.invoices
    FOR EACH ROW EXECUTE FUNCTION @extschema@.record_status_change('invoice');

-- Issuing and voiding are functions that ask for the permission; the others follow from payments, credit notes and time.
INSERT INTO shared.state_transitions (document, from_status, to_status, resource, action, sets_column)
VALUES ('invoice', '', 'draft', 'invoices', 'create', NULL),
    ('invoice', 'draft', 'issued', 'invoices', 'issue', NULL),
    ('invoice', 'issued', 'void', 'invoices', 'void', NULL),
    ('invoice', 'overdue', 'void', 'invoices', 'void', NULL);

INSERT INTO shared.state_transitions (document, from_status, to_status)
SELECT 'invoice', t.from_status, t.to_status
FROM (VALUES ('issued', 'partially_paid'), ('issued', 'paid'), ('issued', 'overdue'), ('issued', 'credited'),
        ('partially_paid', 'issued'), ('partially_paid', 'paid'), ('partially_paid', 'overdue'),
        ('partially_paid', 'credited'), ('paid', 'issued'), ('paid', 'partially_paid'), ('paid', 'credited'),
        ('overdue', 'paid'), ('overdue', 'credited')
    ) AS t (from_status, to_status);

COMMENT ON TABLE shared.invoices IS
    'What a customer owes. Once issued nothing of it changes but the state of its payment: a credit note corrects it';
COMMENT ON COLUMN shared.invoices.tenant_id IS 'The tenant the row belongs to';
COMMENT ON COLUMN shared.invoices.id IS 'Identifies the row within its tenant';
COMMENT ON COLUMN shared.invoices.series IS
    'The number series it takes its number from: invoice, or one that begins with invoice_ and is defined in shared.number_series, with a prefix of its own';
COMMENT ON COLUMN shared.invoices.invoice_number IS 'The legal number, given when it is issued: a draft has none';
COMMENT ON COLUMN shared.invoices.status IS
    'draft, issued, partially_paid, paid, overdue, void or credited. Functions and payments set it, nobody by hand';
COMMENT ON COLUMN shared.invoices.document_type IS
    'Qualified table of what is invoiced, such as restaurants.orders, NULL when it is nothing of ours';
COMMENT ON COLUMN shared.invoices.document_id IS 'Key of what is invoiced in that table';
COMMENT ON COLUMN shared.invoices.customer_id IS 'Who owes, NULL for somebody who is not known';
COMMENT ON COLUMN shared.invoices.location_id IS 'The place that sold, NULL for a tenant with a single one';
COMMENT ON COLUMN shared.invoices.tax_jurisdiction_id IS 'Where the taxes are due, NULL when pricing says the taxes';
COMMENT ON COLUMN shared.invoices.tax_date IS 'The date whose rates hold: that of the supply. Unless given the business date, in the time zone of the location, else of the tenant';
COMMENT ON COLUMN shared.invoices.currency IS 'ISO 4217 code of its money, that of the tenant unless given';
COMMENT ON COLUMN shared.invoices.rounding_mode IS 'How it rounds, as the tenant does unless given';
COMMENT ON COLUMN shared.invoices.tax_rounding_level IS
    'Where tax is rounded: line or order, as for the tenant unless given';
COMMENT ON COLUMN shared.invoices.pricing IS
    'What calculate_order_total() takes beside the columns and lines: discounts, taxes, service_charges, tip. Amounts have the decimals of the currency';
COMMENT ON COLUMN shared.invoices.subtotal IS 'Sum of the lines before discounts, charges and taxes';
COMMENT ON COLUMN shared.invoices.discount_total IS 'Discounts, as a positive amount';
COMMENT ON COLUMN shared.invoices.service_charge_total IS 'Charges of the house';
COMMENT ON COLUMN shared.invoices.tax_inclusive_total IS 'Taxes that the prices contain';
COMMENT ON COLUMN shared.invoices.tax_additive_total IS 'Taxes on top of the prices';
COMMENT ON COLUMN shared.invoices.tax_total IS 'All taxes';
COMMENT ON COLUMN shared.invoices.tip_amount IS 'What the customer gives freely';
COMMENT ON COLUMN shared.invoices.total IS 'What is to be paid';
COMMENT ON COLUMN shared.invoices.paid_total IS 'Sum of the allocations of payments, kept by a trigger';
COMMENT ON COLUMN shared.invoices.credited_total IS 'Sum of the credit notes, kept by the engine';
COMMENT ON COLUMN shared.invoices.due_date IS 'The last day to pay, NULL when it is due at once';
COMMENT ON COLUMN shared.invoices.issued_at IS 'When it was issued';
COMMENT ON COLUMN shared.invoices.paid_at IS 'When it came to be paid in full';
COMMENT ON COLUMN shared.invoices.voided_at IS 'When it was voided';
COMMENT ON COLUMN shared.invoices.voided_by IS 'The user who voided it';
COMMENT ON COLUMN shared.invoices.void_reason IS 'Why it was voided';
COMMENT ON COLUMN shared.invoices.billing_name IS 'Name of the payer as printed. An erasure empties it';
COMMENT ON COLUMN shared.invoices.billing_address IS 'Address of the payer as printed. An erasure empties it';
COMMENT ON COLUMN shared.invoices.billing_tax_number IS 'Tax number of the payer as printed. An erasure empties it';
COMMENT ON COLUMN shared.invoices.notes IS 'What else is printed. An erasure empties it';
COMMENT ON COLUMN shared.invoices.metadata IS 'Whatever else integrations keep about it';
COMMENT ON COLUMN shared.invoices.calculation_hash IS
    'SHA-256 of what the totals were calculated from when it was issued';
COMMENT ON COLUMN shared.invoices.calculation_version IS 'Version of thorbis_db that calculated them';
COMMENT ON COLUMN shared.invoices.chain_position IS 'Place in the chain of its series, from 1';
COMMENT ON COLUMN shared.invoices.prev_hash IS 'Hash of the document before it, NULL for the first';
COMMENT ON COLUMN shared.invoices.hash IS
    'SHA-256 over number, amounts, taxes and prev_hash: thorbis.verify_invoice_chain() compares';
COMMENT ON COLUMN shared.invoices.row_version IS
    'For applications that lock optimistically: they raise it by one where it still is what they read';
COMMENT ON COLUMN shared.invoices.created_by IS 'The user who made the row, NULL when no user of the tenant did';
COMMENT ON COLUMN shared.invoices.updated_by IS 'The user who last changed the row, set by a trigger';
COMMENT ON COLUMN shared.invoices.created_at IS 'When the row was made';
COMMENT ON COLUMN shared.invoices.updated_at IS 'When the row last changed, set by a trigger';

-- What was invoiced and why it was voided belongs to the books and outlives the person; who paid does not. Computed columns
-- and the status are written by the engine.
SELECT thorbis.protect('shared.invoices', 'invoices', '{
    "update_columns": ["series", "document_type", "document_id", "customer_id", "location_id", "tax_jurisdiction_id",
        "tax_date", "currency", "rounding_mode", "tax_rounding_level", "pricing", "due_date", "billing_name",
        "billing_address", "billing_tax_number", "notes", "metadata", "row_version"],
    "subject": {"kind": "customer", "column": "customer_id"},
    "pii": [
        {"column": "billing_name", "method": "clear", "category": "identity"},
        {"column": "billing_address", "method": "clear", "category": "address"},
        {"column": "billing_tax_number", "method": "clear", "category": "financial"},
        {"column": "notes", "method": "clear"},
        {"column": "metadata", "method": "clear"}
    ],
    "not_personal": ["series", "invoice_number", "status", "document_type", "currency", "rounding_mode",
        "tax_rounding_level", "pricing", "void_reason", "calculation_version"]
}');

CREATE TABLE shared.invoice_lines (
    tenant_id uuid NOT NULL DEFAULT @extschema@.get_current_tenant_id(),
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    invoice_id uuid NOT NULL,
    line_number integer NOT NULL,
    description text NOT NULL,
    sku text,
    unit_price numeric(16,6) NOT NULL,
    quantity numeric(13,5) NOT NULL DEFAULT 1,
    tax_category text NOT NULL DEFAULT 'standard',
    pricing jsonb NOT NULL DEFAULT '{}',
    gross numeric(12,2) NOT NULL DEFAULT 0,
    discount_total numeric(12,2) NOT NULL DEFAULT 0,
    net numeric(12,2) NOT NULL DEFAULT 0,
    tax_inclusive numeric(12,2) NOT NULL DEFAULT 0,
    tax_additive numeric(12,2) NOT NULL DEFAULT 0,
    total numeric(12,2) NOT NULL DEFAULT 0,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT invoice_lines_pkey PRIMARY KEY (tenant_id, id),
    CONSTRAINT invoice_lines_tenant_id_fkey FOREIGN KEY (tenant_id) REFERENCES shared.tenants (id) ON DELETE CASCADE,
    CONSTRAINT invoice_lines_invoice_id_fkey
        FOREIGN KEY (tenant_id, invoice_id) REFERENCES shared.invoices (tenant_id, id) ON DELETE CASCADE,
    CONSTRAINT invoice_lines_line_number_unique UNIQUE (tenant_id, invoice_id, line_number),
    CONSTRAINT invoice_lines_description_check CHECK (btrim(description) <> ''),
    -- NaN is greater than every number to PostgreSQL.
    CONSTRAINT invoice_lines_unit_price_check CHECK (unit_price >= 0 AND unit_price < 'NaN'),
    CONSTRAINT invoice_lines_quantity_check CHECK (quantity > 0 AND quantity < 'NaN'),
    CONSTRAINT invoice_lines_pricing_check CHECK (
        jsonb_typeof(pricing) = 'object' AND NOT pricing ?| ARRAY['id', 'unit_price', 'quantity'])
);

-- New lines are refused by the trigger of the totals.
CREATE TRIGGER write_invoice_lines_freeze
    BEFORE UPDATE OR DELETE ON shared.invoice_lines
    FOR EACH ROW EXECUTE FUNCTION @extschema@.keep_lines_of_issued();

COMMENT ON TABLE shared.invoice_lines IS
    'The lines of an invoice, with texts and prices as they were when it was issued';
COMMENT ON COLUMN shared.invoice_lines.tenant_id IS 'The tenant the row belongs to';
COMMENT ON COLUMN shared.invoice_lines.id IS 'Identifies the row within its tenant';
COMMENT ON COLUMN shared.invoice_lines.invoice_id IS 'The invoice it is a line of';
COMMENT ON COLUMN shared.invoice_lines.line_number IS
    'Place on the invoice, lowest first: also the order of the calculation';
COMMENT ON COLUMN shared.invoice_lines.description IS 'What was sold, as printed';
COMMENT ON COLUMN shared.invoice_lines.sku IS 'Number of the article';
COMMENT ON COLUMN shared.invoice_lines.unit_price IS 'Price of one';
COMMENT ON COLUMN shared.invoice_lines.quantity IS 'How many, or how much';
COMMENT ON COLUMN shared.invoice_lines.tax_category IS 'Category of goods, which decides the taxes';
COMMENT ON COLUMN shared.invoice_lines.pricing IS
    'What calculate_order_total() takes of a line beside price and quantity: discounts, taxes, modifiers, tax_exempt';
COMMENT ON COLUMN shared.invoice_lines.gross IS 'Price times quantity with modifiers';
COMMENT ON COLUMN shared.invoice_lines.discount_total IS
    'Discounts on the line, its share of those on the invoice included';
COMMENT ON COLUMN shared.invoice_lines.net IS 'What is left after discounts, without taxes the price contains';
COMMENT ON COLUMN shared.invoice_lines.tax_inclusive IS 'Taxes the price contains';
COMMENT ON COLUMN shared.invoice_lines.tax_additive IS 'Taxes on top';
COMMENT ON COLUMN shared.invoice_lines.total IS 'What is left after discounts plus taxes on top';
COMMENT ON COLUMN shared.invoice_lines.created_at IS 'When the row was made';
COMMENT ON COLUMN shared.invoice_lines.updated_at IS 'When the row last changed, set by a trigger';

SELECT thorbis.protect('shared.invoice_lines', 'invoices', '{
    "update_columns": ["line_number", "description", "sku", "unit_price", "quantity", "tax_category", "pricing"],
    "subject": {"kind": "customer", "column": "invoice_id", "through": "shared.invoices"},
    "not_personal": ["description", "sku", "tax_category", "pricing"]
}');

-- The amounts of a draft are what calculate_order_total() makes of it.
DO $do$
DECLARE
    totals text := '{"document": "shared.invoices", "lines": "shared.invoice_lines", "key": "invoice_id", "order": ["line_number"],
        "pricing": "pricing", "line_pricing": "pricing",
        "document_inputs": {"currency": "currency", "rounding": "rounding_mode", "tax_rounding_level": "tax_rounding_level"},
        "document_outputs": {"subtotal": "subtotal", "discount_total": "discount_total",
            "service_charge_total": "service_charge_total", "tax_inclusive_total": "tax_inclusive_total",
            "tax_additive_total": "tax_additive_total", "tax_total": "tax_total", "tip_amount": "tip", "total": "total"},
        "line_outputs": {"gross": "gross", "discount_total": "discount", "net": "net", "tax_inclusive": "tax_inclusive",
            "tax_additive": "tax_additive", "total": "total"},
        "version": "calculation_version", "hash": "calculation_hash", "while": {"status": ["draft"]}}';
BEGIN
    EXECUTE format('CREATE TRIGGER write_invoices_totals BEFORE INSERT OR UPDATE ON shared.invoices
        FOR EACH ROW EXECUTE FUNCTION @extschema@.keep_document_totals(%L)', totals);
    EXECUTE format('CREATE TRIGGER insert_invoice_lines_totals AFTER INSERT ON shared.invoice_lines
        REFERENCING NEW TABLE AS new_rows
        FOR EACH STATEMENT EXECUTE FUNCTION @extschema@.refresh_document_totals(%L)', totals);
    EXECUTE format('CREATE TRIGGER update_invoice_lines_totals AFTER UPDATE ON shared.invoice_lines
        REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows
        FOR EACH STATEMENT EXECUTE FUNCTION @extschema@.refresh_document_totals(%L)', totals);
    EXECUTE format('CREATE TRIGGER delete_invoice_lines_totals AFTER DELETE ON shared.invoice_lines
        REFERENCING OLD TABLE AS old_rows
        FOR EACH STATEMENT EXECUTE FUNCTION @extschema@.refresh_document_totals(%L)', totals);
END
$do$;

CREATE TABLE shared.invoice_taxes (
    tenant_id uuid NOT NULL DEFAULT @extschema@.get_current_tenant_id(),
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    invoice_id uuid NOT NULL,
    invoice_line_id uuid,
    tax_key text NOT NULL,
    jurisdiction_code text NOT NULL DEFAULT '',
    category text NOT NULL DEFAULT '',
    code text NOT NULL,
    name text NOT NULL,
    percent numeric(9,6),
    per_unit numeric(12,2),
    is_inclusive boolean NOT NULL,
    is_compound boolean NOT NULL,
    taxable_amount numeric(12,2) NOT NULL,
    amount numeric(12,2) NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT invoice_taxes_pkey PRIMARY KEY (tenant_id, id),
    CONSTRAINT invoice_taxes_tenant_id_fkey FOREIGN KEY (tenant_id) REFERENCES shared.tenants (id) ON DELETE CASCADE,
    CONSTRAINT invoice_taxes_invoice_id_fkey
        FOREIGN KEY (tenant_id, invoice_id) REFERENCES shared.invoices (tenant_id, id) ON DELETE CASCADE,
    CONSTRAINT invoice_taxes_invoice_line_id_fkey
        FOREIGN KEY (tenant_id, invoice_line_id) REFERENCES shared.invoice_lines (tenant_id, id) ON DELETE CASCADE,
    CONSTRAINT invoice_taxes_invoice_line_id_unique UNIQUE (tenant_id, invoice_id, invoice_line_id, tax_key),
    CONSTRAINT invoice_taxes_percent_check CHECK ((percent IS NULL) <> (per_unit IS NULL)),
    CONSTRAINT invoice_taxes_amount_check CHECK (amount >= 0)
);

CREATE INDEX idx_invoice_taxes_invoice_line_id ON shared.invoice_taxes (tenant_id, invoice_line_id)
    WHERE invoice_line_id IS NOT NULL;

CREATE TRIGGER write_invoice_taxes_freeze
    BEFORE UPDATE OR DELETE ON shared.invoice_taxes
    FOR EACH ROW EXECUTE FUNCTION @extschema@.keep_issued('');

CREATE TRIGGER truncate_invoice_taxes_append_only
    BEFORE TRUNCATE ON shared.invoice_taxes
    FOR EACH STATEMENT EXECUTE FUNCTION @extschema@.keep_append_only();

COMMENT ON TABLE shared.invoice_taxes IS
    'The taxes of an issued invoice, each with the rate as it was: a copy, never looked up again';
COMMENT ON COLUMN shared.invoice_taxes.tenant_id IS 'The tenant the row belongs to';
COMMENT ON COLUMN shared.invoice_taxes.id IS 'Identifies the row within its tenant';
COMMENT ON COLUMN shared.invoice_taxes.invoice_id IS 'The invoice';
COMMENT ON COLUMN shared.invoice_taxes.invoice_line_id IS 'The line it is due on, NULL for a charge of the house';
COMMENT ON COLUMN shared.invoice_taxes.tax_key IS
    'What pricing calls the tax: the key of its rate when that was looked up';
COMMENT ON COLUMN shared.invoice_taxes.jurisdiction_code IS 'Who levies it';
COMMENT ON COLUMN shared.invoice_taxes.category IS 'Category of goods of the rate';
COMMENT ON COLUMN shared.invoice_taxes.code IS 'Which tax, such as VAT';
COMMENT ON COLUMN shared.invoice_taxes.name IS 'Name as printed';
COMMENT ON COLUMN shared.invoice_taxes.percent IS 'Percentage, NULL for a tax on each unit';
COMMENT ON COLUMN shared.invoice_taxes.per_unit IS 'Amount on each unit, NULL for a percentage';
COMMENT ON COLUMN shared.invoice_taxes.is_inclusive IS 'True when the price contains it';
COMMENT ON COLUMN shared.invoice_taxes.is_compound IS 'True when it is due on the taxes before it too';
COMMENT ON COLUMN shared.invoice_taxes.taxable_amount IS 'The net amount it is due on';
COMMENT ON COLUMN shared.invoice_taxes.amount IS 'The tax';
COMMENT ON COLUMN shared.invoice_taxes.created_at IS 'When the row was made';
COMMENT ON COLUMN shared.invoice_taxes.updated_at IS 'When the row last changed, set by a trigger';

SELECT thorbis.protect('shared.invoice_taxes', 'invoices', '{
    "actions": ["select"], "platform_actions": ["select"],
    "subject": {"kind": "customer", "column": "invoice_id", "through": "shared.invoices"},
    "not_personal": ["tax_key", "jurisdiction_code", "category", "code", "name"]
}');

-- What applications call. The rights are checked inside.

CREATE FUNCTION shared.issue_invoice(invoice_id uuid) RETURNS text
    LANGUAGE sql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
    AS $function$ SELECT thorbis.issue_invoice(invoice_id) $function$;

COMMENT ON FUNCTION shared.issue_invoice(uuid) IS
    'Issues a draft of the current tenant and returns its number: taxes are copied (22023 when rates were applied and a line does not have those of its category, and for a currency that shared.currencies does not have), the chain is continued, and nothing changes any more but the state of its payment. Needs invoices:issue. Issued already: its number, again';
REVOKE ALL ON FUNCTION shared.issue_invoice(uuid) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION shared.issue_invoice(uuid) TO thorbis_app, thorbis_platform;

CREATE FUNCTION shared.void_invoice(invoice_id uuid, reason text) RETURNS void
    LANGUAGE sql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
    AS $function$ SELECT thorbis.void_invoice(invoice_id, reason) $function$;

COMMENT ON FUNCTION shared.void_invoice(uuid, text) IS
    'Voids an issued invoice that nobody paid and no credit note corrects, with the reason. It keeps its number. Needs invoices:void';
REVOKE ALL ON FUNCTION shared.void_invoice(uuid, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION shared.void_invoice(uuid, text) TO thorbis_app, thorbis_platform;
