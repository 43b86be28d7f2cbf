//! Invoices, payments, their chain and their rules.
//!
//! What is owed is a document that cannot be changed once it was issued; what is paid is a ledger of allocations. All that
//! writes them acts as the owner of the tables (`books`), on whose rows the rules stand as triggers: `freeze` for documents,
//! `allocations` and `refunds` for money. Locks go one way: invoices by key, payment, drawer; number and chain last.

pub mod allocations;
pub mod approval;
pub mod books;
pub mod cash;
pub mod chain;
pub mod credit;
pub mod error;
pub mod freeze;
pub mod issue;
pub mod money;
pub mod payments;
pub mod refunds;
pub mod taxes;
pub mod upkeep;
