-- The simplest order there is, one additive tax and no discount, in PL/pgSQL: exact as well, without checks of its input.
-- It returns what calculate_order_total() returns for such an order.

CREATE FUNCTION bench.order_total(input jsonb) RETURNS jsonb LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
DECLARE
    tax_id text := input #>> '{taxes,0,id}';
    rate numeric := (input #>> '{taxes,0,percent}')::numeric / 100;
    line jsonb;
    gross numeric;
    tax numeric;
    lines jsonb[] := '{}';
    subtotal numeric := 0.00;
    tax_total numeric := 0.00;
BEGIN
    FOR line IN SELECT value FROM jsonb_array_elements(input -> 'lines') LOOP
        gross := round((line ->> 'unit_price')::numeric * (line ->> 'quantity')::numeric, 2);
        tax := round(gross * rate, 2);
        lines := lines || jsonb_build_object(
            'id', line ->> 'id', 'gross', gross::text, 'discount', '0.00', 'net', gross::text,
            'tax_inclusive', '0.00', 'tax_additive', tax::text, 'total', (gross + tax)::text,
            'discounts', '{}'::jsonb, 'taxes', jsonb_build_object(tax_id, tax::text));
        subtotal := subtotal + gross;
        tax_total := tax_total + tax;
    END LOOP;
    RETURN jsonb_build_object(
        'currency', input ->> 'currency', 'lines', to_jsonb(lines), 'service_charges', '[]'::jsonb,
        'discounts', '{}'::jsonb, 'taxes', jsonb_build_object(tax_id, tax_total::text),
        'subtotal', subtotal::text, 'discount_total', '0.00', 'service_charge_total', '0.00',
        'tax_inclusive_total', '0.00', 'tax_additive_total', tax_total::text, 'tax_total', tax_total::text,
        'tip', '0.00', 'total', (subtotal + tax_total)::text);
END;
$$;

-- Some orders of each size, in the row: fetching them costs neither contender anything.
CREATE TABLE bench.order_inputs (lines integer NOT NULL, input jsonb NOT NULL);
ALTER TABLE bench.order_inputs ALTER COLUMN input SET STORAGE EXTERNAL;
INSERT INTO bench.order_inputs
SELECT size, jsonb_build_object(
           'currency', 'USD', 'rounding', 'half_up', 'taxes', '[{"id": "vat", "percent": "19"}]'::jsonb,
           'lines', (SELECT jsonb_agg(jsonb_build_object('id', 'line-' || i, 'quantity', (1 + (n + i) % 3)::text,
                                                         'unit_price', ((100 + (n * 7919 + i * 104729) % 9900) / 100.0)::numeric(10, 2)::text))
                       FROM generate_series(1, size) i))
  FROM unnest('{1,5,50,500}'::int[]) size, generate_series(1, {order_lines} / size) n;
