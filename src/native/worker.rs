//! What each thread keeps for itself: the filter's plugin for each configuration, made where it is first needed.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::sync::Arc;

use crate::config::Millis;
use crate::filter::{Host, Identity, MetricKind, Plugin, Stream};

use super::host::Proxy;
use super::metrics::PANICS;
use super::process;
use super::settings::Settings;

/// A configuration in one thread.
struct Loaded {
    settings: Arc<Settings>,
    plugin: Plugin,
    period: Cell<Millis>,
    /// On the monotonic clock.
    ticked: Cell<Millis>,
}

thread_local! {
    /// Whether this is Envoy's main thread.
    static IS_MAIN: Cell<bool> = const { Cell::new(false) };
    static LOADED: RefCell<Vec<Rc<Loaded>>> = const { RefCell::new(Vec::new()) };
}

impl Loaded {
    /// The configuration in this thread; loads it where this is the first time that it is asked for.
    fn of(settings: &Arc<Settings>, proxy: &Proxy<'_>) -> Rc<Self> {
        let known = LOADED.with_borrow(|all| {
            all.iter().rev().find(|one| one.settings.number == settings.number).cloned()
        });
        known.unwrap_or_else(|| {
            proxy.late.set(LOADED.with_borrow(|all| {
                let same = |one: &&Rc<Self>| one.settings.name == settings.name;
                all.iter().filter(same).any(|one| one.settings.number > settings.number)
            }));
            let mut plugin = Plugin::new();
            // Whether it is accepted was said when Envoy asked: by now it is in force.
            plugin.on_configure(proxy, &settings.bytes);
            let period = proxy.period.take().unwrap_or(0);
            let loaded = Rc::new(Self {
                settings: Arc::clone(settings),
                plugin,
                period: Cell::new(period),
                ticked: Cell::new(proxy.monotonic() / 1_000_000),
            });
            LOADED.with_borrow_mut(|all| all.push(Rc::clone(&loaded)));
            let_go();
            loaded
        })
    }

    fn tick(&self, proxy: &Proxy<'_>) {
        self.ticked.set(proxy.monotonic() / 1_000_000);
        self.plugin.on_tick(proxy);
        if let Some(period) = proxy.period.take() {
            self.period.set(period);
        }
    }
}

/// Lets go of what this thread has of configurations that Envoy ended. Their metrics are not touched any more:
/// Envoy forgets those with the configuration. That the filter is gone altogether, the main thread alone knows.
pub fn let_go() {
    let ended = LOADED.with_borrow_mut(|all| {
        let (ended, alive): (Vec<_>, Vec<_>) = std::mem::take(all)
            .into_iter()
            .partition(|one| one.settings.ended.load(Ordering::Relaxed));
        *all = alive;
        ended
    });
    for one in ended {
        let mut proxy = Proxy::apart(&one.settings);
        proxy.writes = IS_MAIN.get();
        one.plugin.on_delete(&proxy);
    }
}

/// A new stream. A worker has no clock that wakes it: its ticks come with its requests, before they are decided.
pub fn stream(settings: &Arc<Settings>, proxy: &Proxy<'_>) -> Stream {
    let loaded = Loaded::of(settings, proxy);
    let now = proxy.monotonic() / 1_000_000;
    let period = loaded.period.get();
    if period > 0 && now.saturating_sub(loaded.ticked.get()) >= period {
        loaded.tick(proxy);
    }
    loaded.plugin.stream()
}

/// Whether a configuration is accepted, from a thread that has seen no other: as a proxy asks a throw-away VM.
pub fn accepts(settings: &Settings) -> bool {
    let asked = std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            // What it counts is told by the next tick: Envoy forgets what one tells that it is about to drop.
            Plugin::new().on_configure(&Proxy::apart(settings), &settings.bytes)
        });
        thread.join()
    });
    asked.unwrap_or_default()
}

/// Loads a configuration that was accepted into the main thread, and has it tick.
pub fn start(settings: &Arc<Settings>) {
    IS_MAIN.set(true);
    let proxy = Proxy::main(settings);
    proxy.keep_counters();
    let loaded = Loaded::of(settings, &proxy);
    settings.ticker.tick_in(loaded.period.get());
    if let Some(waker) = settings.handle.waker() {
        settings.ticker.start(waker);
    }
}

