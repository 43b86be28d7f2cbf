//! Document numbers: no gaps, no duplicates.
