//! Payments, allocations, refunds.
