DROP FUNCTION shared.refund_payment(uuid, numeric, text, text, numeric, text, uuid);

DROP FUNCTION shared.allocate_payment(uuid, jsonb, text);

DROP FUNCTION shared.fail_payment(uuid);

DROP FUNCTION shared.void_payment(uuid);

DROP FUNCTION shared.capture_payment(uuid);

DROP FUNCTION shared.authorize_payment(uuid);

DROP FUNCTION shared.record_payment(text, numeric, text, jsonb, numeric, numeric, text, text, uuid, uuid, uuid, text, text);

DROP TABLE shared.payment_allocations;

DROP TABLE shared.refunds;

DROP TABLE shared.payments;

DELETE FROM shared.state_transitions WHERE document = 'payment';
