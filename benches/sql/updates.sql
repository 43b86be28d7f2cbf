-- Rows to update: twelve columns and no index, so that the trigger is a visible part of the work. The second table also
-- has the updated_by of the deployed tables.

CREATE TABLE bench.rows AS
SELECT n AS id, md5(n::text)::uuid AS tenant_id, md5('c' || n)::uuid AS customer_id, 'paid'::text AS status,
       'a note of moderate length'::text AS note, n::integer AS quantity, n / 100.0 AS amount, true AS active,
       '{}'::jsonb AS metadata, 1::bigint AS row_version, now() AS created_at, now() AS updated_at
FROM generate_series(1, {updates}) n;

CREATE TABLE bench.rows_with_user AS SELECT *, NULL::uuid AS updated_by FROM bench.rows;
