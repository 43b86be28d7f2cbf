//! Exact fractions over integers of two sizes: 128 bits, which almost every order fits in, and any size for the rest.
//! The calculation is written once over both; the first that overflows is done again with the second.

use crate::domain::decimal::POWERS;
use crate::domain::rounding::Rounding;
use crate::domain::totals::error::{Code, Failure, Fault};
use num_bigint::BigInt;
use num_integer::Integer;
use num_rational::Ratio;
use num_traits::{CheckedAdd, CheckedDiv, CheckedMul, CheckedSub, ToPrimitive};

/// The integers of a calculation.
pub trait Exact: Integer + Clone + From<i64> + CheckedAdd + CheckedSub + CheckedMul + CheckedDiv + ToPrimitive {
    /// Quotient and rest of what is not negative by what is positive.
    fn quotient(&self, by: &Self) -> (Self, Self);

    /// Bits of its absolute value.
    fn bits(&self) -> u64;
}

impl Exact for i128 {
    #[inline]
    fn quotient(&self, by: &i128) -> (i128, i128) {
        // A division of 128 bits costs ten of 64.
        match (u64::try_from(*self), u64::try_from(*by)) {
            (Ok(number), Ok(by)) => ((number / by).into(), (number % by).into()),
            _ => (self / by, self % by),
        }
    }

    fn bits(&self) -> u64 {
        u64::from(i128::BITS - self.unsigned_abs().leading_zeros())
    }
}

impl Exact for BigInt {
    fn quotient(&self, by: &BigInt) -> (BigInt, BigInt) {
        self.div_rem(by)
    }

    fn bits(&self) -> u64 {
        BigInt::bits(self)
    }
}

/// The largest denominator. Hundreds of inclusive rates do not come near; made-up ones would take hours.
const MAX_BITS: u64 = 8_192;

/// 10^`exponent`.
pub fn power_of_ten<I: Exact>(exponent: u32) -> Result<I, Failure> {
    const MOST: u32 = POWERS.len() as u32 - 1;
    let mut power = I::from(POWERS[(exponent % MOST) as usize]);
    for _ in 0..exponent / MOST {
        power = product(&power, &I::from(POWERS[MOST as usize]))?;
    }
    Ok(power)
}

pub fn product<I: Exact>(a: &I, b: &I) -> Result<I, Failure> {
    a.checked_mul(b).ok_or(Failure::Overflow)
}

pub fn sum<I: Exact>(a: &I, b: &I) -> Result<I, Failure> {
    a.checked_add(b).ok_or(Failure::Overflow)
}

/// A fraction that is never negative where it is rounded.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fraction<I: Exact>(Ratio<I>);

impl<I: Exact> Fraction<I> {
    pub fn zero() -> Self {
        Fraction(Ratio::from_integer(I::zero()))
    }

    pub fn whole(number: i64) -> Self {
        Fraction(Ratio::from_integer(I::from(number)))
    }

    /// `numerator` / 10^`places`.
    pub fn decimal(numerator: I, places: u32) -> Result<Self, Failure> {
        Ok(Fraction(Ratio::new(numerator, power_of_ten(places)?)))
    }

    pub fn is_zero(&self) -> bool {
        self.0.numer().is_zero()
    }

    pub fn plus(&self, other: &Self) -> Result<Self, Failure> {
        self.0.checked_add(&other.0).map(Fraction).ok_or(Failure::Overflow)
    }

    pub fn minus(&self, other: &Self) -> Result<Self, Failure> {
        self.0.checked_sub(&other.0).map(Fraction).ok_or(Failure::Overflow)
    }

    pub fn times(&self, other: &Self) -> Result<Self, Failure> {
        self.0.checked_mul(&other.0).map(Fraction).ok_or(Failure::Overflow)
    }

    /// By what is not zero.
    pub fn over(&self, other: &Self) -> Result<Self, Failure> {
        self.0.checked_div(&other.0).map(Fraction).ok_or(Failure::Overflow)
    }

    pub fn round(&self, rounding: Rounding) -> I {
        rounding.divide(self.0.numer(), self.0.denom())
    }
}

/// The fractions as multiples of one over the same denominator.
pub fn common_denominator<'a, I: Exact + 'a>(
    fractions: impl Iterator<Item = &'a Fraction<I>> + Clone,
) -> Result<(Vec<I>, I), Failure> {
    let mut common = I::one();
    for Fraction(fraction) in fractions.clone() {
        if !common.is_multiple_of(fraction.denom()) {
            let missing = fraction.denom().clone() / common.gcd(fraction.denom());
            common = product(&common, &missing)?;
            if common.bits() > MAX_BITS {
                let rule = "too many different combinations of inclusive taxes to be rounded as one";
                return Err(Fault::because(Code::Range, rule).into());
            }
        }
    }
    let numerator =
        |Fraction(fraction): &Fraction<I>| product(fraction.numer(), &(common.clone() / fraction.denom().clone()));
    let numerators = fractions.map(numerator).collect::<Result<_, _>>()?;
    Ok((numerators, common))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn powers_of_ten_go_beyond_a_word() {
        let text = |exponent| power_of_ten::<BigInt>(exponent).map(|power| power.to_string()).unwrap_or_default();
        for exponent in [0, 1, 18, 19, 20, 38, 80] {
            assert_eq!(text(exponent), format!("1{}", "0".repeat(exponent as usize)));
        }
        assert!(power_of_ten::<i128>(38).is_ok());
        assert!(matches!(power_of_ten::<i128>(39), Err(Failure::Overflow)));
    }

    #[test]
    fn an_overflow_is_said_and_not_wrapped() {
        let huge = Fraction::<i128>::decimal(i128::MAX, 0).ok().unwrap();
        assert!(matches!(huge.times(&huge), Err(Failure::Overflow)));
        assert!(matches!(huge.plus(&huge), Err(Failure::Overflow)));
    }
}
