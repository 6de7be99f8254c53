//! What any proxy-wasm filter costs: one that does nothing, and with the feature `one-header` one that
//! sets a request header, after which the proxy selects the route anew.

use proxy_wasm::traits::{Context, HttpContext, RootContext};
#[cfg(feature = "one-header")]
use proxy_wasm::types::Action;
use proxy_wasm::types::ContextType;

proxy_wasm::main! {{
    proxy_wasm::set_root_context(|_| Box::new(Root));
}}

struct Root;

impl Context for Root {}

impl RootContext for Root {
    fn create_http_context(&self, _: u32) -> Option<Box<dyn HttpContext>> {
        Some(Box::new(Stream))
    }

    fn get_type(&self) -> Option<ContextType> {
        Some(ContextType::HttpContext)
    }
}

struct Stream;

impl Context for Stream {}

impl HttpContext for Stream {
    #[cfg(feature = "one-header")]
    fn on_http_request_headers(&mut self, _: usize, _: bool) -> Action {
        self.set_http_request_header("x-cohort-checkout", Some("stable"));
        Action::Continue
    }
}
