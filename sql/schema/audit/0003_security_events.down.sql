DROP FUNCTION audit.read_denials(text, boolean);

DROP FUNCTION audit.parse_denials(text, boolean);

DROP TABLE audit.security_events;
