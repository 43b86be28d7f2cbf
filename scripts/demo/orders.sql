-- A server, through the application's login: yesterday's orders with their lines, extras and kitchen tickets. No random
-- numbers: the same day each time. The lunch peak is around 12:30, the dinner peak around 19:30, in local time.
BEGIN;
SELECT thorbis.set_context(:'tenant', (:'key' || '-0000-4000-8000-000000000013')::uuid);

INSERT INTO restaurants.orders (id, order_type, table_number, dining_table_id, customer_id, server_id, location_id,
                                guest_count, business_date, opened_at)
SELECT md5(:'slug' || ' order ' || n)::uuid, o.kind,
       CASE o.kind WHEN 'dine_in' THEN o.seat END,
       CASE o.kind WHEN 'dine_in' THEN md5(:'slug' || ' table ' || o.seat)::uuid END,
       CASE WHEN n % 2 = 0 THEN md5(:'slug' || ' customer ' || n % 12 + 1)::uuid END,
       (:'key' || '-0000-4000-8000-00000000001' || 3 + n % 2)::uuid,
       (:'key' || '-0000-4000-8000-000000000051')::uuid,
       1 + n % 4, o.day, o.opened_at
  FROM generate_series(1, 58 + :seed * 2) n,
       LATERAL (SELECT (ARRAY['dine_in', 'dine_in', 'dine_in', 'takeout', 'delivery'])[1 + n % 5], 1 + n % 10,
                       (now() AT TIME ZONE t.timezone)::date - 1,
                       ((now() AT TIME ZONE t.timezone)::date - 1
                        + CASE WHEN n % 5 < 2 THEN time '11:30' ELSE time '17:45' END
                        + (n * 37 % 180) * interval '1 minute') AT TIME ZONE t.timezone
                  FROM shared.tenants t) o(kind, seat, day, opened_at)
 ORDER BY o.opened_at;

INSERT INTO restaurants.order_items (id, order_id, menu_item_id, item_name, unit_price, quantity, sort_order, status)
SELECT md5(:'slug' || ' line ' || n || ' ' || k)::uuid, md5(:'slug' || ' order ' || n)::uuid, m.id, m.name, m.price,
       1 + (n + k) % 2, k, 'served'
  FROM generate_series(1, 58 + :seed * 2) n CROSS JOIN generate_series(1, 2 + n % 3) k
  JOIN restaurants.menu_items m ON m.sort_order = (n * 5 + k * 3 + :seed) % 8 + 1;

INSERT INTO restaurants.order_item_modifiers (order_item_id, modifier_id, modifier_name, unit_price)
SELECT l.id, x.id, x.name, x.price
  FROM (SELECT i.id, row_number() OVER (ORDER BY i.id) AS n
          FROM restaurants.order_items i JOIN restaurants.menu_items m ON m.id = i.menu_item_id
         WHERE m.category IN ('starter', 'main')) l
  JOIN restaurants.modifiers x ON x.sort_order = l.n % 9 + 1;

-- One ticket for each order and station that has something to make.
INSERT INTO restaurants.kitchen_tickets (id, order_id, kitchen_station_id, status, queued_at, bumped_at)
SELECT DISTINCT md5(o.id || ' ' || s.id)::uuid, o.id, s.id, 'bumped', o.opened_at + interval '4 minutes',
       o.opened_at + interval '22 minutes'
  FROM restaurants.orders o
  JOIN restaurants.order_items i ON i.order_id = o.id
  JOIN restaurants.menu_items m ON m.id = i.menu_item_id
  JOIN restaurants.kitchen_stations s ON m.category = ANY (s.categories);
INSERT INTO restaurants.kitchen_ticket_items (kitchen_ticket_id, order_item_id, quantity)
SELECT md5(i.order_id || ' ' || s.id)::uuid, i.id, i.quantity
  FROM restaurants.order_items i
  JOIN restaurants.menu_items m ON m.id = i.menu_item_id
  JOIN restaurants.kitchen_stations s ON m.category = ANY (s.categories);

-- Every 30th order was cancelled; the others go the way that the transitions allow, step by step. A transition sets its
-- time itself, so these happen now.
UPDATE restaurants.orders SET status = 'cancelled' WHERE order_number % 30 = 0;
UPDATE restaurants.orders SET status = 'preparing' WHERE status = 'pending';
UPDATE restaurants.orders SET status = 'ready' WHERE status = 'preparing';
UPDATE restaurants.orders SET status = 'served' WHERE status = 'ready';

-- Eight percent tax; tips of 0, 15, 18 or 20 percent.
UPDATE restaurants.orders o
   SET subtotal = s.subtotal, tax_amount = round(s.subtotal * 0.08, 2), tip_amount = round(s.subtotal * s.tip, 2),
       total_amount = s.subtotal + round(s.subtotal * 0.08, 2) + round(s.subtotal * s.tip, 2),
       status = 'paid', payment_status = 'paid', payment_method = CASE o.order_number % 3 WHEN 0 THEN 'cash' ELSE 'card' END
  FROM (SELECT i.order_id, sum(i.unit_price * i.quantity + coalesce(x.extras, 0)) AS subtotal,
               (ARRAY[0, 0.15, 0.18, 0.20])[1 + sum(i.sort_order)::int % 4] AS tip
          FROM restaurants.order_items i
          LEFT JOIN (SELECT order_item_id, sum(unit_price * quantity) AS extras
                       FROM restaurants.order_item_modifiers GROUP BY 1) x ON x.order_item_id = i.id
         GROUP BY 1) s
 WHERE s.order_id = o.id AND o.status = 'served';
COMMIT;
