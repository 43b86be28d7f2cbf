DROP VIEW IF EXISTS gdpr.v_consent_current;

DROP VIEW IF EXISTS gdpr.v_dsr_deadlines;

DROP VIEW IF EXISTS gdpr.v_pii_coverage_gaps;

DROP VIEW IF EXISTS gdpr.pii_catalog;

DROP TABLE gdpr.processing_activities;

DROP TABLE gdpr.consents;

DROP TABLE gdpr.data_subject_requests;

DELETE FROM rbac.permissions WHERE resource = 'gdpr';
