//! The filter as a library. Each worker is a thread, as in a proxy: what the filter keeps for each
//! thread is then each worker's own.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::panic::{catch_unwind, resume_unwind, AssertUnwindSafe};
use std::sync::{mpsc, Arc};

use cohort::engine::Surroundings;
use cohort::filter::{Call, Host, MetricId, MetricKind, Plugin, Shared, Stream};
use cohort::http::{address, Headers};

use super::rig::{Event, Rig};
use super::world::{status, Answer, Map, World, CALL_BODY, MONOTONIC};

/// The library in a thread of its own.
pub struct Native {
    jobs: mpsc::Sender<Job>,
}

type Job = Box<dyn FnOnce(&mut NativeVm) + Send>;

impl Native {
    fn run<T: Send + 'static>(&self, job: impl FnOnce(&mut NativeVm) -> T + Send + 'static) -> T {
        let (answer, answered) = mpsc::channel::<Result<T, Box<dyn Any + Send>>>();
        let job: Job = Box::new(move |vm| {
            let result = catch_unwind(AssertUnwindSafe(|| job(vm)));
            answer.send(result).ok();
        });
        self.jobs.send(job).expect("the worker lives");
        answered.recv().expect("the worker answers").unwrap_or_else(|panic| resume_unwind(panic))
    }
}

impl Rig for Native {
    fn start(world: &Arc<World>) -> Self {
        let (jobs, queue) = mpsc::channel::<Job>();
        let world = Arc::clone(world);
        std::thread::spawn(move || {
            let mut vm = NativeVm::start(&world);
            for job in queue {
                job(&mut vm);
            }
        });
        Self { jobs }
    }

    fn configure(&mut self, root: u32, configuration: &[u8]) -> bool {
        let configuration = configuration.to_vec();
        self.run(move |vm| vm.configure(root, &configuration))
    }

    fn tick(&mut self, root: u32) {
        self.run(move |vm| vm.tick(root));
    }

    fn call_answered(&mut self, root: u32, token: u32, headers: usize) {
        self.run(move |vm| vm.call_answered(root, token, headers));
    }

    fn delete_root(&mut self, root: u32) {
        self.run(move |vm| vm.delete_root(root));
    }

    fn create_stream(&mut self, root: u32, stream: u32) {
        self.run(move |vm| vm.create_stream(root, stream));
    }

    fn on(&mut self, stream: u32, event: Event) {
        self.run(move |vm| vm.on(stream, event));
    }

    fn delete_stream(&mut self, stream: u32) {
        self.run(move |vm| vm.delete_stream(stream));
    }
}

/// The library in the thread that calls: for what needs one worker and many calls.
pub struct NativeVm {
    proxy: Proxy,
    roots: BTreeMap<u32, Plugin>,
    streams: BTreeMap<u32, Stream>,
}

impl Rig for NativeVm {
    fn start(world: &Arc<World>) -> Self {
        log_to(world);
        let proxy = Proxy(Arc::clone(world));
        Self { proxy, roots: BTreeMap::new(), streams: BTreeMap::new() }
    }

    fn configure(&mut self, root: u32, configuration: &[u8]) -> bool {
        follow_log_level();
        let plugin = self.roots.entry(root).or_default();
        plugin.on_configure(&self.proxy, configuration)
    }

    fn tick(&mut self, root: u32) {
        follow_log_level();
        self.roots[&root].on_tick(&self.proxy);
    }

    fn call_answered(&mut self, root: u32, token: u32, _: usize) {
        let status = self.proxy.0.proxy_get_header_map_value(Map::CallResponseHeaders, b":status");
        let status = status.ok().and_then(|status| String::from_utf8(status).ok()?.parse().ok());
        // A root that is gone has no answers handed to it.
        if let Some(plugin) = self.roots.get(&root) {
            plugin.on_call_response(&self.proxy, token, status);
        }
    }

    fn delete_root(&mut self, root: u32) {
        if let Some(plugin) = self.roots.remove(&root) {
            plugin.on_delete(&self.proxy);
        }
    }

    fn create_stream(&mut self, root: u32, stream: u32) {
        self.streams.insert(stream, self.roots[&root].stream());
    }

