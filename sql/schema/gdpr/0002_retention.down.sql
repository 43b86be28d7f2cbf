DROP TABLE gdpr.erasures;

DROP TABLE gdpr.legal_holds;

DROP TABLE gdpr.retention_policies;
