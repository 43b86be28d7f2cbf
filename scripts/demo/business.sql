-- The owner, through the application's login: people, roles, menu, tables, kitchen, customers. No statement names a
-- tenant: it is the current one.
BEGIN;
SELECT thorbis.set_context(:'tenant', (:'key' || '-0000-4000-8000-000000000011')::uuid);

INSERT INTO shared.users (id, first_name, last_name, email, phone)
SELECT (:'key' || '-0000-4000-8000-0000000000' || u.n)::uuid, u.first_name, u.last_name,
       lower(u.first_name) || '@' || :'slug' || '.example', '+1 514 555 01' || u.n
  FROM (VALUES ('12', 'Mara', 'Keller'), ('13', 'Sofia', 'Rossi'), ('14', 'Noah', 'Tremblay')) u(n, first_name, last_name);

INSERT INTO rbac.user_roles (user_id, role_id)
SELECT (:'key' || '-0000-4000-8000-0000000000' || g.n)::uuid, r.id
  FROM (VALUES ('12', 'manager'), ('13', 'server'), ('14', 'server')) g(n, code) JOIN rbac.roles r USING (code);

-- Open around the clock, so that the tour works whenever it is taken.
INSERT INTO shared.business_hours (resource, weekday, opens_at, closes_at)
SELECT 'orders', weekday, '00:00', '00:00' FROM generate_series(1, 7) weekday;

INSERT INTO shared.locations (id, name) VALUES ((:'key' || '-0000-4000-8000-000000000051')::uuid, 'Main room');

-- Addresses and numbers are written like other columns, and stored encrypted.
INSERT INTO shared.customers (id, first_name, last_name, email, phone)
SELECT md5(:'slug' || ' customer ' || n)::uuid, first_name, 'Guest ' || n,
       lower(left(first_name, 1)) || '.guest' || n || '@' || :'slug' || '.example', '+1 514 555 01' || 50 + n
  FROM unnest(ARRAY['Ana', 'Bo', 'Chloé', 'D''Arcy', 'Ewa', 'Finn', 'Gül', 'Hana', 'Ivo', 'Jun', 'Kai', 'Léa'])
       WITH ORDINALITY c(first_name, n);

-- Prices differ from tenant to tenant by the seed.
INSERT INTO restaurants.menu_items (id, sku, name, category, price, sort_order)
SELECT md5(:'slug' || ' dish ' || m.n)::uuid, upper(left(m.name, 4)), m.name, m.category,
       m.price + (:seed * m.n % 5) * 0.25, m.n
  FROM (VALUES (1, 'Soup of the day', 'starter', 7.50), (2, 'Green salad', 'starter', 8.25),
               (3, 'Pizza', 'main', 13.50), (4, 'Risotto', 'main', 16.75), (5, 'Trout', 'main', 21.00),
               (6, 'Tiramisu', 'dessert', 7.00), (7, 'Espresso', 'drink', 2.80), (8, 'Lemonade', 'drink', 4.20))
       m(n, name, category, price);

INSERT INTO restaurants.modifier_groups (id, name) VALUES (md5(:'slug' || ' extras')::uuid, 'Extras');
INSERT INTO restaurants.modifiers (id, modifier_group_id, name, price, sort_order)
SELECT md5(:'slug' || ' extra ' || n)::uuid, md5(:'slug' || ' extras')::uuid, name, price, n
  FROM (VALUES (1, 'Extra cheese', 1.50), (2, 'Gluten-free', 2.00), (3, 'No onions', 0.00)) x(n, name, price);
INSERT INTO restaurants.menu_item_modifier_groups (menu_item_id, modifier_group_id)
SELECT id, md5(:'slug' || ' extras')::uuid FROM restaurants.menu_items WHERE category IN ('starter', 'main');

INSERT INTO restaurants.dining_areas (id, name) VALUES (md5(:'slug' || ' area')::uuid, 'Dining room');
INSERT INTO restaurants.dining_tables (id, dining_area_id, table_number, max_capacity)
SELECT md5(:'slug' || ' table ' || n)::uuid, md5(:'slug' || ' area')::uuid, n, 2 + n % 3 * 2 FROM generate_series(1, 10) n;

INSERT INTO restaurants.kitchen_stations (id, name, categories)
VALUES (md5(:'slug' || ' kitchen')::uuid, 'Kitchen', '{starter,main,dessert}'),
       (md5(:'slug' || ' bar')::uuid, 'Bar', '{drink}');
COMMIT;
