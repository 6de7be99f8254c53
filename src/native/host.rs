//! [`Host`] on top of Envoy's callbacks and of what the process shares.

use std::cell::{Cell, OnceCell};
use std::net::IpAddr;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::config::Millis;
use crate::engine::Surroundings;
use crate::filter::{Call, Host, Identity, MetricId, MetricKind, Shared};
use crate::http::{address, Headers};

use super::abi::{self, Attribute, Map, StreamHandle};
use super::process::{self, Series};
use super::settings::Settings;

/// How the names begin of what instances of this filter leave on a stream for each other. A native one sees what
/// native ones leave: what a Wasm filter leaves is of another kind.
const MARK: &str = "cohort.";

/// Envoy, seen from one hook.
pub struct Proxy<'a> {
    settings: &'a Settings,
    /// The stream whose hook runs; `None` on the main thread.
    stream: Option<StreamHandle>,
    /// Whether this thread is not Envoy's: its metrics can be touched only from its own.
    is_apart: bool,
    /// Whether what all share may be written: not by a thread that does not know how things stand.
    pub writes: bool,
    /// The period of ticks that was asked for.
    pub period: Cell<Option<Millis>>,
    /// Whether a newer configuration came to this thread before this one did. It then goes by itself: the records
    /// and the state in this thread are the newer one's.
    pub late: Cell<bool>,
    /// Whether the hook wrote a request header, so that Envoy has to choose the route anew.
    routed: Cell<bool>,
    /// The body of the answer that is being handed over, where it was not too long to be copied.
    pub answer: Cell<Option<Vec<u8>>>,
    /// When the hook first asked for the time: it is over before the time matters again.
    monotonic: OnceCell<u64>,
}

impl<'a> Proxy<'a> {
    /// On the main thread.
    pub fn main(settings: &'a Settings) -> Self {
        Self {
            settings,
            stream: None,
            is_apart: false,
            writes: true,
            period: Cell::new(None),
            late: Cell::new(false),
            routed: Cell::new(false),
            answer: Cell::default(),
            monotonic: OnceCell::new(),
        }
    }

    /// In a thread that the main thread waits for.
    pub fn apart(settings: &'a Settings) -> Self {
        Self { is_apart: true, ..Self::main(settings) }
    }

    /// Tells Envoy of a counter: by how much it grew, or with 0 that it is there.
    fn tell(&self, series: &Series, by: u64) {
        let Some(id) = self.settings.metrics.id(series.metric).filter(|_| !self.is_apart) else {
            return;
        };
        match self.stream {
            Some(stream) => stream.increment(id, &series.values, by),
            None => self.settings.handle.increment(id, &series.values, by),
        }
    }

    pub fn stream(settings: &'a Settings, stream: StreamHandle) -> Self {
        Self { stream: Some(stream), ..Self::main(settings) }
    }

    /// Takes over what was counted so far: Envoy forgets a counter with the last configuration that has touched it.
    pub fn keep_counters(&self) {
        for series in process::counters() {
            self.tell(series, 0);
        }
    }

    /// Tells Envoy what was counted since it was told last, on all threads.
    pub fn tell_counted(&self) {
        for (series, by) in process::take_untold(&Identity::of(self).plugin) {
            self.tell(series, by);
        }
    }

    /// How much of the answer's body the hook is called with.
    pub fn body_size(&self) -> usize {
        self.stream.map_or(0, StreamHandle::response_body_size)
    }

    /// At the end of the hook of the request's headers.
    pub fn choose_route(&self) {
        if let Some(stream) = self.stream.filter(|_| self.routed.get()) {
            stream.clear_route_cache();
        }
    }
}

impl Surroundings for Proxy<'_> {
    fn client_address(&self) -> Option<IpAddr> {
        address::parse(&self.stream?.attribute(Attribute::SourceAddress)?)
    }

    fn connection_id(&self) -> Option<u64> {
        self.stream?.integer(Attribute::ConnectionId)
    }

    fn peer_principal(&self) -> Option<Vec<u8>> {
        self.stream?.attribute(Attribute::ConnectionUriSanPeerCertificate)
    }

    fn random(&self) -> Option<[u8; 16]> {
        abi::random()
    }
}

