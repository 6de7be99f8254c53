//! What all workers of the process share: the records of the guard, and what was counted.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use crate::filter::{MetricId, MetricKind, Shared};

use super::metrics;

/// A lock that a panic elsewhere does not take away: what it guards is whole between any two statements.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The records under their keys, each with its ticket.
static RECORDS: Mutex<Records> = Mutex::new(Records { by_key: BTreeMap::new(), tickets: 0 });

struct Records {
    by_key: BTreeMap<String, (Vec<u8>, u32)>,
    tickets: u32,
}

/// The record under `key`.
pub fn record(key: &str) -> Shared {
    match lock(&RECORDS).by_key.get(key) {
        Some((bytes, ticket)) => Shared::Value(bytes.clone(), *ticket),
        None => Shared::Missing,
    }
}

/// Writes a record where the ticket still holds; without one, where there is no record yet.
pub fn set_record(key: &str, value: &[u8], ticket: Option<u32>) -> bool {
    let records = &mut *lock(&RECORDS);
    let known = records.by_key.get_mut(key);
    if known.as_ref().map(|(_, known)| *known) != ticket {
        return false;
    }
    records.tickets = records.tickets.wrapping_add(1);
    match known {
        Some(record) => *record = (value.to_vec(), records.tickets),
        None => {
            records.by_key.insert(key.to_owned(), (value.to_vec(), records.tickets));
        }
    }
    true
}

/// One time series, for the life of the process, as Envoy keeps its own.
pub struct Series {
    pub kind: MetricKind,
    /// The position of its metric in [`metrics::all`].
    pub metric: usize,
    /// Of its labels.
    pub values: Vec<&'static str>,
    /// Of a counter, over all workers and configurations: Envoy does not tell.
    total: AtomicU64,
    /// How much of it Envoy was told.
    told: AtomicU64,
}

impl Series {
    pub fn add(&self, by: u64) {
        self.total.fetch_add(by, Ordering::SeqCst);
    }

    pub fn total(&self) -> u64 {
        self.total.load(Ordering::SeqCst)
    }

    /// Whether something was counted that Envoy was not told yet. Only a counter counts.
    fn is_untold(&self) -> bool {
        self.total() > self.told.load(Ordering::Relaxed)
    }

    /// What Envoy was not told yet. Whoever takes it tells it.
    fn take_untold(&self) -> u64 {
        let total = self.total();
        total.saturating_sub(self.told.fetch_max(total, Ordering::Relaxed))
    }
}

static SERIES: Mutex<AllSeries> =
    Mutex::new(AllSeries { by_name: BTreeMap::new(), list: Vec::new() });

struct AllSeries {
    by_name: BTreeMap<String, MetricId>,
    list: Vec<&'static Series>,
}

thread_local! {
    /// This thread's copy of the list, so that counting takes no lock.
    static KNOWN: RefCell<Vec<&'static Series>> = const { RefCell::new(Vec::new()) };
}

/// The handle of the series that the filter calls `name`.
pub fn series_named(name: &str, kind: MetricKind) -> Option<MetricId> {
    let all = &mut *lock(&SERIES);
    if let Some(id) = all.by_name.get(name) {
        return Some(*id);
    }
    let (metric, values) = metrics::parse(name, kind)?;
    let id = MetricId::try_from(all.list.len()).ok()?;
    let values = values.into_iter().map(|value| &*value.leak()).collect();
    let (total, told) = (AtomicU64::new(0), AtomicU64::new(0));
    all.list.push(Box::leak(Box::new(Series { kind, metric, values, total, told })));
    all.by_name.insert(name.to_owned(), id);
    Some(id)
}

/// Every counter that has counted.
pub fn counters() -> Vec<&'static Series> {
    let all = lock(&SERIES);
    let counted = |series: &&&Series| series.kind == MetricKind::Counter && series.total() > 0;
    all.list.iter().filter(counted).copied().collect()
}

/// The series with this handle.
pub fn series(id: MetricId) -> Option<&'static Series> {
    let position = id as usize;
    KNOWN.with_borrow_mut(|known| {
        if position >= known.len() {
            known.clone_from(&lock(&SERIES).list);
        }
        known.get(position).copied()
    })
}

/// The counters of `plugin` of which Envoy was not told everything, each with what is missing. Whoever takes it
/// tells it.
pub fn take_untold(plugin: &str) -> Vec<(&'static Series, u64)> {
    let all = lock(&SERIES);
    // Most have nothing new, and are passed over without a look at whose they are.
    let counted = all.list.iter().filter(|series| series.is_untold());
    let mine = counted.filter(|series| series.values.first() == Some(&plugin));
    mine.map(|series| (*series, series.take_untold())).collect()
}

/// Panics that a hook has caught.
static PANICS: AtomicU64 = AtomicU64::new(0);

pub fn count_panic() {
    PANICS.fetch_add(1, Ordering::Relaxed);
}

/// How many panics were caught since this was asked last.
pub fn take_panics() -> u64 {
    PANICS.swap(0, Ordering::Relaxed)
}

/// Nanoseconds since the first time that anybody asked.
pub fn monotonic() -> u64 {
    static START: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
    let since = START.get_or_init(Instant::now).elapsed();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_written_only_by_whoever_read_it_last() {
        assert_eq!(record("a"), Shared::Missing);
        assert!(!set_record("a", b"1", Some(7)), "there is nothing to have read");
        assert!(set_record("a", b"1", None));
        assert!(!set_record("a", b"2", None), "it is there now");
        let Shared::Value(bytes, ticket) = record("a") else { panic!("a record") };
        assert_eq!(bytes, b"1");
        assert!(set_record("a", b"2", Some(ticket)));
        assert!(!set_record("a", b"3", Some(ticket)), "somebody was faster");
    }

    #[test]
    fn a_counter_has_one_total_over_all_threads() {
        let name = "cohort_failures_total.plugin=.=p;.;rollout=.=r;.;rollout_version=.=v;.;";
        let count = || {
            let id = series_named(name, MetricKind::Counter).expect("a series");
            for _ in 0..1000 {
                series(id).expect("a series").add(1);
            }
        };
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(count);
            }
        });
        let id = series_named(name, MetricKind::Counter).expect("a series");
        assert_eq!(series(id).expect("a series").total(), 4000);
        let untold = || take_untold("p").into_iter().map(|(_, by)| by).collect::<Vec<_>>();
        assert!(take_untold("q").is_empty());
        assert_eq!(untold(), [4000]);
        assert!(untold().is_empty());
        series(id).expect("a series").add(2);
        assert_eq!(untold(), [2]);
    }
}
