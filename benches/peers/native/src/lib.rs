//! What any native Envoy module costs that makes the same calls to the proxy. By feature, each with what those
//! before it do:
//!
//! - none: nothing.
//! - `sets`: sets a request header, and has the proxy select the route anew.
//! - `reads`: reads a request header first.
//! - `counts`: counts the request and its answer with labels, and records how long it took.

#[cfg(feature = "counts")]
mod counts;
#[cfg(feature = "sets")]
mod headers;

use std::ffi::{c_char, c_void};

pub type Pointer = *mut c_void;

/// Bytes of Envoy's, or of ours.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Buffer {
    ptr: *const u8,
    length: usize,
}

impl Buffer {
    pub const fn of(text: &'static str) -> Self {
        Self { ptr: text.as_ptr(), length: text.len() }
    }
}

const CONTINUE: u32 = 0;

/// A stream.
#[derive(Default)]
struct Stream {
    #[cfg(feature = "counts")]
    began: Option<std::time::Instant>,
}

#[no_mangle]
extern "C" fn envoy_dynamic_module_on_program_init() -> *const c_char {
    c"v0.1.0".as_ptr()
}

#[no_mangle]
extern "C" fn envoy_dynamic_module_on_http_filter_config_new(
    _config: Pointer,
    _: Buffer,
    _: Buffer,
) -> Pointer {
    #[cfg(feature = "counts")]
    return counts::define(_config);
    #[cfg(not(feature = "counts"))]
    Box::into_raw(Box::new(0_u8)).cast()
}

/// Called when Envoy ends: a configuration lasts as long as the measurement.
#[no_mangle]
extern "C" fn envoy_dynamic_module_on_http_filter_config_destroy(_: Pointer) {}

#[no_mangle]
extern "C" fn envoy_dynamic_module_on_http_filter_new(_: Pointer, _: Pointer) -> Pointer {
    Box::into_raw(Box::<Stream>::default()).cast()
}

#[no_mangle]
extern "C" fn envoy_dynamic_module_on_http_filter_destroy(stream: Pointer) {
    // SAFETY: `filter_new` made it, and Envoy destroys a stream once.
    drop(unsafe { Box::from_raw(stream.cast::<Stream>()) });
}

#[no_mangle]
extern "C" fn envoy_dynamic_module_on_http_filter_request_headers(
    _envoy: Pointer,
    _stream: Pointer,
    _: bool,
) -> u32 {
    #[cfg(feature = "counts")]
    // SAFETY: `filter_new` made the pointer.
    if let Some(stream) = unsafe { _stream.cast::<Stream>().as_mut() } {
        stream.began = Some(std::time::Instant::now());
    }
    #[cfg(feature = "sets")]
    // SAFETY: the pointer is Envoy's for this stream.
    unsafe {
        headers::request(_envoy);
    }
    CONTINUE
}

#[no_mangle]
extern "C" fn envoy_dynamic_module_on_http_filter_response_headers(
    _envoy: Pointer,
    _: Pointer,
    _: bool,
) -> u32 {
    #[cfg(feature = "counts")]
    // SAFETY: the pointer is Envoy's for this stream.
    unsafe {
        counts::response(_envoy);
    }
    CONTINUE
}

#[no_mangle]
extern "C" fn envoy_dynamic_module_on_http_filter_stream_complete(
    _envoy: Pointer,
    _stream: Pointer,
) {
    #[cfg(feature = "counts")]
    // SAFETY: both pointers are Envoy's for this stream.
    unsafe {
        let began = _stream.cast::<Stream>().as_ref().and_then(|stream| stream.began);
        counts::end(_envoy, began);
    }
}

/// Hooks of a stream that let it go on.
macro_rules! go_on {
    ($($name:ident($($argument:ty),*);)+) => {$(
        #[no_mangle]
        extern "C" fn $name($(_: $argument),*) -> u32 {
            CONTINUE
        }
    )+};
}

go_on! {
    envoy_dynamic_module_on_http_filter_request_body(Pointer, Pointer, bool);
    envoy_dynamic_module_on_http_filter_request_trailers(Pointer, Pointer);
    envoy_dynamic_module_on_http_filter_response_body(Pointer, Pointer, bool);
    envoy_dynamic_module_on_http_filter_response_trailers(Pointer, Pointer);
    envoy_dynamic_module_on_http_filter_local_reply(Pointer, Pointer, u32, Buffer, bool);
}

/// Hooks that Envoy wants to find and that have nothing to do here.
macro_rules! nothing {
    ($($name:ident($($argument:ty),*);)+) => {$(
        #[no_mangle]
        extern "C" fn $name($(_: $argument),*) {}
    )+};
}

nothing! {
    envoy_dynamic_module_on_http_filter_scheduled(Pointer, Pointer, u64);
    envoy_dynamic_module_on_http_filter_config_scheduled(Pointer, Pointer, u64);
    envoy_dynamic_module_on_http_filter_http_callout_done(
        Pointer, Pointer, u64, u32, Pointer, usize, Pointer, usize
    );
    envoy_dynamic_module_on_http_filter_config_http_callout_done(
        Pointer, Pointer, u64, u32, Pointer, usize, Pointer, usize
    );
    envoy_dynamic_module_on_http_filter_downstream_above_write_buffer_high_watermark(Pointer, Pointer);
    envoy_dynamic_module_on_http_filter_downstream_below_write_buffer_low_watermark(Pointer, Pointer);
    envoy_dynamic_module_on_http_filter_http_stream_headers(Pointer, Pointer, u64, Pointer, usize, bool);
    envoy_dynamic_module_on_http_filter_http_stream_data(Pointer, Pointer, u64, Pointer, usize, bool);
    envoy_dynamic_module_on_http_filter_http_stream_trailers(Pointer, Pointer, u64, Pointer, usize);
    envoy_dynamic_module_on_http_filter_http_stream_complete(Pointer, Pointer, u64);
    envoy_dynamic_module_on_http_filter_http_stream_reset(Pointer, Pointer, u64, u32);
    envoy_dynamic_module_on_http_filter_config_http_stream_headers(
        Pointer, Pointer, u64, Pointer, usize, bool
    );
    envoy_dynamic_module_on_http_filter_config_http_stream_data(
        Pointer, Pointer, u64, Pointer, usize, bool
    );
    envoy_dynamic_module_on_http_filter_config_http_stream_trailers(
        Pointer, Pointer, u64, Pointer, usize
    );
    envoy_dynamic_module_on_http_filter_config_http_stream_complete(Pointer, Pointer, u64);
    envoy_dynamic_module_on_http_filter_config_http_stream_reset(Pointer, Pointer, u64, u32);
}
