//! Every E_ code of the specification: its SQLSTATE, the rule and the path in the message, and a hint.

use serde_json::{Value, json};
use std::collections::BTreeSet;
use thorbis_tests::{Database, db_error, ok};

/// The codes of the specification, in its order, and two that it needs besides: for keys and for types.
const CODES: [&str; 30] = [
    "E_CURRENCY",
    "E_MINOR_UNIT",
    "E_ROUNDING_MODE",
    "E_TAX_LEVEL",
    "E_TOO_MANY_LINES",
    "E_TOO_MANY_DISCOUNTS",
    "E_TOO_MANY_TAXES",
    "E_ID_MISSING",
    "E_ID_DUPLICATE",
    "E_NOT_A_NUMBER",
    "E_FLOAT_NOT_ALLOWED",
    "E_SCALE",
    "E_PERCENT_XOR_AMOUNT",
    "E_PERCENT_XOR_PER_UNIT",
    "E_PERCENT_RANGE",
    "E_NEGATIVE_AMOUNT",
    "E_NEGATIVE_PRICE",
    "E_COMPOUND_PER_UNIT",
    "E_SCOPE",
    "E_INCLUSIVE_AFTER_ADDITIVE",
    "E_QUANTITY",
    "E_RANGE",
    "E_UNKNOWN_TAX",
    "E_UNKNOWN_DISCOUNT",
    "E_PHASE",
    "E_TOTAL_PHASE_TAXED",
    "E_BASE",
    "E_RETURN_QTY",
    "E_UNKNOWN_KEY",
    "E_TYPE",
];

