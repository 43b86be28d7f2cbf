-- Credit notes, and the ends of the chains of issued documents. A credit note is made and issued in one step, by
-- shared.credit_invoice() alone.

CREATE TABLE shared.hash_chains (
    tenant_id uuid NOT NULL DEFAULT @extschema@.get_current_tenant_id(),
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    document text NOT NULL,
    series text NOT NULL,
    last_position bigint NOT NULL DEFAULT 0,
    last_hash bytea,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT hash_chains_pkey PRIMARY KEY (tenant_id, id),
    CONSTRAINT hash_chains_tenant_id_fkey FOREIGN KEY (tenant_id) REFERENCES shared.tenants (id) ON DELETE CASCADE,
    CONSTRAINT hash_chains_document_unique UNIQUE (tenant_id, document, series),
    CONSTRAINT hash_chains_document_check CHECK (document IN ('invoice', 'credit_note')),
    CONSTRAINT hash_chains_last_position_check CHECK (last_position >= 0 AND (last_position = 0) = (last_hash IS NULL))
);

COMMENT ON TABLE shared.hash_chains IS
    'The end of each chain of issued documents: one row for each kind and series, which the next issue locks';
COMMENT ON COLUMN shared.hash_chains.tenant_id IS 'The tenant the row belongs to';
COMMENT ON COLUMN shared.hash_chains.id IS 'Identifies the row within its tenant';
COMMENT ON COLUMN shared.hash_chains.document IS 'What is chained: invoice or credit_note';
COMMENT ON COLUMN shared.hash_chains.series IS 'The number series of the documents';
COMMENT ON COLUMN shared.hash_chains.last_position IS 'How many documents the chain has';
COMMENT ON COLUMN shared.hash_chains.last_hash IS 'Hash of the last one, NULL while there is none';
COMMENT ON COLUMN shared.hash_chains.created_at IS 'When the row was made';
COMMENT ON COLUMN shared.hash_chains.updated_at IS 'When the row last changed, set by a trigger';

-- What stands here stands in the documents too, which are logged.
SELECT thorbis.protect('shared.hash_chains', 'invoices', '{
    "actions": ["select"], "platform_actions": ["select"], "audit": false, "not_personal": ["document", "series"]
}');

CREATE TABLE shared.credit_notes (
    tenant_id uuid NOT NULL DEFAULT @extschema@.get_current_tenant_id(),
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    invoice_id uuid NOT NULL,
    series text NOT NULL DEFAULT 'credit_note',
    credit_note_number text NOT NULL,
    reason text NOT NULL,
    currency char(3) NOT NULL,
    net_total numeric(12,2) NOT NULL DEFAULT 0,
    tax_total numeric(12,2) NOT NULL DEFAULT 0,
    charge_total numeric(12,2) NOT NULL DEFAULT 0,
    total numeric(12,2) NOT NULL DEFAULT 0,
    issued_at timestamptz NOT NULL DEFAULT now(),
    idempotency_key text NOT NULL,
    request_hash bytea NOT NULL,
    chain_position bigint NOT NULL,
    prev_hash bytea,
    hash bytea NOT NULL,
    created_by uuid DEFAULT @extschema@.get_current_actor_id(),
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT credit_notes_pkey PRIMARY KEY (tenant_id, id),
    CONSTRAINT credit_notes_tenant_id_fkey FOREIGN KEY (tenant_id) REFERENCES shared.tenants (id) ON DELETE CASCADE,
    CONSTRAINT credit_notes_invoice_id_fkey
        FOREIGN KEY (tenant_id, invoice_id) REFERENCES shared.invoices (tenant_id, id),
    CONSTRAINT credit_notes_created_by_fkey
        FOREIGN KEY (tenant_id, created_by) REFERENCES shared.users (tenant_id, id),
    CONSTRAINT credit_notes_series_unique UNIQUE (tenant_id, series, credit_note_number),
    CONSTRAINT credit_notes_chain_position_unique UNIQUE (tenant_id, series, chain_position),
    CONSTRAINT credit_notes_idempotency_key_unique UNIQUE (tenant_id, idempotency_key),
    CONSTRAINT credit_notes_reason_check CHECK (btrim(reason) <> ''),
    CONSTRAINT credit_notes_idempotency_key_check CHECK (length(idempotency_key) BETWEEN 1 AND 200),
    CONSTRAINT credit_notes_total_check CHECK (total = net_total + tax_total + charge_total AND total >= 0 AND charge_total >= 0)
);

