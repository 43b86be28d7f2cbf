-- What the tenant pays the platform for, and what it used. The platform writes, the tenant reads.

CREATE TABLE shared.subscriptions (
    tenant_id uuid NOT NULL DEFAULT @extschema@.get_current_tenant_id(),
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    plan text NOT NULL,
    status text NOT NULL DEFAULT 'trialing',
    currency character(3) NOT NULL,
    price_amount numeric(20,4) NOT NULL DEFAULT 0,
    billing_period text NOT NULL DEFAULT 'month',
    quantity integer NOT NULL DEFAULT 1,
    valid_during daterange NOT NULL,
    trial_ends_on date,
    cancelled_at timestamptz,
    external_reference text,
    row_version bigint NOT NULL DEFAULT 1,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT subscriptions_pkey PRIMARY KEY (tenant_id, id),
    CONSTRAINT subscriptions_tenant_id_fkey
        FOREIGN KEY (tenant_id) REFERENCES shared.tenants (id) ON DELETE CASCADE,
    CONSTRAINT subscriptions_plan_check CHECK (plan ~ '^[a-z][a-z0-9_]*$'),
    CONSTRAINT subscriptions_status_check
        CHECK (status IN ('trialing', 'active', 'past_due', 'paused', 'cancelled')),
    CONSTRAINT subscriptions_currency_check CHECK (currency ~ '^[A-Z]{3}$'),
    CONSTRAINT subscriptions_price_amount_check CHECK (price_amount >= 0),
    CONSTRAINT subscriptions_billing_period_check CHECK (billing_period IN ('month', 'year')),
    CONSTRAINT subscriptions_quantity_check CHECK (quantity > 0),
    CONSTRAINT subscriptions_valid_during_check CHECK (
        NOT lower_inf(valid_during) AND isfinite(lower(valid_during)) AND NOT isempty(valid_during)),
    CONSTRAINT subscriptions_cancelled_at_check CHECK ((status = 'cancelled') = (cancelled_at IS NOT NULL)),
    CONSTRAINT subscriptions_row_version_check CHECK (row_version > 0)
);

-- One at a time: a new plan begins when the old one ends.
SELECT thorbis.add_exclusion('shared.subscriptions', 'subscriptions_valid_during_excl', '{}', 'valid_during');

COMMENT ON TABLE shared.subscriptions IS 'What the tenant has subscribed to, one after the other. Written by the platform';
COMMENT ON COLUMN shared.subscriptions.tenant_id IS 'The tenant the row belongs to';
COMMENT ON COLUMN shared.subscriptions.id IS 'Identifies the subscription within its tenant';
COMMENT ON COLUMN shared.subscriptions.plan IS 'What it is called, as in shared.tenants.plan';
COMMENT ON COLUMN shared.subscriptions.status IS 'trialing, active, past_due, paused or cancelled';
COMMENT ON COLUMN shared.subscriptions.currency IS 'Currency of the price, ISO 4217';
COMMENT ON COLUMN shared.subscriptions.price_amount IS 'Price of one for a period';
COMMENT ON COLUMN shared.subscriptions.billing_period IS 'month or year';
COMMENT ON COLUMN shared.subscriptions.quantity IS 'How many, such as seats or places';
COMMENT ON COLUMN shared.subscriptions.valid_during IS 'The days it holds, without an end while that is not known';
COMMENT ON COLUMN shared.subscriptions.trial_ends_on IS 'Last day of the trial, NULL without one';
COMMENT ON COLUMN shared.subscriptions.cancelled_at IS 'When it was cancelled; it may hold some days longer';
COMMENT ON COLUMN shared.subscriptions.external_reference IS 'What the payment provider calls it';
COMMENT ON COLUMN shared.subscriptions.row_version IS
    'For applications that lock optimistically: they raise it by one where it still is what they read';
COMMENT ON COLUMN shared.subscriptions.created_at IS 'When the row was made';
COMMENT ON COLUMN shared.subscriptions.updated_at IS 'When the row last changed, set by a trigger';

SELECT thorbis.protect('shared.subscriptions', 'subscriptions', '{
    "actions": ["select"],
    "not_personal": ["plan", "status", "currency", "billing_period", "external_reference"]
}');

