//! The settings `app.current_tenant_id` and `app.current_user_id`, and how the claims of PostgREST are read.
//!
//! Both settings belong to superusers; `GRANT SET ON PARAMETER` opens them to `thorbis_gateway`. The check hook parses
//! the uuid into the setting's `extra`, so PostgreSQL itself restores the parsed value at COMMIT, ROLLBACK TO and in
//! parallel workers, and reading costs no parsing.
//!
//! A value counts only in the transaction that set it (`Stamped::transaction`): a plain `SET` on a pooled connection
//! does not hand its tenant to the next client.

use crate::domain::claims::Claims;
use crate::pg::cell::BackendCell;
use crate::pg::function::guarded;
use crate::pg::raw;
use pgrx::guc::{GucContext, GucFlags, GucRegistry, GucSetting, PostgresGucEnum};
use pgrx::pg_sys;
use std::cell::Cell;
use std::ffi::{CStr, CString, c_char, c_void};
use uuid::Uuid;

/// Which sources `current` accepts.
#[derive(PostgresGucEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub enum ContextMode {
    /// Bound roles, verified tokens, and the settings an application's gateway makes.
    #[name = c"gateway"]
    Gateway,
    /// Bound roles and verified tokens only.
    #[name = c"verified"]
    Verified,
}

static CONTEXT_MODE: GucSetting<ContextMode> = GucSetting::<ContextMode>::new(ContextMode::Gateway);
static TENANT_CLAIM: GucSetting<Option<CString>> = GucSetting::<Option<CString>>::new(Some(c"tenant_id"));

/// A parsed value and the transaction that set it.
#[repr(C)]
#[derive(Clone, Copy)]
struct Stamped {
    value: [u8; 16],
    transaction: pg_sys::LocalTransactionId,
}

struct ContextSetting {
    name: &'static CStr,
    /// PostgreSQL's own text of the value; only its address is used here.
    text: Cell<*mut c_char>,
    /// The `extra` of the value in force, null when there is none.
    parsed: Cell<*const Stamped>,
}

impl ContextSetting {
    const fn new(name: &'static CStr) -> Self {
        ContextSetting { name, text: Cell::new(std::ptr::null_mut()), parsed: Cell::new(std::ptr::null()) }
    }

    fn get(&self) -> Option<Uuid> {
        // SAFETY: PostgreSQL keeps the extra of the value in force alive; the assign hook replaces the pointer first.
        let stamped = unsafe { self.parsed.get().as_ref() }?;
        let current = stamped.transaction == raw::local_transaction_id() || is_parallel_worker();
        current.then(|| Uuid::from_bytes(stamped.value))
    }

    fn assign(&self, extra: *mut c_void) {
        self.parsed.set(extra.cast());
        GENERATION.set(GENERATION.get() + 1);
    }

    fn register(
        &'static self,
        description: &'static CStr,
        assign: unsafe extern "C-unwind" fn(*const c_char, *mut c_void),
    ) {
        // SAFETY: called once per backend from _PG_init; name, description and the variable live forever.
        unsafe {
            pg_sys::DefineCustomStringVariable(
                self.name.as_ptr(),
                description.as_ptr(),
                c"A uuid, for one transaction: SET LOCAL, or SELECT thorbis.set_context(tenant_id, user_id).".as_ptr(),
                self.text.as_ptr(),
                std::ptr::null(),
                pg_sys::GucContext::PGC_SUSET,
                pg_sys::GUC_NOT_IN_SAMPLE as i32,
                Some(check_uuid),
                Some(assign),
                None,
            );
            self.distrust_values_set_before_load();
        }
    }

    /// The library may be loaded in the middle of a session. A value set earlier in this very transaction is good; one
    /// left over from an earlier transaction is not, whether in force or waiting to be restored by a rollback.
    ///
    /// # Safety
    /// The setting is defined.
    unsafe fn distrust_values_set_before_load(&self) {
        // SAFETY: `find_setting` returns PostgreSQL's record of the setting; extras were made by `check_uuid`.
        unsafe {
            let record = find_setting(self.name);
            let mut stack = (*record).stack;
            let stale = if stack.is_null() {
                (*record).extra
            } else {
                while !(*stack).prev.is_null() {
                    stack = (*stack).prev;
                }
                (*stack).prior.extra
            };
            if let Some(stamped) = stale.cast::<Stamped>().as_mut() {
                stamped.transaction = 0;
            }
        }
    }
}

