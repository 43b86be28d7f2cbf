//! A person's data as a whole: exporting it, erasing it, and looking for what is left. What belongs to whom is what
//! `thorbis.protect()` was told: the catalogue.
//!
//! The tables themselves (requests, consents, holds, erasures, ...) are in `sql/schema/gdpr/`.

pub mod catalogue;
pub mod erase;
pub mod error;
pub mod export;
pub mod residue;
