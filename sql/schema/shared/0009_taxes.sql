-- Money and taxes: the currencies, where taxes are due, and the rates with the dates they hold.

CREATE TABLE shared.currencies (
    code char(3) NOT NULL,
    name text NOT NULL,
    minor_unit smallint NOT NULL,
    cash_increment numeric(10,4) NOT NULL,
    CONSTRAINT currencies_pkey PRIMARY KEY (code),
    CONSTRAINT currencies_code_check CHECK (code ~ '^[A-Z]{3}$'),
    CONSTRAINT currencies_minor_unit_check CHECK (minor_unit BETWEEN 0 AND 6),
    CONSTRAINT currencies_cash_increment_check CHECK (cash_increment > 0)
);

COMMENT ON TABLE shared.currencies IS 'Currencies of ISO 4217, for all tenants: how finely they divide, and what cash rounds to';
COMMENT ON COLUMN shared.currencies.code IS 'ISO 4217 code';
COMMENT ON COLUMN shared.currencies.name IS 'Name in English';
COMMENT ON COLUMN shared.currencies.minor_unit IS 'Decimal places of an amount';
COMMENT ON COLUMN shared.currencies.cash_increment IS 'Smallest amount that can be paid in coins and notes';

GRANT SELECT ON shared.currencies TO thorbis_app, thorbis_platform;

INSERT INTO shared.currencies (code, name, minor_unit, cash_increment) VALUES
    ('AED', 'UAE dirham', 2, 0.25), ('ARS', 'Argentine peso', 2, 0.10), ('AUD', 'Australian dollar', 2, 0.05),
    ('BGN', 'Bulgarian lev', 2, 0.01), ('BHD', 'Bahraini dinar', 3, 0.005), ('BRL', 'Brazilian real', 2, 0.05),
    ('CAD', 'Canadian dollar', 2, 0.05), ('CHF', 'Swiss franc', 2, 0.05), ('CLP', 'Chilean peso', 0, 10),
    ('CNY', 'Yuan renminbi', 2, 0.10), ('COP', 'Colombian peso', 2, 50), ('CZK', 'Czech koruna', 2, 1),
    ('DKK', 'Danish krone', 2, 0.50), ('EGP', 'Egyptian pound', 2, 0.25), ('EUR', 'Euro', 2, 0.01),
    ('GBP', 'Pound sterling', 2, 0.01), ('HKD', 'Hong Kong dollar', 2, 0.10), ('HUF', 'Forint', 2, 5),
    ('IDR', 'Rupiah', 2, 100), ('ILS', 'New Israeli sheqel', 2, 0.10), ('INR', 'Indian rupee', 2, 1),
    ('ISK', 'Iceland krona', 0, 1), ('JOD', 'Jordanian dinar', 3, 0.005), ('JPY', 'Yen', 0, 1),
    ('KRW', 'Won', 0, 10), ('KWD', 'Kuwaiti dinar', 3, 0.005), ('MAD', 'Moroccan dirham', 2, 0.10),
    ('MXN', 'Mexican peso', 2, 0.05), ('MYR', 'Malaysian ringgit', 2, 0.05), ('NOK', 'Norwegian krone', 2, 1),
    ('NZD', 'New Zealand dollar', 2, 0.10), ('OMR', 'Rial Omani', 3, 0.005), ('PEN', 'Sol', 2, 0.10),
    ('PHP', 'Philippine peso', 2, 0.05), ('PLN', 'Zloty', 2, 0.01), ('RON', 'Romanian leu', 2, 0.01),
    ('RSD', 'Serbian dinar', 2, 1), ('SAR', 'Saudi riyal', 2, 0.05), ('SEK', 'Swedish krona', 2, 1),
    ('SGD', 'Singapore dollar', 2, 0.05), ('THB', 'Baht', 2, 0.25), ('TND', 'Tunisian dinar', 3, 0.005),
    ('TRY', 'Turkish lira', 2, 0.05), ('TWD', 'New Taiwan dollar', 2, 1), ('UAH', 'Hryvnia', 2, 0.10),
    ('USD', 'US dollar', 2, 0.01), ('UYU', 'Peso uruguayo', 2, 1), ('VND', 'Dong', 0, 500),
    ('ZAR', 'Rand', 2, 0.10);

