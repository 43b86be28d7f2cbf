-- How long data is kept, what must not be erased, and what was.

CREATE TABLE gdpr.retention_policies (
    tenant_id uuid NOT NULL DEFAULT @extschema@.get_current_tenant_id(),
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    table_name text NOT NULL,
    timestamp_column text NOT NULL,
    period interval NOT NULL,
    action text NOT NULL,
    basis text NOT NULL,
    is_active boolean NOT NULL DEFAULT true,
    created_by uuid DEFAULT @extschema@.get_current_actor_id(),
    updated_by uuid,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT retention_policies_pkey PRIMARY KEY (tenant_id, id),
    CONSTRAINT retention_policies_table_name_unique UNIQUE (tenant_id, table_name, timestamp_column, action),
    CONSTRAINT retention_policies_tenant_id_fkey
        FOREIGN KEY (tenant_id) REFERENCES shared.tenants (id) ON DELETE CASCADE,
    CONSTRAINT retention_policies_created_by_fkey
        FOREIGN KEY (tenant_id, created_by) REFERENCES shared.users (tenant_id, id),
    CONSTRAINT retention_policies_updated_by_fkey
        FOREIGN KEY (tenant_id, updated_by) REFERENCES shared.users (tenant_id, id),
    CONSTRAINT retention_policies_table_name_check CHECK (btrim(table_name) <> ''),
    CONSTRAINT retention_policies_timestamp_column_check CHECK (btrim(timestamp_column) <> ''),
    CONSTRAINT retention_policies_period_check CHECK (period BETWEEN interval '1 day' AND interval '1000 years'),
    CONSTRAINT retention_policies_action_check CHECK (action IN ('delete', 'erase_subject')),
    CONSTRAINT retention_policies_basis_check CHECK (btrim(basis) <> '')
);

CREATE INDEX idx_retention_policies_created_by ON gdpr.retention_policies (tenant_id, created_by)
    WHERE created_by IS NOT NULL;
CREATE INDEX idx_retention_policies_updated_by ON gdpr.retention_policies (tenant_id, updated_by)
    WHERE updated_by IS NOT NULL;

COMMENT ON TABLE gdpr.retention_policies IS
    'How long rows are kept. gdpr.apply_retention() deletes those that are older, or erases the people they are about';
COMMENT ON COLUMN gdpr.retention_policies.tenant_id IS 'The tenant the row belongs to';
COMMENT ON COLUMN gdpr.retention_policies.id IS 'Identifies the policy within its tenant';
COMMENT ON COLUMN gdpr.retention_policies.table_name IS
    'The table with its schema, such as restaurants.orders. A name: what is restored elsewhere means the same table';
COMMENT ON COLUMN gdpr.retention_policies.timestamp_column IS
    'The column that tells the age of a row, such as created_at. Rows where it is NULL are kept';
COMMENT ON COLUMN gdpr.retention_policies.period IS 'How long rows are kept, at least a day';
COMMENT ON COLUMN gdpr.retention_policies.action IS
    'delete the rows, or erase_subject: the people all of whose rows there are older';
COMMENT ON COLUMN gdpr.retention_policies.basis IS 'Why so long and no longer, such as the paragraph of a law';
COMMENT ON COLUMN gdpr.retention_policies.is_active IS 'False while the policy is not applied';
COMMENT ON COLUMN gdpr.retention_policies.created_by IS
    'The user who made the row, NULL when no user of the tenant did';
COMMENT ON COLUMN gdpr.retention_policies.updated_by IS 'The user who last changed the row, set by a trigger';
COMMENT ON COLUMN gdpr.retention_policies.created_at IS 'When the row was made';
COMMENT ON COLUMN gdpr.retention_policies.updated_at IS 'When the row last changed, set by a trigger';

SELECT thorbis.protect('gdpr.retention_policies', 'gdpr', '{
    "not_personal": ["table_name", "timestamp_column", "action", "basis"]
}');

CREATE TABLE gdpr.legal_holds (
    tenant_id uuid NOT NULL DEFAULT @extschema@.get_current_tenant_id(),
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    subject_kind text,
    subject_id uuid,
    reason text NOT NULL,
    placed_at timestamptz NOT NULL DEFAULT now(),
    released_at timestamptz,
    created_by uuid DEFAULT @extschema@.get_current_actor_id(),
    updated_by uuid,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT legal_holds_pkey PRIMARY KEY (tenant_id, id),
    CONSTRAINT legal_holds_tenant_id_fkey FOREIGN KEY (tenant_id) REFERENCES shared.tenants (id) ON DELETE CASCADE,
    CONSTRAINT legal_holds_created_by_fkey FOREIGN KEY (tenant_id, created_by) REFERENCES shared.users (tenant_id, id),
    CONSTRAINT legal_holds_updated_by_fkey FOREIGN KEY (tenant_id, updated_by) REFERENCES shared.users (tenant_id, id),
    CONSTRAINT legal_holds_subject_kind_check CHECK (subject_kind ~ '^[a-z][a-z0-9_]*$'),
    CONSTRAINT legal_holds_subject_id_check CHECK ((subject_id IS NULL) = (subject_kind IS NULL)),
    CONSTRAINT legal_holds_reason_check CHECK (btrim(reason) <> ''),
    CONSTRAINT legal_holds_released_at_check CHECK (released_at >= placed_at)
);

