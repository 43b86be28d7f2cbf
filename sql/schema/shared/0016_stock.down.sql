DROP VIEW IF EXISTS shared.v_stock_on_hand;
DROP TABLE shared.stock_reservations;
DROP TABLE shared.stock_balances;
DROP TABLE shared.stock_locations;
DROP TABLE shared.stock_items;
