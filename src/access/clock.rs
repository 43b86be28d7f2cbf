//! The time by the clock, not by the start of the transaction: a transaction held open does not prolong a grant.

use std::time::{SystemTime, UNIX_EPOCH};

/// Microseconds since the Unix epoch.
pub type UnixMicros = i64;

/// Now.
pub fn unix_micros() -> UnixMicros {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_micros() as UnixMicros)
}

/// Now, to a few milliseconds. For checks that run once per row: where the kernel has a coarse clock it takes a third of
/// the time.
#[inline]
pub fn coarse_unix_micros() -> UnixMicros {
    #[cfg(target_os = "linux")]
    {
        let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: writes the one structure it is given.
        unsafe { libc::clock_gettime(libc::CLOCK_REALTIME_COARSE, &mut now) };
        now.tv_sec as UnixMicros * 1_000_000 + now.tv_nsec as UnixMicros / 1_000
    }
    #[cfg(not(target_os = "linux"))]
    unix_micros()
}