CREATE TABLE shared.tax_jurisdictions (
    tenant_id uuid NOT NULL DEFAULT @extschema@.get_current_tenant_id(),
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    parent_jurisdiction_id uuid,
    code text NOT NULL,
    name text NOT NULL,
    created_by uuid DEFAULT @extschema@.get_current_actor_id(),
    updated_by uuid,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT tax_jurisdictions_pkey PRIMARY KEY (tenant_id, id),
    CONSTRAINT tax_jurisdictions_tenant_id_fkey FOREIGN KEY (tenant_id) REFERENCES shared.tenants (id) ON DELETE CASCADE,
    CONSTRAINT tax_jurisdictions_parent_jurisdiction_id_fkey
        FOREIGN KEY (tenant_id, parent_jurisdiction_id) REFERENCES shared.tax_jurisdictions (tenant_id, id),
    CONSTRAINT tax_jurisdictions_created_by_fkey
        FOREIGN KEY (tenant_id, created_by) REFERENCES shared.users (tenant_id, id),
    CONSTRAINT tax_jurisdictions_updated_by_fkey
        FOREIGN KEY (tenant_id, updated_by) REFERENCES shared.users (tenant_id, id),
    CONSTRAINT tax_jurisdictions_code_unique UNIQUE (tenant_id, code),
    CONSTRAINT tax_jurisdictions_code_check CHECK (btrim(code) <> ''),
    CONSTRAINT tax_jurisdictions_name_check CHECK (btrim(name) <> ''),
    CONSTRAINT tax_jurisdictions_parent_jurisdiction_id_check CHECK (parent_jurisdiction_id <> id)
);

CREATE INDEX idx_tax_jurisdictions_parent_jurisdiction_id ON shared.tax_jurisdictions (tenant_id, parent_jurisdiction_id)
    WHERE parent_jurisdiction_id IS NOT NULL;
CREATE INDEX idx_tax_jurisdictions_created_by ON shared.tax_jurisdictions (tenant_id, created_by)
    WHERE created_by IS NOT NULL;
CREATE INDEX idx_tax_jurisdictions_updated_by ON shared.tax_jurisdictions (tenant_id, updated_by)
    WHERE updated_by IS NOT NULL;

CREATE TRIGGER write_tax_jurisdictions_tree
    BEFORE INSERT OR UPDATE OF parent_jurisdiction_id ON shared.tax_jurisdictions
    FOR EACH ROW EXECUTE FUNCTION @extschema@.check_tax_jurisdiction();

COMMENT ON TABLE shared.tax_jurisdictions IS
    'Who levies taxes where: a tree of countries, states, counties, cities. A place pays the taxes of all above it';
COMMENT ON COLUMN shared.tax_jurisdictions.tenant_id IS 'The tenant the row belongs to';
COMMENT ON COLUMN shared.tax_jurisdictions.id IS 'Identifies the row within its tenant';
COMMENT ON COLUMN shared.tax_jurisdictions.parent_jurisdiction_id IS 'The jurisdiction around it, NULL for a country';
COMMENT ON COLUMN shared.tax_jurisdictions.code IS 'Short name, unique within the tenant, such as US-CA';
COMMENT ON COLUMN shared.tax_jurisdictions.name IS 'Name as it is printed';
COMMENT ON COLUMN shared.tax_jurisdictions.created_by IS
    'The user who made the row, NULL when no user of the tenant did';
COMMENT ON COLUMN shared.tax_jurisdictions.updated_by IS 'The user who last changed the row, set by a trigger';
COMMENT ON COLUMN shared.tax_jurisdictions.created_at IS 'When the row was made';
COMMENT ON COLUMN shared.tax_jurisdictions.updated_at IS 'When the row last changed, set by a trigger';

SELECT thorbis.protect('shared.tax_jurisdictions', 'taxes', '{"not_personal": ["code", "name"]}');

