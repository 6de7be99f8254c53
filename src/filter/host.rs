//! What the filter asks of a proxy.

use crate::config::Millis;
use crate::engine::Surroundings;
use crate::http::Headers;

/// A metric's handle, good for the life of the worker.
pub type MetricId = u32;

/// The kinds of metrics that a proxy keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetricKind {
    Counter,
    Gauge,
    Histogram,
}

/// What stands under a key of the data that all workers of a proxy share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Shared {
    Missing,
    /// The bytes, and the ticket that a conditional write needs.
    Value(Vec<u8>, u32),
    /// The proxy has no shared data, or not now.
    Unavailable,
}

/// A request without a body to a cluster of the proxy.
#[derive(Clone, Copy)]
pub struct Call<'a> {
    pub cluster: &'a str,
    /// Pseudo-headers included. Some may be secrets.
    pub headers: &'a [(&'a str, &'a str)],
    pub timeout: Millis,
}

/// A proxy, as the filter sees it. No call may panic, whatever the proxy answers: what cannot be had
/// is `None` or nothing.
pub trait Host: Surroundings {
    /// Nanoseconds since the Unix epoch.
    fn now(&self) -> u64;
    /// Nanoseconds on a clock that nobody sets and that never goes back, from a moment that means nothing.
    fn monotonic(&self) -> u64;
    /// A variable of the VM's environment.
    fn environment(&self, name: &str) -> Option<String>;
    /// The name of this plugin's configuration in the proxy.
    fn plugin_name(&self) -> String;
    /// The plugin's root id, by which a proxy may tell plugins of one module apart.
    fn root_id(&self) -> String;
    /// Asks for a tick every `period` milliseconds.
    fn set_tick_period(&self, period: Millis);

    /// The whole header map of the request, pseudo-headers included.
    fn request_headers(&self) -> Headers;
    /// Sets a request header in place of every line of that name.
    fn set_request_header(&self, name: &str, value: &[u8]);
    fn remove_request_header(&self, name: &[u8]);
    fn request_trailers(&self) -> Headers;
    fn remove_request_trailer(&self, name: &[u8]);

    /// Leaves a mark on the stream that other instances of this filter see, and no client.
    fn mark(&self, name: &str);
    /// Whether an instance of this filter has left that mark.
    fn is_marked(&self, name: &str) -> bool;

    /// The whole header map of the response, pseudo-headers included.
    fn response_headers(&self) -> Headers;
    fn remove_response_header(&self, name: &[u8]);
    /// The first line of a response header.
    fn response_header(&self, name: &str) -> Option<Vec<u8>>;
    fn response_trailer(&self, name: &str) -> Option<Vec<u8>>;
    fn set_response_header(&self, name: &str, value: &str);
    fn add_response_header(&self, name: &str, value: &str);
    /// Who answered, or why there was no answer or no end of it, in Envoy's words
    /// (envoy/stream_info/stream_info.h, `ResponseCodeDetailValues`).
    fn response_details(&self) -> Option<Vec<u8>>;

    fn define_metric(&self, kind: MetricKind, name: &str) -> Option<MetricId>;
    fn increment(&self, counter: MetricId, by: u64);
    /// What the proxy shows of a gauge; `None` where it does not say.
    fn gauge(&self, _: MetricId) -> Option<u64> {
        None
    }
    /// Sets a gauge, or records a value in a histogram.
    fn record(&self, metric: MetricId, value: u64);

    fn shared(&self, key: &str) -> Shared;
    /// Writes under a condition, and says whether it held: `Some(ticket)` that nobody wrote since it was
    /// read, `None` that there is nothing yet.
    fn set_shared(&self, key: &str, value: &[u8], ticket: Option<u32>) -> bool;

    /// Whether calls can be sent from here; where not, another worker sends them.
    fn sends_calls(&self) -> bool {
        true
    }
    /// Sends a request; the answer comes with the token. `None` if it cannot be sent.
    fn call(&self, call: Call<'_>) -> Option<u32>;
    /// The body of the answer that is being handed over; `None` where it is longer than `most` bytes.
    fn call_body(&self, most: usize) -> Option<Vec<u8>>;
}
