//! The input object of `calculate_order_total` as an order.

use crate::domain::currency::{self, Currency};
use crate::domain::decimal::MAX_PLACES;
use crate::domain::jsonb::read::Json;
use crate::domain::rounding::Rounding;
use crate::domain::totals::error::{At, Code, Fault};
use crate::domain::totals::input::*;
use crate::domain::totals::lines;
use crate::domain::totals::model::*;

pub fn order(input: Json) -> Read<Order> {
    let (mut currency_code, mut minor_unit, mut rounding, mut level) = (None, None, None, None);
    let (mut line_list, mut discount_list, mut tax_list, mut charge_list) = (None, None, None, None);
    let (mut tip_object, mut cash_object) = (None, None);
    for (key, value) in object(input)?.iter() {
        let field = match key {
            b"currency" => &mut currency_code,
            b"minor_unit" => &mut minor_unit,
            b"rounding" => &mut rounding,
            b"tax_rounding_level" => &mut level,
            b"lines" => &mut line_list,
            b"discounts" => &mut discount_list,
            b"taxes" => &mut tax_list,
            b"service_charges" => &mut charge_list,
            b"tip" => &mut tip_object,
            b"cash_rounding" => &mut cash_object,
            other => return unknown(other),
        };
        *field = given(value);
    }
    let (currency, places) = money_of(currency_code, minor_unit)?;
    let rounding = rounding_mode(rounding, Rounding::HalfEven)?;
    let level = word(level, Level::Line, Code::TaxLevel, |name| match name {
        b"line" => Some(Level::Line),
        b"order" => Some(Level::Order),
        _ => None,
    })
    .at("tax_rounding_level")?;
    let discounts = list(discount_list, "discounts", Some((MAX_DISCOUNTS, Code::TooManyDiscounts)), |value| {
        discount(value, places)
    })?;
    let taxes = list(tax_list, "taxes", None, |value| tax(value, rounding))?;
    inclusive_first(&taxes)?;
    let known = lines::Known::new(discounts, taxes)?;
    let mut sets = lines::TaxSets::new(&known);
    let most = Some((MAX_LINES, Code::TooManyLines));
    let lines = list(line_list, "lines", most, |value| lines::line(value, &known, &mut sets))?;
    Ids::new(lines.iter().map(|line| line.id), "lines")?;
    let charges = list(charge_list, "service_charges", None, |value| lines::charge(value, places, &known, &mut sets))?;
    Ids::new(charges.iter().map(|charge| charge.id), "service_charges")?;
    let tip = tip_object.map(|value| tip(value, places).at("tip")).transpose()?;
    let cash = cash_object.map(|value| cash_rounding(value, places).at("cash_rounding")).transpose()?;
    let lines::Known { discounts, taxes, .. } = known;
    Ok(Order { currency, places, rounding, level, lines, discounts, taxes, tax_sets: sets.all, charges, tip, cash })
}

/// The currency's code, and how many places its amounts have.
pub fn money_of<'a>(code: Option<Json<'a>>, minor_unit: Option<Json>) -> Read<(&'a [u8], u8)> {
    let code = text(code, Code::Currency).at("currency")?;
    let currency = currency::find(code).ok_or_else(|| Fault::new(Code::Currency)).at("currency")?;
    let places = match (minor_unit, currency) {
        (None, Currency::Places(places)) => Some(places),
        (None, Currency::WithoutMinorUnit) => None,
        (Some(value), _) => {
            let number = decimal(value).ok().filter(|number| number.places() == 0);
            number.and_then(|number| u8::try_from(number.mantissa()).ok()).filter(|&places| places <= MAX_PLACES)
        }
    };
    Ok((code, places.ok_or_else(|| Fault::new(Code::MinorUnit)).at("minor_unit")?))
}

pub fn rounding_mode(value: Option<Json>, absent: Rounding) -> Read<Rounding> {
    word(value, absent, Code::RoundingMode, Rounding::parse).at("rounding")
}

fn scope(value: Option<Json>) -> Read<Scope> {
    word(value, Scope::Order, Code::Scope, |name| match name {
        b"order" => Some(Scope::Order),
        b"line" => Some(Scope::Line),
        _ => None,
    })
    .at("scope")
}

