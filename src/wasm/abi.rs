//! The calls that do not go through the SDK, and the only unsafe code of the project.
//!
//! The SDK decodes header names, and by default values, to `String` and panics where they are not UTF-8; it
//! copies every one of them; and it reads the log level, an open number, into a closed enum. What WASI has
//! (randomness, the environment, the monotonic clock) it does not reach at all. Here a status is a number, and
//! every one but 0 means that there is nothing.
#![allow(unsafe_code)]

use proxy_wasm::types::MapType;

#[link(wasm_import_module = "env")]
extern "C" {
    fn proxy_get_log_level(level: *mut u32) -> u32;
    fn proxy_get_header_map_pairs(map: u32, data: *mut *mut u8, size: *mut usize) -> u32;
    fn proxy_get_header_map_value(
        map: u32,
        name: *const u8,
        name_size: usize,
        data: *mut *mut u8,
        size: *mut usize,
    ) -> u32;
    fn proxy_remove_header_map_value(map: u32, name: *const u8, name_size: usize) -> u32;
    fn proxy_set_property(
        path: *const u8,
        path_size: usize,
        value: *const u8,
        value_size: usize,
    ) -> u32;
}

#[link(wasm_import_module = "wasi_snapshot_preview1")]
extern "C" {
    fn clock_time_get(clock: u32, precision: u64, time: *mut u64) -> u32;
    fn random_get(buffer: *mut u8, size: usize) -> u32;
    fn environ_sizes_get(count: *mut usize, size: *mut usize) -> u32;
    fn environ_get(entries: *mut *mut u8, buffer: *mut u8) -> u32;
}

/// WASI's number for the clock that never goes back.
const MONOTONIC: u32 = 1;

/// Takes over bytes that the host wrote into memory it had from `malloc`; `fill` makes the
/// call and answers with its status.
fn take(fill: impl FnOnce(*mut *mut u8, *mut usize) -> u32) -> Option<Vec<u8>> {
    let mut data = std::ptr::null_mut();
    let mut size = 0;
    if fill(&mut data, &mut size) != 0 {
        return None;
    }
    if data.is_null() || size == 0 {
        return Some(Vec::new());
    }
    // SAFETY: the host allocates through the SDK's `malloc`, which hands out a boxed slice of exactly `size`
    // bytes, and keeps no other reference to it.
    Some(unsafe { Vec::from_raw_parts(data, size, size) })
}

/// The lowest level that the proxy logs: 0 is trace, 5 critical, and 6 none at all.
pub fn log_level() -> Option<u32> {
    let mut level = 0;
    // SAFETY: the pointer is that of a live integer.
    let status = unsafe { proxy_get_log_level(&mut level) };
    (status == 0).then_some(level)
}

/// Nanoseconds from a moment that only the host knows; 0 where it has no such clock.
pub fn monotonic() -> u64 {
    let mut time = 0;
    // SAFETY: the pointer is that of a live integer.
    unsafe { clock_time_get(MONOTONIC, 0, &mut time) };
    time
}

/// A whole header map in the encoding of the wire; empty where it cannot be read.
pub fn pairs(map: MapType) -> Vec<u8> {
    // SAFETY: `take` hands in pointers to live variables.
    take(|data, size| unsafe { proxy_get_header_map_pairs(map as u32, data, size) })
        .unwrap_or_default()
}

/// The first line of a header.
pub fn header(map: MapType, name: &str) -> Option<Vec<u8>> {
    // SAFETY: `take` hands in pointers to live variables; the name is a live string.
    take(|data, size| unsafe {
        proxy_get_header_map_value(map as u32, name.as_ptr(), name.len(), data, size)
    })
}

/// Removes every line of a header.
pub fn remove_header(map: MapType, name: &[u8]) {
    // SAFETY: the pointer and size are those of a live slice.
    unsafe { proxy_remove_header_map_value(map as u32, name.as_ptr(), name.len()) };
}

/// Sets a property of the stream, where the proxy has such.
pub fn set_property(path: &str, value: &[u8]) {
    // SAFETY: pointers and sizes are those of live slices.
    unsafe { proxy_set_property(path.as_ptr(), path.len(), value.as_ptr(), value.len()) };
}

/// 16 bytes from the host's source of randomness.
pub fn random() -> Option<[u8; 16]> {
    let mut bytes = [0; 16];
    // SAFETY: the pointer and size are those of a live array.
    let status = unsafe { random_get(bytes.as_mut_ptr(), bytes.len()) };
    (status == 0).then_some(bytes)
}

/// The VM's environment: `NAME=value` entries, each ended by NUL.
pub fn environment() -> Vec<u8> {
    let (mut count, mut size) = (0, 0);
    // SAFETY: the pointers are those of live integers.
    if unsafe { environ_sizes_get(&mut count, &mut size) } != 0 {
        return Vec::new();
    }
    let mut entries = vec![std::ptr::null_mut(); count];
    let mut buffer = vec![0; size];
    // SAFETY: both buffers have the sizes that the host asked for just now.
    if unsafe { environ_get(entries.as_mut_ptr(), buffer.as_mut_ptr()) } != 0 {
        return Vec::new();
    }
    buffer
}
