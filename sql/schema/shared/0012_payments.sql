-- Payments, what they pay, and what was paid back. Written by the functions below: a row says what happened to money.

CREATE TABLE shared.payments (
    tenant_id uuid NOT NULL DEFAULT @extschema@.get_current_tenant_id(),
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    customer_id uuid,
    location_id uuid,
    method text NOT NULL,
    status text NOT NULL DEFAULT 'pending',
    currency char(3) NOT NULL,
    amount numeric(12,2) NOT NULL,
    tip_amount numeric(12,2) NOT NULL DEFAULT 0,
    tendered_amount numeric(12,2),
    change_amount numeric(12,2) NOT NULL DEFAULT 0,
    allocated_total numeric(12,2) NOT NULL DEFAULT 0,
    refunded_amount numeric(12,2) NOT NULL DEFAULT 0,
    refunded_tip numeric(12,2) NOT NULL DEFAULT 0,
    authorized_at timestamptz,
    captured_at timestamptz,
    failed_at timestamptz,
    voided_at timestamptz,
    refunded_at timestamptz,
    processor text,
    processor_reference text,
    idempotency_key text NOT NULL,
    request_hash bytea NOT NULL,
    metadata jsonb DEFAULT '{}',
    row_version bigint NOT NULL DEFAULT 1,
    created_by uuid DEFAULT @extschema@.get_current_actor_id(),
    updated_by uuid,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT payments_pkey PRIMARY KEY (tenant_id, id),
    CONSTRAINT payments_tenant_id_fkey FOREIGN KEY (tenant_id) REFERENCES shared.tenants (id) ON DELETE CASCADE,
    CONSTRAINT payments_customer_id_fkey
        FOREIGN KEY (tenant_id, customer_id) REFERENCES shared.customers (tenant_id, id),
    CONSTRAINT payments_location_id_fkey
        FOREIGN KEY (tenant_id, location_id) REFERENCES shared.locations (tenant_id, id),
    CONSTRAINT payments_created_by_fkey FOREIGN KEY (tenant_id, created_by) REFERENCES shared.users (tenant_id, id),
    CONSTRAINT payments_updated_by_fkey FOREIGN KEY (tenant_id, updated_by) REFERENCES shared.users (tenant_id, id),
    CONSTRAINT payments_idempotency_key_unique UNIQUE (tenant_id, idempotency_key),
    CONSTRAINT payments_idempotency_key_check CHECK (length(idempotency_key) BETWEEN 1 AND 200),
    CONSTRAINT payments_method_check CHECK (method IN ('cash', 'card', 'bank_transfer', 'direct_debit', 'cheque', 'gift_card',
        'store_credit', 'other')),
    CONSTRAINT payments_status_check CHECK (status IN ('pending', 'authorized', 'captured', 'partially_refunded', 'refunded', 'failed',
        'voided')),
    CONSTRAINT payments_currency_check CHECK (currency ~ '^[A-Z]{3}$'),
    CONSTRAINT payments_amount_check CHECK (amount >= 0 AND tip_amount >= 0 AND amount + tip_amount > 0),
    CONSTRAINT payments_change_amount_check CHECK (change_amount >= 0 AND (method = 'cash' OR change_amount = 0)
        AND change_amount = coalesce(tendered_amount - amount - tip_amount, 0)),
    CONSTRAINT payments_allocated_total_check CHECK (
        allocated_total >= 0 AND allocated_total <= amount - refunded_amount
        AND (allocated_total = 0 OR captured_at IS NOT NULL)),
    CONSTRAINT payments_refunded_amount_check CHECK (refunded_amount BETWEEN 0 AND amount),
    CONSTRAINT payments_refunded_tip_check CHECK (
        refunded_tip >= 0 AND refunded_tip <= tip_amount
        AND (refunded_amount + refunded_tip = 0 OR captured_at IS NOT NULL)),
    CONSTRAINT payments_captured_at_check CHECK (
        (status IN ('captured', 'partially_refunded', 'refunded')) = (captured_at IS NOT NULL)),
    CONSTRAINT payments_refunded_at_check CHECK (
        (status = 'refunded') = (refunded_amount = amount AND refunded_tip = tip_amount))
);

