-- Personal data: encryption, look-ups, the keyring.

CREATE FUNCTION encrypt_pii(plaintext text) RETURNS text
    LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'thorbis_encrypt_pii';
COMMENT ON FUNCTION encrypt_pii(text) IS
    'The text encrypted under the key of the current tenant; NULL for NULL and ''''';
REVOKE ALL ON FUNCTION encrypt_pii(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION encrypt_pii(text) TO thorbis_owner, thorbis_app, thorbis_platform;

CREATE FUNCTION encrypt_pii(plaintext text, field text, row_id text) RETURNS text
    LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'thorbis_encrypt_pii';
COMMENT ON FUNCTION encrypt_pii(text, text, text) IS
    'As encrypt_pii(text), bound to a field and a row: the ciphertext does not open anywhere else';
REVOKE ALL ON FUNCTION encrypt_pii(text, text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION encrypt_pii(text, text, text) TO thorbis_owner, thorbis_app, thorbis_platform;

CREATE FUNCTION decrypt_pii(ciphertext text) RETURNS text
    LANGUAGE c STABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'thorbis_decrypt_pii';
COMMENT ON FUNCTION decrypt_pii(text) IS
    'The text of encrypt_pii(text). Needs pii:decrypt (42501); 22000 for whatever does not open in the current tenant';
REVOKE ALL ON FUNCTION decrypt_pii(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION decrypt_pii(text) TO thorbis_owner, thorbis_app, thorbis_platform, thorbis_auditor;

CREATE FUNCTION decrypt_pii(ciphertext text, field text, row_id text) RETURNS text
    LANGUAGE c STABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'thorbis_decrypt_pii';
COMMENT ON FUNCTION decrypt_pii(text, text, text) IS
    'The clear value of an encrypted column. Needs the permission pii on the table''s resource (42501); 22000 for whatever does not open here';
REVOKE ALL ON FUNCTION decrypt_pii(text, text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION decrypt_pii(text, text, text)
    TO thorbis_owner, thorbis_app, thorbis_platform, thorbis_auditor;

CREATE FUNCTION decrypt_pii(ciphertext text, field text, row_id uuid) RETURNS text
    LANGUAGE c STABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'thorbis_decrypt_pii_of_uuid';
COMMENT ON FUNCTION decrypt_pii(text, text, uuid) IS 'As decrypt_pii(text, text, text)';
REVOKE ALL ON FUNCTION decrypt_pii(text, text, uuid) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION decrypt_pii(text, text, uuid)
    TO thorbis_owner, thorbis_app, thorbis_platform, thorbis_auditor;

CREATE FUNCTION mask_pii(ciphertext text, field text, row_id text) RETURNS text
    LANGUAGE c STABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'thorbis_mask_pii';
COMMENT ON FUNCTION mask_pii(text, text, text) IS
    'The value of an encrypted column with its letters masked, such as c***@example.com. Needs the permission read on the table''s resource';
REVOKE ALL ON FUNCTION mask_pii(text, text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION mask_pii(text, text, text)
    TO thorbis_owner, thorbis_app, thorbis_platform, thorbis_auditor;

CREATE FUNCTION mask_pii(ciphertext text, field text, row_id uuid) RETURNS text
    LANGUAGE c STABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'thorbis_mask_pii_of_uuid';
COMMENT ON FUNCTION mask_pii(text, text, uuid) IS 'As mask_pii(text, text, text)';
REVOKE ALL ON FUNCTION mask_pii(text, text, uuid) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION mask_pii(text, text, uuid)
    TO thorbis_owner, thorbis_app, thorbis_platform, thorbis_auditor;

CREATE FUNCTION pii_blind_index(value text, field text) RETURNS bytea
    LANGUAGE c STABLE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'thorbis_pii_blind_index';
COMMENT ON FUNCTION pii_blind_index(text, text) IS
    'What stands in the _bidx column for a value of the current tenant: HMAC-SHA-256 of the normalised value under a key of tenant and field';
REVOKE ALL ON FUNCTION pii_blind_index(text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION pii_blind_index(text, text) TO thorbis_owner, thorbis_app, thorbis_platform;

CREATE FUNCTION encrypt_pii_columns() RETURNS trigger
    LANGUAGE c AS 'MODULE_PATHNAME', 'thorbis_encrypt_pii_columns';
COMMENT ON FUNCTION encrypt_pii_columns() IS
    'BEFORE INSERT OR UPDATE row trigger, made by thorbis.protect(): moves what is written to the encrypted columns into their _encrypted and _bidx columns';
REVOKE ALL ON FUNCTION encrypt_pii_columns() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION encrypt_pii_columns() TO thorbis_owner;

CREATE FUNCTION encrypt_customer_pii() RETURNS trigger
    LANGUAGE c AS 'MODULE_PATHNAME', 'thorbis_encrypt_pii_columns';
COMMENT ON FUNCTION encrypt_customer_pii() IS 'encrypt_pii_columns() on shared.customers, under the document''s name';
REVOKE ALL ON FUNCTION encrypt_customer_pii() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION encrypt_customer_pii() TO thorbis_owner;

CREATE FUNCTION delete_tenant_keys() RETURNS trigger
    LANGUAGE c AS 'MODULE_PATHNAME', 'thorbis_delete_tenant_keys';
COMMENT ON FUNCTION delete_tenant_keys() IS
    'AFTER DELETE row trigger on shared.tenants: destroys the data keys of the tenant, so that no copy of its personal data can be read';
REVOKE ALL ON FUNCTION delete_tenant_keys() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION delete_tenant_keys() TO thorbis_owner;

CREATE FUNCTION write_pii_view() RETURNS trigger
    LANGUAGE c AS 'MODULE_PATHNAME', 'thorbis_write_pii_view';
COMMENT ON FUNCTION write_pii_view() IS
    'INSTEAD OF row trigger, made by thorbis.protect(): what is written to a view of clear values goes to its table, with the rights of the caller';
REVOKE ALL ON FUNCTION write_pii_view() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION write_pii_view() TO thorbis_owner;

CREATE FUNCTION keep_append_only() RETURNS trigger
    LANGUAGE c AS 'MODULE_PATHNAME', 'thorbis_keep_append_only';
COMMENT ON FUNCTION keep_append_only() IS
    'BEFORE UPDATE OR DELETE row trigger, or BEFORE TRUNCATE: rows stay as they were written (42501), but for superusers, thorbis_platform and cascades';
REVOKE ALL ON FUNCTION keep_append_only() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION keep_append_only() TO thorbis_owner;

CREATE FUNCTION thorbis.find_by_pii("table" regclass, column_name text, value text) RETURNS SETOF uuid
    LANGUAGE c STABLE STRICT PARALLEL UNSAFE ROWS 1 SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'find_by_pii_wrapper';
COMMENT ON FUNCTION thorbis.find_by_pii(regclass, text, text) IS
    'The live rows of the current tenant with this value in an encrypted column that has a blind index: the ids of those the caller may see. Needs the permission pii on the table''s resource';
REVOKE ALL ON FUNCTION thorbis.find_by_pii(regclass, text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION thorbis.find_by_pii(regclass, text, text) TO thorbis_app, thorbis_platform;

CREATE FUNCTION thorbis.find_customer_by_email(email text) RETURNS SETOF uuid
    LANGUAGE c STABLE STRICT PARALLEL UNSAFE ROWS 1 SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'find_customer_by_email_wrapper';
COMMENT ON FUNCTION thorbis.find_customer_by_email(text) IS
    'The live customer of the current tenant with this e-mail address, in any case of letters; no row where there is none the caller may see. Needs customers:pii';
REVOKE ALL ON FUNCTION thorbis.find_customer_by_email(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION thorbis.find_customer_by_email(text) TO thorbis_app, thorbis_platform;

CREATE FUNCTION thorbis.encrypt_existing("table" regclass, dry_run boolean DEFAULT false) RETURNS bigint
    LANGUAGE c VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'encrypt_existing_wrapper';
COMMENT ON FUNCTION thorbis.encrypt_existing(regclass, boolean) IS
    'Encrypts the rows that a table had before thorbis.protect() was given pii columns. Returns their number; dry_run only counts them';
REVOKE ALL ON FUNCTION thorbis.encrypt_existing(regclass, boolean) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION thorbis.encrypt_existing(regclass, boolean) TO thorbis_owner, thorbis_platform;

CREATE FUNCTION thorbis.decrypt_existing("table" regclass, dry_run boolean DEFAULT false) RETURNS bigint
    LANGUAGE c VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'decrypt_existing_wrapper';
COMMENT ON FUNCTION thorbis.decrypt_existing(regclass, boolean) IS
    'Writes the encrypted values of a table back in clear and ends their encryption. Returns the number of rows; dry_run only counts them. Superuser or thorbis_platform, with the rights of the table''s owner';
REVOKE ALL ON FUNCTION thorbis.decrypt_existing(regclass, boolean) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION thorbis.decrypt_existing(regclass, boolean) TO thorbis_platform;

CREATE FUNCTION thorbis.keyring_status(OUT key_id text, OUT state text, OUT data_keys bigint, OUT source text)
        RETURNS SETOF record
    LANGUAGE c VOLATILE PARALLEL UNSAFE ROWS 5 SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'keyring_status_wrapper';
COMMENT ON FUNCTION thorbis.keyring_status() IS
    'The keys of the keyring and how many data keys each wraps. State: active, available, missing, wrong (another key of that id). Superuser or thorbis_platform';
REVOKE ALL ON FUNCTION thorbis.keyring_status() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION thorbis.keyring_status() TO thorbis_platform;

CREATE FUNCTION thorbis.begin_key_rotation() RETURNS uuid
    LANGUAGE c VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'begin_key_rotation_wrapper';
COMMENT ON FUNCTION thorbis.begin_key_rotation() IS 'A step of thorbis.rotate_keys()';
REVOKE ALL ON FUNCTION thorbis.begin_key_rotation() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION thorbis.begin_key_rotation() TO thorbis_platform;

CREATE FUNCTION thorbis.rewrap_data_keys(rotation uuid, batch_size integer) RETURNS bigint
    LANGUAGE c VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'rewrap_data_keys_wrapper';
COMMENT ON FUNCTION thorbis.rewrap_data_keys(uuid, integer) IS 'A step of thorbis.rotate_keys(): one batch; returns how many data keys it wrapped anew';
REVOKE ALL ON FUNCTION thorbis.rewrap_data_keys(uuid, integer) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION thorbis.rewrap_data_keys(uuid, integer) TO thorbis_platform;

CREATE FUNCTION thorbis.finish_key_rotation(rotation uuid) RETURNS bigint
    LANGUAGE c VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'finish_key_rotation_wrapper';
COMMENT ON FUNCTION thorbis.finish_key_rotation(uuid) IS 'A step of thorbis.rotate_keys(): waits for transactions that make data keys, and wraps theirs too';
REVOKE ALL ON FUNCTION thorbis.finish_key_rotation(uuid) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION thorbis.finish_key_rotation(uuid) TO thorbis_platform;

-- Invoker and without SET clauses, so that it may commit; every name is qualified instead.
CREATE PROCEDURE thorbis.rotate_keys(batch_size integer DEFAULT 1000)
    LANGUAGE plpgsql AS $$
DECLARE
    rotation pg_catalog.uuid := thorbis.begin_key_rotation();
BEGIN
    COMMIT;
    WHILE thorbis.rewrap_data_keys(rotation, batch_size) OPERATOR(pg_catalog.>) 0 LOOP
        COMMIT;
    END LOOP;
    PERFORM thorbis.finish_key_rotation(rotation);
    COMMIT;
END
$$;
COMMENT ON PROCEDURE thorbis.rotate_keys(integer) IS
    'Wraps all data keys under the active key of the keyring, in committed batches; thorbis.key_rotations shows the progress. Can be stopped and called again. Superuser or thorbis_platform';
REVOKE ALL ON PROCEDURE thorbis.rotate_keys(integer) FROM PUBLIC;
GRANT EXECUTE ON PROCEDURE thorbis.rotate_keys(integer) TO thorbis_platform;
