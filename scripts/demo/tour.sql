-- The tour, as the application's login. Errors are shown, not avoided. demo.sh indents what does not begin with a number.
\pset format aligned
\pset border 0
\pset tuples_only off
\pset footer off
\set VERBOSITY terse
\set summary 'SELECT t.name AS tenant, count(*) AS orders, sum(o.total_amount) AS total, count(DISTINCT o.customer_id) AS "known guests", round(avg(o.total_amount), 2) AS average FROM shared.tenants t, restaurants.orders o GROUP BY t.name'
SELECT left(:'alba', 8) AS a, left(:'boreal', 8) AS b \gset

\echo
\echo '1. The same query, asked by the owner of each restaurant: no WHERE names a tenant'
BEGIN;
SELECT thorbis.set_context(:'alba', (:'a' || '-0000-4000-8000-000000000011')::uuid) \g /dev/null
:summary;
COMMIT;
BEGIN;
SELECT thorbis.set_context(:'boreal', (:'b' || '-0000-4000-8000-000000000011')::uuid) \g /dev/null
:summary;
COMMIT;

\echo '2. Without a context there are no rows, and no error'
\pset tuples_only on
\pset format unaligned
SELECT 'orders: ' || count(*) FROM restaurants.orders;

\echo
\echo '3. The owner of Trattoria Alba, who may do everything there, tries for Bistro Boreal\'s data'
\echo '- read its orders by its tenant id:'
BEGIN;
SELECT thorbis.set_context(:'alba', (:'a' || '-0000-4000-8000-000000000011')::uuid) \g /dev/null
SELECT '  orders: ' || count(*) FROM restaurants.orders WHERE tenant_id = :'boreal';
\echo '- write an order into it:'
SAVEPOINT s;
INSERT INTO restaurants.orders (tenant_id) VALUES (:'boreal');
ROLLBACK TO s;
\echo '- move own orders to it:'
UPDATE restaurants.orders SET tenant_id = :'boreal';
ROLLBACK TO s;
\echo '- reference one of its customers in an own order (the key holds the tenant, so there is no such customer):'
INSERT INTO restaurants.orders (customer_id) VALUES (md5('bistro-boreal customer 1')::uuid);
ROLLBACK TO s;
\echo '- become its owner in the same transaction:'
SET LOCAL app.current_tenant_id = :'boreal';
SELECT count(*) FROM restaurants.orders;
ROLLBACK;

\echo
\echo '4. E-mail addresses and telephone numbers are encrypted where they are stored'
BEGIN;
SELECT thorbis.set_context(:'alba', (:'a' || '-0000-4000-8000-000000000013')::uuid) \g /dev/null
\echo '- Sofia, a server, sees them masked:'
SELECT format('  %s: %s, %s', first_name, email, phone) FROM shared.customers_masked ORDER BY first_name LIMIT 2;
\echo '- and may not ask for more:'
SELECT email FROM shared.customers_pii;
ROLLBACK;
BEGIN;
SELECT thorbis.set_context(:'alba', (:'a' || '-0000-4000-8000-000000000011')::uuid) \g /dev/null
\echo '- The owner reads them:'
SELECT format('  %s: %s, %s', first_name, email, phone) FROM shared.customers_pii ORDER BY first_name LIMIT 2;
\echo '- and finds a guest by an address, in any case of letters:'
SELECT format('  %s %s', first_name, last_name) FROM shared.customers
 WHERE id IN (SELECT thorbis.find_customer_by_email('A.Guest1@Trattoria-Alba.example'));
COMMIT;
\echo '- What the table holds of them, and with it every dump and disk:'
\getenv socket PGHOST
\connect :DBNAME postgres :socket :PORT
SELECT format('  email %s, email_encrypted %s...', coalesce(email, 'NULL'), left(email_encrypted, 40))
  FROM shared.customers WHERE tenant_id = :'alba' ORDER BY first_name LIMIT 2;

\echo
\echo '5. Every change is logged with who made it, and the log is sealed'
\connect :DBNAME demo_app 127.0.0.1 :PORT
BEGIN;
SELECT thorbis.set_context(:'alba', (:'a' || '-0000-4000-8000-000000000012')::uuid) \g /dev/null
UPDATE restaurants.menu_items SET price = 15 WHERE name = 'Pizza';
COMMIT;
BEGIN;
SELECT thorbis.set_context(:'alba', (:'a' || '-0000-4000-8000-000000000011')::uuid) \g /dev/null
\echo '- The owner looks who changed the price of the pizza:'
SELECT c.change_id AS change, format('  %s: %s, was %s, by %s %s', c.column_name, c.new_value, c.old_value, u.first_name, u.last_name) AS who
  FROM audit.v_who_changed c LEFT JOIN shared.users u ON u.id = c.actor_id
 WHERE c.table_name = 'restaurants.menu_items' AND c.operation = 'UPDATE' AND c.column_name = 'price' \gset
\echo :who
COMMIT;
\connect :DBNAME postgres :socket :PORT
\echo '- The server seals the log. One hash stands for all of it, to be kept elsewhere:'
SELECT format('  seal %s, %s rows', seal, row_count) FROM audit.seal();
SELECT hash AS root FROM audit.roots ORDER BY number DESC LIMIT 1 \gset
SELECT '  ' || :'root';
\echo '- A superuser blames somebody else, and is found out:'
BEGIN;
UPDATE audit.change_log SET actor_id = (:'a' || '-0000-4000-8000-000000000013')::uuid WHERE id = :'change';
SELECT format('  %s in seal %s', finding, seal) FROM audit.verify(root => decode(:'root', 'hex'));
ROLLBACK;
SELECT format('  taken back: %s', finding) FROM audit.verify(root => decode(:'root', 'hex'));
\connect :DBNAME demo_app 127.0.0.1 :PORT
BEGIN;
SELECT thorbis.set_context(:'alba', (:'a' || '-0000-4000-8000-000000000011')::uuid) \g /dev/null
\echo '- The owner takes a proof of the change home, which thorbis-check-proof checks without a database:'
SELECT format('  row %s of %s, %s hashes from there to the seal', (p ->> 'leaf_index')::bigint + 1, p #>> '{seal,row_count}', jsonb_array_length(p -> 'path'))
  FROM audit.prove(:'change') p;
COMMIT;
