//! Personal data: encrypted at rest, searchable, erasable.
//!
//! | module | what |
//! |---|---|
//! | `settings`, `keyring`, `source` | the keys that wrap data keys: where they come from, when they are read again |
//! | `data_keys`, `rotation` | one key a tenant and a person, wrapped; wrapping them anew |
//! | `fields` | which columns are encrypted, and what reading them takes |
//! | `functions` | `encrypt_pii`, `decrypt_pii`, `mask_pii`, `pii_blind_index` |
//! | `find` | rows by the clear value of an encrypted column |
//! | `trigger`, `view` | what happens when rows are written, to the table and through the view of clear values |
//! | `existing` | encrypting and decrypting the rows a table has |
//! | `random`, `error` | nonces and keys; what can go wrong |
//!
//! The cipher and the formats are in `domain`.

pub mod data_keys;
pub mod error;
pub mod existing;
pub mod fields;
pub mod find;
pub mod functions;
pub mod keyring;
pub mod random;
pub mod rotation;
pub mod settings;
pub mod source;
pub mod trigger;
pub mod view;
