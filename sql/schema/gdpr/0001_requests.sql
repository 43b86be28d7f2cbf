-- What people may ask about their data, what they agreed to, and what their data is used for.

INSERT INTO rbac.permissions (resource, action, description) VALUES
    ('gdpr', 'read', 'Read requests, consents, retention policies, holds, erasures and breaches'),
    ('gdpr', 'create', 'Enter them. A retention policy has rows of any table deleted'),
    ('gdpr', 'update', 'Change them, and release holds'),
    ('gdpr', 'delete', 'Delete those of them that may be deleted'),
    ('gdpr', 'admin', 'Do everything with data protection, beyond every rule that binds others'),
    ('gdpr', 'export', 'Export everything that is kept about a person'),
    ('gdpr', 'erase', 'Erase a person'),
    ('gdpr', 'inspect', 'Search for what is left of a person');

-- Whoever enters a retention policy can have deleted what they may not delete themselves: that stays with the owner.
INSERT INTO rbac.role_template_permissions (role_template_code, resource, action) VALUES
    ('manager', 'gdpr', 'read'),
    ('manager', 'gdpr', 'export');

CREATE TABLE gdpr.data_subject_requests (
    tenant_id uuid NOT NULL DEFAULT @extschema@.get_current_tenant_id(),
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    customer_id uuid,
    user_id uuid,
    type text NOT NULL,
    status text NOT NULL DEFAULT 'received',
    reference text,
    received_at timestamptz NOT NULL DEFAULT now(),
    -- In UTC: an interval of months is not the same in every time zone, and the deadline must be.
    due_at timestamptz NOT NULL GENERATED ALWAYS AS (
        ((received_at AT TIME ZONE 'UTC') + interval '1 month') AT TIME ZONE 'UTC') STORED,
    extended_until timestamptz,
    extension_reason text,
    verified_at timestamptz,
    started_at timestamptz,
    closed_at timestamptz,
    rejection_reason text,
    created_by uuid DEFAULT @extschema@.get_current_actor_id(),
    updated_by uuid,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT data_subject_requests_pkey PRIMARY KEY (tenant_id, id),
    CONSTRAINT data_subject_requests_tenant_id_fkey
        FOREIGN KEY (tenant_id) REFERENCES shared.tenants (id) ON DELETE CASCADE,
    CONSTRAINT data_subject_requests_customer_id_fkey
        FOREIGN KEY (tenant_id, customer_id) REFERENCES shared.customers (tenant_id, id),
    CONSTRAINT data_subject_requests_user_id_fkey
        FOREIGN KEY (tenant_id, user_id) REFERENCES shared.users (tenant_id, id),
    CONSTRAINT data_subject_requests_created_by_fkey
        FOREIGN KEY (tenant_id, created_by) REFERENCES shared.users (tenant_id, id),
    CONSTRAINT data_subject_requests_updated_by_fkey
        FOREIGN KEY (tenant_id, updated_by) REFERENCES shared.users (tenant_id, id),
    CONSTRAINT data_subject_requests_type_check
        CHECK (type IN ('access', 'rectification', 'erasure', 'restriction', 'portability', 'objection')),
    CONSTRAINT data_subject_requests_status_check
        CHECK (status IN ('received', 'verified', 'in_progress', 'fulfilled', 'rejected')),
    -- Each status has behind it the times of those before. Only a rejection may come at any point.
    CONSTRAINT data_subject_requests_verified_at_check CHECK (
        verified_at >= received_at AND CASE status
            WHEN 'received' THEN verified_at IS NULL
            WHEN 'rejected' THEN true
            ELSE verified_at IS NOT NULL END),
    CONSTRAINT data_subject_requests_started_at_check CHECK (
        started_at >= verified_at AND CASE
            WHEN status IN ('received', 'verified') THEN started_at IS NULL
            WHEN status = 'rejected' THEN started_at IS NULL OR verified_at IS NOT NULL
            ELSE started_at IS NOT NULL END),
    CONSTRAINT data_subject_requests_closed_at_check CHECK (
        closed_at >= coalesce(started_at, verified_at, received_at)
        AND (closed_at IS NOT NULL) = (status IN ('fulfilled', 'rejected'))),
    CONSTRAINT data_subject_requests_extended_until_check CHECK (
        (extended_until IS NULL) = (extension_reason IS NULL)
        AND extended_until > due_at
        AND extended_until <= ((received_at AT TIME ZONE 'UTC') + interval '3 months') AT TIME ZONE 'UTC'),
    CONSTRAINT data_subject_requests_extension_reason_check
        CHECK (extension_reason IN ('complexity', 'number_of_requests')),
    CONSTRAINT data_subject_requests_rejection_reason_check CHECK (
        (rejection_reason IS NOT NULL) = (status = 'rejected')
        AND rejection_reason IN ('not_identified', 'unfounded', 'excessive', 'legal_obligation', 'legal_claims',
            'not_applicable'))
);