/// A valid order with one key changed: (code, path in the message, key, value).
fn broken_keys() -> Vec<(&'static str, &'static str, &'static str, Value)> {
    let line = |key: &str, value: Value| {
        let mut line = json!({"id": "a", "unit_price": "1.00"});
        line[key] = value;
        json!([line])
    };
    let many = |count: usize, of: &dyn Fn(usize) -> Value| (0..count).map(of).collect::<Value>();
    vec![
        ("E_CURRENCY", "currency", "currency", json!("ZZZ")),
        ("E_CURRENCY", "currency", "currency", json!("eur")),
        ("E_CURRENCY", "currency", "currency", json!(978)),
        ("E_CURRENCY", "currency", "currency", Value::Null),
        ("E_MINOR_UNIT", "minor_unit", "minor_unit", json!(7)),
        ("E_MINOR_UNIT", "minor_unit", "minor_unit", json!(-1)),
        ("E_MINOR_UNIT", "minor_unit", "minor_unit", json!("2.5")),
        ("E_MINOR_UNIT", "minor_unit", "currency", json!("XAU")),
        ("E_ROUNDING_MODE", "rounding", "rounding", json!("half_down")),
        ("E_ROUNDING_MODE", "taxes[0].rounding", "taxes", json!([{"id": "t", "percent": 1, "rounding": "HALF_UP"}])),
        ("E_ROUNDING_MODE", "cash_rounding.mode", "cash_rounding", json!({"increment": "0.05", "mode": "x"})),
        ("E_TAX_LEVEL", "tax_rounding_level", "tax_rounding_level", json!("item")),
        ("E_TOO_MANY_LINES", "lines", "lines", many(2501, &|i| json!({"id": i.to_string(), "unit_price": 1}))),
        ("E_TOO_MANY_DISCOUNTS", "discounts", "discounts", many(101, &|i| json!({"id": i.to_string(), "percent": 1}))),
        ("E_TOO_MANY_TAXES", "lines[0].taxes", "taxes", many(11, &|i| json!({"id": i.to_string(), "percent": 1}))),
        ("E_ID_MISSING", "lines[0].id", "lines", json!([{"unit_price": "1"}])),
        ("E_ID_MISSING", "discounts[0].id", "discounts", json!([{"id": "", "percent": 1}])),
        ("E_ID_MISSING", "service_charges[0].id", "service_charges", json!([{"percent": 1}])),
        (
            "E_ID_DUPLICATE",
            "lines[2].id",
            "lines",
            json!([{"id": "a", "unit_price": 1}, {"id": "b", "unit_price": 1}, {"id": "a", "unit_price": 1}]),
        ),
        ("E_ID_DUPLICATE", "taxes[1].id", "taxes", json!([{"id": "t", "percent": 1}, {"id": "t", "percent": 2}])),
        ("E_ID_DUPLICATE", "lines[0].exempt_from[1]", "lines", line("exempt_from", json!(["t", "t"]))),
        ("E_NOT_A_NUMBER", "lines[0].unit_price", "lines", line("unit_price", json!("NaN"))),
        ("E_NOT_A_NUMBER", "lines[0].unit_price", "lines", line("unit_price", json!("Infinity"))),
        ("E_NOT_A_NUMBER", "lines[0].unit_price", "lines", line("unit_price", json!("1,50"))),
        ("E_NOT_A_NUMBER", "lines[0].unit_price", "lines", line("unit_price", json!(true))),
        ("E_NOT_A_NUMBER", "lines[0].unit_price", "lines", json!([{"id": "a"}])),
        ("E_FLOAT_NOT_ALLOWED", "lines[0].unit_price", "lines", line("unit_price", json!("1e2"))),
        ("E_FLOAT_NOT_ALLOWED", "discounts[0].percent", "discounts", json!([{"id": "d", "percent": "5E-1"}])),
        ("E_SCALE", "lines[0].quantity", "lines", line("quantity", json!("0.000001"))),
        ("E_SCALE", "lines[0].unit_price", "lines", line("unit_price", json!("0.0000001"))),
        ("E_SCALE", "discounts[0].amount", "discounts", json!([{"id": "d", "amount": "0.005"}])),
        ("E_SCALE", "discounts[0].percent", "discounts", json!([{"id": "d", "percent": "0.0000001"}])),
        ("E_PERCENT_XOR_AMOUNT", "discounts[0]", "discounts", json!([{"id": "d", "percent": 1, "amount": 1}])),
        ("E_PERCENT_XOR_AMOUNT", "service_charges[0]", "service_charges", json!([{"id": "c"}])),
        ("E_PERCENT_XOR_AMOUNT", "tip", "tip", json!({})),
        ("E_PERCENT_XOR_PER_UNIT", "taxes[0]", "taxes", json!([{"id": "t", "percent": 1, "per_unit": 1}])),
        ("E_PERCENT_XOR_PER_UNIT", "taxes[0]", "taxes", json!([{"id": "t"}])),
        ("E_PERCENT_RANGE", "discounts[0].percent", "discounts", json!([{"id": "d", "percent": "100.01"}])),
        ("E_PERCENT_RANGE", "taxes[0].percent", "taxes", json!([{"id": "t", "percent": -1}])),
        ("E_NEGATIVE_AMOUNT", "tip.amount", "tip", json!({"amount": "-1"})),
        ("E_NEGATIVE_AMOUNT", "taxes[0].per_unit", "taxes", json!([{"id": "t", "per_unit": "-1"}])),
        ("E_NEGATIVE_PRICE", "lines[0].unit_price", "lines", line("unit_price", json!("-0.01"))),
        ("E_NEGATIVE_PRICE", "lines[0].unit_price", "lines", line("modifiers", json!([{"unit_price": "-1.01"}]))),
        ("E_COMPOUND_PER_UNIT", "taxes[0].compound", "taxes", json!([{"id": "t", "per_unit": 1, "compound": true}])),
        ("E_SCOPE", "taxes[0].scope", "taxes", json!([{"id": "t", "percent": 1, "scope": "item"}])),
        ("E_SCOPE", "lines[0].taxes[0]", "lines", line("taxes", json!(["t"]))),
        (
            "E_INCLUSIVE_AFTER_ADDITIVE",
            "taxes[1]",
            "taxes",
            json!([{"id": "t", "percent": 1}, {"id": "u", "percent": 1, "inclusive": true}]),
        ),
        ("E_QUANTITY", "lines[0].quantity", "lines", line("quantity", json!(0))),
        ("E_QUANTITY", "lines[0].quantity", "lines", line("quantity", json!("-1"))),
        (
            "E_QUANTITY",
            "lines[0].modifiers[0].quantity",
            "lines",
            line("modifiers", json!([{"unit_price": 1, "quantity": 0}])),
        ),
        ("E_RANGE", "lines[0].quantity", "lines", line("quantity", json!("100000000"))),
        ("E_RANGE", "lines[0]", "lines", line("unit_price", json!("100000000.00"))),
        ("E_RANGE", "lines[0].unit_price", "lines", line("unit_price", json!("1234567890123456789"))),
        (
            "E_RANGE",
            "the input",
            "lines",
            json!([{"id": "a", "unit_price": "99999999.99"}, {"id": "b", "unit_price": "0.01"}]),
        ),
        ("E_RANGE", "the input", "tip", json!({"amount": "99999999.99"})),
        ("E_RANGE", "cash_rounding.increment", "cash_rounding", json!({"increment": 0})),
        ("E_UNKNOWN_TAX", "lines[0].taxes[0]", "lines", line("taxes", json!(["x"]))),
        (
            "E_UNKNOWN_TAX",
            "service_charges[0].taxes[0]",
            "service_charges",
            json!([{"id": "c", "amount": 1, "taxes": ["x"]}]),
        ),
        ("E_UNKNOWN_DISCOUNT", "lines[0].discounts[0]", "lines", line("discounts", json!(["x"]))),
        (
            "E_UNKNOWN_DISCOUNT",
            "lines[0].exempt_from_discounts[0]",
            "lines",
            line("exempt_from_discounts", json!(["x"])),
        ),
        ("E_PHASE", "service_charges[0].phase", "service_charges", json!([{"id": "c", "amount": 1, "phase": "tax"}])),
        (
            "E_TOTAL_PHASE_TAXED",
            "service_charges[0].taxable",
            "service_charges",
            json!([{"id": "c", "amount": 1, "phase": "total", "taxable": true}]),
        ),
        (
            "E_TOTAL_PHASE_TAXED",
            "service_charges[0].taxes",
            "service_charges",
            json!([{"id": "c", "amount": 1, "phase": "total", "taxes": ["t"]}]),
        ),
        ("E_BASE", "tip.base", "tip", json!({"percent": 1, "base": "gross"})),
        ("E_BASE", "service_charges[0].base", "service_charges", json!([{"id": "c", "percent": 1, "base": "total"}])),
        ("E_UNKNOWN_KEY", "colour", "colour", json!("red")),
        ("E_UNKNOWN_KEY", "lines[0].name", "lines", line("name", json!("red"))),
        (
            "E_UNKNOWN_KEY",
            "lines[0].modifiers[1].id",
            "lines",
            line("modifiers", json!([{"unit_price": 1}, {"unit_price": 1, "id": 1}])),
        ),
        ("E_UNKNOWN_KEY", "tip.taxable", "tip", json!({"amount": 1, "taxable": true})),
        ("E_TYPE", "lines", "lines", json!({})),
        ("E_TYPE", "lines[0]", "lines", json!([[]])),
        ("E_TYPE", "lines[0].id", "lines", json!([{"id": 7, "unit_price": 1}])),
        ("E_TYPE", "lines[0].tax_exempt", "lines", line("tax_exempt", json!("yes"))),
        ("E_TYPE", "lines[0].taxes[0]", "lines", line("taxes", json!([7]))),
    ]
}

