//! Random orders, the extreme ones among them: the calculation against the slow one of `reference`, and what must hold of
//! every order.

use super::cases::run;
use super::{calculate, order_total, output, parse, reference};
use crate::domain::jsonb::read::Json;
use crate::domain::jsonb::write::tests::stored;
use num_bigint::BigInt;
use num_rational::BigRational;
use num_traits::Zero;
use proptest::prelude::*;
use serde_json::{Map, Value, json};

const MODES: [&str; 4] = ["half_even", "half_up", "down", "up"];
const PLACES: u32 = 6;

/// A decimal of at most so many digits and places, often a short one.
fn decimal(digits: u32, places: u32) -> impl Strategy<Value = String> {
    let any = (0..10i64.pow(digits), 0..=places);
    let short = (0..1000i64, 0..=places.min(2));
    prop_oneof![2 => short, 1 => any].prop_map(|(mantissa, places)| {
        let digits = format!("{mantissa:0>width$}", width = places as usize + 1);
        let (whole, fraction) = digits.split_at(digits.len() - places as usize);
        if fraction.is_empty() { whole.to_owned() } else { format!("{whole}.{fraction}") }
    })
}

fn quantity() -> impl Strategy<Value = String> {
    prop_oneof![4 => Just("1".to_owned()), 4 => (1..20i32).prop_map(|n| n.to_string()), 3 => decimal(8, 5)]
        .prop_filter("above zero", |quantity| !reference::number(&quantity.as_str().into()).is_zero())
}

/// 0 to 100, the ends more often than by chance.
fn percent() -> impl Strategy<Value = String> {
    let exact =
        (0..=100_000_000i64).prop_map(|millionths| format!("{}.{:06}", millionths / 1_000_000, millionths % 1_000_000));
    prop_oneof![4 => (0..=25i32).prop_map(|n| n.to_string()), 3 => exact, 1 => Just("100".to_owned()), 1 => Just("0".to_owned())]
}

/// An amount no finer than the currency.
fn amount(places: u32) -> impl Strategy<Value = String> {
    decimal(6, places)
}

fn percent_or_amount(places: u32) -> impl Strategy<Value = (&'static str, String)> {
    prop_oneof![percent().prop_map(|value| ("percent", value)), amount(places).prop_map(|value| ("amount", value))]
}

fn price() -> impl Strategy<Value = String> {
    prop_oneof![3 => decimal(5, 2), 2 => decimal(9, 6), 1 => Just("0.01".to_owned())]
}

fn subset(of: usize) -> impl Strategy<Value = Vec<bool>> {
    prop::collection::vec(prop::bool::weighted(0.3), of)
}

/// This library's numbers are floats, unlike those of jsonb: only what survives that can be a number here.
fn as_number(text: &str) -> Option<Value> {
    let number: Value = serde_json::from_str(text).ok()?;
    let written = number.to_string();
    (written == text).then_some(number)
}