CREATE INDEX idx_credit_notes_invoice_id ON shared.credit_notes (tenant_id, invoice_id);
CREATE INDEX idx_credit_notes_created_by ON shared.credit_notes (tenant_id, created_by) WHERE created_by IS NOT NULL;

CREATE TRIGGER write_credit_notes_freeze
    BEFORE UPDATE OR DELETE ON shared.credit_notes
    FOR EACH ROW EXECUTE FUNCTION @extschema@.keep_issued('');

CREATE TRIGGER truncate_credit_notes_append_only
    BEFORE TRUNCATE ON shared.credit_notes
    FOR EACH STATEMENT EXECUTE FUNCTION @extschema@.keep_append_only();

COMMENT ON TABLE shared.credit_notes IS
    'Corrections of issued invoices. Each has a legal number, a place in the chain, and never changes';
COMMENT ON COLUMN shared.credit_notes.tenant_id IS 'The tenant the row belongs to';
COMMENT ON COLUMN shared.credit_notes.id IS 'Identifies the row within its tenant';
COMMENT ON COLUMN shared.credit_notes.invoice_id IS 'The invoice it corrects';
COMMENT ON COLUMN shared.credit_notes.series IS 'The number series it takes its number from';
COMMENT ON COLUMN shared.credit_notes.credit_note_number IS 'The legal number';
COMMENT ON COLUMN shared.credit_notes.reason IS 'Why it was written';
COMMENT ON COLUMN shared.credit_notes.currency IS 'ISO 4217 code of its money, that of the invoice';
COMMENT ON COLUMN shared.credit_notes.net_total IS 'What is taken back of the lines, without taxes';
COMMENT ON COLUMN shared.credit_notes.tax_total IS 'What is taken back of the taxes on the lines';
COMMENT ON COLUMN shared.credit_notes.charge_total IS 'What is taken back of charges, their taxes and the tip';
COMMENT ON COLUMN shared.credit_notes.total IS 'What is taken back in all';
COMMENT ON COLUMN shared.credit_notes.issued_at IS 'When it was issued';
COMMENT ON COLUMN shared.credit_notes.idempotency_key IS 'Key of the request: the same again makes no second one';
COMMENT ON COLUMN shared.credit_notes.request_hash IS 'SHA-256 of the request';
COMMENT ON COLUMN shared.credit_notes.chain_position IS 'Place in the chain of its series, from 1';
COMMENT ON COLUMN shared.credit_notes.prev_hash IS 'Hash of the document before it, NULL for the first';
COMMENT ON COLUMN shared.credit_notes.hash IS
    'SHA-256 over number, amounts and prev_hash: thorbis.verify_invoice_chain() compares';
COMMENT ON COLUMN shared.credit_notes.created_by IS 'The user who made the row, NULL when no user of the tenant did';
COMMENT ON COLUMN shared.credit_notes.created_at IS 'When the row was made';
COMMENT ON COLUMN shared.credit_notes.updated_at IS 'When the row last changed, set by a trigger';

SELECT thorbis.protect('shared.credit_notes', 'invoices', '{
    "actions": ["select"], "platform_actions": ["select"],
    "subject": {"kind": "customer", "column": "invoice_id", "through": "shared.invoices"},
    "not_personal": ["series", "credit_note_number", "reason", "currency", "idempotency_key"]
}');

