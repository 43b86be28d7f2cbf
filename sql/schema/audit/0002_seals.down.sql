DROP VIEW IF EXISTS audit.v_chain_status;

DROP VIEW IF EXISTS audit.roots;

DROP FUNCTION audit.prove(uuid, bytea);

DROP FUNCTION audit.verify(timestamptz, timestamptz, bytea);

DROP FUNCTION audit.seal();

DROP TABLE audit.seals;
