//! Statements whose text is made at run time, such as from the arguments of a trigger, with plans that are kept.

use crate::pg::fresh::{Arg, Given, Row, hand_over};
use pgrx::pg_sys;
use std::cell::Cell;
use std::ffi::CString;

/// One statement. It must live as long as the backend: its plan does.
pub struct Made {
    text: CString,
    plan: Cell<pg_sys::SPIPlanPtr>,
}

impl Made {
    pub fn new(text: String) -> Made {
        Made { text: CString::new(text).expect("SQL text"), plan: Cell::new(std::ptr::null_mut()) }
    }

    /// Runs it as whoever is the current user, hands over the rows of its result, and returns how many rows it touched.
    /// `transition` makes the transition tables of a trigger known.
    pub fn run(&self, args: &[Arg], transition: Option<*mut pg_sys::TriggerData>, each: impl FnMut(&Row)) -> u64 {
        // SAFETY: SPI_connect and SPI_finish pair up; on an error PostgreSQL's abort cleans SPI up. The result is freed by
        // SPI_finish after `each` copied it; the kept plan lives until the backend ends.
        unsafe {
            pg_sys::SPI_connect();
            if let Some(data) = transition {
                let code = pg_sys::SPI_register_trigger_data(data);
                assert_eq!(code, pg_sys::SPI_OK_TD_REGISTER as i32, "transition tables can be registered");
            }
            let mut given = Given::new(args);
            if self.plan.get().is_null() {
                let types = given.types.as_mut_ptr();
                let plan = pg_sys::SPI_prepare(self.text.as_ptr(), given.types.len() as i32, types);
                assert!(!plan.is_null(), "a statement of our own can be prepared");
                pg_sys::SPI_keepplan(plan);
                self.plan.set(plan);
            }
            let code =
                pg_sys::SPI_execute_plan(self.plan.get(), given.values.as_mut_ptr(), given.nulls.as_ptr(), false, 0);
            assert!(code > 0, "a statement of our own runs");
            let touched = pg_sys::SPI_processed;
            hand_over(each);
            pg_sys::SPI_finish();
            touched
        }
    }
}
