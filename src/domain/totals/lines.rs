//! Lines and charges of the input, and which discounts and taxes they have.

use crate::domain::jsonb::read::Json;
use crate::domain::totals::error::{At, Code, Fault};
use crate::domain::totals::input::*;
use crate::domain::totals::model::*;
use crate::domain::totals::parse::base;

/// The discounts and taxes that lines and charges can refer to.
pub struct Known<'a> {
    pub discounts: Vec<Discount<'a>>,
    pub taxes: Vec<Tax<'a>>,
    discount_ids: Ids<'a>,
    tax_ids: Ids<'a>,
    /// Discounts of scope order.
    of_order: DiscountSet,
}

impl<'a> Known<'a> {
    pub fn new(discounts: Vec<Discount<'a>>, taxes: Vec<Tax<'a>>) -> Read<Known<'a>> {
        let of_order = discounts.iter().enumerate().filter(|(_, discount)| discount.scope == Scope::Order);
        Ok(Known {
            of_order: of_order.fold(0, |set, (i, _)| set | 1 << i),
            discount_ids: Ids::new(discounts.iter().map(|discount| discount.id), "discounts")?,
            tax_ids: Ids::new(taxes.iter().map(|tax| tax.id), "taxes")?,
            discounts,
            taxes,
        })
    }

    fn discounts_listed(&self, value: Option<Json>, key: &'static str) -> Read<Vec<Listed>> {
        self.discount_ids.listed(value, key, Code::UnknownDiscount)
    }

    fn taxes_listed(&self, value: Option<Json>, key: &'static str) -> Read<Vec<Listed>> {
        self.tax_ids.listed(value, key, Code::UnknownTax)
    }
}

/// The sets of taxes that items have. The first two are none at all, and all of scope order.
pub struct TaxSets {
    pub all: Vec<Vec<u32>>,
}

const NONE: usize = 0;
const OF_ORDER: usize = 1;

impl TaxSets {
    pub fn new(known: &Known) -> TaxSets {
        let of_order = known.taxes.iter().zip(0..).filter(|(tax, _)| tax.scope == Scope::Order);
        TaxSets { all: vec![Vec::new(), of_order.map(|(_, i)| i).collect()] }
    }

    /// The set's place. Items next to each other often have the same.
    fn place(&mut self, set: Vec<u32>) -> Read<usize> {
        few(set.len())?;
        if self.all.last() != Some(&set) {
            self.all.push(set);
        }
        Ok(self.all.len() - 1)
    }
}

/// Checks how many taxes an item has.
fn few(taxes: usize) -> Read<()> {
    if taxes > MAX_TAXES { Err(Fault::new(Code::TooManyTaxes).within("taxes")) } else { Ok(()) }
}

pub fn line<'a>(value: Json<'a>, known: &Known, sets: &mut TaxSets) -> Read<Line<'a>> {
    let (mut own_id, mut unit_price, mut own_quantity, mut modifier_list) = (None, None, None, None);
    let (mut discounts, mut taxes, mut tax_exempt) = (None, None, None);
    let (mut exempt_from, mut exempt_from_discounts) = (None, None);
    for (key, value) in object(value)?.iter() {
        let field = match key {
            b"id" => &mut own_id,
            b"unit_price" => &mut unit_price,
            b"quantity" => &mut own_quantity,
            b"modifiers" => &mut modifier_list,
            b"discounts" => &mut discounts,
            b"taxes" => &mut taxes,
            b"tax_exempt" => &mut tax_exempt,
            b"exempt_from" => &mut exempt_from,
            b"exempt_from_discounts" => &mut exempt_from_discounts,
            other => return unknown(other),
        };
        *field = given(value);
    }
    Ok(Line {
        id: id(own_id)?,
        unit_price: required(unit_price).at("unit_price")?,
        quantity: quantity(own_quantity).at("quantity")?,
        modifiers: list(modifier_list, "modifiers", None, modifier)?,
        discounts: discounts_of_line(known, discounts, exempt_from_discounts)?,
        tax_set: taxes_of_line(known, sets, taxes, boolean(tax_exempt).at("tax_exempt")?, exempt_from)?,
    })
}

fn modifier(value: Json) -> Read<Modifier> {
    let (mut unit_price, mut own_quantity) = (None, None);
    for (key, value) in object(value)?.iter() {
        let field = match key {
            b"unit_price" => &mut unit_price,
            b"quantity" => &mut own_quantity,
            other => return unknown(other),
        };
        *field = given(value);
    }
    Ok(Modifier {
        unit_price: required(unit_price).at("unit_price")?,
        quantity: quantity(own_quantity).at("quantity")?,
    })
}