CREATE INDEX idx_payments_tenant_status ON shared.payments (tenant_id, status);
CREATE INDEX idx_payments_tenant_captured ON shared.payments (tenant_id, captured_at) WHERE captured_at IS NOT NULL;
CREATE INDEX idx_payments_customer_id ON shared.payments (tenant_id, customer_id) WHERE customer_id IS NOT NULL;
CREATE INDEX idx_payments_location_id ON shared.payments (tenant_id, location_id) WHERE location_id IS NOT NULL;
CREATE INDEX idx_payments_created_by ON shared.payments (tenant_id, created_by) WHERE created_by IS NOT NULL;
CREATE INDEX idx_payments_updated_by ON shared.payments (tenant_id, updated_by) WHERE updated_by IS NOT NULL;

CREATE TRIGGER write_payments_freeze
    BEFORE UPDATE OR DELETE ON shared.payments
    FOR EACH ROW EXECUTE FUNCTION @extschema@.keep_issued('');

CREATE TRIGGER truncate_payments_append_only
    BEFORE TRUNCATE ON shared.payments
    FOR EACH STATEMENT EXECUTE FUNCTION @extschema@.keep_append_only();

CREATE TRIGGER insert_payments_defaults
    BEFORE INSERT ON shared.payments
    FOR EACH ROW EXECUTE FUNCTION @extschema@.set_currency_defaults();

CREATE TRIGGER write_payments_status
    BEFORE INSERT OR UPDATE ON shared.payments
    FOR EACH ROW EXECUTE FUNCTION @extschema@.check_status_transition('payment');

CREATE TRIGGER write_payments_status_history
    AFTER INSERT OR UPDATE ON shared.payments
    FOR EACH ROW EXECUTE FUNCTION @extschema@.record_status_change('payment');

INSERT INTO shared.state_transitions (document, from_status, to_status, resource, action)
VALUES ('payment', '', 'pending', 'payments', 'record'),
    ('payment', '', 'authorized', 'payments', 'record'),
    ('payment', '', 'captured', 'payments', 'record'),
    ('payment', 'pending', 'authorized', 'payments', 'record'),
    ('payment', 'pending', 'captured', 'payments', 'record'),
    ('payment', 'authorized', 'captured', 'payments', 'record'),
    ('payment', 'pending', 'failed', 'payments', 'record'),
    ('payment', 'authorized', 'failed', 'payments', 'record'),
    ('payment', 'pending', 'voided', 'payments', 'void'),
    ('payment', 'authorized', 'voided', 'payments', 'void'),
    ('payment', 'captured', 'partially_refunded', 'payments', 'refund'),
    ('payment', 'captured', 'refunded', 'payments', 'refund'),
    ('payment', 'partially_refunded', 'refunded', 'payments', 'refund');

COMMENT ON TABLE shared.payments IS
    'Money that customers pay. amount pays documents; the tip and the change are apart';
COMMENT ON COLUMN shared.payments.tenant_id IS 'The tenant the row belongs to';
COMMENT ON COLUMN shared.payments.id IS 'Identifies the row within its tenant';
COMMENT ON COLUMN shared.payments.customer_id IS 'Who pays, NULL for somebody who is not known';
COMMENT ON COLUMN shared.payments.location_id IS 'The place that takes it, NULL for a tenant with a single one';
COMMENT ON COLUMN shared.payments.method IS
    'cash, card, bank_transfer, direct_debit, cheque, gift_card, store_credit or other';
COMMENT ON COLUMN shared.payments.status IS
    'pending, authorized, captured, partially_refunded, refunded, failed or voided';
