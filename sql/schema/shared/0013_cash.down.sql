DROP VIEW IF EXISTS shared.v_payment_reconciliation;

DROP FUNCTION shared.close_cash_session(uuid, numeric, text);

DROP FUNCTION shared.record_cash_movement(uuid, text, numeric, text, text);

DROP FUNCTION shared.open_cash_session(text, numeric, uuid);

DROP TABLE shared.cash_movements;

DROP TABLE shared.cash_sessions;
