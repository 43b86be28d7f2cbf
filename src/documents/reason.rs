//! `thorbis.status_reason`: why the status of a document is changed. It counts in the transaction that set it only: a plain
//! SET on a pooled connection must not explain what the next client does.

use crate::context::settings::find_setting;
use crate::pg::cell::BackendCell;
use pgrx::guc::{GucContext, GucFlags, GucRegistry, GucSetting};
use pgrx::pg_sys;
use std::cell::Cell;
use std::ffi::{CStr, CString};

const NAME: &CStr = c"thorbis.status_reason";

static REASON: GucSetting<Option<CString>> = GucSetting::<Option<CString>>::new(None);
static RECORD: BackendCell<Cell<*mut pg_sys::config_generic>> = BackendCell::new(Cell::new(std::ptr::null_mut()));

pub fn init() {
    GucRegistry::define_string_guc(
        NAME,
        c"Why the status of a document is changed, for its history.",
        c"For one transaction: SET LOCAL thorbis.status_reason = '...'.",
        &REASON,
        GucContext::Userset,
        GucFlags::default(),
    );
    // SAFETY: just defined; the record stays where it is.
    RECORD.set(unsafe { find_setting(NAME) });
}

/// The reason that this transaction gave, if it gave one.
pub fn current() -> Option<String> {
    // SAFETY: the record of a setting that is defined. Its stack is what the end of the transaction takes back, so there is
    // none where this transaction did not set it.
    let given_now = unsafe { RECORD.get().as_ref() }.is_some_and(|record| !record.stack.is_null());
    let reason = REASON.get().filter(|_| given_now)?;
    let reason = reason.to_string_lossy().trim().to_owned();
    (!reason.is_empty()).then_some(reason)
}
