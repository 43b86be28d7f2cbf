//! Credit notes.