COMMENT ON COLUMN shared.payments.currency IS 'ISO 4217 code of its money, that of the tenant unless given';
COMMENT ON COLUMN shared.payments.amount IS 'What it pays of documents, without tip and change';
COMMENT ON COLUMN shared.payments.tip_amount IS 'What the customer gives freely beside it';
COMMENT ON COLUMN shared.payments.tendered_amount IS 'What was handed over in cash, NULL when that was not counted';
COMMENT ON COLUMN shared.payments.change_amount IS 'What was handed back at once';
COMMENT ON COLUMN shared.payments.allocated_total IS 'Sum of its allocations, kept by a trigger';
COMMENT ON COLUMN shared.payments.refunded_amount IS 'What was paid back of amount, kept by a trigger';
COMMENT ON COLUMN shared.payments.refunded_tip IS 'What was paid back of the tip, kept by a trigger';
COMMENT ON COLUMN shared.payments.authorized_at IS 'When it was authorized';
COMMENT ON COLUMN shared.payments.captured_at IS 'When the money was taken';
COMMENT ON COLUMN shared.payments.failed_at IS 'When it failed';
COMMENT ON COLUMN shared.payments.voided_at IS 'When it was given up before the money was taken';
COMMENT ON COLUMN shared.payments.refunded_at IS 'When money was last paid back';
COMMENT ON COLUMN shared.payments.processor IS 'Who processes it, such as a card acquirer';
COMMENT ON COLUMN shared.payments.processor_reference IS
    'Its name at the processor: finds it there, and moves no money';
COMMENT ON COLUMN shared.payments.idempotency_key IS 'Key of the request: the same again makes no second payment';
COMMENT ON COLUMN shared.payments.request_hash IS 'SHA-256 of the request';
COMMENT ON COLUMN shared.payments.metadata IS 'Whatever else integrations keep about it';
COMMENT ON COLUMN shared.payments.row_version IS
    'For applications that lock optimistically: they raise it by one where it still is what they read';
COMMENT ON COLUMN shared.payments.created_by IS 'The user who made the row, NULL when no user of the tenant did';
COMMENT ON COLUMN shared.payments.updated_by IS 'The user who last changed the row, set by a trigger';
COMMENT ON COLUMN shared.payments.created_at IS 'When the row was made';
COMMENT ON COLUMN shared.payments.updated_at IS 'When the row last changed, set by a trigger';

-- The reference at the processor belongs to the books: whoever disputes a payment names it. It is no secret, nobody can pay
-- with it.
SELECT thorbis.protect('shared.payments', 'payments', '{
    "actions": ["select"], "platform_actions": ["select"],
    "subject": {"kind": "customer", "column": "customer_id"},
    "pii": [{"column": "metadata", "method": "clear"}],
    "not_personal": ["method", "status", "currency", "processor", "processor_reference", "idempotency_key"]
}');

CREATE TABLE shared.refunds (
    tenant_id uuid NOT NULL DEFAULT @extschema@.get_current_tenant_id(),
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    payment_id uuid NOT NULL,
    amount numeric(12,2) NOT NULL DEFAULT 0,
    tip_amount numeric(12,2) NOT NULL DEFAULT 0,
    reason text NOT NULL,
    processor_reference text,
    idempotency_key text NOT NULL,
    request_hash bytea NOT NULL,
    created_by uuid DEFAULT @extschema@.get_current_actor_id(),
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT refunds_pkey PRIMARY KEY (tenant_id, id),
    CONSTRAINT refunds_tenant_id_fkey FOREIGN KEY (tenant_id) REFERENCES shared.tenants (id) ON DELETE CASCADE,
    CONSTRAINT refunds_payment_id_fkey
        FOREIGN KEY (tenant_id, payment_id) REFERENCES shared.payments (tenant_id, id),
    CONSTRAINT refunds_created_by_fkey FOREIGN KEY (tenant_id, created_by) REFERENCES shared.users (tenant_id, id),
    CONSTRAINT refunds_idempotency_key_unique UNIQUE (tenant_id, idempotency_key),
    CONSTRAINT refunds_idempotency_key_check CHECK (length(idempotency_key) BETWEEN 1 AND 200),
    CONSTRAINT refunds_amount_check CHECK (amount >= 0 AND tip_amount >= 0 AND amount + tip_amount > 0),
    CONSTRAINT refunds_reason_check CHECK (btrim(reason) <> '')
);

CREATE INDEX idx_refunds_payment_id ON shared.refunds (tenant_id, payment_id);
CREATE INDEX idx_refunds_created_by ON shared.refunds (tenant_id, created_by) WHERE created_by IS NOT NULL;

