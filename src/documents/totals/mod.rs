//! Stored totals: the amounts of documents and their lines are what `calculate_order_total` makes of their inputs, whoever
//! writes them.
//!
//! `spec` is the triggers' argument, `statements` the SQL that follows from it, `triggers` keep the amounts, `verify` finds
//! documents that disagree.

pub mod error;
pub mod spec;
pub mod statements;
pub mod triggers;
pub mod verify;
