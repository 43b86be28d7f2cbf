//! `thorbis.keyring_file` and `thorbis.keyring_command`. Superusers see and set them.

use crate::pg::cell::BackendCell;
use pgrx::guc::{GucContext, GucFlags, GucRegistry, GucSetting};
use std::cell::Cell;
use std::ffi::{CStr, CString, c_char, c_void};

static FILE: GucSetting<Option<CString>> = GucSetting::<Option<CString>>::new(None);
static COMMAND: GucSetting<Option<CString>> = GucSetting::<Option<CString>>::new(None);
static GENERATION: BackendCell<Cell<u64>> = BackendCell::new(Cell::new(1));

/// Moves whenever one of the two settings changes.
pub fn generation() -> u64 {
    GENERATION.get()
}

pub fn file() -> Option<String> {
    text(&FILE)
}

pub fn command() -> Option<String> {
    text(&COMMAND)
}

fn text(setting: &'static GucSetting<Option<CString>>) -> Option<String> {
    setting.get().map(|text| text.to_string_lossy().into_owned()).filter(|text| !text.is_empty())
}

unsafe extern "C-unwind" fn assign(_value: *const c_char, _extra: *mut c_void) {
    GENERATION.set(GENERATION.get() + 1);
}

pub fn init() {
    let define = |name: &'static CStr, what: &'static CStr, more: &'static CStr, setting| {
        // SAFETY: called once per backend from _PG_init; the hook only counts.
        unsafe {
            GucRegistry::define_string_guc_with_hooks(
                name,
                what,
                more,
                setting,
                GucContext::Suset,
                GucFlags::SUPERUSER_ONLY,
                None,
                Some(assign),
                None,
            );
        }
    };
    define(
        c"thorbis.keyring_file",
        c"File with the keys that wrap the data keys of personal data.",
        c"An absolute path outside the data directory; the server's user owns the file, with mode 0600.",
        &FILE,
    );
    define(
        c"thorbis.keyring_command",
        c"Command whose output is the keyring, instead of a file.",
        c"Run by /bin/sh as the server's user, at first use in a session and after pg_reload_conf().",
        &COMMAND,
    );
}
