//! What the guard sees: the answers of all workers, from the proxy's own counters.

use crate::bucket::VersionIndex;
use crate::config::Millis;
use crate::engine::Totals;

use super::super::series::{CodeClass, Count, Source};
use super::{Host, LoadedRollout};

impl LoadedRollout<'_> {
    /// Begins to count, and with it the guard's window. What failed before, another worker has counted,
    /// and watches.
    #[cold]
    pub fn begin_counting(&self, host: &impl Host, now: Millis) {
        self.answers(host);
        self.observe(host, now);
    }

    /// Hears what each version under guard has answered until now, by all workers together.
    pub(super) fn observe(&self, host: &impl Host, now: Millis) {
        let Some(guard) = self.config.guard.as_ref().filter(|_| self.state.is_watched()) else {
            return;
        };
        let stable = self.totals(host, self.config.stable);
        for (version, watch) in self.guarded() {
            let totals = self.totals(host, version);
            watch.window.borrow_mut().observe(guard.window, now, totals, stable);
        }
    }

    fn totals(&self, host: &impl Host, version: VersionIndex) -> Totals {
        let answers = self.answers(host);
        let total = |what| answers.total(host, version, what);
        let classes = CodeClass::ALL.into_iter().filter(|class| *class != CodeClass::None);
        let totals = Totals {
            answers: classes.map(|class| total(Count::Response(class, Source::Upstream))).sum(),
            failures: total(Count::Failure),
            slow: total(Count::Slow),
        };
        let own = self.state.versions().get(version).map(|it| it.own.get()).unwrap_or_default();
        // This worker alone has counted more than the proxy knows of: the proxy keeps no such counter.
        let missing: Vec<&str> = [
            (totals.answers < own.answers, "cohort_responses_total"),
            (totals.failures < own.failures, "cohort_failures_total"),
            (totals.slow < own.slow, "cohort_slow_responses_total"),
        ]
        .into_iter()
        .filter_map(|(missing, name)| missing.then_some(name))
        .collect();
        if missing.is_empty() {
            return totals;
        }
        if !self.state.counters_missing.replace(true) {
            log::warn!(
                "rollout {}: the proxy does not keep {} (its stats matcher leaves them out), so each \
                 worker's guard sees only its own requests and needs minRequests of its own",
                self.config.name,
                missing.join(" and ")
            );
        }
        own
    }
}
