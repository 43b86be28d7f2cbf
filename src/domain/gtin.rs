//! Global trade item numbers: EAN-8, UPC-A, EAN-13, GTIN-14. The last digit checks the others.

/// 8, 12, 13 or 14 digits, weighted 3 and 1 in turn from the right, with a sum that ends with 0.
pub fn is_valid(gtin: &str) -> bool {
    if ![8, 12, 13, 14].contains(&gtin.len()) || !gtin.bytes().all(|digit| digit.is_ascii_digit()) {
        return false;
    }
    let weighted = gtin.bytes().rev().enumerate().map(|(i, digit)| {
        let weight = if i % 2 == 0 { 1 } else { 3 };
        u32::from(digit - b'0') * weight
    });
    weighted.sum::<u32>().is_multiple_of(10)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// GS1's own examples.
    const VALID: [&str; 5] = ["96385074", "036000291452", "4006381333931", "9780306406157", "10614141000415"];

    #[test]
    fn published_numbers_are_valid() {
        for gtin in VALID {
            assert!(is_valid(gtin), "{gtin}");
        }
    }

    #[test]
    fn any_altered_digit_is_noticed() {
        for gtin in VALID {
            for at in 0..gtin.len() {
                let mut altered = gtin.as_bytes().to_vec();
                altered[at] = b'0' + (altered[at] - b'0' + 1) % 10;
                assert!(!is_valid(std::str::from_utf8(&altered).unwrap()), "{gtin} at {at}");
            }
        }
    }

    #[test]
    fn other_lengths_and_letters_are_invalid() {
        for gtin in
            ["", "0", "1234567", "123456789", "40063813339310", "400638133393A", " 96385074", "９６３８５０７４"]
        {
            assert!(!is_valid(gtin), "{gtin}");
        }
    }
}
