-- {tenants} tenants, each with an owner and with an employee who may read orders but does not administer them, and with
-- opening hours around the clock: so that both are really looked at. Ids are made of the tenant's number.

CREATE FUNCTION bench.tenant_id(n bigint) RETURNS uuid LANGUAGE sql IMMUTABLE
    RETURN ('00000000-0000-4000-8000-' || lpad(n::text, 12, '0'))::uuid;
CREATE FUNCTION bench.owner_id(n bigint) RETURNS uuid LANGUAGE sql IMMUTABLE
    RETURN ('00000000-0000-4000-a000-' || lpad(n::text, 12, '0'))::uuid;
CREATE FUNCTION bench.employee_id(n bigint) RETURNS uuid LANGUAGE sql IMMUTABLE
    RETURN ('00000000-0000-4000-9000-' || lpad(n::text, 12, '0'))::uuid;

SELECT count(thorbis.create_tenant('Restaurant ' || n, 'restaurant-' || n, bench.owner_id(n), 'owner@example.com',
                                   industries => '{restaurants}', id => bench.tenant_id(n)))
FROM generate_series(1, {tenants}) n;

INSERT INTO shared.users (tenant_id, id, email)
SELECT bench.tenant_id(n), bench.employee_id(n), 'employee@example.com' FROM generate_series(1, {tenants}) n;

INSERT INTO rbac.user_roles (tenant_id, user_id, role_id)
SELECT r.tenant_id, bench.employee_id(n), r.id
FROM generate_series(1, {tenants}) n JOIN rbac.roles r ON r.tenant_id = bench.tenant_id(n) AND r.code = 'server';

INSERT INTO shared.business_hours (tenant_id, resource, weekday, opens_at, closes_at)
SELECT bench.tenant_id(n), 'orders', weekday, '00:00', '00:00'
FROM generate_series(1, {tenants}) n, generate_series(1, 7) weekday;
