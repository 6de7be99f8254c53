//! A fake proxy process: everything that all of its workers see, and the host calls they make.
//!
//! The answers are Envoy's, as statuses of proxy-wasm: which map can be read in which callback, what a
//! conditional write does, what a metric of each kind takes.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use super::exchange::{Lines, StreamState};
use super::faults::Faults;
use super::metrics::{Kind, Metrics};

/// Statuses of proxy-wasm.
pub mod status {
    pub const NOT_FOUND: u32 = 1;
    pub const BAD_ARGUMENT: u32 = 2;
    pub const CAS_MISMATCH: u32 = 8;
    pub const INTERNAL_FAILURE: u32 = 10;
}

/// What a host call comes to: a value, or a status that is not Ok.
pub type Answer<T> = Result<T, u32>;

/// Header maps, as proxy-wasm numbers them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Map {
    RequestHeaders = 0,
    RequestTrailers = 1,
    ResponseHeaders = 2,
    ResponseTrailers = 3,
    CallResponseHeaders = 6,
}

impl Map {
    pub fn of(number: u32) -> Option<Self> {
        Some(match number {
            0 => Self::RequestHeaders,
            1 => Self::RequestTrailers,
            2 => Self::ResponseHeaders,
            3 => Self::ResponseTrailers,
            6 => Self::CallResponseHeaders,
            _ => return None,
        })
    }
}

/// The callback that a worker is in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Phase {
    #[default]
    Root,
    Request,
    Response,
    End,
}

/// A health check or a question to a metrics server on its way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SentCall {
    pub token: u32,
    pub worker: u32,
    pub root: u32,
    pub cluster: String,
    pub headers: Vec<(String, String)>,
    pub timeout: u64,
}

impl SentCall {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

/// Who is calling: the callback under way.
#[derive(Clone, Copy, Debug, Default)]
pub struct Caller {
    pub worker: u32,
    pub root: u32,
    pub stream: Option<u32>,
    pub phase: Phase,
}

#[derive(Debug)]
pub struct State {
    /// Nanoseconds since the Unix epoch. May be set, as a machine's clock may.
    pub now: u64,
    /// Nanoseconds since the machine started.
    pub monotonic: u64,
    /// The state of the generator behind `random_get`; `None`: the proxy has no randomness.
    pub random: Option<u64>,
    pub environment: Vec<(String, String)>,
    pub plugin_name: String,
    pub root_id: String,
    /// What the next `on_configure` reads.
    pub configuration: Vec<u8>,
    pub metrics: Metrics,
    pub shared: BTreeMap<Vec<u8>, (Vec<u8>, u32)>,
    /// `false`: every call for shared data is answered Unimplemented.
    pub has_shared: bool,
    next_cas: u32,
    /// Level (0 trace to 5 critical) and text.
    pub log: Vec<(u32, String)>,
    /// The lowest level that is logged.
    pub log_level: u32,
    pub calls: Vec<SentCall>,
    next_token: u32,
    /// Clusters that the proxy does not know.
    pub unknown_clusters: Vec<String>,
    /// The answer to a call that is being handed over.
    pub call_answer: Lines,
    pub call_body: Vec<u8>,
    /// How often each host call was made, by its name in the ABI.
    pub counts: BTreeMap<&'static str, u64>,
    pub faults: Option<Faults>,
    pub streams: BTreeMap<u32, StreamState>,
    next_stream: u32,
    pub caller: Caller,
    /// By worker and root context.
    pub tick_periods: BTreeMap<(u32, u32), u64>,
    workers: u32,
    /// What no filter may do, in words.
    pub offences: Vec<String>,
}

/// A fake proxy process, shared by its workers.
#[derive(Debug)]
pub struct World(Mutex<State>);

/// Buffers, as proxy-wasm numbers them.
const CONFIGURATION: u32 = 7;
pub const CALL_BODY: u32 = 4;

/// WASI's number for the clock that never goes back.
pub const MONOTONIC: u32 = 1;

/// 2026-11-21T10:00:00Z.
pub const START: u64 = 1_795_255_200_000;

impl World {
    pub fn new() -> Arc<Self> {
        Arc::new(Self(Mutex::new(State {
            now: START * 1_000_000,
            monotonic: 77_000_000_000,
            random: Some(7),
            environment: Vec::new(),
            plugin_name: "default.cohort".into(),
            root_id: "cohort".into(),
            configuration: Vec::new(),
            metrics: Metrics::default(),
            shared: BTreeMap::new(),
            has_shared: true,
            next_cas: 1,
            log: Vec::new(),
            log_level: 2,
            calls: Vec::new(),
            next_token: 1,
            unknown_clusters: Vec::new(),
            call_answer: Vec::new(),
            call_body: Vec::new(),
            counts: BTreeMap::new(),
            faults: None,
            streams: BTreeMap::new(),
            next_stream: 1000,
            caller: Caller::default(),
            tick_periods: BTreeMap::new(),
            workers: 0,
            offences: Vec::new(),
        })))
    }