CREATE INDEX idx_data_subject_requests_open ON gdpr.data_subject_requests (tenant_id, due_at)
    WHERE closed_at IS NULL;
CREATE INDEX idx_data_subject_requests_customer_id ON gdpr.data_subject_requests (tenant_id, customer_id)
    WHERE customer_id IS NOT NULL;
CREATE INDEX idx_data_subject_requests_user_id ON gdpr.data_subject_requests (tenant_id, user_id)
    WHERE user_id IS NOT NULL;
CREATE INDEX idx_data_subject_requests_created_by ON gdpr.data_subject_requests (tenant_id, created_by)
    WHERE created_by IS NOT NULL;
CREATE INDEX idx_data_subject_requests_updated_by ON gdpr.data_subject_requests (tenant_id, updated_by)
    WHERE updated_by IS NOT NULL;

COMMENT ON TABLE gdpr.data_subject_requests IS
    'What people asked about their data, and whether it was answered in time. Articles 12 and 15 to 21';
COMMENT ON COLUMN gdpr.data_subject_requests.tenant_id IS 'The tenant the row belongs to';
COMMENT ON COLUMN gdpr.data_subject_requests.id IS 'Identifies the request within its tenant';
COMMENT ON COLUMN gdpr.data_subject_requests.customer_id IS 'The customer who asks, NULL until it is known who it is';
COMMENT ON COLUMN gdpr.data_subject_requests.user_id IS 'The user who asks. Somebody can be both';
COMMENT ON COLUMN gdpr.data_subject_requests.type IS
    'access, rectification, erasure, restriction, portability or objection';
COMMENT ON COLUMN gdpr.data_subject_requests.status IS
    'received, verified (it is clear who asks), in_progress, fulfilled or rejected';
COMMENT ON COLUMN gdpr.data_subject_requests.reference IS
    'Where the letters are kept, such as the number of a ticket. No personal data: it outlives an erasure';
COMMENT ON COLUMN gdpr.data_subject_requests.received_at IS 'When it arrived, by whatever way';
COMMENT ON COLUMN gdpr.data_subject_requests.due_at IS 'One month later: when it must be answered';
COMMENT ON COLUMN gdpr.data_subject_requests.extended_until IS
    'The later deadline, at most two further months, NULL when not extended. The person must be told within due_at';
COMMENT ON COLUMN gdpr.data_subject_requests.extension_reason IS
    'Why it takes longer: complexity or number_of_requests, the reasons the law accepts';
COMMENT ON COLUMN gdpr.data_subject_requests.verified_at IS 'When it was clear who asks';
COMMENT ON COLUMN gdpr.data_subject_requests.started_at IS 'When somebody began with it';
COMMENT ON COLUMN gdpr.data_subject_requests.closed_at IS 'When it was fulfilled or rejected';
COMMENT ON COLUMN gdpr.data_subject_requests.rejection_reason IS
    'Why: not_identified, unfounded, excessive, legal_obligation, legal_claims or not_applicable';
COMMENT ON COLUMN gdpr.data_subject_requests.created_by IS
    'The user who made the row, NULL when no user of the tenant did';
COMMENT ON COLUMN gdpr.data_subject_requests.updated_by IS 'The user who last changed the row, set by a trigger';
COMMENT ON COLUMN gdpr.data_subject_requests.created_at IS 'When the row was made';
COMMENT ON COLUMN gdpr.data_subject_requests.updated_at IS 'When the row last changed, set by a trigger';

SELECT thorbis.protect('gdpr.data_subject_requests', 'gdpr', '{
    "subject": {"kind": "customer", "column": "customer_id"},
    "not_personal": ["type", "status", "reference", "extension_reason", "rejection_reason"]
}');

