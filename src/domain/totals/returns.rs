//! The input of `calculate_refund`, and what it returns.

use crate::domain::decimal::Decimal;
use crate::domain::jsonb::read::Json;
use crate::domain::jsonb::write::{Keys, Writer};
use crate::domain::jsonb::{TooLarge, key_order};
use crate::domain::rounding::Rounding;
use crate::domain::totals::error::{At, Code, Fault};
use crate::domain::totals::input::*;
use crate::domain::totals::model::{LARGEST_TOTAL, MAX_LINES, MAX_TAXES, Minor};
use crate::domain::totals::output::{Money, Named, keys};
use crate::domain::totals::parse::{money_of, rounding_mode};
use crate::domain::totals::refunds::Returned;

/// What comes back of an order.
pub struct Returns<'a> {
    currency: &'a [u8],
    places: u8,
    lines: Vec<ReturnedLine<'a>>,
    amounts: Vec<(&'a [u8], Minor)>,
}

/// What is paid back of a line.
struct ReturnedLine<'a> {
    id: &'a [u8],
    back: Refund<'a>,
}

/// Amounts of a line: what was paid, was paid back before, or is paid back now.
#[derive(Default)]
struct Refund<'a> {
    net: Minor,
    discount: Minor,
    taxes: Vec<(&'a [u8], Minor)>,
}

impl Refund<'_> {
    fn total(&self) -> Minor {
        self.net + self.taxes.iter().map(|(_, amount)| amount).sum::<Minor>()
    }
}

pub fn parse(input: Json) -> Read<Returns> {
    let (mut code, mut minor_unit, mut rounding) = (None, None, None);
    let (mut line_list, mut amount_list) = (None, None);
    for (key, value) in object(input)?.iter() {
        let field = match key {
            b"currency" => &mut code,
            b"minor_unit" => &mut minor_unit,
            b"rounding" => &mut rounding,
            b"lines" => &mut line_list,
            b"amounts" => &mut amount_list,
            other => return unknown(other),
        };
        *field = given(value);
    }
    let (currency, places) = money_of(code, minor_unit)?;
    let rounding = rounding_mode(rounding, Rounding::HalfEven)?;
    let most = Some((MAX_LINES, Code::TooManyLines));
    let lines = list(line_list, "lines", most, |value| line(value, places, rounding))?;
    let amounts = list(amount_list, "amounts", most, |value| amount(value, places))?;
    Ids::new(lines.iter().map(|line| line.id), "lines")?;
    Ids::new(amounts.iter().map(|(id, _)| *id), "amounts")?;
    let returns = Returns { currency, places, lines, amounts };
    if returns.total() > LARGEST_TOTAL {
        return Err(Fault::because(Code::Range, "the total is above 9,999,999,999 minor units"));
    }
    Ok(returns)
}

fn line<'a>(value: Json<'a>, places: u8, rounding: Rounding) -> Read<ReturnedLine<'a>> {
    let (mut own_id, mut sold, mut before, mut now) = (None, None, None, None);
    let (mut net, mut discount, mut taxes, mut refunded) = (None, None, None, None);
    for (key, value) in object(value)?.iter() {
        let field = match key {
            b"id" => &mut own_id,
            b"quantity" => &mut sold,
            b"returned_before" => &mut before,
            b"return_quantity" => &mut now,
            b"net" => &mut net,
            b"discount" => &mut discount,
            b"taxes" => &mut taxes,
            b"refunded_before" => &mut refunded,
            other => return unknown(other),
        };
        *field = given(value);
    }
    let id = id(own_id)?;
    let sold = quantity(sold).at("quantity")?;
    let returned = |value: Option<Json>| value.map_or(Ok(Decimal::ZERO), |value| quantity_or_zero(decimal(value)?));
    let before = returned(before).at("returned_before")?;
    let now = returned(now).at("return_quantity")?;
    let returned =
        Returned::new(sold, before, now).ok_or_else(|| Fault::new(Code::ReturnQty).within("return_quantity"))?;
    let paid = Refund {
        net: money_or_zero(net, places).at("net")?,
        discount: money_or_zero(discount, places).at("discount")?,
        taxes: tax_amounts(taxes, places)?,
    };
    let refunded =
        refunded.map_or(Ok(Refund::default()), |value| refunded_before(value, places)).at("refunded_before")?;

    let of = |key: &'static str, paid: Minor, before: Minor| {
        if before > paid {
            let rule = "more was refunded than was paid";
            return Err(Fault::because(Code::ReturnQty, rule).within(key).within("refunded_before"));
        }
        Ok(returned.refund(paid, before, rounding))
    };
    if let Some((id, _)) = refunded.taxes.iter().find(|(id, _)| paid.taxes.iter().all(|(known, _)| known != id)) {
        let key = String::from_utf8_lossy(id);
        return Err(Fault::new(Code::UnknownTax).within(&key).within("taxes").within("refunded_before"));
    }
    let mut back = Refund {
        net: of("net", paid.net, refunded.net)?,
        discount: of("discount", paid.discount, refunded.discount)?,
        taxes: Vec::with_capacity(paid.taxes.len()),
    };
    for (id, amount) in paid.taxes {
        let before = refunded.taxes.iter().find(|(known, _)| *known == id).map_or(0, |(_, amount)| *amount);
        back.taxes.push((id, of("taxes", amount, before)?));
    }
    Ok(ReturnedLine { id, back })
}

fn refunded_before<'a>(value: Json<'a>, places: u8) -> Read<Refund<'a>> {
    let (mut net, mut discount, mut taxes) = (None, None, None);
    for (key, value) in object(value)?.iter() {
        let field = match key {
            b"net" => &mut net,
            b"discount" => &mut discount,
            b"taxes" => &mut taxes,
            other => return unknown(other),
        };
        *field = given(value);
    }
    Ok(Refund {
        net: money_or_zero(net, places).at("net")?,
        discount: money_or_zero(discount, places).at("discount")?,
        taxes: tax_amounts(taxes, places)?,
    })
}