    /// Everything, to look at and to change.
    pub fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// The time goes by, on both clocks.
    pub fn advance(&self, millis: u64) {
        let mut state = self.state();
        state.now = state.now.saturating_add(millis * 1_000_000);
        state.monotonic = state.monotonic.saturating_add(millis * 1_000_000);
    }

    /// Milliseconds since the Unix epoch.
    pub fn now(&self) -> u64 {
        self.state().now / 1_000_000
    }

    pub fn set_environment(&self, name: &str, value: &str) {
        self.state().environment.push((name.into(), value.into()));
    }

    /// Log lines at `level` and above since the last look, joined.
    pub fn take_log(&self, level: u32) -> String {
        let lines = std::mem::take(&mut self.state().log);
        let lines: Vec<String> =
            lines.into_iter().filter(|(at, _)| *at >= level).map(|(_, line)| line).collect();
        lines.join("\n")
    }

    /// The calls sent since the last look.
    pub fn take_calls(&self) -> Vec<SentCall> {
        std::mem::take(&mut self.state().calls)
    }

    /// How often each host call was made since the last look.
    pub fn take_counts(&self) -> BTreeMap<&'static str, u64> {
        std::mem::take(&mut self.state().counts)
    }

    /// Every metric with its value, one a line, as Prometheus reads them.
    pub fn metrics(&self) -> String {
        self.state().metrics.to_string()
    }

    /// The value of one time series, named as Prometheus reads it; 0 where there is none.
    pub fn metric(&self, name: &str) -> u64 {
        self.state().metrics.value(name)
    }

    pub(super) fn new_worker(&self) -> u32 {
        let mut state = self.state();
        state.workers += 1;
        state.workers
    }

    pub(super) fn new_stream(&self, stream: StreamState) -> u32 {
        let mut state = self.state();
        state.next_stream += 1;
        let id = state.next_stream;
        state.streams.insert(id, stream);
        id
    }