/// Those of scope order and those it lists, but for those it is exempt from.
fn discounts_of_line(known: &Known, listed: Option<Json>, exempt: Option<Json>) -> Read<DiscountSet> {
    let mut set = known.of_order;
    for Listed { index, place } in known.discounts_listed(listed, "discounts")? {
        if known.discounts[index as usize].scope != Scope::Line {
            let rule = "a line lists discounts of scope line; those of scope order apply by themselves";
            return Err(Fault::because(Code::Scope, rule)).at_index(place).at("discounts");
        }
        set |= 1 << index;
    }
    for Listed { index, .. } in known.discounts_listed(exempt, "exempt_from_discounts")? {
        set &= !(1 << index);
    }
    Ok(set)
}

/// Those of scope order, unless it is exempt, and those it lists, but for those it is exempt from by name.
fn taxes_of_line(
    known: &Known,
    sets: &mut TaxSets,
    listed: Option<Json>,
    tax_exempt: bool,
    exempt_from: Option<Json>,
) -> Read<usize> {
    let of_order = if tax_exempt { NONE } else { OF_ORDER };
    if listed.is_none() && exempt_from.is_none() {
        few(sets.all[of_order].len())?;
        return Ok(of_order);
    }
    let listed = known.taxes_listed(listed, "taxes")?;
    let exempt = known.taxes_listed(exempt_from, "exempt_from")?;
    if let Some(Listed { place, .. }) = listed.iter().find(|tax| known.taxes[tax.index as usize].scope != Scope::Line) {
        let rule = "a line lists taxes of scope line; those of scope order apply by themselves";
        return Err(Fault::because(Code::Scope, rule)).at_index(*place).at("taxes");
    }
    // Before anything long is copied for each line.
    few((sets.all[of_order].len() + listed.len()).saturating_sub(exempt.len()))?;
    let mut set = sets.all[of_order].clone();
    set.extend(listed.iter().map(|tax| tax.index));
    set.retain(|tax| exempt.binary_search_by_key(tax, |exempt| exempt.index).is_err());
    set.sort_unstable();
    sets.place(set)
}

pub fn charge<'a>(value: Json<'a>, places: u8, known: &Known, sets: &mut TaxSets) -> Read<Charge<'a>> {
    let (mut own_id, mut percent, mut amount) = (None, None, None);
    let (mut phase, mut own_base, mut taxable, mut taxes) = (None, None, None, None);
    for (key, value) in object(value)?.iter() {
        let field = match key {
            b"id" => &mut own_id,
            b"percent" => &mut percent,
            b"amount" => &mut amount,
            b"phase" => &mut phase,
            b"base" => &mut own_base,
            b"taxable" => &mut taxable,
            b"taxes" => &mut taxes,
            other => return unknown(other),
        };
        *field = given(value);
    }
    let id = id(own_id)?;
    let part = part(percent, amount, places)?;
    let phase = word(phase, Phase::Subtotal, Code::Phase, |name| match name {
        b"subtotal" => Some(Phase::Subtotal),
        b"total" => Some(Phase::Total),
        _ => None,
    })
    .at("phase")?;
    let base = base(own_base, false)?;
    let taxable = boolean(taxable).at("taxable")?;
    let listed = known.taxes_listed(taxes, "taxes")?;
    if phase == Phase::Total {
        if taxable || !listed.is_empty() {
            return Err(Fault::new(Code::TotalPhaseTaxed).within(if taxable { "taxable" } else { "taxes" }));
        }
        if base != Base::PostDiscount {
            let rule = "a charge of phase total is a percentage of everything before it";
            return Err(Fault::because(Code::Base, rule).within("base"));
        }
    }
    Ok(Charge { id, part, phase, base, tax_set: taxes_of_charge(known, sets, taxable, &listed)? })
}

/// Those it lists and, when it is taxable, those of scope order: of either what is a percentage.
fn taxes_of_charge(known: &Known, sets: &mut TaxSets, taxable: bool, listed: &[Listed]) -> Read<usize> {
    let is_percent = |tax: u32| matches!(known.taxes[tax as usize].rate, Rate::Percent(_));
    if let Some(Listed { place, .. }) = listed.iter().find(|tax| !is_percent(tax.index)) {
        let rule = "a charge has no units that a tax per unit could count";
        return Err(Fault::because(Code::Scope, rule)).at_index(*place).at("taxes");
    }
    if !taxable && listed.is_empty() {
        return Ok(NONE);
    }
    let of_order = if taxable { OF_ORDER } else { NONE };
    let mut set: Vec<u32> = sets.all[of_order].iter().copied().filter(|&tax| is_percent(tax)).collect();
    set.extend(listed.iter().map(|tax| tax.index));
    set.sort_unstable();
    set.dedup();
    sets.place(set)
}
