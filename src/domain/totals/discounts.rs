//! Discounts in four phases, each taken of what the ones before left: percent of lines, percent of the order, amounts
//! off lines, amounts off the order; within a phase in the order given.

use crate::domain::totals::apportion::apportion;
use crate::domain::totals::calculate::percent_of;
use crate::domain::totals::error::Failure;
use crate::domain::totals::model::*;

pub struct Discounted {
    /// Of each line.
    pub remaining: Vec<Minor>,
    /// Of each line: the discounts that apply to it, and what they took.
    pub taken: Vec<Vec<(u32, Minor)>>,
    /// Of each discount.
    pub totals: Vec<Minor>,
}

pub fn apply(order: &Order, gross: &[Minor]) -> Result<Discounted, Failure> {
    let mut all = Discounted {
        remaining: gross.to_vec(),
        taken: order.lines.iter().map(|line| Vec::with_capacity(line.discounts.count_ones() as usize)).collect(),
        totals: vec![0; order.discounts.len()],
    };
    let phase = |percent: bool, scope: Scope| {
        let listed = order.discounts.iter().enumerate();
        listed.filter(move |(_, d)| d.scope == scope && matches!(d.part, Part::Percent(_)) == percent)
    };
    let phases = phase(true, Scope::Line)
        .chain(phase(true, Scope::Order))
        .chain(phase(false, Scope::Line))
        .chain(phase(false, Scope::Order));
    for (i, discount) in phases {
        let applies: Vec<usize> =
            (0..order.lines.len()).filter(|&line| order.lines[line].discounts & (1 << i) != 0).collect();
        let taken = match discount.scope {
            Scope::Line => {
                let each = applies.iter().map(|&line| off(order, discount.part, all.remaining[line]));
                each.collect::<Result<Vec<Minor>, Failure>>()?
            }
            Scope::Order => {
                let weights: Vec<i128> = applies.iter().map(|&line| all.remaining[line].into()).collect();
                let together = applies.iter().map(|&line| all.remaining[line]).sum();
                apportion(off(order, discount.part, together)?, &weights, None)?
            }
        };
        for (&line, &amount) in std::iter::zip(&applies, &taken) {
            all.remaining[line] -= amount;
            all.taken[line].push((i as u32, amount));
            all.totals[i] += amount;
        }
    }
    Ok(all)
}

/// What a discount takes of what remains: never more than that.
fn off(order: &Order, part: Part, remaining: Minor) -> Result<Minor, Failure> {
    match part {
        Part::Percent(percent) => percent_of(remaining, percent, order.rounding),
        Part::Amount(amount) => Ok(amount.min(remaining)),
    }
}
