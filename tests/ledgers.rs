//! What verify_ledgers() proves.
