-- One tenant's rows, the same for both tenants: {t} stands for the tenant's eight digits. Run as superuser after
-- thorbis.create_tenant(), which has made the tenant, its owner and the roles of the templates.
-- Every tenant table must get a row here: isolation.rs fails by name for one that has none.

INSERT INTO shared.users (tenant_id, id, email, first_name, last_name) VALUES
    ('{t}-0000-4000-8000-000000000001', '{t}-0000-4000-8000-000000000012', 'manager@{t}.example', 'Mara', 'Manager'),
    ('{t}-0000-4000-8000-000000000001', '{t}-0000-4000-8000-000000000013', 'employee@{t}.example', 'Emil', 'Employee');

INSERT INTO shared.locations (tenant_id, id, name) VALUES
    ('{t}-0000-4000-8000-000000000001', '{t}-0000-4000-8000-000000000051', 'Main street');

INSERT INTO shared.customers (tenant_id, id, email, first_name, last_name, settings) VALUES
    ('{t}-0000-4000-8000-000000000001', '{t}-0000-4000-8000-000000000021', 'carla@{t}.example', 'Carla', 'Customer',
     '{}'),
    ('{t}-0000-4000-8000-000000000001', '{t}-0000-4000-8000-000000000022', 'rita@{t}.example', 'Rita', 'Restricted',
     '{"pii_restricted": true}');

-- Open around the clock, so that no test depends on the hour at which it runs.
INSERT INTO shared.business_hours (tenant_id, resource, weekday, opens_at, closes_at)
SELECT '{t}-0000-4000-8000-000000000001', 'orders', weekday, '00:00', '00:00' FROM generate_series(1, 7) weekday;

INSERT INTO shared.business_closures (tenant_id, resource, on_date, reason) VALUES
    ('{t}-0000-4000-8000-000000000001', 'orders', '2001-01-01', 'New Year');

-- Roles of the tests' own: what the templates permit may change.
INSERT INTO rbac.roles (tenant_id, id, code, name) VALUES
    ('{t}-0000-4000-8000-000000000001', '{t}-0000-4000-8000-000000000041', 'test_manager', 'Manager of the tests'),
    ('{t}-0000-4000-8000-000000000001', '{t}-0000-4000-8000-000000000042', 'test_employee', 'Employee of the tests');

INSERT INTO rbac.role_permissions (tenant_id, role_id, resource, action)
SELECT '{t}-0000-4000-8000-000000000001', '{t}-0000-4000-8000-000000000041', p.resource, p.action
  FROM rbac.permissions p
 WHERE p.resource IN ('customers', 'orders', 'menu') AND p.action = 'admin';

INSERT INTO rbac.role_permissions (tenant_id, role_id, resource, action) VALUES
    ('{t}-0000-4000-8000-000000000001', '{t}-0000-4000-8000-000000000042', 'customers', 'read'),
    ('{t}-0000-4000-8000-000000000001', '{t}-0000-4000-8000-000000000042', 'orders', 'read'),
    ('{t}-0000-4000-8000-000000000001', '{t}-0000-4000-8000-000000000042', 'orders', 'create');

INSERT INTO rbac.user_roles (tenant_id, user_id, role_id) VALUES
    ('{t}-0000-4000-8000-000000000001', '{t}-0000-4000-8000-000000000012', '{t}-0000-4000-8000-000000000041'),
    ('{t}-0000-4000-8000-000000000001', '{t}-0000-4000-8000-000000000013', '{t}-0000-4000-8000-000000000042');

INSERT INTO rbac.role_hierarchy (tenant_id, role_id, inherits_role_id) VALUES
    ('{t}-0000-4000-8000-000000000001', '{t}-0000-4000-8000-000000000041', '{t}-0000-4000-8000-000000000042');

INSERT INTO rbac.access_grants (tenant_id, user_id, resource, action, reason, valid_during) VALUES
    ('{t}-0000-4000-8000-000000000001', '{t}-0000-4000-8000-000000000013', 'locations', 'read', 'stock-taking',
     tstzrange(now(), now() + interval '1 day'));

INSERT INTO rbac.approval_limits (tenant_id, role_id, resource, action, max_amount) VALUES
    ('{t}-0000-4000-8000-000000000001', '{t}-0000-4000-8000-000000000041', 'orders', 'update', 100.00);

INSERT INTO rbac.separation_rules (tenant_id, first_resource, first_action, second_resource, second_action, reason)
VALUES ('{t}-0000-4000-8000-000000000001', 'orders', 'create', 'orders', 'delete', 'four eyes');

-- About nobody yet, so that a test may make it about anybody.
INSERT INTO gdpr.data_subject_requests (tenant_id, id, type) VALUES
    ('{t}-0000-4000-8000-000000000001', '{t}-0000-4000-8000-000000000081', 'access');

INSERT INTO gdpr.consents (tenant_id, id, customer_id, purpose, decision, text_version, source) VALUES
    ('{t}-0000-4000-8000-000000000001', '{t}-0000-4000-8000-000000000082', '{t}-0000-4000-8000-000000000021',
     'newsletter', 'granted', '2024-01', 'web');

