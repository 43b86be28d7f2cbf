//! `calculate_order_total()` through SQL: every worked case of the specification, and what a function of the database must
//! be besides.

use serde_json::{Value, json};
use thorbis_tests::{Database, assert_sqlstate, db_error, force_parallel, ok, one};

const CASES: &str = include_str!("data/order_total_cases.json");

fn calculate(client: &mut postgres::Client, input: &Value) -> Result<Value, postgres::Error> {
    client.query_one("SELECT calculate_order_total($1)", &[input]).map(|row| row.get(0))
}

#[test]
fn every_worked_case_comes_out() {
    let cases: Value = serde_json::from_str(CASES).expect("the file is JSON");
    let cases = cases["cases"].as_array().expect("a list of cases");
    let mut client = Database::untouched().app();
    let (mut totals, mut errors) = (0, 0);
    for case in cases.iter().filter(|case| case["kind"] != "refund") {
        let name = format!("{} {}", case["id"], case["title"]);
        let result = calculate(&mut client, &case["input"]);
        let Some(code) = case["expected"]["error"].as_str() else {
            assert_holds(&name, &ok(result), case);
            totals += 1;
            continue;
        };
        let error = db_error(result);
        assert!(error.message().starts_with(&format!("{code}: ")), "{name}: {}", error.message());
        errors += 1;
    }
    assert!(totals >= 47 && errors >= 11, "{totals} totals, {errors} errors: the file has all its cases");
}

/// `expected` is what the source says, part of the output; `expected_full` is all of it.
#[track_caller]
fn assert_holds(name: &str, total: &Value, case: &Value) {
    assert!(holds(total, &case["expected"]), "{name}: {total:#} does not hold {:#}", case["expected"]);
    if let Some(full) = case.get("expected_full") {
        assert_eq!(total, full, "{name}");
    }
}

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

/// The bytes it writes are those PostgreSQL would write for the same text: equal values are equal in every way, also in
/// an index, and every operator finds its way in them.
#[test]
fn the_result_is_stored_as_postgresql_stores_jsonb() {
    let cases: Value = serde_json::from_str(CASES).expect("the file is JSON");
    let mut client = Database::untouched().app();
    let large = json!({"currency": "EUR", "taxes": [{"id": "vat", "percent": 20}],
                       "lines": (0..500).map(|i| json!({"id": format!("line {i}"), "unit_price": i})).collect::<Vec<_>>()});
    let inputs = cases["cases"].as_array().expect("a list").iter().filter(|case| case["kind"] != "refund");
    let inputs = inputs.filter(|case| case["expected"].get("error").is_none()).map(|case| &case["input"]);
    for input in inputs.chain([&large]) {
        let same: bool = one(
            &mut client,
            "SELECT record_image_eq(ROW (total), ROW (total::text::jsonb))
               FROM (SELECT calculate_order_total($1) OFFSET 0) t(total)",
            &[input],
        );
        assert!(same, "{input}");
    }
}

