//! Output functions that do not depend on the session.

use pgrx::pg_sys;

/// While it lives, output functions write as they do under PostgreSQL's defaults in UTC: a session's settings must not show in
/// the log.
pub struct FixedOutput {
    timezone: *mut pg_sys::pg_tz,
    date_style: i32,
    date_order: i32,
    interval_style: i32,
    float_digits: i32,
    bytea: i32,
}

unsafe extern "C" {
    static mut bytea_output: i32;
}

impl FixedOutput {
    pub fn begin() -> FixedOutput {
        // SAFETY: static variables of the process, which Drop gives back on every path; "UTC" is always known.
        unsafe {
            let before = FixedOutput {
                timezone: pg_sys::session_timezone,
                date_style: pg_sys::DateStyle,
                date_order: pg_sys::DateOrder,
                interval_style: pg_sys::IntervalStyle,
                float_digits: pg_sys::extra_float_digits,
                bytea: bytea_output,
            };
            pg_sys::session_timezone = pg_sys::pg_tzset(c"UTC".as_ptr());
            pg_sys::DateStyle = pg_sys::USE_ISO_DATES as i32;
            pg_sys::DateOrder = pg_sys::DATEORDER_MDY as i32;
            pg_sys::IntervalStyle = pg_sys::INTSTYLE_POSTGRES as i32;
            pg_sys::extra_float_digits = 1;
            // BYTEA_OUTPUT_HEX
            bytea_output = 1;
            before
        }
    }
}

impl Drop for FixedOutput {
    fn drop(&mut self) {
        // SAFETY: gives back what was there.
        unsafe {
            pg_sys::session_timezone = self.timezone;
            pg_sys::DateStyle = self.date_style;
            pg_sys::DateOrder = self.date_order;
            pg_sys::IntervalStyle = self.interval_style;
            pg_sys::extra_float_digits = self.float_digits;
            bytea_output = self.bytea;
        }
    }
}
