DROP TRIGGER write_tenants_status_history ON shared.tenants;

DROP TRIGGER write_tenants_status ON shared.tenants;

DROP TABLE shared.status_history;

DROP TABLE shared.state_transitions;