INSERT INTO gdpr.processing_activities (tenant_id, id, name, purpose, legal_basis) VALUES
    ('{t}-0000-4000-8000-000000000001', '{t}-0000-4000-8000-000000000083', 'Orders', 'Serving guests', 'contract');

-- Neither the policy nor the hold is in force: whoever tests them switches one on.
INSERT INTO gdpr.retention_policies (tenant_id, id, table_name, timestamp_column, period, action, basis, is_active)
VALUES ('{t}-0000-4000-8000-000000000001', '{t}-0000-4000-8000-000000000084', 'restaurants.orders', 'created_at',
        '10 years', 'delete', 'tax law', false);

INSERT INTO gdpr.legal_holds (tenant_id, id, subject_kind, subject_id, reason, placed_at, released_at) VALUES
    ('{t}-0000-4000-8000-000000000001', '{t}-0000-4000-8000-000000000085', 'customer',
     '{t}-0000-4000-8000-000000000022', 'case 1/2001', '2001-01-01', '2002-01-01');

INSERT INTO gdpr.erasures (tenant_id, id, subject_kind, subject_id, at) VALUES
    ('{t}-0000-4000-8000-000000000001', '{t}-0000-4000-8000-000000000086', 'customer',
     '{t}-0000-4000-8000-000000000029', '2001-01-01');

INSERT INTO gdpr.breaches (tenant_id, id, description, risk) VALUES
    ('{t}-0000-4000-8000-000000000001', '{t}-0000-4000-8000-000000000087', 'A laptop was stolen', 'none');

INSERT INTO restaurants.menu_items (tenant_id, id, sku, name, category, price) VALUES
    ('{t}-0000-4000-8000-000000000001', '{t}-0000-4000-8000-000000000061', 'SOUP', 'Soup', 'starters', 6.50);

INSERT INTO restaurants.modifier_groups (tenant_id, id, name) VALUES
    ('{t}-0000-4000-8000-000000000001', '{t}-0000-4000-8000-000000000062', 'Bread');

INSERT INTO restaurants.modifiers (tenant_id, id, modifier_group_id, name, price) VALUES
    ('{t}-0000-4000-8000-000000000001', '{t}-0000-4000-8000-000000000063', '{t}-0000-4000-8000-000000000062', 'Rye',
     0.80);

INSERT INTO restaurants.menu_item_modifier_groups (tenant_id, menu_item_id, modifier_group_id) VALUES
    ('{t}-0000-4000-8000-000000000001', '{t}-0000-4000-8000-000000000061', '{t}-0000-4000-8000-000000000062');

INSERT INTO restaurants.dining_areas (tenant_id, id, location_id, name) VALUES
    ('{t}-0000-4000-8000-000000000001', '{t}-0000-4000-8000-000000000064', '{t}-0000-4000-8000-000000000051',
     'Terrace');

INSERT INTO restaurants.dining_tables (tenant_id, id, dining_area_id, table_number, max_capacity) VALUES
    ('{t}-0000-4000-8000-000000000001', '{t}-0000-4000-8000-000000000065', '{t}-0000-4000-8000-000000000064', 1, 4);

INSERT INTO restaurants.kitchen_stations (tenant_id, id, name, categories) VALUES
    ('{t}-0000-4000-8000-000000000001', '{t}-0000-4000-8000-000000000066', 'Cold kitchen', '{starters}');

INSERT INTO restaurants.orders (tenant_id, id, customer_id, server_id, dining_table_id, table_number, subtotal,
                                total_amount)
VALUES
    ('{t}-0000-4000-8000-000000000001', '{t}-0000-4000-8000-000000000031', '{t}-0000-4000-8000-000000000021',
     '{t}-0000-4000-8000-000000000013', '{t}-0000-4000-8000-000000000065', 1, 7.30, 7.30);

INSERT INTO restaurants.orders (tenant_id, order_type, subtotal, total_amount)
SELECT '{t}-0000-4000-8000-000000000001', 'takeout', n, n FROM generate_series(1, 9) n;

INSERT INTO restaurants.order_items (tenant_id, id, order_id, menu_item_id, item_name, unit_price) VALUES
    ('{t}-0000-4000-8000-000000000001', '{t}-0000-4000-8000-000000000071', '{t}-0000-4000-8000-000000000031',
     '{t}-0000-4000-8000-000000000061', 'Soup', 6.50);

INSERT INTO restaurants.order_item_modifiers (tenant_id, order_item_id, modifier_id, modifier_name, unit_price) VALUES
    ('{t}-0000-4000-8000-000000000001', '{t}-0000-4000-8000-000000000071', '{t}-0000-4000-8000-000000000063', 'Rye',
     0.80);

INSERT INTO restaurants.kitchen_tickets (tenant_id, id, kitchen_station_id, order_id) VALUES
    ('{t}-0000-4000-8000-000000000001', '{t}-0000-4000-8000-000000000072', '{t}-0000-4000-8000-000000000066',
     '{t}-0000-4000-8000-000000000031');

INSERT INTO restaurants.kitchen_ticket_items (tenant_id, kitchen_ticket_id, order_item_id, quantity) VALUES
    ('{t}-0000-4000-8000-000000000001', '{t}-0000-4000-8000-000000000072', '{t}-0000-4000-8000-000000000071', 1);
