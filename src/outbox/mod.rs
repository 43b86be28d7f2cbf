//! Events for other systems, and requests that must not be done twice.
//!
//! `event` writes an event within the transaction that causes it; `queue` hands events to consumers; `requests` remembers
//! what was answered to a request; `cleanup` removes what is done with.

pub mod cleanup;
pub mod error;
pub mod event;
pub mod payload;
pub mod queue;
pub mod requests;
