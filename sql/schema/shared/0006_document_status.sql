-- The status of every document: which changes there are, and which there were.

-- Global, read by everybody, written by migrations and operators only. No triggers.
CREATE TABLE shared.state_transitions (
    document text NOT NULL,
    from_status text NOT NULL,
    to_status text NOT NULL,
    resource text,
    action text,
    sets_column text,
    guard text,
    CONSTRAINT state_transitions_pkey PRIMARY KEY (document, from_status, to_status),
    CONSTRAINT state_transitions_document_check CHECK (document ~ '^[a-z][a-z0-9_]*([.][a-z][a-z0-9_]*)?$'),
    CONSTRAINT state_transitions_to_status_check CHECK (to_status <> '' AND to_status <> from_status),
    CONSTRAINT state_transitions_resource_check CHECK (num_nulls(resource, action) IN (0, 2)),
    CONSTRAINT state_transitions_guard_check CHECK (guard ~ '^[a-z_][a-z0-9_]*\.[a-z_][a-z0-9_]*$')
);

COMMENT ON TABLE shared.state_transitions IS
    'Every change of status there is, for the trigger check_status_transition(). For all tenants';
COMMENT ON COLUMN shared.state_transitions.document IS 'What changes its status, such as invoice: the trigger names it';
COMMENT ON COLUMN shared.state_transitions.from_status IS 'The status before, empty for a document that is being made';
COMMENT ON COLUMN shared.state_transitions.to_status IS 'The status after';
COMMENT ON COLUMN shared.state_transitions.resource IS
    'Resource of the permission that is needed, NULL when it follows from something else and nobody does it by hand';
COMMENT ON COLUMN shared.state_transitions.action IS 'Action of the permission that is needed, NULL with resource';
COMMENT ON COLUMN shared.state_transitions.sets_column IS
    'Column that becomes the time of the transition, NULL for none. Tenants cannot write it otherwise';
COMMENT ON COLUMN shared.state_transitions.guard IS
    'Function schema.name(old jsonb, new jsonb) returning text: NULL lets it pass, anything else says why not. It runs as the owner of the document''s table, past row security, and names the tenant itself';

GRANT SELECT ON shared.state_transitions TO thorbis_app, thorbis_platform;

CREATE TABLE shared.status_history (
    tenant_id uuid NOT NULL DEFAULT @extschema@.get_current_tenant_id(),
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    document text NOT NULL,
    document_id uuid NOT NULL,
    from_status text NOT NULL,
    to_status text NOT NULL,
    actor_id uuid,
    reason text,
    at timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT status_history_pkey PRIMARY KEY (tenant_id, id),
    CONSTRAINT status_history_tenant_id_fkey FOREIGN KEY (tenant_id) REFERENCES shared.tenants (id) ON DELETE CASCADE,
    CONSTRAINT status_history_reason_check CHECK (length(reason) <= 1000)
);

CREATE INDEX idx_status_history_document ON shared.status_history (tenant_id, document, document_id, at);

CREATE TRIGGER write_status_history_append_only
    BEFORE UPDATE OR DELETE ON shared.status_history
    FOR EACH ROW EXECUTE FUNCTION @extschema@.keep_append_only();

CREATE TRIGGER truncate_status_history_append_only
    BEFORE TRUNCATE ON shared.status_history
    FOR EACH STATEMENT EXECUTE FUNCTION @extschema@.keep_append_only();

COMMENT ON TABLE shared.status_history IS
    'Every change of the status of every document, written by the trigger record_status_change(). Never changed';
COMMENT ON COLUMN shared.status_history.tenant_id IS 'The tenant the row belongs to';
COMMENT ON COLUMN shared.status_history.id IS 'Identifies the row within its tenant';
COMMENT ON COLUMN shared.status_history.document IS 'What changed its status, such as invoice';
COMMENT ON COLUMN shared.status_history.document_id IS 'Which one it was';
COMMENT ON COLUMN shared.status_history.from_status IS 'The status before, empty when the document was made';
COMMENT ON COLUMN shared.status_history.to_status IS 'The status after';
COMMENT ON COLUMN shared.status_history.actor_id IS 'The user who did it, NULL for jobs and operators without one';
COMMENT ON COLUMN shared.status_history.reason IS
    'Why, as the transaction said: SET LOCAL thorbis.status_reason = ''...''. At most 1000 characters';
COMMENT ON COLUMN shared.status_history.at IS 'When it happened';

-- A reason may name somebody.
SELECT thorbis.protect('shared.status_history', 'status_history', '{
    "actions": ["select"],
    "platform_actions": ["select"],
    "pii": [{"column": "reason", "method": "clear"}],
    "not_personal": ["document", "from_status", "to_status"]
}');

-- The tenants themselves: nobody but the platform, which acts for no user, changes their status.
CREATE TRIGGER write_tenants_status
    BEFORE INSERT OR UPDATE ON shared.tenants
    FOR EACH ROW EXECUTE FUNCTION @extschema@.check_status_transition('tenant');

CREATE TRIGGER write_tenants_status_history
    AFTER INSERT OR UPDATE ON shared.tenants
    FOR EACH ROW EXECUTE FUNCTION @extschema@.record_status_change('tenant');

INSERT INTO shared.state_transitions (document, from_status, to_status, sets_column) VALUES
    ('tenant', '', 'trial', NULL),
    ('tenant', '', 'active', NULL),
    ('tenant', 'trial', 'active', NULL),
    ('tenant', 'active', 'suspended', 'suspended_at'),
    ('tenant', 'suspended', 'active', NULL),
    ('tenant', 'trial', 'closed', 'closed_at'),
    ('tenant', 'active', 'closed', 'closed_at'),
    ('tenant', 'suspended', 'closed', 'closed_at'),
    ('tenant', 'closed', 'purged', NULL);
