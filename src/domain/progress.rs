//! How far long work is: a line a second at most, at the price of a counter a row.

use std::time::{Duration, Instant};

const EVERY: Duration = Duration::from_secs(1);
/// The clock costs more than the counter.
const LOOK_AT_THE_CLOCK: u64 = 1024;

pub struct Progress {
    done: u64,
    total: u64,
    said: Instant,
}

impl Progress {
    /// `total` is what there was when the work began: others may add to it meanwhile.
    pub fn of(total: u64) -> Progress {
        Progress { done: 0, total, said: Instant::now() }
    }

    /// Counts one row; now and then gives what to tell whoever waits.
    pub fn row_done(&mut self) -> Option<String> {
        self.done += 1;
        self.done.is_multiple_of(LOOK_AT_THE_CLOCK).then(|| self.at(Instant::now())).flatten()
    }

    fn at(&mut self, now: Instant) -> Option<String> {
        (now.duration_since(self.said) >= EVERY).then(|| {
            self.said = now;
            format!("{} of {} rows", self.done, self.total)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_a_second_says_how_far_it_is() {
        let mut progress = Progress::of(5000);
        let start = progress.said;
        progress.done = 1024;
        assert_eq!(progress.at(start + Duration::from_millis(999)), None);
        progress.done = 2048;
        assert_eq!(progress.at(start + Duration::from_secs(1)).as_deref(), Some("2048 of 5000 rows"));
        progress.done = 3072;
        assert_eq!(progress.at(start + Duration::from_millis(1999)), None, "a second after the last line");
        assert_eq!(progress.at(start + Duration::from_secs(2)).as_deref(), Some("3072 of 5000 rows"));
    }

    #[test]
    fn rows_are_counted_and_the_clock_is_read_now_and_then() {
        let mut progress = Progress::of(2048);
        progress.said -= EVERY;
        let lines: Vec<(u64, String)> = (1..=2048).filter_map(|row| Some((row, progress.row_done()?))).collect();
        assert_eq!(lines.first(), Some(&(1024, "1024 of 2048 rows".to_owned())));
    }
}
