-- The tenants themselves. Every other tenant table points here, and a purged tenant takes its rows along.

CREATE TABLE shared.tenants (
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    name text NOT NULL,
    slug text NOT NULL,
    industries text[] NOT NULL DEFAULT '{}',
    status text NOT NULL DEFAULT 'active',
    plan text NOT NULL DEFAULT 'standard',
    currency char(3) NOT NULL DEFAULT 'USD',
    minor_unit smallint NOT NULL DEFAULT 2,
    rounding_mode text NOT NULL DEFAULT 'half_even',
    tax_rounding_level text NOT NULL DEFAULT 'line',
    timezone text NOT NULL DEFAULT 'UTC',
    locale text NOT NULL DEFAULT 'en-US',
    country char(2),
    legal_hold boolean NOT NULL DEFAULT false,
    settings jsonb NOT NULL DEFAULT '{}',
    metadata jsonb DEFAULT '{}',
    suspended_at timestamptz,
    closed_at timestamptz,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    deleted_at timestamptz,
    CONSTRAINT tenants_pkey PRIMARY KEY (id),
    CONSTRAINT tenants_slug_unique UNIQUE (slug),
    -- It stands for the platform in audit.security_events.
    CONSTRAINT tenants_id_check CHECK (id <> '00000000-0000-0000-0000-000000000000'),
    CONSTRAINT tenants_name_check CHECK (btrim(name) <> ''),
    CONSTRAINT tenants_slug_check CHECK (slug ~ '^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$'),
    CONSTRAINT tenants_industries_check
        CHECK (industries <@ ARRAY['home_services', 'restaurants', 'automotive', 'retail']),
    CONSTRAINT tenants_status_check CHECK (status IN ('trial', 'active', 'suspended', 'closed', 'purged')),
    CONSTRAINT tenants_currency_check CHECK (currency ~ '^[A-Z]{3}$'),
    CONSTRAINT tenants_minor_unit_check CHECK (minor_unit BETWEEN 0 AND 2),
    CONSTRAINT tenants_rounding_mode_check CHECK (rounding_mode IN ('half_even', 'half_up', 'down', 'up')),
    CONSTRAINT tenants_tax_rounding_level_check CHECK (tax_rounding_level IN ('line', 'order')),
    -- The conversion raises 22023 for an unknown zone, the pattern keeps out POSIX strings such as FOO5.
    CONSTRAINT tenants_timezone_check CHECK (
        timezone ~ '^(UTC|Etc/GMT[+-][0-9]{1,2}|[A-Za-z_]+(/[A-Za-z_-]+)+)$'
        AND timestamp '2000-01-01 00:00:00' AT TIME ZONE timezone IS NOT NULL),
    CONSTRAINT tenants_locale_check CHECK (locale ~ '^[a-z]{2,3}(-[A-Za-z0-9]{2,8})*$'),
    CONSTRAINT tenants_country_check CHECK (country ~ '^[A-Z]{2}$'),
    CONSTRAINT tenants_settings_check CHECK (jsonb_typeof(settings) = 'object'),
    CONSTRAINT tenants_legal_hold_check CHECK (NOT (legal_hold AND status = 'purged'))
);

CREATE INDEX idx_tenants_status ON shared.tenants (status) WHERE deleted_at IS NULL;

CREATE TRIGGER write_tenants_invalidation
    AFTER INSERT OR UPDATE OR DELETE ON shared.tenants
    FOR EACH ROW EXECUTE FUNCTION @extschema@.invalidate_permissions();
ALTER TABLE shared.tenants ENABLE ALWAYS TRIGGER write_tenants_invalidation;

CREATE TRIGGER truncate_tenants_invalidation
    AFTER TRUNCATE ON shared.tenants
    FOR EACH STATEMENT EXECUTE FUNCTION @extschema@.invalidate_permissions();
ALTER TABLE shared.tenants ENABLE ALWAYS TRIGGER truncate_tenants_invalidation;

CREATE TRIGGER delete_tenants_keys
    AFTER DELETE ON shared.tenants
    FOR EACH ROW EXECUTE FUNCTION @extschema@.delete_tenant_keys();

COMMENT ON TABLE shared.tenants IS
    'One row per business that uses the platform. Made by thorbis.create_tenant(), read and updated by its own users';
COMMENT ON COLUMN shared.tenants.id IS 'Identifies the tenant: every tenant_id is one of these';
COMMENT ON COLUMN shared.tenants.name IS 'Name of the business as people read it';
COMMENT ON COLUMN shared.tenants.slug IS
    'Short name for addresses, unique over all tenants: lower-case letters, digits, inner hyphens';
COMMENT ON COLUMN shared.tenants.industries IS
    'Industry schemas the tenant works with: home_services, restaurants, automotive, retail';
COMMENT ON COLUMN shared.tenants.status IS 'trial, active, suspended, closed or purged, set by the platform';
COMMENT ON COLUMN shared.tenants.plan IS 'What the tenant subscribes to, set by the platform';
COMMENT ON COLUMN shared.tenants.currency IS 'ISO 4217 code of all money of the tenant';
COMMENT ON COLUMN shared.tenants.minor_unit IS
    'Decimal places of the currency, at most the two that money columns hold';
COMMENT ON COLUMN shared.tenants.rounding_mode IS 'How order totals round: half_even, half_up, down or up';
COMMENT ON COLUMN shared.tenants.tax_rounding_level IS 'Where tax is rounded: on each line or on the order';
COMMENT ON COLUMN shared.tenants.timezone IS 'IANA time zone that business hours and business dates are read in';
COMMENT ON COLUMN shared.tenants.locale IS 'BCP 47 language tag for texts and formats, such as en-US';
COMMENT ON COLUMN shared.tenants.country IS 'ISO 3166-1 alpha-2 code of the country whose law applies';
COMMENT ON COLUMN shared.tenants.legal_hold IS 'True while nothing of the tenant may be purged';
COMMENT ON COLUMN shared.tenants.settings IS 'Preferences of the tenant, a JSON object';
COMMENT ON COLUMN shared.tenants.metadata IS 'Whatever else integrations keep about the tenant';
COMMENT ON COLUMN shared.tenants.suspended_at IS 'When the platform last suspended the tenant';
COMMENT ON COLUMN shared.tenants.closed_at IS 'When the tenant left';
COMMENT ON COLUMN shared.tenants.created_at IS 'When the row was made';
COMMENT ON COLUMN shared.tenants.updated_at IS 'When the row last changed, set by a trigger';
COMMENT ON COLUMN shared.tenants.deleted_at IS 'When the tenant was soft-deleted, NULL while it is live';
COMMENT ON CONSTRAINT tenants_slug_unique ON shared.tenants IS
    'The one unique key without a tenant: only the platform writes slugs, so it tells tenants nothing';

-- The slug is unique over all tenants; the application cannot write it, so it tells nobody which others exist.
SELECT thorbis.protect('shared.tenants', 'tenants', '{
    "tenant_column": "id",
    "actions": ["select", "update"],
    "update_columns": ["name", "timezone", "locale", "country", "settings", "metadata"],
    "not_personal": ["name", "slug", "industries", "status", "plan", "currency", "rounding_mode", "tax_rounding_level",
        "timezone", "locale", "country", "settings", "metadata"]
}');
