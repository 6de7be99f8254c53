//! Envoy's C interface for dynamic modules: the callbacks that are used, declared by hand and looked up when the
//! library is loaded, so that a missing one is a line in the log and not a library that does not load.
//!
//! With `hooks.rs` the only unsafe code of this edge. Behind it a proxy is two kinds of handles.
#![allow(unsafe_code)]

mod config;
mod stream;

use std::ffi::{c_char, c_void};
use std::sync::OnceLock;

use smallvec::SmallVec;

pub use config::{ConfigHandle, Kind, Waker};
pub use stream::StreamHandle;

/// The version of the interface that the declarations are of. Envoy warns of another one, and promises that the
/// next minor version takes this one.
pub const VERSION: &std::ffi::CStr = c"v0.1.0";

/// Bytes of Envoy's, good for as long as the hook that got them runs and changes nothing.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct EnvoyBuffer {
    ptr: *const u8,
    length: usize,
}

impl EnvoyBuffer {
    const EMPTY: Self = Self { ptr: std::ptr::null(), length: 0 };

    /// A copy of the bytes.
    pub fn to_vec(self) -> Vec<u8> {
        bytes(self.ptr, self.length).to_vec()
    }
}

/// Bytes of ours, read by Envoy before the call returns.
#[repr(C)]
#[derive(Clone, Copy)]
struct ModuleBuffer {
    ptr: *const u8,
    length: usize,
}

impl ModuleBuffer {
    /// In the place of a header's value: remove the header.
    const NONE: Self = Self { ptr: std::ptr::null(), length: 0 };

    fn of(bytes: &[u8]) -> Self {
        Self { ptr: bytes.as_ptr(), length: bytes.len() }
    }
}

/// A header line of Envoy's, or of ours for a request.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Header {
    name: *const u8,
    name_length: usize,
    value: *const u8,
    value_length: usize,
}

/// A slice of Envoy's memory; empty where the pointer is null.
fn bytes<'a>(ptr: *const u8, length: usize) -> &'a [u8] {
    if ptr.is_null() {
        return &[];
    }
    // SAFETY: Envoy hands out pointer and length of memory that stays as it is while the hook runs; every caller
    // copies the bytes before it changes a header.
    unsafe { std::slice::from_raw_parts(ptr, length) }
}

/// Header maps of a stream.
#[derive(Clone, Copy)]
#[repr(u32)]
pub enum Map {
    RequestHeaders = 0,
    RequestTrailers = 1,
    ResponseHeaders = 2,
    ResponseTrailers = 3,
}

/// The part of an answer's body that a hook is called with, by its place in the interface's list.
pub const RECEIVED_RESPONSE_BODY: u32 = 2;

/// Attributes of a stream, by their place in the interface's list.
#[derive(Clone, Copy)]
#[repr(u32)]
pub enum Attribute {
    ResponseCodeDetails = 16,
    SourceAddress = 24,
    ConnectionId = 28,
    ConnectionUriSanPeerCertificate = 37,
}

type Stream = *mut c_void;
type Config = *mut c_void;
type Scheduler = *mut c_void;

extern "C" {
    fn dlsym(library: *mut c_void, name: *const c_char) -> *mut c_void;
    fn getrandom(buffer: *mut u8, length: usize, flags: u32) -> isize;
}

macro_rules! callbacks {
    ($($name:ident: fn($($argument:ty),*) $(-> $result:ty)?;)+) => {
        struct Callbacks {
            $($name: unsafe extern "C" fn($($argument),*) $(-> $result)?,)+
        }

        impl Callbacks {
            /// Every callback, or the names of those that this Envoy does not have.
            fn find() -> Result<Self, Vec<&'static str>> {
                let mut missing = Vec::new();
                $(
                    let $name = symbol(concat!("envoy_dynamic_module_callback_", stringify!($name), "\0"));
                    if $name.is_null() {
                        missing.push(stringify!($name));
                    }
                )+
                if !missing.is_empty() {
                    return Err(missing);
                }
                // SAFETY: none is null, and the types are those of Envoy's header for these names.
                Ok(unsafe {
                    Self { $($name: std::mem::transmute::<
                        *mut c_void,
                        unsafe extern "C" fn($($argument),*) $(-> $result)?,
                    >($name),)+ }
                })
            }
        }
    };
}

