//! Pure logic: no PostgreSQL, no unsafe code, tested in milliseconds by `cargo test`.
#![deny(unsafe_code)]

pub mod claims;
pub mod hours;
pub mod names;
pub mod permissions;
pub mod plan;
pub mod server_version;