CREATE TABLE shared.credit_note_lines (
    tenant_id uuid NOT NULL DEFAULT @extschema@.get_current_tenant_id(),
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    credit_note_id uuid NOT NULL,
    invoice_line_id uuid NOT NULL,
    quantity numeric(13,5) NOT NULL,
    net numeric(12,2) NOT NULL DEFAULT 0,
    tax numeric(12,2) NOT NULL DEFAULT 0,
    total numeric(12,2) NOT NULL DEFAULT 0,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT credit_note_lines_pkey PRIMARY KEY (tenant_id, id),
    CONSTRAINT credit_note_lines_tenant_id_fkey FOREIGN KEY (tenant_id) REFERENCES shared.tenants (id) ON DELETE CASCADE,
    CONSTRAINT credit_note_lines_credit_note_id_fkey
        FOREIGN KEY (tenant_id, credit_note_id) REFERENCES shared.credit_notes (tenant_id, id) ON DELETE CASCADE,
    CONSTRAINT credit_note_lines_invoice_line_id_fkey
        FOREIGN KEY (tenant_id, invoice_line_id) REFERENCES shared.invoice_lines (tenant_id, id),
    CONSTRAINT credit_note_lines_invoice_line_id_unique UNIQUE (tenant_id, credit_note_id, invoice_line_id),
    CONSTRAINT credit_note_lines_quantity_check CHECK (quantity > 0),
    CONSTRAINT credit_note_lines_total_check CHECK (total = net + tax)
);

CREATE INDEX idx_credit_note_lines_invoice_line_id ON shared.credit_note_lines (tenant_id, invoice_line_id);

CREATE TRIGGER write_credit_note_lines_freeze
    BEFORE UPDATE OR DELETE ON shared.credit_note_lines
    FOR EACH ROW EXECUTE FUNCTION @extschema@.keep_issued('');

CREATE TRIGGER truncate_credit_note_lines_append_only
    BEFORE TRUNCATE ON shared.credit_note_lines
    FOR EACH STATEMENT EXECUTE FUNCTION @extschema@.keep_append_only();

COMMENT ON TABLE shared.credit_note_lines IS
    'What a credit note takes back of each line: a quantity, and its share of the amounts to the cent';
COMMENT ON COLUMN shared.credit_note_lines.tenant_id IS 'The tenant the row belongs to';
COMMENT ON COLUMN shared.credit_note_lines.id IS 'Identifies the row within its tenant';
COMMENT ON COLUMN shared.credit_note_lines.credit_note_id IS 'The credit note';
COMMENT ON COLUMN shared.credit_note_lines.invoice_line_id IS 'The line it takes back of';
COMMENT ON COLUMN shared.credit_note_lines.quantity IS 'How much of it';
COMMENT ON COLUMN shared.credit_note_lines.net IS 'Share of the net amount';
COMMENT ON COLUMN shared.credit_note_lines.tax IS 'Share of its taxes';
COMMENT ON COLUMN shared.credit_note_lines.total IS 'Both';
COMMENT ON COLUMN shared.credit_note_lines.created_at IS 'When the row was made';
COMMENT ON COLUMN shared.credit_note_lines.updated_at IS 'When the row last changed, set by a trigger';

SELECT thorbis.protect('shared.credit_note_lines', 'invoices', '{
    "actions": ["select"], "platform_actions": ["select"],
    "subject": {"kind": "customer", "column": "credit_note_id", "through": "shared.credit_notes"}
}');

