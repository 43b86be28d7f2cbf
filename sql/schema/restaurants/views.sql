-- Repeatable: replaced whenever this text changes. All views run with the rights and policies of whoever asks.

CREATE OR REPLACE VIEW restaurants.v_active_orders WITH (security_invoker = true) AS
SELECT o.tenant_id, o.id AS order_id, o.order_number, o.order_type, o.status, o.payment_status, o.location_id,
    o.dining_table_id, o.table_number, o.server_id, o.customer_id, o.guest_count,
    i.item_count, i.unserved_item_count, o.subtotal, o.total_amount,
    o.opened_at, o.sent_at, o.promised_at, now() - o.opened_at AS age
FROM restaurants.orders o
    CROSS JOIN LATERAL (
        SELECT count(*) AS item_count, count(*) FILTER (WHERE l.status <> 'served') AS unserved_item_count
        FROM restaurants.order_items l
        WHERE l.tenant_id = o.tenant_id AND l.order_id = o.id AND l.status <> 'voided'
    ) i
WHERE o.status IN ('pending', 'preparing', 'ready', 'served') AND o.voided_at IS NULL AND o.deleted_at IS NULL;

COMMENT ON VIEW restaurants.v_active_orders IS 'Orders that are neither paid nor cancelled. Needs orders:read';
COMMENT ON COLUMN restaurants.v_active_orders.tenant_id IS 'The tenant';
COMMENT ON COLUMN restaurants.v_active_orders.order_id IS 'The order';
COMMENT ON COLUMN restaurants.v_active_orders.order_number IS 'Its number in the tenant';
COMMENT ON COLUMN restaurants.v_active_orders.order_type IS 'dine_in, takeout, delivery or online';
COMMENT ON COLUMN restaurants.v_active_orders.status IS 'pending, preparing, ready or served';
COMMENT ON COLUMN restaurants.v_active_orders.payment_status IS 'How far the payment is';
COMMENT ON COLUMN restaurants.v_active_orders.location_id IS 'The place';
COMMENT ON COLUMN restaurants.v_active_orders.dining_table_id IS 'The table';
COMMENT ON COLUMN restaurants.v_active_orders.table_number IS 'Number of the table as the guest reads it';
COMMENT ON COLUMN restaurants.v_active_orders.server_id IS 'The user who serves';
COMMENT ON COLUMN restaurants.v_active_orders.customer_id IS 'The customer';
COMMENT ON COLUMN restaurants.v_active_orders.guest_count IS 'How many guests';
COMMENT ON COLUMN restaurants.v_active_orders.item_count IS 'Lines that are not voided';
COMMENT ON COLUMN restaurants.v_active_orders.unserved_item_count IS 'Those of them that are not served yet';
COMMENT ON COLUMN restaurants.v_active_orders.subtotal IS 'Sum of the lines before discounts, charges, tax and tip';
COMMENT ON COLUMN restaurants.v_active_orders.total_amount IS 'What is to be paid';
COMMENT ON COLUMN restaurants.v_active_orders.opened_at IS 'When the guest ordered';
COMMENT ON COLUMN restaurants.v_active_orders.sent_at IS 'When the first dish went to the kitchen';
COMMENT ON COLUMN restaurants.v_active_orders.promised_at IS 'When the guest was told it would be ready';
COMMENT ON COLUMN restaurants.v_active_orders.age IS 'How long ago the guest ordered';

GRANT SELECT ON restaurants.v_active_orders TO thorbis_app, thorbis_platform;

-- The inner join to the tenant makes a caller without tenants:read see nothing, never sales on the wrong date.
CREATE OR REPLACE VIEW restaurants.v_daily_sales WITH (security_invoker = true) AS
SELECT o.tenant_id, o.location_id, o.business_date, o.currency,
    count(*) AS order_count,
    sum(o.guest_count) AS guest_count,
    sum(o.subtotal) AS gross_sales,
    sum(o.discount_amount) AS discounts,
    sum(o.service_charge_amount) AS service_charges,
    sum(o.subtotal - o.discount_amount + o.service_charge_amount) AS net_sales,
    sum(o.tax_amount) AS tax,
    sum(o.tip_amount) AS tips,
    sum(o.total_amount) AS total,
    sum(o.refunded_amount) AS refunds
FROM (
    SELECT s.tenant_id, s.location_id, t.currency,
        coalesce(s.business_date, (s.opened_at AT TIME ZONE t.timezone)::date) AS business_date,
        s.guest_count, s.subtotal, s.discount_amount, s.service_charge_amount, s.tax_amount, s.tip_amount,
        s.total_amount, s.refunded_amount
    FROM restaurants.orders s
        JOIN shared.tenants t ON t.id = s.tenant_id
    WHERE s.status = 'paid' AND s.voided_at IS NULL AND s.deleted_at IS NULL
) o
GROUP BY o.tenant_id, o.location_id, o.business_date, o.currency;

COMMENT ON VIEW restaurants.v_daily_sales IS
    'Paid orders by place and business date, exact to the cent. Needs orders:read and tenants:read';
COMMENT ON COLUMN restaurants.v_daily_sales.tenant_id IS 'The tenant';
COMMENT ON COLUMN restaurants.v_daily_sales.location_id IS 'The place, NULL for orders without one';
COMMENT ON COLUMN restaurants.v_daily_sales.business_date IS
    'The date of the orders, or the date they were opened in the time zone of the tenant when they have none';
