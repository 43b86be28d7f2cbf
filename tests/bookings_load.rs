//! Bookings under load.
