//! Exact decimals: "12.50" is 125 tenths. What a person may write for money, a quantity or a percentage fits.

/// More places than this mean nothing anywhere.
pub const MAX_PLACES: u8 = 6;
/// Digits of the largest number.
const MAX_DIGITS: usize = 18;

/// `mantissa` / 10^`places`, without zeros at the end: 1 and 1.000 are the same value in the same bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decimal {
    mantissa: i64,
    places: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotDecimal {
    NotANumber,
    /// With an exponent, as floating-point numbers are written.
    Exponent,
    /// More than `MAX_PLACES`.
    TooFine,
    /// More than `MAX_DIGITS`.
    TooLarge,
}

impl Decimal {
    pub const ZERO: Decimal = Decimal { mantissa: 0, places: 0 };
    pub const ONE: Decimal = Decimal { mantissa: 1, places: 0 };

    pub fn mantissa(self) -> i64 {
        self.mantissa
    }

    pub fn places(self) -> u8 {
        self.places
    }

    /// A sign, digits, and a point with digits after it.
    pub fn parse(text: &[u8]) -> Result<Decimal, NotDecimal> {
        let (negative, digits) = match text {
            [b'-', rest @ ..] => (true, rest),
            _ => (false, text),
        };
        let (whole, fraction) = match digits.iter().position(|&byte| byte == b'.') {
            Some(point) if point + 1 < digits.len() => (&digits[..point], &digits[point + 1..]),
            Some(_) => return Err(NotDecimal::NotANumber),
            None => (digits, &digits[digits.len()..]),
        };
        if whole.is_empty() || !whole.iter().chain(fraction).all(u8::is_ascii_digit) {
            return Err(if has_exponent(digits) { NotDecimal::Exponent } else { NotDecimal::NotANumber });
        }
        let zeros = fraction.iter().rev().take_while(|&&digit| digit == b'0').count();
        let fraction = &fraction[..fraction.len() - zeros];
        let whole = &whole[whole.iter().take_while(|&&digit| digit == b'0').count()..];
        if fraction.len() > MAX_PLACES as usize {
            return Err(NotDecimal::TooFine);
        }
        if whole.len() + fraction.len() > MAX_DIGITS {
            return Err(NotDecimal::TooLarge);
        }
        let mantissa = whole.iter().chain(fraction).fold(0, |sum, digit| sum * 10 + i64::from(digit - b'0'));
        Ok(Decimal { mantissa: if negative { -mantissa } else { mantissa }, places: fraction.len() as u8 })
    }

    /// A numeric as PostgreSQL stores it, without its varlena header: a header, then digits of base 10,000.
    pub fn from_numeric(stored: &[u8]) -> Result<Decimal, NotDecimal> {
        const SPECIAL: u16 = 0xc000;
        const SHORT: u16 = 0x8000;
        let word = |at: usize| stored.get(at..at + 2).map(|two| u16::from_ne_bytes([two[0], two[1]]));
        let header = word(0).ok_or(NotDecimal::NotANumber)?;
        let (negative, weight, digits) = match header & SPECIAL {
            SPECIAL => return Err(NotDecimal::NotANumber),
            // Seven bits of weight, the uppermost its sign.
            SHORT => (header & 0x2000 != 0, i32::from((header << 9) as i16 >> 9), &stored[2..]),
            sign => (sign != 0, i32::from(word(2).ok_or(NotDecimal::NotANumber)? as i16), &stored[4..]),
        };
        let digits = digits.chunks_exact(2).map(|two| i128::from(u16::from_ne_bytes([two[0], two[1]])));
        // Groups of four digits after the point. PostgreSQL stores none that are zero at the end.
        let after = digits.len() as i32 - 1 - weight;
        if digits.len() == 0 {
            return Ok(Decimal::ZERO);
        }
        if after > 2 {
            return Err(NotDecimal::TooFine);
        }
        if weight > 4 {
            return Err(NotDecimal::TooLarge);
        }
        let mut mantissa = digits.fold(0, |sum, digit| sum * 10_000 + digit);
        for _ in after..0 {
            mantissa *= 10_000;
        }
        let mut places = 4 * after.max(0);
        while places > 0 && mantissa % 10 == 0 {
            mantissa /= 10;
            places -= 1;
        }
        if places > MAX_PLACES.into() {
            return Err(NotDecimal::TooFine);
        }
        if mantissa >= i128::from(POWERS[MAX_DIGITS]) {
            return Err(NotDecimal::TooLarge);
        }
        let mantissa = mantissa as i64;
        Ok(Decimal { mantissa: if negative { -mantissa } else { mantissa }, places: places as u8 })
    }

    /// How many of 10^-`places` it is; None when it is finer than that, or too large.
    pub fn units(self, places: u8) -> Option<i64> {
        let missing = places.checked_sub(self.places)?;
        self.mantissa.checked_mul(POWERS[usize::from(missing)])
    }
}

