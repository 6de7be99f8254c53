//! The edge to the proxy: the contexts of the proxy-wasm SDK around the filter, and the filter's [`Host`] on
//! top of the SDK's calls.
//!
//! [`Host`]: crate::filter::Host

mod abi;
mod host;

use proxy_wasm::traits::{Context, HttpContext, RootContext};
use proxy_wasm::types::{Action, ContextType};

use crate::filter::{Plugin, Stream};

use host::Proxy;

proxy_wasm::main! {{
    host::start_logging();
    proxy_wasm::set_root_context(|_| Box::new(Root(Plugin::new())));
}}

/// One configuration of the plugin in one worker.
struct Root(Plugin);

impl Context for Root {
    fn on_http_call_response(&mut self, token: u32, _: usize, _: usize, _: usize) {
        self.0.on_call_response(&Proxy, token, Proxy.call_status());
    }
}

impl RootContext for Root {
    fn on_configure(&mut self, _: usize) -> bool {
        host::follow_log_level();
        self.0.on_configure(&Proxy, &host::plugin_configuration())
    }

    fn on_tick(&mut self) {
        host::follow_log_level();
        self.0.on_tick(&Proxy);
    }

    fn create_http_context(&self, _: u32) -> Option<Box<dyn HttpContext>> {
        Some(Box::new(Http(self.0.stream())))
    }

    fn get_type(&self) -> Option<ContextType> {
        Some(ContextType::HttpContext)
    }
}

impl Drop for Root {
    fn drop(&mut self) {
        self.0.on_delete(&Proxy);
    }
}

/// One HTTP stream.
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

    fn on_http_response_body(&mut self, size: usize, end_of_stream: bool) -> Action {
        self.0.on_response_body(size, end_of_stream);
        Action::Continue
    }

    fn on_http_response_trailers(&mut self, _: usize) -> Action {
        self.0.on_response_trailers(&Proxy);
        Action::Continue
    }
}

/// A stream is counted when the proxy lets go of it and not in `on_log`, which comes just before and over
/// HTTP/3 not at all: what the proxy knows of the stream can still be read.
impl Drop for Http {
    fn drop(&mut self) {
        self.0.on_end(&Proxy);
    }
}
