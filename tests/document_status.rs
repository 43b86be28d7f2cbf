//! Status transitions of documents.
