//! Taxes of lines and charges: what is within a price is solved exactly, what is added is taken of what is left.

use crate::domain::decimal::Decimal;
use crate::domain::totals::apportion::apportion;
use crate::domain::totals::calculate::{bounded, in_minor_units, percent_of};
use crate::domain::totals::error::Failure;
use crate::domain::totals::exact::{Exact, Fraction, common_denominator, power_of_ten, product, sum};
use crate::domain::totals::model::*;

/// A line or charge after its discounts.
pub struct Item {
    quantity: Decimal,
    tax_set: usize,
    pub taxes: ItemTaxes,
}

impl Item {
    pub fn new(quantity: Decimal, tax_set: usize, amount: Minor) -> Item {
        Item { quantity, tax_set, taxes: ItemTaxes { amount, ..ItemTaxes::default() } }
    }

    fn add(&mut self, tax: u32, inclusive: bool, amount: Minor) {
        let total = if inclusive { &mut self.taxes.inclusive } else { &mut self.taxes.additive };
        *total += amount;
        self.taxes.taxes.push((tax, amount));
    }
}

/// The taxes of a set, with their places in the order.
fn taxed_by<'a>(order: &'a Order<'a>, tax_set: usize) -> impl Iterator<Item = (u32, &'a Tax<'a>)> + Clone {
    order.tax_sets[tax_set].iter().map(|&tax| (tax, &order.taxes[tax as usize]))
}

pub fn apply<I: Exact>(order: &Order, items: &mut [Item]) -> Result<(), Failure> {
    match order.level {
        Level::Line => items.iter_mut().try_for_each(|item| round_each::<I>(order, item)),
        Level::Order => round_sums::<I>(order, items),
    }
}

/// Level line: each tax of each item is rounded, and what follows builds on what was rounded.
fn round_each<I: Exact>(order: &Order, item: &mut Item) -> Result<(), Failure> {
    let taxed = taxed_by(order, item.tax_set);
    let count = taxed.clone().count();
    if count == 0 {
        return Ok(());
    }
    item.taxes.taxes.reserve_exact(count);
    let inclusive = taxed.clone().take_while(|(_, tax)| tax.inclusive).count();
    if inclusive > 0 {
        let Exactly { taxes: exact, .. } = within_price::<I>(order, item)?;
        for ((tax, Tax { rounding, .. }), exact) in taxed.clone().zip(exact) {
            item.add(tax, true, minor(exact.round(*rounding))?);
        }
        keep_within_price(&mut item.taxes);
    }
    let net = item.taxes.amount - item.taxes.inclusive;
    for (tax, Tax { rate, compound, rounding, .. }) in taxed.skip(inclusive) {
        let amount = match *rate {
            Rate::Percent(percent) => {
                let earlier = if *compound { item.taxes.inclusive + item.taxes.additive } else { 0 };
                percent_of(net + earlier, percent, *rounding)?
            }
            Rate::PerUnit(price) => {
                let exact = product(&I::from(price.mantissa()), &I::from(item.quantity.mantissa()))?;
                minor(in_minor_units(exact, places(price, item.quantity), order.places, *rounding)?)?
            }
        };
        item.add(tax, false, amount);
    }
    Ok(())
}

/// Rounded up, taxes can be more than the price they are within: the last ones give way.
fn keep_within_price(taxes: &mut ItemTaxes) {
    for (_, amount) in taxes.taxes.iter_mut().rev() {
        let excess = (taxes.inclusive - taxes.amount).clamp(0, *amount);
        *amount -= excess;
        taxes.inclusive -= excess;
    }
}

/// Level order: each tax is rounded once, as the sum over all items, and shared out to them.
fn round_sums<I: Exact>(order: &Order, items: &mut [Item]) -> Result<(), Failure> {
    let mut of_tax: Vec<Vec<(usize, Fraction<I>)>> = order.taxes.iter().map(|_| Vec::new()).collect();
    for (i, item) in items.iter().enumerate() {
        let exact = exactly::<I>(order, item)?;
        for ((tax, _), exact) in taxed_by(order, item.tax_set).zip(exact) {
            of_tax[tax as usize].push((i, exact));
        }
    }
    for ((index, tax), taxed) in order.taxes.iter().enumerate().zip(of_tax) {
        if taxed.is_empty() {
            continue;
        }
        let (weights, denominator) = common_denominator(taxed.iter().map(|(_, exact)| exact))?;
        let mut all = I::zero();
        for weight in &weights {
            all = sum(&all, weight)?;
        }
        let total = minor(tax.rounding.divide(&all, &denominator))?;
        let room: Vec<Minor> = taxed.iter().map(|&(i, _)| items[i].taxes.amount - items[i].taxes.inclusive).collect();
        let shares = apportion(total, &weights, tax.inclusive.then_some(&room))?;
        for (&(i, _), share) in taxed.iter().zip(shares) {
            items[i].add(index as u32, tax.inclusive, share);
        }
    }
    Ok(())
}