static TENANT: BackendCell<ContextSetting> = BackendCell::new(ContextSetting::new(c"app.current_tenant_id"));
static USER: BackendCell<ContextSetting> = BackendCell::new(ContextSetting::new(c"app.current_user_id"));
static GENERATION: BackendCell<Cell<u64>> = BackendCell::new(Cell::new(1));

/// Moves whenever one of the two settings changes, by whatever way.
#[inline]
pub fn generation() -> u64 {
    GENERATION.get()
}

/// (tenant, user) of the settings, as far as this transaction set them.
pub fn current() -> (Option<Uuid>, Option<Uuid>) {
    (TENANT.get(), USER.get())
}

/// A value of an earlier transaction is in force. Leaders drop it before workers, which cannot tell, copy it.
pub fn clear_stale() {
    for setting in [&TENANT, &USER] {
        if !setting.parsed.get().is_null() && setting.get().is_none() {
            // SAFETY: constant strings; GUC_ACTION_LOCAL ends with the transaction.
            unsafe {
                pg_sys::set_config_option(
                    setting.name.as_ptr(),
                    c"".as_ptr(),
                    pg_sys::GucContext::PGC_SUSET,
                    pg_sys::GucSource::PGC_S_SESSION,
                    pg_sys::GucAction::GUC_ACTION_LOCAL,
                    true,
                    0,
                    false,
                );
            }
        }
    }
}

pub fn context_mode() -> ContextMode {
    CONTEXT_MODE.get()
}

/// The claims PostgREST set for this request. Text that is no claims names nobody.
pub fn claims() -> Claims {
    // SAFETY: missing_ok; the text is valid until the setting changes, and is only read here.
    let json = unsafe {
        let text = pg_sys::GetConfigOption(c"request.jwt.claims".as_ptr(), true, false);
        if text.is_null() {
            return Claims::default();
        }
        CStr::from_ptr(text)
    };
    let path = TENANT_CLAIM.get();
    match (json.to_str(), path.as_deref().map(CStr::to_str)) {
        (Ok(json), Some(Ok(path))) if !json.is_empty() => Claims::parse(json, path),
        _ => Claims::default(),
    }
}

pub fn init() {
    TENANT.register(c"Tenant on whose behalf the current transaction runs.", assign_tenant);
    USER.register(c"User on whose behalf the current transaction runs.", assign_user);
    GucRegistry::define_enum_guc(
        c"thorbis.context_mode",
        c"Sources of the tenant context: gateway accepts the application's settings and claims, verified does not.",
        c"Bound roles are accepted in both modes.",
        &CONTEXT_MODE,
        GucContext::Suset,
        GucFlags::default(),
    );
    GucRegistry::define_string_guc(
        c"thorbis.tenant_claim",
        c"Path of the tenant id in request.jwt.claims, dot-separated.",
        c"tenant_id by default; app_metadata.tenant_id on Supabase. Never a claim that users can edit themselves.",
        &TENANT_CLAIM,
        GucContext::Suset,
        GucFlags::default(),
    );
}

fn is_parallel_worker() -> bool {
    // SAFETY: a static variable of the process.
    unsafe { pg_sys::ParallelWorkerNumber >= 0 || pg_sys::InitializingParallelWorker }
}

