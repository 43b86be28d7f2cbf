//! Locks that no SQL takes: whoever may call `pg_advisory_lock()` could otherwise keep everybody waiting, of any tenant.
//!
//! They are advisory locks in places that the SQL functions do not reach: those have 1 or 2 in the last field of the tag.
//! What is locked is a hash of its key: two keys that have the same by chance only wait for each other.

use pgrx::pg_sys;
use uuid::Uuid;

unsafe extern "C-unwind" {
    /// PostgreSQL's own, which is the same in all its releases. Raises nothing.
    fn hash_bytes_extended(bytes: *const u8, length: i32, seed: u64) -> u64;
}

/// What is locked: each has a place of its own.
#[derive(Clone, Copy)]
#[repr(u16)]
pub enum Space {
    Ranges = 3,
    Numbers = 4,
    TaxJurisdictions = 5,
}

/// The key of what is locked, value by value.
#[derive(Default)]
pub struct Key(Vec<u8>);

impl Key {
    pub fn uuid(self, value: Uuid) -> Key {
        self.bytes(value.as_bytes())
    }

    pub fn integer(self, value: u64) -> Key {
        self.bytes(&value.to_be_bytes())
    }

    /// With its length, so that what follows it is not taken for a part of it.
    pub fn text(self, value: &str) -> Key {
        self.integer(value.len() as u64).bytes(value.as_bytes())
    }

    fn bytes(mut self, bytes: &[u8]) -> Key {
        self.0.extend_from_slice(bytes);
        self
    }

    pub fn hash(&self) -> u64 {
        let length = i32::try_from(self.0.len()).expect("keys are short");
        // SAFETY: reads that many bytes.
        unsafe { hash_bytes_extended(self.0.as_ptr(), length, 0) }
    }
}

/// Waits for the lock and keeps it until the transaction ends.
pub fn hold(space: Space, hash: u64) {
    acquire(space, hash);
}

/// Waits for the lock and keeps it until what is returned is dropped, on an error until the (sub)transaction is aborted.
pub fn take(space: Space, hash: u64) -> Taken {
    Taken(acquire(space, hash))
}

pub struct Taken(pg_sys::LOCKTAG);

impl Drop for Taken {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            // SAFETY: taken by `take`.
            unsafe { pg_sys::LockRelease(&self.0, pg_sys::ExclusiveLock as _, false) };
        }
    }
}

fn acquire(space: Space, hash: u64) -> pg_sys::LOCKTAG {
    let tag = pg_sys::LOCKTAG {
        // SAFETY: a static variable of the process.
        locktag_field1: u32::from(unsafe { pg_sys::MyDatabaseId }),
        locktag_field2: (hash >> 32) as u32,
        locktag_field3: hash as u32,
        locktag_field4: space as u16,
        locktag_type: pg_sys::LockTagType::LOCKTAG_ADVISORY as u8,
        locktag_lockmethodid: pg_sys::USER_LOCKMETHOD as u8,
    };
    // SAFETY: the lock manager copies the tag.
    unsafe { pg_sys::LockAcquire(&tag, pg_sys::ExclusiveLock as _, false, false) };
    tag
}
