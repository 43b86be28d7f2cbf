//! The tenant's own subscription.
