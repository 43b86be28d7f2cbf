//! What a user may do: permissions, opening hours, and the caches that make asking cheap.
//!
//! `invalidation` tells when cached data is stale, `load` reads it, `cache` keeps it, `site` remembers a verdict for
//! one statement, `functions` are the SQL functions, `guards` the triggers that keep the rbac tables sound.

pub mod cache;
pub mod clock;
pub mod error;
pub mod explain;
pub mod functions;
pub mod guards;
pub mod invalidation;
pub mod load;
pub mod site;
