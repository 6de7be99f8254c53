//! One configuration of the plugin in one worker: loading it, keeping it alive, ticking.

use std::cell::RefCell;
use std::rc::Rc;

use crate::config::{Config, Millis};
use crate::engine::Plan;

use super::host::Shared;
use super::loaded::LoadedConfig;
use super::tick::{self, Poll};
use super::{series, Host, Stream};

/// How long after its last sign of life a good configuration still counts as running: a bad one that
/// comes within this time is an update, and is refused.
const ALIVE: Millis = 10_000;

/// How long a configuration that a newer one replaced goes on watching without a new stream.
const LINGER: Millis = 5_000;

/// The tick where a guard or a health check watches, or gauges are still to be made: a trip reaches
/// every worker within two of them.
const BUSY_TICK: Millis = 250;

/// The most health checks that are waited for.
const POLLS: usize = 10_000;

/// The tick otherwise.
const IDLE_TICK: Millis = 1_000;

thread_local! {
    /// The newest configuration of each plugin in this worker.
    static NEWEST: RefCell<Vec<(String, Rc<LoadedConfig>)>> = const { RefCell::new(Vec::new()) };
}

/// One configuration of the plugin in one worker.
#[derive(Debug, Default)]
pub struct Plugin {
    loaded: Rc<LoadedConfig>,
    identity: String,
    /// Health checks that are under way and the proxy's token for each, oldest first.
    polls: RefCell<Vec<(u32, Poll)>>,
}

impl Plugin {
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes a configuration, and says whether it is accepted. Problems go to the log at error level,
    /// one a line, as `cohort validate` prints them.
    ///
    /// A bad configuration is refused where a good one is running, which then goes on. Where none is,
    /// the filter starts with no rollouts, unless `COHORT_STRICT_START` is `1`: refusing the first
    /// configuration makes the proxy fail every request.
    pub fn on_configure(&mut self, host: &impl Host, bytes: &[u8]) -> bool {
        self.identity = host.identity();
        let invalid = series::config_invalid(host);
        let say_invalid = |is: bool| {
            if let Some(id) = invalid {
                host.record(id, u64::from(is));
            }
        };
        match Config::from_bytes(bytes) {
            Ok(config) => {
                self.load(host, config);
                say_invalid(false);
                true
            }
            Err(problems) => {
                for problem in &problems {
                    log::error!("{problem}");
                }
                // A proxy asks a throw-away VM first and remembers its answer by the bytes: what once was
                // accepted as a first configuration is not asked about again, and to refuse it here, on
                // a worker, would kill the filter there. So the last good one goes on in its own VM.
                if let Some(newest) = self.newest() {
                    log::error!("the configuration is not taken; the last good one stays");
                    self.loaded = newest;
                    self.beat(host, host.now() / 1_000_000);
                    self.keep_ticking(host);
                    return true;
                }
                if self.is_update(host) {
                    log::error!("the configuration is refused; the last good one stays");
                    return false;
                }
                if host.environment("COHORT_STRICT_START").as_deref() == Some("1") {
                    log::error!("the configuration is refused (COHORT_STRICT_START=1)");
                    return false;
                }
                log::error!(
                    "started without rollouts: every request goes by the route table's default"
                );
                self.loaded = Rc::new(LoadedConfig::invalid());
                say_invalid(true);
                true
            }
        }
    }

    /// Watches, polls, and tells other workers that this configuration is alive.
    pub fn on_tick(&self, host: &impl Host) {
        let now = host.now() / 1_000_000;
        if self.loaded.invalid || self.is_replaced(now) {
            return;
        }
        self.beat(host, now);
        let published = self.loaded.is_published();
        let polls = tick::tick(host, &self.loaded, now);
        let mut under_way = self.polls.borrow_mut();
        under_way.extend(polls);
        // A proxy that never answers must not fill the memory.
        let too_many = under_way.len().saturating_sub(POLLS);
        under_way.drain(..too_many);
        if !published {
            self.keep_ticking(host);
        }
    }

    /// Takes the answer to a health check; `status` is its HTTP status.
    pub fn on_call_response(&self, host: &impl Host, token: u32, status: Option<u16>) {
        let Some(poll) = self.take_poll(token) else { return };
        let now = host.now() / 1_000_000;
        tick::answered(host, &self.loaded, poll, status, now);
    }

    /// Stops the ticks: a proxy forgets the configuration, but would go on waking up for it as long as the
    /// VM lives.
    pub fn on_delete(&self, host: &impl Host) {
        host.set_tick_period(0);
    }

    fn take_poll(&self, token: u32) -> Option<Poll> {
        let mut under_way = self.polls.borrow_mut();
        let at = under_way.iter().position(|(other, _)| *other == token)?;
        Some(under_way.remove(at).1)
    }

    /// A new stream under this configuration.
    pub fn stream(&self) -> Stream {
        Stream::new(Rc::clone(&self.loaded))
    }

    fn load(&mut self, host: &impl Host, config: Config) {
        let now = host.now() / 1_000_000;
        let before = self.newest();
        let loaded =
            Rc::new(LoadedConfig::new(Plan::new(config), &self.identity, before.as_deref()));
        if let Some(before) = before {
            tick::take_over(host, &loaded, &before, now);
        }
        NEWEST.with_borrow_mut(|newest| {
            newest.retain(|(identity, _)| *identity != self.identity);
            newest.push((self.identity.clone(), Rc::clone(&loaded)));
        });
        tick::start(host, &loaded, now);
        self.loaded = loaded;
        self.beat(host, now);
        self.keep_ticking(host);
        match self.loaded.plan.rollouts().len() {
            1 => log::info!("1 rollout is in force"),
            several => log::info!("{several} rollouts are in force"),
        }
    }

    fn keep_ticking(&self, host: &impl Host) {
        let busy = !self.loaded.is_published() || self.loaded.is_watching();
        host.set_tick_period(if busy { BUSY_TICK } else { IDLE_TICK });
    }

    /// The last good configuration that this VM has had for this plugin.
    fn newest(&self) -> Option<Rc<LoadedConfig>> {
        NEWEST.with_borrow(|newest| {
            let mut newest = newest.iter();
            newest.find(|(identity, _)| *identity == self.identity).map(|(_, it)| Rc::clone(it))
        })
    }

    /// Whether a newer configuration took this one's place and no stream begins here any more. The
    /// proxy lets an old one tick until its last stream has ended; what is counted from then on may be
    /// the newer one's.
    fn is_replaced(&self, now: Millis) -> bool {
        let last = self.loaded.last_stream.get();
        let replaced = self.loaded.replaced.get();
        replaced.is_some_and(|since| last <= since || now.saturating_sub(last) > LINGER)
    }

    fn alive_key(&self) -> String {
        format!("cohort/{}/alive", self.identity)
    }

    /// Leaves a sign of life in the data that outlives VMs and configurations.
    fn beat(&self, host: &impl Host, now: Millis) {
        let key = self.alive_key();
        let ticket = match host.shared(&key) {
            Shared::Value(_, ticket) => Some(ticket),
            Shared::Missing => None,
            Shared::Unavailable => return,
        };
        // Whoever writes at the same time writes the same.
        host.set_shared(&key, &now.to_le_bytes(), ticket);
    }

    /// Whether a good configuration of this plugin is running.
    fn is_update(&self, host: &impl Host) -> bool {
        let Shared::Value(bytes, _) = host.shared(&self.alive_key()) else { return false };
        let Ok(bytes) = bytes.as_slice().try_into() else { return false };
        let now = host.now() / 1_000_000;
        now.abs_diff(Millis::from_le_bytes(bytes)) <= ALIVE
    }
}