pub fn base(value: Option<Json>, total: bool) -> Read<Base> {
    word(value, Base::PostDiscount, Code::Base, |name| match name {
        b"post_discount" => Some(Base::PostDiscount),
        b"pre_discount" => Some(Base::PreDiscount),
        b"total" if total => Some(Base::Total),
        _ => None,
    })
    .at("base")
}

fn discount(value: Json, places: u8) -> Read<Discount> {
    let (mut own_id, mut percent, mut amount, mut own_scope) = (None, None, None, None);
    for (key, value) in object(value)?.iter() {
        let field = match key {
            b"id" => &mut own_id,
            b"percent" => &mut percent,
            b"amount" => &mut amount,
            b"scope" => &mut own_scope,
            other => return unknown(other),
        };
        *field = given(value);
    }
    Ok(Discount { id: id(own_id)?, part: part(percent, amount, places)?, scope: scope(own_scope)? })
}

fn tax(value: Json, mode: Rounding) -> Read<Tax> {
    let (mut own_id, mut in_percent, mut per_unit, mut own_scope) = (None, None, None, None);
    let (mut inclusive, mut compound, mut rounding) = (None, None, None);
    for (key, value) in object(value)?.iter() {
        let field = match key {
            b"id" => &mut own_id,
            b"percent" => &mut in_percent,
            b"per_unit" => &mut per_unit,
            b"inclusive" => &mut inclusive,
            b"compound" => &mut compound,
            b"scope" => &mut own_scope,
            b"rounding" => &mut rounding,
            other => return unknown(other),
        };
        *field = given(value);
    }
    let id = id(own_id)?;
    let compound = boolean(compound).at("compound")?;
    let rate = match (in_percent, per_unit) {
        (Some(value), None) => Rate::Percent(percent(value).at("percent")?),
        (None, Some(_)) if compound => return Err(Fault::new(Code::CompoundPerUnit).within("compound")),
        (None, Some(value)) => {
            let price = decimal(value).at("per_unit")?;
            if price.mantissa() < 0 {
                return Err(Fault::new(Code::NegativeAmount).within("per_unit"));
            }
            Rate::PerUnit(price)
        }
        _ => return Err(Fault::new(Code::PercentXorPerUnit)),
    };
    let inclusive = boolean(inclusive).at("inclusive")?;
    Ok(Tax { id, rate, inclusive, compound, scope: scope(own_scope)?, rounding: rounding_mode(rounding, mode)? })
}

fn inclusive_first(taxes: &[Tax]) -> Read<()> {
    let first_additive = taxes.iter().position(|tax| !tax.inclusive).unwrap_or(taxes.len());
    match taxes[first_additive..].iter().position(|tax| tax.inclusive) {
        None => Ok(()),
        Some(i) => Err(Fault::new(Code::InclusiveAfterAdditive)).at_index(first_additive + i).at("taxes"),
    }
}

fn tip(value: Json, places: u8) -> Read<Tip> {
    let (mut percent, mut amount, mut own_base) = (None, None, None);
    for (key, value) in object(value)?.iter() {
        let field = match key {
            b"percent" => &mut percent,
            b"amount" => &mut amount,
            b"base" => &mut own_base,
            other => return unknown(other),
        };
        *field = given(value);
    }
    Ok(Tip { part: part(percent, amount, places)?, base: base(own_base, true)? })
}

fn cash_rounding(value: Json, places: u8) -> Read<CashRounding> {
    let (mut increment, mut mode) = (None, None);
    for (key, value) in object(value)?.iter() {
        let field = match key {
            b"increment" => &mut increment,
            b"mode" => &mut mode,
            other => return unknown(other),
        };
        *field = given(value);
    }
    let increment = money(increment.unwrap_or(Json::Null), places).at("increment")?;
    let rule = "the increment of cash is above zero and at most 9,999,999,999 minor units";
    if increment == 0 || increment > LARGEST_TOTAL {
        return Err(Fault::because(Code::Range, rule).within("increment"));
    }
    let mode = word(mode, Rounding::HalfUp, Code::RoundingMode, Rounding::parse).at("mode")?;
    Ok(CashRounding { increment, mode })
}
