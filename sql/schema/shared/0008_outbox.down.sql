DROP FUNCTION shared.complete_idempotent_request(text, jsonb);
DROP FUNCTION shared.begin_idempotent_request(text, jsonb);
DROP TABLE shared.idempotency_keys;
DROP FUNCTION shared.fail_outbox_events(text, uuid[]);
DROP FUNCTION shared.complete_outbox_events(text, uuid[]);
DROP FUNCTION shared.claim_outbox_events(text, integer, text[], integer);
DROP TABLE shared.outbox;
