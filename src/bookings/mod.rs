//! No double booking: ranges that must not overlap, and time off.

pub mod error;
pub mod exclusion;
pub mod no_overlap;
pub mod schedule;
