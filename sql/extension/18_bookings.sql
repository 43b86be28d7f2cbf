-- No double booking.

CREATE FUNCTION check_no_overlap() RETURNS trigger
    LANGUAGE c AS 'MODULE_PATHNAME', 'thorbis_check_no_overlap';
COMMENT ON FUNCTION check_no_overlap() IS
    'AFTER INSERT OR UPDATE row trigger that thorbis.add_exclusion() makes where btree_gist is missing: rows that are equal in some columns do not overlap in a range (23P01). Arguments: the range, the condition or an empty text, the columns';
REVOKE ALL ON FUNCTION check_no_overlap() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION check_no_overlap() TO thorbis_owner;

CREATE FUNCTION thorbis.add_exclusion("table" regclass, name text, equal text[], range_column text,
        condition text DEFAULT NULL) RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp AS 'MODULE_PATHNAME', 'add_exclusion_wrapper';
COMMENT ON FUNCTION thorbis.add_exclusion(regclass, text, text[], text, text) IS
    'Rows of a tenant that are equal in the columns, and meet the condition, must not overlap in the range (23P01): an exclusion constraint, or where btree_gist is missing a trigger that promises the same. Touching is allowed. For the owner of the table';
REVOKE ALL ON FUNCTION thorbis.add_exclusion(regclass, text, text[], text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION thorbis.add_exclusion(regclass, text, text[], text, text) TO thorbis_owner, thorbis_platform;

CREATE FUNCTION check_booking() RETURNS trigger
    LANGUAGE c AS 'MODULE_PATHNAME', 'thorbis_check_booking';
COMMENT ON FUNCTION check_booking() IS
    'BEFORE INSERT OR UPDATE row trigger on shared.bookings, of those that are live: the resource is active (23514), and neither booked nor off at the time (23P01)';
REVOKE ALL ON FUNCTION check_booking() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION check_booking() TO thorbis_owner;

CREATE FUNCTION check_time_off() RETURNS trigger
    LANGUAGE c AS 'MODULE_PATHNAME', 'thorbis_check_time_off';
COMMENT ON FUNCTION check_time_off() IS
    'BEFORE INSERT OR UPDATE row trigger on shared.time_off: the resource is not booked in that time (23P01)';
REVOKE ALL ON FUNCTION check_time_off() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION check_time_off() TO thorbis_owner;
