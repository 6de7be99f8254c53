//! The hooks that Envoy calls, by the names and types of its interface.
//!
//! A panic here would end Envoy: each hook catches it, counts it, and lets the stream go on as it is.
#![allow(unsafe_code, reason = "exported names and pointers of Envoy's")]

use std::ffi::{c_char, c_void};
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::ptr::null;
use std::sync::atomic::Ordering;
use std::sync::Arc;

use crate::engine::LONGEST_ANSWER;
use crate::filter::Stream;

use super::abi::{self, ConfigHandle, EnvoyBuffer, Header, StreamHandle};
use super::host::{self, Proxy};
use super::settings::Settings;
use super::{process, worker};

/// The answer to every hook of a stream: it goes on.
const CONTINUE: u32 = 0;

/// What `act` comes to; `otherwise` where it panics.
fn guarded<T>(otherwise: T, act: impl FnOnce() -> T) -> T {
    catch_unwind(AssertUnwindSafe(act)).unwrap_or_else(|_| {
        process::count_panic();
        otherwise
    })
}

/// A stream of Envoy's.
struct Open {
    settings: Arc<Settings>,
    /// There from the request's headers on; gone after a panic.
    stream: Option<Stream>,
}

/// Lets `act` see the stream, if there is one. After a panic there is none any more.
///
/// # Safety
/// Both pointers are those that Envoy hands to a hook of a stream.
unsafe fn with_stream(
    envoy: *mut c_void,
    module: *mut c_void,
    act: impl FnOnce(&mut Stream, &Proxy<'_>),
) -> u32 {
    // SAFETY: `filter_new` made the pointer, `filter_destroy` takes it, and Envoy calls the hooks of a stream one
    // after the other.
    let Some(open) = (unsafe { module.cast::<Open>().as_mut() }) else { return CONTINUE };
    let Some(stream) = open.stream.as_mut() else { return CONTINUE };
    // SAFETY: the caller's promise.
    let handle = unsafe { StreamHandle::new(envoy) };
    let went_well = guarded(false, || {
        act(stream, &Proxy::stream(&open.settings, handle));
        true
    });
    if !went_well {
        open.stream = None;
        open.settings.ticker.counted();
    }
    CONTINUE
}

/// The configuration behind Envoy's pointer to it.
///
/// # Safety
/// `config` is what [`envoy_dynamic_module_on_http_filter_config_new`] answered, and Envoy has not ended it.
unsafe fn settings(config: *const c_void) -> Option<Arc<Settings>> {
    if config.is_null() {
        return None;
    }
    let settings = config.cast::<Settings>();
    // SAFETY: the pointer came from an `Arc` that lives until the configuration ends.
    unsafe {
        Arc::increment_strong_count(settings);
        Some(Arc::from_raw(settings))
    }
}

#[no_mangle]
extern "C" fn envoy_dynamic_module_on_program_init() -> *const c_char {
    host::start_logging();
    match abi::find_callbacks() {
        Ok(()) => abi::VERSION.as_ptr(),
        Err(missing) => {
            log::error!(
                "not loaded: this Envoy has no {}; Cohort's native module needs Envoy 1.39 or newer",
                missing.join(", ")
            );
            null()
        }
    }
}

#[no_mangle]
extern "C" fn envoy_dynamic_module_on_http_filter_config_new(
    config: *mut c_void,
    name: EnvoyBuffer,
    bytes: EnvoyBuffer,
) -> *const c_void {
    guarded(null(), || {
        let name = String::from_utf8_lossy(&name.to_vec()).into_owned();
        // SAFETY: the pointer is the one that Envoy handed in.
        let handle = unsafe { ConfigHandle::new(config) };
        let settings = Arc::new(Settings::new(handle, name, bytes.to_vec()));
        if !worker::accepts(&settings) {
            return null();
        }
        worker::start(&settings);
        Arc::into_raw(settings).cast()
    })
}

#[no_mangle]
extern "C" fn envoy_dynamic_module_on_http_filter_config_destroy(config: *const c_void) {
    guarded((), || {
        if !config.is_null() {
            // SAFETY: Envoy ends a configuration once, and this takes the count that `config_new` gave away.
            let settings = unsafe { Arc::from_raw(config.cast::<Settings>()) };
            settings.ended.store(true, Ordering::Relaxed);
            settings.ticker.stop();
            worker::let_go();
        }
    });
}

#[no_mangle]
extern "C" fn envoy_dynamic_module_on_http_filter_config_scheduled(
    _: *mut c_void,
    config: *const c_void,
    _: u64,
) {
    guarded((), || {
        // SAFETY: Envoy calls this only while the configuration lives.
        if let Some(settings) = unsafe { settings(config) } {
            worker::woken(&settings);
        }
    });
}

#[no_mangle]
extern "C" fn envoy_dynamic_module_on_http_filter_config_http_callout_done(
    _: *mut c_void,
    config: *const c_void,
    token: u64,
    result: u32,
    headers: *const Header,
    count: usize,
    chunks: *const EnvoyBuffer,
    chunk_count: usize,
) {
    guarded((), || {
        // SAFETY: Envoy calls this only while the configuration lives, with `count` lines and `chunk_count` parts
        // of the body where there are any.
        let (settings, status, body) = unsafe {
            let status =
                if result == 0 { abi::find_header(headers, count, b":status") } else { None };
            (settings(config), status, abi::join(chunks, chunk_count, LONGEST_ANSWER))
        };
        let status = status.and_then(|status| std::str::from_utf8(&status).ok()?.parse().ok());
        if let Some(settings) = settings {
            worker::answered(&settings, token, status, body);
        }
    });
}

#[no_mangle]
extern "C" fn envoy_dynamic_module_on_http_filter_new(
    config: *const c_void,
    _: *mut c_void,
) -> *mut c_void {
    guarded(std::ptr::null_mut(), || {
        // SAFETY: Envoy makes streams only while the configuration lives.
        let Some(settings) = (unsafe { settings(config) }) else { return std::ptr::null_mut() };
        Box::into_raw(Box::new(Open { settings, stream: None })).cast()
    })
}

#[no_mangle]
extern "C" fn envoy_dynamic_module_on_http_filter_destroy(module: *mut c_void) {
    guarded((), || {
        if !module.is_null() {
            // SAFETY: `filter_new` made the pointer, and Envoy destroys a stream once.
            drop(unsafe { Box::from_raw(module.cast::<Open>()) });
        }
    });
}

#[no_mangle]
extern "C" fn envoy_dynamic_module_on_http_filter_request_headers(
    envoy: *mut c_void,
    module: *mut c_void,
    _: bool,
) -> u32 {
    // SAFETY: both pointers are Envoy's for this stream.
    let (open, handle) = unsafe { (module.cast::<Open>().as_mut(), StreamHandle::new(envoy)) };
    let Some(open) = open else { return CONTINUE };
    let settings = &open.settings;
    open.stream = guarded(None, || {
        let proxy = Proxy::stream(settings, handle);
        let mut stream = worker::stream(settings, &proxy);
        stream.on_request_headers(&proxy);
        proxy.choose_route();
        panic_if_asked(&proxy);
        Some(stream)
    });
    CONTINUE
}

#[no_mangle]
extern "C" fn envoy_dynamic_module_on_http_filter_request_body(
    _: *mut c_void,
    _: *mut c_void,
    _: bool,
) -> u32 {
    CONTINUE
}

#[no_mangle]
extern "C" fn envoy_dynamic_module_on_http_filter_request_trailers(
    envoy: *mut c_void,
    module: *mut c_void,
) -> u32 {
    // SAFETY: both pointers are Envoy's for this stream.
    unsafe { with_stream(envoy, module, |stream, proxy| stream.on_request_trailers(proxy)) }
}

#[no_mangle]
extern "C" fn envoy_dynamic_module_on_http_filter_response_headers(
    envoy: *mut c_void,
    module: *mut c_void,
    end_of_stream: bool,
) -> u32 {
    // SAFETY: both pointers are Envoy's for this stream.
    unsafe {
        with_stream(envoy, module, |stream, proxy| stream.on_response_headers(proxy, end_of_stream))
    }
}

#[no_mangle]
extern "C" fn envoy_dynamic_module_on_http_filter_response_body(
    envoy: *mut c_void,
    module: *mut c_void,
    end_of_stream: bool,
) -> u32 {
    // SAFETY: both pointers are Envoy's for this stream.
    unsafe {
        with_stream(envoy, module, |stream, proxy| {
            stream.on_response_body(proxy.body_size(), end_of_stream);
        })
    }
}

#[no_mangle]
extern "C" fn envoy_dynamic_module_on_http_filter_response_trailers(
    envoy: *mut c_void,
    module: *mut c_void,
) -> u32 {
    // SAFETY: both pointers are Envoy's for this stream.
    unsafe { with_stream(envoy, module, |stream, proxy| stream.on_response_trailers(proxy)) }
}

/// The end of a stream, while Envoy still tells how it went.
#[no_mangle]
extern "C" fn envoy_dynamic_module_on_http_filter_stream_complete(
    envoy: *mut c_void,
    module: *mut c_void,
) {
    // SAFETY: both pointers are Envoy's for this stream.
    unsafe { with_stream(envoy, module, |stream, proxy| stream.on_end(proxy)) };
}

/// A panic on request, for the test that Envoy lives on: only in a build that was made for it.
#[cfg(not(feature = "native-panics"))]
fn panic_if_asked(_: &Proxy<'_>) {}

#[cfg(feature = "native-panics")]
fn panic_if_asked(proxy: &Proxy<'_>) {
    use crate::filter::Host;
    if proxy.request_headers().first("x-cohort-panic").is_some() {
        std::panic::panic_any("asked for by x-cohort-panic");
    }
}

/// Hooks that Envoy wants to find and that have nothing to do here.
macro_rules! nothing {
    ($($name:ident($($argument:ty),*);)+) => {$(
        #[no_mangle]
        extern "C" fn $name($(_: $argument),*) {}
    )+};
}

type Pointer = *mut c_void;

nothing! {
    envoy_dynamic_module_on_http_filter_http_callout_done(
        Pointer, Pointer, u64, u32, Pointer, usize, Pointer, usize
    );
    envoy_dynamic_module_on_http_filter_scheduled(Pointer, Pointer, u64);
    envoy_dynamic_module_on_http_filter_downstream_above_write_buffer_high_watermark(Pointer, Pointer);
    envoy_dynamic_module_on_http_filter_downstream_below_write_buffer_low_watermark(Pointer, Pointer);
    envoy_dynamic_module_on_http_filter_http_stream_headers(
        Pointer, Pointer, u64, Pointer, usize, bool
    );
    envoy_dynamic_module_on_http_filter_http_stream_data(
        Pointer, Pointer, u64, Pointer, usize, bool
    );
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

/// An answer of another filter in the upstream's place goes on.
#[no_mangle]
extern "C" fn envoy_dynamic_module_on_http_filter_local_reply(
    _: Pointer,
    _: Pointer,
    _: u32,
    _: EnvoyBuffer,
    _: bool,
) -> u32 {
    CONTINUE
}
