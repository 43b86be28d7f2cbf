//! Document numbers as text, when a count begins anew, and the blocks that counts are divided into.

/// When a series begins to count anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Reset {
    #[default]
    Never,
    Year,
    Month,
    Day,
}

impl Reset {
    pub fn parse(text: &str) -> Option<Reset> {
        match text {
            "never" => Some(Reset::Never),
            "year" => Some(Reset::Year),
            "month" => Some(Reset::Month),
            "day" => Some(Reset::Day),
            _ => None,
        }
    }

    /// The period that a date is in, such as 2026 or 202611. Days count from 2000-01-01, as PostgreSQL's do.
    pub fn period(self, day: i32) -> String {
        let (year, month, day) = date(day);
        match self {
            Reset::Never => String::new(),
            Reset::Year => format!("{year:04}"),
            Reset::Month => format!("{year:04}{month:02}"),
            Reset::Day => format!("{year:04}{month:02}{day:02}"),
        }
    }
}

/// (year, month, day) of a day counted from 2000-01-01, in the Gregorian calendar.
fn date(day: i32) -> (i64, i64, i64) {
    // Years that begin in March, so that the leap day is the last one, in eras of 400 years.
    const FROM_MARCH_0000_TO_2000: i64 = 730_425;
    let days = i64::from(day) + FROM_MARCH_0000_TO_2000;
    let (era, day_of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (era * 400 + year_of_era + i64::from(month <= 2), month, day)
}

/// What stands before the number: the prefix, and the period where the count begins anew. What is counted together is what
/// has the same text here, so no number comes twice, whatever becomes of a series' definition: a prefix does not end with
/// a digit.
pub fn before_number(prefix: &str, period: &str) -> String {
    if period.is_empty() { prefix.to_owned() } else { format!("{prefix}{period}-") }
}

pub fn written(before: &str, number: i64, digits: usize) -> String {
    format!("{before}{number:0digits$}")
}

/// Numbers of one block.
pub const BLOCK_SIZE: i64 = 16;

/// The block that a number, from 1 on, is in. Blocks count from 1, too.
pub fn block_of(number: i64) -> i64 {
    (number - 1) / BLOCK_SIZE + 1
}

pub fn first_of(block: i64) -> i64 {
    (block - 1) * BLOCK_SIZE + 1
}

pub fn last_of(block: i64) -> i64 {
    block * BLOCK_SIZE
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn periods_of_dates() {
        for (day, expected) in [
            (0, "20000101"),
            (-1, "19991231"),
            (59, "20000229"),
            (60, "20000301"),
            (366, "20010101"),
            (9_822, "20261122"),
            (36_584, "21000301"),
            (36_583, "21000228"),
        ] {
            assert_eq!(Reset::Day.period(day), expected);
            assert_eq!(Reset::Month.period(day), expected[..6]);
            assert_eq!(Reset::Year.period(day), expected[..4]);
            assert_eq!(Reset::Never.period(day), "");
        }
    }

    #[test]
    fn every_day_follows_the_one_before() {
        let mut before = date(-40_000);
        for day in -39_999..40_000 {
            let now = date(day);
            assert!(now > before, "{before:?} {now:?}");
            before = now;
        }
    }

    #[test]
    fn numbers_as_text() {
        assert_eq!(written(&before_number("INV-", "2026"), 7, 4), "INV-2026-0007");
        assert_eq!(written(&before_number("", ""), 12_345, 4), "12345");
        assert_eq!(written(&before_number("R", ""), 1, 0), "R1");
    }

    #[test]
    fn blocks_hold_every_number_once() {
        for number in 1..1000 {
            let block = block_of(number);
            assert!((first_of(block)..=last_of(block)).contains(&number));
        }
        assert_eq!((first_of(1), last_of(1), first_of(2)), (1, BLOCK_SIZE, BLOCK_SIZE + 1));
    }
}
