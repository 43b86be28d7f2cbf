DROP TABLE shared.business_closures;

DROP TABLE shared.business_hours;