    fn on(&mut self, stream: u32, event: Event) {
        let proxy = &self.proxy;
        let stream = self.streams.get_mut(&stream).expect("a stream");
        match event {
            Event::RequestHeaders => stream.on_request_headers(proxy),
            Event::RequestTrailers => stream.on_request_trailers(proxy),
            Event::ResponseHeaders { end } => stream.on_response_headers(proxy, end),
            Event::ResponseBody { size, end } => stream.on_response_body(size as usize, end),
            Event::ResponseTrailers => stream.on_response_trailers(proxy),
        }
    }

    fn delete_stream(&mut self, stream: u32) {
        if let Some(stream) = self.streams.remove(&stream) {
            stream.on_end(&self.proxy);
        }
    }
}

/// [`Host`] on top of a fake proxy, call for call as the module's own.
struct Proxy(Arc<World>);

impl Surroundings for Proxy {
    fn client_address(&self) -> Option<IpAddr> {
        address::parse(&self.property(b"source\0address")?)
    }

    fn connection_id(&self) -> Option<u64> {
        integer(&self.property(b"connection\0id")?)
    }

    fn peer_principal(&self) -> Option<Vec<u8>> {
        self.property(b"connection\0uri_san_peer_certificate")
    }

    fn random(&self) -> Option<[u8; 16]> {
        self.0.random_get(16).ok()?.try_into().ok()
    }
}

impl Host for Proxy {
    fn now(&self) -> u64 {
        self.0.proxy_get_current_time_nanoseconds().unwrap_or(0)
    }

    fn monotonic(&self) -> u64 {
        self.0.clock_time_get(MONOTONIC).unwrap_or(0)
    }

    fn environment(&self, name: &str) -> Option<String> {
        let environment = self.0.environ_get().ok()?;
        environment.into_iter().find(|(known, _)| known == name).map(|(_, value)| value)
    }

    fn plugin_name(&self) -> String {
        self.text_property(b"plugin_name")
    }

    fn root_id(&self) -> String {
        self.text_property(b"plugin_root_id")
    }

    fn set_tick_period(&self, period: u64) {
        self.0.proxy_set_tick_period_milliseconds(period).ok();
    }

    fn request_headers(&self) -> Headers {
        self.pairs(Map::RequestHeaders)
    }

    fn set_request_header(&self, name: &str, value: &[u8]) {
        self.0.proxy_replace_header_map_value(Map::RequestHeaders, name.as_bytes(), value).ok();
    }

    fn remove_request_header(&self, name: &[u8]) {
        self.0.proxy_remove_header_map_value(Map::RequestHeaders, name).ok();
    }

    fn request_trailers(&self) -> Headers {
        self.pairs(Map::RequestTrailers)
    }

    fn remove_request_trailer(&self, name: &[u8]) {
        self.0.proxy_remove_header_map_value(Map::RequestTrailers, name).ok();
    }

    fn mark(&self, name: &str) {
        self.0.proxy_set_property(format!("cohort.{name}").as_bytes(), b"1").ok();
    }

    fn is_marked(&self, name: &str) -> bool {
        self.property(format!("cohort.{name}").as_bytes()).is_some()
    }

    fn response_headers(&self) -> Headers {
        self.pairs(Map::ResponseHeaders)
    }

    fn remove_response_header(&self, name: &[u8]) {
        self.0.proxy_remove_header_map_value(Map::ResponseHeaders, name).ok();
    }

    fn response_header(&self, name: &str) -> Option<Vec<u8>> {
        self.0.proxy_get_header_map_value(Map::ResponseHeaders, name.as_bytes()).ok()
    }

    fn response_trailer(&self, name: &str) -> Option<Vec<u8>> {
        self.0.proxy_get_header_map_value(Map::ResponseTrailers, name.as_bytes()).ok()
    }

    fn set_response_header(&self, name: &str, value: &str) {
        let (name, value) = (name.as_bytes(), value.as_bytes());
        self.0.proxy_replace_header_map_value(Map::ResponseHeaders, name, value).ok();
    }

