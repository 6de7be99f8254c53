//! The thread that wakes Envoy's main thread for a configuration: a native module has no clock of its own.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::config::Millis;

use super::abi::Waker;

/// How long what was counted waits until Envoy is told.
const TELL: Duration = Duration::from_millis(20);

/// Wakes the main thread for each tick, and while there is something counted that Envoy was not told.
#[derive(Default)]
pub struct Ticker {
    told: Arc<Told>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// What the threads of Envoy tell the ticker's own.
#[derive(Default)]
struct Told {
    now: Mutex<Wishes>,
    changed: Condvar,
    /// Whether something was counted since the main thread came last.
    counted: AtomicBool,
}

#[derive(Default)]
struct Wishes {
    /// When the main thread is to tick next.
    tick: Option<Instant>,
    /// Whether the main thread has not come yet after it was woken last.
    woken: bool,
    stop: bool,
}

impl Told {
    fn now(&self) -> MutexGuard<'_, Wishes> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self, waker: &Waker) {
        let mut wishes = self.now();
        // When Envoy is to be told of what was counted.
        let mut tell: Option<Instant> = None;
        while !wishes.stop {
            let counted = self.counted.load(Ordering::SeqCst);
            tell = counted.then(|| tell.unwrap_or_else(|| Instant::now() + TELL));
            // Until the main thread comes there is nothing to wake it for.
            let next = wishes.tick.into_iter().chain(tell).min().filter(|_| !wishes.woken);
            let left = next.map(|next| next.saturating_duration_since(Instant::now()));
            if left.is_some_and(|left| left.is_zero()) {
                wishes.woken = true;
                waker.wake();
            } else if let Some(left) = left {
                let waited = self.changed.wait_timeout(wishes, left);
                (wishes, _) = waited.unwrap_or_else(PoisonError::into_inner);
            } else {
                wishes = self.changed.wait(wishes).unwrap_or_else(PoisonError::into_inner);
            }
        }
    }
}

impl Wishes {
    fn is_due(&self) -> bool {
        self.tick.is_some_and(|tick| tick <= Instant::now())
    }
}

impl Ticker {
    /// Ticks in `period` milliseconds from now; with 0 not any more.
    pub fn tick_in(&self, period: Millis) {
        let tick = Instant::now().checked_add(Duration::from_millis(period));
        self.told.now().tick = tick.filter(|_| period > 0);
        self.told.changed.notify_one();
    }

    /// Something was counted.
    pub fn counted(&self) {
        let counted = &self.told.counted;
        // The workers share the line that it stands on: most find it as it should be, and write nothing. In one
        // order with the counting itself, so that the main thread either sees the count or is woken again.
        if !counted.load(Ordering::SeqCst) && !counted.swap(true, Ordering::SeqCst) {
            // Not between the ticker's look at it and its sleep.
            drop(self.told.now());
            self.told.changed.notify_one();
        }
    }

    /// The main thread came, and is about to tell what was counted; whether it is to tick, too.
    pub fn came(&self) -> bool {
        self.told.counted.swap(false, Ordering::SeqCst);
        let mut wishes = self.told.now();
        wishes.woken = false;
        self.told.changed.notify_one();
        wishes.is_due()
    }

    pub fn start(&self, waker: Waker) {
        let told = Arc::clone(&self.told);
        let thread = std::thread::Builder::new().name("cohort-tick".into());
        match thread.spawn(move || told.run(&waker)) {
            Ok(thread) => {
                *self.thread.lock().unwrap_or_else(PoisonError::into_inner) = Some(thread);
            }
            Err(error) => log::error!("no thread for the ticks: {error}"),
        }
    }

    /// Ends the thread, and waits for its end.
    pub fn stop(&self) {
        self.told.now().stop = true;
        self.told.changed.notify_one();
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            thread.join().ok();
        }
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.stop();
    }
}