CREATE TABLE shared.tax_rates (
    tenant_id uuid NOT NULL DEFAULT @extschema@.get_current_tenant_id(),
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    tax_jurisdiction_id uuid NOT NULL,
    category text NOT NULL DEFAULT 'standard',
    code text NOT NULL,
    name text NOT NULL,
    channel text NOT NULL DEFAULT '',
    percent numeric(9,6),
    per_unit numeric(12,2),
    is_inclusive boolean NOT NULL DEFAULT false,
    is_compound boolean NOT NULL DEFAULT false,
    rounding_mode text,
    sort_order integer NOT NULL DEFAULT 0,
    valid_during daterange NOT NULL,
    created_by uuid DEFAULT @extschema@.get_current_actor_id(),
    updated_by uuid,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT tax_rates_pkey PRIMARY KEY (tenant_id, id),
    CONSTRAINT tax_rates_tenant_id_fkey FOREIGN KEY (tenant_id) REFERENCES shared.tenants (id) ON DELETE CASCADE,
    CONSTRAINT tax_rates_tax_jurisdiction_id_fkey
        FOREIGN KEY (tenant_id, tax_jurisdiction_id) REFERENCES shared.tax_jurisdictions (tenant_id, id),
    CONSTRAINT tax_rates_created_by_fkey FOREIGN KEY (tenant_id, created_by) REFERENCES shared.users (tenant_id, id),
    CONSTRAINT tax_rates_updated_by_fkey FOREIGN KEY (tenant_id, updated_by) REFERENCES shared.users (tenant_id, id),
    CONSTRAINT tax_rates_category_check CHECK (btrim(category) <> ''),
    CONSTRAINT tax_rates_code_check CHECK (btrim(code) <> ''),
    CONSTRAINT tax_rates_name_check CHECK (btrim(name) <> ''),
    CONSTRAINT tax_rates_percent_check CHECK (
        (percent IS NULL) <> (per_unit IS NULL) AND percent >= 0 AND percent <= 100),
    -- NaN is greater than every number to PostgreSQL.
    CONSTRAINT tax_rates_per_unit_check CHECK (per_unit >= 0 AND per_unit < 'NaN' AND NOT (per_unit IS NOT NULL AND is_compound)),
    CONSTRAINT tax_rates_rounding_mode_check CHECK (rounding_mode IN ('half_even', 'half_up', 'down', 'up')),
    CONSTRAINT tax_rates_valid_during_check CHECK (NOT isempty(valid_during))
);

CREATE INDEX idx_tax_rates_tax_jurisdiction_id ON shared.tax_rates (tenant_id, tax_jurisdiction_id);
CREATE INDEX idx_tax_rates_created_by ON shared.tax_rates (tenant_id, created_by) WHERE created_by IS NOT NULL;
CREATE INDEX idx_tax_rates_updated_by ON shared.tax_rates (tenant_id, updated_by) WHERE updated_by IS NOT NULL;

SELECT thorbis.add_exclusion('shared.tax_rates', 'tax_rates_valid_during_excl',
    ARRAY['tax_jurisdiction_id', 'category', 'channel', 'code'], 'valid_during');

COMMENT ON TABLE shared.tax_rates IS
    'Rates of taxes with the dates they hold. An invoice copies them when it is issued and never looks here again';
COMMENT ON COLUMN shared.tax_rates.tenant_id IS 'The tenant the row belongs to';
COMMENT ON COLUMN shared.tax_rates.id IS 'Identifies the row within its tenant';
COMMENT ON COLUMN shared.tax_rates.tax_jurisdiction_id IS 'Who levies the tax';
COMMENT ON COLUMN shared.tax_rates.category IS 'Category of goods it is due on: lines name theirs';
COMMENT ON COLUMN shared.tax_rates.code IS 'Which of the taxes of the jurisdiction, such as VAT';
COMMENT ON COLUMN shared.tax_rates.name IS 'Name as it is printed';
COMMENT ON COLUMN shared.tax_rates.channel IS 'The way of selling it is due on, such as dine_in, empty for every way';
COMMENT ON COLUMN shared.tax_rates.percent IS 'Percentage of the price, NULL for a tax on each unit';
COMMENT ON COLUMN shared.tax_rates.per_unit IS 'Amount on each unit, NULL for a percentage';
COMMENT ON COLUMN shared.tax_rates.is_inclusive IS 'True when prices contain it already';
COMMENT ON COLUMN shared.tax_rates.is_compound IS 'True when it is due on the taxes before it too';
COMMENT ON COLUMN shared.tax_rates.rounding_mode IS 'How it rounds, NULL for the way of the invoice';
COMMENT ON COLUMN shared.tax_rates.sort_order IS 'Place among the taxes of the jurisdiction, lowest first';
COMMENT ON COLUMN shared.tax_rates.valid_during IS
    'The dates on which it holds; two of one kind never hold on one date';
COMMENT ON COLUMN shared.tax_rates.created_by IS 'The user who made the row, NULL when no user of the tenant did';
COMMENT ON COLUMN shared.tax_rates.updated_by IS 'The user who last changed the row, set by a trigger';
COMMENT ON COLUMN shared.tax_rates.created_at IS 'When the row was made';
COMMENT ON COLUMN shared.tax_rates.updated_at IS 'When the row last changed, set by a trigger';

SELECT thorbis.protect('shared.tax_rates', 'taxes', '{
    "not_personal": ["category", "code", "name", "channel", "rounding_mode"]
}');

