DROP TABLE shared.tenants;