/// Whether it would be a number if exponents were allowed.
fn has_exponent(digits: &[u8]) -> bool {
    let Some(at) = digits.iter().position(|byte| byte.eq_ignore_ascii_case(&b'e')) else { return false };
    let exponent = &digits[at + 1..];
    let exponent = exponent.strip_prefix(b"+").or(exponent.strip_prefix(b"-")).unwrap_or(exponent);
    let is_plain = Decimal::parse(&digits[..at]).is_ok_and(|_| digits[0] != b'-');
    is_plain && !exponent.is_empty() && exponent.iter().all(u8::is_ascii_digit)
}

/// 10^0 to 10^18.
pub const POWERS: [i64; 19] = {
    let mut powers = [1; 19];
    let mut i = 1;
    while i < powers.len() {
        powers[i] = powers[i - 1] * 10;
        i += 1;
    }
    powers
};

/// Appends an amount of minor units with exactly so many places.
pub fn write_units(into: &mut Vec<u8>, units: i64, places: u8) {
    // A sign, 19 digits and a point, from the end.
    let (mut text, mut at) = ([b'0'; 24], 24);
    let (mut rest, mut written) = (units.unsigned_abs(), 0);
    while rest > 0 || written <= places {
        if written == places && places > 0 {
            at -= 1;
            text[at] = b'.';
        }
        at -= 1;
        text[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
        written += 1;
    }
    if units < 0 {
        at -= 1;
        text[at] = b'-';
    }
    into.extend_from_slice(&text[at..]);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(units: i64, places: u8) -> String {
        let mut bytes = Vec::new();
        write_units(&mut bytes, units, places);
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn equal_numbers_are_equal_however_they_are_written() {
        let one = Decimal::parse(b"1").unwrap();
        for same in ["1.0", "1.000000000", "001", "01.0"] {
            assert_eq!(Decimal::parse(same.as_bytes()), Ok(one), "{same}");
        }
        assert_eq!(Decimal::parse(b"-0.00"), Ok(Decimal::ZERO));
        assert_eq!(Decimal::parse(b"-1.250"), Ok(Decimal { mantissa: -125, places: 2 }));
    }

    #[test]
    fn what_is_no_decimal_says_why() {
        for text in
            ["", "-", ".", "1.", ".5", "+1", " 1", "1 ", "1,5", "--1", "NaN", "Infinity", "0x10", "1e", "e5", "1e5e5"]
        {
            assert_eq!(Decimal::parse(text.as_bytes()), Err(NotDecimal::NotANumber), "{text}");
        }
        for text in ["1e3", "1.5E-3", "-2e+1"] {
            assert_eq!(Decimal::parse(text.as_bytes()), Err(NotDecimal::Exponent), "{text}");
        }
        assert_eq!(Decimal::parse(b"0.0000001"), Err(NotDecimal::TooFine));
        assert_eq!(Decimal::parse(b"1234567890123456789"), Err(NotDecimal::TooLarge));
        assert!(Decimal::parse(b"123456789012.345678").is_ok());
    }

    #[test]
    fn amounts_are_written_with_every_place() {
        assert_eq!([text(0, 2), text(-2, 2), text(12345, 2)], ["0.00", "-0.02", "123.45"]);
        assert_eq!([text(0, 0), text(907, 0), text(-9_999_999_999, 6)], ["0", "907", "-9999.999999"]);
        assert_eq!(text(i64::MIN, 6), "-9223372036854.775808");
    }

    #[test]
    fn units_are_whole_or_none() {
        let decimal = |text: &str| Decimal::parse(text.as_bytes()).unwrap();
        assert_eq!(decimal("1.5").units(2), Some(150));
        assert_eq!(decimal("1.005").units(2), None);
        assert_eq!(decimal("999999999999999999").units(2), None);
    }

    #[test]
    fn stored_numerics_are_decoded() {
        let stored = |words: &[u16]| words.iter().flat_map(|word| word.to_ne_bytes()).collect::<Vec<u8>>();
        let read = |words: &[u16]| Decimal::from_numeric(&stored(words));
        let decimal = |text: &str| Decimal::parse(text.as_bytes());
        // Short form: sign, weight in seven bits.
        assert_eq!(read(&[0x8000]), Ok(Decimal::ZERO));
        assert_eq!(read(&[0x8000, 12]), decimal("12"));
        assert_eq!(read(&[0x8000 | 1, 3, 1]), decimal("30001"));
        assert_eq!(read(&[0x8000 | 1, 3]), decimal("30000"));
        assert_eq!(read(&[0x8000 | 0x2000, 12, 5000]), decimal("-12.5"));
        assert_eq!(read(&[0x8000 | 0x7f, 5]), decimal("0.0005"), "of weight -1");
        assert_eq!(read(&[0x8000 | 0x7e, 5]), Err(NotDecimal::TooFine));
        assert_eq!(read(&[0x8000 | 0x7e, 100]), decimal("0.000001"));
        assert_eq!(read(&[0x8000 | 4, 99, 9999, 9999, 9999, 9999]), decimal("999999999999999999"));
        assert_eq!(read(&[0x8000 | 4, 100]), Err(NotDecimal::TooLarge));
        // Long form, and what is no number.
        assert_eq!(read(&[0x4000, 0, 7]), decimal("-7"));
        assert_eq!(read(&[0xc000]), Err(NotDecimal::NotANumber));
    }
}
