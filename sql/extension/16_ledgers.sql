-- Ledgers: stock, gift cards, points. The trigger functions keep the balances; the functions in schema thorbis are what those
-- of schema shared call, which have the permissions in their comments.

CREATE FUNCTION apply_stock_movement() RETURNS trigger
    LANGUAGE c AS 'MODULE_PATHNAME', 'thorbis_apply_stock_movement';
COMMENT ON FUNCTION apply_stock_movement() IS
    'BEFORE INSERT row trigger on shared.stock_movements: the balances of both places follow, never below what is reserved (23514)';
REVOKE ALL ON FUNCTION apply_stock_movement() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION apply_stock_movement() TO thorbis_owner;

CREATE FUNCTION keep_posted_count() RETURNS trigger
    LANGUAGE c AS 'MODULE_PATHNAME', 'thorbis_keep_posted_count';
COMMENT ON FUNCTION keep_posted_count() IS
    'BEFORE row trigger on shared.stock_counts and shared.stock_count_lines: a posted count stays as it is (55000) and is posted by its function alone (42501)';
REVOKE ALL ON FUNCTION keep_posted_count() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION keep_posted_count() TO thorbis_owner;

CREATE FUNCTION apply_gift_card_activity() RETURNS trigger
    LANGUAGE c AS 'MODULE_PATHNAME', 'thorbis_apply_gift_card_activity';
COMMENT ON FUNCTION apply_gift_card_activity() IS
    'BEFORE INSERT row trigger on shared.gift_card_activities: status and balance of the card follow, never below zero (23514)';
REVOKE ALL ON FUNCTION apply_gift_card_activity() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION apply_gift_card_activity() TO thorbis_owner;

CREATE FUNCTION apply_loyalty_entry() RETURNS trigger
    LANGUAGE c AS 'MODULE_PATHNAME', 'thorbis_apply_loyalty_entry';
COMMENT ON FUNCTION apply_loyalty_entry() IS
    'BEFORE INSERT row trigger on shared.loyalty_entries: the balance of the account follows, never below zero (23514)';
REVOKE ALL ON FUNCTION apply_loyalty_entry() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION apply_loyalty_entry() TO thorbis_owner;

CREATE FUNCTION apply_loyalty_lots() RETURNS trigger
    LANGUAGE c AS 'MODULE_PATHNAME', 'thorbis_apply_loyalty_lots';
COMMENT ON FUNCTION apply_loyalty_lots() IS
    'AFTER INSERT row trigger on shared.loyalty_entries: points are earned in lots and spent from the oldest that is valid';
REVOKE ALL ON FUNCTION apply_loyalty_lots() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION apply_loyalty_lots() TO thorbis_owner;

CREATE FUNCTION thorbis.post_stock_movements(lines jsonb, idempotency_key text) RETURNS jsonb
    LANGUAGE c VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'thorbis_post_stock_movements';
