//! The extension's own cipher and formats, compiled into this program: what decrypting costs without PostgreSQL.
#![allow(dead_code)]

#[path = "../../src/domain/envelope.rs"]
pub mod envelope;
#[path = "../../src/domain/keyring.rs"]
pub mod keyring;
#[path = "../../src/domain/xaes.rs"]
pub mod xaes;
