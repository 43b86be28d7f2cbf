//! The chain of issued invoices.