COMMENT ON FUNCTION thorbis.post_stock_movements(jsonb, text) IS 'What shared.post_stock_movements() calls';
REVOKE ALL ON FUNCTION thorbis.post_stock_movements(jsonb, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION thorbis.post_stock_movements(jsonb, text) TO thorbis_app, thorbis_platform;

CREATE FUNCTION thorbis.reserve_stock(stock_item_id uuid, stock_location_id uuid, quantity numeric, expires_at timestamptz, direction text,
        document text, document_id uuid, idempotency_key text) RETURNS jsonb
    LANGUAGE c VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'thorbis_reserve_stock';
COMMENT ON FUNCTION thorbis.reserve_stock(uuid, uuid, numeric, timestamptz, text, text, uuid, text) IS 'What shared.reserve_stock() calls';
REVOKE ALL ON FUNCTION thorbis.reserve_stock(uuid, uuid, numeric, timestamptz, text, text, uuid, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION thorbis.reserve_stock(uuid, uuid, numeric, timestamptz, text, text, uuid, text) TO thorbis_app, thorbis_platform;

CREATE FUNCTION thorbis.release_stock_reservation(stock_reservation_id uuid) RETURNS jsonb
    LANGUAGE c VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'thorbis_release_stock_reservation';
COMMENT ON FUNCTION thorbis.release_stock_reservation(uuid) IS 'What shared.release_stock_reservation() calls';
REVOKE ALL ON FUNCTION thorbis.release_stock_reservation(uuid) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION thorbis.release_stock_reservation(uuid) TO thorbis_app, thorbis_platform;

CREATE FUNCTION thorbis.post_stock_count(stock_count_id uuid, idempotency_key text) RETURNS jsonb
    LANGUAGE c VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'thorbis_post_stock_count';
COMMENT ON FUNCTION thorbis.post_stock_count(uuid, text) IS 'What shared.post_stock_count() calls';
REVOKE ALL ON FUNCTION thorbis.post_stock_count(uuid, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION thorbis.post_stock_count(uuid, text) TO thorbis_app, thorbis_platform;

CREATE FUNCTION thorbis.create_gift_card(code text, customer_id uuid) RETURNS jsonb
    LANGUAGE c VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'thorbis_create_gift_card';
COMMENT ON FUNCTION thorbis.create_gift_card(text, uuid) IS 'What shared.create_gift_card() calls';
REVOKE ALL ON FUNCTION thorbis.create_gift_card(text, uuid) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION thorbis.create_gift_card(text, uuid) TO thorbis_app, thorbis_platform;

CREATE FUNCTION thorbis.find_gift_card(code text) RETURNS jsonb
    LANGUAGE c VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'thorbis_find_gift_card';
COMMENT ON FUNCTION thorbis.find_gift_card(text) IS 'What shared.find_gift_card() calls';
REVOKE ALL ON FUNCTION thorbis.find_gift_card(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION thorbis.find_gift_card(text) TO thorbis_app, thorbis_platform;

CREATE FUNCTION thorbis.record_gift_card_activity(activity text, gift_card_id uuid, amount numeric, reason text, document text,
        document_id uuid, idempotency_key text) RETURNS jsonb
    LANGUAGE c VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'thorbis_record_gift_card_activity';
COMMENT ON FUNCTION thorbis.record_gift_card_activity(text, uuid, numeric, text, text, uuid, text) IS 'What shared.activate_gift_card(), load_gift_card(), redeem_gift_card() and their sisters call';
REVOKE ALL ON FUNCTION thorbis.record_gift_card_activity(text, uuid, numeric, text, text, uuid, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION thorbis.record_gift_card_activity(text, uuid, numeric, text, text, uuid, text) TO thorbis_app, thorbis_platform;

CREATE FUNCTION thorbis.open_loyalty_account(customer_id uuid, loyalty_program_id uuid) RETURNS jsonb
    LANGUAGE c VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'thorbis_open_loyalty_account';
COMMENT ON FUNCTION thorbis.open_loyalty_account(uuid, uuid) IS 'What shared.open_loyalty_account() calls';
REVOKE ALL ON FUNCTION thorbis.open_loyalty_account(uuid, uuid) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION thorbis.open_loyalty_account(uuid, uuid) TO thorbis_app, thorbis_platform;

CREATE FUNCTION thorbis.record_loyalty_entry(type text, loyalty_account_id uuid, points bigint, reason text, document text,
        document_id uuid, idempotency_key text) RETURNS jsonb
    LANGUAGE c VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'thorbis_record_loyalty_entry';
COMMENT ON FUNCTION thorbis.record_loyalty_entry(text, uuid, bigint, text, text, uuid, text) IS 'What shared.earn_points(), spend_points() and adjust_points() call';
REVOKE ALL ON FUNCTION thorbis.record_loyalty_entry(text, uuid, bigint, text, text, uuid, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION thorbis.record_loyalty_entry(text, uuid, bigint, text, text, uuid, text) TO thorbis_app, thorbis_platform;

CREATE FUNCTION thorbis.reverse_loyalty_entry(loyalty_entry_id uuid, points bigint, idempotency_key text) RETURNS jsonb
    LANGUAGE c VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'thorbis_reverse_loyalty_entry';
COMMENT ON FUNCTION thorbis.reverse_loyalty_entry(uuid, bigint, text) IS 'What shared.reverse_points() calls';
REVOKE ALL ON FUNCTION thorbis.reverse_loyalty_entry(uuid, bigint, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION thorbis.reverse_loyalty_entry(uuid, bigint, text) TO thorbis_app, thorbis_platform;

CREATE FUNCTION thorbis.verify_ledgers(OUT ledger text, OUT tenant_id uuid, OUT key text, OUT stored text, OUT expected text)
    RETURNS SETOF record
    LANGUAGE c VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'verify_ledgers_wrapper';
COMMENT ON FUNCTION thorbis.verify_ledgers() IS
    'Balances of stock, gift cards and points that are not the sum of their movements, and sums of invoices, payments, credit notes and drawers that are not those of their rows, of any tenant. No rows: all is well. Running balances are those that no movement goes on from, or that are reached out of nowhere. Superuser or thorbis_platform';
REVOKE ALL ON FUNCTION thorbis.verify_ledgers() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION thorbis.verify_ledgers() TO thorbis_platform;
