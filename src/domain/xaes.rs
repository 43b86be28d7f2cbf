//! XAES-256-GCM (C2SP specification): AES-256-GCM with a nonce of 192 bits, long enough to be drawn at random for any
//! number of messages.
//!
//! A message gets a key of its own, derived from the key and the first half of the nonce; the second half is the nonce
//! of AES-GCM.

use aes::cipher::{BlockEncrypt, generic_array::GenericArray};
use aes::{Aes256, Block};
use aes_gcm::aead::{AeadInPlace, KeyInit};
use aes_gcm::{Aes256Gcm, Nonce, Tag};
use zeroize::Zeroize;

pub const KEY_BYTES: usize = 32;
pub const NONCE_BYTES: usize = 24;
pub const TAG_BYTES: usize = 16;

/// A key ready for use: its schedule and the one subkey that all messages share. Both are wiped when dropped.
pub struct Xaes {
    aes: Aes256,
    subkey: [u8; 16],
}

/// The message was changed, or is not of this key and associated data. Which of it is told to nobody.
#[derive(Debug, PartialEq, Eq)]
pub struct NotAuthentic;

impl Xaes {
    pub fn new(key: &[u8; KEY_BYTES]) -> Xaes {
        let aes = Aes256::new(GenericArray::from_slice(key));
        let mut zero = Block::default();
        aes.encrypt_block(&mut zero);
        let mut subkey = [0; 16];
        let mut carry = 0;
        for i in (0..16).rev() {
            subkey[i] = zero[i] << 1 | carry;
            carry = zero[i] >> 7;
        }
        // Doubling in GF(2^128), without a branch on the key.
        subkey[15] ^= 0x87 & carry.wrapping_neg();
        zero.zeroize();
        Xaes { aes, subkey }
    }

    fn cipher(&self, nonce: &[u8; NONCE_BYTES]) -> Aes256Gcm {
        let mut key = [0; KEY_BYTES];
        for (i, half) in key.chunks_exact_mut(16).enumerate() {
            half.copy_from_slice(&[0, i as u8 + 1, b'X', 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
            half[4..].copy_from_slice(&nonce[..12]);
            half.iter_mut().zip(self.subkey).for_each(|(byte, subkey)| *byte ^= subkey);
            self.aes.encrypt_block(GenericArray::from_mut_slice(half));
        }
        let cipher = Aes256Gcm::new(GenericArray::from_slice(&key));
        key.zeroize();
        cipher
    }

    /// Encrypts in place and returns the tag. A nonce must never be used twice with a key: draw it at random.
    pub fn seal(&self, nonce: &[u8; NONCE_BYTES], associated: &[u8], message: &mut [u8]) -> [u8; TAG_BYTES] {
        let tag = self.cipher(nonce).encrypt_in_place_detached(Nonce::from_slice(&nonce[12..]), associated, message);
        tag.expect("messages are shorter than the 64 GiB that AES-GCM allows").into()
    }

    /// Decrypts in place. On failure the message is as it was.
    pub fn open(
        &self,
        nonce: &[u8; NONCE_BYTES],
        associated: &[u8],
        message: &mut [u8],
        tag: &[u8; TAG_BYTES],
    ) -> Result<(), NotAuthentic> {
        self.cipher(nonce)
            .decrypt_in_place_detached(Nonce::from_slice(&nonce[12..]), associated, message, Tag::from_slice(tag))
            .map_err(|_| NotAuthentic)
    }
}

impl Drop for Xaes {
    fn drop(&mut self) {
        self.subkey.zeroize();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|b| format!("{b:02x}")).collect()
    }

    fn sealed(key: u8, associated: &[u8]) -> String {
        let mut message = *b"XAES-256-GCM";
        let tag = Xaes::new(&[key; 32]).seal(b"ABCDEFGHIJKLMNOPQRSTUVWX", associated, &mut message);
        hex(&message) + &hex(&tag)
    }

    #[test]
    fn key_schedules_are_wiped() {
        fn wiped<T: zeroize::ZeroizeOnDrop>() {}
        wiped::<Aes256>();
    }

    #[test]
    fn vectors_of_the_specification() {
        // Both branches of the doubling: the top bit of L is clear with the first key, set with the second.
        assert_eq!(sealed(1, b""), "ce546ef63c9cc60765923609b33a9a1974e96e52daf2fcf7075e2271");
        assert_eq!(sealed(3, b"c2sp.org/XAES-256-GCM"), "986ec1832593df5443a179437fd083bf3fdb41abd740a21f71eb769d");
    }

    proptest! {
        #[test]
        fn opens_what_it_sealed_and_nothing_else(
            key: [u8; 32], nonce: [u8; 24], associated: Vec<u8>, message: Vec<u8>, flip: prop::sample::Index,
        ) {
            let xaes = Xaes::new(&key);
            let mut text = message.clone();
            let tag = xaes.seal(&nonce, &associated, &mut text);
            let mut opened = text.clone();
            prop_assert_eq!(xaes.open(&nonce, &associated, &mut opened, &tag), Ok(()));
            prop_assert_eq!(&opened, &message);

            // One bit of key, nonce, associated data, ciphertext or tag.
            let mut all: Vec<u8> = [&key[..], &nonce, &associated, &text, &tag].concat();
            let bit = flip.index(all.len() * 8);
            all[bit / 8] ^= 1 << (bit % 8);
            let (key, rest) = all.split_first_chunk::<32>().unwrap();
            let (nonce, rest) = rest.split_first_chunk::<24>().unwrap();
            let (associated, rest) = rest.split_at(associated.len());
            let (text, tag) = rest.split_last_chunk::<16>().unwrap();
            prop_assert_eq!(Xaes::new(key).open(nonce, associated, &mut text.to_vec(), tag), Err(NotAuthentic));
        }
    }
}
