-- Made by thorbis.protect().
DROP VIEW IF EXISTS shared.users_pii;

DROP VIEW IF EXISTS shared.users_masked;

DROP TABLE shared.users;