impl Host for Proxy<'_> {
    fn now(&self) -> u64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        since.map_or(0, |since| u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
    }

    fn monotonic(&self) -> u64 {
        *self.monotonic.get_or_init(process::monotonic)
    }

    /// A variable of the process: a library has no environment of its own.
    fn environment(&self, name: &str) -> Option<String> {
        std::env::var(name).ok()
    }

    fn plugin_name(&self) -> String {
        self.settings.name.clone()
    }

    fn root_id(&self) -> String {
        if self.late.get() {
            format!("late {}", self.settings.number)
        } else {
            String::new()
        }
    }

    fn set_tick_period(&self, period: Millis) {
        self.period.set(Some(period));
    }

    fn request_headers(&self) -> Headers {
        self.headers(Map::RequestHeaders)
    }

    fn set_request_header(&self, name: &str, value: &[u8]) {
        self.set(Map::RequestHeaders, name.as_bytes(), Some(value));
    }

    fn remove_request_header(&self, name: &[u8]) {
        self.set(Map::RequestHeaders, name, None);
    }

    fn request_trailers(&self) -> Headers {
        self.headers(Map::RequestTrailers)
    }

    fn remove_request_trailer(&self, name: &[u8]) {
        self.set(Map::RequestTrailers, name, None);
    }

    fn mark(&self, name: &str) {
        let Some(stream) = self.stream else { return };
        let key = format!("{MARK}{name}");
        // Envoy takes a key once, and complains of a second time.
        if !stream.has_state(&key) {
            stream.set_state(&key, b"1");
        }
    }

    fn is_marked(&self, name: &str) -> bool {
        self.stream.is_some_and(|stream| stream.has_state(&format!("{MARK}{name}")))
    }

    fn response_headers(&self) -> Headers {
        self.headers(Map::ResponseHeaders)
    }

    fn remove_response_header(&self, name: &[u8]) {
        self.set(Map::ResponseHeaders, name, None);
    }

    fn response_header(&self, name: &str) -> Option<Vec<u8>> {
        self.stream?.header(Map::ResponseHeaders, name)
    }

    fn response_trailer(&self, name: &str) -> Option<Vec<u8>> {
        self.stream?.header(Map::ResponseTrailers, name)
    }

    fn set_response_header(&self, name: &str, value: &str) {
        self.set(Map::ResponseHeaders, name.as_bytes(), Some(value.as_bytes()));
    }

    fn add_response_header(&self, name: &str, value: &str) {
        if let Some(stream) = self.stream {
            stream.add_header(Map::ResponseHeaders, name, value.as_bytes());
        }
    }

    fn response_details(&self) -> Option<Vec<u8>> {
        self.stream?.attribute(Attribute::ResponseCodeDetails)
    }

    fn define_metric(&self, kind: MetricKind, name: &str) -> Option<MetricId> {
        let id = process::series_named(name, kind)?;
        // A counter is there from the start, at 0, as in a VM.
        if let Some(series) = process::series(id).filter(|_| kind == MetricKind::Counter) {
            self.tell(series, 0);
        }
        Some(id)
    }

    /// Counts here. Envoy is told by the main thread, up to fifty times a second: with the values of its labels each
    /// time is a search among its counters.
    fn increment(&self, counter: MetricId, by: u64) {
        if let Some(series) = process::series(counter) {
            series.add(by);
            self.settings.ticker.counted();
        }
    }

    fn record(&self, metric: MetricId, value: u64) {
        let Some(series) = process::series(metric).filter(|_| !self.is_apart) else { return };
        let Some(id) = self.settings.metrics.id(series.metric) else { return };
        let values = &series.values;
        match (series.kind, self.stream) {
            (MetricKind::Histogram, Some(stream)) => stream.record(id, values, value),
            (MetricKind::Gauge, Some(stream)) => stream.set_gauge(id, values, value),
            (MetricKind::Gauge, None) => self.settings.handle.set_gauge(id, values, value),
            // Only streams have durations.
            (MetricKind::Histogram, None) | (MetricKind::Counter, _) => {}
        }
    }

    fn shared(&self, key: &str) -> Shared {
        process::record(key)
    }

    fn set_shared(&self, key: &str, value: &[u8], ticket: Option<u32>) -> bool {
        self.writes && process::set_record(key, value, ticket)
    }

    /// Only the main thread's ticks send calls: a worker has no place for the answer.
    fn sends_calls(&self) -> bool {
        self.stream.is_none()
    }

    fn call(&self, call: Call<'_>) -> Option<u32> {
        let number = self.settings.handle.call(call.cluster, call.headers, call.timeout)?;
        u32::try_from(number).ok()
    }

    fn call_body(&self, most: usize) -> Option<Vec<u8>> {
        self.answer.take().filter(|body| body.len() <= most)
    }
}

impl Proxy<'_> {
    fn headers(&self, map: Map) -> Headers {
        self.stream.map(|stream| stream.headers(map)).unwrap_or_default()
    }

    fn set(&self, map: Map, name: &[u8], value: Option<&[u8]>) {
        let Some(stream) = self.stream else { return };
        stream.set_header(map, name, value);
        if matches!(map, Map::RequestHeaders) {
            self.routed.set(true);
        }
    }
}

/// Sends log lines and panics to Envoy's log, component `dynamic_modules`.
pub fn start_logging() {
    static LOGGER: Logger = Logger;
    if log::set_logger(&LOGGER).is_ok() {
        log::set_max_level(log::LevelFilter::Debug);
    }
    std::panic::set_hook(Box::new(|panic| abi::log(CRITICAL, &format!("cohort: {panic}"))));
}

const CRITICAL: u32 = 5;

struct Logger;

impl log::Log for Logger {
    fn enabled(&self, metadata: &log::Metadata<'_>) -> bool {
        abi::logs(number(metadata.level()))
    }

    fn log(&self, record: &log::Record<'_>) {
        if self.enabled(record.metadata()) {
            abi::log(number(record.level()), &format!("cohort: {}", record.args()));
        }
    }

    fn flush(&self) {}
}

/// The level as Envoy counts: 0 is trace.
fn number(level: log::Level) -> u32 {
    5 - level as u32
}
