//! `calculate_refund()`: what comes back in any pieces is together what was paid.

use serde_json::{Value, json};
use thorbis_tests::{Database, ok, one};

const CASES: &str = include_str!("data/order_total_cases.json");

fn refund(client: &mut postgres::Client, input: &Value) -> Value {
    ok(client.query_one("SELECT calculate_refund($1)", &[input])).get(0)
}

fn cents(amount: &Value) -> i64 {
    amount.as_str().expect("an amount is a text").replace('.', "").parse().expect("an amount")
}

#[test]
fn the_worked_cases_come_out() {
    let cases: Value = serde_json::from_str(CASES).expect("the file is JSON");
    let mut client = Database::untouched().app();
    let mut run = 0;
    for case in cases["cases"].as_array().expect("a list").iter().filter(|case| case["kind"] == "refund") {
        let input = &case["input"];
        let mut refunded = 0;
        let mut refunds = Vec::new();
        let returns = input["returns"].as_array().expect("a list");
        for (place, back) in returns.iter().enumerate() {
            let before: String = one(
                &mut client,
                "SELECT coalesce(sum(q::numeric), 0)::text FROM jsonb_array_elements_text($1) q",
                &[&json!(returns[..place])],
            );
            let result = refund(
                &mut client,
                &json!({"currency": "JPY", "lines": [{
                    "id": "a", "quantity": input["quantity"], "net": input["component_minor"],
                    "returned_before": before, "return_quantity": back, "refunded_before": {"net": refunded}}]}),
            );
            let now = cents(&result["total"]);
            refunded += now;
            refunds.push(now);
        }
        assert_eq!(json!(refunds), case["expected"]["refunds_minor"], "{}", case["id"]);
        run += 1;
    }
    assert!(run >= 2, "the file has its refunds");
}

/// An order, its lines returned in pieces, in two rounding modes: nothing is left and nothing is too much.
#[test]
fn all_pieces_together_are_what_was_paid() {
    let mut client = Database::untouched().app();
    for (rounding, pieces) in [("half_even", vec!["1"; 7]), ("up", vec!["0.5", "3", "0.00001", "3.49999"])] {
        let order = json!({
            "currency": "EUR", "rounding": rounding,
            "lines": [{"id": "a", "unit_price": "3.33", "quantity": 7}, {"id": "b", "unit_price": "1.99", "quantity": 7}],
            "discounts": [{"id": "d", "percent": "12.5"}],
            "taxes": [{"id": "in", "percent": 7, "inclusive": true}, {"id": "on", "percent": "3.3"}],
        });
        let total: Value = ok(client.query_one("SELECT calculate_order_total($1)", &[&order])).get(0);
        let sold = total["lines"].as_array().expect("lines");
        let mut before =
            vec![json!({"net": "0.00", "discount": "0.00", "taxes": {"in": "0.00", "on": "0.00"}}); sold.len()];
        let mut returned = "0".to_owned();
        let mut paid_back = 0;
        for back in pieces {
            let lines: Vec<Value> = sold
                .iter()
                .zip(&before)
                .map(|(line, before)| {
                    json!({"id": line["id"], "quantity": 7, "returned_before": returned, "return_quantity": back,
                           "net": line["net"], "discount": line["discount"], "taxes": line["taxes"],
                           "refunded_before": before})
                })
                .collect();
            let result = refund(&mut client, &json!({"currency": "EUR", "rounding": rounding, "lines": lines}));
            assert_eq!(cents(&result["total"]), cents(&result["net"]) + cents(&result["tax_total"]));
            paid_back += cents(&result["total"]);
            for (line, before) in result["lines"].as_array().expect("lines").iter().zip(&mut before) {
                let add = |sum: &mut Value, now: &Value| {
                    let cents = cents(sum) + cents(now);
                    *sum = json!(format!("{}.{:02}", cents / 100, cents % 100));
                };
                for key in ["net", "discount"] {
                    add(&mut before[key], &line[key]);
                }
                for tax in ["in", "on"] {
                    add(&mut before["taxes"][tax], &line["taxes"][tax]);
                }
            }
            returned = one(&mut client, "SELECT ($1::text::numeric + $2::text::numeric)::text", &[&returned, &back]);
        }
        for (line, before) in sold.iter().zip(&before) {
            assert_eq!(
                [&line["net"], &line["discount"], &line["taxes"]],
                [&before["net"], &before["discount"], &before["taxes"]]
            );
        }
        assert_eq!(paid_back, cents(&total["total"]));
    }
}

#[test]
fn charges_and_tips_are_refunded_as_asked() {
    let mut client = Database::untouched().app();
    let input = json!({
        "currency": "KWD",
        "lines": [{"id": "service", "net": "2.000", "taxes": {"vat": "0.100"}, "return_quantity": "0.25"}],
        "amounts": [{"id": "tip", "amount": "5", "refunded_before": "1.5", "refund": "3.5"}, {"id": "card fee", "amount": "1"}],
    });
    let expected = json!({
        "currency": "KWD",
        "lines": [{"id": "service", "net": "0.500", "discount": "0.000", "taxes": {"vat": "0.025"}, "total": "0.525"}],
        "amounts": [{"id": "tip", "refund": "3.500"}, {"id": "card fee", "refund": "0.000"}],
        "net": "0.500", "discount": "0.000", "taxes": {"vat": "0.025"}, "tax_total": "0.025", "total": "4.025",
    });
    assert_eq!(refund(&mut client, &input), expected);
    assert_eq!(one::<Option<Value>>(&mut client, "SELECT calculate_refund(NULL)", &[]), None);
}

#[test]
fn nothing_returned_refunds_nothing() {
    let mut client = Database::untouched().app();
    let result =
        refund(&mut client, &json!({"currency": "EUR", "lines": [{"id": "a", "net": 10, "taxes": {"b": 1, "aa": 2}}]}));
    assert_eq!(result["total"], "0.00");
    assert_eq!(result["taxes"], json!({"b": "0.00", "aa": "0.00"}));
    let same: bool = one(
        &mut client,
        "SELECT record_image_eq(ROW (r), ROW (r::text::jsonb)) FROM (SELECT calculate_refund($1) OFFSET 0) t(r)",
        &[
            &json!({"currency": "EUR", "lines": [{"id": "a", "net": 10, "taxes": {"b": 1, "aa": 2}}, {"id": "b", "taxes": {"c": 1}}]}),
        ],
    );
    assert!(same, "stored as PostgreSQL stores jsonb");
}
