DROP TABLE audit.change_log;