CREATE TABLE shared.credit_note_taxes (
    tenant_id uuid NOT NULL DEFAULT @extschema@.get_current_tenant_id(),
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    credit_note_id uuid NOT NULL,
    invoice_tax_id uuid NOT NULL,
    taxable_amount numeric(12,2) NOT NULL DEFAULT 0,
    amount numeric(12,2) NOT NULL DEFAULT 0,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT credit_note_taxes_pkey PRIMARY KEY (tenant_id, id),
    CONSTRAINT credit_note_taxes_tenant_id_fkey FOREIGN KEY (tenant_id) REFERENCES shared.tenants (id) ON DELETE CASCADE,
    CONSTRAINT credit_note_taxes_credit_note_id_fkey
        FOREIGN KEY (tenant_id, credit_note_id) REFERENCES shared.credit_notes (tenant_id, id) ON DELETE CASCADE,
    CONSTRAINT credit_note_taxes_invoice_tax_id_fkey
        FOREIGN KEY (tenant_id, invoice_tax_id) REFERENCES shared.invoice_taxes (tenant_id, id),
    CONSTRAINT credit_note_taxes_invoice_tax_id_unique UNIQUE (tenant_id, credit_note_id, invoice_tax_id)
);

CREATE INDEX idx_credit_note_taxes_invoice_tax_id ON shared.credit_note_taxes (tenant_id, invoice_tax_id);

CREATE TRIGGER write_credit_note_taxes_freeze
    BEFORE UPDATE OR DELETE ON shared.credit_note_taxes
    FOR EACH ROW EXECUTE FUNCTION @extschema@.keep_issued('');

CREATE TRIGGER truncate_credit_note_taxes_append_only
    BEFORE TRUNCATE ON shared.credit_note_taxes
    FOR EACH STATEMENT EXECUTE FUNCTION @extschema@.keep_append_only();

COMMENT ON TABLE shared.credit_note_taxes IS 'What a credit note takes back of each tax of an invoice';
COMMENT ON COLUMN shared.credit_note_taxes.tenant_id IS 'The tenant the row belongs to';
COMMENT ON COLUMN shared.credit_note_taxes.id IS 'Identifies the row within its tenant';
COMMENT ON COLUMN shared.credit_note_taxes.credit_note_id IS 'The credit note';
COMMENT ON COLUMN shared.credit_note_taxes.invoice_tax_id IS 'The tax it takes back of';
COMMENT ON COLUMN shared.credit_note_taxes.taxable_amount IS 'Share of the amount it was due on';
COMMENT ON COLUMN shared.credit_note_taxes.amount IS 'Share of the tax';
COMMENT ON COLUMN shared.credit_note_taxes.created_at IS 'When the row was made';
COMMENT ON COLUMN shared.credit_note_taxes.updated_at IS 'When the row last changed, set by a trigger';

SELECT thorbis.protect('shared.credit_note_taxes', 'invoices', '{
    "actions": ["select"], "platform_actions": ["select"],
    "subject": {"kind": "customer", "column": "credit_note_id", "through": "shared.credit_notes"}
}');

CREATE FUNCTION shared.credit_invoice(invoice_id uuid, reason text, idempotency_key text, lines jsonb DEFAULT NULL,
        charge_amount numeric DEFAULT NULL) RETURNS uuid
    LANGUAGE sql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
    AS $function$
SELECT thorbis.credit_invoice(jsonb_strip_nulls(jsonb_build_object('invoice_id', $1, 'reason', $2,
    'idempotency_key', $3, 'lines', $4, 'charge_amount', trim_scale($5)::text)))
$function$;

COMMENT ON FUNCTION shared.credit_invoice(uuid, text, text, jsonb, numeric) IS
    'Writes a credit note to an issued invoice and returns its key. lines: [{"invoice_line_id", "quantity"}], at most 2500, charge_amount: what is taken back of charges and tip; without both, everything that is left. Amounts are shares to the cent that add up to the invoice, however it is split. The same key again: the same credit note. Needs invoices:issue';
REVOKE ALL ON FUNCTION shared.credit_invoice(uuid, text, text, jsonb, numeric) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION shared.credit_invoice(uuid, text, text, jsonb, numeric) TO thorbis_app, thorbis_platform;
