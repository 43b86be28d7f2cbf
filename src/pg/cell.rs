//! State of one backend.

/// A value that belongs to this backend process. Plain `static`s with this wrapper are read without the call that a
/// `thread_local!` of a shared library costs, which matters for functions that take a few nanoseconds.
pub struct BackendCell<T>(T);

// SAFETY: a PostgreSQL backend runs SQL in one thread only; pgrx checks that for every guarded call it makes.
unsafe impl<T> Sync for BackendCell<T> {}

impl<T> BackendCell<T> {
    pub const fn new(value: T) -> Self {
        BackendCell(value)
    }
}

impl<T> std::ops::Deref for BackendCell<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}
