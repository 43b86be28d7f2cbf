//! Exact totals of orders and refunds.

pub mod error;
pub mod functions;

pub use functions::calculate_datum;
