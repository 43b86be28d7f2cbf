DROP VIEW IF EXISTS gdpr.v_retention_due;

DROP FUNCTION gdpr.apply_retention(boolean);

DROP FUNCTION gdpr.calculate_retention_due(uuid, text, text, text, timestamptz);

DROP FUNCTION gdpr.get_retention_target(text, text, text);

DROP FUNCTION gdpr.residue_scan(uuid, text[], text);

DROP FUNCTION gdpr.erase_subject(uuid, boolean, text);

DROP FUNCTION gdpr.export_subject(uuid, text);
