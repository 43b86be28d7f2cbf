DROP VIEW IF EXISTS restaurants.v_daily_sales;

DROP VIEW IF EXISTS restaurants.v_active_orders;

DROP TABLE restaurants.order_item_modifiers;

DROP TABLE restaurants.order_items;

DROP TABLE restaurants.orders;

DELETE FROM rbac.permissions WHERE resource = 'orders';
