//! A JSON object in the bytes that PostgreSQL stores as jsonb, written directly: a fifth of what `to_jsonb` costs.
//!
//! The format is that of PostgreSQL's `utils/jsonb.h`, the same since 9.4. In-database tests hold it to the bytes of
//! `to_jsonb` for every built-in type.

pub mod read;
pub mod write;

/// An entry's type, and whether it holds an offset or a length.
const IS_NUMERIC: u32 = 0x1000_0000;
const IS_FALSE: u32 = 0x2000_0000;
const IS_TRUE: u32 = 0x3000_0000;
const IS_NULL: u32 = 0x4000_0000;
const IS_CONTAINER: u32 = 0x5000_0000;
const HAS_OFFSET: u32 = 0x8000_0000;
/// What is left for the length.
const LENGTH: u32 = 0x0fff_ffff;
/// Every so many entries hold the offset of their end, the others their length.
const STRIDE: usize = 32;
/// In the header of a container.
const OBJECT: u32 = 0x2000_0000;
const SCALAR: u32 = 0x1000_0000;
const COUNT: u32 = 0x0fff_ffff;
/// Of the varlena, which is left zero, of a container's header, and of an entry.
const WORD: usize = 4;

/// A value of the object.
#[derive(Debug, Clone, PartialEq)]
pub enum Value<'a> {
    Null,
    Bool(bool),
    Integer(i64),
    Text(&'a [u8]),
    OwnedText(String),
    Uuid(uuid::Uuid),
    /// A numeric that is a number, as it is stored, without its varlena header.
    Numeric(&'a [u8]),
    /// A jsonb as it is stored, without its varlena header.
    Jsonb(&'a [u8]),
    /// The same, made for this object.
    OwnedJsonb(Vec<u8>),
}

impl Value<'_> {
    /// Bytes of what is of any length.
    pub fn length(&self) -> usize {
        match self {
            Value::Text(bytes) | Value::Numeric(bytes) | Value::Jsonb(bytes) => bytes.len(),
            Value::OwnedText(text) => text.len(),
            Value::OwnedJsonb(bytes) => bytes.len(),
            Value::Null | Value::Bool(_) | Value::Integer(_) | Value::Uuid(_) => 0,
        }
    }
}

/// The object would be larger than jsonb can be.
#[derive(Debug, PartialEq, Eq)]
pub struct TooLarge;

/// The order of the keys within an object.
pub fn key_order(a: &[u8], b: &[u8]) -> std::cmp::Ordering {
    a.len().cmp(&b.len()).then_with(|| a.cmp(b))
}

/// The object of these fields, whose keys are in `key_order` and differ. The first four bytes are left for the varlena
/// header.
pub fn object(fields: &[(&[u8], Value)]) -> Result<Vec<u8>, TooLarge> {
    let entries = 2 * fields.len();
    let data = 2 * WORD + entries * WORD;
    let mut bytes = Vec::with_capacity(data + fields.len() * 48);
    bytes.resize(data, 0);
    put(&mut bytes, WORD, fields.len() as u32 | OBJECT);
    for (i, (key, _)) in fields.iter().enumerate() {
        bytes.extend_from_slice(key);
        let end = bytes.len() - data;
        entry(&mut bytes, 2 * WORD + i * WORD, i, 0, key.len(), end)?;
    }
    for (i, (_, value)) in fields.iter().enumerate() {
        let before = bytes.len();
        let kind = append(&mut bytes, value);
        let (length, end) = (bytes.len() - before, bytes.len() - data);
        let i = fields.len() + i;
        entry(&mut bytes, 2 * WORD + i * WORD, i, kind, length, end)?;
    }
    Ok(bytes)
}

fn put(bytes: &mut [u8], at: usize, word: u32) {
    bytes[at..at + WORD].copy_from_slice(&word.to_ne_bytes());
}

fn word(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..at + WORD).map_or(0, |word| u32::from_ne_bytes(word.try_into().expect("four bytes")))
}

