//! The proxy-wasm and WASI calls themselves, and the only unsafe code of the project.
//!
//! The SDK's own wrappers panic on every status they do not list and read the status into a closed
//! Rust enum, so that an unlisted one is undefined behaviour; a panic ends the worker's VM. Here a status
//! is a number, and every one but 0 means that there is nothing.
#![allow(unsafe_code)]

/// The status of a key that is not there.
pub const NOT_FOUND: u32 = 1;

/// Header maps, as proxy-wasm numbers them.
#[derive(Clone, Copy)]
pub enum Map {
    RequestHeaders = 0,
    RequestTrailers = 1,
    ResponseHeaders = 2,
    ResponseTrailers = 3,
    CallResponseHeaders = 6,
}

const PLUGIN_CONFIGURATION: u32 = 7;

#[link(wasm_import_module = "env")]
extern "C" {
    fn proxy_log(level: u32, message: *const u8, size: usize) -> u32;
    fn proxy_get_log_level(level: *mut u32) -> u32;
    fn proxy_get_current_time_nanoseconds(time: *mut u64) -> u32;
    fn proxy_set_tick_period_milliseconds(period: u32) -> u32;
    fn proxy_get_buffer_bytes(
        buffer: u32,
        start: usize,
        size: usize,
        data: *mut *mut u8,
        data_size: *mut usize,
    ) -> u32;
    fn proxy_get_header_map_pairs(map: u32, data: *mut *mut u8, size: *mut usize) -> u32;
    fn proxy_get_header_map_value(
        map: u32,
        name: *const u8,
        name_size: usize,
        data: *mut *mut u8,
        size: *mut usize,
    ) -> u32;
    fn proxy_replace_header_map_value(
        map: u32,
        name: *const u8,
        name_size: usize,
        value: *const u8,
        value_size: usize,
    ) -> u32;
    fn proxy_add_header_map_value(
        map: u32,
        name: *const u8,
        name_size: usize,
        value: *const u8,
        value_size: usize,
    ) -> u32;
    fn proxy_remove_header_map_value(map: u32, name: *const u8, name_size: usize) -> u32;
    fn proxy_get_property(
        path: *const u8,
        path_size: usize,
        data: *mut *mut u8,
        size: *mut usize,
    ) -> u32;
    fn proxy_define_metric(kind: u32, name: *const u8, name_size: usize, id: *mut u32) -> u32;
    fn proxy_increment_metric(id: u32, by: i64) -> u32;
    fn proxy_record_metric(id: u32, value: u64) -> u32;
    fn proxy_get_metric(id: u32, value: *mut u64) -> u32;
    fn proxy_get_shared_data(
        key: *const u8,
        key_size: usize,
        data: *mut *mut u8,
        size: *mut usize,
        cas: *mut u32,
    ) -> u32;
    fn proxy_set_shared_data(
        key: *const u8,
        key_size: usize,
        data: *const u8,
        size: usize,
        cas: u32,
    ) -> u32;
    fn proxy_http_call(
        cluster: *const u8,
        cluster_size: usize,
        headers: *const u8,
        headers_size: usize,
        body: *const u8,
        body_size: usize,
        trailers: *const u8,
        trailers_size: usize,
        timeout: u32,
        token: *mut u32,
    ) -> u32;
}

#[link(wasm_import_module = "wasi_snapshot_preview1")]
extern "C" {
    fn random_get(buffer: *mut u8, size: usize) -> u32;
    fn environ_sizes_get(count: *mut usize, size: *mut usize) -> u32;
    fn environ_get(entries: *mut *mut u8, buffer: *mut u8) -> u32;
}

/// Takes over bytes that the host wrote into memory it had from `malloc`; `fill` makes the
/// call and answers with its status.
fn take(fill: impl FnOnce(*mut *mut u8, *mut usize) -> u32) -> Result<Vec<u8>, u32> {
    let mut data = std::ptr::null_mut();
    let mut size = 0;
    let status = fill(&mut data, &mut size);
    if status != 0 {
        return Err(status);
    }
    if data.is_null() || size == 0 {
        return Ok(Vec::new());
    }
    // SAFETY: the host allocates through the exported `malloc`, which hands out a boxed slice of exactly
    // `size` bytes and keeps no other reference to it.
    Ok(unsafe { Vec::from_raw_parts(data, size, size) })
}

pub fn log(level: u32, message: &str) {
    // SAFETY: the pointer and size are those of a live string.
    unsafe { proxy_log(level, message.as_ptr(), message.len()) };
}

/// The lowest level that the proxy logs; 0 is trace.
pub fn log_level() -> Option<u32> {
    let mut level = 0;
    // SAFETY: the pointer is that of a live integer.
    let status = unsafe { proxy_get_log_level(&mut level) };
    (status == 0).then_some(level)
}

