//! The extension's own hashes and its own check, compiled into this program.
#![allow(dead_code)]

#[path = "../../src/domain/merkle.rs"]
pub mod merkle;
#[path = "../../src/domain/proof.rs"]
pub mod proof;
#[path = "../../src/domain/seal.rs"]
pub mod seal;
