//! Kinds of personal values: how each is normalised for look-ups, checked, and masked; and the blind index.

use crate::domain::xaes::KEY_BYTES;
use hkdf::Hkdf;
use hmac::{Hmac, Mac};
use serde::{Deserialize, Serialize};
use sha2::Sha256;

#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    #[default]
    Text,
    Email,
    Phone,
}

/// Stands for the letters that a masked value does not show.
pub const MASK: &str = "***";

impl Kind {
    pub const ALL: [Kind; 3] = [Kind::Text, Kind::Email, Kind::Phone];

    pub fn name(self) -> &'static str {
        match self {
            Kind::Text => "text",
            Kind::Email => "email",
            Kind::Phone => "phone",
        }
    }

    pub fn of(name: &str) -> Option<Kind> {
        Kind::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// Whether the value can be one of this kind at all.
    pub fn accepts(self, value: &str) -> bool {
        match self {
            Kind::Text => true,
            Kind::Email => {
                let value = value.trim();
                !value.contains(char::is_whitespace)
                    && value.rsplit_once('@').is_some_and(|(local, domain)| !local.is_empty() && !domain.is_empty())
            }
            Kind::Phone => value.chars().any(|c| c.is_ascii_digit()),
        }
    }

    /// The form in which two writings of one value are equal. Addresses: trimmed, in lower case. Numbers: their digits,
    /// after a leading + where there is one.
    pub fn normalised(self, value: &str) -> String {
        let value = value.trim();
        match self {
            Kind::Text => value.to_owned(),
            Kind::Email => value.to_lowercase(),
            Kind::Phone => {
                let plus = value.starts_with('+').then_some('+');
                plus.into_iter().chain(value.chars().filter(char::is_ascii_digit)).collect()
            }
        }
    }

    /// What readers without the permission see: enough to tell one's own entries apart.
    pub fn masked(self, value: &str) -> String {
        match self {
            Kind::Text => MASK.into(),
            Kind::Email => match value.rsplit_once('@') {
                Some((local, domain)) if local.chars().nth(1).is_some() => {
                    format!("{}{MASK}@{domain}", local.chars().next().unwrap_or_default())
                }
                Some((_, domain)) => format!("{MASK}@{domain}"),
                None => MASK.into(),
            },
            Kind::Phone => {
                let digits: Vec<char> = value.chars().filter(char::is_ascii_digit).collect();
                match digits.len() {
                    // Four of six digits would be most of the number.
                    7.. => format!("{MASK}{}", digits[digits.len() - 4..].iter().collect::<String>()),
                    _ => MASK.into(),
                }
            }
        }
    }

    /// Whether the value is what `masked` made: no address or number has three stars.
    pub fn is_masked(self, value: &str) -> bool {
        match self {
            Kind::Text => value == MASK,
            Kind::Email | Kind::Phone => value.contains(MASK),
        }
    }
}

/// HMAC-SHA-256 under a key of one tenant and field: equal values of a tenant's field have equal indexes, others not.
#[derive(Clone)]
pub struct BlindIndex(Hmac<Sha256>);

impl BlindIndex {
    /// From the tenant's data key.
    pub fn new(tenant_key: &[u8; KEY_BYTES], field: &str) -> BlindIndex {
        let mut key = zeroize::Zeroizing::new([0; 32]);
        let derived =
            Hkdf::<Sha256>::new(None, tenant_key).expand_multi_info(&[b"blind index ", field.as_bytes()], &mut key[..]);
        derived.expect("32 bytes are within what HKDF gives");
        BlindIndex(Hmac::new_from_slice(&key[..]).expect("HMAC takes keys of any length"))
    }

    /// Of a value in its normalised form.
    pub fn of(&self, normalised: &str) -> [u8; 32] {
        let mut mac = self.0.clone();
        mac.update(normalised.as_bytes());
        mac.finalize().into_bytes().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn two_writings_of_a_value_are_equal() {
        for (kind, writings) in [
            (Kind::Email, [" Ada@Example.ORG ", "ada@example.org"]),
            (Kind::Phone, ["+49 (0)30 / 12-34", "+49030 1234"]),
            (Kind::Phone, ["030 1234", "(030) 12-34"]),
            (Kind::Text, [" Ada ", "Ada"]),
        ] {
            assert_eq!(kind.normalised(writings[0]), kind.normalised(writings[1]));
        }
        assert_ne!(Kind::Phone.normalised("+30 1234"), Kind::Phone.normalised("30 1234"));
        assert_ne!(Kind::Text.normalised("Ada"), Kind::Text.normalised("ada"));
    }

    #[test]
    fn masks() {
        for (kind, value, mask) in [
            (Kind::Email, "ada@example.org", "a***@example.org"),
            (Kind::Email, "a@example.org", "***@example.org"),
            (Kind::Email, "érika@example.org", "é***@example.org"),
            (Kind::Email, "no address", "***"),
            (Kind::Phone, "+49 30 1234567", "***4567"),
            (Kind::Phone, "12345", "***"),
            (Kind::Text, "anything", "***"),
        ] {
            assert_eq!(kind.masked(value), mask);
            assert!(kind.is_masked(mask));
        }
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for value in ["", "ada", "@example.org", "ada@", "a da@example.org", "ada@exam ple.org"] {
            assert!(!Kind::Email.accepts(value), "{value}");
        }
        assert!(Kind::Email.accepts(" ada@example.org "));
        assert!(!Kind::Phone.accepts("none"));
    }

    #[test]
    fn blind_indexes_differ_by_key_and_field() {
        let of = |key, field: &str| BlindIndex::new(&[key; 32], field).of("ada@example.org");
        assert_eq!(of(1, "email"), of(1, "email"));
        assert_ne!(of(1, "email"), of(2, "email"));
        assert_ne!(of(1, "email"), of(1, "phone"));
    }

    proptest! {
        #[test]
        fn normalising_twice_changes_nothing(value: String) {
            for kind in Kind::ALL {
                let once = kind.normalised(&value);
                prop_assert_eq!(kind.normalised(&once), once);
            }
        }

        #[test]
        fn a_mask_shows_little(value in "[a-z]{2,20}@[a-z]{1,10}\\.example", number in "\\+?[0-9]{7,15}") {
            let mask = Kind::Email.masked(&value);
            let shown = mask.split('@').next().map(str::to_owned);
            prop_assert_eq!(shown, Some(format!("{}***", &value[..1])));
            prop_assert!(Kind::Email.is_masked(&mask));
            prop_assert_eq!(Kind::Phone.masked(&number).len(), 7);
        }
    }
}