callbacks! {
    log: fn(u32, ModuleBuffer);
    log_enabled: fn(u32) -> bool;
    http_get_headers_size: fn(Stream, u32) -> usize;
    http_get_headers: fn(Stream, u32, *mut Header) -> bool;
    http_get_header: fn(Stream, u32, ModuleBuffer, *mut EnvoyBuffer, usize, *mut usize) -> bool;
    http_set_header: fn(Stream, u32, ModuleBuffer, ModuleBuffer) -> bool;
    http_add_header: fn(Stream, u32, ModuleBuffer, ModuleBuffer) -> bool;
    http_get_body_size: fn(Stream, u32) -> usize;
    http_clear_route_cache: fn(Stream);
    http_set_filter_state_bytes: fn(Stream, ModuleBuffer, ModuleBuffer) -> bool;
    http_get_filter_state_bytes: fn(Stream, ModuleBuffer, *mut EnvoyBuffer) -> bool;
    http_filter_get_attribute_string: fn(Stream, u32, *mut EnvoyBuffer) -> bool;
    http_filter_get_attribute_int: fn(Stream, u32, *mut u64) -> bool;
    http_filter_config_define_counter: fn(Config, ModuleBuffer, *mut ModuleBuffer, usize, *mut usize) -> u32;
    http_filter_config_define_gauge: fn(Config, ModuleBuffer, *mut ModuleBuffer, usize, *mut usize) -> u32;
    http_filter_config_define_histogram: fn(Config, ModuleBuffer, *mut ModuleBuffer, usize, *mut usize) -> u32;
    http_filter_increment_counter: fn(Stream, usize, *mut ModuleBuffer, usize, u64) -> u32;
    http_filter_set_gauge: fn(Stream, usize, *mut ModuleBuffer, usize, u64) -> u32;
    http_filter_record_histogram_value: fn(Stream, usize, *mut ModuleBuffer, usize, u64) -> u32;
    http_filter_config_increment_counter: fn(Config, usize, *mut ModuleBuffer, usize, u64) -> u32;
    http_filter_config_set_gauge: fn(Config, usize, *mut ModuleBuffer, usize, u64) -> u32;
    http_filter_config_scheduler_new: fn(Config) -> Scheduler;
    http_filter_config_scheduler_commit: fn(Scheduler, u64);
    http_filter_config_scheduler_delete: fn(Scheduler);
    http_filter_config_http_callout: fn(
        Config, *mut u64, ModuleBuffer, *mut Header, usize, ModuleBuffer, u64
    ) -> u32;
}

fn symbol(name: &str) -> *mut c_void {
    // SAFETY: the name ends with NUL. The null handle means every library of the process, Envoy first.
    unsafe { dlsym(std::ptr::null_mut(), name.as_ptr().cast()) }
}

static CALLBACKS: OnceLock<Callbacks> = OnceLock::new();

/// Looks up the callbacks; the names of those that this Envoy lacks.
pub fn find_callbacks() -> Result<(), Vec<&'static str>> {
    let found = Callbacks::find()?;
    CALLBACKS.get_or_init(|| found);
    Ok(())
}

/// Logs, where there is no other way, to standard error.
pub fn log(level: u32, message: &str) {
    let found = CALLBACKS.get().map(|callbacks| callbacks.log);
    let found = found.or_else(|| {
        let log = symbol("envoy_dynamic_module_callback_log\0");
        // SAFETY: it is not null, and the type is that of Envoy's header.
        (!log.is_null()).then(|| unsafe {
            std::mem::transmute::<*mut c_void, unsafe extern "C" fn(u32, ModuleBuffer)>(log)
        })
    });
    match found {
        // SAFETY: the buffer is that of a live string.
        Some(log) => unsafe { log(level, ModuleBuffer::of(message.as_bytes())) },
        None => eprintln!("{message}"),
    }
}

/// Whether Envoy logs at this level. Before the callbacks are found, whatever is said matters.
pub fn logs(level: u32) -> bool {
    // SAFETY: no pointers.
    CALLBACKS.get().is_none_or(|callbacks| unsafe { (callbacks.log_enabled)(level) })
}

/// 16 bytes from the system's source of randomness.
pub fn random() -> Option<[u8; 16]> {
    let mut random = [0; 16];
    // SAFETY: pointer and length are those of a live array.
    let read = unsafe { getrandom(random.as_mut_ptr(), random.len(), 0) };
    (read == 16).then_some(random)
}

/// The values of a metric's labels.
type Labels = SmallVec<[ModuleBuffer; 6]>;

fn labels(values: &[&str]) -> Labels {
    values.iter().map(|value| ModuleBuffer::of(value.as_bytes())).collect()
}

/// A callback that changes the metric of a stream or of a configuration, with the values of its labels.
type Change = unsafe extern "C" fn(*mut c_void, usize, *mut ModuleBuffer, usize, u64) -> u32;

/// Changes the metric `id` of `owner` by or to `value`.
///
/// # Safety
/// `owner` is the live stream or configuration that the callback of `pick` is for.
unsafe fn change(
    owner: *mut c_void,
    pick: impl FnOnce(&Callbacks) -> Change,
    id: usize,
    values: &[&str],
    value: u64,
) {
    if let Some(callbacks) = CALLBACKS.get() {
        let mut labels = labels(values);
        // SAFETY: the caller's promise, and the labels are those of live strings.
        unsafe { pick(callbacks)(owner, id, labels.as_mut_ptr(), labels.len(), value) };
    }
}

/// The value of a header among `count` lines that Envoy hands to a hook.
///
/// # Safety
/// `lines` is null, or points at `count` lines that stay as they are while the hook runs.
pub unsafe fn find_header(lines: *const Header, count: usize, name: &[u8]) -> Option<Vec<u8>> {
    if lines.is_null() {
        return None;
    }
    // SAFETY: the caller's promise.
    let lines = unsafe { std::slice::from_raw_parts(lines, count) };
    let line = lines.iter().find(|line| bytes(line.name, line.name_length) == name)?;
    Some(bytes(line.value, line.value_length).to_vec())
}

/// The `count` parts of a body that Envoy hands to a hook, in one piece; `None` where they are longer than `most`.
///
/// # Safety
/// `parts` is null, or points at `count` buffers that stay as they are while the hook runs.
pub unsafe fn join(parts: *const EnvoyBuffer, count: usize, most: usize) -> Option<Vec<u8>> {
    let mut joined = Vec::new();
    if parts.is_null() {
        return Some(joined);
    }
    // SAFETY: the caller's promise.
    for part in unsafe { std::slice::from_raw_parts(parts, count) } {
        if part.length > most - joined.len() {
            return None;
        }
        joined.extend(part.to_vec());
    }
    Some(joined)
}
