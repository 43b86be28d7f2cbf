//! Money of the books in hundredths, and shares of it to the cent.

use crate::domain::rounding::Rounding;

/// What the columns of the books hold: ten digits before the point.
pub const MOST: i64 = 999_999_999_999;

/// A decimal with at most two places that are not zero; None for everything else, NaN and exponents included.
pub fn parse(text: &str) -> Option<i64> {
    let (negative, digits) = text.strip_prefix('-').map_or((false, text), |digits| (true, digits));
    let (whole, places) = digits.split_once('.').unwrap_or((digits, ""));
    let is_number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let places = places.trim_end_matches('0');
    if whole.is_empty() || !is_number(whole) || !is_number(places) || places.len() > 2 || whole.len() > 18 {
        return None;
    }
    let hundredths: i64 = format!("{places:0<2}").parse().ok()?;
    let cents = whole.parse::<i64>().ok()?.checked_mul(100)?.checked_add(hundredths)?;
    (cents <= MOST).then_some(if negative { -cents } else { cents })
}

/// Whether an amount in hundredths has no more places than its currency.
pub fn fits(cents: i64, minor_unit: i64) -> bool {
    match minor_unit {
        0 => cents % 100 == 0,
        1 => cents % 10 == 0,
        _ => true,
    }
}

/// What comes back of one component when `now` more of `sold` comes back: shares of any split add up to the component.
pub fn taken_back(component: i64, sold: i64, before: i64, now: i64, taken_before: i64, rounding: Rounding) -> i64 {
    let part = i128::from(before) + i128::from(now);
    let due = rounding.divide(&(i128::from(component) * part), &i128::from(sold));
    i64::try_from(due).expect("a share is at most the whole") - taken_before
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals_are_taken_exactly_or_not_at_all() {
        assert_eq!(parse("0"), Some(0));
        assert_eq!(parse("12.3"), Some(1230));
        assert_eq!(parse("12.340000"), Some(1234));
        assert_eq!(parse("-0.01"), Some(-1));
        assert_eq!(parse("9999999999.99"), Some(MOST));
        for wrong in ["", "-", ".5", "1.001", "1e3", "NaN", "Infinity", "+1", " 1", "10000000000", "1.2.3", "--1"] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_currency_without_cents_has_none() {
        assert!(fits(1000, 0) && !fits(1050, 0) && fits(1050, 1) && !fits(1055, 1) && fits(1055, 2));
    }

    #[test]
    fn any_split_gives_back_exactly_what_was_paid() {
        for rounding in [Rounding::HalfEven, Rounding::HalfUp, Rounding::Down, Rounding::Up] {
            for component in [0, 1, 99, 100, 1001, 4999] {
                for sold in 1..=12 {
                    let (mut taken, mut before) = (0, 0);
                    for now in [1, 2, 1, 3, 1, 4] {
                        let now = std::cmp::min(now, sold - before);
                        if now == 0 {
                            break;
                        }
                        let back = taken_back(component, sold, before, now, taken, rounding);
                        assert!(back >= 0, "nothing is charged by a return");
                        taken += back;
                        before += now;
                    }
                    assert_eq!(taken, component, "{component} of {sold}");
                }
            }
        }
    }
}
