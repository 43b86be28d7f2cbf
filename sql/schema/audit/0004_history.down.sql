DROP FUNCTION audit.apply_retention(boolean);

DROP FUNCTION audit.restore_preview(regclass, uuid, timestamptz);

DROP FUNCTION audit.restore_preview(regclass, text, timestamptz);

DROP FUNCTION audit.record_history(regclass, uuid);

DROP FUNCTION audit.record_history(regclass, text);

DROP VIEW IF EXISTS audit.v_who_changed;