    /// Notes one host call; the fault plan may answer it in the proxy's place.
    fn enter(&self, name: &'static str) -> Answer<MutexGuard<'_, State>> {
        let mut state = self.state();
        *state.counts.entry(name).or_default() += 1;
        if let Some(faults) = &mut state.faults {
            if let Some(status) = faults.answer(name) {
                return Err(status);
            }
        }
        Ok(state)
    }

    pub fn proxy_log(&self, level: u32, message: String) -> Answer<()> {
        self.enter("proxy_log")?.log.push((level, message));
        Ok(())
    }

    pub fn proxy_get_log_level(&self) -> Answer<u32> {
        Ok(self.enter("proxy_get_log_level")?.log_level)
    }

    pub fn proxy_get_current_time_nanoseconds(&self) -> Answer<u64> {
        let mut state = self.enter("proxy_get_current_time_nanoseconds")?;
        if let Some(time) = state.faults.as_mut().and_then(Faults::time) {
            state.now = time;
        }
        Ok(state.now)
    }

    /// Only the monotonic clock.
    pub fn clock_time_get(&self, clock: u32) -> Answer<u64> {
        let mut state = self.enter("clock_time_get")?;
        if clock != MONOTONIC {
            return Err(status::BAD_ARGUMENT);
        }
        if let Some(time) = state.faults.as_mut().and_then(Faults::time) {
            state.monotonic = time;
        }
        Ok(state.monotonic)
    }

    pub fn random_get(&self, size: usize) -> Answer<Vec<u8>> {
        let mut state = self.enter("random_get")?;
        let seed = state.random.as_mut().ok_or(status::INTERNAL_FAILURE)?;
        Ok((0..size).map(|_| (super::faults::splitmix(seed) >> 56) as u8).collect())
    }

    pub fn environ_get(&self) -> Answer<Vec<(String, String)>> {
        Ok(self.enter("environ_get")?.environment.clone())
    }

    /// The plugin's configuration, and the body of the answer to a call.
    pub fn proxy_get_buffer_bytes(&self, buffer: u32, start: u32, size: u32) -> Answer<Vec<u8>> {
        let state = self.enter("proxy_get_buffer_bytes")?;
        let bytes = match buffer {
            CONFIGURATION => &state.configuration,
            CALL_BODY if state.call_answer.is_empty() => return Err(status::NOT_FOUND),
            CALL_BODY => &state.call_body,
            _ => return Err(status::BAD_ARGUMENT),
        };
        let bytes = bytes.get(start as usize..).ok_or(status::BAD_ARGUMENT)?;
        Ok(bytes[..bytes.len().min(size as usize)].to_vec())
    }

    pub fn proxy_set_tick_period_milliseconds(&self, period: u64) -> Answer<()> {
        let mut state = self.enter("proxy_set_tick_period_milliseconds")?;
        let Caller { worker, root, .. } = state.caller;
        state.tick_periods.insert((worker, root), period);
        Ok(())
    }

    pub fn proxy_get_header_map_pairs(&self, map: Map) -> Answer<Lines> {
        let mut state = self.enter("proxy_get_header_map_pairs")?;
        Ok(state.map(map).map(|lines| lines.clone()).unwrap_or_default())
    }

    pub fn proxy_get_header_map_value(&self, map: Map, name: &[u8]) -> Answer<Vec<u8>> {
        let mut state = self.enter("proxy_get_header_map_value")?;
        let lines = state.map(map).ok_or(status::BAD_ARGUMENT)?;
        let name = name.to_ascii_lowercase();
        let line = lines.iter().find(|(known, _)| *known == name);
        line.map(|(_, value)| value.clone()).ok_or(status::NOT_FOUND)
    }

    pub fn proxy_replace_header_map_value(
        &self,
        map: Map,
        name: &[u8],
        value: &[u8],
    ) -> Answer<()> {
        let mut state = self.enter("proxy_replace_header_map_value")?;
        let lines = state.writable(map, name, value)?;
        let name = name.to_ascii_lowercase();
        lines.retain(|(known, _)| *known != name);
        lines.push((name, value.to_vec()));
        Ok(())
    }

    pub fn proxy_add_header_map_value(&self, map: Map, name: &[u8], value: &[u8]) -> Answer<()> {
        let mut state = self.enter("proxy_add_header_map_value")?;
        state.writable(map, name, value)?.push((name.to_ascii_lowercase(), value.to_vec()));
        Ok(())
    }

    pub fn proxy_remove_header_map_value(&self, map: Map, name: &[u8]) -> Answer<()> {
        let mut state = self.enter("proxy_remove_header_map_value")?;
        let name = name.to_ascii_lowercase();
        state.writable(map, &name, b"")?.retain(|(known, _)| *known != name);
        Ok(())
    }

    /// A property by its path, whose parts are separated by NUL.
    pub fn proxy_get_property(&self, path: &[u8]) -> Answer<Vec<u8>> {
        let mut state = self.enter("proxy_get_property")?;
        let stream = state.stream().cloned();
        let value = match path {
            b"plugin_name" => Some(state.plugin_name.clone().into_bytes()),
            b"plugin_root_id" => Some(state.root_id.clone().into_bytes()),
            b"source\0address" => stream.and_then(|stream| stream.address),
            b"connection\0id" => stream.map(|stream| stream.connection.to_le_bytes().to_vec()),
            b"connection\0uri_san_peer_certificate" => stream.and_then(|stream| stream.principal),
            b"response\0flags" => stream.map(|stream| stream.flags.to_le_bytes().to_vec()),
            b"response\0code_details" => {
                let details = stream.map(|stream| stream.details.to_owned().into_bytes());
                details.filter(|details| !details.is_empty())
            }
            // What filters leave on the stream has a name of one part.
            name => stream.and_then(|stream| stream.marks.get(name).cloned()),
        };
        value.ok_or(status::NOT_FOUND)
    }

    pub fn proxy_set_property(&self, path: &[u8], value: &[u8]) -> Answer<()> {
        let mut state = self.enter("proxy_set_property")?;
        let stream = state.stream().ok_or(status::BAD_ARGUMENT)?;
        stream.marks.insert(path.to_vec(), value.to_vec());
        Ok(())
    }

    pub fn proxy_define_metric(&self, kind: u32, name: &str) -> Answer<u32> {
        let mut state = self.enter("proxy_define_metric")?;
        let kind = Kind::of(kind).ok_or(status::BAD_ARGUMENT)?;
        Ok(state.metrics.define(kind, name))
    }

    pub fn proxy_increment_metric(&self, id: u32, by: i64) -> Answer<()> {
        self.enter("proxy_increment_metric")?.metrics.increment(id, by)
    }

    pub fn proxy_record_metric(&self, id: u32, value: u64) -> Answer<()> {
        self.enter("proxy_record_metric")?.metrics.record(id, value)
    }

    pub fn proxy_get_metric(&self, id: u32) -> Answer<u64> {
        self.enter("proxy_get_metric")?.metrics.get(id)
    }

    pub fn proxy_get_shared_data(&self, key: &[u8]) -> Answer<(Vec<u8>, u32)> {
        let state = self.enter("proxy_get_shared_data")?;
        if !state.has_shared {
            return Err(12);
        }
        state.shared.get(key).cloned().ok_or(status::NOT_FOUND)
    }

    /// `cas` 0 writes whatever is there; another one holds where the key is missing, or has it.
    pub fn proxy_set_shared_data(&self, key: &[u8], value: &[u8], cas: u32) -> Answer<()> {
        let mut state = self.enter("proxy_set_shared_data")?;
        if !state.has_shared {
            return Err(12);
        }
        let next = state.next_cas;
        match state.shared.get_mut(key) {
            Some((_, known)) if cas != 0 && *known != cas => return Err(status::CAS_MISMATCH),
            Some(entry) => *entry = (value.to_vec(), next),
            None => {
                state.shared.insert(key.to_vec(), (value.to_vec(), next));
            }
        }
        state.next_cas = next.checked_add(1).unwrap_or(1);
        Ok(())
    }

    pub fn proxy_http_call(
        &self,
        cluster: &str,
        headers: Vec<(String, String)>,
        timeout: u64,
    ) -> Answer<u32> {
        let mut state = self.enter("proxy_http_call")?;
        if state.unknown_clusters.iter().any(|unknown| unknown == cluster) {
            return Err(status::BAD_ARGUMENT);
        }
        let token = state.next_token;
        state.next_token += 1;
        let Caller { worker, root, .. } = state.caller;
        let cluster = cluster.to_owned();
        state.calls.push(SentCall { token, worker, root, cluster, headers, timeout });
        Ok(token)
    }
}

impl State {
    pub fn stream(&mut self) -> Option<&mut StreamState> {
        let id = self.caller.stream?;
        self.streams.get_mut(&id)
    }