/// `{id: amount}`, as a line of `calculate_order_total` has its taxes.
fn tax_amounts<'a>(value: Option<Json<'a>>, places: u8) -> Read<Vec<(&'a [u8], Minor)>> {
    let Some(value) = value else { return Ok(Vec::new()) };
    let mut all = Vec::new();
    for (id, amount) in object(value).at("taxes")?.iter() {
        let amount = money_or_zero(Some(amount), places);
        all.push((id, amount.at(&String::from_utf8_lossy(id)).at("taxes")?));
    }
    if all.len() > MAX_TAXES { Err(Fault::new(Code::TooManyTaxes).within("taxes")) } else { Ok(all) }
}

/// What is refunded by amount: a tip, a charge of phase total.
fn amount<'a>(value: Json<'a>, places: u8) -> Read<(&'a [u8], Minor)> {
    let (mut own_id, mut paid, mut before, mut refund) = (None, None, None, None);
    for (key, value) in object(value)?.iter() {
        let field = match key {
            b"id" => &mut own_id,
            b"amount" => &mut paid,
            b"refunded_before" => &mut before,
            b"refund" => &mut refund,
            other => return unknown(other),
        };
        *field = given(value);
    }
    let id = id(own_id)?;
    let paid = money_or_zero(paid, places).at("amount")?;
    let before = money_or_zero(before, places).at("refunded_before")?;
    let refund = money_or_zero(refund, places).at("refund")?;
    if refund > paid - before {
        return Err(Fault::because(Code::ReturnQty, "more would be refunded than was paid").within("refund"));
    }
    Ok((id, refund))
}

fn money_or_zero(value: Option<Json>, places: u8) -> Read<Minor> {
    let amount = value.map_or(Ok(0), |value| money(value, places))?;
    let rule = "an amount is at most 9,999,999,999 minor units";
    if amount > LARGEST_TOTAL { Err(Fault::because(Code::Range, rule)) } else { Ok(amount) }
}

impl Returns<'_> {
    fn total(&self) -> Minor {
        self.lines.iter().map(|line| line.back.total()).sum::<Minor>()
            + self.amounts.iter().map(|(_, amount)| amount).sum::<Minor>()
    }
}

const REFUND: [&str; 8] = ["net", "lines", "taxes", "total", "amounts", "currency", "discount", "tax_total"];
const LINE: [&str; 5] = ["id", "net", "taxes", "total", "discount"];
const AMOUNT: [&str; 2] = ["id", "refund"];

/// The bytes of the jsonb, of which the first four are left for the varlena header.
pub fn jsonb(returns: &Returns) -> Result<Vec<u8>, TooLarge> {
    let money = Money { places: returns.places };
    // Taxes of all lines, by their ids.
    let mut ids: Vec<&[u8]> = returns.lines.iter().flat_map(|line| line.back.taxes.iter().map(|(id, _)| *id)).collect();
    ids.sort_unstable_by(|a, b| key_order(a, b));
    ids.dedup();
    let place = |id: &[u8]| ids.partition_point(|known| key_order(known, id).is_lt());
    let mut taxes = vec![0; ids.len()];
    for (id, amount) in returns.lines.iter().flat_map(|line| &line.back.taxes) {
        taxes[place(id)] += amount;
    }
    let sum = |of: fn(&Refund) -> Minor| returns.lines.iter().map(|line| of(&line.back)).sum::<Minor>();

    let mut writer = Writer::with_capacity(512 + 256 * returns.lines.len());
    let w = &mut writer;
    let mut top = w.object(&keys(&REFUND));
    money.write(w, &mut top, sum(|line| line.net));
    w.nested(&mut top, |w| {
        let line_keys = keys(&LINE);
        let mut list = w.array(returns.lines.len());
        for ReturnedLine { id, back } in &returns.lines {
            w.nested(&mut list, |w| {
                let mut open = w.object(&line_keys);
                w.text(&mut open, |bytes| bytes.extend_from_slice(id));
                money.write(w, &mut open, back.net);
                w.nested(&mut open, |w| {
                    // As they were read, they are in the order of jsonb.
                    let mut object = w.object(&Keys::new(back.taxes.iter().map(|(id, _)| *id)));
                    back.taxes.iter().for_each(|(_, amount)| money.write(w, &mut object, *amount));
                });
                money.write(w, &mut open, back.total());
                money.write(w, &mut open, back.discount);
            });
        }
    });
    w.nested(&mut top, |w| Named::new(ids.clone()).write_all(w, &money, &taxes));
    money.write(w, &mut top, returns.total());
    w.nested(&mut top, |w| {
        let amount_keys = keys(&AMOUNT);
        let mut list = w.array(returns.amounts.len());
        for (id, refund) in &returns.amounts {
            w.nested(&mut list, |w| {
                let mut open = w.object(&amount_keys);
                w.text(&mut open, |bytes| bytes.extend_from_slice(id));
                money.write(w, &mut open, *refund);
            });
        }
    });
    w.text(&mut top, |bytes| bytes.extend_from_slice(returns.currency));
    money.write(w, &mut top, sum(|line| line.discount));
    money.write(w, &mut top, taxes.iter().sum());
    writer.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_in_the_order_of_jsonb() {
        for names in [&REFUND[..], &LINE, &AMOUNT] {
            assert!(names.is_sorted_by(|a, b| key_order(a.as_bytes(), b.as_bytes()).is_lt()), "{names:?}");
        }
    }
}
