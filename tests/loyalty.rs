//! Loyalty points.