    /// A header map, if it can be read in this callback.
    fn map(&mut self, map: Map) -> Option<&mut Lines> {
        let phase = self.caller.phase;
        let seen = match map {
            Map::RequestHeaders | Map::RequestTrailers => phase == Phase::Request,
            Map::ResponseHeaders | Map::ResponseTrailers => phase == Phase::Response,
            Map::CallResponseHeaders => {
                return (phase == Phase::Root).then_some(&mut self.call_answer)
            }
        };
        let stream = self.stream().filter(|_| seen)?;
        Some(match map {
            Map::RequestHeaders => &mut stream.request,
            Map::RequestTrailers => &mut stream.request_trailers,
            Map::ResponseHeaders => &mut stream.response,
            Map::ResponseTrailers | Map::CallResponseHeaders => &mut stream.response_trailers,
        })
    }

    /// A header map, if it can be changed in this callback; notes what no header may hold.
    fn writable(&mut self, map: Map, name: &[u8], value: &[u8]) -> Answer<&mut Lines> {
        if value.iter().any(|byte| matches!(byte, b'\r' | b'\n' | 0)) {
            let name = name.escape_ascii();
            self.offences.push(format!("{name}: {}", value.escape_ascii()));
        }
        if self.caller.phase == Phase::End {
            self.offences.push(format!("{} written at the end", name.escape_ascii()));
            return Err(status::BAD_ARGUMENT);
        }
        self.map(map).ok_or(status::BAD_ARGUMENT)
    }
}
