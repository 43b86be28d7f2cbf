//! The keyring: the keys that wrap data keys, by version.
//!
//! ```json
//! {"active": "2026-01", "keys": {"2025-01": "<base64 of 32 bytes>", "2026-01": "<base64 of 32 bytes>"}}
//! ```

use crate::domain::xaes::{KEY_BYTES, NONCE_BYTES, NotAuthentic, TAG_BYTES, Xaes};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use std::collections::BTreeMap;
use uuid::Uuid;
use zeroize::{Zeroize, Zeroizing};

/// Why a text is no keyring. Messages name key ids, never key material.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum KeyringProblem {
    #[error("it is no JSON object with \"active\" and \"keys\"")]
    Format,
    #[error("key \"{0}\" is not the base64 form of 32 bytes")]
    Key(String),
    #[error("the active key \"{0}\" is not among its keys")]
    NoActive(String),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    active: String,
    keys: BTreeMap<String, Secret>,
}

/// Wiped when dropped, and printed by nothing.
#[derive(Deserialize)]
#[serde(transparent)]
struct Secret(String);

impl Drop for Secret {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

pub struct Keyring {
    active: String,
    keys: BTreeMap<String, Xaes>,
}

/// Which data key a wrapped key is: the associated data of the wrapping, so that rows cannot be swapped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DataKeyName<'a> {
    pub id: Uuid,
    pub tenant: Uuid,
    pub subject_kind: &'a str,
    pub subject: Uuid,
}

impl DataKeyName<'_> {
    fn associated_data(&self) -> Vec<u8> {
        let ids = [self.id, self.tenant, self.subject].into_iter().flat_map(Uuid::into_bytes);
        b"thorbis_db data key".iter().copied().chain(ids).chain(self.subject_kind.bytes()).collect()
    }
}

impl Keyring {
    /// Wipes what it parsed; the caller wipes the text.
    pub fn parse(text: &str) -> Result<Keyring, KeyringProblem> {
        let written: Written = serde_json::from_str(text).map_err(|_| KeyringProblem::Format)?;
        let mut keys = BTreeMap::new();
        for (id, secret) in &written.keys {
            let bytes = STANDARD.decode(&secret.0).map(Zeroizing::new).ok();
            let key = bytes.as_ref().and_then(|bytes| <&[u8; KEY_BYTES]>::try_from(bytes.as_slice()).ok());
            keys.insert(id.clone(), Xaes::new(key.ok_or_else(|| KeyringProblem::Key(id.clone()))?));
        }
        if !keys.contains_key(&written.active) {
            return Err(KeyringProblem::NoActive(written.active.clone()));
        }
        Ok(Keyring { active: written.active.clone(), keys })
    }

    /// The id of the key that wraps new data keys.
    pub fn active(&self) -> &str {
        &self.active
    }

    pub fn ids(&self) -> impl Iterator<Item = &str> {
        self.keys.keys().map(String::as_str)
    }

    pub fn has(&self, id: &str) -> bool {
        self.keys.contains_key(id)
    }

    /// Nonce, ciphertext and tag of a data key under the active key.
    pub fn wrap(&self, nonce: &[u8; NONCE_BYTES], name: DataKeyName, key: &[u8; KEY_BYTES]) -> Vec<u8> {
        let mut wrapped = [&nonce[..], key].concat();
        let tag = self.keys[&self.active].seal(nonce, &name.associated_data(), &mut wrapped[NONCE_BYTES..]);
        wrapped.extend_from_slice(&tag);
        wrapped
    }

    /// The data key that `wrap` wrapped under the key `with`.
    pub fn unwrap(
        &self,
        with: &str,
        name: DataKeyName,
        wrapped: &[u8],
    ) -> Result<Zeroizing<[u8; KEY_BYTES]>, NotAuthentic> {
        let wrapping = self.keys.get(with).ok_or(NotAuthentic)?;
        let (nonce, rest) = wrapped.split_first_chunk::<NONCE_BYTES>().ok_or(NotAuthentic)?;
        let (text, tag) = rest.split_last_chunk::<TAG_BYTES>().ok_or(NotAuthentic)?;
        let mut key = Zeroizing::new(<[u8; KEY_BYTES]>::try_from(text).map_err(|_| NotAuthentic)?);
        wrapping.open(nonce, &name.associated_data(), &mut key[..], tag)?;
        Ok(key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keyring(active: &str) -> Result<Keyring, KeyringProblem> {
        let [a, b] = [[1u8; 32], [2; 32]].map(|key| STANDARD.encode(key));
        Keyring::parse(&format!(r#"{{"active": "{active}", "keys": {{"a": "{a}", "b": "{b}"}}}}"#))
    }

    const NAME: DataKeyName = DataKeyName {
        id: Uuid::from_u128(1),
        tenant: Uuid::from_u128(2),
        subject_kind: "customer",
        subject: Uuid::nil(),
    };

    #[test]
    fn data_keys_are_wrapped_by_the_active_key_and_opened_by_any() {
        let [a, b] = ["a", "b"].map(|active| keyring(active).unwrap());
        let wrapped = a.wrap(&[5; 24], NAME, &[7; 32]);
        assert_eq!(b.unwrap("a", NAME, &wrapped).as_deref(), Ok(&[7; 32]));
        assert!(b.unwrap("b", NAME, &wrapped).is_err());
        assert!(b.unwrap("c", NAME, &wrapped).is_err());
        assert!(b.unwrap("a", NAME, &wrapped[1..]).is_err());
        assert!(b.unwrap("a", NAME, b"").is_err());
    }

    #[test]
    fn a_wrapped_key_stays_with_its_row() {
        let ring = keyring("a").unwrap();
        let wrapped = ring.wrap(&[5; 24], NAME, &[7; 32]);
        let other = Uuid::from_u128(99);
        let others = [
            DataKeyName { id: other, ..NAME },
            DataKeyName { tenant: other, ..NAME },
            DataKeyName { subject: other, ..NAME },
            DataKeyName { subject_kind: "user", ..NAME },
        ];
        assert!(others.into_iter().all(|name| ring.unwrap("a", name, &wrapped).is_err()));
    }

    #[test]
    fn problems_name_ids_and_no_keys() {
        assert_eq!(keyring("c").err(), Some(KeyringProblem::NoActive("c".into())));
        for text in ["", "[]", "{}", r#"{"active": "a"}"#, r#"{"active": "a", "keys": {}, "more": 1}"#] {
            assert_eq!(Keyring::parse(text).err(), Some(KeyringProblem::Format), "{text}");
        }
        let short = Keyring::parse(r#"{"active": "a", "keys": {"a": "c2hvcnQ="}}"#).err();
        assert_eq!(short, Some(KeyringProblem::Key("a".into())));
    }
}
