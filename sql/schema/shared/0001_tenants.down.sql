DROP TABLE shared.tenants;

COMMENT ON SCHEMA shared IS NULL;
