//! By feature, each with what those before it do:
//!
//! - none: nothing.
//! - `sets`: sets a request header, after which the proxy selects the route anew.
//! - `reads`: reads a request header first.
//! - `counts`: counts the answer by its status and records how long it took.

#[cfg(feature = "counts")]
use std::rc::Rc;

use proxy_wasm::traits::{Context, HttpContext, RootContext};
#[cfg(feature = "sets")]
use proxy_wasm::types::Action;
use proxy_wasm::types::ContextType;
#[cfg(feature = "counts")]
use proxy_wasm::types::MetricType;

/// The handles of what is counted.
#[derive(Clone, Copy, Default)]
#[cfg(feature = "counts")]
struct Metrics {
    requests: u32,
    responses: u32,
    duration: u32,
}

#[derive(Default)]
pub struct Root {
    #[cfg(feature = "counts")]
    metrics: Rc<Metrics>,
}

impl Context for Root {}

impl RootContext for Root {
    #[cfg(feature = "counts")]
    fn on_configure(&mut self, _: usize) -> bool {
        let define = |kind, name| proxy_wasm::hostcalls::define_metric(kind, name).unwrap_or(0);
        self.metrics = Rc::new(Metrics {
            requests: define(MetricType::Counter, "peer_requests_total"),
            responses: define(MetricType::Counter, "peer_responses_total"),
            duration: define(MetricType::Histogram, "peer_request_duration_milliseconds"),
        });
        true
    }

    fn create_http_context(&self, _: u32) -> Option<Box<dyn HttpContext>> {
        Some(Box::new(Stream {
            #[cfg(feature = "counts")]
            metrics: Rc::clone(&self.metrics),
            #[cfg(feature = "counts")]
            began: None,
        }))
    }

    fn get_type(&self) -> Option<ContextType> {
        Some(ContextType::HttpContext)
    }
}

struct Stream {
    #[cfg(feature = "counts")]
    metrics: Rc<Metrics>,
    #[cfg(feature = "counts")]
    began: Option<std::time::SystemTime>,
}

impl Context for Stream {}

impl HttpContext for Stream {
    #[cfg(feature = "sets")]
    fn on_http_request_headers(&mut self, _: usize, _: bool) -> Action {
        #[cfg(feature = "counts")]
        {
            self.began = Some(self.get_current_time());
        }
        #[cfg(feature = "reads")]
        let known = self.get_http_request_header("x-user-id").is_some();
        #[cfg(not(feature = "reads"))]
        let known = true;
        self.set_http_request_header("x-cohort-checkout", known.then_some("stable"));
        Action::Continue
    }

    #[cfg(feature = "counts")]
    fn on_http_response_headers(&mut self, _: usize, _: bool) -> Action {
        if self.get_http_response_header(":status").as_deref() == Some("200") {
            let _ = proxy_wasm::hostcalls::increment_metric(self.metrics.responses, 1);
        }
        Action::Continue
    }

    #[cfg(feature = "counts")]
    fn on_log(&mut self) {
        let took = self.began.and_then(|began| self.get_current_time().duration_since(began).ok());
        let millis = took.map_or(0, |took| took.as_millis() as u64);
        let _ = proxy_wasm::hostcalls::increment_metric(self.metrics.requests, 1);
        let _ = proxy_wasm::hostcalls::record_metric(self.metrics.duration, millis);
    }
}
