//! The keyring in use, and when it is read again.
//!
//! Once a transaction, and whenever a data key is made, the source is looked at: a file that was replaced counts from
//! then on, one that is gone stops reading and writing. Everything that was opened with an older keyring is dropped.

use crate::domain::keyring::Keyring;
use crate::pg::cell::BackendCell;
use crate::pg::error::OrRaise;
use crate::pg::raw;
use crate::pii::error::KeyringError;
use crate::pii::source::{Source, Stamp};
use crate::pii::{data_keys, random, settings};
use pgrx::pg_sys;
use std::cell::{Cell, RefCell};
use std::rc::Rc;

struct Loaded {
    source: Source,
    stamp: Stamp,
    keyring: Rc<Keyring>,
}

static LOADED: BackendCell<RefCell<Option<Loaded>>> = BackendCell::new(RefCell::new(None));
/// (transaction, settings) at the last look.
static LOOKED: BackendCell<Cell<(pg_sys::LocalTransactionId, u64)>> = BackendCell::new(Cell::new((0, 0)));

/// Raises when there is no usable keyring; afterwards, data keys in memory were opened with the one in force. A few
/// nanoseconds, but once a transaction.
#[inline]
pub fn ensure() {
    if LOOKED.get() != (raw::local_transaction_id(), settings::generation()) {
        look();
    }
}

/// The keyring as it is this moment.
pub fn latest() -> Rc<Keyring> {
    look();
    current()
}

/// The keyring as it was at this transaction's last look.
pub fn current() -> Rc<Keyring> {
    ensure();
    LOADED.borrow().as_ref().map(|loaded| Rc::clone(&loaded.keyring)).expect("look() loads it or raises")
}

/// Where the keyring comes from, for messages.
pub fn source_name() -> String {
    LOADED.borrow().as_ref().map(|loaded| loaded.source.name()).unwrap_or_default()
}

/// Why there is no usable keyring, for the doctor.
pub fn problem() -> Option<KeyringError> {
    try_look().err()
}

fn look() {
    try_look().or_raise();
}

fn try_look() -> Result<(), KeyringError> {
    let now = (raw::local_transaction_id(), settings::generation());
    // Until it is known again: reading it can be interrupted.
    LOOKED.set((0, 0));
    // Without a keyring nothing that was opened before may be read on.
    let loaded = refreshed(LOADED.take()).inspect_err(|_| forget())?;
    LOADED.replace(Some(loaded));
    LOOKED.set(now);
    Ok(())
}

/// What was loaded, if its source did not change, or the keyring read again.
fn refreshed(before: Option<Loaded>) -> Result<Loaded, KeyringError> {
    let source = Source::configured()?;
    // Before reading: a change in between is then seen by the next look.
    let stamp = source.stamp()?;
    if let Some(same) = before.filter(|loaded| loaded.source == source && loaded.stamp == stamp) {
        return Ok(same);
    }
    let text = source.read()?;
    let parsed = Keyring::parse(&text);
    let keyring = parsed.map_err(|problem| KeyringError::Invalid { from: source.name(), problem })?;
    data_keys::forget();
    wipe_at_exit();
    Ok(Loaded { source, stamp, keyring: Rc::new(keyring) })
}

/// Wipes all keys of this backend.
fn forget() {
    LOADED.replace(None);
    LOOKED.set((0, 0));
    data_keys::forget();
    random::wipe();
}

/// Keys do not stay in the memory of a backend that ends.
fn wipe_at_exit() {
    static REGISTERED: BackendCell<Cell<bool>> = BackendCell::new(Cell::new(false));
    if REGISTERED.replace(true) {
        return;
    }
    unsafe extern "C-unwind" fn at_exit(_code: i32, _argument: pg_sys::Datum) {
        // A panic in the middle of some use leaves it borrowed: then there is nothing to be done.
        let _wiped = std::panic::catch_unwind(forget);
    }
    // SAFETY: registered once per backend; it touches this backend's own memory.
    unsafe { pg_sys::on_proc_exit(Some(at_exit), pg_sys::Datum::from(0)) };
}