/// A tick of the main thread.
fn tick(settings: &Arc<Settings>) {
    let proxy = Proxy::main(settings);
    let loaded = Loaded::of(settings, &proxy);
    loaded.tick(&proxy);
    settings.ticker.tick_in(loaded.period.get());
}

/// What the main thread was woken for: a tick, and to tell Envoy what was counted.
pub fn woken(settings: &Arc<Settings>) {
    let proxy = Proxy::main(settings);
    let panics = process::take_panics();
    if panics > 0 {
        let series = format!("{PANICS}.plugin=.={};.;", Identity::of(&proxy).plugin);
        if let Some(id) = proxy.define_metric(MetricKind::Counter, &series) {
            proxy.increment(id, panics);
        }
    }
    if settings.ticker.came() {
        tick(settings);
    }
    proxy.tell_counted();
}

/// An answer to a call, on the main thread.
pub fn answered(settings: &Arc<Settings>, token: u64, status: Option<u16>, body: Option<Vec<u8>>) {
    let proxy = Proxy::main(settings);
    proxy.answer.set(body);
    if let Ok(token) = u32::try_from(token) {
        Loaded::of(settings, &proxy).plugin.on_call_response(&proxy, token, status);
    }
}

#[cfg(test)]
mod tests {
    use super::super::abi::ConfigHandle;
    use super::*;
    use crate::filter::Shared;

    const CONFIG: &[u8] =
        br#"{"rollouts": [{"name": "r", "versions": [{"name": "a"}, {"name": "b", "weight": 1}],
        "hashKey": [{"header": "x-user-id"}]}]}"#;

    fn settings(name: &str, bytes: &[u8]) -> Arc<Settings> {
        Arc::new(Settings::new(ConfigHandle::nobody(), name.into(), bytes.to_vec()))
    }

    /// Ends a configuration as Envoy does, in the thread that calls it.
    fn end(settings: &Settings) {
        settings.ended.store(true, Ordering::Relaxed);
        settings.ticker.stop();
        let_go();
    }

    fn loaded() -> usize {
        LOADED.with_borrow(Vec::len)
    }

    /// Whether the filter has left a sign of life that stands.
    fn is_alive(name: &str) -> bool {
        let key = format!("{}/alive", Identity::of(&Proxy::main(&settings(name, b""))).records);
        matches!(process::record(&key), Shared::Value(bytes, _) if !bytes.is_empty())
    }

    #[test]
    fn a_thread_lets_go_of_what_has_ended_and_the_main_thread_says_when_the_filter_is_gone() {
        let name = "let-go";
        let first = settings(name, CONFIG);
        assert!(accepts(&first));
        start(&first);
        let second = settings(name, CONFIG);
        start(&second);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                stream(&first, &Proxy::main(&first));
                assert_eq!(loaded(), 1);
                end(&first);
                assert_eq!(loaded(), 0, "another thread may end it too");
                assert!(
                    is_alive(name),
                    "this thread has not met the second one yet, and does not know"
                );
                stream(&second, &Proxy::main(&second));
                assert_eq!(loaded(), 1);
            });
        });
        let_go();
        assert_eq!(loaded(), 1);
        assert!(is_alive(name));
        end(&second);
        assert_eq!(loaded(), 0);
        assert!(!is_alive(name));
        // A bad configuration is a first one now, and is taken.
        assert!(accepts(&settings(name, b"{")));
    }

    #[test]
    fn what_a_refused_configuration_counted_is_told_when_the_main_thread_is_woken_next() {
        let name = "untold";
        let good = settings(name, CONFIG);
        start(&good);
        woken(&good);
        assert!(!accepts(&settings(name, b"{")), "an update");
        let plugin = Identity::of(&Proxy::main(&good)).plugin;
        let untold = || -> u64 { process::take_untold(&plugin).iter().map(|(_, by)| by).sum() };
        assert_eq!(untold(), 1);
        assert!(!accepts(&settings(name, b"[")));
        assert!(process::take_untold("another").is_empty());
        woken(&good);
        assert_eq!(untold(), 0, "it was told");
        end(&good);
    }
}
