-- {orders} orders as they come in over a year: the tenants' orders lie mixed on disk. No trigger fires, no foreign key is
-- checked, and nothing is logged.

SET session_replication_role = replica;
-- Fires always.
ALTER TABLE restaurants.orders DISABLE TRIGGER audit_orders_changes;

INSERT INTO restaurants.orders (tenant_id, id, order_number, table_number, status, payment_status, subtotal, tax_amount,
                                total_amount, guest_count, created_at, updated_at, opened_at)
SELECT bench.tenant_id(1 + n % {tenants}), md5('order ' || n)::uuid, 1 + n / {tenants}, 1 + n % 30,
       CASE WHEN n > {orders} * 0.98 THEN 'preparing' ELSE 'paid' END,
       CASE WHEN n > {orders} * 0.98 THEN 'pending' ELSE 'paid' END,
       amount, amount / 10, amount + amount / 10, 1 + n % 6, at, at, at
FROM generate_series(0::bigint, {orders} - 1) n,
     LATERAL (SELECT 5 + (n * 7919 % 20000) / 100.0, now() - interval '1 year' * (1 - n / {orders}.0)) o(amount, at);

ALTER TABLE restaurants.orders ENABLE ALWAYS TRIGGER audit_orders_changes;
RESET session_replication_role;
