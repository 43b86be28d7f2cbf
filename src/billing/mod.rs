//! Invoices, payments, their chain and their rules.
