//! PostgreSQL facilities that pgrx does not offer in the form needed here, each behind a small safe interface.

pub mod cell;
pub mod cursor;
pub mod error;
pub mod fixed_output;
pub mod fresh;
pub mod function;
pub mod identity;
pub mod index_lookup;
pub mod kept;
pub mod made;
pub mod private_lock;
pub mod raw;
pub mod settings_scope;
pub mod slot;
pub mod sql;
pub mod stored;
pub mod subtransaction;
pub mod trigger;
pub mod trigger_error;
pub mod uuid;
