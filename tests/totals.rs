//! Calculate_order_total() over every worked case, through SQL.
