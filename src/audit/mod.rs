//! The log of changes: every committed change of a protected table, once, with who made it.
//!
//! | file | what |
//! |---|---|
//! | `trigger` | the trigger functions; `layout` what they know of a table, `image` a row as jsonb, `subject` whose key its personal data gets |
//! | `origin` | who and from where |
//! | `change_log` | one row into the partition of its month, without SQL |
//! | `leaf`, `seal`, `verify`, `prove` | tamper evidence; the hashing itself is in `domain::merkle` and `domain::seal` |
//! | `worker` | sealing in the background |
//! | `events`, `denials` | security events in the database; denials in the server log |
//! | `history` | a row as it was |
//! | `partitions`, `retention`, `maintain` | the upkeep of the log |

pub mod change_log;
pub mod denials;
pub mod error;
pub mod events;
pub mod history;
pub mod image;
pub mod layout;
pub mod leaf;
pub mod maintain;
pub mod origin;
pub mod partitions;
pub mod prove;
pub mod retention;
pub mod seal;
pub mod subject;
pub mod trigger;
pub mod verify;
pub mod worker;
