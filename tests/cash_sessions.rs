//! Cash sessions.
