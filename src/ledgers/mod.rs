//! Ledgers: stock, points, gift cards. What happened is added and never changed; a balance follows in the same
//! transaction, under the lock of its one row, and never falls below zero.
//!
//! | file | what |
//! |---|---|
//! | `entry` | a row of a ledger while it is written: whose it is, who may, its computed columns |
//! | `request` | requests with a key are done once: who asks, what was asked, what was answered |
//! | `stock` | movements between places and the balances that follow |
//! | `stock_requests` | posting movements, reserving, releasing |
//! | `stock_counts` | posting a count: the checkpoint of its balances |
//! | `gift_cards` | cards, found by a keyed hash of their code, and their activities |
//! | `loyalty` | points in lots that expire, spent oldest first |
//! | `loyalty_requests` | earning, spending, taking back |
//! | `expire` | tasks of `thorbis.maintain()` |
//! | `verify` | proves that balances are the sums of their movements, and payments those of theirs |

pub mod entry;
pub mod error;
pub mod expire;
pub mod gift_cards;
pub mod loyalty;
pub mod loyalty_requests;
pub mod request;
pub mod stock;
pub mod stock_counts;
pub mod stock_requests;
pub mod verify;
