//! Every E_ code, with SQLSTATE and message.
