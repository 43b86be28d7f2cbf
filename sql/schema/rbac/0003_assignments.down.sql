DROP TRIGGER update_users_grant_check ON shared.users;
DROP TRIGGER write_users_last_owner ON shared.users;

DROP TABLE rbac.user_roles;