#[test]
fn numbers_are_exact_however_they_are_stored() {
    let mut client = Database::untouched().app();
    let order = |price: &str, quantity: &str| {
        format!(
            r#"{{"currency": "USD", "lines": [{{"id": "a", "unit_price": {price}, "quantity": {quantity}}}],
                "taxes": [{{"id": "t", "percent": {price}}}]}}"#
        )
    };
    let total = |client: &mut postgres::Client, input: String| -> String {
        one(client, "SELECT calculate_order_total($1::text::jsonb)::text", &[&input])
    };
    for (price, quantity) in
        [("0", "1"), ("0.000001", "99999999.99999"), ("7.25", "3"), ("10.10", "0.00001"), ("19.99", "12.5")]
    {
        let numbers = total(&mut client, order(price, quantity));
        let texts = total(&mut client, order(&format!("\"{price}\""), &format!("\"{quantity}\"")));
        let dot = if price.contains('.') { "" } else { "." };
        let longer = total(&mut client, order(&format!("{price}{dot}000"), quantity));
        assert_eq!(numbers, texts);
        assert_eq!(numbers, longer);
    }
    // What jsonb reads without an exponent is a number like any other.
    assert_eq!(total(&mut client, order("1e1", "1")), total(&mut client, order("10", "1")));
    // Both signs and both forms in which a numeric is stored.
    let mixed = r#"{"currency": "CLP", "lines": [{"id": "a", "unit_price": 123456789.5,
                    "modifiers": [{"unit_price": -123456000.25, "quantity": 1.0}]}]}"#;
    assert!(total(&mut client, mixed.into()).contains(r#""total": "789""#));
}

#[test]
fn null_stays_null_and_absent_keys_may_be_null() {
    let mut client = Database::untouched().app();
    assert_eq!(one::<Option<Value>>(&mut client, "SELECT calculate_order_total(NULL)", &[]), None);
    let plain = json!({"currency": "EUR"});
    let nulls = json!({"currency": "EUR", "minor_unit": null, "lines": null, "tip": null, "cash_rounding": null});
    assert_eq!(ok(calculate(&mut client, &plain)), ok(calculate(&mut client, &nulls)));
}

#[test]
fn it_is_declared_as_what_it_is() {
    let mut client = Database::untouched().superuser();
    for function in ["calculate_order_total(jsonb)", "calculate_refund(jsonb)"] {
        let sql = "SELECT provolatile = 'i' AND proisstrict AND proparallel = 's' AND NOT prosecdef
                     FROM pg_proc WHERE oid = $1::text::regprocedure";
        assert!(one::<bool>(&mut client, sql, &[&function]), "{function}");
    }
    // So it may stand in an index and in a generated column.
    ok(client.batch_execute(
        "BEGIN;
         CREATE TEMPORARY TABLE t (input jsonb, total text GENERATED ALWAYS AS (calculate_order_total(input) ->> 'total') STORED);
         CREATE INDEX ON t ((calculate_order_total(input) -> 'lines'));
         INSERT INTO t VALUES ('{\"currency\": \"EUR\"}');
         ROLLBACK",
    ));
}

#[test]
fn only_our_roles_may_call_it() {
    let db = Database::untouched();
    for function in ["calculate_order_total", "calculate_refund"] {
        let call = format!("SELECT {function}('{{\"currency\": \"EUR\"}}')");
        ok(db.app_only().batch_execute(&call));
        assert_sqlstate(db.connect_as("stranger_login").batch_execute(&call), "42501");
    }
}

/// Values that are compressed, stored elsewhere, or read by a parallel worker.
#[test]
fn stored_orders_are_read_wherever_they_are() {
    let db = Database::new();
    let mut client = db.superuser();
    ok(client.batch_execute(
        "CREATE TABLE plain (input jsonb); CREATE TABLE compressed (input jsonb); CREATE TABLE outside (input jsonb);
         ALTER TABLE plain ALTER input SET STORAGE PLAIN;
         ALTER TABLE outside ALTER input SET STORAGE EXTERNAL;
         INSERT INTO plain SELECT jsonb_build_object('currency', 'EUR', 'lines', (
             SELECT jsonb_agg(jsonb_build_object('id', 'line ' || i, 'unit_price', i)) FROM generate_series(1, n) i))
           FROM generate_series(1, 100) n;
         INSERT INTO compressed TABLE plain; INSERT INTO outside TABLE plain; ANALYZE",
    ));
    let large: bool =
        one(&mut client, "SELECT pg_relation_size(reltoastrelid) > 0 FROM pg_class WHERE relname = 'outside'", &[]);
    assert!(large, "some orders are stored outside the row");
    force_parallel(&mut client);
    for table in ["plain", "compressed", "outside"] {
        let sql = format!(
            "SELECT sum((calculate_order_total(input) ->> 'total')::numeric)
                    = (SELECT sum(n * (n + 1) / 2) FROM generate_series(1, 100) n) FROM {table}"
        );
        assert!(one::<bool>(&mut client, &sql, &[]), "{table}");
    }
}

/// The largest order there may be.
#[test]
fn the_limits_can_be_reached() {
    let mut client = Database::untouched().app();
    let lines: Vec<Value> = (0..2500).map(|i| json!({"id": format!("l{i}"), "unit_price": "1.23"})).collect();
    let discounts: Vec<Value> = (0..100).map(|i| json!({"id": format!("d{i}"), "percent": "1"})).collect();
    let taxes: Vec<Value> = (0..10)
        .map(|i| json!({"id": format!("t{i}"), "percent": "1.234567", "inclusive": i < 5, "compound": true}))
        .collect();
    for level in ["line", "order"] {
        let input = json!({"currency": "EUR", "lines": lines, "discounts": discounts, "taxes": taxes,
                           "tax_rounding_level": level});
        let total = ok(calculate(&mut client, &input));
        assert_eq!(total["lines"].as_array().map(Vec::len), Some(2500));
        assert_eq!(total["subtotal"], "3075.00");
    }
    let most = json!({"currency": "JPY", "lines": [{"id": "a", "unit_price": "9999999999"}]});
    assert_eq!(ok(calculate(&mut client, &most))["total"], "9999999999");
}

/// Whoever copies the example of a function's comment gets what stands beside it.
#[test]
fn the_examples_in_the_comments_come_out() {
    let mut client = Database::untouched().superuser();
    for function in ["calculate_order_total", "calculate_refund"] {
        let sql = "SELECT obj_description(oid) FROM pg_proc WHERE proname = $1";
        let comment: String = one(&mut client, sql, &[&function]);
        let example = comment.lines().find(|line| line.trim_start().starts_with("SELECT ")).expect("an example");
        let (statement, result) = example.split_once("; -- ").expect("with its result");
        assert_eq!(one::<String>(&mut client, statement, &[]), result, "{statement}");
    }
}