CREATE TABLE shared.usage_records (
    tenant_id uuid NOT NULL DEFAULT @extschema@.get_current_tenant_id(),
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    subscription_id uuid,
    metric text NOT NULL,
    quantity numeric(20,6) NOT NULL,
    occurred_at timestamptz NOT NULL DEFAULT now(),
    idempotency_key text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT usage_records_pkey PRIMARY KEY (tenant_id, id),
    CONSTRAINT usage_records_idempotency_key_unique UNIQUE (tenant_id, idempotency_key),
    CONSTRAINT usage_records_tenant_id_fkey
        FOREIGN KEY (tenant_id) REFERENCES shared.tenants (id) ON DELETE CASCADE,
    CONSTRAINT usage_records_subscription_id_fkey
        FOREIGN KEY (tenant_id, subscription_id) REFERENCES shared.subscriptions (tenant_id, id),
    CONSTRAINT usage_records_metric_check CHECK (metric ~ '^[a-z][a-z0-9_]*$'),
    CONSTRAINT usage_records_quantity_check CHECK (quantity <> 'NaN'),
    CONSTRAINT usage_records_idempotency_key_check CHECK (length(idempotency_key) BETWEEN 1 AND 200)
);

CREATE INDEX idx_usage_records_metric ON shared.usage_records (tenant_id, metric, occurred_at);
CREATE INDEX idx_usage_records_subscription_id ON shared.usage_records (tenant_id, subscription_id)
    WHERE subscription_id IS NOT NULL;

CREATE TRIGGER write_usage_records_append_only
    BEFORE UPDATE OR DELETE ON shared.usage_records
    FOR EACH ROW EXECUTE FUNCTION @extschema@.keep_append_only();

CREATE TRIGGER truncate_usage_records_append_only
    BEFORE TRUNCATE ON shared.usage_records
    FOR EACH STATEMENT EXECUTE FUNCTION @extschema@.keep_append_only();

COMMENT ON TABLE shared.usage_records IS 'What the tenant used, to be billed. Written by shared.record_usage(), never changed';
COMMENT ON COLUMN shared.usage_records.tenant_id IS 'The tenant the row belongs to';
COMMENT ON COLUMN shared.usage_records.id IS 'Identifies the row within its tenant';
COMMENT ON COLUMN shared.usage_records.subscription_id IS 'The subscription it is billed with, NULL when none';
COMMENT ON COLUMN shared.usage_records.metric IS 'What was used, such as sms or storage_gb';
COMMENT ON COLUMN shared.usage_records.quantity IS 'How much. Below zero it takes back what was recorded too much';
COMMENT ON COLUMN shared.usage_records.occurred_at IS 'When it was used';
COMMENT ON COLUMN shared.usage_records.idempotency_key IS 'What the writer calls the record: written once, however often it is sent';
COMMENT ON COLUMN shared.usage_records.created_at IS 'When the row was made';
COMMENT ON COLUMN shared.usage_records.updated_at IS 'The same: records do not change';

SELECT thorbis.protect('shared.usage_records', 'subscriptions', '{
    "actions": ["select"],
    "platform_actions": ["select", "insert"],
    "not_personal": ["metric", "idempotency_key"]
}');

CREATE FUNCTION shared.record_usage(tenant_id uuid, metric text, quantity numeric, idempotency_key text,
        occurred_at timestamptz DEFAULT now()) RETURNS uuid
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
    AS $function$
#variable_conflict use_column
DECLARE
    known record;
BEGIN
    INSERT INTO shared.usage_records AS u (tenant_id, subscription_id, metric, quantity, occurred_at, idempotency_key)
    SELECT $1, (SELECT s.id FROM shared.subscriptions s
                WHERE s.tenant_id = $1 AND s.valid_during @> ($5 AT TIME ZONE 'UTC')::date), $2, $3, $5, $4
    ON CONFLICT (tenant_id, idempotency_key) DO NOTHING
    RETURNING u.id INTO known;
    IF FOUND THEN
        RETURN known.id;
    END IF;
    -- Whoever wrote it meanwhile has committed: a statement of its own sees it, under READ COMMITTED.
    SELECT u.id, u.metric, u.quantity INTO known
    FROM shared.usage_records u WHERE u.tenant_id = $1 AND u.idempotency_key = $4;
    IF NOT FOUND THEN
        RAISE EXCEPTION USING ERRCODE = 'serialization_failure', MESSAGE = 'somebody else recorded it at the same time',
            HINT = 'Repeat the transaction.';
    END IF;
    IF (known.metric, known.quantity) IS DISTINCT FROM ($2, $3::numeric(20,6)) THEN
        RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value',
            MESSAGE = 'the idempotency key was used for another record',
            HINT = 'Take a new key for each record, and the same again only for its repetition.';
    END IF;
    RETURN known.id;
END
$function$;

COMMENT ON FUNCTION shared.record_usage(uuid, text, numeric, text, timestamptz) IS
    'Records what a tenant used, once for each key, and returns the id of the record; the same key with another metric or quantity is an error (22023). For the platform';
REVOKE ALL ON FUNCTION shared.record_usage(uuid, text, numeric, text, timestamptz) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION shared.record_usage(uuid, text, numeric, text, timestamptz) TO thorbis_platform;
