//! The request's headers.

use crate::{Buffer, Pointer};

const REQUEST_HEADERS: u32 = 0;

extern "C" {
    #[cfg(feature = "reads")]
    fn envoy_dynamic_module_callback_http_get_header(
        stream: Pointer,
        map: u32,
        name: Buffer,
        value: *mut Buffer,
        index: usize,
        count: *mut usize,
    ) -> bool;
    fn envoy_dynamic_module_callback_http_set_header(
        stream: Pointer,
        map: u32,
        name: Buffer,
        value: Buffer,
    ) -> bool;
    fn envoy_dynamic_module_callback_http_clear_route_cache(stream: Pointer);
}

/// The first line of a header.
///
/// # Safety
/// `stream` is what Envoy handed to the hook that runs, for which alone the value lives.
#[cfg(feature = "reads")]
pub unsafe fn header<'a>(stream: Pointer, map: u32, name: &'static str) -> Option<&'a [u8]> {
    let mut value = Buffer { ptr: std::ptr::null(), length: 0 };
    let (name, nobody_asks) = (Buffer::of(name), std::ptr::null_mut());
    if !envoy_dynamic_module_callback_http_get_header(stream, map, name, &mut value, 0, nobody_asks)
    {
        return None;
    }
    // What is empty may be nowhere.
    Some(if value.length == 0 { b"" } else { std::slice::from_raw_parts(value.ptr, value.length) })
}

/// # Safety
/// `stream` is what Envoy handed to the hook that runs.
pub unsafe fn request(stream: Pointer) {
    #[cfg(feature = "reads")]
    let known = header(stream, REQUEST_HEADERS, "x-user-id").is_some();
    #[cfg(not(feature = "reads"))]
    let known = true;
    if known {
        let (name, value) = (Buffer::of("x-cohort-checkout"), Buffer::of("stable"));
        envoy_dynamic_module_callback_http_set_header(stream, REQUEST_HEADERS, name, value);
        envoy_dynamic_module_callback_http_clear_route_cache(stream);
    }
}
