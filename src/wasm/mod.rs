//! The edge to the proxy: proxy-wasm's callbacks to the filter, the filter's [`Host`] to proxy-wasm.
//!
//! The module exports the callbacks of ABI 0.2.1 that it has a use for; a proxy leaves out the others.
//! The SDK would export all of them, for TCP and gRPC too, by a fifth of the module's code, and panics on
//! what it does not expect.
//!
//! [`Host`]: crate::filter::Host
#![allow(unsafe_code, reason = "exported names")]

mod abi;
mod contexts;
mod host;

use std::cell::RefCell;

use crate::filter::{Plugin, Stream};

use contexts::Contexts;
use host::Proxy;

/// The answer to a callback that the stream goes on.
const CONTINUE: u32 = 0;

thread_local! {
    static PLUGINS: RefCell<Contexts<Plugin>> = const { RefCell::new(Contexts::new()) };
    static STREAMS: RefCell<Contexts<Stream>> = const { RefCell::new(Contexts::new()) };
}

/// What `act` makes of a plugin; nothing where there is none by that number.
fn plugin<T>(id: u32, act: impl FnOnce(&mut Plugin) -> T) -> Option<T> {
    PLUGINS.with(|plugins| plugins.try_borrow_mut().ok()?.get(id).map(act))
}

/// Lets `act` see a stream, which goes on in any case.
fn stream(id: u32, act: impl FnOnce(&mut Stream)) -> u32 {
    STREAMS.with(|streams| streams.try_borrow_mut().ok()?.get(id).map(act));
    CONTINUE
}

/// Says which version of the ABI this is, by its name.
#[no_mangle]
extern "C" fn proxy_abi_version_0_2_1() {}

/// Memory for what the proxy hands over; see [`abi`].
#[export_name = "malloc"]
extern "C" fn allocate(size: usize) -> *mut u8 {
    Box::into_raw(Box::<[u8]>::new_uninit_slice(size)).cast()
}

/// The proxy's first call into a new VM.
#[no_mangle]
extern "C" fn _initialize() {
    host::start_logging();
}

/// A plugin configuration where `parent` is 0, else a stream under one.
#[no_mangle]
extern "C" fn proxy_on_context_create(id: u32, parent: u32) {
    if parent == 0 {
        PLUGINS.with_borrow_mut(|plugins| plugins.add(id, Plugin::new()));
    } else if let Some(stream) = plugin(parent, |plugin| plugin.stream()) {
        STREAMS.with_borrow_mut(|streams| streams.add(id, stream));
    }
}

#[no_mangle]
extern "C" fn proxy_on_vm_start(_: u32, _: usize) -> bool {
    true
}

#[no_mangle]
extern "C" fn proxy_on_configure(id: u32, _: usize) -> bool {
    let bytes = abi::plugin_configuration();
    plugin(id, |plugin| plugin.on_configure(&Proxy, &bytes)).unwrap_or(false)
}

#[no_mangle]
extern "C" fn proxy_on_tick(id: u32) {
    plugin(id, |plugin| plugin.on_tick(&Proxy));
}

#[no_mangle]
extern "C" fn proxy_on_http_call_response(id: u32, token: u32, _: usize, _: usize, _: usize) {
    let status = Proxy.call_status();
    plugin(id, |plugin| plugin.on_call_response(&Proxy, token, status));
}

#[no_mangle]
extern "C" fn proxy_on_request_headers(id: u32, _: usize, _: bool) -> u32 {
    stream(id, |stream| stream.on_request_headers(&Proxy))
}

#[no_mangle]
extern "C" fn proxy_on_request_trailers(id: u32, _: usize) -> u32 {
    stream(id, |stream| stream.on_request_trailers(&Proxy))
}

#[no_mangle]
extern "C" fn proxy_on_response_headers(id: u32, _: usize, end_of_stream: bool) -> u32 {
    stream(id, |stream| stream.on_response_headers(&Proxy, end_of_stream))
}

#[no_mangle]
extern "C" fn proxy_on_response_body(id: u32, _: usize, end_of_stream: bool) -> u32 {
    stream(id, |stream| stream.on_response_body(end_of_stream))
}

#[no_mangle]
extern "C" fn proxy_on_response_trailers(id: u32, _: usize) -> u32 {
    stream(id, |stream| stream.on_response_trailers(&Proxy))
}

/// The end of a stream or of a plugin configuration. A stream is counted here and not in `proxy_on_log`,
/// which comes just before: what the proxy knows of it can be read all the same, by one callback less.
#[no_mangle]
extern "C" fn proxy_on_delete(id: u32) {
    if let Some(stream) = STREAMS.with_borrow_mut(|streams| streams.remove(id)) {
        stream.on_end(&Proxy);
    } else if let Some(plugin) = PLUGINS.with_borrow_mut(|plugins| plugins.remove(id)) {
        plugin.on_delete(&Proxy);
    }
}
