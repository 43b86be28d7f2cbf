//! Settings that hold for a stretch of our own code, as a function's SET clause does.

use pgrx::pg_sys;
use std::ffi::CString;

/// Restores the settings when dropped. On an error the abort of the (sub)transaction restores them.
pub struct SettingsScope(i32);

impl SettingsScope {
    /// With `search_path = pg_catalog, pg_temp`: names and operators in SQL text resolve to PostgreSQL's own.
    pub fn pinned_path() -> SettingsScope {
        // SAFETY: opens a nesting level that Drop closes.
        let scope = SettingsScope(unsafe { pg_sys::NewGUCNestLevel() });
        scope.set("search_path", "pg_catalog, pg_temp");
        scope
    }

    pub fn set(&self, name: &str, value: &str) {
        self.set_in(name, value, pg_sys::GucContext::PGC_USERSET);
    }

    /// A setting that the caller may not make: for a stretch in which only our own statements run.
    pub fn set_as_superuser(&self, name: &str, value: &str) {
        self.set_in(name, value, pg_sys::GucContext::PGC_SUSET);
    }

    fn set_in(&self, name: &str, value: &str, context: pg_sys::GucContext::Type) {
        let (name, value) = (CString::new(name).expect("setting name"), CString::new(value).expect("setting value"));
        // SAFETY: both strings outlive the call; GUC_ACTION_SAVE is what SET clauses use and is allowed in parallel mode.
        unsafe {
            pg_sys::set_config_option(
                name.as_ptr(),
                value.as_ptr(),
                context,
                pg_sys::GucSource::PGC_S_SESSION,
                pg_sys::GucAction::GUC_ACTION_SAVE,
                true,
                0,
                false,
            );
        }
    }
}

impl Drop for SettingsScope {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            // SAFETY: closes the level opened by `pinned_path`; levels nest with the scopes.
            unsafe { pg_sys::AtEOXact_GUC(true, self.0) };
        }
    }
}