/// Writes entry `i` of a container, which stands at `at`, for a value of this length that ends at `end` of the data.
fn entry(bytes: &mut [u8], at: usize, i: usize, kind: u32, length: usize, end: usize) -> Result<(), TooLarge> {
    if end > LENGTH as usize {
        return Err(TooLarge);
    }
    let what = if i.is_multiple_of(STRIDE) { end as u32 | HAS_OFFSET } else { length as u32 };
    put(bytes, at, kind | what);
    Ok(())
}

/// Appends the value and returns its type. The padding before a number or a container counts as part of it.
fn append(bytes: &mut Vec<u8>, value: &Value) -> u32 {
    match value {
        Value::Null => IS_NULL,
        Value::Bool(true) => IS_TRUE,
        Value::Bool(false) => IS_FALSE,
        Value::Text(text) => {
            bytes.extend_from_slice(text);
            0
        }
        Value::OwnedText(text) => {
            bytes.extend_from_slice(text.as_bytes());
            0
        }
        Value::Uuid(uuid) => {
            let mut text = [0; uuid::fmt::Hyphenated::LENGTH];
            bytes.extend_from_slice(uuid.hyphenated().encode_lower(&mut text).as_bytes());
            0
        }
        Value::Integer(number) => {
            let (digits, count) = numeric_of(*number);
            append_numeric(bytes, &digits[..count])
        }
        Value::Numeric(stored) => append_numeric(bytes, stored),
        Value::Jsonb(stored) => append_jsonb(bytes, stored),
        Value::OwnedJsonb(stored) => append_jsonb(bytes, stored),
    }
}

fn pad(bytes: &mut Vec<u8>) {
    bytes.resize(bytes.len().next_multiple_of(WORD), 0);
}

fn append_numeric(bytes: &mut Vec<u8>, stored: &[u8]) -> u32 {
    pad(bytes);
    // A varlena with a header of four bytes, whose length counts the header.
    let length = (stored.len() + WORD) as u32;
    let header = if cfg!(target_endian = "little") { length << 2 } else { length };
    bytes.extend_from_slice(&header.to_ne_bytes());
    bytes.extend_from_slice(stored);
    IS_NUMERIC
}

/// A scalar is stored as an array of one element: within an object it stands for itself.
fn append_jsonb(bytes: &mut Vec<u8>, stored: &[u8]) -> u32 {
    if word(stored, 0) & SCALAR == 0 {
        pad(bytes);
        bytes.extend_from_slice(stored);
        return IS_CONTAINER;
    }
    let element = word(stored, WORD);
    let kind = element & !(HAS_OFFSET | LENGTH);
    if kind == IS_NUMERIC {
        pad(bytes);
    }
    bytes.extend_from_slice(&stored[2 * WORD..]);
    kind
}

/// Whether a stored jsonb is `{}`, `[]` or null.
pub fn is_empty(stored: &[u8]) -> bool {
    let header = word(stored, 0);
    header & COUNT == 0 || header & SCALAR != 0 && word(stored, WORD) & !(HAS_OFFSET | LENGTH) == IS_NULL
}

/// The text of a stored jsonb that is a string.
pub fn as_string(stored: &[u8]) -> Option<&[u8]> {
    let is_string = word(stored, 0) & SCALAR != 0 && word(stored, WORD) & !(HAS_OFFSET | LENGTH) == 0;
    is_string.then(|| &stored[2 * WORD..])
}

/// An integer as a stored numeric: header, then digits of base 10,000 without zeros at the end.
fn numeric_of(number: i64) -> ([u8; 12], usize) {
    const BASE: u64 = 10_000;
    const SHORT: u16 = 0x8000;
    const NEGATIVE: u16 = 0x2000;
    let mut digits = [0u16; 5];
    let (mut rest, mut count) = (number.unsigned_abs(), 0);
    while rest > 0 {
        digits[count] = (rest % BASE) as u16;
        rest /= BASE;
        count += 1;
    }
    let weight = count.saturating_sub(1) as u16;
    let sign = if number < 0 { NEGATIVE } else { 0 };
    let mut bytes = [0; 12];
    bytes[..2].copy_from_slice(&(SHORT | sign | weight).to_ne_bytes());
    let trailing = digits[..count].iter().take_while(|digit| **digit == 0).count();
    let mut length = 2;
    for digit in digits[trailing..count].iter().rev() {
        bytes[length..length + 2].copy_from_slice(&digit.to_ne_bytes());
        length += 2;
    }
    (bytes, length)
}

