//! A proxy that carries one request, and remembers what the filter did to it.

use std::cell::RefCell;
use std::net::IpAddr;

use crate::config::Millis;
use crate::engine::Surroundings;
use crate::filter::{Call, Host, MetricId, MetricKind, Shared};
use crate::http::Headers;

/// What stands for the random bits of an anonymous id, so that the same command prints the same.
const EXAMPLE_ID: [u8; 16] = *b"an-example-only!";

/// The anonymous id that [`EXAMPLE_ID`] becomes.
pub fn example_id() -> String {
    EXAMPLE_ID.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What the filter did to a request or its answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    Set(String, String),
    Remove(String),
    /// On the response, in place of what the upstream sent.
    Answer(String, String),
    /// On the response, beside what the upstream sent.
    AnswerAlso(String, String),
}

/// A proxy with one request.
#[derive(Debug)]
pub struct Proxy {
    pub request: Headers,
    pub address: Option<IpAddr>,
    /// The SPIFFE id of the peer.
    pub principal: Option<String>,
    pub now: Millis,
    pub changes: RefCell<Vec<Change>>,
}

impl Proxy {
    fn note(&self, change: Change) {
        self.changes.borrow_mut().push(change);
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

impl Surroundings for Proxy {
    fn client_address(&self) -> Option<IpAddr> {
        self.address
    }

    fn peer_principal(&self) -> Option<Vec<u8>> {
        self.principal.clone().map(String::into_bytes)
    }

    fn random(&self) -> Option<[u8; 16]> {
        Some(EXAMPLE_ID)
    }
}

impl Host for Proxy {
    fn now(&self) -> u64 {
        self.now.saturating_mul(1_000_000)
    }

    fn monotonic(&self) -> u64 {
        0
    }

    fn environment(&self, _: &str) -> Option<String> {
        None
    }

    fn plugin_name(&self) -> String {
        "explain".into()
    }

    fn root_id(&self) -> String {
        String::new()
    }

    fn set_tick_period(&self, _: Millis) {}

    fn request_headers(&self) -> Headers {
        self.request.clone()
    }

    fn set_request_header(&self, name: &str, value: &[u8]) {
        self.note(Change::Set(name.into(), text(value)));
    }

    fn remove_request_header(&self, name: &[u8]) {
        self.note(Change::Remove(text(name)));
    }

    fn request_trailers(&self) -> Headers {
        Headers::default()
    }

    fn remove_request_trailer(&self, _: &[u8]) {}

    fn mark(&self, _: &str) {}

    fn is_marked(&self, _: &str) -> bool {
        false
    }

    fn response_headers(&self) -> Headers {
        [(":status", "200")].into_iter().collect()
    }

    fn remove_response_header(&self, _: &[u8]) {}

    fn response_header(&self, name: &str) -> Option<Vec<u8>> {
        (name == ":status").then(|| b"200".to_vec())
    }

    fn response_trailer(&self, _: &str) -> Option<Vec<u8>> {
        None
    }

    fn set_response_header(&self, name: &str, value: &str) {
        self.note(Change::Answer(name.into(), value.into()));
    }

    fn add_response_header(&self, name: &str, value: &str) {
        self.note(Change::AnswerAlso(name.into(), value.into()));
    }

    fn response_details(&self) -> Option<Vec<u8>> {
        None
    }

    fn define_metric(&self, _: MetricKind, _: &str) -> Option<MetricId> {
        None
    }

    fn increment(&self, _: MetricId, _: u64) {}

    fn record(&self, _: MetricId, _: u64) {}

    fn shared(&self, _: &str) -> Shared {
        Shared::Unavailable
    }

    fn set_shared(&self, _: &str, _: &[u8], _: Option<u32>) -> bool {
        false
    }

    fn call(&self, _: Call<'_>) -> Option<u32> {
        None
    }

    fn call_body(&self, _: usize) -> Option<Vec<u8>> {
        None
    }
}
