//! Tax rates.
