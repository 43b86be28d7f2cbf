-- Made by thorbis.protect().
DROP VIEW IF EXISTS shared.customers_pii;

DROP VIEW IF EXISTS shared.customers_masked;

DROP TABLE shared.customers;