    fn add_response_header(&self, name: &str, value: &str) {
        let (name, value) = (name.as_bytes(), value.as_bytes());
        self.0.proxy_add_header_map_value(Map::ResponseHeaders, name, value).ok();
    }

    fn response_details(&self) -> Option<Vec<u8>> {
        self.property(b"response\0code_details")
    }

    fn define_metric(&self, kind: MetricKind, name: &str) -> Option<MetricId> {
        self.0.proxy_define_metric(kind as u32, name).ok()
    }

    fn increment(&self, counter: MetricId, by: u64) {
        self.0.proxy_increment_metric(counter, by as i64).ok();
    }

    fn gauge(&self, gauge: MetricId) -> Option<u64> {
        self.0.proxy_get_metric(gauge).ok()
    }

    fn record(&self, metric: MetricId, value: u64) {
        self.0.proxy_record_metric(metric, value).ok();
    }

    fn shared(&self, key: &str) -> Shared {
        match self.0.proxy_get_shared_data(key.as_bytes()) {
            Ok((_, 0)) | Err(status::NOT_FOUND) => Shared::Missing,
            Ok((bytes, ticket)) => Shared::Value(bytes, ticket),
            Err(_) => Shared::Unavailable,
        }
    }

    fn set_shared(&self, key: &str, value: &[u8], ticket: Option<u32>) -> bool {
        self.0.proxy_set_shared_data(key.as_bytes(), value, ticket.unwrap_or(u32::MAX)).is_ok()
    }

    fn call(&self, call: Call<'_>) -> Option<u32> {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        let headers = call.headers.iter().map(owned).collect();
        self.0.proxy_http_call(call.cluster, headers, call.timeout).ok()
    }

    fn call_body(&self, most: usize) -> Option<Vec<u8>> {
        let bytes = self.0.proxy_get_buffer_bytes(CALL_BODY, 0, most as u32 + 1);
        Some(bytes.unwrap_or_default()).filter(|bytes| bytes.len() <= most)
    }
}

/// A property that is a whole number.
fn integer(bytes: &[u8]) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.try_into().ok()?))
}

impl Proxy {
    /// A property; one without bytes is none, as in the SDK.
    fn property(&self, path: &[u8]) -> Option<Vec<u8>> {
        self.0.proxy_get_property(path).ok().filter(|bytes| !bytes.is_empty())
    }

    /// A property as text; empty where the proxy has none.
    fn text_property(&self, path: &[u8]) -> String {
        let bytes = self.0.proxy_get_property(path).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    fn pairs(&self, map: Map) -> Headers {
        let lines: Answer<_> = self.0.proxy_get_header_map_pairs(map);
        lines.unwrap_or_default().into_iter().collect()
    }
}

thread_local! {
    static LOG: RefCell<Option<Arc<World>>> = const { RefCell::new(None) };
    /// The lowest level that this thread logs.
    static LEVEL: Cell<u32> = const { Cell::new(INFO) };
}

/// Sends the log of this thread to `world`.
fn log_to(world: &Arc<World>) {
    static LOGGER: Logger = Logger;
    if log::set_logger(&LOGGER).is_ok() {
        log::set_max_level(log::LevelFilter::Debug);
    }
    LOG.with(|log| *log.borrow_mut() = Some(Arc::clone(world)));
}

struct Logger;

impl log::Log for Logger {
    fn enabled(&self, metadata: &log::Metadata<'_>) -> bool {
        number(metadata.level()) >= LEVEL.get()
    }

    fn log(&self, record: &log::Record<'_>) {
        if self.enabled(record.metadata()) {
            let level = number(record.level());
            with_world(|world| world.proxy_log(level, record.args().to_string()).ok());
        }
    }

    fn flush(&self) {}
}

/// Logs what the proxy logs now, as the module does.
fn follow_log_level() {
    let level = with_world(|world| world.proxy_get_log_level().ok()).flatten();
    LEVEL.set(level.unwrap_or(INFO));
}

const INFO: u32 = 2;

fn with_world<T>(see: impl FnOnce(&World) -> T) -> Option<T> {
    let world = LOG.with(|log| log.borrow().clone())?;
    Some(see(&world))
}

fn number(level: log::Level) -> u32 {
    5 - level as u32
}
