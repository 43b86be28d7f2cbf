-- Personal data that was lost, changed or seen by somebody who should not have seen it.

CREATE TABLE gdpr.breaches (
    tenant_id uuid NOT NULL DEFAULT @extschema@.get_current_tenant_id(),
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    description text NOT NULL,
    occurred_at timestamptz,
    aware_at timestamptz NOT NULL DEFAULT now(),
    authority_due_at timestamptz NOT NULL GENERATED ALWAYS AS (
        ((aware_at AT TIME ZONE 'UTC') + interval '72 hours') AT TIME ZONE 'UTC') STORED,
    authority_notified_at timestamptz,
    delay_reason text,
    risk text NOT NULL DEFAULT 'risk',
    data_categories text[] NOT NULL DEFAULT '{}',
    subject_count integer,
    consequences text,
    measures text,
    subjects_notified_at timestamptz,
    no_notice_reason text,
    closed_at timestamptz,
    created_by uuid DEFAULT @extschema@.get_current_actor_id(),
    updated_by uuid,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT breaches_pkey PRIMARY KEY (tenant_id, id),
    CONSTRAINT breaches_tenant_id_fkey FOREIGN KEY (tenant_id) REFERENCES shared.tenants (id) ON DELETE CASCADE,
    CONSTRAINT breaches_created_by_fkey FOREIGN KEY (tenant_id, created_by) REFERENCES shared.users (tenant_id, id),
    CONSTRAINT breaches_updated_by_fkey FOREIGN KEY (tenant_id, updated_by) REFERENCES shared.users (tenant_id, id),
    CONSTRAINT breaches_description_check CHECK (btrim(description) <> ''),
    CONSTRAINT breaches_occurred_at_check CHECK (occurred_at <= aware_at),
    CONSTRAINT breaches_authority_notified_at_check CHECK (authority_notified_at >= aware_at),
    CONSTRAINT breaches_delay_reason_check
        CHECK (authority_notified_at <= authority_due_at OR coalesce(btrim(delay_reason), '') <> ''),
    CONSTRAINT breaches_risk_check CHECK (risk IN ('none', 'risk', 'high')),
    CONSTRAINT breaches_subject_count_check CHECK (subject_count >= 0),
    CONSTRAINT breaches_subjects_notified_at_check CHECK (subjects_notified_at >= aware_at),
    -- Without a risk nobody need be told; with a high one the people too, unless there is a reason why not.
    CONSTRAINT breaches_closed_at_check CHECK (
        closed_at IS NULL
        OR closed_at >= aware_at
            AND (risk = 'none' OR authority_notified_at IS NOT NULL)
            AND (risk <> 'high' OR subjects_notified_at IS NOT NULL OR coalesce(btrim(no_notice_reason), '') <> ''))
);

CREATE INDEX idx_breaches_open ON gdpr.breaches (tenant_id, authority_due_at) WHERE closed_at IS NULL;
CREATE INDEX idx_breaches_created_by ON gdpr.breaches (tenant_id, created_by) WHERE created_by IS NOT NULL;
CREATE INDEX idx_breaches_updated_by ON gdpr.breaches (tenant_id, updated_by) WHERE updated_by IS NOT NULL;

COMMENT ON TABLE gdpr.breaches IS
    'Breaches of personal data, what was done about them and who was told when. Articles 33 and 34';
COMMENT ON COLUMN gdpr.breaches.tenant_id IS 'The tenant the row belongs to';
COMMENT ON COLUMN gdpr.breaches.id IS 'Identifies the breach within its tenant';
COMMENT ON COLUMN gdpr.breaches.description IS 'What happened';
COMMENT ON COLUMN gdpr.breaches.occurred_at IS 'When it happened, NULL while that is not known';
COMMENT ON COLUMN gdpr.breaches.aware_at IS 'When the tenant came to know of it';
COMMENT ON COLUMN gdpr.breaches.authority_due_at IS '72 hours later: when the authority must have been told';
COMMENT ON COLUMN gdpr.breaches.authority_notified_at IS 'When the authority was told, NULL while it was not';
COMMENT ON COLUMN gdpr.breaches.delay_reason IS 'Why that took longer, required when it did';
COMMENT ON COLUMN gdpr.breaches.risk IS
    'Risk for the people: none, risk (the authority is told) or high (the people as well)';
COMMENT ON COLUMN gdpr.breaches.data_categories IS 'What data, in the categories of gdpr.pii_catalog or in words';
COMMENT ON COLUMN gdpr.breaches.subject_count IS 'About how many people, NULL while that is not known';
COMMENT ON COLUMN gdpr.breaches.consequences IS 'What it can lead to';
COMMENT ON COLUMN gdpr.breaches.measures IS 'What was done about it';
COMMENT ON COLUMN gdpr.breaches.subjects_notified_at IS 'When the people were told, NULL while they were not';
COMMENT ON COLUMN gdpr.breaches.no_notice_reason IS 'Why the people need not be told in spite of a high risk';
COMMENT ON COLUMN gdpr.breaches.closed_at IS 'When nothing was left to do, NULL before';
COMMENT ON COLUMN gdpr.breaches.created_by IS 'The user who made the row, NULL when no user of the tenant did';
COMMENT ON COLUMN gdpr.breaches.updated_by IS 'The user who last changed the row, set by a trigger';
COMMENT ON COLUMN gdpr.breaches.created_at IS 'When the row was made';
COMMENT ON COLUMN gdpr.breaches.updated_at IS 'When the row last changed, set by a trigger';

-- The authority may ask for the record of every breach: it is not deleted. Texts may name people.
SELECT thorbis.protect('gdpr.breaches', 'gdpr', '{
    "actions": ["select", "insert", "update"],
    "pii": [
        {"column": "description", "method": "clear"},
        {"column": "consequences", "method": "clear"},
        {"column": "measures", "method": "clear"}
    ],
    "not_personal": ["delay_reason", "risk", "data_categories", "no_notice_reason"]
}');