CREATE TRIGGER write_refunds_freeze
    BEFORE UPDATE OR DELETE ON shared.refunds
    FOR EACH ROW EXECUTE FUNCTION @extschema@.keep_issued('');

CREATE TRIGGER truncate_refunds_append_only
    BEFORE TRUNCATE ON shared.refunds
    FOR EACH STATEMENT EXECUTE FUNCTION @extschema@.keep_append_only();

CREATE TRIGGER insert_refunds_effect
    AFTER INSERT ON shared.refunds
    FOR EACH ROW EXECUTE FUNCTION @extschema@.apply_refund();

COMMENT ON TABLE shared.refunds IS 'Money that was paid back. Together never more than was captured';
COMMENT ON COLUMN shared.refunds.tenant_id IS 'The tenant the row belongs to';
COMMENT ON COLUMN shared.refunds.id IS 'Identifies the row within its tenant';
COMMENT ON COLUMN shared.refunds.payment_id IS 'The payment it is paid back of';
COMMENT ON COLUMN shared.refunds.amount IS 'What is paid back of the payment''s amount';
COMMENT ON COLUMN shared.refunds.tip_amount IS 'What is paid back of its tip';
COMMENT ON COLUMN shared.refunds.reason IS 'Why it was paid back';
COMMENT ON COLUMN shared.refunds.processor_reference IS 'Its name at the processor';
COMMENT ON COLUMN shared.refunds.idempotency_key IS 'Key of the request: the same again pays nothing back';
COMMENT ON COLUMN shared.refunds.request_hash IS 'SHA-256 of the request';
COMMENT ON COLUMN shared.refunds.created_by IS 'The user who made the row, NULL when no user of the tenant did';
COMMENT ON COLUMN shared.refunds.created_at IS 'When the row was made';
COMMENT ON COLUMN shared.refunds.updated_at IS 'When the row last changed, set by a trigger';

SELECT thorbis.protect('shared.refunds', 'payments', '{
    "actions": ["select"], "platform_actions": ["select"],
    "subject": {"kind": "customer", "column": "payment_id", "through": "shared.payments"},
    "not_personal": ["reason", "processor_reference", "idempotency_key"]
}');

CREATE TABLE shared.payment_allocations (
    tenant_id uuid NOT NULL DEFAULT @extschema@.get_current_tenant_id(),
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    payment_id uuid NOT NULL,
    invoice_id uuid NOT NULL,
    amount numeric(12,2) NOT NULL,
    refund_id uuid,
    created_by uuid DEFAULT @extschema@.get_current_actor_id(),
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT payment_allocations_pkey PRIMARY KEY (tenant_id, id),
    CONSTRAINT payment_allocations_tenant_id_fkey FOREIGN KEY (tenant_id) REFERENCES shared.tenants (id) ON DELETE CASCADE,
    CONSTRAINT payment_allocations_payment_id_fkey
        FOREIGN KEY (tenant_id, payment_id) REFERENCES shared.payments (tenant_id, id),
    CONSTRAINT payment_allocations_invoice_id_fkey
        FOREIGN KEY (tenant_id, invoice_id) REFERENCES shared.invoices (tenant_id, id),
    CONSTRAINT payment_allocations_refund_id_fkey
        FOREIGN KEY (tenant_id, refund_id) REFERENCES shared.refunds (tenant_id, id),
    CONSTRAINT payment_allocations_created_by_fkey
        FOREIGN KEY (tenant_id, created_by) REFERENCES shared.users (tenant_id, id),
    CONSTRAINT payment_allocations_amount_check CHECK (amount <> 0 AND (refund_id IS NULL OR amount < 0))
);

CREATE INDEX idx_payment_allocations_payment_id ON shared.payment_allocations (tenant_id, payment_id);
CREATE INDEX idx_payment_allocations_invoice_id ON shared.payment_allocations (tenant_id, invoice_id);
CREATE INDEX idx_payment_allocations_refund_id ON shared.payment_allocations (tenant_id, refund_id)
    WHERE refund_id IS NOT NULL;
CREATE INDEX idx_payment_allocations_created_by ON shared.payment_allocations (tenant_id, created_by)
    WHERE created_by IS NOT NULL;

