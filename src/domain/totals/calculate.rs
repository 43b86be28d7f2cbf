//! The calculation, step by step as the specification has it: gross, discounts, charges, taxes, total, tip, cash.

use crate::domain::decimal::Decimal;
use crate::domain::rounding::Rounding;
use crate::domain::totals::discounts;
use crate::domain::totals::error::{At, Code, Failure, Fault};
use crate::domain::totals::exact::{Exact, power_of_ten, product, sum};
use crate::domain::totals::model::*;
use crate::domain::totals::taxes::{self, Item};
use num_bigint::BigInt;

/// What the order comes to.
pub fn calculate(order: &Order) -> Result<Totals, Fault> {
    match with::<i128>(order) {
        Ok(totals) => Ok(totals),
        Err(Failure::Fault(fault)) => Err(fault),
        Err(Failure::Overflow) => with::<BigInt>(order).map_err(|failure| match failure {
            Failure::Fault(fault) => fault,
            Failure::Overflow => Fault::new(Code::Range),
        }),
    }
}

/// With integers of one size.
pub(super) fn with<I: Exact>(order: &Order) -> Result<Totals, Failure> {
    let mut gross = Vec::with_capacity(order.lines.len());
    let mut subtotal = 0;
    for (i, line) in order.lines.iter().enumerate() {
        let amount = gross_of::<I>(order, i, line)?;
        subtotal += amount;
        if subtotal > LARGEST_TOTAL {
            return Err(too_large("the subtotal is above 9,999,999,999 minor units"));
        }
        gross.push(amount);
    }

    let discounted = discounts::apply(order, &gross)?;
    let after_discounts: Minor = discounted.remaining.iter().sum();
    let base = |base| if base == Base::PreDiscount { subtotal } else { after_discounts };

    let mut items: Vec<Item> = std::iter::zip(&order.lines, &discounted.remaining)
        .map(|(line, &remaining)| Item::new(line.quantity, line.tax_set, remaining))
        .collect();
    let mut charges = Vec::with_capacity(order.charges.len());
    for charge in &order.charges {
        charges.push(match charge.phase {
            Phase::Subtotal => part_of(charge.part, base(charge.base), order.rounding)?,
            Phase::Total => 0,
        });
    }
    items.extend(
        std::iter::zip(&order.charges, &charges)
            .map(|(charge, &amount)| Item::new(Decimal::ONE, charge.tax_set, amount)),
    );
    taxes::apply::<I>(order, &mut items)?;

    let mut tax_totals = vec![0; order.taxes.len()];
    let (mut inclusive, mut additive) = (0, 0);
    for item in &items {
        inclusive += item.taxes.inclusive;
        additive += item.taxes.additive;
        for &(tax, amount) in &item.taxes.taxes {
            tax_totals[tax as usize] += amount;
        }
    }
    let before_total_charges = after_discounts + charges.iter().sum::<Minor>() + additive;
    for (i, charge) in order.charges.iter().enumerate().filter(|(_, charge)| charge.phase == Phase::Total) {
        charges[i] = part_of(charge.part, before_total_charges, order.rounding)?;
        items[order.lines.len() + i].taxes.amount = charges[i];
    }
    let charge_total: Minor = charges.iter().sum();
    let before_tip = bounded(after_discounts + charge_total + additive)?;
    let tip = match &order.tip {
        None => 0,
        Some(Tip { part, base: Base::Total }) => part_of(*part, before_tip, order.rounding)?,
        Some(tip) => part_of(tip.part, base(tip.base), order.rounding)?,
    };
    let total = bounded(before_tip + tip)?;

    let charge_items = items.split_off(order.lines.len());
    let lines = gross.into_iter().zip(discounted.taken).zip(items);
    Ok(Totals {
        lines: lines.map(|((gross, discounts), item)| LineTotals { gross, discounts, item: item.taxes }).collect(),
        charges: charge_items.into_iter().map(|item| item.taxes).collect(),
        discounts: discounted.totals,
        taxes: tax_totals,
        subtotal,
        discount_total: subtotal - after_discounts,
        charge_total,
        tax_inclusive: inclusive,
        tax_additive: additive,
        tip,
        total,
        cash: order.cash.as_ref().map(|cash| cash_total(total, cash)),
    })
}

/// Rounds quantity x (unit price + modifiers).
fn gross_of<I: Exact>(order: &Order, i: usize, line: &Line) -> Result<Minor, Failure> {
    // The unit price in 10^-places.
    let mut places = u32::from(line.unit_price.places());
    let mut price = I::from(line.unit_price.mantissa());
    for modifier in &line.modifiers {
        let own = u32::from(modifier.unit_price.places() + modifier.quantity.places());
        let mut added = product(&I::from(modifier.unit_price.mantissa()), &I::from(modifier.quantity.mantissa()))?;
        if own < places {
            added = product(&added, &power_of_ten(places - own)?)?;
        } else if own > places {
            price = product(&price, &power_of_ten(own - places)?)?;
            places = own;
        }
        price = sum(&price, &added)?;
    }
    if price < I::zero() {
        let negative: Result<(), Fault> = Err(Fault::new(Code::NegativePrice));
        negative.at("unit_price").at_index(i).at("lines")?;
    }
    let exact = product(&price, &I::from(line.quantity.mantissa()))?;
    let gross = in_minor_units(exact, places + u32::from(line.quantity.places()), order.places, order.rounding)?;
    gross.to_i64().filter(|&gross| gross <= LARGEST_TOTAL).ok_or_else(|| {
        let fault = Fault::because(Code::Range, "the amount of a line is above 9,999,999,999 minor units");
        fault.within(&format!("[{i}]")).within("lines").into()
    })
}

/// Rounds what is given in 10^-`places` of a currency whose amounts have `minor` places.
pub(super) fn in_minor_units<I: Exact>(exact: I, places: u32, minor: u8, rounding: Rounding) -> Result<I, Failure> {
    let minor = u32::from(minor);
    if places <= minor {
        return product(&exact, &power_of_ten(minor - places)?);
    }
    Ok(rounding.divide(&exact, &power_of_ten(places - minor)?))
}

fn part_of(part: Part, base: Minor, rounding: Rounding) -> Result<Minor, Failure> {
    match part {
        Part::Percent(percent) => percent_of(base, percent, rounding),
        Part::Amount(amount) => bounded(amount),
    }
}

/// A percentage of an amount. No product here needs more than 80 bits.
pub(super) fn percent_of(base: Minor, percent: Decimal, rounding: Rounding) -> Result<Minor, Failure> {
    let exact = i128::from(base) * i128::from(percent.mantissa());
    let rounded = in_minor_units(exact, u32::from(percent.places()) + 2, 0, rounding)?;
    bounded(i64::try_from(rounded).unwrap_or(i64::MAX))
}

/// Nothing that is added to make the total can be larger than it.
pub(super) fn bounded(amount: Minor) -> Result<Minor, Failure> {
    if amount > LARGEST_TOTAL {
        return Err(too_large("the total is above 9,999,999,999 minor units"));
    }
    Ok(amount)
}

fn too_large(rule: &'static str) -> Failure {
    Fault::because(Code::Range, rule).into()
}

fn cash_total(total: Minor, cash: &CashRounding) -> CashTotal {
    let increments: i128 = cash.mode.divide(&i128::from(total), &i128::from(cash.increment));
    // An increment fits an amount, the total is far below one: so does their nearest multiple.
    let rounded = (increments * i128::from(cash.increment)) as Minor;
    CashTotal { rounding: rounded - total, total: rounded }
}
