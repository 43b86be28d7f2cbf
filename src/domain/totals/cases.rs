//! Every worked case of the specification, from `tests/data/order_total_cases.json`.

use super::{order_total, refund};
use crate::domain::jsonb::read::Json;
use crate::domain::jsonb::write::tests::{stored, tree};
use serde_json::{Value, json};

const CASES: &str = include_str!("../../../tests/data/order_total_cases.json");

/// The result as a tree, or the error's message.
pub fn run(calculation: fn(&[u8]) -> Result<Vec<u8>, super::error::Fault>, input: &Value) -> Result<Value, String> {
    let bytes = calculation(&stored(input)[4..]).map_err(|fault| fault.to_string())?;
    Ok(tree(Json::new(&bytes[4..])))
}

/// Whether `whole` says everything that `part` says: of objects the fields, of arrays the elements in their order.
fn holds(whole: &Value, part: &Value) -> bool {
    match (whole, part) {
        (Value::Object(whole), Value::Object(part)) => {
            part.iter().all(|(key, value)| whole.get(key).is_some_and(|whole| holds(whole, value)))
        }
        (Value::Array(whole), Value::Array(part)) => {
            whole.len() == part.len() && whole.iter().zip(part).all(|(whole, part)| holds(whole, part))
        }
        _ => whole == part,
    }
}

/// What is wrong with one case.
fn failure(case: &Value) -> Option<String> {
    if case["kind"] == "refund" {
        let refunds = refunds(&case["input"]);
        return (refunds != case["expected"]["refunds_minor"]).then(|| refunds.to_string());
    }
    match run(order_total, &case["input"]) {
        Err(message) => {
            let code = case["expected"]["error"].as_str().unwrap_or("no error");
            (!message.starts_with(&format!("{code}: "))).then_some(message)
        }
        Ok(total) => {
            let right = holds(&total, &case["expected"])
                && case.get("expected_full").is_none_or(|full| *full == total)
                && case["expected"].get("error").is_none();
            (!right).then(|| total.to_string())
        }
    }
}

/// The returns of a line one after the other, as amounts of a currency without places.
fn refunds(input: &Value) -> Value {
    let (mut before, mut refunded) = (0, 0);
    let returns = input["returns"].as_array().expect("a list");
    let mut all = Vec::new();
    for back in returns {
        let back = (back.as_str().expect("a decimal").parse::<serde_json::Number>()).expect("a decimal");
        let units = crate::domain::decimal::Decimal::parse(back.to_string().as_bytes()).unwrap().units(5).unwrap();
        let mut quantity = Vec::new();
        crate::domain::decimal::write_units(&mut quantity, before, 5);
        let input = json!({"currency": "JPY", "lines": [{
            "id": "a", "quantity": input["quantity"], "net": input["component_minor"],
            "returned_before": String::from_utf8(quantity).unwrap(), "return_quantity": back,
            "refunded_before": {"net": refunded}}]});
        let result = run(refund, &input).unwrap();
        let now: i64 = result["lines"][0]["net"].as_str().unwrap().parse().unwrap();
        all.push(now);
        before += units;
        refunded += now;
    }
    json!(all)
}

#[test]
fn every_case_of_the_specification_comes_out() {
    let cases: Value = serde_json::from_str(CASES).unwrap();
    let cases = cases["cases"].as_array().unwrap();
    assert!(cases.len() >= 60, "the file has all its cases");
    let wrong: Vec<String> = cases
        .iter()
        .filter_map(|case| failure(case).map(|got| format!("{} {}: {got}", case["id"], case["title"])))
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_wrong_expectation_fails() {
    let case = json!({"kind": "derived", "input": {"currency": "USD"}, "expected": {"total": "0.01"}});
    assert!(failure(&case).is_some());
    let case = json!({"kind": "derived", "input": {"currency": "USD"}, "expected": {"error": "E_RANGE"}});
    assert!(failure(&case).is_some());
    let case = json!({"kind": "derived", "input": {"currency": "ZZZ"}, "expected": {}});
    assert!(failure(&case).is_some());
}
