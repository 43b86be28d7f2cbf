DROP TABLE audit.seals;
