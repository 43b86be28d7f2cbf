//! An order, as the calculation takes it: checked, references resolved, whatever it was read from.

use crate::domain::decimal::Decimal;
use crate::domain::rounding::Rounding;

/// What subtotal and total can be, in minor units: a column of numeric(10,2) holds it.
pub const LARGEST_TOTAL: i64 = 9_999_999_999;
pub const MAX_LINES: usize = 2_500;
/// They are bits of a `DiscountSet`.
pub const MAX_DISCOUNTS: usize = 100;
/// Of one item.
pub const MAX_TAXES: usize = 10;
pub const QUANTITY_PLACES: u8 = 5;
/// A quantity is below this.
pub const LARGEST_QUANTITY: i64 = 100_000_000;

/// Amounts of money, in minor units.
pub type Minor = i64;

/// Bit i is discount i of the order.
pub type DiscountSet = u128;

pub struct Order<'a> {
    pub currency: &'a [u8],
    /// Decimal places of its amounts.
    pub places: u8,
    pub rounding: Rounding,
    pub level: Level,
    pub lines: Vec<Line<'a>>,
    pub discounts: Vec<Discount<'a>>,
    pub taxes: Vec<Tax<'a>>,
    /// Which taxes an item has: indexes of taxes, in their order. Items refer to one of these sets.
    pub tax_sets: Vec<Vec<u32>>,
    pub charges: Vec<Charge<'a>>,
    pub tip: Option<Tip>,
    pub cash: Option<CashRounding>,
}

/// Where taxes are rounded.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Level {
    Line,
    Order,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Scope {
    Line,
    Order,
}

pub struct Line<'a> {
    pub id: &'a [u8],
    pub unit_price: Decimal,
    pub quantity: Decimal,
    pub modifiers: Vec<Modifier>,
    /// Those that apply to it.
    pub discounts: DiscountSet,
    pub tax_set: usize,
}

#[derive(Clone, Copy)]
pub struct Modifier {
    pub unit_price: Decimal,
    pub quantity: Decimal,
}

/// Part of an amount, or an amount of its own.
#[derive(Clone, Copy)]
pub enum Part {
    Percent(Decimal),
    Amount(Minor),
}

pub struct Discount<'a> {
    pub id: &'a [u8],
    pub part: Part,
    pub scope: Scope,
}

#[derive(Clone, Copy)]
pub enum Rate {
    Percent(Decimal),
    PerUnit(Decimal),
}

pub struct Tax<'a> {
    pub id: &'a [u8],
    pub rate: Rate,
    pub inclusive: bool,
    pub compound: bool,
    pub scope: Scope,
    pub rounding: Rounding,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Phase {
    Subtotal,
    Total,
}

/// What a percentage is taken of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Base {
    PostDiscount,
    PreDiscount,
    Total,
}

pub struct Charge<'a> {
    pub id: &'a [u8],
    pub part: Part,
    pub phase: Phase,
    pub base: Base,
    pub tax_set: usize,
}

pub struct Tip {
    pub part: Part,
    pub base: Base,
}

pub struct CashRounding {
    pub increment: Minor,
    pub mode: Rounding,
}

/// What an order comes to.
pub struct Totals {
    pub lines: Vec<LineTotals>,
    pub charges: Vec<ItemTaxes>,
    /// Of each discount and tax of the order, in its order.
    pub discounts: Vec<Minor>,
    pub taxes: Vec<Minor>,
    pub subtotal: Minor,
    pub discount_total: Minor,
    pub charge_total: Minor,
    pub tax_inclusive: Minor,
    pub tax_additive: Minor,
    pub tip: Minor,
    pub total: Minor,
    pub cash: Option<CashTotal>,
}

pub struct LineTotals {
    pub gross: Minor,
    /// Index of each discount that applies, and what it took.
    pub discounts: Vec<(u32, Minor)>,
    pub item: ItemTaxes,
}

/// A line or charge after its discounts, with its taxes.
#[derive(Default)]
pub struct ItemTaxes {
    pub amount: Minor,
    pub inclusive: Minor,
    pub additive: Minor,
    /// Index of each tax of the item, and what it is.
    pub taxes: Vec<(u32, Minor)>,
}

pub struct CashTotal {
    pub rounding: Minor,
    pub total: Minor,
}
