DROP TABLE thorbis.settings;
DROP TABLE thorbis.bound_roles;
DROP TABLE thorbis.protected_tables;
DROP TABLE thorbis.deployed_objects;
DROP TABLE thorbis.migrations;
