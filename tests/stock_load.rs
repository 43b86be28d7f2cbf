//! The stock ledger under load.
