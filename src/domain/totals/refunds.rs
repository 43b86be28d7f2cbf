//! What is paid back when part of a line comes back: pro rata of everything that came back so far, less what was paid
//! back so far. So the last piece settles what rounding left, and all pieces together are what was paid.

use crate::domain::decimal::Decimal;
use crate::domain::rounding::Rounding;
use crate::domain::totals::model::{Minor, QUANTITY_PLACES};

/// Of one line: how much was sold, and how much of it has come back with this return.
#[derive(Clone, Copy, Debug)]
pub struct Returned {
    sold: i64,
    back: i64,
}

impl Returned {
    /// None when more comes back than was sold, or a quantity is none.
    pub fn new(sold: Decimal, before: Decimal, now: Decimal) -> Option<Returned> {
        let units = |quantity: Decimal| quantity.units(QUANTITY_PLACES).filter(|&units| units >= 0);
        let (sold, before, now) = (units(sold)?, units(before)?, units(now)?);
        let back = before.checked_add(now)?;
        (sold > 0 && back <= sold).then_some(Returned { sold, back })
    }

    /// What is paid back of one amount of the line: its net, one of its taxes. Not below zero: where more was paid back
    /// than was due, as after another way of rounding, nothing is taken from the customer.
    pub fn refund(&self, amount: Minor, refunded_before: Minor, rounding: Rounding) -> Minor {
        let exact = i128::from(amount) * i128::from(self.back);
        let due = rounding.divide(&exact, &i128::from(self.sold));
        // It is no larger than the amount.
        (due as Minor - refunded_before).max(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decimal(text: &str) -> Decimal {
        Decimal::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn the_pieces_are_the_whole() {
        for amount in [0, 1, 2, 100, 493, 9_999_999_999] {
            for rounding in [Rounding::HalfEven, Rounding::HalfUp, Rounding::Down, Rounding::Up] {
                let mut refunded = 0;
                for before in 0..7 {
                    let before = decimal(&before.to_string());
                    let returned = Returned::new(decimal("7"), before, Decimal::ONE).unwrap();
                    refunded += returned.refund(amount, refunded, rounding);
                }
                assert_eq!(refunded, amount);
            }
        }
    }

    #[test]
    fn nobody_returns_more_than_was_sold() {
        assert!(Returned::new(decimal("3"), decimal("2"), decimal("1")).is_some());
        assert!(Returned::new(decimal("3"), decimal("2"), decimal("1.00001")).is_none());
        assert!(Returned::new(decimal("0"), Decimal::ZERO, Decimal::ZERO).is_none());
    }

    #[test]
    fn a_refund_takes_nothing() {
        let returned = Returned::new(decimal("3"), Decimal::ZERO, Decimal::ONE).unwrap();
        assert_eq!(returned.refund(100, 50, Rounding::HalfEven), 0);
    }
}
