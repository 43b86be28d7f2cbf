//! Seals of the audit log: what of a row goes into a hash, and how the seals form a chain.
//!
//! | hash | of |
//! |---|---|
//! | digest of a row | its columns as text, in order, each with its length in front |
//! | blind | HMAC-SHA256 of the row's id under the seal's blinding key |
//! | leaf | 0x00, blind, digest |
//! | root | RFC 6962 over the leaves, ordered by transaction and id |
//! | seal | 0x02 and the header's fields as text, in order, each with its length in front |
//!
//! Without the blind, hashes in one tenant's proof would let it try out what another tenant's rows say.

use crate::domain::merkle::Hash256;
use hmac::{Hmac, Mac};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::fmt;
use std::str::FromStr;

/// The columns of `audit.change_log`, in the order in which they are hashed. Times are microseconds since 1970, UTC.
pub const COLUMNS: [&str; 17] = [
    "tenant_id",
    "occurred_at",
    "id",
    "system_id",
    "transaction_id",
    "table_name",
    "operation",
    "row_key",
    "new_row_key",
    "old_values",
    "new_values",
    "actor_id",
    "session_role",
    "database_role",
    "application",
    "client_address",
    "request_id",
];

/// Takes the columns of a row, one after another.
#[derive(Default)]
pub struct RowDigest(Sha256);

impl RowDigest {
    pub fn column(&mut self, text: Option<&[u8]>) {
        // No text is as long as what stands for NULL: PostgreSQL ends at 1 GB.
        self.0.update(text.map_or(u32::MAX, |text| text.len() as u32).to_be_bytes());
        self.0.update(text.unwrap_or_default());
    }

    pub fn finish(self) -> Hash256 {
        Hash256(self.0.finalize().into())
    }
}

/// What hides one row's leaf from those who do not know it.
pub fn blind(blinding_key: &[u8], id: &[u8; 16]) -> Hash256 {
    let mut mac = Hmac::<Sha256>::new_from_slice(blinding_key).expect("HMAC takes keys of any length");
    mac.update(id);
    Hash256(mac.finalize().into_bytes().into())
}

pub fn leaf(blind: Hash256, digest: Hash256) -> Hash256 {
    Hash256::of(&[&[0], &blind.0, &digest.0])
}

/// What a seal stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Rows of the log.
    Rows,
    /// The sealed rows of a month, which were dropped after their time.
    Tombstone,
}

/// A month of the calendar, in UTC. In seals it is written as its first day.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Month {
    year: i32,
    month: u8,
}

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("neither rows nor tombstone, or not the first day of a month")]
pub struct Malformed;

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Kind::Rows => "rows",
            Kind::Tombstone => "tombstone",
        })
    }
}

impl FromStr for Kind {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Kind, Malformed> {
        [Kind::Rows, Kind::Tombstone].into_iter().find(|kind| kind.to_string() == text).ok_or(Malformed)
    }
}

const DAY_MICROS: i64 = 86_400_000_000;

impl Month {
    /// The month of a time in microseconds since 1970.
    pub fn of(unix_micros: i64) -> Month {
        Month::of_day(unix_micros.div_euclid(DAY_MICROS))
    }

    /// The month of a day, counted from 1970. Years begin in March here, so that the leap day is the last one.
    pub fn of_day(day: i64) -> Month {
        let shifted = day + 719_468;
        let (era, day) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
        let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
        let month = (5 * (day - (365 * year + year / 4 - year / 100)) + 2) / 153;
        let (month, next) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
        Month { year: (era * 400 + year + next) as i32, month: month as u8 }
    }

    /// Its first day, counted from 1970.
    pub fn first_day(self) -> i64 {
        let year = i64::from(self.year) - i64::from(self.month <= 2);
        let (era, of_era) = (year.div_euclid(400), year.rem_euclid(400));
        let day = (153 * ((i64::from(self.month) + 9) % 12) + 2) / 5;
        era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + day - 719_468
    }

