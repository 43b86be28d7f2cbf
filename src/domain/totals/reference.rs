//! The same calculation once more, as slow and plain as it can be: one fraction type for everything, straight from the
//! JSON tree, step by step as the specification is written. It shares no code with what it checks.

use num_bigint::BigInt;
use num_rational::BigRational;
use num_traits::{One, Signed, Zero};
use serde_json::{Map, Value, json};

type Number = BigRational;

fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

pub fn number(value: &Value) -> Number {
    let text = text(value);
    let (whole, fraction) = text.split_once('.').unwrap_or((&text, ""));
    let digits: BigInt = format!("{whole}{fraction}").parse().expect("a decimal");
    Number::new(digits, BigInt::from(10).pow(fraction.len() as u32))
}

fn or<'a>(value: &'a Value, default: &'a str) -> &'a str {
    value.as_str().unwrap_or(default)
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn lists(value: &Value, id: &Value) -> bool {
    list(value).contains(id)
}

fn round(exact: &Number, mode: &str) -> Number {
    let (floor, half) = (exact.floor(), Number::new(1.into(), 2.into()));
    let rest = exact - &floor;
    let is_odd = (floor.to_integer() % BigInt::from(2)) != BigInt::zero();
    let up = match mode {
        "down" => false,
        "up" => !rest.is_zero(),
        "half_up" => rest >= half,
        _ => rest > half || (rest == half && is_odd),
    };
    if up { floor + Number::one() } else { floor }
}

/// Largest remainder, one unit after the other. No share exceeds its limit.
fn apportion(total: &Number, weights: &[Number], limits: Option<&[Number]>) -> Vec<Number> {
    let all: Number = weights.iter().sum();
    if all.is_zero() {
        return vec![Number::zero(); weights.len()];
    }
    let exact: Vec<Number> = weights.iter().map(|weight| total * weight / &all).collect();
    let limited = |i: usize, share: Number| match limits {
        Some(limits) if share > limits[i] => limits[i].clone(),
        _ => share,
    };
    let mut shares: Vec<Number> = exact.iter().enumerate().map(|(i, share)| limited(i, share.floor())).collect();
    let mut served = vec![false; weights.len()];
    while shares.iter().sum::<Number>() < *total {
        let may = |i: usize| limited(i, &shares[i] + Number::one()) > shares[i];
        let rest = |i: usize| &exact[i] - exact[i].floor();
        let mut next: Option<usize> = None;
        for i in (0..weights.len()).filter(|&i| !served[i] && may(i)) {
            if next.is_none_or(|best| rest(i) > rest(best)) {
                next = Some(i);
            }
        }
        match next {
            Some(i) => {
                shares[i] += Number::one();
                served[i] = true;
            }
            None if served.contains(&true) && (0..weights.len()).any(may) => served.fill(false),
            None => break,
        }
    }
    shares
}

struct Item {
    quantity: Number,
    /// After discounts.
    amount: Number,
    taxes: Vec<usize>,
    inclusive: Number,
    additive: Number,
    of_tax: Vec<Option<Number>>,
}

/// The whole output for a valid input, or None where the amounts are out of range.
pub fn order_total(input: &Value, places: u32) -> Option<Value> {
    let unit = Number::from_integer(BigInt::from(10).pow(places));
    let percent = |value: &Value| number(value) / Number::from_integer(100.into());
    let mode = or(&input["rounding"], "half_even");
    let (lines, discounts) = (list(&input["lines"]), list(&input["discounts"]));
    let (taxes, charges) = (list(&input["taxes"]), list(&input["service_charges"]));
    let one = json!("1");
    let quantity = |value: &Value| number(if value["quantity"].is_null() { &one } else { &value["quantity"] });

    // B.2
    let gross: Vec<Number> = lines
        .iter()
        .map(|line| {
            let modifiers: Number =
                list(&line["modifiers"]).iter().map(|m| number(&m["unit_price"]) * quantity(m)).sum();
            round(&(quantity(line) * (number(&line["unit_price"]) + modifiers) * &unit), mode)
        })
        .collect();
    let subtotal: Number = gross.iter().sum();

    // B.3
    let mut remaining = gross.clone();
    let mut taken = vec![vec![None; discounts.len()]; lines.len()];
    for (percents, scope) in [(true, "line"), (true, "order"), (false, "line"), (false, "order")] {
        for (d, discount) in discounts.iter().enumerate() {
            if or(&discount["scope"], "order") != scope || discount["percent"].is_null() == percents {
                continue;
            }
            let applies = |line: &Value| {
                (scope == "order" || lists(&line["discounts"], &discount["id"]))
                    && !lists(&line["exempt_from_discounts"], &discount["id"])
            };
            let off = |of: &Number| match percents {
                true => round(&(of * percent(&discount["percent"])), mode),
                false => of.clone().min(number(&discount["amount"]) * &unit),
            };
            let who: Vec<usize> = (0..lines.len()).filter(|&i| applies(&lines[i])).collect();
            let weights: Vec<Number> = who.iter().map(|&i| remaining[i].clone()).collect();
            let shares = match scope {
                "line" => weights.iter().map(off).collect(),
                _ => apportion(&off(&weights.iter().sum()), &weights, None),
            };
            for (&i, share) in who.iter().zip(shares) {
                remaining[i] -= &share;
                taken[i][d] = Some(share);
            }
        }
    }
    let after: Number = remaining.iter().sum();
    let base = |value: &Value| if or(value, "post_discount") == "pre_discount" { &subtotal } else { &after };
    let part = |value: &Value, of: &Number| match value["percent"].is_null() {
        true => number(&value["amount"]) * &unit,
        false => round(&(of * percent(&value["percent"])), mode),
    };

    // B.4
    let is_total = |charge: &Value| or(&charge["phase"], "subtotal") == "total";
    let mut charged: Vec<Number> = charges
        .iter()
        .map(|charge| if is_total(charge) { Number::zero() } else { part(charge, base(&charge["base"])) })
        .collect();

    // B.5
    let item = |quantity, amount: &Number, taxed: &dyn Fn(&Value) -> bool| Item {
        quantity,
        amount: amount.clone(),
        taxes: (0..taxes.len()).filter(|&t| taxed(&taxes[t])).collect(),
        inclusive: Number::zero(),
        additive: Number::zero(),
        of_tax: vec![None; taxes.len()],
    };
    let of_order = |tax: &Value| or(&tax["scope"], "order") == "order";
    let mut items: Vec<Item> = Vec::new();
    for (line, amount) in lines.iter().zip(&remaining) {
        let exempt = line["tax_exempt"] == true;
        items.push(item(quantity(line), amount, &|tax| {
            (if of_order(tax) { !exempt } else { lists(&line["taxes"], &tax["id"]) })
                && !lists(&line["exempt_from"], &tax["id"])
        }));
    }
    for (charge, amount) in charges.iter().zip(&charged) {
        items.push(item(Number::one(), amount, &|tax| {
            !tax["percent"].is_null()
                && (charge["taxable"] == true && of_order(tax) || lists(&charge["taxes"], &tax["id"]))
        }));
    }
    let tax_mode = |tax: &Value| or(&tax["rounding"], mode).to_owned();
    let fee = |tax: &Value, item: &Item| number(&tax["per_unit"]) * &item.quantity * &unit;
    // What the inclusive taxes come to for a net, one after the other.
    let inclusive_of = |item: &Item, net: &Number| {
        let mut so_far = net.clone();
        let mut all = Vec::new();
        for tax in item.taxes.iter().map(|&t| &taxes[t]).filter(|tax| tax["inclusive"] == true) {
            let exact = match (tax["percent"].is_null(), tax["compound"] == true) {
                (true, _) => fee(tax, item),
                (false, false) => net * percent(&tax["percent"]),
                (false, true) => &so_far * percent(&tax["percent"]),
            };
            so_far += &exact;
            all.push(exact);
        }
        (all, so_far)
    };
    // Price is a straight line over net: two points of it are enough.
    let solve = |item: &Item| {
        let (fixed, at_zero) = inclusive_of(item, &Number::zero());
        let (_, at_one) = inclusive_of(item, &Number::one());
        if at_zero > item.amount {
            let share = &item.amount / &at_zero;
            return (Number::zero(), fixed.iter().map(|fixed| fixed * &share).collect());
        }
        let net = (&item.amount - &at_zero) / (at_one - &at_zero);
        let (exact, _) = inclusive_of(item, &net);
        (net, exact)
    };
    let additive_of = |tax: &Value, item: &Item, net: &Number, so_far: &Number| match tax["percent"].is_null() {
        true => fee(tax, item),
        false if tax["compound"] == true => so_far * percent(&tax["percent"]),
        false => net * percent(&tax["percent"]),
    };
    if or(&input["tax_rounding_level"], "line") == "line" {
        for item in &mut items {
            let (_, exact) = solve(item);
            let mut rounded: Vec<Number> =
                exact.iter().zip(&item.taxes).map(|(exact, &t)| round(exact, &tax_mode(&taxes[t]))).collect();
            while rounded.iter().sum::<Number>() > item.amount {
                let last = rounded.iter_mut().rev().find(|tax| tax.is_positive()).expect("a tax");
                *last -= Number::one();
            }
            item.inclusive = rounded.iter().sum();
            let net = &item.amount - &item.inclusive;
            let mut so_far = item.amount.clone();
            for (place, &t) in item.taxes.iter().enumerate() {
                if place < rounded.len() {
                    item.of_tax[t] = Some(rounded[place].clone());
                    continue;
                }
                let amount = round(&additive_of(&taxes[t], item, &net, &so_far), &tax_mode(&taxes[t]));
                so_far += &amount;
                item.additive += &amount;
                item.of_tax[t] = Some(amount);
            }
        }
    } else {
        let exact: Vec<Vec<Number>> = items
            .iter()
            .map(|item| {
                let (net, mut all) = solve(item);
                let mut so_far = &net + all.iter().sum::<Number>();
                for &t in item.taxes.iter().skip(all.len()).collect::<Vec<_>>() {
                    let amount = additive_of(&taxes[t], item, &net, &so_far);
                    so_far += &amount;
                    all.push(amount);
                }
                all
            })
            .collect();
        for (t, tax) in taxes.iter().enumerate() {
            let who: Vec<usize> = (0..items.len()).filter(|&i| items[i].taxes.contains(&t)).collect();
            let place = |i: usize| items[i].taxes.iter().position(|&own| own == t).expect("it has the tax");
            let weights: Vec<Number> = who.iter().map(|&i| exact[i][place(i)].clone()).collect();
            let left: Vec<Number> = who.iter().map(|&i| &items[i].amount - &items[i].inclusive).collect();
            let inclusive = tax["inclusive"] == true;
            let total = round(&weights.iter().sum(), &tax_mode(tax));
            let shares = apportion(&total, &weights, inclusive.then_some(left.as_slice()));
            for (&i, share) in who.iter().zip(shares) {
                let sum = if inclusive { &mut items[i].inclusive } else { &mut items[i].additive };
                *sum += &share;
                items[i].of_tax[t] = Some(share);
            }
        }
    }

    // B.6, B.7
    let additive: Number = items.iter().map(|item| &item.additive).sum();
    let inclusive: Number = items.iter().map(|item| &item.inclusive).sum();
    let before = &after + charged.iter().sum::<Number>() + &additive;
    for (charge, amount) in charges.iter().zip(&mut charged).filter(|(charge, _)| is_total(charge)) {
        *amount = part(charge, &before);
    }
    let charge_total: Number = charged.iter().sum();
    let before_tip = &after + &charge_total + &additive;
    let tip = match &input["tip"] {
        Value::Null => Number::zero(),
        tip if tip["base"] == "total" => part(tip, &before_tip),
        tip => part(tip, base(&tip["base"])),
    };
    let total = &before_tip + &tip;
    let limit = Number::from_integer(9_999_999_999_i64.into());
    if subtotal > limit || total > limit {
        return None;
    }

    let money = |amount: &Number| {
        let units = amount.to_integer();
        let sign = if units.is_negative() { "-" } else { "" };
        let digits = format!("{:0>width$}", units.abs().to_string(), width = places as usize + 1);
        let (whole, fraction) = digits.split_at(digits.len() - places as usize);
        Value::from(format!("{sign}{whole}{}{fraction}", if places > 0 { "." } else { "" }))
    };
    let by_id = |of: &[Value], amounts: &[Option<Number>]| {
        let pairs =
            of.iter().zip(amounts).filter_map(|(one, amount)| Some((text(&one["id"]), money(amount.as_ref()?))));
        Value::from(pairs.collect::<Map<String, Value>>())
    };
    let sums = |count: usize, each: &dyn Fn(usize) -> Number| (0..count).map(|i| Some(each(i))).collect::<Vec<_>>();
    let zero = Number::zero();
    let mut output = json!({
        "currency": input["currency"],
        "lines": lines.iter().enumerate().map(|(i, line)| json!({
            "id": line["id"],
            "gross": money(&gross[i]),
            "discount": money(&(&gross[i] - &remaining[i])),
            "net": money(&(&remaining[i] - &items[i].inclusive)),
            "tax_inclusive": money(&items[i].inclusive),
            "tax_additive": money(&items[i].additive),
            "total": money(&(&remaining[i] + &items[i].additive)),
            "discounts": by_id(discounts, &taken[i]),
            "taxes": by_id(taxes, &items[i].of_tax),
        })).collect::<Vec<_>>(),
        "service_charges": charges.iter().enumerate().map(|(i, charge)| json!({
            "id": charge["id"],
            "amount": money(&charged[i]),
            "taxes": by_id(taxes, &items[lines.len() + i].of_tax),
        })).collect::<Vec<_>>(),
        "discounts": by_id(discounts, &sums(discounts.len(), &|d| {
            taken.iter().map(|line| line[d].as_ref().unwrap_or(&zero)).sum()
        })),
        "taxes": by_id(taxes, &sums(taxes.len(), &|t| {
            items.iter().map(|item| item.of_tax[t].as_ref().unwrap_or(&zero)).sum()
        })),
        "subtotal": money(&subtotal),
        "discount_total": money(&(&subtotal - &after)),
        "service_charge_total": money(&charge_total),
        "tax_inclusive_total": money(&inclusive),
        "tax_additive_total": money(&additive),
        "tax_total": money(&(&inclusive + &additive)),
        "tip": money(&tip),
        "total": money(&total),
    });
    if let cash @ Value::Object(_) = &input["cash_rounding"] {
        let increment = number(&cash["increment"]) * &unit;
        let rounded = round(&(&total / &increment), or(&cash["mode"], "half_up")) * increment;
        output["cash_rounding"] = money(&(&rounded - &total));
        output["cash_total"] = money(&rounded);
    }
    Some(output)
}
