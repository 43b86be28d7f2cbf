-- People to be inserted as customers, in no order that an index has.

CREATE TABLE bench.people AS
SELECT 'First'::text AS first_name, 'Last ' || n AS last_name, md5('address ' || n) || '@example.com' AS email,
       '+49 30 ' || 1000000 + n * 7919::bigint % 9000000 AS phone
FROM generate_series(1, {customers}) n;

-- shared.customers without encryption: the same columns but for the ciphertexts and blind indexes, keys, checks, triggers
-- and policies, and the same indexes, on the values instead of their blind indexes.
CREATE TABLE bench.customers (
    tenant_id uuid NOT NULL DEFAULT get_current_tenant_id(),
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    email text,
    first_name text NOT NULL,
    last_name text NOT NULL,
    phone text,
    address jsonb,
    preferences jsonb DEFAULT '{}',
    tags text[] DEFAULT '{}',
    company_name text,
    tax_exempt boolean NOT NULL DEFAULT false,
    tax_exemption_no text,
    tax_exemption_expires_on date,
    marketing_consent boolean NOT NULL DEFAULT false,
    settings jsonb NOT NULL DEFAULT '{}',
    metadata jsonb DEFAULT '{}',
    merged_into_id uuid,
    created_by uuid DEFAULT get_current_actor_id(),
    updated_by uuid,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    deleted_at timestamptz,
    PRIMARY KEY (tenant_id, id),
    FOREIGN KEY (tenant_id) REFERENCES shared.tenants (id) ON DELETE CASCADE,
    FOREIGN KEY (tenant_id, merged_into_id) REFERENCES bench.customers (tenant_id, id),
    FOREIGN KEY (tenant_id, created_by) REFERENCES shared.users (tenant_id, id),
    FOREIGN KEY (tenant_id, updated_by) REFERENCES shared.users (tenant_id, id),
    CHECK (jsonb_typeof(settings) = 'object'),
    CHECK (merged_into_id <> id)
);
CREATE UNIQUE INDEX ON bench.customers (tenant_id, email) WHERE deleted_at IS NULL AND merged_into_id IS NULL;
CREATE INDEX ON bench.customers (tenant_id, email);
CREATE INDEX ON bench.customers (tenant_id, phone);
CREATE INDEX ON bench.customers (tenant_id, created_at, id) WHERE deleted_at IS NULL;
CREATE INDEX ON bench.customers USING gin (to_tsvector('english', first_name || ' ' || last_name));
CREATE INDEX ON bench.customers (tenant_id, merged_into_id) WHERE merged_into_id IS NOT NULL;
CREATE INDEX ON bench.customers (tenant_id, created_by) WHERE created_by IS NOT NULL;
CREATE INDEX ON bench.customers (tenant_id, updated_by) WHERE updated_by IS NOT NULL;
ALTER TABLE bench.customers OWNER TO thorbis_owner;
SELECT thorbis.protect('bench.customers', 'customers', '{"sensitive": {"column": "settings", "key": "pii_restricted"}}');

-- Filled by the application, whose tenant's key encrypts the values.
CREATE TABLE bench.envelopes (value text, envelope text);
CREATE TABLE bench.few_envelopes (value text, envelope text);

CREATE FUNCTION bench.empty(value text) RETURNS boolean
    LANGUAGE c STABLE AS '$libdir/thorbis_db', 'thorbis_empty_function';

GRANT SELECT ON bench.people TO bench_app;
GRANT SELECT, INSERT ON bench.envelopes, bench.few_envelopes TO bench_app;
