DROP TABLE shared.status_history;

DROP TABLE shared.state_transitions;
