DROP FUNCTION shared.post_stock_count(uuid, text);
DROP FUNCTION shared.release_stock_reservation(uuid);
DROP FUNCTION shared.reserve_stock(uuid, uuid, numeric, timestamptz, text, text, uuid, text);
DROP FUNCTION shared.post_stock_movements(jsonb, text);
DROP TABLE shared.stock_movements;
DROP TABLE shared.stock_count_lines;
DROP TABLE shared.stock_counts;
DELETE FROM shared.state_transitions WHERE document = 'stock_count';
