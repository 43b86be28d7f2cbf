-- Whom the tenants serve.

CREATE TABLE shared.customers (
    tenant_id uuid NOT NULL DEFAULT @extschema@.get_current_tenant_id(),
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    email text,
    first_name text NOT NULL,
    last_name text NOT NULL,
    phone text,
    email_encrypted text,
    phone_encrypted text,
    email_bidx bytea,
    phone_bidx bytea,
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
    CONSTRAINT customers_settings_check CHECK (jsonb_typeof(settings) = 'object'),
    CONSTRAINT customers_merged_into_id_check CHECK (merged_into_id <> id)
);

-- Equal addresses, in any case of letters, have equal blind indexes within a tenant: the address itself is not there.
-- Of the live customers one has it; whoever is merged into that one may keep it. The other two find customers of any
-- state, so that a former one is found again.
CREATE UNIQUE INDEX idx_customers_tenant_active ON shared.customers (tenant_id, email_bidx)
    WHERE deleted_at IS NULL AND merged_into_id IS NULL;
CREATE INDEX idx_customers_tenant_email ON shared.customers (tenant_id, email_bidx);
CREATE INDEX idx_customers_tenant_phone ON shared.customers (tenant_id, phone_bidx);
CREATE INDEX idx_customers_tenant_created ON shared.customers (tenant_id, created_at, id) WHERE deleted_at IS NULL;
CREATE INDEX idx_customers_search ON shared.customers
    USING gin (to_tsvector('english', first_name || ' ' || last_name));
CREATE INDEX idx_customers_merged_into_id ON shared.customers (tenant_id, merged_into_id)
    WHERE merged_into_id IS NOT NULL;
CREATE INDEX idx_customers_created_by ON shared.customers (tenant_id, created_by) WHERE created_by IS NOT NULL;
CREATE INDEX idx_customers_updated_by ON shared.customers (tenant_id, updated_by) WHERE updated_by IS NOT NULL;

COMMENT ON TABLE shared.customers IS 'People and companies that a tenant serves';
COMMENT ON COLUMN shared.customers.tenant_id IS 'The tenant the row belongs to';
COMMENT ON COLUMN shared.customers.id IS 'Identifies the customer within its tenant';
COMMENT ON COLUMN shared.customers.email IS
    'Address, unique among the live customers of the tenant. Always NULL in the table: shared.customers_pii shows it';
COMMENT ON COLUMN shared.customers.first_name IS 'Given name, or that of the contact at a company';
COMMENT ON COLUMN shared.customers.last_name IS 'Family name, or that of the contact at a company';
COMMENT ON COLUMN shared.customers.phone IS
    'Telephone number. Always NULL in the table: shared.customers_pii shows it';
COMMENT ON COLUMN shared.customers.email_encrypted IS 'The address, encrypted, written by a trigger';
COMMENT ON COLUMN shared.customers.phone_encrypted IS 'The number, encrypted, written by a trigger';
COMMENT ON COLUMN shared.customers.email_bidx IS
    'Blind index of the address: finds equal ones of the tenant without decrypting. Not readable by the application';
COMMENT ON COLUMN shared.customers.phone_bidx IS
    'Blind index of the number: finds equal ones of the tenant without decrypting. Not readable by the application';
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
    'Full-text search of names. Under row level security PostgreSQL uses it only for roles that policies do not bind';

-- What is sorted and searched stays readable. What a customer likes to eat can tell of an illness or a faith.
SELECT thorbis.protect('shared.customers', 'customers', '{
    "policies": {"select": "employee_read_customers"},
    "sensitive": {"column": "settings", "key": "pii_restricted"},
    "triggers": {"encrypt": "encrypt_customer_pii_trigger", "audit": "audit_customer_changes"},
    "subject": {"kind": "customer", "column": "id"},
    "pii": [
        {"column": "email", "kind": "email", "index": true, "category": "contact"},
        {"column": "phone", "kind": "phone", "index": true, "category": "contact"},
        {"column": "first_name", "method": "clear", "category": "identity"},
        {"column": "last_name", "method": "clear", "category": "identity"},
        {"column": "company_name", "method": "clear", "category": "identity"},
        {"column": "address", "method": "clear", "category": "address"},
        {"column": "preferences", "method": "clear", "category": "health"},
        {"column": "tags", "method": "clear"},
        {"column": "tax_exemption_no", "method": "clear", "category": "financial"},
        {"column": "settings", "method": "clear"},
        {"column": "metadata", "method": "clear"}
    ]
}');
