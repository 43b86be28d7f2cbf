//! Payments under load.
