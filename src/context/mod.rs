//! Who is asking: the tenant and the user of the current transaction.
//!
//! `settings` and `bound_roles` are the sources, `current` resolves them and holds the latch, `readers` are the SQL
//! functions that policies call, `commands` the ones that set a context.

pub mod bound_roles;
pub mod commands;
pub mod current;
pub mod error;
pub mod parallel;
pub mod readers;
pub mod settings;