-- Where a location sells, unless the document says otherwise.
ALTER TABLE shared.locations
    ADD COLUMN tax_jurisdiction_id uuid,
    ADD CONSTRAINT locations_tax_jurisdiction_id_fkey
        FOREIGN KEY (tenant_id, tax_jurisdiction_id) REFERENCES shared.tax_jurisdictions (tenant_id, id);
CREATE INDEX idx_locations_tax_jurisdiction_id ON shared.locations (tenant_id, tax_jurisdiction_id)
    WHERE tax_jurisdiction_id IS NOT NULL;
COMMENT ON COLUMN shared.locations.tax_jurisdiction_id IS 'Whose taxes are due on what is sold here, with those of all above it';
SELECT thorbis.protect('shared.locations', 'locations', '{
    "not_personal": ["name", "address", "phone", "timezone", "metadata"]
}');

-- With the rights of whoever asks: the policies of the two tables decide what is found.
CREATE FUNCTION shared.list_tax_rates(jurisdiction_id uuid, on_date date, categories text[] DEFAULT '{standard}',
        channel text DEFAULT '')
    RETURNS TABLE (tax_rate_id uuid, jurisdiction_code text, category text, code text, name text, tax jsonb)
    LANGUAGE sql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
    AS $function$
WITH RECURSIVE around AS (
    SELECT j.id, j.parent_jurisdiction_id, j.code, 0 AS distance
    FROM shared.tax_jurisdictions j
    WHERE j.id = $1 AND j.tenant_id = @extschema@.get_current_tenant_id()
    UNION ALL
    SELECT j.id, j.parent_jurisdiction_id, j.code, a.distance + 1
    FROM around a
        JOIN shared.tax_jurisdictions j
            ON j.tenant_id = @extschema@.get_current_tenant_id() AND j.id = a.parent_jurisdiction_id
    WHERE a.distance < 20
)
SELECT r.id, a.code, r.category, r.code, r.name,
    jsonb_strip_nulls(jsonb_build_object('id', r.id, 'percent', r.percent::text, 'per_unit', r.per_unit::text,
        'inclusive', r.is_inclusive, 'compound', r.is_compound, 'rounding', r.rounding_mode,
        'scope', CASE WHEN cardinality($3) = 1 THEN 'order' ELSE 'line' END))
FROM around a
    JOIN shared.tax_rates r ON r.tenant_id = @extschema@.get_current_tenant_id() AND r.tax_jurisdiction_id = a.id
WHERE r.category = ANY ($3) AND r.channel IN ('', $4) AND r.valid_during @> $2
-- Taxes that prices contain come first, as calculate_order_total() wants them; then from the country down.
ORDER BY NOT r.is_inclusive, a.distance DESC, r.sort_order, r.code, r.category, r.channel
$function$;

COMMENT ON FUNCTION shared.list_tax_rates(uuid, date, text[], text) IS
    'The rates that hold in a jurisdiction and all above it on a date for some categories, in the order in which they apply. tax is an element of taxes for calculate_order_total()';
