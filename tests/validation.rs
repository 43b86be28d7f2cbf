//! Validation triggers.