CREATE TABLE gdpr.consents (
    tenant_id uuid NOT NULL DEFAULT @extschema@.get_current_tenant_id(),
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    customer_id uuid NOT NULL,
    purpose text NOT NULL,
    decision text NOT NULL,
    text_version text,
    source text NOT NULL,
    at timestamptz NOT NULL DEFAULT now(),
    created_by uuid DEFAULT @extschema@.get_current_actor_id(),
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT consents_pkey PRIMARY KEY (tenant_id, id),
    CONSTRAINT consents_tenant_id_fkey FOREIGN KEY (tenant_id) REFERENCES shared.tenants (id) ON DELETE CASCADE,
    CONSTRAINT consents_customer_id_fkey
        FOREIGN KEY (tenant_id, customer_id) REFERENCES shared.customers (tenant_id, id),
    CONSTRAINT consents_created_by_fkey FOREIGN KEY (tenant_id, created_by) REFERENCES shared.users (tenant_id, id),
    CONSTRAINT consents_purpose_check CHECK (purpose ~ '^[a-z][a-z0-9_]*$'),
    CONSTRAINT consents_decision_check CHECK (decision IN ('granted', 'withdrawn')),
    CONSTRAINT consents_text_version_check
        CHECK (decision = 'withdrawn' OR coalesce(btrim(text_version), '') <> ''),
    CONSTRAINT consents_source_check CHECK (btrim(source) <> ''),
    -- A decision dated ahead would outlast the ones that come before its date.
    CONSTRAINT consents_at_check CHECK (at <= created_at)
);

CREATE INDEX idx_consents_customer_id ON gdpr.consents (tenant_id, customer_id, purpose, at DESC);
CREATE INDEX idx_consents_created_by ON gdpr.consents (tenant_id, created_by) WHERE created_by IS NOT NULL;

CREATE TRIGGER write_consents_append_only
    BEFORE UPDATE OR DELETE ON gdpr.consents
    FOR EACH ROW EXECUTE FUNCTION @extschema@.keep_append_only();

CREATE TRIGGER truncate_consents_append_only
    BEFORE TRUNCATE ON gdpr.consents
    FOR EACH STATEMENT EXECUTE FUNCTION @extschema@.keep_append_only();

COMMENT ON TABLE gdpr.consents IS
    'What customers agreed to and took back: a row for each decision, never changed. Article 7';
COMMENT ON COLUMN gdpr.consents.tenant_id IS 'The tenant the row belongs to';
COMMENT ON COLUMN gdpr.consents.id IS 'Identifies the row within its tenant';
COMMENT ON COLUMN gdpr.consents.customer_id IS 'Who decided';
COMMENT ON COLUMN gdpr.consents.purpose IS 'What for, a word such as newsletter';
COMMENT ON COLUMN gdpr.consents.decision IS 'granted or withdrawn. The latest one counts: gdpr.v_consent_current';
COMMENT ON COLUMN gdpr.consents.text_version IS 'Which text was agreed to, required when granted';
COMMENT ON COLUMN gdpr.consents.source IS 'How it was expressed, such as web, paper or phone';
COMMENT ON COLUMN gdpr.consents.at IS 'When it was expressed, at the latest when the row was made';
COMMENT ON COLUMN gdpr.consents.created_by IS 'The user who made the row, NULL when no user of the tenant did';
COMMENT ON COLUMN gdpr.consents.created_at IS 'When the row was made';
COMMENT ON COLUMN gdpr.consents.updated_at IS 'When the row last changed: rows do not change';

-- The decisions stay after an erasure, about nobody who can be named: they prove that consent was asked for.
SELECT thorbis.protect('gdpr.consents', 'gdpr', '{
    "actions": ["select", "insert"],
    "subject": {"kind": "customer", "column": "customer_id"},
    "not_personal": ["purpose", "decision", "text_version", "source"]
}');

