//! The edge to the proxy: proxy-wasm's callbacks to the filter, the filter's [`Host`] to proxy-wasm.

mod abi;
mod host;

use std::cell::RefCell;

use proxy_wasm::traits::{Context, HttpContext, RootContext};
use proxy_wasm::types::{Action, ContextType};

use crate::filter::{Plugin, Stream};

use host::Proxy;

/// The proxy's first call into a new VM.
#[allow(unsafe_code, reason = "an exported name")]
#[no_mangle]
pub extern "C" fn _initialize() {
    host::start_logging();
    proxy_wasm::set_root_context(|_| Box::new(Root(RefCell::new(Plugin::new()))));
}

struct Root(RefCell<Plugin>);

impl Context for Root {
    fn on_http_call_response(&mut self, token: u32, _: usize, _: usize, _: usize) {
        let status = Proxy.call_status();
        self.0.borrow().on_call_response(&Proxy, token, status);
    }
}

impl RootContext for Root {
    fn on_configure(&mut self, _: usize) -> bool {
        self.0.borrow_mut().on_configure(&Proxy, &abi::plugin_configuration())
    }

    fn on_tick(&mut self) {
        self.0.borrow().on_tick(&Proxy);
    }

    fn create_http_context(&self, _: u32) -> Option<Box<dyn HttpContext>> {
        Some(Box::new(Http(self.0.borrow().stream())))
    }

    fn get_type(&self) -> Option<ContextType> {
        Some(ContextType::HttpContext)
    }
}

struct Http(Stream);

impl Context for Http {}

impl HttpContext for Http {
    fn on_http_request_headers(&mut self, _: usize, _: bool) -> Action {
        self.0.on_request_headers(&Proxy);
        Action::Continue
    }

    fn on_http_request_trailers(&mut self, _: usize) -> Action {
        self.0.on_request_trailers(&Proxy);
        Action::Continue
    }

    fn on_http_response_headers(&mut self, _: usize, end_of_stream: bool) -> Action {
        self.0.on_response_headers(&Proxy, end_of_stream);
        Action::Continue
    }

    fn on_http_response_body(&mut self, _: usize, end_of_stream: bool) -> Action {
        self.0.on_response_body(end_of_stream);
        Action::Continue
    }

    fn on_http_response_trailers(&mut self, _: usize) -> Action {
        self.0.on_response_trailers(&Proxy);
        Action::Continue
    }

    fn on_log(&mut self) {
        self.0.on_log(&Proxy);
    }
}
