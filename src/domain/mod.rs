//! Pure logic: no PostgreSQL, no unsafe code, tested in milliseconds by `cargo test`.
#![deny(unsafe_code)]

pub mod claims;
pub mod envelope;
pub mod hours;
pub mod keyring;
pub mod names;
pub mod permissions;
pub mod personal;
pub mod plan;
pub mod server_version;
pub mod xaes;
