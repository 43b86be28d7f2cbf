//! Status, numbers and stored totals of documents.