CREATE TRIGGER write_payment_allocations_freeze
    BEFORE UPDATE OR DELETE ON shared.payment_allocations
    FOR EACH ROW EXECUTE FUNCTION @extschema@.keep_issued('');

CREATE TRIGGER truncate_payment_allocations_append_only
    BEFORE TRUNCATE ON shared.payment_allocations
    FOR EACH STATEMENT EXECUTE FUNCTION @extschema@.keep_append_only();

CREATE TRIGGER insert_payment_allocations_effect
    AFTER INSERT ON shared.payment_allocations
    FOR EACH ROW EXECUTE FUNCTION @extschema@.apply_payment_allocation();

COMMENT ON TABLE shared.payment_allocations IS
    'What a payment pays of an invoice. A negative row takes it away again, as a refund does';
COMMENT ON COLUMN shared.payment_allocations.tenant_id IS 'The tenant the row belongs to';
COMMENT ON COLUMN shared.payment_allocations.id IS 'Identifies the row within its tenant';
COMMENT ON COLUMN shared.payment_allocations.payment_id IS 'The payment';
COMMENT ON COLUMN shared.payment_allocations.invoice_id IS 'The invoice it pays';
COMMENT ON COLUMN shared.payment_allocations.amount IS 'How much of it';
COMMENT ON COLUMN shared.payment_allocations.refund_id IS 'The refund that took it away, NULL otherwise';
COMMENT ON COLUMN shared.payment_allocations.created_by IS
    'The user who made the row, NULL when no user of the tenant did';
COMMENT ON COLUMN shared.payment_allocations.created_at IS 'When the row was made';
COMMENT ON COLUMN shared.payment_allocations.updated_at IS 'When the row last changed, set by a trigger';

SELECT thorbis.protect('shared.payment_allocations', 'payments', '{
    "actions": ["select"], "platform_actions": ["select"],
    "subject": {"kind": "customer", "column": "payment_id", "through": "shared.payments"}
}');

CREATE FUNCTION shared.record_payment(method text, amount numeric, idempotency_key text, allocations jsonb DEFAULT '[]',
        tip_amount numeric DEFAULT 0, tendered_amount numeric DEFAULT NULL, status text DEFAULT 'captured',
        currency text DEFAULT NULL, customer_id uuid DEFAULT NULL, location_id uuid DEFAULT NULL,
        cash_session_id uuid DEFAULT NULL, processor text DEFAULT NULL, processor_reference text DEFAULT NULL) RETURNS uuid
    LANGUAGE sql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
    AS $function$
SELECT thorbis.record_payment(jsonb_strip_nulls(jsonb_build_object('method', $1, 'amount', trim_scale($2)::text,
    'idempotency_key', $3, 'allocations', $4, 'tip_amount', trim_scale($5)::text,
    'tendered_amount', trim_scale($6)::text, 'status', $7,
    'currency', $8, 'customer_id', $9, 'location_id', $10, 'cash_session_id', $11, 'processor', $12,
    'processor_reference', $13)))
$function$;

COMMENT ON FUNCTION shared.record_payment(text, numeric, text, jsonb, numeric, numeric, text, text, uuid, uuid, uuid, text, text) IS
    'Records a payment and what it pays, and returns its key. method: cash, card, bank_transfer, direct_debit, cheque, gift_card, store_credit or other; gift_card records the payment only, shared.redeem_gift_card() comes first. allocations: [{"invoice_id", "amount"}], at most 2500, of captured payments only. status: pending, authorized or captured. Captured cash in the currency of the tenant is put into the drawer of a cash session. The same key again: the same payment; with another request 22023. Needs payments:record';