/// Whether a stored numeric is NaN or infinite, which JSON has no number for.
pub fn is_special(numeric: &[u8]) -> bool {
    const SPECIAL: u16 = 0xc000;
    numeric.get(..2).is_some_and(|head| u16::from_ne_bytes([head[0], head[1]]) & SPECIAL == SPECIAL)
}

/// A JSON number's text as a stored numeric.
#[cfg(test)]
pub fn numeric(text: &str) -> Vec<u8> {
    let (negative, digits) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let whole = format!("{}{whole}", "0".repeat(whole.len().next_multiple_of(4) - whole.len()));
    let scale = fraction.len();
    let fraction = format!("{fraction}{}", "0".repeat(scale.next_multiple_of(4) - scale));
    let groups = |text: &str| {
        text.as_bytes().chunks(4).map(|four| std::str::from_utf8(four).unwrap().parse().unwrap()).collect::<Vec<u16>>()
    };
    let mut all = [groups(&whole), groups(&fraction)].concat();
    let mut weight = (whole.len() / 4) as i16 - 1;
    while all.first() == Some(&0) {
        all.remove(0);
        weight -= 1;
    }
    while all.last() == Some(&0) {
        all.pop();
    }
    // The long form.
    let mut words = vec![if negative { 0x4000 } else { 0 } | scale as u16, weight as u16];
    words.extend(all);
    words.iter().flat_map(|word| word.to_ne_bytes()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cmp::Ordering;

    #[test]
    fn shorter_keys_come_first() {
        assert_eq!(key_order(b"zz", b"aaa"), Ordering::Less);
        assert_eq!(key_order(b"ab", b"aa"), Ordering::Greater);
    }

    #[test]
    fn an_empty_object_is_a_header() {
        let bytes = object(&[]).unwrap();
        assert_eq!(bytes[..4], [0; 4]);
        assert_eq!(word(&bytes, 4), OBJECT);
        assert_eq!(bytes.len(), 8);
        assert!(is_empty(&bytes[4..]));
    }

    #[test]
    fn numbers_stand_at_multiples_of_four() {
        let bytes = object(&[(b"a", Value::Text(b"xyz")), (b"b", Value::Integer(-10_001))]).unwrap();
        // Header, count, four entries; a b xyz; three bytes of padding; varlena header, numeric header, two digits.
        assert_eq!(bytes.len(), 4 + 4 + 16 + 5 + 3 + 4 + 2 + 4);
        assert_eq!(word(&bytes, 8 + 3 * 4), IS_NUMERIC | (3 + 4 + 2 + 4));
        assert_eq!(u16::from_ne_bytes([bytes[36], bytes[37]]), 0x8000 | 0x2000 | 1);
    }

    #[test]
    fn integers_lose_zeros_at_the_end() {
        assert_eq!(numeric_of(0).1, 2);
        let (bytes, length) = numeric_of(100_000_000);
        assert_eq!(length, 4, "one digit of base 10,000, of weight 2");
        assert_eq!(u16::from_ne_bytes([bytes[2], bytes[3]]), 1);
        assert_eq!(numeric_of(i64::MIN).1, 12);
    }

    #[test]
    fn scalars_stand_for_themselves() {
        let scalar = |entry: u32, data: &[u8]| {
            let mut bytes = (1 | 0x4000_0000 | SCALAR).to_ne_bytes().to_vec();
            bytes.extend_from_slice(&entry.to_ne_bytes());
            bytes.extend_from_slice(data);
            bytes
        };
        let text = scalar(HAS_OFFSET | 2, b"hi");
        assert_eq!(as_string(&text), Some(&b"hi"[..]));
        assert_eq!(object(&[(b"a", Value::Jsonb(&text))]), object(&[(b"a", Value::Text(b"hi"))]));
        let null = scalar(HAS_OFFSET | IS_NULL, b"");
        assert!(is_empty(&null));
        assert_eq!(object(&[(b"a", Value::Jsonb(&null))]), object(&[(b"a", Value::Null)]));
    }
}
