//! Pure logic: no PostgreSQL, no unsafe code, tested in milliseconds by `cargo test`.
#![deny(unsafe_code)]

pub mod audit_spec;
pub mod cents;
pub mod claims;
pub mod currency;
pub mod decimal;
pub mod denial;
pub mod envelope;
pub mod gtin;
pub mod hours;
pub mod jsonb;
pub mod keyring;
pub mod lifelines;
pub mod merkle;
pub mod names;
pub mod numbering;
pub mod permissions;
pub mod personal;
pub mod plan;
pub mod progress;
pub mod proof;
pub mod rounding;
pub mod seal;
pub mod server_version;
pub mod totals;
pub mod vin;
pub mod xaes;
