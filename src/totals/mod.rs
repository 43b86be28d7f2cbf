//! Exact totals of orders and refunds.
