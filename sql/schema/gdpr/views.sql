-- Repeatable: replaced whenever this text changes. All views run with the rights and policies of whoever asks.

-- Tables and columns are the same for all tenants: nobody needs a permission to know what is personal.
CREATE OR REPLACE VIEW gdpr.pii_catalog WITH (security_invoker = true) AS
SELECT p.table_id, c.column_name, c.category, c.method, c.kind, c.indexed,
    p.options -> 'subject' ->> 'kind' AS subject_kind, p.resource
FROM thorbis.v_protected_tables p
    CROSS JOIN LATERAL (
        SELECT coalesce(e ->> 'column', e #>> '{}') AS column_name,
            coalesce(e ->> 'category', 'other') AS category,
            coalesce(e ->> 'method', 'encrypt') AS method,
            coalesce(e ->> 'kind', 'text') AS kind,
            coalesce((e ->> 'index')::boolean, false) AS indexed
        FROM jsonb_array_elements(p.options -> 'pii') e
        UNION ALL
        SELECT n AS column_name, NULL::text AS category, 'none' AS method, NULL::text AS kind, false AS indexed
        FROM jsonb_array_elements_text(p.options -> 'not_personal') n
    ) c;

COMMENT ON VIEW gdpr.pii_catalog IS
    'The columns of protected tables that were classified: what is personal data, and how it is kept';
COMMENT ON COLUMN gdpr.pii_catalog.table_id IS 'The table';
COMMENT ON COLUMN gdpr.pii_catalog.column_name IS 'The column';
COMMENT ON COLUMN gdpr.pii_catalog.category IS
    'identity, contact, address, financial, health, location, online, credential or other; NULL when not personal';
COMMENT ON COLUMN gdpr.pii_catalog.method IS
    'encrypt: not readable in the table; clear: readable there; none: not personal';
COMMENT ON COLUMN gdpr.pii_catalog.kind IS
    'text, email or phone: how it is masked and searched; NULL when not personal';
COMMENT ON COLUMN gdpr.pii_catalog.indexed IS 'True when equal values are found by a blind index';
COMMENT ON COLUMN gdpr.pii_catalog.subject_kind IS
    'Whose data the rows of the table are, such as customer; NULL when they are nobody''s in particular';
COMMENT ON COLUMN gdpr.pii_catalog.resource IS 'Resource of the permissions: reading encrypted values needs its pii';

GRANT SELECT ON gdpr.pii_catalog TO thorbis_app, thorbis_platform;

CREATE OR REPLACE VIEW gdpr.v_pii_coverage_gaps WITH (security_invoker = true) AS
SELECT p.table_id, a.attname::text AS column_name, format_type(a.atttypid, a.atttypmod) AS data_type
FROM thorbis.v_protected_tables p
    JOIN pg_attribute a ON a.attrelid = p.table_id AND a.attnum > 0 AND NOT a.attisdropped
    JOIN pg_type t ON t.oid = a.atttypid
    -- What an array holds, and what a domain stands for.
    LEFT JOIN pg_type e ON e.oid = coalesce(nullif(t.typelem, 0), nullif(t.typbasetype, 0), t.oid)
WHERE (e.typcategory = 'S' AND e.typname <> 'char' OR e.typname IN ('json', 'jsonb', 'inet', 'cidr', 'citext')
        OR t.typname = 'name')
    AND NOT coalesce(p.options -> 'companions' ? a.attname, false)
    AND NOT EXISTS (SELECT FROM gdpr.pii_catalog c WHERE c.table_id = p.table_id AND c.column_name = a.attname);

COMMENT ON VIEW gdpr.v_pii_coverage_gaps IS
    'Columns of protected tables that can hold personal data and were not classified. No rows: the catalogue is whole';
COMMENT ON COLUMN gdpr.v_pii_coverage_gaps.table_id IS 'The table';
COMMENT ON COLUMN gdpr.v_pii_coverage_gaps.column_name IS 'The column';
COMMENT ON COLUMN gdpr.v_pii_coverage_gaps.data_type IS
    'Its type: text, JSON or a network address, or an array of these';

GRANT SELECT ON gdpr.v_pii_coverage_gaps TO thorbis_app, thorbis_platform;

CREATE OR REPLACE VIEW gdpr.v_dsr_deadlines WITH (security_invoker = true) AS
SELECT r.tenant_id, r.id AS data_subject_request_id, r.type, r.status, r.customer_id, r.user_id, r.received_at,
    coalesce(r.extended_until, r.due_at) AS due_at, r.extended_until IS NOT NULL AS is_extended,
    coalesce(r.extended_until, r.due_at) - now() AS time_left,
    coalesce(r.extended_until, r.due_at) < now() AS is_overdue
FROM gdpr.data_subject_requests r
WHERE r.closed_at IS NULL;

COMMENT ON VIEW gdpr.v_dsr_deadlines IS
    'Requests that are not answered yet, and until when they must be. Needs gdpr:read';
COMMENT ON COLUMN gdpr.v_dsr_deadlines.tenant_id IS 'The tenant';
COMMENT ON COLUMN gdpr.v_dsr_deadlines.data_subject_request_id IS 'The request';
COMMENT ON COLUMN gdpr.v_dsr_deadlines.type IS 'What is asked for';
COMMENT ON COLUMN gdpr.v_dsr_deadlines.status IS 'received, verified or in_progress';
COMMENT ON COLUMN gdpr.v_dsr_deadlines.customer_id IS 'The customer who asks';
COMMENT ON COLUMN gdpr.v_dsr_deadlines.user_id IS 'The user who asks';
COMMENT ON COLUMN gdpr.v_dsr_deadlines.received_at IS 'When it arrived';
COMMENT ON COLUMN gdpr.v_dsr_deadlines.due_at IS 'When it must be answered, as extended';
COMMENT ON COLUMN gdpr.v_dsr_deadlines.is_extended IS 'True when the month was extended';
COMMENT ON COLUMN gdpr.v_dsr_deadlines.time_left IS 'How much time is left, below zero when it is over';
COMMENT ON COLUMN gdpr.v_dsr_deadlines.is_overdue IS 'True when the deadline has passed';

GRANT SELECT ON gdpr.v_dsr_deadlines TO thorbis_app, thorbis_platform;

CREATE OR REPLACE VIEW gdpr.v_retention_due WITH (security_invoker = true) AS
SELECT p.tenant_id, p.id AS retention_policy_id, p.table_name, p.action, now() - p.period AS cutoff,
    coalesce(t.legal_hold, false) OR h.is_held AS is_held,
    gdpr.calculate_retention_due(p.tenant_id, p.table_name, p.timestamp_column, p.action, now() - p.period)
        AS due_count
FROM gdpr.retention_policies p
    LEFT JOIN shared.tenants t ON t.id = p.tenant_id
    CROSS JOIN LATERAL (
        SELECT count(*) > 0 AS is_held
        FROM gdpr.legal_holds o
        WHERE o.tenant_id = p.tenant_id AND o.subject_id IS NULL AND o.released_at IS NULL
    ) h
WHERE p.is_active;

COMMENT ON VIEW gdpr.v_retention_due IS
    'What gdpr.apply_retention() would do now. Needs gdpr:read, tenants:read, and to read the tables of the policies';
COMMENT ON COLUMN gdpr.v_retention_due.tenant_id IS 'The tenant';
COMMENT ON COLUMN gdpr.v_retention_due.retention_policy_id IS 'The policy';
COMMENT ON COLUMN gdpr.v_retention_due.table_name IS 'The table';
COMMENT ON COLUMN gdpr.v_retention_due.action IS 'delete or erase_subject';
COMMENT ON COLUMN gdpr.v_retention_due.cutoff IS 'What is older is due';
COMMENT ON COLUMN gdpr.v_retention_due.is_held IS 'True while the whole tenant is under a hold: nothing is done';
COMMENT ON COLUMN gdpr.v_retention_due.due_count IS
    'Rows that would be deleted, or people that would be erased, as far as they are visible. NULL: it cannot be applied';

GRANT SELECT ON gdpr.v_retention_due TO thorbis_app, thorbis_platform;

-- Of two decisions of one moment the withdrawal counts.
CREATE OR REPLACE VIEW gdpr.v_consent_current WITH (security_invoker = true) AS
SELECT DISTINCT ON (c.tenant_id, c.customer_id, c.purpose)
    c.tenant_id, c.customer_id, c.purpose, c.decision = 'granted' AS is_granted, c.text_version, c.source, c.at,
    c.id AS consent_id
FROM gdpr.consents c
ORDER BY c.tenant_id, c.customer_id, c.purpose, c.at DESC, c.decision DESC, c.id;

COMMENT ON VIEW gdpr.v_consent_current IS
    'What each customer agrees to now: the latest decision for each purpose. Needs gdpr:read';
COMMENT ON COLUMN gdpr.v_consent_current.tenant_id IS 'The tenant';
COMMENT ON COLUMN gdpr.v_consent_current.customer_id IS 'The customer';
COMMENT ON COLUMN gdpr.v_consent_current.purpose IS 'What for';
COMMENT ON COLUMN gdpr.v_consent_current.is_granted IS 'True while the customer agrees';
COMMENT ON COLUMN gdpr.v_consent_current.text_version IS 'Which text was agreed to';
COMMENT ON COLUMN gdpr.v_consent_current.source IS 'How the decision was expressed';
COMMENT ON COLUMN gdpr.v_consent_current.at IS 'When it was expressed';
COMMENT ON COLUMN gdpr.v_consent_current.consent_id IS 'The row of gdpr.consents it stands in';

GRANT SELECT ON gdpr.v_consent_current TO thorbis_app, thorbis_platform;
