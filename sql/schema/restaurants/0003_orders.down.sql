DROP VIEW IF EXISTS restaurants.v_daily_sales;

DROP VIEW IF EXISTS restaurants.v_active_orders;

DROP TABLE restaurants.order_item_modifiers;

DROP TABLE restaurants.order_items;

DROP TABLE restaurants.orders;

DROP FUNCTION restaurants.check_early_payment(jsonb, jsonb);

DELETE FROM shared.state_transitions WHERE document = 'restaurants.order';

DELETE FROM rbac.permissions WHERE resource = 'orders';
