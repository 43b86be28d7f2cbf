DROP VIEW IF EXISTS restaurants.v_kitchen_queue;

DROP TABLE restaurants.kitchen_ticket_items;

DROP TABLE restaurants.kitchen_tickets;

DROP TABLE restaurants.kitchen_stations;

DELETE FROM rbac.permissions WHERE resource = 'kitchen';
