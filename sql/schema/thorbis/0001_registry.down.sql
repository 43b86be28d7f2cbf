DROP TABLE thorbis.settings;
DROP TABLE thorbis.bound_roles;
DROP VIEW thorbis.v_protected_tables;
DROP TABLE thorbis.protected_tables;
DROP TABLE thorbis.deployed_objects;
DROP TABLE thorbis.migrations;
