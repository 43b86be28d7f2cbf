-- Taxes, invoices, payments. The functions in schema thorbis are what those of schema shared call.

CREATE FUNCTION keep_issued() RETURNS trigger
    LANGUAGE c AS 'MODULE_PATHNAME', 'thorbis_keep_issued';
COMMENT ON FUNCTION keep_issued() IS
    'BEFORE INSERT OR UPDATE OR DELETE row trigger: what was issued stays (55000), but for the engine and an erasure, which act as the owner. Arguments: the status in which a row may still be changed, empty for none, then the columns that only the engine writes (42501)';
REVOKE ALL ON FUNCTION keep_issued() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION keep_issued() TO thorbis_owner;

CREATE FUNCTION keep_lines_of_issued() RETURNS trigger
    LANGUAGE c AS 'MODULE_PATHNAME', 'thorbis_keep_lines_of_issued';
COMMENT ON FUNCTION keep_lines_of_issued() IS
    'BEFORE UPDATE OR DELETE row trigger on shared.invoice_lines: the lines of an issued invoice stay (55000). New ones are refused by refresh_document_totals()';
REVOKE ALL ON FUNCTION keep_lines_of_issued() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION keep_lines_of_issued() TO thorbis_owner;

CREATE FUNCTION set_currency_defaults() RETURNS trigger
    LANGUAGE c AS 'MODULE_PATHNAME', 'thorbis_set_currency_defaults';
COMMENT ON FUNCTION set_currency_defaults() IS
    'BEFORE INSERT row trigger: currency, rounding_mode and tax_rounding_level are those of the tenant unless given, tax_date is the business date of the location, else of the tenant';
REVOKE ALL ON FUNCTION set_currency_defaults() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION set_currency_defaults() TO thorbis_owner;

CREATE FUNCTION check_tax_jurisdiction() RETURNS trigger
    LANGUAGE c AS 'MODULE_PATHNAME', 'thorbis_check_tax_jurisdiction';
COMMENT ON FUNCTION check_tax_jurisdiction() IS
    'BEFORE INSERT OR UPDATE row trigger on shared.tax_jurisdictions: they are a tree (23514)';
REVOKE ALL ON FUNCTION check_tax_jurisdiction() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION check_tax_jurisdiction() TO thorbis_owner;

CREATE FUNCTION apply_payment_allocation() RETURNS trigger
    LANGUAGE c AS 'MODULE_PATHNAME', 'thorbis_apply_payment_allocation';
COMMENT ON FUNCTION apply_payment_allocation() IS
    'AFTER INSERT row trigger on shared.payment_allocations: never more than is owed, never more than was captured and not paid back (23514); keeps paid_total and status of the invoice and allocated_total of the payment';
REVOKE ALL ON FUNCTION apply_payment_allocation() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION apply_payment_allocation() TO thorbis_owner;

CREATE FUNCTION apply_refund() RETURNS trigger
    LANGUAGE c AS 'MODULE_PATHNAME', 'thorbis_apply_refund';
COMMENT ON FUNCTION apply_refund() IS
    'AFTER INSERT row trigger on shared.refunds: never more than was captured (23514); takes away allocations, the latest first, and keeps the state of the payment';
REVOKE ALL ON FUNCTION apply_refund() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION apply_refund() TO thorbis_owner;

CREATE FUNCTION check_cash_session() RETURNS trigger
    LANGUAGE c AS 'MODULE_PATHNAME', 'thorbis_check_cash_session';
COMMENT ON FUNCTION check_cash_session() IS
    'BEFORE INSERT row trigger on shared.cash_movements: money moves in an open session only (55000), and never more out than should be in the drawer (23514)';
REVOKE ALL ON FUNCTION check_cash_session() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION check_cash_session() TO thorbis_owner;

CREATE FUNCTION thorbis.issue_invoice(invoice_id uuid) RETURNS text
    LANGUAGE c VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'thorbis_issue_invoice';
COMMENT ON FUNCTION thorbis.issue_invoice(uuid) IS 'What shared.issue_invoice() calls';
REVOKE ALL ON FUNCTION thorbis.issue_invoice(uuid) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION thorbis.issue_invoice(uuid) TO thorbis_app, thorbis_platform;