COMMENT ON COLUMN restaurants.v_daily_sales.currency IS 'Currency of all amounts';
COMMENT ON COLUMN restaurants.v_daily_sales.order_count IS 'How many orders';
COMMENT ON COLUMN restaurants.v_daily_sales.guest_count IS 'How many guests, as far as they were counted';
COMMENT ON COLUMN restaurants.v_daily_sales.gross_sales IS 'Sum of the lines';
COMMENT ON COLUMN restaurants.v_daily_sales.discounts IS 'Discounts, as a positive amount';
COMMENT ON COLUMN restaurants.v_daily_sales.service_charges IS 'Charges the house made';
COMMENT ON COLUMN restaurants.v_daily_sales.net_sales IS
    'Lines less discounts plus service charges: without tax, tips and refunds';
COMMENT ON COLUMN restaurants.v_daily_sales.tax IS 'Tax';
COMMENT ON COLUMN restaurants.v_daily_sales.tips IS 'Tips';
COMMENT ON COLUMN restaurants.v_daily_sales.total IS 'What guests paid';
COMMENT ON COLUMN restaurants.v_daily_sales.refunds IS 'What was paid back on these orders, whenever that was';

GRANT SELECT ON restaurants.v_daily_sales TO thorbis_app, thorbis_platform;

CREATE OR REPLACE VIEW restaurants.v_kitchen_queue WITH (security_invoker = true) AS
SELECT k.tenant_id, k.kitchen_station_id, s.name AS station_name, s.location_id,
    k.id AS kitchen_ticket_id, k.status AS ticket_status, k.course, k.queued_at, now() - k.queued_at AS waiting,
    o.id AS order_id, o.order_number, o.order_type, o.table_number, o.promised_at,
    i.id AS order_item_id, i.item_name, ki.quantity, i.seat, i.status AS item_status, m.modifiers,
    i.special_instructions
FROM restaurants.kitchen_tickets k
    JOIN restaurants.kitchen_stations s ON s.tenant_id = k.tenant_id AND s.id = k.kitchen_station_id
    JOIN restaurants.orders o ON o.tenant_id = k.tenant_id AND o.id = k.order_id
    JOIN restaurants.kitchen_ticket_items ki ON ki.tenant_id = k.tenant_id AND ki.kitchen_ticket_id = k.id
    JOIN restaurants.order_items i ON i.tenant_id = ki.tenant_id AND i.id = ki.order_item_id
    CROSS JOIN LATERAL (
        SELECT array_agg(om.modifier_name ORDER BY om.sort_order, om.modifier_name) AS modifiers
        FROM restaurants.order_item_modifiers om
        WHERE om.tenant_id = i.tenant_id AND om.order_item_id = i.id
    ) m
WHERE k.status <> 'bumped' AND i.status <> 'voided'
    AND o.status <> 'cancelled' AND o.voided_at IS NULL AND o.deleted_at IS NULL;

COMMENT ON VIEW restaurants.v_kitchen_queue IS
    'What each station still has to make, one row per line of an order. Needs kitchen:read and orders:read';
COMMENT ON COLUMN restaurants.v_kitchen_queue.tenant_id IS 'The tenant';
COMMENT ON COLUMN restaurants.v_kitchen_queue.kitchen_station_id IS 'The station';
COMMENT ON COLUMN restaurants.v_kitchen_queue.station_name IS 'Name of the station';
COMMENT ON COLUMN restaurants.v_kitchen_queue.location_id IS 'The place of the station';
COMMENT ON COLUMN restaurants.v_kitchen_queue.kitchen_ticket_id IS 'The ticket';
COMMENT ON COLUMN restaurants.v_kitchen_queue.ticket_status IS 'queued, started, ready or recalled';
COMMENT ON COLUMN restaurants.v_kitchen_queue.course IS 'The course';
COMMENT ON COLUMN restaurants.v_kitchen_queue.queued_at IS 'When the ticket came to the station';
COMMENT ON COLUMN restaurants.v_kitchen_queue.waiting IS 'How long ago that was';
COMMENT ON COLUMN restaurants.v_kitchen_queue.order_id IS 'The order';
COMMENT ON COLUMN restaurants.v_kitchen_queue.order_number IS 'Its number in the tenant';
COMMENT ON COLUMN restaurants.v_kitchen_queue.order_type IS 'dine_in, takeout, delivery or online';
COMMENT ON COLUMN restaurants.v_kitchen_queue.table_number IS 'Number of the table';
COMMENT ON COLUMN restaurants.v_kitchen_queue.promised_at IS 'When the guest was told it would be ready';
COMMENT ON COLUMN restaurants.v_kitchen_queue.order_item_id IS 'The line of the order';
COMMENT ON COLUMN restaurants.v_kitchen_queue.item_name IS 'What to make';
COMMENT ON COLUMN restaurants.v_kitchen_queue.quantity IS 'How many';
COMMENT ON COLUMN restaurants.v_kitchen_queue.seat IS 'For which seat';
COMMENT ON COLUMN restaurants.v_kitchen_queue.item_status IS 'Status of the line';
COMMENT ON COLUMN restaurants.v_kitchen_queue.modifiers IS 'Choices made for it, in order, NULL without any';
COMMENT ON COLUMN restaurants.v_kitchen_queue.special_instructions IS 'What the guest asked for';

GRANT SELECT ON restaurants.v_kitchen_queue TO thorbis_app, thorbis_platform;
