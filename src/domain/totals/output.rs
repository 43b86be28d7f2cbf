//! What an order comes to, as the jsonb that `calculate_order_total` returns.

use crate::domain::decimal::write_units;
use crate::domain::jsonb::write::{Keys, Open, Writer};
use crate::domain::jsonb::{TooLarge, key_order};
use crate::domain::totals::model::*;

/// Amounts as texts, with the places of the currency.
pub struct Money {
    pub places: u8,
}

impl Money {
    pub fn write(&self, writer: &mut Writer, open: &mut Open, amount: Minor) {
        writer.text(open, |bytes| write_units(bytes, amount, self.places));
    }
}

/// Some of a list's ids as the keys of an object: in the order that jsonb wants.
pub struct Named<'a> {
    ids: Vec<&'a [u8]>,
    /// The place of each id in that order.
    rank: Vec<u32>,
    /// The keys used last, and of which ids: lines next to each other often have the same.
    last: Option<(Vec<u32>, Keys)>,
}

impl<'a> Named<'a> {
    pub fn new(ids: Vec<&'a [u8]>) -> Named<'a> {
        let mut order: Vec<u32> = (0..ids.len() as u32).collect();
        order.sort_unstable_by(|&a, &b| key_order(ids[a as usize], ids[b as usize]));
        let mut rank = vec![0; ids.len()];
        order.iter().zip(0..).for_each(|(&id, place)| rank[id as usize] = place);
        Named { ids, rank, last: None }
    }

    /// `{id: amount}`.
    pub fn write(&mut self, writer: &mut Writer, money: &Money, amounts: &[(u32, Minor)]) {
        let mut sorted: Vec<(u32, Minor)>;
        let mut amounts = amounts;
        if !amounts.is_sorted_by_key(|&(id, _)| self.rank[id as usize]) {
            sorted = amounts.to_vec();
            sorted.sort_unstable_by_key(|&(id, _)| self.rank[id as usize]);
            amounts = &sorted;
        }
        let same = self.last.as_ref().is_some_and(|(ids, _)| ids.iter().eq(amounts.iter().map(|(id, _)| id)));
        if !same {
            let keys = Keys::new(amounts.iter().map(|&(id, _)| self.ids[id as usize]));
            self.last = Some((amounts.iter().map(|&(id, _)| id).collect(), keys));
        }
        let Some((_, keys)) = &self.last else { return };
        let mut open = writer.object(keys);
        for &(_, amount) in amounts {
            money.write(writer, &mut open, amount);
        }
    }

    /// The same for a list of all, one amount for each id.
    pub fn write_all(&mut self, writer: &mut Writer, money: &Money, amounts: &[Minor]) {
        let amounts: Vec<(u32, Minor)> = (0..).zip(amounts.iter().copied()).collect();
        self.write(writer, money, &amounts);
    }
}

/// All keys are in `key_order`; a test holds them to it.
const ORDER: [&str; 13] = [
    "tip",
    "lines",
    "taxes",
    "total",
    "currency",
    "subtotal",
    "discounts",
    "tax_total",
    "discount_total",
    "service_charges",
    "tax_additive_total",
    "tax_inclusive_total",
    "service_charge_total",
];
const LINE: [&str; 9] =
    ["id", "net", "gross", "taxes", "total", "discount", "discounts", "tax_additive", "tax_inclusive"];
const CHARGE: [&str; 3] = ["id", "taxes", "amount"];

/// With these when cash is rounded.
const ORDER_WITH_CASH: [&str; 15] = [
    "tip",
    "lines",
    "taxes",
    "total",
    "currency",
    "subtotal",
    "discounts",
    "tax_total",
    "cash_total",
    "cash_rounding",
    "discount_total",
    "service_charges",
    "tax_additive_total",
    "tax_inclusive_total",
    "service_charge_total",
];

pub fn keys(names: &[&str]) -> Keys {
    Keys::new(names.iter().map(|name| name.as_bytes()))
}

/// The bytes of the jsonb, of which the first four are left for the varlena header.
pub fn jsonb(order: &Order, totals: &Totals) -> Result<Vec<u8>, TooLarge> {
    let money = Money { places: order.places };
    let mut discounts = Named::new(order.discounts.iter().map(|discount| discount.id).collect());
    let mut taxes = Named::new(order.taxes.iter().map(|tax| tax.id).collect());
    let mut writer = Writer::with_capacity(512 + 320 * order.lines.len());
    let w = &mut writer;

    let mut top = w.object(&keys(if totals.cash.is_some() { &ORDER_WITH_CASH } else { &ORDER }));
    money.write(w, &mut top, totals.tip);
    w.nested(&mut top, |w| lines(w, &money, order, totals, &mut discounts, &mut taxes));
    w.nested(&mut top, |w| taxes.write_all(w, &money, &totals.taxes));
    money.write(w, &mut top, totals.total);
    w.text(&mut top, |bytes| bytes.extend_from_slice(order.currency));
    money.write(w, &mut top, totals.subtotal);
    w.nested(&mut top, |w| discounts.write_all(w, &money, &totals.discounts));
    money.write(w, &mut top, totals.tax_inclusive + totals.tax_additive);
    if let Some(cash) = &totals.cash {
        money.write(w, &mut top, cash.total);
        money.write(w, &mut top, cash.rounding);
    }
    money.write(w, &mut top, totals.discount_total);
    w.nested(&mut top, |w| charges(w, &money, order, totals, &mut taxes));
    money.write(w, &mut top, totals.tax_additive);
    money.write(w, &mut top, totals.tax_inclusive);
    money.write(w, &mut top, totals.charge_total);
    writer.finish()
}

fn lines(w: &mut Writer, money: &Money, order: &Order, totals: &Totals, discounts: &mut Named, taxes: &mut Named) {
    let line_keys = keys(&LINE);
    let mut list = w.array(order.lines.len());
    for (line, LineTotals { gross, discounts: taken, item }) in order.lines.iter().zip(&totals.lines) {
        w.nested(&mut list, |w| {
            let mut open = w.object(&line_keys);
            w.text(&mut open, |bytes| bytes.extend_from_slice(line.id));
            money.write(w, &mut open, item.amount - item.inclusive);
            money.write(w, &mut open, *gross);
            w.nested(&mut open, |w| taxes.write(w, money, &item.taxes));
            money.write(w, &mut open, item.amount + item.additive);
            money.write(w, &mut open, gross - item.amount);
            w.nested(&mut open, |w| discounts.write(w, money, taken));
            money.write(w, &mut open, item.additive);
            money.write(w, &mut open, item.inclusive);
        });
    }
}

fn charges(w: &mut Writer, money: &Money, order: &Order, totals: &Totals, taxes: &mut Named) {
    let charge_keys = keys(&CHARGE);
    let mut list = w.array(order.charges.len());
    for (charge, item) in order.charges.iter().zip(&totals.charges) {
        w.nested(&mut list, |w| {
            let mut open = w.object(&charge_keys);
            w.text(&mut open, |bytes| bytes.extend_from_slice(charge.id));
            w.nested(&mut open, |w| taxes.write(w, money, &item.taxes));
            money.write(w, &mut open, item.amount);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_in_the_order_of_jsonb() {
        for names in [&ORDER[..], &ORDER_WITH_CASH, &LINE, &CHARGE] {
            assert!(names.is_sorted_by(|a, b| key_order(a.as_bytes(), b.as_bytes()).is_lt()), "{names:?}");
        }
    }
}
