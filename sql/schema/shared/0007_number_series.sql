-- Numbers of documents: how they look, and how far each count is.

CREATE TABLE shared.number_series (
    tenant_id uuid NOT NULL DEFAULT @extschema@.get_current_tenant_id(),
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    series text NOT NULL,
    location_id uuid,
    prefix text NOT NULL DEFAULT '',
    pad smallint NOT NULL DEFAULT 0,
    reset_period text NOT NULL DEFAULT 'never',
    gap_free boolean NOT NULL DEFAULT false,
    created_by uuid DEFAULT @extschema@.get_current_actor_id(),
    updated_by uuid,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT number_series_pkey PRIMARY KEY (tenant_id, id),
    CONSTRAINT number_series_series_unique UNIQUE NULLS NOT DISTINCT (tenant_id, series, location_id),
    CONSTRAINT number_series_tenant_id_fkey FOREIGN KEY (tenant_id) REFERENCES shared.tenants (id) ON DELETE CASCADE,
    CONSTRAINT number_series_location_id_fkey
        FOREIGN KEY (tenant_id, location_id) REFERENCES shared.locations (tenant_id, id),
    CONSTRAINT number_series_created_by_fkey FOREIGN KEY (tenant_id, created_by) REFERENCES shared.users (tenant_id, id),
    CONSTRAINT number_series_updated_by_fkey FOREIGN KEY (tenant_id, updated_by) REFERENCES shared.users (tenant_id, id),
    CONSTRAINT number_series_series_check CHECK (btrim(series) <> ''),
    -- After a digit, two numbers could be written alike: 1 and 12 as 11 and 2.
    CONSTRAINT number_series_prefix_check CHECK (prefix ~ '^([A-Za-z0-9/_. -]{0,19}[A-Za-z/_.-])?$'),
    CONSTRAINT number_series_pad_check CHECK (pad BETWEEN 0 AND 18),
    CONSTRAINT number_series_reset_period_check CHECK (reset_period IN ('never', 'year', 'month', 'day'))
);

CREATE INDEX idx_number_series_location_id ON shared.number_series (tenant_id, location_id)
    WHERE location_id IS NOT NULL;
CREATE INDEX idx_number_series_created_by ON shared.number_series (tenant_id, created_by) WHERE created_by IS NOT NULL;
CREATE INDEX idx_number_series_updated_by ON shared.number_series (tenant_id, updated_by) WHERE updated_by IS NOT NULL;

COMMENT ON TABLE shared.number_series IS
    'How the numbers of documents look. Without a row a tenant counts from 1, without prefix';
COMMENT ON COLUMN shared.number_series.tenant_id IS 'The tenant the row belongs to';
COMMENT ON COLUMN shared.number_series.id IS 'Identifies the row within its tenant';
COMMENT ON COLUMN shared.number_series.series IS
    'What is numbered: invoice (and what begins with invoice_), credit_note, restaurants.orders; else as the trigger assign_document_number() names it, and where it names nothing, schema.table.column';
COMMENT ON COLUMN shared.number_series.location_id IS
    'The location that has this definition, and in an integer column a count of its own; NULL for all that have none';
COMMENT ON COLUMN shared.number_series.prefix IS
    'What stands before the number in a text column. It does not end with a digit. Each prefix is counted by itself, from 1';
COMMENT ON COLUMN shared.number_series.pad IS 'Least number of digits in a text column, filled with zeros';
COMMENT ON COLUMN shared.number_series.reset_period IS
    'never, year, month or day: when the count begins anew, by the business date. In a text column the period stands before the number: INV-2026-0001';
COMMENT ON COLUMN shared.number_series.gap_free IS
    'True where no number may be left out: others wait for an open transaction. A series that the trigger calls gap-free is so in any case';
COMMENT ON COLUMN shared.number_series.created_by IS 'The user who made the row, NULL when no user of the tenant did';
COMMENT ON COLUMN shared.number_series.updated_by IS 'The user who last changed the row, set by a trigger';
COMMENT ON COLUMN shared.number_series.created_at IS 'When the row was made';
COMMENT ON COLUMN shared.number_series.updated_at IS 'When the row last changed, set by a trigger';

SELECT thorbis.protect('shared.number_series', 'number_series', '{
    "update_columns": ["prefix", "pad", "reset_period", "gap_free"],
    "not_personal": ["series", "prefix", "reset_period"]
}');

-- Each number changes a row here: half of each page stays free for the new version beside the old one.
CREATE TABLE shared.number_counters (
    tenant_id uuid NOT NULL DEFAULT @extschema@.get_current_tenant_id(),
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    series text NOT NULL,
    location_id uuid NOT NULL,
    scope text NOT NULL,
    block bigint NOT NULL,
    next_value bigint NOT NULL,
    CONSTRAINT number_counters_pkey PRIMARY KEY (tenant_id, id),
    CONSTRAINT number_counters_series_unique UNIQUE (tenant_id, series, location_id, scope, block),
    CONSTRAINT number_counters_tenant_id_fkey FOREIGN KEY (tenant_id) REFERENCES shared.tenants (id) ON DELETE CASCADE,
    CONSTRAINT number_counters_block_check CHECK (block >= 0),
    CONSTRAINT number_counters_next_value_check CHECK (next_value > 0)
) WITH (fillfactor = 50);

COMMENT ON TABLE shared.number_counters IS
    'How far the counts of shared.number_series are, written by the trigger assign_document_number() alone';
COMMENT ON COLUMN shared.number_counters.tenant_id IS 'The tenant the row belongs to';
COMMENT ON COLUMN shared.number_counters.id IS 'Identifies the row within its tenant';
COMMENT ON COLUMN shared.number_counters.series IS 'What is numbered';
COMMENT ON COLUMN shared.number_counters.location_id IS
    'The location with a count of its own; 00000000-0000-0000-0000-000000000000 for the tenant';
COMMENT ON COLUMN shared.number_counters.scope IS
    'What else is counted by itself: in a text column what stands before the number, in an integer column the period';
COMMENT ON COLUMN shared.number_counters.block IS
    '0 for a count without gaps. Others count in blocks of 64 numbers, from 1 on: one transaction at a time in each, so that nobody waits';
COMMENT ON COLUMN shared.number_counters.next_value IS 'The next number; beyond the block when that is used up';

-- The log of changes would hold every number twice: the document has it.
SELECT thorbis.protect('shared.number_counters', 'number_series', '{
    "actions": ["select"],
    "platform_actions": ["select"],
    "audit": false,
    "not_personal": ["series", "scope"]
}');
