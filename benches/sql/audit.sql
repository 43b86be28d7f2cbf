-- Orders of restaurants with all columns, checks and indexes, but without foreign keys and with all triggers off: the one
-- that is measured is switched on by its name.
CREATE PROCEDURE bench.create_orders(name text) LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format('CREATE TABLE bench.%I (LIKE restaurants.orders INCLUDING ALL)', name);
    EXECUTE format('ALTER TABLE bench.%I OWNER TO thorbis_owner', name);
    PERFORM thorbis.protect(format('bench.%I', name)::regclass, 'orders', '{
        "subject": {"kind": "customer", "column": "customer_id"},
        "pii": [
            {"column": "special_instructions", "method": "clear", "category": "health"},
            {"column": "metadata", "method": "clear"}
        ],
        "not_personal": ["order_type", "status", "items", "payment_method", "payment_status", "source", "void_reason"]
    }');
    EXECUTE format('ALTER TABLE bench.%I DISABLE TRIGGER ALL', name);
END
$$;
CALL bench.create_orders('orders');

-- {audited} orders of one tenant that are there, and as many that come, three lines each in `items`. An application
-- writes those of its own tenant only.
INSERT INTO bench.orders (tenant_id, order_number, table_number, status, items, subtotal, tax_amount, total_amount,
                          created_at, updated_at, guest_count, opened_at)
SELECT bench.tenant_id(42), n, 1 + n % 30, 'preparing', items, amount, amount / 10, amount + amount / 10, at, at, 1 + n % 6, at
FROM generate_series(1, 2 * {audited}) n,
     LATERAL (SELECT 5 + (n * 7919::bigint % 20000) / 100.0,
                     now() - interval '1 year' * (1 - n / (2.0 * {audited}))) o(amount, at),
     LATERAL (SELECT jsonb_agg(jsonb_build_object('menu_item_id', md5('dish ' || dish)::uuid, 'name', 'Dish number ' || dish,
                                                  'quantity', 1 + dish % 2, 'unit_price', 4.5 + dish))
              FROM generate_series(n % 80, n % 80 + 2) dish) lines(items);
CREATE TABLE bench.new_orders AS SELECT * FROM bench.orders WHERE order_number > {audited};
DELETE FROM bench.orders WHERE order_number > {audited};

-- What all tenants did before: so that the tenant's changes do not happen to come at the end of the log's indexes.
CREATE TABLE bench.earlier_changes AS SELECT * FROM audit.change_log WHERE table_name = 'shared.business_hours';

-- What a careful DBA would write: a log with the columns, partitions and indexes of ours, and one trigger function for all
-- tables whose key is an id within a tenant.
CREATE TABLE bench.change_log (LIKE audit.change_log INCLUDING ALL) PARTITION BY RANGE (occurred_at);
DO $$
DECLARE
    partition record;
BEGIN
    FOR partition IN
        SELECT replace(c.relname, 'change_log', 'log') AS name, pg_get_expr(c.relpartbound, c.oid) AS bounds
        FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid WHERE i.inhparent = 'audit.change_log'::regclass
    LOOP
        EXECUTE format('CREATE TABLE bench.%I PARTITION OF bench.change_log %s', partition.name, partition.bounds);
    END LOOP;
    -- Never asked for again.
    EXECUTE format('ALTER TABLE bench.change_log ALTER system_id SET DEFAULT %L, ALTER id SET DEFAULT gen_random_uuid()',
                   (SELECT system_identifier FROM pg_control_system()));
END
$$;

CREATE FUNCTION bench.log_change() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    old_row jsonb;
    new_row jsonb;
    tenant uuid;
    key text;
BEGIN
    IF TG_OP = 'INSERT' THEN
        new_row := to_jsonb(NEW);
        tenant := NEW.tenant_id;
        key := NEW.id;
    ELSE
        old_row := to_jsonb(OLD);
        tenant := OLD.tenant_id;
        key := OLD.id;
    END IF;
    IF TG_OP = 'UPDATE' THEN
        new_row := to_jsonb(NEW);
        SELECT jsonb_object_agg(o.key, o.value), jsonb_object_agg(o.key, new_row -> o.key) INTO old_row, new_row
        FROM jsonb_each(old_row) o
        WHERE o.value <> new_row -> o.key;
    END IF;
    INSERT INTO bench.change_log (tenant_id, occurred_at, transaction_id, table_name, operation, row_key, old_values,
                                  new_values, actor_id, session_role, database_role, application, client_address)
    VALUES (tenant, now(), pg_current_xact_id()::text::bigint, TG_TABLE_SCHEMA || '.' || TG_TABLE_NAME, TG_OP, key, old_row,
            new_row, get_current_user_id(), session_user, current_user,
            nullif(current_setting('application_name'), ''), inet_client_addr());
    RETURN NULL;
END
$$;

CREATE TRIGGER log_change AFTER INSERT OR UPDATE OR DELETE ON bench.orders
    FOR EACH ROW EXECUTE FUNCTION bench.log_change();
ALTER TABLE bench.orders DISABLE TRIGGER log_change;

-- For one-row inserts: without a log, with ours, with the other.
CALL bench.create_orders('orders_unlogged');
CALL bench.create_orders('orders_logged');
CALL bench.create_orders('orders_plpgsql');
INSERT INTO bench.orders_unlogged TABLE bench.orders;
INSERT INTO bench.orders_logged TABLE bench.orders;
INSERT INTO bench.orders_plpgsql TABLE bench.orders;
ALTER TABLE bench.orders_logged ENABLE ALWAYS TRIGGER audit_orders_logged_changes;
CREATE TRIGGER log_change AFTER INSERT OR UPDATE OR DELETE ON bench.orders_plpgsql
    FOR EACH ROW EXECUTE FUNCTION bench.log_change();

-- Truncates the partitions with rows, committed or not: there are many, most of them empty.
CREATE PROCEDURE bench.empty_log(log regclass) LANGUAGE plpgsql AS $$
DECLARE
    partition regclass;
BEGIN
    FOR partition IN SELECT inhrelid FROM pg_inherits WHERE inhparent = log AND pg_relation_size(inhrelid) > 0 LOOP
        EXECUTE format('TRUNCATE %s', partition);
    END LOOP;
END
$$;
