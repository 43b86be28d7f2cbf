//! Rounding of what is not negative to a whole number: the only places where anything is lost.

use crate::domain::totals::exact::Exact;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rounding {
    HalfEven,
    HalfUp,
    Down,
    Up,
}

impl Rounding {
    pub fn parse(name: &[u8]) -> Option<Rounding> {
        Some(match name {
            b"half_even" => Rounding::HalfEven,
            b"half_up" => Rounding::HalfUp,
            b"down" => Rounding::Down,
            b"up" => Rounding::Up,
            _ => return None,
        })
    }

    /// `numerator` / `denominator`, the first not negative, the second positive.
    pub fn divide<I: Exact>(self, numerator: &I, denominator: &I) -> I {
        let (floor, rest) = numerator.quotient(denominator);
        let up = !rest.is_zero()
            && match self {
                Rounding::Down => false,
                Rounding::Up => true,
                // Twice the rest may not fit: it is compared with what is missing.
                _ => match rest.cmp(&(denominator.clone() - rest.clone())) {
                    std::cmp::Ordering::Less => false,
                    std::cmp::Ordering::Greater => true,
                    std::cmp::Ordering::Equal => self == Rounding::HalfUp || floor.is_odd(),
                },
            };
        if up { floor + I::one() } else { floor }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_mode_rounds_its_way() {
        let modes = [Rounding::HalfEven, Rounding::HalfUp, Rounding::Down, Rounding::Up];
        let of = |numerator: i128| modes.map(|mode| mode.divide(&numerator, &10));
        assert_eq!(of(20), [2, 2, 2, 2]);
        assert_eq!(of(21), [2, 2, 2, 3]);
        assert_eq!(of(25), [2, 3, 2, 3]);
        assert_eq!(of(35), [4, 4, 3, 4]);
        assert_eq!(of(26), [3, 3, 2, 3]);
        assert_eq!(of(0), [0, 0, 0, 0]);
    }

    #[test]
    fn the_largest_numbers_do_not_overflow() {
        let most = i128::MAX;
        assert_eq!(Rounding::HalfUp.divide(&(most - 1), &most), 1);
        assert_eq!(Rounding::HalfUp.divide(&(most / 2), &most), 0, "a half less a little");
    }
}
