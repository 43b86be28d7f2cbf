-- Point reads without a client: the plan of each query is kept as a prepared statement's is. They run as the caller.

CREATE FUNCTION bench.read(ids uuid[], times integer) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    wanted uuid;
    found_order record;
BEGIN
    FOR i IN 1..times LOOP
        FOREACH wanted IN ARRAY ids LOOP
            SELECT order_number, status, total_amount INTO STRICT found_order
            FROM restaurants.orders WHERE id = wanted;
        END LOOP;
    END LOOP;
END
$$;

CREATE FUNCTION bench.read_by_hand(tenant uuid, ids uuid[], times integer) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    wanted uuid;
    found_order record;
BEGIN
    FOR i IN 1..times LOOP
        FOREACH wanted IN ARRAY ids LOOP
            SELECT order_number, status, total_amount INTO STRICT found_order
            FROM restaurants.orders WHERE tenant_id = tenant AND id = wanted;
        END LOOP;
    END LOOP;
END
$$;
