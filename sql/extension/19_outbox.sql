-- Events for other systems, and requests that must not be done twice.

CREATE FUNCTION write_outbox_event() RETURNS trigger
    LANGUAGE c AS 'MODULE_PATHNAME', 'thorbis_write_outbox_event';
COMMENT ON FUNCTION write_outbox_event() IS
    'AFTER INSERT, UPDATE or DELETE row trigger on a protected table with a uuid id: writes an event into shared.outbox, for the tenant of the row, whoever changes it, whether or not a column differs: give UPDATE a WHEN clause, such as WHEN (OLD.status IS DISTINCT FROM NEW.status). Arguments: the topic, then the columns that the event shows, of which none may hold personal data (42501)';
REVOKE ALL ON FUNCTION write_outbox_event() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION write_outbox_event() TO thorbis_owner;

CREATE FUNCTION thorbis.claim_outbox_events(consumer text, most integer, topics text[], visibility_seconds integer,
        OUT tenant_id uuid, OUT id uuid, OUT topic text, OUT document text, OUT document_id uuid, OUT operation text,
        OUT payload text, OUT occurred_at timestamptz, OUT attempts integer) RETURNS SETOF record
    LANGUAGE c VOLATILE PARALLEL UNSAFE ROWS 100 SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'claim_outbox_events_wrapper';
COMMENT ON FUNCTION thorbis.claim_outbox_events(text, integer, text[], integer) IS
    'What shared.claim_outbox_events() calls';
REVOKE ALL ON FUNCTION thorbis.claim_outbox_events(text, integer, text[], integer) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION thorbis.claim_outbox_events(text, integer, text[], integer) TO thorbis_app, thorbis_platform;

CREATE FUNCTION thorbis.complete_outbox_events(consumer text, ids uuid[]) RETURNS bigint
    LANGUAGE c VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'complete_outbox_events_wrapper';
COMMENT ON FUNCTION thorbis.complete_outbox_events(text, uuid[]) IS 'What shared.complete_outbox_events() calls';
REVOKE ALL ON FUNCTION thorbis.complete_outbox_events(text, uuid[]) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION thorbis.complete_outbox_events(text, uuid[]) TO thorbis_app, thorbis_platform;

CREATE FUNCTION thorbis.fail_outbox_events(consumer text, ids uuid[]) RETURNS bigint
    LANGUAGE c VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'fail_outbox_events_wrapper';
COMMENT ON FUNCTION thorbis.fail_outbox_events(text, uuid[]) IS 'What shared.fail_outbox_events() calls';
REVOKE ALL ON FUNCTION thorbis.fail_outbox_events(text, uuid[]) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION thorbis.fail_outbox_events(text, uuid[]) TO thorbis_app, thorbis_platform;

CREATE FUNCTION thorbis.begin_idempotent_request(key text, request text) RETURNS text
    LANGUAGE c VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'begin_idempotent_request_wrapper';
COMMENT ON FUNCTION thorbis.begin_idempotent_request(text, text) IS 'What shared.begin_idempotent_request() calls';
REVOKE ALL ON FUNCTION thorbis.begin_idempotent_request(text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION thorbis.begin_idempotent_request(text, text) TO thorbis_app, thorbis_platform;

CREATE FUNCTION thorbis.complete_idempotent_request(key text, response text) RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'complete_idempotent_request_wrapper';
COMMENT ON FUNCTION thorbis.complete_idempotent_request(text, text) IS
    'What shared.complete_idempotent_request() calls';
REVOKE ALL ON FUNCTION thorbis.complete_idempotent_request(text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION thorbis.complete_idempotent_request(text, text) TO thorbis_app, thorbis_platform;