REVOKE ALL ON FUNCTION shared.list_tax_rates(uuid, date, text[], text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION shared.list_tax_rates(uuid, date, text[], text) TO thorbis_app, thorbis_platform;

CREATE FUNCTION shared.get_taxes(jurisdiction_id uuid, on_date date, categories text[] DEFAULT '{standard}',
        channel text DEFAULT '') RETURNS jsonb
    LANGUAGE sql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
    AS $function$
SELECT coalesce(jsonb_agg(r.tax ORDER BY r.place), '[]')
FROM shared.list_tax_rates($1, $2, $3, $4) WITH ORDINALITY
    AS r (tax_rate_id, jurisdiction_code, category, code, name, tax, place)
$function$;

COMMENT ON FUNCTION shared.get_taxes(uuid, date, text[], text) IS
    'The member taxes for calculate_order_total(): what is due in a jurisdiction on a date. Of one category they are due on every line; of several each line names its own, which get_line_taxes() tells';
REVOKE ALL ON FUNCTION shared.get_taxes(uuid, date, text[], text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION shared.get_taxes(uuid, date, text[], text) TO thorbis_app, thorbis_platform;

CREATE FUNCTION shared.get_line_taxes(jurisdiction_id uuid, on_date date, category text, channel text DEFAULT '')
    RETURNS jsonb
    LANGUAGE sql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
    AS $function$
SELECT coalesce(jsonb_agg(r.tax_rate_id ORDER BY r.place), '[]')
FROM shared.list_tax_rates($1, $2, ARRAY[$3], $4) WITH ORDINALITY
    AS r (tax_rate_id, jurisdiction_code, category, code, name, tax, place)
$function$;

COMMENT ON FUNCTION shared.get_line_taxes(uuid, date, text, text) IS
    'The member taxes of a line for calculate_order_total(): the ids of the taxes due on its category';
REVOKE ALL ON FUNCTION shared.get_line_taxes(uuid, date, text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION shared.get_line_taxes(uuid, date, text, text) TO thorbis_app, thorbis_platform;

-- With the rights of whoever calls it, on the tables of invoices that come next. Lines name taxes that the invoice has: theirs are taken away first and given last.
CREATE FUNCTION shared.apply_invoice_taxes(invoice_id uuid, channel text DEFAULT '') RETURNS void
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
    AS $function$
#variable_conflict use_column
DECLARE
    tenant uuid := @extschema@.get_current_tenant_id();
    invoice record;
    categories text[];
    unknown text;
BEGIN
    SELECT i.status, i.tax_date, coalesce(i.tax_jurisdiction_id, l.tax_jurisdiction_id) AS jurisdiction_id,
        coalesce(c.tax_exempt AND coalesce(c.tax_exemption_expires_on >= i.tax_date, true), false) AS is_exempt
    INTO invoice
    FROM shared.invoices i
        LEFT JOIN shared.locations l ON l.tenant_id = i.tenant_id AND l.id = i.location_id
        LEFT JOIN shared.customers c ON c.tenant_id = i.tenant_id AND c.id = i.customer_id
    WHERE i.tenant_id = tenant AND i.id = $1;
    IF NOT FOUND THEN
        RAISE EXCEPTION USING ERRCODE = 'no_data_found', MESSAGE = 'there is no such invoice in this tenant',
            HINT = 'It belongs to the current tenant.';
    END IF;
    IF invoice.jurisdiction_id IS NULL AND NOT invoice.is_exempt THEN
        RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value',
            MESSAGE = 'neither the invoice nor its location has a tax jurisdiction',
            HINT = 'Set tax_jurisdiction_id of one of the two, which the caller has to see.';
    END IF;
    SELECT coalesce(array_agg(DISTINCT l.tax_category), '{standard}') INTO categories
    FROM shared.invoice_lines l
    WHERE l.tenant_id = tenant AND l.invoice_id = $1;
    IF NOT invoice.is_exempt THEN
        SELECT min(l.tax_category) INTO unknown
        FROM shared.invoice_lines l
        WHERE l.tenant_id = tenant AND l.invoice_id = $1 AND coalesce(l.pricing -> 'tax_exempt', 'false') <> 'true'
            AND l.tax_category NOT IN (
                SELECT r.category
                FROM shared.list_tax_rates(invoice.jurisdiction_id, invoice.tax_date, categories, $2) r);
        IF unknown IS NOT NULL THEN
            RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value',
                MESSAGE = format('no rate of the category "%s" holds in the jurisdiction on the tax date', unknown),
                HINT = 'INSERT INTO shared.tax_rates ... that category; 0 percent says that no tax is due. A line that is exempt has "tax_exempt": true in its pricing.';
        END IF;
    END IF;
    UPDATE shared.invoice_lines SET pricing = pricing - 'taxes'
    WHERE tenant_id = tenant AND invoice_id = $1 AND pricing ? 'taxes';
    UPDATE shared.invoices SET pricing = pricing || jsonb_build_object('taxes', CASE WHEN invoice.is_exempt THEN '[]'
        ELSE shared.get_taxes(invoice.jurisdiction_id, invoice.tax_date, categories, $2) END)
    WHERE tenant_id = tenant AND id = $1;
    IF cardinality(categories) > 1 AND NOT invoice.is_exempt THEN
        UPDATE shared.invoice_lines SET pricing = pricing || jsonb_build_object('taxes',
            shared.get_line_taxes(invoice.jurisdiction_id, invoice.tax_date, tax_category, $2))
        WHERE tenant_id = tenant AND invoice_id = $1 AND coalesce(pricing -> 'tax_exempt', 'false') <> 'true';
    END IF;
END
$function$;

COMMENT ON FUNCTION shared.apply_invoice_taxes(uuid, text) IS
    'Writes into the pricing of a draft and its lines the taxes due in its jurisdiction, else that of its location, on tax_date; none for a customer or a line that is exempt. Raises 22023 without a jurisdiction, and for a category of which no rate holds: one of 0 percent says that there is none. Call it again when lines change: issuing refuses lines without the taxes of their category. For whoever may update invoices and read taxes, locations and customers';
REVOKE ALL ON FUNCTION shared.apply_invoice_taxes(uuid, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION shared.apply_invoice_taxes(uuid, text) TO thorbis_app, thorbis_platform;
