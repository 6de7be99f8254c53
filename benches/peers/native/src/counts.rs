//! Two counters and a histogram for each request, with the labels that Cohort's have.

use std::sync::OnceLock;
use std::time::Instant;

use crate::headers::header;
use crate::{Buffer, Pointer};

const RESPONSE_HEADERS: u32 = 2;

type Define = unsafe extern "C" fn(Pointer, Buffer, *const Buffer, usize, *mut usize) -> u32;
type Change = unsafe extern "C" fn(Pointer, usize, *const Buffer, usize, u64) -> u32;

#[rustfmt::skip]
extern "C" {
    fn envoy_dynamic_module_callback_http_filter_config_define_counter(
        config: Pointer, name: Buffer, labels: *const Buffer, count: usize, id: *mut usize,
    ) -> u32;
    fn envoy_dynamic_module_callback_http_filter_config_define_histogram(
        config: Pointer, name: Buffer, labels: *const Buffer, count: usize, id: *mut usize,
    ) -> u32;
    fn envoy_dynamic_module_callback_http_filter_increment_counter(
        stream: Pointer, id: usize, values: *const Buffer, count: usize, by: u64,
    ) -> u32;
    fn envoy_dynamic_module_callback_http_filter_record_histogram_value(
        stream: Pointer, id: usize, values: *const Buffer, count: usize, value: u64,
    ) -> u32;
}

struct Metrics {
    requests: usize,
    responses: usize,
    duration: usize,
}

static METRICS: OnceLock<Metrics> = OnceLock::new();

/// Defines a metric by its name and the names of its labels.
fn metric<const N: usize>(
    config: Pointer,
    define: Define,
    name: &'static str,
    labels: [&'static str; N],
) -> Option<usize> {
    let (labels, mut id) = (labels.map(Buffer::of), 0);
    // SAFETY: the configuration is being made, and every other pointer is that of something alive.
    let result = unsafe { define(config, Buffer::of(name), labels.as_ptr(), N, &mut id) };
    (result == 0).then_some(id)
}

/// Adds to a counter, or records in a histogram.
///
/// # Safety
/// `stream` is what Envoy handed to the hook that runs.
unsafe fn change<const N: usize>(
    stream: Pointer,
    callback: Change,
    id: usize,
    values: [&'static str; N],
    value: u64,
) {
    let values = values.map(Buffer::of);
    callback(stream, id, values.as_ptr(), N, value);
}

/// Defines the metrics, and answers with a configuration.
pub fn define(config: Pointer) -> Pointer {
    let counter: Define = envoy_dynamic_module_callback_http_filter_config_define_counter;
    let histogram: Define = envoy_dynamic_module_callback_http_filter_config_define_histogram;
    let requests =
        metric(config, counter, "peer_requests_total", ["plugin", "rollout", "version", "reason"]);
    let responses = metric(
        config,
        counter,
        "peer_responses_total",
        ["plugin", "rollout", "version", "code_class", "source"],
    );
    let duration = metric(
        config,
        histogram,
        "peer_request_duration_milliseconds",
        ["plugin", "rollout", "version"],
    );
    let defined = requests.zip(responses).zip(duration);
    let Some(((requests, responses), duration)) = defined else { return std::ptr::null_mut() };
    METRICS.get_or_init(|| Metrics { requests, responses, duration });
    Box::into_raw(Box::new(0_u8)).cast()
}

/// # Safety
/// `stream` is what Envoy handed to the hook that runs.
pub unsafe fn response(stream: Pointer) {
    let Some(metrics) = METRICS.get() else { return };
    if header(stream, RESPONSE_HEADERS, ":status") == Some(b"200") {
        let values = ["cohort", "checkout", "stable", "2xx", "upstream"];
        let add = envoy_dynamic_module_callback_http_filter_increment_counter;
        change(stream, add, metrics.responses, values, 1);
    }
}

/// # Safety
/// `stream` is what Envoy handed to the hook that runs.
pub unsafe fn end(stream: Pointer, began: Option<Instant>) {
    let Some(metrics) = METRICS.get() else { return };
    let millis = began.map_or(0, |began| began.elapsed().as_millis() as u64);
    let [plugin, rollout, version] = ["cohort", "checkout", "stable"];
    let add = envoy_dynamic_module_callback_http_filter_increment_counter;
    change(stream, add, metrics.requests, [plugin, rollout, version, "HASH"], 1);
    let record = envoy_dynamic_module_callback_http_filter_record_histogram_value;
    change(stream, record, metrics.duration, [plugin, rollout, version], millis);
}