CREATE TABLE gdpr.processing_activities (
    tenant_id uuid NOT NULL DEFAULT @extschema@.get_current_tenant_id(),
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    name text NOT NULL,
    acts_as text NOT NULL DEFAULT 'controller',
    purpose text NOT NULL,
    legal_basis text,
    subject_categories text[] NOT NULL DEFAULT '{}',
    data_categories text[] NOT NULL DEFAULT '{}',
    recipients text[] NOT NULL DEFAULT '{}',
    third_country_transfers text,
    erasure_period text,
    security_measures text,
    contact text,
    created_by uuid DEFAULT @extschema@.get_current_actor_id(),
    updated_by uuid,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT processing_activities_pkey PRIMARY KEY (tenant_id, id),
    CONSTRAINT processing_activities_name_unique UNIQUE (tenant_id, name),
    CONSTRAINT processing_activities_tenant_id_fkey
        FOREIGN KEY (tenant_id) REFERENCES shared.tenants (id) ON DELETE CASCADE,
    CONSTRAINT processing_activities_created_by_fkey
        FOREIGN KEY (tenant_id, created_by) REFERENCES shared.users (tenant_id, id),
    CONSTRAINT processing_activities_updated_by_fkey
        FOREIGN KEY (tenant_id, updated_by) REFERENCES shared.users (tenant_id, id),
    CONSTRAINT processing_activities_name_check CHECK (btrim(name) <> ''),
    CONSTRAINT processing_activities_acts_as_check CHECK (acts_as IN ('controller', 'processor')),
    CONSTRAINT processing_activities_purpose_check CHECK (btrim(purpose) <> ''),
    -- The basis of what a processor does is its controller's.
    CONSTRAINT processing_activities_legal_basis_check CHECK (
        (acts_as = 'processor' OR legal_basis IS NOT NULL)
        AND legal_basis IN ('consent', 'contract', 'legal_obligation', 'vital_interests', 'public_task',
            'legitimate_interests'))
);

CREATE INDEX idx_processing_activities_created_by ON gdpr.processing_activities (tenant_id, created_by)
    WHERE created_by IS NOT NULL;
CREATE INDEX idx_processing_activities_updated_by ON gdpr.processing_activities (tenant_id, updated_by)
    WHERE updated_by IS NOT NULL;

COMMENT ON TABLE gdpr.processing_activities IS 'The record of what personal data is used for. Article 30';
COMMENT ON COLUMN gdpr.processing_activities.tenant_id IS 'The tenant the row belongs to';
COMMENT ON COLUMN gdpr.processing_activities.id IS 'Identifies the activity within its tenant';
COMMENT ON COLUMN gdpr.processing_activities.name IS 'Name of the activity, unique in the tenant';
COMMENT ON COLUMN gdpr.processing_activities.acts_as IS
    'controller, or processor when it is done on behalf of somebody else';
COMMENT ON COLUMN gdpr.processing_activities.purpose IS 'What it is done for';
COMMENT ON COLUMN gdpr.processing_activities.legal_basis IS
    'consent, contract, legal_obligation, vital_interests, public_task or legitimate_interests. Article 6';
COMMENT ON COLUMN gdpr.processing_activities.subject_categories IS 'Whose data, such as customers';
COMMENT ON COLUMN gdpr.processing_activities.data_categories IS
    'What data, in the categories of gdpr.pii_catalog or in words';
COMMENT ON COLUMN gdpr.processing_activities.recipients IS 'Who receives it, such as a payment provider';
COMMENT ON COLUMN gdpr.processing_activities.third_country_transfers IS
    'Where outside the union it goes, and what protects it there. NULL when it does not';
COMMENT ON COLUMN gdpr.processing_activities.erasure_period IS 'When it is erased, in words';
COMMENT ON COLUMN gdpr.processing_activities.security_measures IS 'What protects it. Article 32';
COMMENT ON COLUMN gdpr.processing_activities.contact IS
    'Who answers for it: the representative, or the data protection officer';
COMMENT ON COLUMN gdpr.processing_activities.created_by IS
    'The user who made the row, NULL when no user of the tenant did';
COMMENT ON COLUMN gdpr.processing_activities.updated_by IS 'The user who last changed the row, set by a trigger';
COMMENT ON COLUMN gdpr.processing_activities.created_at IS 'When the row was made';
COMMENT ON COLUMN gdpr.processing_activities.updated_at IS 'When the row last changed, set by a trigger';

SELECT thorbis.protect('gdpr.processing_activities', 'gdpr', '{
    "pii": [{"column": "contact", "method": "clear", "category": "contact"}],
    "not_personal": ["name", "acts_as", "purpose", "legal_basis", "subject_categories", "data_categories", "recipients",
        "third_country_transfers", "erasure_period", "security_measures"]
}');