    pub fn next(self) -> Month {
        match self.month {
            12 => Month { year: self.year + 1, month: 1 },
            _ => Month { month: self.month + 1, ..self },
        }
    }
}

impl fmt::Display for Month {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04}-{:02}-01", self.year, self.month)
    }
}

impl FromStr for Month {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Month, Malformed> {
        let parse = || {
            let (year, month) = text.strip_suffix("-01")?.rsplit_once('-')?;
            Some(Month {
                year: year.parse().ok()?,
                month: month.parse().ok().filter(|month| (1..=12).contains(month))?,
            })
        };
        parse().filter(|month| month.to_string() == text).ok_or(Malformed)
    }
}

/// Everything of a seal that its hash covers. In JSON all of it is text, as it is hashed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Header {
    #[serde(with = "as_text")]
    pub number: i64,
    #[serde(with = "as_text")]
    pub kind: Kind,
    #[serde(with = "as_text")]
    pub system_id: i64,
    #[serde(with = "as_text")]
    pub from_transaction: i64,
    /// Exclusive.
    #[serde(with = "as_text")]
    pub to_transaction: i64,
    #[serde(with = "as_text")]
    pub month: Month,
    #[serde(with = "as_text")]
    pub row_count: i64,
    pub root: Hash256,
    /// Microseconds since 1970.
    #[serde(with = "as_text")]
    pub sealed_at: i64,
    pub previous_hash: Hash256,
}

impl Header {
    pub fn hash(&self) -> Hash256 {
        let fields: [&dyn fmt::Display; 10] = [
            &self.number,
            &self.kind,
            &self.system_id,
            &self.from_transaction,
            &self.to_transaction,
            &self.month,
            &self.row_count,
            &self.root,
            &self.sealed_at,
            &self.previous_hash,
        ];
        let mut hasher = Sha256::new_with_prefix([2]);
        for field in fields {
            let text = field.to_string();
            hasher.update((text.len() as u32).to_be_bytes());
            hasher.update(text);
        }
        Hash256(hasher.finalize().into())
    }

    /// Whether it covers a transaction of the cluster it names.
    pub fn covers(&self, transaction: i64) -> bool {
        (self.from_transaction..self.to_transaction).contains(&transaction)
    }
}

