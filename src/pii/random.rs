//! Random bytes of the operating system, fetched in blocks: a call to the kernel for each nonce would cost as much as
//! the encryption.

use crate::pg::cell::BackendCell;
use aes_gcm::aead::OsRng;
use aes_gcm::aead::rand_core::RngCore;
use std::cell::RefCell;
use zeroize::Zeroize;

const BLOCK: usize = 1024;

/// Bytes from `used` on are fresh. Backends are forked before they fetch any, so no two have the same.
struct Pool {
    bytes: [u8; BLOCK],
    used: usize,
}

static POOL: BackendCell<RefCell<Pool>> = BackendCell::new(RefCell::new(Pool { bytes: [0; BLOCK], used: BLOCK }));

/// `N` bytes that were never handed out before.
pub fn bytes<const N: usize>() -> [u8; N] {
    const { assert!(N <= BLOCK) };
    let mut pool = POOL.borrow_mut();
    if pool.used + N > BLOCK {
        OsRng.fill_bytes(&mut pool.bytes);
        pool.used = 0;
    }
    let from = pool.used;
    pool.used += N;
    let taken = &mut pool.bytes[from..from + N];
    let result = taken.try_into().expect("a slice of N bytes");
    taken.zeroize();
    result
}

/// Forgets what was fetched.
pub fn wipe() {
    let mut pool = POOL.borrow_mut();
    pool.bytes.zeroize();
    pool.used = BLOCK;
}
