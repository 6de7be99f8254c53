//! [`Host`] on top of the SDK's calls.
//!
//! The SDK panics on a status that proxy-wasm does not list for a call, which ends the worker's VM. Envoy answers
//! none of those in the callbacks that the filter makes these calls from (docs/design.md).

use std::cell::RefCell;
use std::net::IpAddr;
use std::time::{Duration, UNIX_EPOCH};

use proxy_wasm::hostcalls;
use proxy_wasm::types::{BufferType, LogLevel, MapType, MetricType};

use crate::config::Millis;
use crate::engine::Surroundings;
use crate::filter::{Call, Host, MetricId, MetricKind, Shared};
use crate::http::{address, Headers};
use crate::index::Index;

use super::abi;

thread_local! {
    /// The metrics that this VM has defined, by name. The proxy gives a new handle for every definition, also
    /// of a metric that it has, and keeps it as long as the VM lives: to define them again for every
    /// configuration would take ever more memory.
    static METRICS: RefCell<Index<Option<MetricId>>> = RefCell::default();
}

/// How the properties of a stream begin that instances of this filter leave for each other. The proxy keeps them
/// in the stream's filter state.
const MARK: &str = "cohort.";

/// The proxy that this module runs in.
pub struct Proxy;

impl Proxy {
    /// The HTTP status of the call that was just answered.
    pub fn call_status(&self) -> Option<u16> {
        std::str::from_utf8(&abi::header(MapType::HttpCallResponseHeaders, ":status")?)
            .ok()?
            .parse()
            .ok()
    }
}

impl Surroundings for Proxy {
    fn client_address(&self) -> Option<IpAddr> {
        address::parse(&property(&["source", "address"])?)
    }

    fn connection_id(&self) -> Option<u64> {
        integer(&property(&["connection", "id"])?)
    }

    fn peer_principal(&self) -> Option<Vec<u8>> {
        property(&["connection", "uri_san_peer_certificate"])
    }

    fn random(&self) -> Option<[u8; 16]> {
        abi::random()
    }
}

/// A property as text; empty where the proxy has none.
fn text_property(path: &str) -> String {
    String::from_utf8_lossy(&property(&[path]).unwrap_or_default()).into_owned()
}

