//! Makes one call to the proxy a hundred times for each request: which, its configuration says.

use proxy_wasm::hostcalls;
use proxy_wasm::traits::{Context, HttpContext, RootContext};
use proxy_wasm::types::{Action, ContextType, MapType, MetricType};

const TIMES: usize = 100;

/// One call; it gets the metric that a call may count with.
type Act = fn(u32);

#[derive(Clone, Copy, Default)]
pub struct Root {
    act: Option<Act>,
    counter: u32,
}

/// The calls by their names; what each gives back is dropped.
const CALLS: [(&str, Act); 7] = [
    ("nothing", |_| ()),
    ("absent", |_| drop(hostcalls::get_map_value_bytes(MapType::HttpRequestHeaders, "x-nobody"))),
    ("header", |_| drop(hostcalls::get_map_value_bytes(MapType::HttpRequestHeaders, "x-user-id"))),
    ("map", |_| read_map()),
    ("property", |_| drop(hostcalls::get_property(vec!["request", "protocol"]))),
    ("clock", |_| hostcalls::get_current_time().map_or((), |_| ())),
    ("count", |metric| hostcalls::increment_metric(metric, 1).unwrap_or(())),
];

extern "C" {
    fn proxy_get_header_map_pairs(map: u32, data: *mut *mut u8, size: *mut usize) -> u32;
}

/// Has the request's header map handed over. The SDK would make two allocations of every header of it.
fn read_map() {
    let (mut data, mut size) = (std::ptr::null_mut(), 0);
    // SAFETY: the pointers are those of live variables; what the proxy fills it had from the SDK's allocator,
    // which hands out a vector of that size.
    unsafe {
        if proxy_get_header_map_pairs(0, &mut data, &mut size) == 0 && !data.is_null() {
            drop(Vec::from_raw_parts(data, size, size));
        }
    }
}

impl Context for Root {}

impl RootContext for Root {
    fn on_configure(&mut self, _: usize) -> bool {
        let name = self.get_plugin_configuration().unwrap_or_default();
        self.act = CALLS.iter().find(|(known, _)| known.as_bytes() == name).map(|(_, act)| *act);
        self.counter = hostcalls::define_metric(MetricType::Counter, "peer_calls").unwrap_or(0);
        self.act.is_some()
    }

    fn create_http_context(&self, _: u32) -> Option<Box<dyn HttpContext>> {
        Some(Box::new(*self))
    }

    fn get_type(&self) -> Option<ContextType> {
        Some(ContextType::HttpContext)
    }
}

impl HttpContext for Root {
    fn on_http_request_headers(&mut self, _: usize, _: bool) -> Action {
        if let Some(act) = self.act {
            (0..TIMES).for_each(|_| act(self.counter));
        }
        Action::Continue
    }
}