/// Anything that is written and read as text, as JSON text.
mod as_text {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};
    use std::fmt::Display;
    use std::str::FromStr;

    pub fn serialize<T: Display, S: Serializer>(value: &T, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(value)
    }

    pub fn deserialize<'de, T: FromStr<Err: Display>, D: Deserializer<'de>>(deserializer: D) -> Result<T, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const TIME: i64 = 1_793_700_000_123_456;

    fn digest(columns: &[Option<&str>]) -> Hash256 {
        let mut digest = RowDigest::default();
        columns.iter().for_each(|column| digest.column(column.map(str::as_bytes)));
        digest.finish()
    }

    fn header() -> Header {
        Header {
            number: 7,
            kind: Kind::Rows,
            system_id: 7_300_000_000_000_000_001,
            from_transaction: 1000,
            to_transaction: 2000,
            month: "2026-11-01".parse().expect("a month"),
            row_count: 3,
            root: Hash256([0xab; 32]),
            sealed_at: TIME,
            previous_hash: Hash256::ZERO,
        }
    }

    /// The same made by another program: hashlib and hmac of Python.
    #[test]
    fn fixed_vectors() {
        let row = [
            Some("aaaaaaaa-0000-4000-8000-000000000001"),
            Some("1793700000123456"),
            None,
            Some(""),
            Some("{\"a\": 1}"),
        ];
        assert_eq!(digest(&row).to_string(), "948750f92078fa4aa6d63528156d1bcfda5be8a933f47c3fa044b7604e32e59d");
        let id: [u8; 16] = std::array::from_fn(|n| n as u8);
        let blind = blind(&[0x42; 32], &id);
        assert_eq!(blind.to_string(), "3c11ddd5996bab20165bb16079e1303302bee56f1479bbebf802ba9a51980cbb");
        assert_eq!(
            leaf(blind, digest(&row)).to_string(),
            "bffc8f5a2c9dca0661782fa7cb79a4c435f9a93ffd1398b1437dbdb7907dcef9"
        );
        assert_eq!(header().hash().to_string(), "1080bec2984f69607f1097213959ab33aba4cb64e5bea3658157d0f617480082");
    }

    #[test]
    fn texts_of_columns_do_not_run_into_each_other() {
        let rows: [&[Option<&str>]; 6] = [
            &[Some("ab"), Some("c")],
            &[Some("a"), Some("bc")],
            &[Some("abc"), Some("")],
            &[Some("abc"), None],
            &[None, Some("abc")],
            &[Some("abc")],
        ];
        let mut digests: Vec<String> = rows.iter().map(|row| digest(row).to_string()).collect();
        digests.sort();
        digests.dedup();
        assert_eq!(digests.len(), rows.len());
    }

    #[test]
    fn every_field_of_a_header_is_hashed() {
        let changes: [fn(&mut Header); 10] = [
            |h| h.number += 1,
            |h| h.kind = Kind::Tombstone,
            |h| h.system_id += 1,
            |h| h.from_transaction += 1,
            |h| h.to_transaction += 1,
            |h| h.month = h.month.next(),
            |h| h.row_count += 1,
            |h| h.root.0[31] ^= 1,
            |h| h.sealed_at += 1,
            |h| h.previous_hash.0[0] ^= 1,
        ];
        let mut hashes = vec![header().hash().to_string()];
        for change in changes {
            let mut changed = header();
            change(&mut changed);
            hashes.push(changed.hash().to_string());
        }
        hashes.sort();
        hashes.dedup();
        assert_eq!(hashes.len(), 11);
    }

    #[test]
    fn headers_are_text_in_json_and_come_back_as_they_were() {
        let json = serde_json::to_value(header()).expect("JSON");
        assert_eq!(json["system_id"], "7300000000000000001");
        assert_eq!(json["month"], "2026-11-01");
        assert!(json.as_object().expect("an object").values().all(serde_json::Value::is_string));
        assert_eq!(serde_json::from_value::<Header>(json.clone()).expect("a header"), header());
        for (field, wrong) in
            [("month", "2026-11-02"), ("month", "2026-1-01"), ("kind", "row"), ("number", "x"), ("root", "ab")]
        {
            let mut json = json.clone();
            json[field] = wrong.into();
            assert!(serde_json::from_value::<Header>(json).is_err(), "{field} {wrong}");
        }
    }

    #[test]
    fn months_are_those_of_the_calendar() {
        let of = |text: &str| text.parse::<Month>().expect("a month");
        assert_eq!(Month::of(0), of("1970-01-01"));
        assert_eq!(Month::of(-1), of("1969-12-01"));
        assert_eq!(Month::of(TIME), of("2026-11-01"));
        for (month, day) in [("1970-01-01", 0), ("2000-03-01", 11_017), ("2024-02-01", 19_754), ("2026-12-01", 20_788)]
        {
            assert_eq!(of(month).first_day(), day, "{month}");
        }
        assert_eq!(of("2026-12-01").next(), of("2027-01-01"));
        // Whatever stands in a row, nothing overflows.
        for time in [i64::MIN, i64::MAX] {
            assert_eq!(of(&Month::of(time).to_string()), Month::of(time));
        }
    }

    proptest! {
        #[test]
        fn a_month_is_from_its_first_day_to_the_next(day in -1_000_000i64..1_000_000) {
            let month = Month::of_day(day);
            prop_assert!(month.first_day() <= day && day < month.next().first_day());
            prop_assert!((28..=31).contains(&(month.next().first_day() - month.first_day())));
            prop_assert_eq!(month.to_string().parse(), Ok(month));
            prop_assert_eq!(Month::of(day * DAY_MICROS), month);
        }
    }
}
