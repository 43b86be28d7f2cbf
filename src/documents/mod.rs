//! Status, numbers and stored totals of documents.
//!
//! `transitions` knows which changes of status there are, `status` are the triggers that hold documents to them, `guard`
//! asks a transition's own condition, `reason` is why somebody changed it, `allowed` tells user interfaces what is possible.
//!
//! `number` gives numbers, `series` says how they look, `counter` counts. `totals` keeps stored amounts right.

pub mod allowed;
pub mod counter;
pub mod error;
pub mod guard;
pub mod number;
pub mod reason;
pub mod series;
pub mod status;
pub mod totals;
pub mod transitions;

/// The arguments of a trigger as `pg_trigger.tgargs` keeps them: each ends with a zero byte.
pub fn split_arguments(tgargs: &[u8]) -> Vec<String> {
    let arguments = tgargs.split_inclusive(|byte| *byte == 0);
    arguments.map(|text| String::from_utf8_lossy(text.strip_suffix(&[0]).unwrap_or(text)).into_owned()).collect()
}
