//! One configuration of the plugin in one worker: loading it, keeping it alive, ticking.

use std::cell::{OnceCell, RefCell};
use std::rc::Rc;

use crate::config::{Config, Millis};
use crate::engine::Plan;
use crate::hash::fingerprint;

use super::gauge::Gauge;
use super::host::Shared;
use super::loaded::LoadedConfig;
use super::tick::{self, Poll};
use super::{metrics, neighbours, registry, Host, Identity, Stream};

/// How long after its last sign of life a good configuration still counts as running: a bad one that
/// comes within this time is an update, and is refused. A bad one that every worker is asked about within
/// this time is counted once.
const ALIVE: Millis = 10_000;

/// How long a configuration that another one replaced goes on watching without a new stream.
const LINGER: Millis = 5_000;

/// The first tick, at which a configuration is known to be in force: a proxy's throw-away VM has none,
/// and a configuration that the proxy refuses after all is gone before.
const FIRST_TICK: Millis = 50;

/// The tick where a guard or a health check watches, or gauges are still to be made: a trip reaches
/// every worker within two of them.
const BUSY_TICK: Millis = crate::engine::guard::TICK;

/// The tick otherwise.
const IDLE_TICK: Millis = 1_000;

/// The most calls that are waited for.
const POLLS: usize = 10_000;

/// One configuration of the plugin in one worker.
#[derive(Debug, Default)]
pub struct Plugin {
    loaded: Rc<LoadedConfig>,
    identity: Identity,
    /// The gauge of whether the plugin runs without a valid configuration, made with its first value.
    config_invalid: OnceCell<Option<Gauge>>,
    /// Calls that are under way and the proxy's token for each, oldest first.
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
        self.identity = Identity::of(host);
        neighbours::note(&self.identity);
        let now = millis(host);
        match Config::from_bytes(bytes) {
            Ok(config) => {
                self.load(host, config, fingerprint(bytes), now);
                true
            }
            Err(problems) => {
                for problem in &problems {
                    log::error!("{problem}");
                }
                self.count_rejected(host, fingerprint(bytes), now);
                // A proxy asks a throw-away VM first and remembers its answer by the bytes: what once was
                // accepted as a first configuration is not asked about again, and to refuse it here, on
                // a worker, would kill the filter there. So the last good one goes on in its own VM.
                if let Some(newest) = registry::newest(&self.identity) {
                    log::error!("the configuration is not taken; the last good one stays");
                    self.hold(newest);
                    self.beat(host, now);
                    host.set_tick_period(FIRST_TICK);
                    return true;
                }
                if self.is_update(host, now) {
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
                self.hold(Rc::new(LoadedConfig::invalid(&self.identity)));
                host.set_tick_period(FIRST_TICK);
                true
            }
        }
    }

    /// Watches, polls, and tells other workers that this configuration is alive.
    pub fn on_tick(&self, host: &impl Host) {
        let now = millis(host);
        if self.loaded.invalid {
            // A good one may have come since.
            if registry::newest(&self.identity).is_none() {
                self.publish_invalid(host, true);
            }
            host.set_tick_period(IDLE_TICK);
            return;
        }
        let in_force = self.is_in_force(host, now);
        if self.is_replaced(now) {
            return;
        }
        self.loaded.asks_for_connection.set(true);
        self.beat(host, now);
        if in_force {
            self.loaded.publish_next(host, now);
            self.publish_invalid(host, false);
        }
        let polls = tick::tick(host, &self.loaded, now);
        let mut under_way = self.polls.borrow_mut();
        under_way.extend(polls);
        // A proxy that never answers must not fill the memory.
        let too_many = under_way.len().saturating_sub(POLLS);
        under_way.drain(..too_many);
        let busy = !self.loaded.is_published() || self.loaded.is_watching();
        host.set_tick_period(if busy { BUSY_TICK } else { IDLE_TICK });
    }

