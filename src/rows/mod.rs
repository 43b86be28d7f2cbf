//! Native row triggers of the business tables.

pub mod append_only;
pub mod error;
pub mod keep_tenant;
pub mod own_row;
pub mod updated_at;
