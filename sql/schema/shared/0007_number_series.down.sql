DROP TABLE shared.number_counters;

DROP TABLE shared.number_series;
