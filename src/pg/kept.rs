//! What a backend keeps of something it read or made within a transaction.

use crate::pg::raw;
use pgrx::pg_sys;
use std::rc::Rc;

/// Where a transaction stands: a subtransaction's number does not come again within it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Place(pg_sys::LocalTransactionId, pg_sys::SubTransactionId);

impl Place {
    fn now() -> Place {
        // SAFETY: reads the state of the transaction.
        Place(raw::local_transaction_id(), unsafe { pg_sys::GetCurrentSubTransactionId() })
    }
}

/// A value read from tables. In a transaction that had written by then, it holds for the (sub)transaction that read it
/// only: what was read may be its own and gone after a rollback, without any message.
pub struct Kept<V> {
    value: Rc<V>,
    read_in: Option<Place>,
}

impl<V> Kept<V> {
    /// Call it after reading.
    pub fn new(value: V) -> Kept<V> {
        Kept { value: Rc::new(value), read_in: raw::has_written().then(Place::now) }
    }

    /// The value, unless it was read elsewhere in a transaction that writes.
    pub fn get(&self) -> Option<Rc<V>> {
        (self.read_in.is_none() || self.read_in == Some(Place::now())).then(|| Rc::clone(&self.value))
    }

    /// The value just read.
    pub fn value(&self) -> Rc<V> {
        Rc::clone(&self.value)
    }
}

impl<V> Clone for Kept<V> {
    fn clone(&self) -> Self {
        Kept { value: Rc::clone(&self.value), read_in: self.read_in }
    }
}