REVOKE ALL ON FUNCTION shared.record_payment(text, numeric, text, jsonb, numeric, numeric, text, text, uuid, uuid, uuid, text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION shared.record_payment(text, numeric, text, jsonb, numeric, numeric, text, text, uuid, uuid, uuid, text, text) TO thorbis_app, thorbis_platform;

CREATE FUNCTION shared.authorize_payment(payment_id uuid) RETURNS void
    LANGUAGE sql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
    AS $function$
SELECT thorbis.authorize_payment(payment_id)
$function$;

COMMENT ON FUNCTION shared.authorize_payment(uuid) IS
    'The processor authorized a pending payment. Authorized already: nothing. Needs payments:record';
REVOKE ALL ON FUNCTION shared.authorize_payment(uuid) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION shared.authorize_payment(uuid) TO thorbis_app, thorbis_platform;

CREATE FUNCTION shared.capture_payment(payment_id uuid) RETURNS void
    LANGUAGE sql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
    AS $function$
SELECT thorbis.capture_payment(payment_id)
$function$;

COMMENT ON FUNCTION shared.capture_payment(uuid) IS
    'The money of an authorized or pending payment was taken. Captured already: nothing. Needs payments:record';
REVOKE ALL ON FUNCTION shared.capture_payment(uuid) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION shared.capture_payment(uuid) TO thorbis_app, thorbis_platform;

CREATE FUNCTION shared.void_payment(payment_id uuid) RETURNS void
    LANGUAGE sql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
    AS $function$
SELECT thorbis.void_payment(payment_id)
$function$;

COMMENT ON FUNCTION shared.void_payment(uuid) IS
    'Gives up a payment whose money was not taken. Voided already: nothing. Needs payments:void';
REVOKE ALL ON FUNCTION shared.void_payment(uuid) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION shared.void_payment(uuid) TO thorbis_app, thorbis_platform;

CREATE FUNCTION shared.fail_payment(payment_id uuid) RETURNS void
    LANGUAGE sql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
    AS $function$
SELECT thorbis.fail_payment(payment_id)
$function$;

COMMENT ON FUNCTION shared.fail_payment(uuid) IS
    'The processor refused a payment whose money was not taken. Failed already: nothing. Needs payments:record';
REVOKE ALL ON FUNCTION shared.fail_payment(uuid) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION shared.fail_payment(uuid) TO thorbis_app, thorbis_platform;

CREATE FUNCTION shared.allocate_payment(payment_id uuid, allocations jsonb, idempotency_key text DEFAULT NULL)
    RETURNS void
    LANGUAGE sql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
    AS $function$
SELECT thorbis.allocate_payment(payment_id, allocations, idempotency_key)
$function$;

COMMENT ON FUNCTION shared.allocate_payment(uuid, jsonb, text) IS
    'Says what a captured payment pays: [{"invoice_id", "amount"}], at most 2500. An amount below zero takes it away again. Never more than is owed, never more than was captured and not paid back (23514). Repeated with the same idempotency_key it does nothing. Needs payments:record';
REVOKE ALL ON FUNCTION shared.allocate_payment(uuid, jsonb, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION shared.allocate_payment(uuid, jsonb, text) TO thorbis_app, thorbis_platform;

CREATE FUNCTION shared.refund_payment(payment_id uuid, amount numeric, reason text, idempotency_key text, tip_amount numeric DEFAULT 0,
        processor_reference text DEFAULT NULL, cash_session_id uuid DEFAULT NULL) RETURNS uuid
    LANGUAGE sql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
    AS $function$
SELECT thorbis.refund_payment(jsonb_strip_nulls(jsonb_build_object('payment_id', $1, 'amount', trim_scale($2)::text,
    'reason', $3, 'idempotency_key', $4, 'tip_amount', trim_scale($5)::text,
    'processor_reference', $6, 'cash_session_id', $7)))
$function$;

COMMENT ON FUNCTION shared.refund_payment(uuid, numeric, text, text, numeric, text, uuid) IS
    'Pays back of a captured payment and returns the key of the refund. What the payment did not allocate goes first, then the latest allocations are taken away. Together never more than was captured (23514), nor than the approval limit of the role (42501), whose highest amount is in the currency of the tenant: another currency takes payments:admin. cash_session_id: an open drawer that the cash is taken out of, only when the payment was put into one (23514). The same key again: the same refund. Needs payments:refund';
REVOKE ALL ON FUNCTION shared.refund_payment(uuid, numeric, text, text, numeric, text, uuid) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION shared.refund_payment(uuid, numeric, text, text, numeric, text, uuid) TO thorbis_app, thorbis_platform;