/// What is chosen before the lines: they refer to it.
#[derive(Debug, Clone)]
struct Head {
    places: u32,
    discounts: Vec<(bool, (&'static str, String))>,
    taxes: Vec<(bool, bool, bool, String, Option<usize>)>,
}

fn head(most_discounts: usize, most_taxes: usize) -> impl Strategy<Value = Head> {
    (0..=PLACES).prop_flat_map(move |places| {
        let discount = (any::<bool>(), percent_or_amount(places));
        // Of scope line, per unit, compound, its number, a rounding of its own.
        let tax = (
            any::<bool>(),
            prop::bool::weighted(0.2),
            any::<bool>(),
            percent(),
            prop::option::weighted(0.2, 0..4usize),
        );
        let discounts = prop::collection::vec(discount, 0..=most_discounts);
        (Just(places), discounts, prop::collection::vec(tax, 0..=most_taxes))
            .prop_map(|(places, discounts, taxes)| Head { places, discounts, taxes })
    })
}

fn ids(prefix: &str, chosen: &[bool], may: impl Fn(usize) -> bool) -> Value {
    (0..chosen.len()).filter(|&i| chosen[i] && may(i)).map(|i| format!("{prefix}{i}")).collect()
}

fn line(head: &Head) -> impl Strategy<Value = Value> + use<> {
    let head = head.clone();
    let (d, t) = (head.discounts.len(), head.taxes.len());
    let modifiers = prop::collection::vec((price(), quantity(), any::<bool>()), 0..3);
    let chosen = (subset(d), subset(t), prop::bool::weighted(0.1), subset(t), subset(d));
    (price(), quantity(), prop::bool::weighted(0.3), modifiers, chosen).prop_map(
        move |(price, quantity, modified, modifiers, chosen)| {
            let (own_discounts, own_taxes, exempt, exempt_from, exempt_from_discounts) = chosen;
            let mut left = reference::number(&price.as_str().into());
            let mut list = Vec::new();
            for (price, quantity, negative) in modifiers.into_iter().filter(|_| modified) {
                let worth = reference::number(&price.as_str().into()) * reference::number(&quantity.as_str().into());
                let negative = negative && left >= worth;
                left = if negative { left - worth } else { left + worth };
                list.push(
                    json!({"unit_price": if negative { format!("-{price}") } else { price }, "quantity": quantity}),
                );
            }
            json!({
                "unit_price": price, "quantity": quantity, "modifiers": list, "tax_exempt": exempt,
                "discounts": ids("d", &own_discounts, |i| head.discounts[i].0),
                "taxes": ids("t", &own_taxes, |i| head.taxes[i].0),
                "exempt_from": ids("t", &exempt_from, |i| i % 3 == 0),
                "exempt_from_discounts": ids("d", &exempt_from_discounts, |i| i % 3 == 0),
            })
        },
    )
}

fn charge(head: &Head) -> impl Strategy<Value = Value> + use<> {
    let per_unit: Vec<bool> = head.taxes.iter().map(|tax| tax.1).collect();
    (percent_or_amount(head.places), any::<bool>(), any::<bool>(), any::<bool>(), subset(per_unit.len())).prop_map(
        move |((key, value), total, before, taxable, taxes)| {
            let mut charge = json!({key: value, "phase": if total { "total" } else { "subtotal" }});
            if !total {
                charge["base"] = (if before { "pre_discount" } else { "post_discount" }).into();
                charge["taxable"] = taxable.into();
                charge["taxes"] = ids("t", &taxes, |i| !per_unit[i]);
            }
            charge
        },
    )
}

fn with_ids(prefix: &str, mut list: Vec<Value>) -> Value {
    list.iter_mut().enumerate().for_each(|(i, one)| one["id"] = format!("{prefix}{i}").into());
    list.into()
}

/// An input that breaks no rule, but for amounts out of range.
fn order(most_lines: usize, most_discounts: usize, most_taxes: usize) -> impl Strategy<Value = Value> {
    head(most_discounts, most_taxes).prop_flat_map(move |head| {
        let lines = prop::collection::vec(line(&head), 0..=most_lines);
        let charges = prop::collection::vec(charge(&head), 0..3);
        let tip = prop::option::weighted(0.3, (percent_or_amount(head.places), 0..3usize));
        let cash = prop::option::weighted(0.3, (1..200i64, 0..4usize));
        let settings = (0..4usize, any::<bool>(), 0..=head.taxes.len());
        (Just(head), lines, charges, tip, cash, settings).prop_map(
            |(head, lines, charges, tip, cash, (mode, by_order, inclusive))| {
                let discounts = head.discounts.iter().map(
                    |(of_line, (key, value))| json!({*key: value, "scope": if *of_line { "line" } else { "order" }}),
                );
                let taxes = head.taxes.iter().enumerate().map(|(i, (of_line, per_unit, compound, value, rounding))| {
                    let mut tax = json!({"scope": if *of_line { "line" } else { "order" }, "inclusive": i < inclusive});
                    tax[if *per_unit { "per_unit" } else { "percent" }] = value.as_str().into();
                    tax["compound"] = (*compound && !per_unit).into();
                    if let Some(rounding) = rounding {
                        tax["rounding"] = MODES[*rounding].into();
                    }
                    tax
                });
                let mut order = json!({
                    "currency": "XXX", "minor_unit": head.places, "rounding": MODES[mode],
                    "tax_rounding_level": if by_order { "order" } else { "line" },
                    "discounts": with_ids("d", discounts.collect()), "taxes": with_ids("t", taxes.collect()),
                    "lines": with_ids("l", lines), "service_charges": with_ids("s", charges),
                });
                if let Some(((key, value), base)) = tip {
                    order["tip"] = json!({key: value, "base": (["post_discount", "pre_discount", "total"][base])});
                }
                if let Some((increment, mode)) = cash {
                    let unit = BigRational::new(increment.into(), BigInt::from(10).pow(head.places));
                    let text = format!("{}", unit * BigRational::from_integer(BigInt::from(10).pow(head.places)));
                    let digits = format!("{text:0>width$}", width = head.places as usize + 1);
                    let (whole, fraction) = digits.split_at(digits.len() - head.places as usize);
                    let point = if head.places > 0 { "." } else { "" };
                    order["cash_rounding"] =
                        json!({"increment": format!("{whole}{point}{fraction}"), "mode": MODES[mode]});
                }
                order
            },
        )
    })
}

fn places(order: &Value) -> u32 {
    order["minor_unit"].as_u64().unwrap() as u32
}

/// Both calculations, and that they agree.
fn agree(order: &Value) -> Result<Option<Value>, TestCaseError> {
    let expected = reference::order_total(order, places(order));
    match run(order_total, order) {
        Ok(total) => {
            prop_assert_eq!(Some(&total), expected.as_ref());
            Ok(Some(total))
        }
        Err(message) => {
            prop_assert!(message.starts_with("E_RANGE: "), "{}", message);
            prop_assert_eq!(None, expected, "{}", message);
            Ok(None)
        }
    }
}

fn sum<'a>(values: impl Iterator<Item = &'a Value>) -> BigRational {
    values.map(reference::number).sum()
}

/// B.10 of the specification.
fn invariants(order: &Value, total: &Value) -> Result<(), TestCaseError> {
    let n = |key: &str| reference::number(&total[key]);
    let lines = total["lines"].as_array().unwrap();
    let charges = total["service_charges"].as_array().unwrap();
    let due = n("subtotal") - n("discount_total") + n("service_charge_total") + n("tax_additive_total") + n("tip");
    prop_assert_eq!(n("total"), due);
    prop_assert_eq!(n("tax_total"), n("tax_inclusive_total") + n("tax_additive_total"));
    for (id, amount) in total["discounts"].as_object().unwrap() {
        prop_assert_eq!(sum(lines.iter().filter_map(|line| line["discounts"].get(id))), reference::number(amount));
    }
    for (id, amount) in total["taxes"].as_object().unwrap() {
        let of = lines.iter().chain(charges).filter_map(|item| item["taxes"].get(id));
        prop_assert_eq!(sum(of), reference::number(amount));
    }
    for line in lines {
        let n = |key: &str| reference::number(&line[key]);
        prop_assert!(BigRational::zero() <= n("discount") && n("discount") <= n("gross"));
        prop_assert!(n("net") >= BigRational::zero());
        // The inclusive price is what is left of the gross.
        prop_assert_eq!(n("net") + n("tax_inclusive"), n("gross") - n("discount"));
        prop_assert_eq!(n("total"), n("gross") - n("discount") + n("tax_additive"));
        prop_assert_eq!(sum(line["taxes"].as_object().unwrap().values()), n("tax_inclusive") + n("tax_additive"));
    }
    if order.get("cash_rounding").is_some() {
        prop_assert_eq!(n("cash_total"), n("total") + n("cash_rounding"));
    }
    Ok(())
}

/// The same numbers in another form: zeros added, or as JSON numbers.
fn rewritten(value: &Value, form: &mut impl FnMut() -> usize) -> Value {
    match value {
        Value::Object(map) => {
            map.iter().map(|(key, value)| (key.clone(), rewritten(value, form))).collect::<Map<_, _>>().into()
        }
        Value::Array(list) => list.iter().map(|value| rewritten(value, form)).collect(),
        Value::String(text) if text.starts_with(|first: char| first.is_ascii_digit() || first == '-') => match form() {
            0 if text.contains('.') => format!("{text}000").into(),
            0 => format!("{text}.000").into(),
            1 => as_number(text).unwrap_or(value.clone()),
            _ => value.clone(),
        },
        other => other.clone(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn orders_come_to_what_the_slow_calculation_says(order in order(6, 5, 4)) {
        if let Some(total) = agree(&order)? {
            invariants(&order, &total)?;
        }
    }

    #[test]
    fn orders_with_ten_taxes_do(order in order(4, 3, 10)) {
        if let Some(total) = agree(&order)? {
            invariants(&order, &total)?;
        }
    }

    #[test]
    fn the_form_of_numbers_does_not_matter(order in order(3, 3, 3), forms in prop::collection::vec(0..3usize, 64)) {
        let mut next = forms.iter().cycle().copied();
        let other = rewritten(&order, &mut || next.next().unwrap());
        prop_assert_eq!(run(order_total, &order), run(order_total, &other));
    }

    #[test]
    fn both_sizes_of_integers_agree(order in order(4, 3, 6)) {
        let bytes = stored(&order);
        let order = parse::order(Json::new(&bytes[4..])).unwrap();
        if let (Ok(small), Ok(large)) = (calculate::with::<i128>(&order), calculate::with::<BigInt>(&order)) {
            prop_assert_eq!(output::jsonb(&order, &small), output::jsonb(&order, &large));
        }
    }

    /// Nothing that can be written makes it panic, whatever it answers.
    #[test]
    fn any_input_has_an_answer(order in order(2, 2, 3), key in 0..12usize, value in prop_oneof![
        Just(json!(null)), Just(json!(true)), Just(json!({})), Just(json!([])), Just(json!([null])), Just(json!("")),
        Just(json!("999999999999999999")), Just(json!("-999999999999999999")), Just(json!(-1)), Just(json!({"id": []})),
        Just(json!([{"id": "x", "percent": "100", "amount": "1"}])), Just(json!("1e400")),
    ]) {
        let keys = ["currency", "minor_unit", "rounding", "lines", "discounts", "taxes", "service_charges", "tip",
            "cash_rounding", "tax_rounding_level", "x", ""];
        let mut broken = order.clone();
        broken[keys[key]] = value.clone();
        let _ = run(order_total, &broken);
        let mut line = order;
        if let Some(first) = line["lines"].as_array_mut().and_then(|lines| lines.first_mut()) {
            for key in ["id", "unit_price", "quantity", "modifiers", "discounts", "taxes", "exempt_from", "tax_exempt"] {
                let kept = first[key].take();
                first[key] = value.clone();
                let _ = run(order_total, &json!({"currency": "EUR", "lines": [first.clone()]}));
                first[key] = kept;
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 30, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_hundred_discounts_do(order in order(20, 100, 3)) {
        if let Some(total) = agree(&order)? {
            invariants(&order, &total)?;
        }
    }
}

/// Rates that no denominator of 128 bits holds: the calculation is done again with larger integers.
#[test]
fn ten_compound_inclusive_taxes_need_larger_integers() {
    let taxes: Vec<Value> = (0..10)
        .map(|i| json!({"id": format!("t{i}"), "percent": format!("9.99999{i}"), "inclusive": true, "compound": true}))
        .collect();
    for level in ["line", "order"] {
        let lines: Vec<Value> = (0..9)
            .map(|i| json!({"id": format!("l{i}"), "unit_price": "0.01", "quantity": format!("{}.00001", i * i + 1)}))
            .collect();
        let input =
            json!({"currency": "XXX", "minor_unit": 2, "tax_rounding_level": level, "lines": lines, "taxes": taxes});
        let bytes = stored(&input);
        let order = parse::order(Json::new(&bytes[4..])).unwrap();
        assert!(matches!(calculate::with::<i128>(&order), Err(super::error::Failure::Overflow)));
        assert_eq!(run(order_total, &input).ok(), reference::order_total(&input, 2));
    }
}

/// Order level, one-cent lines, more tax than the lines have room for: no net falls below zero, and what finds no place
/// in one line is in another.
#[test]
fn small_lines_never_pay_more_tax_than_they_have() {
    let taxes: Vec<Value> =
        (0..2).map(|i| json!({"id": format!("t{i}"), "percent": "100", "inclusive": true})).collect();
    let lines: Vec<Value> = (0..100).map(|i| json!({"id": format!("l{i}"), "unit_price": "0.01"})).collect();
    let input = json!({"currency": "EUR", "tax_rounding_level": "order", "lines": lines, "taxes": taxes});
    let total = run(order_total, &input).unwrap();
    assert_eq!(total["taxes"], json!({"t0": "0.33", "t1": "0.33"}));
    assert_eq!(total["total"], "1.00");
    let lines = total["lines"].as_array().unwrap();
    assert!(lines.iter().all(|line| !line["net"].as_str().unwrap().starts_with('-')));
}

/// Most random orders come to a total: else the properties above would say little.
#[test]
fn most_random_orders_are_in_range() {
    use proptest::strategy::ValueTree;
    use proptest::test_runner::TestRunner;
    let mut runner = TestRunner::deterministic();
    let within = (0..400).filter(|_| {
        let order = order(6, 5, 4).new_tree(&mut runner).expect("nothing is filtered for long").current();
        run(order_total, &order).is_ok()
    });
    let count = within.count();
    assert!(count > 200, "{count} of 400");
}
