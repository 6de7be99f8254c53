//! One configuration of the filter in the process.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::abi::ConfigHandle;
use super::metrics::Defined;
use super::ticker::Ticker;

/// A configuration that Envoy made, shared by all threads.
pub struct Settings {
    /// Counts up over the process.
    pub number: u64,
    /// The filter's name in Envoy's configuration (`filter_name`).
    pub name: String,
    pub bytes: Vec<u8>,
    pub handle: ConfigHandle,
    pub metrics: Defined,
    pub ticker: Ticker,
    /// Whether Envoy let go of it: threads then drop what they have of it.
    pub ended: AtomicBool,
}

impl Settings {
    pub fn new(handle: ConfigHandle, name: String, bytes: Vec<u8>) -> Self {
        static NUMBERS: AtomicU64 = AtomicU64::new(1);
        Self {
            number: NUMBERS.fetch_add(1, Ordering::Relaxed),
            name,
            bytes,
            handle,
            metrics: Defined::new(handle),
            ticker: Ticker::default(),
            ended: AtomicBool::new(false),
        }
    }
}
