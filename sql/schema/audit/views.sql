-- Repeatable: replaced whenever this text changes. All views run with the rights and policies of whoever asks.

CREATE OR REPLACE VIEW audit.v_who_changed WITH (security_invoker = true) AS
SELECT c.tenant_id, c.occurred_at, c.table_name, c.row_key, c.new_row_key, c.operation, k.column_name,
    CASE WHEN c.operation = 'TRUNCATE' THEN c.old_values -> 'rows' ELSE c.old_values -> k.column_name END AS old_value,
    c.new_values -> k.column_name AS new_value,
    c.actor_id, c.session_role, c.database_role, c.application, c.client_address, c.request_id, c.id AS change_id,
    c.transaction_id
FROM audit.change_log c
    CROSS JOIN LATERAL (
        SELECT jsonb_object_keys(coalesce(c.old_values, '{}') || coalesce(c.new_values, '{}')) AS column_name
        WHERE c.operation <> 'TRUNCATE'
        UNION ALL
        SELECT NULL::text AS column_name WHERE c.operation = 'TRUNCATE'
    ) k;

COMMENT ON VIEW audit.v_who_changed IS
    'The log of changes with a row for each column that was changed: who changed what, and when. Needs audit:read';
COMMENT ON COLUMN audit.v_who_changed.tenant_id IS 'The tenant of the row that was changed';
COMMENT ON COLUMN audit.v_who_changed.occurred_at IS 'When the transaction began';
COMMENT ON COLUMN audit.v_who_changed.table_name IS 'The table, as it was called when it was first protected';
COMMENT ON COLUMN audit.v_who_changed.row_key IS 'Primary key of the row before the change';
COMMENT ON COLUMN audit.v_who_changed.new_row_key IS 'Its primary key afterwards, where that was changed';
COMMENT ON COLUMN audit.v_who_changed.operation IS 'INSERT, UPDATE, DELETE or TRUNCATE';
COMMENT ON COLUMN audit.v_who_changed.column_name IS 'The column, NULL for a TRUNCATE';
COMMENT ON COLUMN audit.v_who_changed.old_value IS
    'What was there, NULL for an INSERT; the number of rows for a TRUNCATE. Personal values are encrypted';
COMMENT ON COLUMN audit.v_who_changed.new_value IS
    'What is there since, NULL for a DELETE or TRUNCATE. Personal values are encrypted';
COMMENT ON COLUMN audit.v_who_changed.actor_id IS 'The user of the tenant who did it, NULL for jobs and operators';
COMMENT ON COLUMN audit.v_who_changed.session_role IS 'The database role that logged in';
COMMENT ON COLUMN audit.v_who_changed.database_role IS 'The database role it acted as, after SET ROLE';
COMMENT ON COLUMN audit.v_who_changed.application IS 'application_name of the session: what the client says it is';
COMMENT ON COLUMN audit.v_who_changed.client_address IS 'Where the client connected from, NULL for local sockets';
COMMENT ON COLUMN audit.v_who_changed.request_id IS
    'app.request_id of the transaction: what the application says it is';
COMMENT ON COLUMN audit.v_who_changed.change_id IS 'The row of audit.change_log';
COMMENT ON COLUMN audit.v_who_changed.transaction_id IS 'The transaction: what was changed together';

GRANT SELECT ON audit.v_who_changed TO thorbis_app, thorbis_platform, thorbis_auditor;

-- The chain of seals. For the operator: what is exported, and how far it is.

CREATE OR REPLACE VIEW audit.roots WITH (security_invoker = true) AS
SELECT s.number, s.kind, s.month, s.row_count, s.sealed_at, encode(s.hash, 'hex') AS hash
FROM audit.seals s;

COMMENT ON VIEW audit.roots IS
    'One hash for each seal: whoever keeps the newest elsewhere can verify everything that was sealed until then, with audit.verify(root => decode(hash, ''hex''))';
COMMENT ON COLUMN audit.roots.number IS 'Position in the chain: 1, 2, 3, ...';
COMMENT ON COLUMN audit.roots.kind IS 'rows, or tombstone: the sealed rows of the month were dropped after their time';
COMMENT ON COLUMN audit.roots.month IS 'First day of the month in which the rows occurred, UTC';
COMMENT ON COLUMN audit.roots.row_count IS 'How many rows it covers, or were dropped';
COMMENT ON COLUMN audit.roots.sealed_at IS 'When it was made';
COMMENT ON COLUMN audit.roots.hash IS 'SHA-256 of the seal and, through it, of all before, in hexadecimal digits';

GRANT SELECT ON audit.roots TO thorbis_platform;

CREATE OR REPLACE VIEW audit.v_chain_status WITH (security_invoker = true) AS
SELECT s.last_seal, s.sealed_at, s.sealed_rows, s.unsealed_rows, s.oldest_unsealed,
    coalesce(clock_timestamp() - s.oldest_unsealed, interval '0') AS lag
FROM thorbis.get_chain_status() s;

COMMENT ON VIEW audit.v_chain_status IS
    'How far the log is sealed: what is not can be changed without a trace. A growing lag: nobody calls audit.seal(), or an old transaction is open';
COMMENT ON COLUMN audit.v_chain_status.last_seal IS 'Number of the newest seal';
COMMENT ON COLUMN audit.v_chain_status.sealed_at IS 'When that was made';
COMMENT ON COLUMN audit.v_chain_status.sealed_rows IS 'Rows that are sealed, without those dropped since';
COMMENT ON COLUMN audit.v_chain_status.unsealed_rows IS 'Rows that are not sealed yet';
COMMENT ON COLUMN audit.v_chain_status.oldest_unsealed IS 'When the oldest of those occurred';
COMMENT ON COLUMN audit.v_chain_status.lag IS 'How long ago that is';

GRANT SELECT ON audit.v_chain_status TO thorbis_platform;
