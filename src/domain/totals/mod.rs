//! What an order comes to, exactly.
//!
//! | step | module |
//! |---|---|
//! | the input is read and checked | `parse`, `lines`, `input`, `error` |
//! | as an order, whatever it was read from | `model` |
//! | it is calculated | `calculate`, `discounts`, `taxes`, `apportion`, `exact` |
//! | and written | `output` |
//! | what comes back of it | `refunds`, `returns` |
//!
//! Money is whole minor units; what lies between is exact fractions. Each rounding is one that the rules name.

pub mod apportion;
pub mod calculate;
pub mod discounts;
pub mod error;
pub mod exact;
pub mod input;
pub mod lines;
pub mod model;
pub mod output;
pub mod parse;
pub mod refunds;
pub mod returns;
pub mod taxes;

#[cfg(test)]
mod cases;
#[cfg(test)]
mod properties;
#[cfg(test)]
mod reference;

use crate::domain::jsonb::TooLarge;
use crate::domain::jsonb::read::Json;
use error::{Code, Fault};

/// `calculate_order_total`: a stored jsonb to a stored jsonb, whose first four bytes are left for the varlena header.
pub fn order_total(stored: &[u8]) -> Result<Vec<u8>, Fault> {
    let order = parse::order(Json::new(stored))?;
    let totals = calculate::calculate(&order)?;
    output::jsonb(&order, &totals).map_err(too_large)
}

/// `calculate_refund`, in the same way.
pub fn refund(stored: &[u8]) -> Result<Vec<u8>, Fault> {
    let returns = returns::parse(Json::new(stored))?;
    returns::jsonb(&returns).map_err(too_large)
}

fn too_large(TooLarge: TooLarge) -> Fault {
    Fault::because(Code::Range, "the result is larger than a jsonb can be")
}
