//! What stands in a column instead of a personal value: base64 of version, data key, nonce, ciphertext and tag.
//!
//! | bytes | what |
//! |---|---|
//! | 3 | version: `4c 7b f5`, in base64 `THv1`: envelopes are recognised by it |
//! | 16 | id of the data key, a uuid |
//! | 24 | nonce |
//! | n | ciphertext, as long as the text |
//! | 16 | tag |
//!
//! The associated data names the tenant, the field and the row, so a ciphertext moved elsewhere does not open.

use crate::domain::xaes::{NONCE_BYTES, NotAuthentic, TAG_BYTES, Xaes};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use uuid::Uuid;

const VERSION: [u8; 3] = [0x4c, 0x7b, 0xf5];
const HEADER_BYTES: usize = VERSION.len() + 16;
const OVERHEAD_BYTES: usize = HEADER_BYTES + NONCE_BYTES + TAG_BYTES;

/// What a ciphertext is bound to. `field` and `row` are empty where the caller has none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place<'a> {
    pub tenant: Uuid,
    pub field: &'a str,
    pub row: &'a str,
}

impl Place<'_> {
    /// No two places have the same bytes: the field's length stands before it.
    fn associated_data(&self, into: &mut Vec<u8>) {
        into.extend_from_slice(b"thorbis_db personal data");
        into.extend_from_slice(self.tenant.as_bytes());
        into.extend_from_slice(&(self.field.len() as u32).to_be_bytes());
        into.extend_from_slice(self.field.as_bytes());
        into.extend_from_slice(self.row.as_bytes());
    }
}

/// The envelope of a text, under a fresh random nonce.
pub fn seal(data_key: Uuid, key: &Xaes, nonce: &[u8; NONCE_BYTES], place: Place, text: &str) -> String {
    let mut bytes = Vec::with_capacity(OVERHEAD_BYTES + text.len());
    bytes.extend_from_slice(&VERSION);
    bytes.extend_from_slice(data_key.as_bytes());
    bytes.extend_from_slice(nonce);
    bytes.extend_from_slice(text.as_bytes());
    let mut associated = Vec::with_capacity(128);
    place.associated_data(&mut associated);
    let tag = key.seal(nonce, &associated, &mut bytes[HEADER_BYTES + NONCE_BYTES..]);
    bytes.extend_from_slice(&tag);
    STANDARD.encode(bytes)
}

/// An envelope that was taken apart, not opened yet.
pub struct Envelope {
    pub data_key: Uuid,
    bytes: Vec<u8>,
}

impl Envelope {
    /// None for everything that is no envelope.
    pub fn parse(text: &str) -> Option<Envelope> {
        let bytes = STANDARD.decode(text).ok()?;
        if bytes.len() < OVERHEAD_BYTES || !bytes.starts_with(&VERSION) {
            return None;
        }
        let data_key = Uuid::from_slice(&bytes[VERSION.len()..HEADER_BYTES]).ok()?;
        Some(Envelope { data_key, bytes })
    }

    /// The text. The key must be the one the envelope names.
    pub fn open(self, key: &Xaes, place: Place) -> Result<String, NotAuthentic> {
        let Envelope { mut bytes, .. } = self;
        let (rest, tag) = bytes.split_last_chunk_mut::<TAG_BYTES>().ok_or(NotAuthentic)?;
        let (nonce, text) = rest[HEADER_BYTES..].split_first_chunk_mut::<NONCE_BYTES>().ok_or(NotAuthentic)?;
        let mut associated = Vec::with_capacity(128);
        place.associated_data(&mut associated);
        key.open(nonce, &associated, text, tag)?;
        bytes.truncate(bytes.len() - TAG_BYTES);
        bytes.drain(..HEADER_BYTES + NONCE_BYTES);
        String::from_utf8(bytes).map_err(|_| NotAuthentic)
    }
}

/// How every envelope under a data key begins. Version and id are 19 bytes, of which 18 fill whole base64 digits.
pub fn prefix(data_key: Uuid) -> String {
    let header = [&VERSION[..], data_key.as_bytes()].concat();
    STANDARD.encode(&header[..18])
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const KEY: Uuid = Uuid::from_u128(7);
    const PLACE: Place = Place { tenant: Uuid::from_u128(1), field: "shared.customers.email", row: "r" };

    fn xaes() -> Xaes {
        Xaes::new(&[9; 32])
    }

    fn open(envelope: &str, place: Place) -> Option<String> {
        let envelope = Envelope::parse(envelope)?;
        assert_eq!(envelope.data_key, KEY);
        envelope.open(&xaes(), place).ok()
    }

    #[test]
    fn envelopes_are_recognised_by_their_beginning() {
        let envelope = seal(KEY, &xaes(), &[1; 24], PLACE, "a@b.example");
        assert!(envelope.starts_with("THv1"));
        assert!(envelope.starts_with(&prefix(KEY)));
        assert!(!envelope.starts_with(&prefix(Uuid::from_u128(7 << 8))));
    }

    #[test]
    fn another_place_does_not_open() {
        let envelope = seal(KEY, &xaes(), &[1; 24], PLACE, "a@b.example");
        assert_eq!(open(&envelope, PLACE).as_deref(), Some("a@b.example"));
        let others = [
            Place { tenant: Uuid::from_u128(2), ..PLACE },
            Place { field: "shared.customers.phone", ..PLACE },
            Place { row: "s", ..PLACE },
            // The same letters, divided otherwise.
            Place { field: "shared.customers.emai", row: "lr", ..PLACE },
        ];
        assert!(others.into_iter().all(|place| open(&envelope, place).is_none()));
    }

    #[test]
    fn garbage_is_no_envelope() {
        for text in ["", "THv1", "no envelope", "a@b.example", "====", &"A".repeat(200)] {
            assert!(Envelope::parse(text).is_none(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn every_text_comes_back(text: String, nonce: [u8; 24]) {
            prop_assert_eq!(open(&seal(KEY, &xaes(), &nonce, PLACE, &text), PLACE), Some(text));
        }

        #[test]
        fn a_changed_envelope_does_not_open(text: String, nonce: [u8; 24], at: prop::sample::Index, bit in 0u8..8) {
            let mut bytes = STANDARD.decode(seal(KEY, &xaes(), &nonce, PLACE, &text)).unwrap();
            let at = at.index(bytes.len());
            bytes[at] ^= 1u8 << bit;
            let changed = Envelope::parse(&STANDARD.encode(bytes));
            prop_assert!(changed.is_none_or(|e| e.data_key != KEY || e.open(&xaes(), PLACE).is_err()));
        }

        #[test]
        fn a_shortened_envelope_does_not_open(text: String, nonce: [u8; 24], keep: prop::sample::Index) {
            let whole = seal(KEY, &xaes(), &nonce, PLACE, &text);
            let part = &whole[..keep.index(whole.len())];
            prop_assert!(Envelope::parse(part).is_none_or(|e| e.open(&xaes(), PLACE).is_err()));
        }

        #[test]
        fn any_text_may_be_tried(text: String) {
            if let Some(envelope) = Envelope::parse(&text) {
                prop_assert!(envelope.open(&xaes(), PLACE).is_err());
            }
        }
    }
}
