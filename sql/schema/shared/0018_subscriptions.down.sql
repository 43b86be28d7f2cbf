DROP FUNCTION shared.record_usage(uuid, text, numeric, text, timestamptz);
DROP TABLE shared.usage_records;
DROP TABLE shared.subscriptions;