/// Inputs that are wrong as a whole or concern refunds.
fn broken_inputs() -> Vec<(&'static str, &'static str, &'static str, Value)> {
    let returned = |now: &str| json!({"currency": "EUR", "lines": [{"id": "a", "quantity": 2, "returned_before": 1, "return_quantity": now}]});
    let refunded = json!({"currency": "EUR", "lines": [{"id": "a", "net": 1, "refunded_before": {"net": 2}}]});
    let amount =
        json!({"currency": "EUR", "amounts": [{"id": "tip", "amount": 5, "refunded_before": 4, "refund": "1.01"}]});
    let tax = json!({"currency": "EUR", "lines": [{"id": "a", "refunded_before": {"taxes": {"vat": 1}}}]});
    vec![
        ("calculate_order_total", "E_TYPE", "the input", json!([])),
        ("calculate_order_total", "E_TYPE", "the input", json!("order")),
        ("calculate_refund", "E_TYPE", "the input", json!(null)),
        ("calculate_refund", "E_CURRENCY", "currency", json!({})),
        ("calculate_refund", "E_RETURN_QTY", "lines[0].return_quantity", returned("1.00001")),
        ("calculate_refund", "E_QUANTITY", "lines[0].return_quantity", returned("-1")),
        ("calculate_refund", "E_RETURN_QTY", "lines[0].refunded_before.net", refunded),
        ("calculate_refund", "E_RETURN_QTY", "amounts[0].refund", amount),
        ("calculate_refund", "E_UNKNOWN_TAX", "lines[0].refunded_before.taxes.vat", tax),
        (
            "calculate_refund",
            "E_UNKNOWN_KEY",
            "lines[0].unit_price",
            json!({"currency": "EUR", "lines": [{"id": "a", "unit_price": 1}]}),
        ),
    ]
}

