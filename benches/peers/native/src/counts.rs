//! Two counters and a histogram for each request, with the labels that Cohort's have.

use std::sync::OnceLock;
use std::time::Instant;

use crate::{Buffer, Pointer};

const RESPONSE_HEADERS: u32 = 2;

extern "C" {
    fn envoy_dynamic_module_callback_http_get_header(
        stream: Pointer,
        map: u32,
        name: Buffer,
        value: *mut Buffer,
        index: usize,
        count: *mut usize,
    ) -> bool;
    fn envoy_dynamic_module_callback_http_filter_config_define_counter(
        config: Pointer,
        name: Buffer,
        labels: *const Buffer,
        count: usize,
        id: *mut usize,
    ) -> u32;
    fn envoy_dynamic_module_callback_http_filter_config_define_histogram(
        config: Pointer,
        name: Buffer,
        labels: *const Buffer,
        count: usize,
        id: *mut usize,
    ) -> u32;
    fn envoy_dynamic_module_callback_http_filter_increment_counter(
        stream: Pointer,
        id: usize,
        values: *const Buffer,
        count: usize,
        by: u64,
    ) -> u32;
    fn envoy_dynamic_module_callback_http_filter_record_histogram_value(
        stream: Pointer,
        id: usize,
        values: *const Buffer,
        count: usize,
        value: u64,
    ) -> u32;
}

struct Metrics {
    requests: usize,
    responses: usize,
    duration: usize,
}

static METRICS: OnceLock<Metrics> = OnceLock::new();

fn buffers<const N: usize>(texts: [&'static str; N]) -> [Buffer; N] {
    texts.map(Buffer::of)
}

/// Defines the metrics, and answers with a configuration.
pub fn define(config: Pointer) -> Pointer {
    let id = |result: u32, id: usize| (result == 0).then_some(id);
    let counter = |name, labels: &[Buffer]| {
        let mut new = 0;
        // SAFETY: the configuration is being made, and every other pointer is that of something alive.
        let result = unsafe {
            envoy_dynamic_module_callback_http_filter_config_define_counter(
                config,
                Buffer::of(name),
                labels.as_ptr(),
                labels.len(),
                &mut new,
            )
        };
        id(result, new)
    };
    let histogram = |name, labels: &[Buffer]| {
        let mut new = 0;
        // SAFETY: as above.
        let result = unsafe {
            envoy_dynamic_module_callback_http_filter_config_define_histogram(
                config,
                Buffer::of(name),
                labels.as_ptr(),
                labels.len(),
                &mut new,
            )
        };
        id(result, new)
    };
    let requests = counter("peer_requests_total", &buffers(["plugin", "rollout", "version", "reason"]));
    let responses = counter(
        "peer_responses_total",
        &buffers(["plugin", "rollout", "version", "code_class", "source"]),
    );
    let duration =
        histogram("peer_request_duration_milliseconds", &buffers(["plugin", "rollout", "version"]));
    let defined = requests.zip(responses).zip(duration);
    let Some(((requests, responses), duration)) = defined else { return std::ptr::null_mut() };
    METRICS.get_or_init(|| Metrics { requests, responses, duration });
    Box::into_raw(Box::new(0_u8)).cast()
}

/// # Safety
/// `stream` is what Envoy handed to the hook that runs.
pub unsafe fn response(stream: Pointer) {
    let Some(metrics) = METRICS.get() else { return };
    let mut value = Buffer { ptr: std::ptr::null(), length: 0 };
    let found = envoy_dynamic_module_callback_http_get_header(
        stream,
        RESPONSE_HEADERS,
        Buffer::of(":status"),
        &mut value,
        0,
        std::ptr::null_mut(),
    );
    if found && std::slice::from_raw_parts(value.ptr, value.length) == b"200" {
        let values = buffers(["cohort", "checkout", "stable", "2xx", "upstream"]);
        envoy_dynamic_module_callback_http_filter_increment_counter(
            stream,
            metrics.responses,
            values.as_ptr(),
            values.len(),
            1,
        );
    }
}

/// # Safety
/// `stream` is what Envoy handed to the hook that runs.
pub unsafe fn end(stream: Pointer, began: Option<Instant>) {
    let Some(metrics) = METRICS.get() else { return };
    let millis = began.map_or(0, |began| began.elapsed().as_millis() as u64);
    let values = buffers(["cohort", "checkout", "stable", "HASH"]);
    envoy_dynamic_module_callback_http_filter_increment_counter(
        stream,
        metrics.requests,
        values.as_ptr(),
        values.len(),
        1,
    );
    envoy_dynamic_module_callback_http_filter_record_histogram_value(
        stream,
        metrics.duration,
        values.as_ptr(),
        3,
        millis,
    );
}
