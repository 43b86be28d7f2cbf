-- Events for other systems, written in the transaction that causes them; and what was answered to requests that must not
-- be done twice.

CREATE TABLE shared.outbox (
    tenant_id uuid NOT NULL DEFAULT @extschema@.get_current_tenant_id(),
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    topic text NOT NULL,
    document text NOT NULL,
    document_id uuid NOT NULL,
    operation text NOT NULL,
    payload jsonb NOT NULL,
    occurred_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    available_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    attempts integer NOT NULL DEFAULT 0,
    claimed_by text,
    claimed_at timestamptz,
    published_at timestamptz,
    failed_at timestamptz,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT outbox_pkey PRIMARY KEY (tenant_id, id),
    CONSTRAINT outbox_tenant_id_fkey FOREIGN KEY (tenant_id) REFERENCES shared.tenants (id) ON DELETE CASCADE,
    CONSTRAINT outbox_topic_check CHECK (topic ~ '^[a-z][a-z0-9_.]*$'),
    CONSTRAINT outbox_operation_check CHECK (operation IN ('insert', 'update', 'delete')),
    CONSTRAINT outbox_payload_check CHECK (jsonb_typeof(payload) = 'object'),
    CONSTRAINT outbox_attempts_check CHECK (attempts >= 0),
    CONSTRAINT outbox_claimed_at_check CHECK (num_nulls(claimed_by, claimed_at) IN (0, 2)),
    CONSTRAINT outbox_failed_at_check CHECK (published_at IS NULL OR failed_at IS NULL)
);

-- What waits: in the order of each document, and by the time it is due, for one tenant and for all.
CREATE INDEX idx_outbox_document ON shared.outbox (tenant_id, document_id, occurred_at, id)
    WHERE published_at IS NULL AND failed_at IS NULL;
CREATE INDEX idx_outbox_tenant_available ON shared.outbox (tenant_id, available_at)
    WHERE published_at IS NULL AND failed_at IS NULL;
CREATE INDEX idx_outbox_available ON shared.outbox (available_at)
    WHERE published_at IS NULL AND failed_at IS NULL;
CREATE INDEX idx_outbox_published ON shared.outbox (published_at) WHERE published_at IS NOT NULL;

COMMENT ON TABLE shared.outbox IS
    'Events for other systems, written by the trigger write_outbox_event(): there if and only if their cause was committed';
COMMENT ON COLUMN shared.outbox.tenant_id IS 'The tenant the row belongs to';
COMMENT ON COLUMN shared.outbox.id IS 'Identifies the event within its tenant: a consumer that gets it twice knows it by this';
COMMENT ON COLUMN shared.outbox.topic IS 'What it is about, as the trigger says';
COMMENT ON COLUMN shared.outbox.document IS 'The table of the row that changed';
COMMENT ON COLUMN shared.outbox.document_id IS 'The id of that row. Its events are handed out in their order';
COMMENT ON COLUMN shared.outbox.operation IS 'insert, update or delete';
COMMENT ON COLUMN shared.outbox.payload IS 'The columns that the trigger lists, as a JSON object. Nothing personal';
COMMENT ON COLUMN shared.outbox.occurred_at IS 'When it happened, by the clock';
COMMENT ON COLUMN shared.outbox.available_at IS 'From when on it can be claimed';
COMMENT ON COLUMN shared.outbox.attempts IS 'How often it was claimed';
COMMENT ON COLUMN shared.outbox.claimed_by IS 'The consumer that claimed it last, NULL when that one failed';
COMMENT ON COLUMN shared.outbox.claimed_at IS 'When it was claimed last, NULL when that failed';
COMMENT ON COLUMN shared.outbox.published_at IS 'When it was completed, NULL before. A week later it is removed';
COMMENT ON COLUMN shared.outbox.failed_at IS 'When it was given up, after 20 attempts';
COMMENT ON COLUMN shared.outbox.created_at IS 'When its transaction began';
COMMENT ON COLUMN shared.outbox.updated_at IS 'When the row last changed, set by a trigger';

-- The log of changes has the rows that events are about already.
SELECT thorbis.protect('shared.outbox', 'outbox', '{
    "actions": ["select"],
    "audit": false,
    "not_personal": ["topic", "document", "operation", "payload", "claimed_by"]
}');

CREATE FUNCTION shared.claim_outbox_events(consumer text, most integer DEFAULT 100, topics text[] DEFAULT NULL,
        visibility_seconds integer DEFAULT 60)
    RETURNS TABLE (tenant_id uuid, id uuid, topic text, document text, document_id uuid, operation text, payload jsonb,
        occurred_at timestamptz, attempts integer)
    LANGUAGE sql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
    AS $function$
        SELECT c.tenant_id, c.id, c.topic, c.document, c.document_id, c.operation, c.payload::jsonb, c.occurred_at,
            c.attempts
        FROM thorbis.claim_outbox_events(consumer, most, topics, visibility_seconds) c
    $function$;

COMMENT ON FUNCTION shared.claim_outbox_events(text, integer, text[], integer) IS
    'The next events of the current tenant for a consumer, of some topics or of all; each process that consumes has a name of its own; an operator without a tenant gets those of all tenants. Nobody else gets them for the given time: complete them by then. Of one document only the oldest is handed out. Needs outbox:consume';
