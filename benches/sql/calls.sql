-- A C function that does nothing, and rows to call functions with.

CREATE FUNCTION bench.empty() RETURNS boolean
    LANGUAGE c STABLE AS '$libdir/thorbis_db', 'thorbis_empty_function';
CREATE FUNCTION bench.empty(resource text, action text) RETURNS boolean
    LANGUAGE c STABLE AS '$libdir/thorbis_db', 'thorbis_empty_function';
CREATE FUNCTION bench.empty(user_id uuid, resource text, action text) RETURNS boolean
    LANGUAGE c STABLE AS '$libdir/thorbis_db', 'thorbis_empty_function';

-- Every permission there is, in turn.
CREATE TABLE bench.calls AS
SELECT p.resource, p.action
FROM generate_series(0, {calls} - 1) n
    JOIN (SELECT resource, action, row_number() OVER (ORDER BY resource, action) - 1 AS place,
                 count(*) OVER () AS places FROM rbac.permissions) p ON p.place = n % p.places
ORDER BY n;
CREATE TABLE bench.few_calls AS SELECT * FROM bench.calls LIMIT {few_calls};

GRANT SELECT ON bench.calls, bench.few_calls TO bench_app;
