DROP TABLE shared.customers;
