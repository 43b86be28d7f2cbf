DROP TABLE restaurants.dining_tables;

DROP TABLE restaurants.dining_areas;

DELETE FROM rbac.permissions WHERE resource = 'tables';
