-- Exact totals of orders and refunds.

CREATE FUNCTION calculate_order_total(input jsonb) RETURNS jsonb
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'thorbis_calculate_order_total';
COMMENT ON FUNCTION calculate_order_total(jsonb) IS
'What an order comes to, exactly: no floating point, and each rounding is one of these rules. Numbers are JSON strings ("12.50") or JSON numbers; null is as if the key were absent.

Input: currency (ISO 4217, required), minor_unit (places of its amounts, 0 to 6; the currency''s own), rounding (half_even by default, half_up, down, up), tax_rounding_level (line by default, order), and
- lines: id, unit_price (at most 6 decimals, negative only if modifiers make up for it), quantity (1; above 0, below 100,000,000, at most 5 decimals), modifiers [{unit_price, quantity}], discounts and taxes (ids of scope line), tax_exempt (no tax of scope order), exempt_from (ids of taxes), exempt_from_discounts (ids). At most 2,500
- discounts: id, percent (0 to 100) or amount, scope (order by default, line). At most 100
- taxes: id, percent or per_unit (times quantity), inclusive (within the price; these come first), compound (taken of the net and all taxes before it), scope (order by default, line), rounding. At most 10 of an item
- service_charges: id, percent or amount, phase (subtotal by default: before taxes; total: after them, untaxed), base (post_discount by default, pre_discount), taxable (by all percentages of scope order) or taxes (ids)
- tip: percent or amount, base (post_discount by default, pre_discount, total)
- cash_rounding: increment, mode (half_up by default).

Steps: gross of each line, rounded once; discounts, each of what is left: percent of lines, percent of the order, amounts off lines, amounts off the order, in the order given; charges of phase subtotal; taxes, rounded for each item or (level order) once for each tax; charges of phase total; tip; cash. What is taken from or rounded for the whole order is shared out by largest remainder, ties to the first line. Inclusive prices are never changed by rounding.

Output, amounts as strings with the places of the currency: currency, lines [{id, gross, discount, net, tax_inclusive, tax_additive, total, discounts {id: amount}, taxes {id: amount}}], service_charges [{id, amount, taxes}], discounts, taxes, subtotal, discount_total, service_charge_total, tax_inclusive_total, tax_additive_total, tax_total, tip, total, and with cash_rounding also cash_rounding (the difference) and cash_total. net is after discounts and without inclusive taxes; total = subtotal - discount_total + service_charge_total + tax_additive_total + tip.

Example:

    SELECT calculate_order_total(''{"currency": "EUR", "lines": [{"id": "pizza", "unit_price": "12.50", "quantity": 2}], "discounts": [{"id": "lunch", "percent": 10}], "taxes": [{"id": "vat", "percent": 7}]}'') ->> ''total''; -- 24.08

Errors: SQLSTATE 22023, 22003 for E_RANGE, with code, rule and path in the message (E_SCALE: ..., at lines[3].quantity): E_CURRENCY, E_MINOR_UNIT, E_ROUNDING_MODE, E_TAX_LEVEL, E_TOO_MANY_LINES, E_TOO_MANY_DISCOUNTS, E_TOO_MANY_TAXES, E_ID_MISSING, E_ID_DUPLICATE, E_NOT_A_NUMBER, E_FLOAT_NOT_ALLOWED (an exponent), E_SCALE (too many decimals), E_PERCENT_XOR_AMOUNT, E_PERCENT_XOR_PER_UNIT, E_PERCENT_RANGE, E_NEGATIVE_AMOUNT, E_NEGATIVE_PRICE, E_COMPOUND_PER_UNIT, E_SCOPE, E_INCLUSIVE_AFTER_ADDITIVE, E_QUANTITY, E_RANGE (subtotal or total above 9,999,999,999 minor units, a quantity of 100,000,000, a number of more than 18 digits), E_UNKNOWN_TAX, E_UNKNOWN_DISCOUNT, E_PHASE, E_TOTAL_PHASE_TAXED, E_BASE, E_UNKNOWN_KEY, E_TYPE (wrong type of JSON value).';
REVOKE ALL ON FUNCTION calculate_order_total(jsonb) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION calculate_order_total(jsonb)
    TO thorbis_owner, thorbis_gateway, thorbis_app, thorbis_platform, thorbis_auditor;

CREATE FUNCTION calculate_refund(input jsonb) RETURNS jsonb
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'thorbis_calculate_refund';
COMMENT ON FUNCTION calculate_refund(jsonb) IS
'What is paid back when part of an order comes back. Each amount of a line is refunded pro rata of all that came back so far, less what was refunded before: round(amount x (returned_before + return_quantity) / quantity) - refunded_before. So the pieces, however they are split, are together exactly what was paid.

Input: currency (required), minor_unit, rounding (half_even by default; take that of the order), and
- lines: id, quantity (sold; 1), returned_before (0), return_quantity (0), net, discount and taxes {id: amount} as calculate_order_total returned them for the line, refunded_before {net, discount, taxes {id: amount}}, the sums of earlier refunds. A charge of phase subtotal is such a line of quantity 1: its amount without inclusive taxes is the net
- amounts, what is refunded by amount, as a tip and charges of phase total: id, amount (paid), refunded_before (0), refund (0).

Output, amounts as strings: currency, lines [{id, net, discount, taxes {id: amount}, total}], amounts [{id, refund}], net, discount (of which less is now granted), taxes {id: amount}, tax_total, total. A line''s total is what is paid back for it: net and taxes, inclusive ones among them. A refund is never negative.

Example:

    SELECT calculate_refund(''{"currency": "EUR", "lines": [{"id": "pizza", "quantity": 2, "return_quantity": 1, "net": "22.50", "discount": "2.50", "taxes": {"vat": "1.58"}}]}'') ->> ''total''; -- 12.04

Errors as calculate_order_total has them, and E_RETURN_QTY: more comes back than was sold, or more would be refunded than was paid.';
REVOKE ALL ON FUNCTION calculate_refund(jsonb) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION calculate_refund(jsonb)
    TO thorbis_owner, thorbis_gateway, thorbis_app, thorbis_platform, thorbis_auditor;