impl Host for Proxy {
    fn now(&self) -> u64 {
        let since =
            hostcalls::get_current_time().ok().and_then(|now| now.duration_since(UNIX_EPOCH).ok());
        since.map_or(0, |since| u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
    }

    fn monotonic(&self) -> u64 {
        abi::monotonic()
    }

    fn environment(&self, name: &str) -> Option<String> {
        let environment = abi::environment();
        let entries = environment.split(|&byte| byte == 0);
        let value = entries
            .filter_map(|entry| entry.strip_prefix(name.as_bytes())?.strip_prefix(b"="))
            .next()?;
        Some(String::from_utf8_lossy(value).into_owned())
    }

    fn plugin_name(&self) -> String {
        text_property("plugin_name")
    }

    fn root_id(&self) -> String {
        text_property("plugin_root_id")
    }

    fn set_tick_period(&self, period: Millis) {
        let period = Duration::from_millis(period.min(u64::from(u32::MAX)));
        hostcalls::set_tick_period(period).ok();
    }

    fn request_headers(&self) -> Headers {
        Headers::from_wire(abi::pairs(MapType::HttpRequestHeaders))
    }

    fn set_request_header(&self, name: &str, value: &[u8]) {
        hostcalls::set_map_value_bytes(MapType::HttpRequestHeaders, name, Some(value)).ok();
    }

    fn remove_request_header(&self, name: &[u8]) {
        abi::remove_header(MapType::HttpRequestHeaders, name);
    }

    fn request_trailers(&self) -> Headers {
        Headers::from_wire(abi::pairs(MapType::HttpRequestTrailers))
    }

    fn remove_request_trailer(&self, name: &[u8]) {
        abi::remove_header(MapType::HttpRequestTrailers, name);
    }

    fn mark(&self, name: &str) {
        abi::set_property(&format!("{MARK}{name}"), b"1");
    }

    fn is_marked(&self, name: &str) -> bool {
        property(&[&format!("{MARK}{name}")]).is_some()
    }

    fn response_headers(&self) -> Headers {
        Headers::from_wire(abi::pairs(MapType::HttpResponseHeaders))
    }

    fn remove_response_header(&self, name: &[u8]) {
        abi::remove_header(MapType::HttpResponseHeaders, name);
    }

    fn response_header(&self, name: &str) -> Option<Vec<u8>> {
        abi::header(MapType::HttpResponseHeaders, name)
    }

    fn response_trailer(&self, name: &str) -> Option<Vec<u8>> {
        abi::header(MapType::HttpResponseTrailers, name)
    }

    fn set_response_header(&self, name: &str, value: &str) {
        hostcalls::set_map_value_bytes(MapType::HttpResponseHeaders, name, Some(value.as_bytes()))
            .ok();
    }

    fn add_response_header(&self, name: &str, value: &str) {
        hostcalls::add_map_value_bytes(MapType::HttpResponseHeaders, name, value.as_bytes()).ok();
    }

    fn response_details(&self) -> Option<Vec<u8>> {
        property(&["response", "code_details"])
    }

    fn define_metric(&self, kind: MetricKind, name: &str) -> Option<MetricId> {
        let kind = match kind {
            MetricKind::Counter => MetricType::Counter,
            MetricKind::Gauge => MetricType::Gauge,
            MetricKind::Histogram => MetricType::Histogram,
        };
        METRICS.with_borrow_mut(|known| {
            if let Some(id) = known.get(name.bytes()) {
                return *id;
            }
            let id = hostcalls::define_metric(kind, name).ok()?;
            known.update(name.as_bytes(), |it| *it = Some(id));
            Some(id)
        })
    }

    fn increment(&self, counter: MetricId, by: u64) {
        hostcalls::increment_metric(counter, i64::try_from(by).unwrap_or(i64::MAX)).ok();
    }

    fn gauge(&self, gauge: MetricId) -> Option<u64> {
        hostcalls::get_metric(gauge).ok()
    }

    fn record(&self, metric: MetricId, value: u64) {
        hostcalls::record_metric(metric, value).ok();
    }

    fn shared(&self, key: &str) -> Shared {
        match hostcalls::get_shared_data(key) {
            Ok((bytes, Some(ticket))) => Shared::Value(bytes.unwrap_or_default(), ticket),
            Ok((_, None)) => Shared::Missing,
            Err(_) => Shared::Unavailable,
        }
    }

    fn set_shared(&self, key: &str, value: &[u8], ticket: Option<u32>) -> bool {
        // A ticket of 0 would write whatever is there. One that nothing can have makes the write hold
        // only where the key is missing.
        hostcalls::set_shared_data(key, Some(value), Some(ticket.unwrap_or(u32::MAX))).is_ok()
    }

    fn call(&self, call: Call<'_>) -> Option<u32> {
        let timeout = Duration::from_millis(call.timeout.min(u64::from(u32::MAX)));
        hostcalls::dispatch_http_call(call.cluster, call.headers.to_vec(), None, vec![], timeout)
            .ok()
    }

    fn call_body(&self, most: usize) -> Option<Vec<u8>> {
        let bytes = hostcalls::get_buffer(BufferType::HttpCallResponseBody, 0, most + 1).ok()?;
        Some(bytes.unwrap_or_default()).filter(|bytes| bytes.len() <= most)
    }
}

/// A property by its path; `None` also where it has no bytes.
fn property(path: &[&str]) -> Option<Vec<u8>> {
    hostcalls::get_property(path.to_vec()).ok().flatten()
}

/// A property that is a whole number.
fn integer(bytes: &[u8]) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.try_into().ok()?))
}

/// The bytes of the plugin's configuration.
pub fn plugin_configuration() -> Vec<u8> {
    let bytes = hostcalls::get_buffer(BufferType::PluginConfiguration, 0, usize::MAX);
    bytes.ok().flatten().unwrap_or_default()
}

/// Sends log lines and panics to the proxy's log.
pub fn start_logging() {
    proxy_wasm::set_log_level(LogLevel::Info);
}

/// Logs what the proxy logs now: its level may change at any time.
pub fn follow_log_level() {
    proxy_wasm::set_log_level(match abi::log_level() {
        Some(0) => LogLevel::Trace,
        Some(1) => LogLevel::Debug,
        Some(2) | None => LogLevel::Info,
        Some(3) => LogLevel::Warn,
        Some(4) => LogLevel::Error,
        Some(_) => LogLevel::Critical,
    });
}