    /// Takes the answer to a call; `status` is its HTTP status.
    pub fn on_call_response(&self, host: &impl Host, token: u32, status: Option<u16>) {
        let Some(poll) = self.take_poll(token) else { return };
        tick::answered(host, &self.loaded, poll, status, millis(host));
    }

    /// The proxy has no use for this configuration any more. Its gauges go to 0 where the plugin is gone
    /// with it; else those of the one that is in force stand.
    ///
    /// It stops the ticks: a proxy would go on waking up for it as long as the VM lives.
    pub fn on_delete(&self, host: &impl Host) {
        host.set_tick_period(0);
        // There is none where the configuration was refused.
        let Some(contexts) = self.loaded.contexts.get().checked_sub(1) else { return };
        self.loaded.contexts.set(contexts);
        if contexts > 0 {
            return;
        }
        let now = millis(host);
        match registry::forget(&self.loaded, now) {
            Some(in_force) => tick::start(host, &in_force, now),
            None => {
                self.loaded.withdraw(host);
                self.publish_invalid(host, false);
                self.write(host, &self.alive_key(), &[]);
            }
        }
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

    fn load(&mut self, host: &impl Host, config: Config, fingerprint: u64, now: Millis) {
        let before = registry::newest(&self.identity);
        let plan = Plan::new(config);
        let loaded =
            Rc::new(LoadedConfig::new(plan, fingerprint, &self.identity, before.as_deref()));
        if let Some(before) = &before {
            tick::go_on_hearing(&loaded, before);
        }
        loaded.before.replace(before);
        registry::put_in_force(&loaded, now);
        tick::start(host, &loaded, now);
        self.hold(loaded);
        self.beat(host, now);
        host.set_tick_period(FIRST_TICK);
        match self.loaded.plan.rollouts().len() {
            1 => log::info!("1 rollout is in force"),
            several => log::info!("{several} rollouts are in force"),
        }
    }

    fn hold(&mut self, loaded: Rc<LoadedConfig>) {
        loaded.contexts.set(loaded.contexts.get() + 1);
        self.loaded = loaded;
    }

    /// Whether the gauges are this configuration's. All workers and the main thread agree on it by a
    /// record: the first tick writes it, and so does a stream that shows that the proxy took an older
    /// configuration up again.
    fn is_in_force(&self, host: &impl Host, now: Millis) -> bool {
        let key = in_force_key(&self.identity);
        let before = self.loaded.before.take();
        if self.loaded.replaced.get().is_none() && !self.loaded.ticked.replace(true) {
            if let Some(before) = before {
                tick::take_over(host, &self.loaded, &before);
            }
            self.write(host, &key, &self.loaded.fingerprint.to_le_bytes());
            return true;
        }
        let Shared::Value(bytes, _) = host.shared(&key) else {
            return self.loaded.replaced.get().is_none();
        };
        if bytes == self.loaded.fingerprint.to_le_bytes() {
            if self.loaded.replaced.get().is_none() {
                return true;
            }
            // Before its first tick the newer one has had no occasion to write.
            let newer = registry::newest(&self.identity);
            if newer.is_none_or(|newer| !newer.ticked.get()) {
                return false;
            }
            registry::put_in_force(&self.loaded, now);
            tick::start(host, &self.loaded, now);
            return true;
        }
        let other = bytes.as_slice().try_into().map(u64::from_le_bytes);
        let known = other.ok().and_then(|it| registry::with_fingerprint(&self.identity, it));
        if let Some(other) = known.filter(|_| self.loaded.replaced.get().is_none()) {
            registry::put_in_force(&other, now);
            tick::start(host, &other, now);
        }
        false
    }

    /// Whether another configuration took this one's place and no stream begins here any more. The
    /// proxy lets an old one tick until its last stream has ended; what is counted from then on may be
    /// the newer one's.
    fn is_replaced(&self, now: Millis) -> bool {
        let last = self.loaded.last_stream.get();
        let replaced = self.loaded.replaced.get();
        replaced.is_some_and(|since| last <= since || now.saturating_sub(last) > LINGER)
    }

    fn publish_invalid(&self, host: &impl Host, is: bool) {
        let define = || Gauge::new(host, &metrics::CONFIG_INVALID, &self.identity.plugin, &[]);
        if let Some(gauge) = self.config_invalid.get_or_init(define) {
            gauge.set(host, u64::from(is));
        }
    }

    /// Counts a configuration that is refused, once for all the workers that are asked about it.
    fn count_rejected(&self, host: &impl Host, fingerprint: u64, now: Millis) {
        let key = format!("{}/rejected", self.identity.records);
        let ticket = match host.shared(&key) {
            Shared::Value(bytes, ticket) => {
                let (earlier, at) = bytes.split_at_checked(8).unwrap_or_default();
                let at = at.try_into().map(Millis::from_le_bytes);
                let recent = at.is_ok_and(|at| now.abs_diff(at) <= ALIVE);
                if earlier == fingerprint.to_le_bytes() && recent {
                    return;
                }
                Some(ticket)
            }
            Shared::Missing | Shared::Unavailable => None,
        };
        let record = [fingerprint.to_le_bytes(), now.to_le_bytes()].concat();
        let counter = metrics::CONFIG_REJECTED.define(host, &self.identity.plugin, &[]);
        if let Some(id) = counter.filter(|_| host.set_shared(&key, &record, ticket)) {
            host.increment(id, 1);
        }
    }

    fn alive_key(&self) -> String {
        format!("{}/alive", self.identity.records)
    }

    /// Leaves a sign of life in the data that outlives VMs and configurations.
    fn beat(&self, host: &impl Host, now: Millis) {
        self.write(host, &self.alive_key(), &now.to_le_bytes());
    }

    /// Writes to the shared data, where there is any. Whoever writes at the same time writes the same.
    fn write(&self, host: &impl Host, key: &str, value: &[u8]) {
        write_shared(host, key, value);
    }

    /// Whether a good configuration of this plugin is running.
    fn is_update(&self, host: &impl Host, now: Millis) -> bool {
        let Shared::Value(bytes, _) = host.shared(&self.alive_key()) else { return false };
        let Ok(bytes) = bytes.as_slice().try_into() else { return false };
        now.abs_diff(Millis::from_le_bytes(bytes)) <= ALIVE
    }
}

/// Takes a stream's connection as a sign of which configuration is in force: the proxy counts connections
/// upwards, and hands a new one only to the newest listener. Where a replaced configuration gets one that is
/// newer than all that the one in force has seen, the proxy has taken it up again.
#[cold]
pub fn note_connection(host: &impl Host, loaded: &Rc<LoadedConfig>, now: Millis) {
    let identity = &loaded.identity;
    loaded.asks_for_connection.set(false);
    let Some(connection) = host.connection_id() else { return };
    if loaded.replaced.get().is_some() {
        let newest = registry::newest(identity).map_or(0, |it| it.newest_connection.get());
        if connection <= newest {
            return;
        }
        registry::put_in_force(loaded, now);
        tick::start(host, loaded, now);
        write_shared(host, &in_force_key(identity), &loaded.fingerprint.to_le_bytes());
    }
    loaded.note_connection(connection);
}

fn in_force_key(identity: &Identity) -> String {
    format!("{}/in-force", identity.records)
}

fn write_shared(host: &impl Host, key: &str, value: &[u8]) {
    let ticket = match host.shared(key) {
        Shared::Value(_, ticket) => Some(ticket),
        Shared::Missing => None,
        Shared::Unavailable => return,
    };
    host.set_shared(key, value, ticket);
}

/// Milliseconds since the Unix epoch.
fn millis(host: &impl Host) -> Millis {
    host.now() / 1_000_000
}
