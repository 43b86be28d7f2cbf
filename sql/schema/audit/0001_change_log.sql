-- Every change of a protected table, written by the library. Rows of all tenants, by month; there is no foreign key to the
-- tenants, because the log outlives them.

CREATE TABLE audit.change_log (
    tenant_id uuid NOT NULL DEFAULT @extschema@.get_current_tenant_id(),
    occurred_at timestamptz NOT NULL,
    id uuid NOT NULL,
    system_id bigint NOT NULL,
    transaction_id bigint NOT NULL,
    table_name text COLLATE "C" NOT NULL,
    operation text COLLATE "C" NOT NULL,
    row_key text COLLATE "C" NOT NULL,
    new_row_key text COLLATE "C",
    old_values jsonb,
    new_values jsonb,
    actor_id uuid,
    session_role text NOT NULL,
    database_role text NOT NULL,
    application text,
    client_address inet,
    request_id text,
    CONSTRAINT change_log_pkey PRIMARY KEY (tenant_id, occurred_at, id)
) PARTITION BY RANGE (occurred_at);

-- For sealing, which asks for the newest transactions, and for the history of one row. Of keys it has hashes by blocks of the
-- table: a tree would cost each change three times as much, and a hash index ever more where keys come often. Blocks are
-- summarized by autovacuum; what is not yet is read.
CREATE INDEX idx_change_log_transaction ON audit.change_log
    USING brin (transaction_id, system_id, row_key text_bloom_ops, new_row_key text_bloom_ops)
    WITH (autosummarize = on, pages_per_range = 32);

-- What no month has a partition for goes here, so that no change is refused; thorbis.maintain() moves it out.
CREATE TABLE audit.change_log_default PARTITION OF audit.change_log DEFAULT;

CREATE TRIGGER write_change_log_append_only
    BEFORE UPDATE OR DELETE ON audit.change_log
    FOR EACH ROW EXECUTE FUNCTION @extschema@.keep_append_only();

CREATE TRIGGER truncate_change_log_append_only
    BEFORE TRUNCATE ON audit.change_log
    FOR EACH STATEMENT EXECUTE FUNCTION @extschema@.keep_append_only();

COMMENT ON TABLE audit.change_log IS
    'Every committed change of a protected table, with who made it. Written by triggers, sealed by audit.seal()';
COMMENT ON COLUMN audit.change_log.tenant_id IS 'The tenant of the row that was changed';
COMMENT ON COLUMN audit.change_log.occurred_at IS 'When the transaction began';
COMMENT ON COLUMN audit.change_log.id IS
    'Identifies the change; within a transaction in the order of the changes (UUID version 7)';
COMMENT ON COLUMN audit.change_log.system_id IS
    'The cluster it happened in, as pg_control_system() names it: numbers of transactions mean something there only';
COMMENT ON COLUMN audit.change_log.transaction_id IS 'The transaction, as pg_current_xact_id() named it';
COMMENT ON COLUMN audit.change_log.table_name IS
    'The table, as it was called when it was first protected: stays through renames, dumps and restores';
COMMENT ON COLUMN audit.change_log.operation IS 'INSERT, UPDATE, DELETE or TRUNCATE';
COMMENT ON COLUMN audit.change_log.row_key IS
    'Primary key of the row before the change, without the tenant. Several columns are a JSON array';
COMMENT ON COLUMN audit.change_log.new_row_key IS 'Its primary key afterwards, where that was changed';
COMMENT ON COLUMN audit.change_log.old_values IS
    'What was there: changed columns of an UPDATE, those of a DELETE that were not NULL. Personal values are encrypted, secrets read "changed"';
COMMENT ON COLUMN audit.change_log.new_values IS
    'What is there now: changed columns of an UPDATE, those of an INSERT that are not NULL. Personal values are encrypted, secrets read "changed"';
COMMENT ON COLUMN audit.change_log.actor_id IS 'The user of the tenant who did it, NULL for jobs and operators without one';
COMMENT ON COLUMN audit.change_log.session_role IS 'The database role that logged in';
COMMENT ON COLUMN audit.change_log.database_role IS 'The database role it acted as, after SET ROLE';
COMMENT ON COLUMN audit.change_log.application IS 'application_name of the session: what the client says it is';
COMMENT ON COLUMN audit.change_log.client_address IS 'Where the client connected from, NULL for local sockets and jobs';
COMMENT ON COLUMN audit.change_log.request_id IS 'app.request_id of the transaction: what the application says it is';
COMMENT ON TABLE audit.change_log_default IS 'Changes of months without a partition of their own';

-- The log itself is not logged. Personal values in it are encrypted under the keys of their people, so there is nothing to
-- empty; where a user works from is kept as long as the log is.
SELECT thorbis.protect('audit.change_log', 'audit', '{
    "actions": ["select"],
    "platform_actions": ["select"],
    "auditor": true,
    "audit": false,
    "pii": [{"column": "client_address", "method": "clear", "category": "online"}],
    "not_personal": ["table_name", "operation", "row_key", "new_row_key", "old_values", "new_values", "session_role",
        "database_role", "application", "request_id"]
}');

SELECT thorbis.create_audit_partitions();
