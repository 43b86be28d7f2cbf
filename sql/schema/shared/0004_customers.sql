-- Whom the tenants serve.

CREATE TABLE shared.customers (
    tenant_id uuid NOT NULL DEFAULT @extschema@.get_current_tenant_id(),
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
    created_by uuid DEFAULT @extschema@.get_current_actor_id(),
    updated_by uuid,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    deleted_at timestamptz,
    CONSTRAINT customers_pkey PRIMARY KEY (tenant_id, id),
    CONSTRAINT customers_tenant_id_fkey FOREIGN KEY (tenant_id) REFERENCES shared.tenants (id) ON DELETE CASCADE,
    CONSTRAINT customers_merged_into_id_fkey
        FOREIGN KEY (tenant_id, merged_into_id) REFERENCES shared.customers (tenant_id, id),
    CONSTRAINT customers_created_by_fkey FOREIGN KEY (tenant_id, created_by) REFERENCES shared.users (tenant_id, id),
    CONSTRAINT customers_updated_by_fkey FOREIGN KEY (tenant_id, updated_by) REFERENCES shared.users (tenant_id, id),
    CONSTRAINT customers_email_check CHECK (email ~ '^\S+@[^\s@]+$'),
    CONSTRAINT customers_settings_check CHECK (jsonb_typeof(settings) = 'object'),
    CONSTRAINT customers_merged_into_id_check CHECK (merged_into_id <> id)
);

CREATE INDEX idx_customers_tenant_active ON shared.customers (tenant_id, email) WHERE deleted_at IS NULL;
CREATE INDEX idx_customers_tenant_created ON shared.customers (tenant_id, created_at, id) WHERE deleted_at IS NULL;
CREATE INDEX idx_customers_search ON shared.customers
    USING gin (to_tsvector('english', first_name || ' ' || last_name || ' ' || COALESCE(email, '')));
CREATE INDEX idx_customers_merged_into_id ON shared.customers (tenant_id, merged_into_id)
    WHERE merged_into_id IS NOT NULL;
CREATE INDEX idx_customers_created_by ON shared.customers (tenant_id, created_by) WHERE created_by IS NOT NULL;
CREATE INDEX idx_customers_updated_by ON shared.customers (tenant_id, updated_by) WHERE updated_by IS NOT NULL;

COMMENT ON TABLE shared.customers IS 'People and companies that a tenant serves';
COMMENT ON COLUMN shared.customers.tenant_id IS 'The tenant the row belongs to';
COMMENT ON COLUMN shared.customers.id IS 'Identifies the customer within its tenant';
COMMENT ON COLUMN shared.customers.email IS 'Address of the customer. Several customers may share one';
COMMENT ON COLUMN shared.customers.first_name IS 'Given name, or that of the contact at a company';
COMMENT ON COLUMN shared.customers.last_name IS 'Family name, or that of the contact at a company';
COMMENT ON COLUMN shared.customers.phone IS 'Telephone number';
COMMENT ON COLUMN shared.customers.address IS 'Postal address, a JSON object';
COMMENT ON COLUMN shared.customers.preferences IS 'What the customer likes or asked for, a JSON object';
COMMENT ON COLUMN shared.customers.tags IS 'Labels the tenant sorts its customers by';
COMMENT ON COLUMN shared.customers.company_name IS 'Name of the company, NULL for a private person';
COMMENT ON COLUMN shared.customers.tax_exempt IS
    'True when no tax is charged, for the reason the exemption number proves';
COMMENT ON COLUMN shared.customers.tax_exemption_no IS 'Number of the certificate of exemption';
COMMENT ON COLUMN shared.customers.tax_exemption_expires_on IS
    'Last day the certificate holds, NULL when it does not expire';
COMMENT ON COLUMN shared.customers.marketing_consent IS 'True while the customer agrees to receive advertising';
COMMENT ON COLUMN shared.customers.settings IS
    'Switches for this customer, a JSON object. With key pii_restricted only holders of customers:admin see the row';
COMMENT ON COLUMN shared.customers.metadata IS 'Whatever else integrations keep about the customer';
COMMENT ON COLUMN shared.customers.merged_into_id IS
    'The customer this duplicate was merged into, NULL for the one that counts';
COMMENT ON COLUMN shared.customers.created_by IS 'The user who made the row, NULL when no user of the tenant did';
COMMENT ON COLUMN shared.customers.updated_by IS 'The user who last changed the row, set by a trigger';
COMMENT ON COLUMN shared.customers.created_at IS 'When the row was made';
COMMENT ON COLUMN shared.customers.updated_at IS 'When the row last changed, set by a trigger';
COMMENT ON COLUMN shared.customers.deleted_at IS 'When the customer was soft-deleted, NULL while live';
COMMENT ON INDEX shared.idx_customers_search IS
    'Full-text search. Under row level security PostgreSQL uses it only for roles that policies do not bind';

SELECT thorbis.protect('shared.customers', 'customers', '{
    "policies": {"select": "employee_read_customers"},
    "sensitive": {"column": "settings", "key": "pii_restricted"}
}');
