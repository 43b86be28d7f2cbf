//! Vehicle identification numbers: ISO 3779, with the check digit of 49 CFR 565.15.

/// The value of each digit and letter; I, O and Q are not used, for they look like 1 and 0.
fn value(letter: u8) -> Option<u32> {
    Some(match letter {
        b'0'..=b'9' => u32::from(letter - b'0'),
        b'A'..=b'H' => u32::from(letter - b'A') + 1,
        b'J'..=b'N' => u32::from(letter - b'J') + 1,
        b'P' => 7,
        b'R' => 9,
        b'S'..=b'Z' => u32::from(letter - b'S') + 2,
        _ => return None,
    })
}

/// The weight of each position. The check digit itself, at the ninth, has none.
const WEIGHTS: [u32; 17] = [8, 7, 6, 5, 4, 3, 2, 10, 0, 9, 8, 7, 6, 5, 4, 3, 2];
const CHECK_DIGIT: usize = 8;

/// Seventeen digits and capital letters without I, O and Q: what every number since 1981 is made of.
pub fn is_well_formed(vin: &str) -> bool {
    vin.len() == WEIGHTS.len() && vin.bytes().all(|letter| value(letter).is_some())
}

/// Well formed, with the right check digit. Outside North America and China many makers put a letter of their own there.
pub fn is_valid(vin: &str) -> bool {
    if !is_well_formed(vin) {
        return false;
    }
    let sum: u32 = vin.bytes().zip(WEIGHTS).filter_map(|(letter, weight)| Some(value(letter)? * weight)).sum();
    let digit = match sum % 11 {
        10 => b'X',
        rest => b'0' + rest as u8,
    };
    vin.as_bytes()[CHECK_DIGIT] == digit
}

/// Whether the maker's region is North America, where the check digit is law.
pub fn is_north_american(vin: &str) -> bool {
    matches!(vin.bytes().next(), Some(b'1'..=b'5'))
}

#[cfg(test)]
mod tests {
    use super::*;

    const VALID: [&str; 4] = ["1M8GDM9AXKP042788", "11111111111111111", "LJCPCBLCX11000237", "1J9RP1A36A1644345"];

    #[test]
    fn published_numbers_are_valid() {
        for vin in VALID {
            assert!(is_valid(vin), "{vin}");
        }
    }

    /// A weight times the change is no multiple of 11, so no single wrong digit goes unnoticed.
    #[test]
    fn any_altered_digit_is_noticed() {
        for vin in VALID {
            for at in 0..vin.len() {
                let mut altered = vin.as_bytes().to_vec();
                altered[at] = if altered[at] == b'5' { b'6' } else { b'5' };
                let altered = String::from_utf8(altered).unwrap();
                let same = value(vin.as_bytes()[at]) == value(altered.as_bytes()[at]) && at != CHECK_DIGIT;
                assert_eq!(is_valid(&altered), same, "{altered}");
            }
        }
    }

    #[test]
    fn malformed_numbers_are_invalid() {
        for vin in ["", "1M8GDM9AXKP04278", "1M8GDM9AXKP0427880", "1m8gdm9axkp042788", " 1M8GDM9AXKP04278", "ÄÄÄÄÄÄÄÄ1"]
        {
            assert!(!is_valid(vin), "{vin}");
        }
        for letter in ["I", "O", "Q"] {
            for at in 0..17 {
                let mut vin = "11111111111111111".to_owned();
                vin.replace_range(at..=at, letter);
                assert!(!is_valid(&vin) && !is_well_formed(&vin), "{vin}");
            }
        }
    }

    #[test]
    fn regions() {
        assert!(is_north_american("1M8GDM9AXKP042788") && is_north_american("5YJ"));
        assert!(!is_north_american("LJCPCBLCX11000237") && !is_north_american("WVW") && !is_north_american(""));
    }
}
