//! No floating point for money or quantities.