/// A price taken apart.
struct Exactly<I: Exact> {
    net: Fraction<I>,
    taxes: Vec<Fraction<I>>,
}

/// Every tax of the item, unrounded.
fn exactly<I: Exact>(order: &Order, item: &Item) -> Result<Vec<Fraction<I>>, Failure> {
    let Exactly { net, mut taxes } = within_price::<I>(order, item)?;
    let mut with_taxes = net.clone();
    for tax in &taxes {
        with_taxes = with_taxes.plus(tax)?;
    }
    for (_, tax) in taxed_by(order, item.tax_set).skip(taxes.len()) {
        let exact = match tax.rate {
            Rate::Percent(percent) => rate(percent)?.times(if tax.compound { &with_taxes } else { &net })?,
            Rate::PerUnit(price) => fee(order, price, item.quantity)?,
        };
        with_taxes = with_taxes.plus(&exact)?;
        taxes.push(exact);
    }
    Ok(taxes)
}

/// Solves price = net + inclusive taxes. Each of these taxes is `slope` x net + `fixed`. Where the fixed parts alone are
/// more than the price, they share it and the net is nothing.
fn within_price<I: Exact>(order: &Order, item: &Item) -> Result<Exactly<I>, Failure> {
    let price = Fraction::<I>::whole(item.taxes.amount);
    let (mut slopes, mut all_fixed) = (Fraction::<I>::whole(1), Fraction::<I>::zero());
    let mut parts = Vec::new();
    for (_, tax) in taxed_by(order, item.tax_set).take_while(|(_, tax)| tax.inclusive) {
        let (slope, fixed) = match tax.rate {
            Rate::PerUnit(price) => (Fraction::zero(), fee(order, price, item.quantity)?),
            Rate::Percent(percent) if tax.compound => {
                let rate = rate(percent)?;
                (rate.times(&slopes)?, rate.times(&all_fixed)?)
            }
            Rate::Percent(percent) => (rate(percent)?, Fraction::zero()),
        };
        slopes = slopes.plus(&slope)?;
        all_fixed = all_fixed.plus(&fixed)?;
        parts.push((slope, fixed));
    }
    let for_net = price.minus(&all_fixed)?;
    if for_net < Fraction::zero() {
        let share = price.over(&all_fixed)?;
        let taxes = parts.iter().map(|(_, fixed)| fixed.times(&share)).collect::<Result<_, _>>()?;
        return Ok(Exactly { net: Fraction::zero(), taxes });
    }
    let net = for_net.over(&slopes)?;
    let taxes = parts.iter().map(|(slope, fixed)| slope.times(&net)?.plus(fixed)).collect::<Result<_, _>>()?;
    Ok(Exactly { net, taxes })
}

/// A percentage as a fraction of one.
fn rate<I: Exact>(percent: Decimal) -> Result<Fraction<I>, Failure> {
    Fraction::decimal(I::from(percent.mantissa()), u32::from(percent.places()) + 2)
}

/// A price for each unit, in minor units.
fn fee<I: Exact>(order: &Order, price: Decimal, quantity: Decimal) -> Result<Fraction<I>, Failure> {
    let exact = product(&I::from(price.mantissa()), &I::from(quantity.mantissa()))?;
    Fraction::decimal(product(&exact, &power_of_ten(order.places.into())?)?, places(price, quantity))
}

fn places(price: Decimal, quantity: Decimal) -> u32 {
    u32::from(price.places() + quantity.places())
}

fn minor<I: Exact>(amount: I) -> Result<Minor, Failure> {
    bounded(amount.to_i64().unwrap_or(Minor::MAX))
}
