-- Keys of personal data. The library writes them; what it takes to unwrap them is in the keyring, outside the database.

CREATE TABLE thorbis.data_keys (
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    tenant_id uuid NOT NULL,
    subject_kind text COLLATE "C" NOT NULL,
    subject_id uuid NOT NULL,
    keyring_key text NOT NULL,
    wrapped bytea NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT data_keys_pkey PRIMARY KEY (id),
    CONSTRAINT data_keys_subject_unique UNIQUE (tenant_id, subject_id, subject_kind)
);

-- A destroyed key must leave the memory of every session. New keys need no announcement, nor do keys that are wrapped
-- anew: what a session has unwrapped stays true.
CREATE TRIGGER write_data_keys_invalidation
    AFTER DELETE OR UPDATE OF tenant_id, subject_kind, subject_id ON thorbis.data_keys
    FOR EACH ROW EXECUTE FUNCTION @extschema@.invalidate_permissions();
ALTER TABLE thorbis.data_keys ENABLE ALWAYS TRIGGER write_data_keys_invalidation;

CREATE TRIGGER truncate_data_keys_invalidation
    AFTER TRUNCATE ON thorbis.data_keys
    FOR EACH STATEMENT EXECUTE FUNCTION @extschema@.invalidate_permissions();
ALTER TABLE thorbis.data_keys ENABLE ALWAYS TRIGGER truncate_data_keys_invalidation;

COMMENT ON TABLE thorbis.data_keys IS
    'The keys that encrypt personal data: one for each tenant, one for each person. Whose key is deleted is erased';
COMMENT ON COLUMN thorbis.data_keys.id IS 'Identifies the key: every encrypted value names the one it needs';
COMMENT ON COLUMN thorbis.data_keys.tenant_id IS 'The tenant whose data it encrypts';
COMMENT ON COLUMN thorbis.data_keys.subject_kind IS
    'Whose data it encrypts: customer, user, or tenant for what is nobody''s in particular';
COMMENT ON COLUMN thorbis.data_keys.subject_id IS 'The person, or the tenant itself';
COMMENT ON COLUMN thorbis.data_keys.keyring_key IS 'Id of the key in the keyring that unwraps it';
COMMENT ON COLUMN thorbis.data_keys.wrapped IS 'The key, encrypted with that key of the keyring';
COMMENT ON COLUMN thorbis.data_keys.created_at IS 'When it was made';
COMMENT ON CONSTRAINT data_keys_subject_unique ON thorbis.data_keys IS
    'Two sessions that first write about one person must end up with one key';

CREATE TABLE thorbis.key_rotations (
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    to_key text NOT NULL,
    started_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    finished_at timestamptz,
    total bigint NOT NULL DEFAULT 0,
    done bigint NOT NULL DEFAULT 0,
    last_id uuid NOT NULL DEFAULT '00000000-0000-0000-0000-000000000000',
    started_by text NOT NULL DEFAULT session_user,
    CONSTRAINT key_rotations_pkey PRIMARY KEY (id),
    CONSTRAINT key_rotations_total_check CHECK (total >= 0),
    CONSTRAINT key_rotations_done_check CHECK (done >= 0)
);

COMMENT ON TABLE thorbis.key_rotations IS
    'Runs of thorbis.rotate_keys(), committed batch by batch, so that others see how far they are';
COMMENT ON COLUMN thorbis.key_rotations.id IS 'Identifies the run';
COMMENT ON COLUMN thorbis.key_rotations.to_key IS 'Id of the key in the keyring that data keys are wrapped with';
COMMENT ON COLUMN thorbis.key_rotations.started_at IS 'When it began';
COMMENT ON COLUMN thorbis.key_rotations.updated_at IS 'When its last batch was done';
COMMENT ON COLUMN thorbis.key_rotations.finished_at IS 'When nothing was left, NULL while it runs or was stopped';
COMMENT ON COLUMN thorbis.key_rotations.total IS 'Data keys that were wrapped with another key when it began';
COMMENT ON COLUMN thorbis.key_rotations.done IS 'Data keys wrapped so far';
COMMENT ON COLUMN thorbis.key_rotations.last_id IS 'The data key it has come to, in the order of their ids';
COMMENT ON COLUMN thorbis.key_rotations.started_by IS 'Session user who began it';

-- The operator of all tenants dumps with this role. Without the keyring the keys are of no use.
GRANT SELECT ON thorbis.data_keys, thorbis.key_rotations TO thorbis_platform;
