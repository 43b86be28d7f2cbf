//! Calculate_refund().