REVOKE ALL ON FUNCTION shared.claim_outbox_events(text, integer, text[], integer) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION shared.claim_outbox_events(text, integer, text[], integer) TO thorbis_app, thorbis_platform;

CREATE FUNCTION shared.complete_outbox_events(consumer text, ids uuid[]) RETURNS bigint
    LANGUAGE sql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
    AS $function$ SELECT thorbis.complete_outbox_events(consumer, ids) $function$;

COMMENT ON FUNCTION shared.complete_outbox_events(text, uuid[]) IS
    'The consumer delivered these events; returns how many counted. None that it has not claimed, or whose time is over: somebody else may have it by now. Needs outbox:consume';
REVOKE ALL ON FUNCTION shared.complete_outbox_events(text, uuid[]) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION shared.complete_outbox_events(text, uuid[]) TO thorbis_app, thorbis_platform;

CREATE FUNCTION shared.fail_outbox_events(consumer text, ids uuid[]) RETURNS bigint
    LANGUAGE sql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
    AS $function$ SELECT thorbis.fail_outbox_events(consumer, ids) $function$;

COMMENT ON FUNCTION shared.fail_outbox_events(text, uuid[]) IS
    'The consumer could not deliver these events: they can be claimed again later, each time twice as late up to an hour, and are given up after 20 attempts. Returns how many counted, as shared.complete_outbox_events() does. Needs outbox:consume';
REVOKE ALL ON FUNCTION shared.fail_outbox_events(text, uuid[]) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION shared.fail_outbox_events(text, uuid[]) TO thorbis_app, thorbis_platform;

CREATE TABLE shared.idempotency_keys (
    tenant_id uuid NOT NULL DEFAULT @extschema@.get_current_tenant_id(),
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    requested_by uuid,
    key text NOT NULL,
    request_hash bytea NOT NULL,
    response jsonb,
    expires_at timestamptz NOT NULL DEFAULT clock_timestamp() + interval '24 hours',
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT idempotency_keys_pkey PRIMARY KEY (tenant_id, id),
    CONSTRAINT idempotency_keys_key_unique UNIQUE NULLS NOT DISTINCT (tenant_id, requested_by, key),
    CONSTRAINT idempotency_keys_tenant_id_fkey
        FOREIGN KEY (tenant_id) REFERENCES shared.tenants (id) ON DELETE CASCADE,
    CONSTRAINT idempotency_keys_key_check CHECK (length(key) BETWEEN 1 AND 200)
);

CREATE INDEX idx_idempotency_keys_expires_at ON shared.idempotency_keys (expires_at);

COMMENT ON TABLE shared.idempotency_keys IS
    'Requests that were done, and what was answered: who asks again with the same key within a day gets the same answer';
COMMENT ON COLUMN shared.idempotency_keys.tenant_id IS 'The tenant the row belongs to';
COMMENT ON COLUMN shared.idempotency_keys.id IS 'Identifies the row within its tenant';
COMMENT ON COLUMN shared.idempotency_keys.requested_by IS
    'The user whose request it is, NULL for jobs without one. Another user''s key of the same name is another key';
COMMENT ON COLUMN shared.idempotency_keys.key IS 'What the client calls the request';
COMMENT ON COLUMN shared.idempotency_keys.request_hash IS 'SHA-256 of the request: the same key stands for the same request only';
COMMENT ON COLUMN shared.idempotency_keys.response IS 'What was answered, NULL while it is being done';
COMMENT ON COLUMN shared.idempotency_keys.expires_at IS 'From when on the key is as new, a day later';
COMMENT ON COLUMN shared.idempotency_keys.created_at IS 'When the transaction that took the key began';
COMMENT ON COLUMN shared.idempotency_keys.updated_at IS 'When the row last changed, set by a trigger';

-- An answer can hold anything, personal data as well.
SELECT thorbis.protect('shared.idempotency_keys', 'idempotency', '{
    "actions": ["select"],
    "audit": false,
    "own_rows": {"user_column": "requested_by", "policy": "idempotency_keys_own"},
    "subject": {"kind": "user", "column": "requested_by"},
    "pii": [{"column": "response", "method": "clear"}],
    "not_personal": ["key"]
}');

CREATE FUNCTION shared.begin_idempotent_request(key text, request jsonb) RETURNS jsonb
    LANGUAGE sql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
    AS $function$ SELECT thorbis.begin_idempotent_request(key, request::text)::jsonb $function$;

COMMENT ON FUNCTION shared.begin_idempotent_request(text, jsonb) IS
    'NULL: do it, and call shared.complete_idempotent_request() in the same transaction. Else the response of the first time. Waits while somebody is doing it; the same key with another request is an error (22023). Keys belong to the current user and last a day';
REVOKE ALL ON FUNCTION shared.begin_idempotent_request(text, jsonb) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION shared.begin_idempotent_request(text, jsonb) TO thorbis_app, thorbis_platform;

CREATE FUNCTION shared.complete_idempotent_request(key text, response jsonb) RETURNS void
    LANGUAGE sql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
    AS $function$ SELECT thorbis.complete_idempotent_request(key, response::text) $function$;

COMMENT ON FUNCTION shared.complete_idempotent_request(text, jsonb) IS
    'Keeps the response of a request that the current user began: whoever repeats the request gets it';
REVOKE ALL ON FUNCTION shared.complete_idempotent_request(text, jsonb) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION shared.complete_idempotent_request(text, jsonb) TO thorbis_app, thorbis_platform;