CREATE FUNCTION thorbis.void_invoice(invoice_id uuid, reason text) RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'thorbis_void_invoice';
COMMENT ON FUNCTION thorbis.void_invoice(uuid, text) IS 'What shared.void_invoice() calls';
REVOKE ALL ON FUNCTION thorbis.void_invoice(uuid, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION thorbis.void_invoice(uuid, text) TO thorbis_app, thorbis_platform;

CREATE FUNCTION thorbis.credit_invoice(request jsonb) RETURNS uuid
    LANGUAGE c VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'thorbis_credit_invoice';
COMMENT ON FUNCTION thorbis.credit_invoice(jsonb) IS 'What shared.credit_invoice() calls';
REVOKE ALL ON FUNCTION thorbis.credit_invoice(jsonb) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION thorbis.credit_invoice(jsonb) TO thorbis_app, thorbis_platform;

CREATE FUNCTION thorbis.record_payment(request jsonb) RETURNS uuid
    LANGUAGE c VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'thorbis_record_payment';
COMMENT ON FUNCTION thorbis.record_payment(jsonb) IS 'What shared.record_payment() calls';
REVOKE ALL ON FUNCTION thorbis.record_payment(jsonb) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION thorbis.record_payment(jsonb) TO thorbis_app, thorbis_platform;

CREATE FUNCTION thorbis.authorize_payment(payment_id uuid) RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'thorbis_authorize_payment';
COMMENT ON FUNCTION thorbis.authorize_payment(uuid) IS 'What shared.authorize_payment() calls';
REVOKE ALL ON FUNCTION thorbis.authorize_payment(uuid) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION thorbis.authorize_payment(uuid) TO thorbis_app, thorbis_platform;

CREATE FUNCTION thorbis.capture_payment(payment_id uuid) RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'thorbis_capture_payment';
COMMENT ON FUNCTION thorbis.capture_payment(uuid) IS 'What shared.capture_payment() calls';
REVOKE ALL ON FUNCTION thorbis.capture_payment(uuid) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION thorbis.capture_payment(uuid) TO thorbis_app, thorbis_platform;

CREATE FUNCTION thorbis.void_payment(payment_id uuid) RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'thorbis_void_payment';
COMMENT ON FUNCTION thorbis.void_payment(uuid) IS 'What shared.void_payment() calls';
REVOKE ALL ON FUNCTION thorbis.void_payment(uuid) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION thorbis.void_payment(uuid) TO thorbis_app, thorbis_platform;

CREATE FUNCTION thorbis.fail_payment(payment_id uuid) RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'thorbis_fail_payment';
COMMENT ON FUNCTION thorbis.fail_payment(uuid) IS 'What shared.fail_payment() calls';
REVOKE ALL ON FUNCTION thorbis.fail_payment(uuid) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION thorbis.fail_payment(uuid) TO thorbis_app, thorbis_platform;

CREATE FUNCTION thorbis.allocate_payment(payment_id uuid, allocations jsonb, idempotency_key text) RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'thorbis_allocate_payment';
COMMENT ON FUNCTION thorbis.allocate_payment(uuid, jsonb, text) IS 'What shared.allocate_payment() calls';
REVOKE ALL ON FUNCTION thorbis.allocate_payment(uuid, jsonb, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION thorbis.allocate_payment(uuid, jsonb, text) TO thorbis_app, thorbis_platform;

CREATE FUNCTION thorbis.refund_payment(request jsonb) RETURNS uuid
    LANGUAGE c VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'thorbis_refund_payment';
COMMENT ON FUNCTION thorbis.refund_payment(jsonb) IS 'What shared.refund_payment() calls';
REVOKE ALL ON FUNCTION thorbis.refund_payment(jsonb) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION thorbis.refund_payment(jsonb) TO thorbis_app, thorbis_platform;

CREATE FUNCTION thorbis.open_cash_session(drawer text, opening_amount numeric, location_id uuid) RETURNS uuid
    LANGUAGE c VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'thorbis_open_cash_session';
COMMENT ON FUNCTION thorbis.open_cash_session(text, numeric, uuid) IS 'What shared.open_cash_session() calls';
REVOKE ALL ON FUNCTION thorbis.open_cash_session(text, numeric, uuid) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION thorbis.open_cash_session(text, numeric, uuid) TO thorbis_app, thorbis_platform;

CREATE FUNCTION thorbis.record_cash_movement(request jsonb) RETURNS uuid
    LANGUAGE c VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'thorbis_record_cash_movement';
COMMENT ON FUNCTION thorbis.record_cash_movement(jsonb) IS 'What shared.record_cash_movement() calls';
REVOKE ALL ON FUNCTION thorbis.record_cash_movement(jsonb) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION thorbis.record_cash_movement(jsonb) TO thorbis_app, thorbis_platform;

CREATE FUNCTION thorbis.close_cash_session(cash_session_id uuid, counted_amount numeric, note text) RETURNS bigint
    LANGUAGE c VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'thorbis_close_cash_session';
COMMENT ON FUNCTION thorbis.close_cash_session(uuid, numeric, text) IS 'What shared.close_cash_session() calls, in hundredths';
REVOKE ALL ON FUNCTION thorbis.close_cash_session(uuid, numeric, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION thorbis.close_cash_session(uuid, numeric, text) TO thorbis_app, thorbis_platform;

CREATE FUNCTION thorbis.verify_invoice_chain(tenant uuid DEFAULT NULL, OUT tenant_id uuid, OUT document text,
        OUT series text, OUT chain_position bigint, OUT number text, OUT document_id uuid, OUT problem text)
    RETURNS SETOF record
    LANGUAGE c STABLE PARALLEL UNSAFE ROWS 1 SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'verify_invoice_chain_wrapper';
COMMENT ON FUNCTION thorbis.verify_invoice_chain(uuid) IS
    'What was changed, taken out or put between the issued invoices and credit notes of the current tenant (needs invoices:read), or for operators of the one named or of all. No rows: the chains are whole';
REVOKE ALL ON FUNCTION thorbis.verify_invoice_chain(uuid) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION thorbis.verify_invoice_chain(uuid) TO thorbis_app, thorbis_platform;