CREATE INDEX idx_legal_holds_open ON gdpr.legal_holds (tenant_id, subject_id, subject_kind) WHERE released_at IS NULL;
CREATE INDEX idx_legal_holds_created_by ON gdpr.legal_holds (tenant_id, created_by) WHERE created_by IS NOT NULL;
CREATE INDEX idx_legal_holds_updated_by ON gdpr.legal_holds (tenant_id, updated_by) WHERE updated_by IS NOT NULL;

COMMENT ON TABLE gdpr.legal_holds IS
    'What must not be erased because a court or an authority may ask for it: one person, or the whole tenant';
COMMENT ON COLUMN gdpr.legal_holds.tenant_id IS 'The tenant the row belongs to';
COMMENT ON COLUMN gdpr.legal_holds.id IS 'Identifies the hold within its tenant';
COMMENT ON COLUMN gdpr.legal_holds.subject_kind IS 'customer, user or a kind of your own; NULL for the whole tenant';
COMMENT ON COLUMN gdpr.legal_holds.subject_id IS 'The person, NULL for the whole tenant';
COMMENT ON COLUMN gdpr.legal_holds.reason IS
    'Why, such as the number of a case. No personal data: whoever tries to erase reads it';
COMMENT ON COLUMN gdpr.legal_holds.placed_at IS 'When the hold began';
COMMENT ON COLUMN gdpr.legal_holds.released_at IS 'When it ended, NULL while it holds';
COMMENT ON COLUMN gdpr.legal_holds.created_by IS 'The user who placed it, NULL when no user of the tenant did';
COMMENT ON COLUMN gdpr.legal_holds.updated_by IS 'The user who last changed the row, set by a trigger';
COMMENT ON COLUMN gdpr.legal_holds.created_at IS 'When the row was made';
COMMENT ON COLUMN gdpr.legal_holds.updated_at IS 'When the row last changed, set by a trigger';

-- Holds are released, not deleted: that they were there is part of the evidence.
SELECT thorbis.protect('gdpr.legal_holds', 'gdpr', '{
    "actions": ["select", "insert", "update"],
    "update_columns": ["released_at"],
    "not_personal": ["subject_kind", "reason"]
}');

CREATE TABLE gdpr.erasures (
    tenant_id uuid NOT NULL DEFAULT @extschema@.get_current_tenant_id(),
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    subject_kind text NOT NULL,
    subject_id uuid NOT NULL,
    requested_by uuid DEFAULT @extschema@.get_current_actor_id(),
    at timestamptz NOT NULL DEFAULT now(),
    counts jsonb NOT NULL DEFAULT '{}',
    data_key_id uuid,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT erasures_pkey PRIMARY KEY (tenant_id, id),
    CONSTRAINT erasures_tenant_id_fkey FOREIGN KEY (tenant_id) REFERENCES shared.tenants (id) ON DELETE CASCADE,
    CONSTRAINT erasures_requested_by_fkey
        FOREIGN KEY (tenant_id, requested_by) REFERENCES shared.users (tenant_id, id),
    CONSTRAINT erasures_subject_kind_check CHECK (subject_kind ~ '^[a-z][a-z0-9_]*$'),
    CONSTRAINT erasures_at_check CHECK (at <= created_at),
    CONSTRAINT erasures_counts_check CHECK (jsonb_typeof(counts) = 'object')
);

CREATE INDEX idx_erasures_subject_id ON gdpr.erasures (tenant_id, subject_id, subject_kind, at);
CREATE INDEX idx_erasures_requested_by ON gdpr.erasures (tenant_id, requested_by) WHERE requested_by IS NOT NULL;

CREATE TRIGGER write_erasures_append_only
    BEFORE UPDATE OR DELETE ON gdpr.erasures
    FOR EACH ROW EXECUTE FUNCTION @extschema@.keep_append_only();

CREATE TRIGGER truncate_erasures_append_only
    BEFORE TRUNCATE ON gdpr.erasures
    FOR EACH STATEMENT EXECUTE FUNCTION @extschema@.keep_append_only();

COMMENT ON TABLE gdpr.erasures IS
    'Who was erased and when, never changed. After a backup is restored, these are the erasures to repeat';
COMMENT ON COLUMN gdpr.erasures.tenant_id IS 'The tenant the row belongs to';
COMMENT ON COLUMN gdpr.erasures.id IS 'Identifies the row within its tenant';
COMMENT ON COLUMN gdpr.erasures.subject_kind IS 'customer, user or a kind of your own';
COMMENT ON COLUMN gdpr.erasures.subject_id IS 'The person, of whom nothing but this id is left';
COMMENT ON COLUMN gdpr.erasures.requested_by IS 'The user who erased, NULL when no user of the tenant did';
COMMENT ON COLUMN gdpr.erasures.at IS 'When';
COMMENT ON COLUMN gdpr.erasures.counts IS 'How many rows of which table were changed, a JSON object';
COMMENT ON COLUMN gdpr.erasures.data_key_id IS 'The key that was destroyed, NULL when the person had none';
COMMENT ON COLUMN gdpr.erasures.created_at IS 'When the row was made';
COMMENT ON COLUMN gdpr.erasures.updated_at IS 'When the row last changed: rows do not change';

-- Written by thorbis.erase_subject() as the owner: whoever could enter a row could keep a person from being erased, or have
-- them erased when erasures are repeated.
SELECT thorbis.protect('gdpr.erasures', 'gdpr', '{
    "actions": ["select"],
    "not_personal": ["subject_kind", "counts"]
}');