#[test]
fn every_code_is_raised_where_its_rule_is_broken() {
    let order =
        json!({"currency": "EUR", "lines": [{"id": "a", "unit_price": "1.00"}], "taxes": [{"id": "t", "percent": 10}]});
    let mut client = Database::untouched().app();
    ok(client.query_one("SELECT calculate_order_total($1)", &[&order]));
    let orders = broken_keys().into_iter().map(|(code, path, key, value)| {
        let mut broken = order.clone();
        broken[key] = value;
        ("calculate_order_total", code, path, broken)
    });
    let mut raised = BTreeSet::new();
    for (function, code, path, input) in orders.chain(broken_inputs()) {
        let error = db_error(client.query_one(&format!("SELECT {function}($1)"), &[&input]));
        let said = format!("{input:.200}: {}", error.message());
        assert!(error.message().starts_with(&format!("{code}: ")), "{code}, {said}");
        assert!(error.message().ends_with(&format!(", at {path}")), "{path}, {said}");
        assert_eq!(error.code().code(), if code == "E_RANGE" { "22003" } else { "22023" }, "{said}");
        assert!(error.hint().is_some_and(|hint| !hint.is_empty()), "{said}");
        raised.insert(code);
    }
    assert_eq!(raised, BTreeSet::from(CODES), "each code is tried");
}

#[test]
fn unknown_keys_are_shown_in_part() {
    let order = json!({"currency": "EUR", "lines": [], ("\u{e9}".repeat(1_000_000)): 1});
    let error = db_error(Database::untouched().app().query_one("SELECT calculate_order_total($1)", &[&order]));
    assert_eq!(error.message(), format!("E_UNKNOWN_KEY: unknown key, at {}", "\u{e9}".repeat(64)));
}

/// Whoever reads the function's comment finds each code.
#[test]
fn every_code_is_documented() {
    let sql = "SELECT string_agg(obj_description(oid), ' ') FROM pg_proc WHERE proname IN ('calculate_order_total', 'calculate_refund')";
    let comment: String = thorbis_tests::one(&mut Database::untouched().superuser(), sql, &[]);
    let missing: Vec<&str> = CODES.into_iter().filter(|code| !comment.contains(code)).collect();
    assert!(missing.is_empty(), "{missing:?}");
}