/// Nanoseconds since the Unix epoch; 0 where the host has no clock.
pub fn now() -> u64 {
    let mut time = 0;
    // SAFETY: the pointer is that of a live integer.
    unsafe { proxy_get_current_time_nanoseconds(&mut time) };
    time
}

pub fn set_tick_period(millis: u32) {
    // SAFETY: no pointers.
    unsafe { proxy_set_tick_period_milliseconds(millis) };
}

pub fn plugin_configuration() -> Vec<u8> {
    // SAFETY: `take` hands in pointers to live variables.
    take(|data, size| unsafe {
        proxy_get_buffer_bytes(PLUGIN_CONFIGURATION, 0, usize::MAX, data, size)
    })
    .unwrap_or_default()
}

pub fn pairs(map: Map) -> Vec<u8> {
    // SAFETY: `take` hands in pointers to live variables.
    take(|data, size| unsafe { proxy_get_header_map_pairs(map as u32, data, size) })
        .unwrap_or_default()
}

pub fn header(map: Map, name: &str) -> Option<Vec<u8>> {
    // SAFETY: `take` hands in pointers to live variables; the name is a live string.
    take(|data, size| unsafe {
        proxy_get_header_map_value(map as u32, name.as_ptr(), name.len(), data, size)
    })
    .ok()
}

pub fn replace_header(map: Map, name: &str, value: &[u8]) {
    // SAFETY: pointers and sizes are those of live slices.
    unsafe {
        proxy_replace_header_map_value(
            map as u32,
            name.as_ptr(),
            name.len(),
            value.as_ptr(),
            value.len(),
        )
    };
}

pub fn add_header(map: Map, name: &str, value: &[u8]) {
    // SAFETY: pointers and sizes are those of live slices.
    unsafe {
        proxy_add_header_map_value(
            map as u32,
            name.as_ptr(),
            name.len(),
            value.as_ptr(),
            value.len(),
        )
    };
}

pub fn remove_header(map: Map, name: &[u8]) {
    // SAFETY: the pointer and size are those of a live slice.
    unsafe { proxy_remove_header_map_value(map as u32, name.as_ptr(), name.len()) };
}

/// A property by its path, whose parts are separated by NUL.
pub fn property(path: &str) -> Option<Vec<u8>> {
    // SAFETY: `take` hands in pointers to live variables; the path is a live string.
    take(|data, size| unsafe { proxy_get_property(path.as_ptr(), path.len(), data, size) }).ok()
}

pub fn define_metric(kind: u32, name: &str) -> Option<u32> {
    let mut id = 0;
    // SAFETY: the name is a live string, the pointer that of a live integer.
    let status = unsafe { proxy_define_metric(kind, name.as_ptr(), name.len(), &mut id) };
    (status == 0).then_some(id)
}

pub fn increment_metric(id: u32, by: i64) {
    // SAFETY: no pointers.
    unsafe { proxy_increment_metric(id, by) };
}

pub fn record_metric(id: u32, value: u64) {
    // SAFETY: no pointers.
    unsafe { proxy_record_metric(id, value) };
}

pub fn metric(id: u32) -> Option<u64> {
    let mut value = 0;
    // SAFETY: the pointer is that of a live integer.
    let status = unsafe { proxy_get_metric(id, &mut value) };
    (status == 0).then_some(value)
}

/// The bytes under a key, and the ticket for a conditional write.
pub fn shared_data(key: &str) -> Result<(Vec<u8>, u32), u32> {
    let mut cas = 0;
    // SAFETY: `take` hands in pointers to live variables; the key is a live string.
    let bytes = take(|data, size| unsafe {
        proxy_get_shared_data(key.as_ptr(), key.len(), data, size, &mut cas)
    })?;
    Ok((bytes, cas))
}

/// Writes if the ticket still holds, and says whether it did.
pub fn set_shared_data(key: &str, value: &[u8], cas: u32) -> bool {
    // SAFETY: pointers and sizes are those of live slices.
    unsafe { proxy_set_shared_data(key.as_ptr(), key.len(), value.as_ptr(), value.len(), cas) == 0 }
}

/// Sends a request without a body to a cluster and answers with its token; `headers` is a map in the
/// encoding of the wire, and `timeout` is in milliseconds.
pub fn http_call(cluster: &str, headers: &[u8], timeout: u32) -> Option<u32> {
    const NO_TRAILERS: [u8; 4] = [0; 4];
    let mut token = 0;
    // SAFETY: pointers and sizes are those of live slices; the token's is that of a live integer.
    let status = unsafe {
        proxy_http_call(
            cluster.as_ptr(),
            cluster.len(),
            headers.as_ptr(),
            headers.len(),
            std::ptr::null(),
            0,
            NO_TRAILERS.as_ptr(),
            NO_TRAILERS.len(),
            timeout,
            &mut token,
        )
    };
    (status == 0).then_some(token)
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
