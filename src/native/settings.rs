//! One configuration of the filter in the process, and the thread that has it tick.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::config::Millis;

use super::abi::{ConfigHandle, Waker};
use super::metrics::Defined;

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

/// Wakes the main thread again and again, until it is dropped.
#[derive(Default)]
pub struct Ticker {
    told: Arc<(Mutex<Told>, Condvar)>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Default)]
struct Told {
    period: Millis,
    /// Whether the main thread has not come yet after it was woken last.
    woken: bool,
    stop: bool,
}

impl Ticker {
    /// Ticks every `period` milliseconds from now on.
    pub fn set_period(&self, period: Millis) {
        let (told, changed) = &*self.told;
        told.lock().unwrap_or_else(PoisonError::into_inner).period = period;
        changed.notify_one();
    }

    /// The main thread came.
    pub fn came(&self) {
        self.told.0.lock().unwrap_or_else(PoisonError::into_inner).woken = false;
    }

    pub fn start(&self, waker: Waker) {
        let told = Arc::clone(&self.told);
        let thread = std::thread::Builder::new().name("cohort-tick".into()).spawn(move || {
            let (told, changed) = &*told;
            let mut now = told.lock().unwrap_or_else(PoisonError::into_inner);
            while !now.stop {
                // A period of 0 is none: then only a change wakes this thread.
                let period = if now.period == 0 { Millis::from(u32::MAX) } else { now.period };
                let wait = changed.wait_timeout(now, Duration::from_millis(period));
                let (next, timeout) = wait.unwrap_or_else(PoisonError::into_inner);
                now = next;
                if timeout.timed_out() && !now.stop && !now.woken && now.period != 0 {
                    now.woken = true;
                    waker.wake();
                }
            }
        });
        match thread {
            Ok(thread) => {
                *self.thread.lock().unwrap_or_else(PoisonError::into_inner) = Some(thread);
            }
            Err(error) => log::error!("no thread for the ticks: {error}"),
        }
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Ticker {
    /// Ends the thread, and waits for its end.
    pub fn stop(&self) {
        let (told, changed) = &*self.told;
        told.lock().unwrap_or_else(PoisonError::into_inner).stop = true;
        changed.notify_one();
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            thread.join().ok();
        }
    }
}
