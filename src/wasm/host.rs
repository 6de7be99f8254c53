//! [`Host`] on top of the proxy-wasm calls.

use std::cell::RefCell;
use std::net::IpAddr;

use crate::config::Millis;
use crate::filter::{Call, Host, MetricId, MetricKind, Shared};
use crate::http::{address, headers, Headers};
use crate::index::Index;

use super::abi::{self, Map};

thread_local! {
    /// The metrics that this VM has defined, by name. The proxy gives a new handle for every definition, also
    /// of a metric that it has, and keeps it as long as the VM lives: to define them again for every
    /// configuration would take ever more memory.
    static METRICS: RefCell<Index<Option<MetricId>>> = RefCell::default();
}

/// The proxy that this module runs in.
pub struct Proxy;

impl Proxy {
    /// The HTTP status of the call that was just answered.
    pub fn call_status(&self) -> Option<u16> {
        std::str::from_utf8(&abi::header(Map::CallResponseHeaders, ":status")?).ok()?.parse().ok()
    }
}

impl Host for Proxy {
    fn now(&self) -> u64 {
        abi::now()
    }

    fn random(&self) -> Option<[u8; 16]> {
        abi::random()
    }

    fn environment(&self, name: &str) -> Option<String> {
        let environment = abi::environment();
        let entries = environment.split(|&byte| byte == 0);
        let value = entries
            .filter_map(|entry| entry.strip_prefix(name.as_bytes())?.strip_prefix(b"="))
            .next()?;
        Some(String::from_utf8_lossy(value).into_owned())
    }

    fn identity(&self) -> String {
        let part = |name| {
            let bytes = abi::property(name).unwrap_or_default();
            String::from_utf8_lossy(&bytes).into_owned()
        };
        format!("{}/{}", part("plugin_name"), part("plugin_root_id"))
    }

    fn set_tick_period(&self, period: Millis) {
        abi::set_tick_period(u32::try_from(period).unwrap_or(u32::MAX));
    }

    fn request_headers(&self) -> Headers {
        Headers::from_wire(abi::pairs(Map::RequestHeaders))
    }

    fn set_request_header(&self, name: &str, value: &[u8]) {
        abi::replace_header(Map::RequestHeaders, name, value);
    }

    fn remove_request_header(&self, name: &[u8]) {
        abi::remove_header(Map::RequestHeaders, name);
    }

    fn request_trailers(&self) -> Headers {
        Headers::from_wire(abi::pairs(Map::RequestTrailers))
    }

    fn remove_request_trailer(&self, name: &[u8]) {
        abi::remove_header(Map::RequestTrailers, name);
    }

    fn client_address(&self) -> Option<IpAddr> {
        address::parse(&abi::property("source\0address")?)
    }

    fn response_header(&self, name: &str) -> Option<Vec<u8>> {
        abi::header(Map::ResponseHeaders, name)
    }

    fn response_trailer(&self, name: &str) -> Option<Vec<u8>> {
        abi::header(Map::ResponseTrailers, name)
    }

    fn set_response_header(&self, name: &str, value: &str) {
        abi::replace_header(Map::ResponseHeaders, name, value.as_bytes());
    }

    fn add_response_header(&self, name: &str, value: &str) {
        abi::add_header(Map::ResponseHeaders, name, value.as_bytes());
    }

    fn response_flags(&self) -> Option<u64> {
        let bytes = abi::property("response\0flags")?;
        Some(u64::from_le_bytes(bytes.try_into().ok()?))
    }

    fn define_metric(&self, kind: MetricKind, name: &str) -> Option<MetricId> {
        let kind = match kind {
            MetricKind::Counter => 0,
            MetricKind::Gauge => 1,
            MetricKind::Histogram => 2,
        };
        METRICS.with_borrow_mut(|known| {
            if let Some(id) = known.get(name.bytes()) {
                return *id;
            }
            let id = abi::define_metric(kind, name)?;
            known.update(name.as_bytes(), |it| *it = Some(id));
            Some(id)
        })
    }

    fn increment(&self, counter: MetricId, by: u64) {
        abi::increment_metric(counter, i64::try_from(by).unwrap_or(i64::MAX));
    }

    fn record(&self, metric: MetricId, value: u64) {
        abi::record_metric(metric, value);
    }

    fn total(&self, counter: MetricId) -> Option<u64> {
        abi::metric(counter)
    }

    fn shared(&self, key: &str) -> Shared {
        match abi::shared_data(key) {
            Ok((bytes, ticket)) if ticket != 0 => Shared::Value(bytes, ticket),
            Ok(_) | Err(abi::NOT_FOUND) => Shared::Missing,
            Err(_) => Shared::Unavailable,
        }
    }

    fn set_shared(&self, key: &str, value: &[u8], ticket: Option<u32>) -> bool {
        // A ticket of 0 would write whatever is there. One that nothing can have makes the write hold
        // only where the key is missing.
        abi::set_shared_data(key, value, ticket.unwrap_or(u32::MAX))
    }

    fn call(&self, call: Call<'_>) -> Option<u32> {
        let headers = headers::to_wire(&[
            (":method", "GET"),
            (":path", call.path),
            (":authority", call.authority),
            ("user-agent", "cohort-health-check"),
        ]);
        abi::http_call(call.cluster, &headers, u32::try_from(call.timeout).unwrap_or(u32::MAX))
    }
}

/// Sends log lines and panics to the proxy's log.
pub fn start_logging() {
    static LOGGER: Logger = Logger;
    if log::set_logger(&LOGGER).is_ok() {
        log::set_max_level(log::LevelFilter::Debug);
    }
    std::panic::set_hook(Box::new(|panic| abi::log(5, &panic.to_string())));
}

struct Logger;

impl log::Log for Logger {
    fn enabled(&self, metadata: &log::Metadata<'_>) -> bool {
        abi::log_level().is_none_or(|level| number(metadata.level()) >= level)
    }

    fn log(&self, record: &log::Record<'_>) {
        if self.enabled(record.metadata()) {
            abi::log(number(record.level()), &record.args().to_string());
        }
    }

    fn flush(&self) {}
}

/// The level as proxy-wasm counts: 0 is trace.
fn number(level: log::Level) -> u32 {
    match level {
        log::Level::Trace => 0,
        log::Level::Debug => 1,
        log::Level::Info => 2,
        log::Level::Warn => 3,
        log::Level::Error => 4,
    }
}
