//! Comparing values as they are stored.

use pgrx::pg_sys;

unsafe extern "C-unwind" {
    fn datum_image_eq(a: pg_sys::Datum, b: pg_sys::Datum, by_value: bool, length: i32) -> bool;
}

/// Whether two stored values of a column differ, byte by byte. What is kept apart from the row is fetched only when its place
/// differs too.
///
/// # Safety
/// Both are of a type with this length, passed by value or not.
pub unsafe fn differ(by_value: bool, length: i16, old: Option<pg_sys::Datum>, new: Option<pg_sys::Datum>) -> bool {
    let (Some(old), Some(new)) = (old, new) else { return old.is_some() != new.is_some() };
    if by_value {
        return old.value() != new.value();
    }
    // SAFETY: per contract. Fetching can fail: across the boundary an error becomes a panic.
    unsafe {
        if length == -1 {
            let (a, b) = (old.cast_mut_ptr::<pg_sys::varlena>(), new.cast_mut_ptr::<pg_sys::varlena>());
            let plain = |v| pgrx::varatt_is_4b_u(v) || (pgrx::varatt_is_1b(v) && !pgrx::varatt_is_1b_e(v));
            if plain(a) && plain(b) {
                return pgrx::varlena_to_byte_slice(a) != pgrx::varlena_to_byte_slice(b);
            }
            if same_toast_pointer(a.cast(), b.cast()) {
                return false;
            }
        }
        !pg_sys::ffi::pg_guard_ffi_boundary(|| datum_image_eq(old, new, by_value, length.into()))
    }
}

/// # Safety
/// Both are varlenas.
unsafe fn same_toast_pointer(a: *const u8, b: *const u8) -> bool {
    // Header, tag, and the 16 bytes of where the value is.
    const BYTES: usize = 18;
    const ON_DISK: u8 = 18;
    // SAFETY: an external varlena has at least a header and a tag, those on disk 18 bytes.
    unsafe {
        let on_disk = |v: *const u8| pgrx::varatt_is_1b_e(v.cast_mut().cast()) && *v.add(1) == ON_DISK;
        on_disk(a) && on_disk(b) && std::slice::from_raw_parts(a, BYTES) == std::slice::from_raw_parts(b, BYTES)
    }
}
