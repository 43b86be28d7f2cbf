-- Documents: their status, their numbers, their stored totals.

CREATE FUNCTION check_status_transition() RETURNS trigger
    LANGUAGE c AS 'MODULE_PATHNAME', 'thorbis_check_status_transition';
COMMENT ON FUNCTION check_status_transition() IS
    'BEFORE INSERT OR UPDATE row trigger: the status goes only where shared.state_transitions lets it go (23514), with the permission it names (42501); the time of the transition is set, and written by nothing else. Arguments: the document, the column of the status, status by default';
REVOKE ALL ON FUNCTION check_status_transition() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION check_status_transition() TO thorbis_owner;

CREATE FUNCTION record_status_change() RETURNS trigger
    LANGUAGE c AS 'MODULE_PATHNAME', 'thorbis_record_status_change';
COMMENT ON FUNCTION record_status_change() IS
    'AFTER INSERT OR UPDATE row trigger: a row of shared.status_history for each change of status. Arguments: as for check_status_transition()';
REVOKE ALL ON FUNCTION record_status_change() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION record_status_change() TO thorbis_owner;

CREATE FUNCTION assign_document_number() RETURNS trigger
    LANGUAGE c AS 'MODULE_PATHNAME', 'thorbis_assign_document_number';
COMMENT ON FUNCTION assign_document_number() IS
    'BEFORE INSERT OR UPDATE row trigger: the next number of the series, when none is given. Arguments: the column, integer or text; the series in shared.number_series, schema.table.column by default; true where no number may be left out: then one given by hand is refused (42501), but for imports (superusers and the platform acting for no user), and others wait for the end of the transaction, so let it be the last statement; a column, and the values of it with which a document has a number, any but NULL by default. Without the last ones each row that fires the trigger gets a number. Only a trigger for INSERT and UPDATE without WHEN sees every number given by hand: tell it by the last arguments when to give one. With UNIQUE (tenant_id, column) what an import brought is stepped over';
REVOKE ALL ON FUNCTION assign_document_number() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION assign_document_number() TO thorbis_owner;

CREATE FUNCTION keep_document_totals() RETURNS trigger
    LANGUAGE c AS 'MODULE_PATHNAME', 'thorbis_keep_document_totals';
COMMENT ON FUNCTION keep_document_totals() IS
    'BEFORE INSERT OR UPDATE row trigger of a document: its amounts and those of its lines are what calculate_order_total() makes of its inputs; whatever else is written there is replaced. Argument, JSON: document and lines (schema.table), key (column of the lines with the id of the document), order and skip (columns of the lines), pricing and line_pricing (jsonb columns with inputs), document_inputs and line_inputs ({input: column}), document_outputs and line_outputs ({column: result}), version and hash (columns of the document), while ({column of the document: [values]}, in which its lines may change)';
REVOKE ALL ON FUNCTION keep_document_totals() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION keep_document_totals() TO thorbis_owner;

CREATE FUNCTION refresh_document_totals() RETURNS trigger
    LANGUAGE c AS 'MODULE_PATHNAME', 'thorbis_refresh_document_totals';
COMMENT ON FUNCTION refresh_document_totals() IS
    'AFTER INSERT, UPDATE or DELETE statement trigger of the lines, with the transition tables old_rows and new_rows that its event has. PostgreSQL lets a trigger with transition tables have one event, so that it takes three, one for each: locks their documents in the order of their keys and makes the amounts anew, once for each. A document that is not as while says is refused (55000), but not to its engine. Argument: that of keep_document_totals()';
REVOKE ALL ON FUNCTION refresh_document_totals() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION refresh_document_totals() TO thorbis_owner;

CREATE FUNCTION thorbis.verify_totals(document regclass DEFAULT NULL, OUT document_table regclass, OUT tenant_id uuid,
        OUT document_id uuid, OUT line_id uuid, OUT column_name text, OUT stored text, OUT expected text) RETURNS SETOF record
    LANGUAGE c VOLATILE PARALLEL UNSAFE ROWS 10 SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'verify_totals_wrapper';
COMMENT ON FUNCTION thorbis.verify_totals(regclass) IS
    'Stored amounts that are not what calculate_order_total() makes of their inputs, of one kind of document or of all that carry the trigger keep_document_totals(). No rows: every amount is right';
REVOKE ALL ON FUNCTION thorbis.verify_totals(regclass) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION thorbis.verify_totals(regclass) TO thorbis_platform;

CREATE FUNCTION thorbis.allowed_transitions(document text, id uuid,
        OUT to_status text, OUT resource text, OUT action text, OUT allowed boolean, OUT reason text) RETURNS SETOF record
    LANGUAGE c VOLATILE PARALLEL UNSAFE ROWS 5 SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'allowed_transitions_wrapper';
COMMENT ON FUNCTION thorbis.allowed_transitions(text, uuid) IS
    'Where the status of a document of the current tenant can go next, whether the caller may take it there, and if not why. P0002 when the caller sees no such document, 42704 when no table has the trigger check_status_transition() for it';
REVOKE ALL ON FUNCTION thorbis.allowed_transitions(text, uuid) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION thorbis.allowed_transitions(text, uuid) TO thorbis_app, thorbis_platform;
