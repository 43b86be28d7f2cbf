-- What makes the log tamper-evident: hashes of its rows, chained. Whoever keeps one of the hashes elsewhere can tell later
-- whether anything that was sealed until then was changed.

CREATE TABLE audit.seals (
    number bigint NOT NULL,
    kind text NOT NULL DEFAULT 'rows',
    system_id bigint NOT NULL,
    from_transaction bigint NOT NULL,
    to_transaction bigint NOT NULL,
    month date NOT NULL,
    row_count bigint NOT NULL,
    root bytea NOT NULL,
    blinding_key bytea NOT NULL,
    sealed_at timestamptz NOT NULL,
    previous_hash bytea NOT NULL,
    hash bytea NOT NULL,
    CONSTRAINT seals_pkey PRIMARY KEY (number),
    CONSTRAINT seals_kind_check CHECK (kind IN ('rows', 'tombstone')),
    CONSTRAINT seals_number_check CHECK (number > 0),
    CONSTRAINT seals_row_count_check CHECK (row_count >= 0),
    CONSTRAINT seals_to_transaction_check CHECK (to_transaction >= from_transaction)
);

CREATE INDEX idx_seals_month ON audit.seals (month, number);
CREATE INDEX idx_seals_transactions ON audit.seals (system_id, to_transaction);

CREATE TRIGGER write_seals_append_only
    BEFORE UPDATE OR DELETE ON audit.seals
    FOR EACH ROW EXECUTE FUNCTION @extschema@.keep_append_only();

CREATE TRIGGER truncate_seals_append_only
    BEFORE TRUNCATE ON audit.seals
    FOR EACH STATEMENT EXECUTE FUNCTION @extschema@.keep_append_only();

COMMENT ON TABLE audit.seals IS 'Hashes of the rows of audit.change_log, one after another, each with that of the one before';
COMMENT ON COLUMN audit.seals.number IS 'Position in the chain: 1, 2, 3, ...';
COMMENT ON COLUMN audit.seals.kind IS 'rows, or tombstone: the sealed rows of the month were dropped after their time';
COMMENT ON COLUMN audit.seals.system_id IS 'The cluster in which the rows were written; 0 for a tombstone';
COMMENT ON COLUMN audit.seals.from_transaction IS 'The first transaction it covers';
COMMENT ON COLUMN audit.seals.to_transaction IS 'The first transaction after those it covers';
COMMENT ON COLUMN audit.seals.month IS 'First day of the month in which the rows occurred, UTC';
COMMENT ON COLUMN audit.seals.row_count IS 'How many rows it covers, or were dropped';
COMMENT ON COLUMN audit.seals.root IS 'Merkle tree hash of the rows (RFC 6962), or of the roots of the seals of the month';
COMMENT ON COLUMN audit.seals.blinding_key IS 'Keeps the hashes in a proof from telling anything about the rows they stand for';
COMMENT ON COLUMN audit.seals.sealed_at IS 'When it was made';
COMMENT ON COLUMN audit.seals.previous_hash IS 'hash of the seal before; zeros for the first';
COMMENT ON COLUMN audit.seals.hash IS 'SHA-256 of all of this: export it, and the whole log until here can be verified';

-- Of all tenants: for the operator. Tenants get proofs.
GRANT SELECT ON audit.seals TO thorbis_platform;

CREATE FUNCTION audit.seal() RETURNS TABLE (seal bigint, month date, row_count bigint)
    LANGUAGE sql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
    AS $function$ SELECT * FROM thorbis.seal_audit() $function$;

COMMENT ON FUNCTION audit.seal() IS
    'Seals what is in the log of all transactions that are over, and returns the seals it made. Can be called at any time and by several at once; waits for nobody who writes. For a scheduled job of thorbis_platform';
REVOKE ALL ON FUNCTION audit.seal() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION audit.seal() TO thorbis_platform;

CREATE FUNCTION audit.verify("from" timestamptz DEFAULT NULL, "to" timestamptz DEFAULT NULL, root bytea DEFAULT NULL)
    RETURNS TABLE (finding text, seal bigint, detail text)
    LANGUAGE sql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
    AS $function$ SELECT * FROM thorbis.verify_audit($1, $2, $3) $function$;

COMMENT ON FUNCTION audit.verify(timestamptz, timestamptz, bytea) IS
    'Verifies the chain of seals, and the rows of the seals made between two times (all without them). root: a hash that audit.roots showed earlier, to find a log that was rewritten as a whole. One row ok, or one for each thing that is wrong. Only reads: for standbys too';
REVOKE ALL ON FUNCTION audit.verify(timestamptz, timestamptz, bytea) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION audit.verify(timestamptz, timestamptz, bytea) TO thorbis_platform;

CREATE FUNCTION audit.prove(id uuid, root bytea DEFAULT NULL) RETURNS jsonb
    LANGUAGE sql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
    AS $function$ SELECT thorbis.prove_audit($1, $2) $function$;

COMMENT ON FUNCTION audit.prove(uuid, bytea) IS
    'Proof that a change of the current tenant stands in the sealed log, for thorbis-check-proof, which needs no database. root: a hash that audit.roots showed after the change was sealed; the proof then leads to it. Needs audit:read';
REVOKE ALL ON FUNCTION audit.prove(uuid, bytea) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION audit.prove(uuid, bytea) TO thorbis_app, thorbis_platform;
