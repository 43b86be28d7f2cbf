DROP TABLE shared.locations;
