//! Opening hours on the wall clock of a tenant.
//!
//! Times are minutes since local midnight; a period that closes at or before it opens runs past midnight into the next
//! day. Daylight saving needs no rule here: the caller gives the local date and time, and hours are wall-clock hours.

/// One weekly period. `weekday` is ISO: 1 is Monday, 7 is Sunday.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WeeklyPeriod {
    pub weekday: u8,
    pub opens: u16,
    pub closes: u16,
}

/// A date with hours of its own: closed all day (`hours` is `None`) or open for the given period instead of the weekly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpecialDate {
    /// Days since 2000-01-01, as PostgreSQL counts dates.
    pub date: i32,
    pub hours: Option<(u16, u16)>,
}

/// The hours of one resource of one tenant.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hours {
    pub weekly: Vec<WeeklyPeriod>,
    pub special: Vec<SpecialDate>,
}

impl Hours {
    /// Without any weekly period nothing was restricted: only special dates close.
    pub fn open_at(&self, date: i32, minute: u16) -> bool {
        self.opened_on(date).any(|(opens, closes)| minute >= opens && (closes <= opens || minute < closes))
            || self.opened_on(date - 1).any(|(opens, closes)| closes <= opens && minute < closes)
    }

    /// The periods that begin on `date`, as (opens, closes).
    fn opened_on(&self, date: i32) -> impl Iterator<Item = (u16, u16)> + '_ {
        let special = self.special.iter().any(|s| s.date == date);
        let unrestricted = self.weekly.is_empty() && !special;
        let weekday = iso_weekday(date);
        self.special
            .iter()
            .filter(move |s| s.date == date)
            .filter_map(|s| s.hours)
            .chain(self.weekly.iter().filter(move |p| !special && p.weekday == weekday).map(|p| (p.opens, p.closes)))
            // Open all day, and not one minute into the next.
            .chain(unrestricted.then_some((0, 24 * 60)))
    }
}

/// 2000-01-01 was a Saturday.
fn iso_weekday(date: i32) -> u8 {
    ((date + 5).rem_euclid(7) + 1) as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    const MONDAY: i32 = 2; // 2000-01-03

    fn weekly(opens: u16, closes: u16) -> Hours {
        Hours { weekly: vec![WeeklyPeriod { weekday: 1, opens, closes }], special: vec![] }
    }

    #[test]
    fn weekdays_follow_the_calendar() {
        assert_eq!((iso_weekday(0), iso_weekday(1), iso_weekday(MONDAY), iso_weekday(-1)), (6, 7, 1, 5));
    }

    #[test]
    fn a_day_period_is_half_open() {
        let h = weekly(9 * 60, 17 * 60);
        let open = [539, 540, 1019, 1020].map(|m| h.open_at(MONDAY, m));
        assert_eq!(open, [false, true, true, false]);
        assert!(!h.open_at(MONDAY + 1, 600));
    }

    #[test]
    fn an_overnight_period_runs_into_the_next_day_only() {
        let h = weekly(22 * 60, 6 * 60);
        assert!(!h.open_at(MONDAY, 300), "Monday 05:00 belongs to Sunday night");
        assert!(h.open_at(MONDAY, 23 * 60));
        assert!(h.open_at(MONDAY + 1, 359));
        assert!(!h.open_at(MONDAY + 1, 360));
        assert!(!h.open_at(MONDAY + 1, 23 * 60));
    }

    #[test]
    fn midnight_to_midnight_is_the_whole_day() {
        let h = weekly(0, 0);
        assert!(h.open_at(MONDAY, 0) && h.open_at(MONDAY, 1439));
        assert!(!h.open_at(MONDAY + 1, 0));
    }

    #[test]
    fn a_closure_replaces_the_weekly_hours_but_not_last_night() {
        let mut h = weekly(22 * 60, 6 * 60);
        h.special.push(SpecialDate { date: MONDAY + 1, hours: None });
        assert!(h.open_at(MONDAY + 1, 60), "Monday's night was already running");
        h.special.push(SpecialDate { date: MONDAY, hours: None });
        assert!(!h.open_at(MONDAY, 23 * 60) && !h.open_at(MONDAY + 1, 60));
    }

    #[test]
    fn special_hours_replace_the_weekly_ones() {
        let mut h = weekly(9 * 60, 17 * 60);
        h.special.push(SpecialDate { date: MONDAY, hours: Some((12 * 60, 13 * 60)) });
        assert!(!h.open_at(MONDAY, 600) && h.open_at(MONDAY, 12 * 60));
    }

    #[test]
    fn no_hours_restrict_nothing_but_closures_do() {
        let mut h = Hours::default();
        assert!(h.open_at(MONDAY, 0) && h.open_at(MONDAY, 1439));
        h.special.push(SpecialDate { date: MONDAY, hours: None });
        assert!(!h.open_at(MONDAY, 600));
        assert!(h.open_at(MONDAY + 1, 0));
    }
}
