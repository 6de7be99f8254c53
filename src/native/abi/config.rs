//! A configuration of the filter on Envoy's main thread: metrics, calls, and what wakes it.

use super::{change, labels, Config, Header, ModuleBuffer, Scheduler, CALLBACKS};

/// A kind of metric.
#[derive(Clone, Copy)]
pub enum Kind {
    Counter,
    Gauge,
    Histogram,
}

/// A configuration of the filter, on Envoy's main thread.
#[derive(Clone, Copy)]
pub struct ConfigHandle(Config);

// SAFETY: Envoy keeps the configuration until it calls the hook that ends ours, and the calls are made on its main
// thread, or on one that the main thread waits for.
unsafe impl Send for ConfigHandle {}
// SAFETY: as above.
unsafe impl Sync for ConfigHandle {}

impl ConfigHandle {
    /// # Safety
    /// `config` is what Envoy handed to the hook that makes the configuration.
    pub unsafe fn new(config: Config) -> Self {
        Self(config)
    }

    /// That of no Envoy: without callbacks nothing is done with it.
    #[cfg(test)]
    pub fn nobody() -> Self {
        Self(std::ptr::null_mut())
    }

    /// Defines a metric by its name and the names of its labels. Only while the configuration is made.
    pub fn define(self, kind: Kind, name: &str, label_names: &[&str]) -> Option<usize> {
        let callbacks = CALLBACKS.get()?;
        let define = match kind {
            Kind::Counter => callbacks.http_filter_config_define_counter,
            Kind::Gauge => callbacks.http_filter_config_define_gauge,
            Kind::Histogram => callbacks.http_filter_config_define_histogram,
        };
        let (mut id, mut labels) = (0, labels(label_names));
        let name = ModuleBuffer::of(name.as_bytes());
        // SAFETY: the configuration is alive, the names are live strings, and so is the place for the id.
        let result = unsafe { define(self.0, name, labels.as_mut_ptr(), labels.len(), &mut id) };
        (result == 0).then_some(id)
    }

    pub fn increment(self, id: usize, values: &[&str], by: u64) {
        // SAFETY: the configuration is alive.
        unsafe {
            change(
                self.0,
                |callbacks| callbacks.http_filter_config_increment_counter,
                id,
                values,
                by,
            )
        };
    }

    pub fn set_gauge(self, id: usize, values: &[&str], value: u64) {
        // SAFETY: the configuration is alive.
        unsafe {
            change(self.0, |callbacks| callbacks.http_filter_config_set_gauge, id, values, value)
        };
    }

    /// Sends a request without a body to a cluster, and answers with its number; `timeout` is in milliseconds.
    pub fn call(self, cluster: &str, headers: &[(&str, &str)], timeout: u64) -> Option<u64> {
        let callbacks = CALLBACKS.get()?;
        let mut lines: Vec<Header> = headers
            .iter()
            .map(|(name, value)| Header {
                name: name.as_ptr(),
                name_length: name.len(),
                value: value.as_ptr(),
                value_length: value.len(),
            })
            .collect();
        let (mut id, cluster) = (0, ModuleBuffer::of(cluster.as_bytes()));
        // SAFETY: the configuration is alive, the buffers are those of live strings, and so is the place for the id.
        let result = unsafe {
            (callbacks.http_filter_config_http_callout)(
                self.0,
                &mut id,
                cluster,
                lines.as_mut_ptr(),
                lines.len(),
                ModuleBuffer::of(&[]),
                timeout,
            )
        };
        (result == 0).then_some(id)
    }

    /// What wakes the main thread for this configuration. Made on the main thread.
    pub fn waker(self) -> Option<Waker> {
        let callbacks = CALLBACKS.get()?;
        // SAFETY: the configuration is alive.
        let scheduler = unsafe { (callbacks.http_filter_config_scheduler_new)(self.0) };
        (!scheduler.is_null()).then_some(Waker(scheduler))
    }
}

/// Has Envoy call the hook `config_scheduled` on its main thread. It may outlive the configuration.
pub struct Waker(Scheduler);

// SAFETY: Envoy takes calls of a scheduler from any thread.
unsafe impl Send for Waker {}

impl Waker {
    pub fn wake(&self) {
        if let Some(callbacks) = CALLBACKS.get() {
            // SAFETY: the scheduler is ours until it is dropped.
            unsafe { (callbacks.http_filter_config_scheduler_commit)(self.0, 0) };
        }
    }
}

impl Drop for Waker {
    fn drop(&mut self) {
        if let Some(callbacks) = CALLBACKS.get() {
            // SAFETY: nobody uses the scheduler after this.
            unsafe { (callbacks.http_filter_config_scheduler_delete)(self.0) };
        }
    }
}
