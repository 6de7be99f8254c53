//! The guard's record of one version: begun, looked at every tick, ended.

use crate::config::Guard;
use crate::engine::Latch;

use super::super::rollout::GuardWatch;
use super::{Host, Record, WatchedVersion};

impl<H: Host> WatchedVersion<'_, H> {
    /// Reads the latch as it stands, where one that was ended begins anew.
    pub(super) fn begin_guard(&self, watch: &GuardWatch) {
        let record = Record::read(self.host, &watch.key, Latch::from_bytes);
        if record.is_ended() {
            // Should another worker have been first, the next tick reads what it wrote.
            self.host.set_shared(&watch.key, &Latch::default().to_bytes(), record.ticket);
        }
        if record.shared {
            watch.latch.set(record.value.unwrap_or_default());
        }
    }

    /// Ends the latch of a rollout that is no longer in force as it was.
    pub(super) fn end_guard(&self, watch: &GuardWatch) {
        let record = Record::read(self.host, &watch.key, Latch::from_bytes);
        if record.value.is_some() {
            self.host.set_shared(&watch.key, &[], record.ticket);
        }
    }

    pub(super) fn tick_guard(&self, guard: &Guard, watch: &GuardWatch) {
        let record = Record::read(self.host, &watch.key, Latch::from_bytes);
        // A proxy without shared data leaves each worker to itself, and so does a record that other
        // workers have ended already, whose newer configuration is about to come here too.
        let alone = !record.shared || record.is_ended();
        let own = watch.latch.get();
        let latch = if alone { own } else { record.value.unwrap_or_default() };
        let figures = watch.window.borrow().figures(latch.counts_from());
        let Some((next, event)) = latch.step(guard, self.now, &figures) else {
            watch.latch.set(latch);
            return;
        };
        let won = alone || self.host.set_shared(&watch.key, &next.to_bytes(), record.ticket);
        if won {
            watch.latch.set(next);
            self.log_guard(guard, event, &figures);
        } else {
            // Another worker was first: what it wrote holds.
            let written = Record::read(self.host, &watch.key, Latch::from_bytes);
            watch.latch.set(written.value.unwrap_or(latch));
        }
    }
}
