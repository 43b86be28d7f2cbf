//! Stored totals equal the calculation.
