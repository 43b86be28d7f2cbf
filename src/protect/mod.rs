//! `thorbis.protect()`: tenant isolation for any table, and what keeps watch over it.
//!
//! Protection is a difference: `plan` compares what the options ask for with what the catalog holds and lists the
//! statements that are missing. So it is idempotent, its dry run is exact, and `doctor` finds drift with the same code.

pub mod audit;
pub mod commands;
pub mod doctor;
pub mod emptied;
pub mod error;
pub mod grants;
pub mod import;
pub mod options;
pub mod personal;
pub mod pii;
pub mod pii_views;
pub mod plan;
pub mod policies;
pub mod registry;
pub mod risks;
pub mod soft_delete;
pub mod table;
