//! No double booking.