/// Accepts a uuid or an empty text. Runs at SET, at load, and in parallel workers.
unsafe extern "C-unwind" fn check_uuid(
    value: *mut *mut c_char,
    extra: *mut *mut c_void,
    source: pg_sys::GucSource::Type,
) -> bool {
    // SAFETY: PostgreSQL passes valid pointers; a null or empty value means no context.
    guarded(|| unsafe {
        if (*value).is_null() || **value == 0 {
            *extra = std::ptr::null_mut();
            return true;
        }
        let Some(uuid) = CStr::from_ptr(*value).to_str().ok().and_then(|text| Uuid::parse_str(text).ok()) else {
            pg_sys::GUC_check_errhint_string =
                hint(c"The value is a uuid such as 6f1d2c9a-8b3e-4f5a-9c7d-0e1f2a3b4c5d.");
            return false;
        };
        // A standing tenant of a role, database or connection string would hold where nobody set a context.
        // thorbis.bind_role() is the way to fix the tenant of a role.
        if (pg_sys::GucSource::PGC_S_ENV_VAR..=pg_sys::GucSource::PGC_S_CLIENT).contains(&source) {
            pg_sys::GUC_check_errhint_string = hint(c"Set it within a transaction, or use thorbis.bind_role().");
            return false;
        }
        if is_plain_set_outside_a_transaction(source) {
            pg_sys::GUC_check_errcode(pgrx::PgSqlErrorCode::ERRCODE_NO_ACTIVE_SQL_TRANSACTION as i32);
            pg_sys::GUC_check_errmsg_string = hint(c"the tenant context is set within a transaction block");
            pg_sys::GUC_check_errhint_string = hint(c"BEGIN; SET LOCAL app.current_tenant_id = ...; ...; COMMIT.");
            return false;
        }
        let stamped = extra_alloc(size_of::<Stamped>()) as *mut Stamped;
        if stamped.is_null() {
            return false;
        }
        stamped.write(Stamped { value: uuid.into_bytes(), transaction: raw::local_transaction_id() });
        *extra = stamped.cast();
        true
    })
}

/// `SET` in autocommit would be lost at once. Functions and procedures may still set a context for their own run.
unsafe fn is_plain_set_outside_a_transaction(source: pg_sys::GucSource::Type) -> bool {
    // SAFETY: reads process state; the portal of the running statement is valid.
    unsafe {
        source == pg_sys::GucSource::PGC_S_SESSION
            && !pg_sys::ActivePortal.is_null()
            && (*pg_sys::ActivePortal).commandTag == pg_sys::CommandTag::CMDTAG_SET
            && !pg_sys::IsTransactionBlock()
    }
}

unsafe extern "C-unwind" fn assign_tenant(_value: *const c_char, extra: *mut c_void) {
    TENANT.assign(extra);
}

unsafe extern "C-unwind" fn assign_user(_value: *const c_char, extra: *mut c_void) {
    USER.assign(extra);
}

/// A message for GUC_check_err..., which wants memory that outlives the hook.
fn hint(text: &CStr) -> *mut c_char {
    // SAFETY: copies a terminated string.
    unsafe { pg_sys::pstrdup(text.as_ptr()) }
}

/// Memory for an `extra`: PostgreSQL frees it with free() up to 15 and with guc_free() from 16 on.
unsafe fn extra_alloc(size: usize) -> *mut c_void {
    #[cfg(feature = "pg15")]
    {
        unsafe extern "C" {
            fn malloc(size: usize) -> *mut c_void;
        }
        // SAFETY: plain allocation; the caller checks for null.
        unsafe { malloc(size) }
    }
    #[cfg(not(feature = "pg15"))]
    // SAFETY: reports at LOG and returns null when memory is exhausted; the caller checks.
    unsafe {
        pg_sys::guc_malloc(pg_sys::LOG as i32, size)
    }
}

/// PostgreSQL's record of a setting that exists. It stays where it is.
///
/// # Safety
/// The setting is defined.
pub unsafe fn find_setting(name: &CStr) -> *mut pg_sys::config_generic {
    #[cfg(feature = "pg15")]
    // SAFETY: the array has GetNumConfigOptions() valid entries.
    unsafe {
        let all = pg_sys::get_guc_variables();
        for i in 0..pg_sys::GetNumConfigOptions() as usize {
            let record = *all.add(i);
            if CStr::from_ptr((*record).name) == name {
                return record;
            }
        }
        unreachable!("a setting just defined is found");
    }
    #[cfg(not(feature = "pg15"))]
    // SAFETY: no placeholders are created; the setting exists.
    unsafe {
        pg_sys::find_option(name.as_ptr(), false, true, pgrx::PgLogLevel::ERROR as i32)
    }
}
