DROP TABLE gdpr.breaches;
