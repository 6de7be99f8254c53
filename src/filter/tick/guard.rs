//! The guard's record of one version: begun, looked at every tick, ended.

use crate::config::{Guard, Millis};
use crate::engine::guard::{Change, Moment, Record};

use super::super::heard::GuardWatch;
use super::{Host, SharedRecord, WatchedVersion};

/// How often a worker looks; what it heard before its first look came in a block that long.
const LOOK: Millis = 250;

/// How often an exchange is tried again when another worker was first. After that it waits for the next
/// tick; nothing that was heard is lost.
const TRIES: usize = 4;

impl<H: Host> WatchedVersion<'_, H> {
    /// Reads the record as it stands, where one that was ended begins anew.
    pub(super) fn begin_guard(&self, guard: &Guard, watch: &GuardWatch) {
        let read = SharedRecord::read(self.host, &watch.key, Record::from_bytes);
        if !read.shared {
            return;
        }
        let record = read.value.clone().unwrap_or_else(|| self.fresh(guard));
        if read.is_ended() {
            // Should another worker have been first, the next tick reads what it wrote.
            self.host.set_shared(&watch.key, &record.to_bytes(), read.ticket);
        }
        watch.known.known_for(record.round, self.clock.now);
        watch.record.replace(Some(record));
    }

    /// Ends the record of a rollout that is no longer in force as it was.
    pub(super) fn end_guard(&self, watch: &GuardWatch) {
        let read = SharedRecord::read(self.host, &watch.key, Record::from_bytes);
        if read.value.is_some() {
            self.host.set_shared(&watch.key, &[], read.ticket);
        }
    }

    /// One exchange: what this worker heard goes into the record, which is looked at and written back if
    /// nobody else has written meanwhile.
    pub(super) fn tick_guard(&self, guard: &Guard, watch: &GuardWatch, alone: bool) {
        let known_round = watch.known.round();
        for _ in 0..TRIES {
            let read = SharedRecord::read(self.host, &watch.key, Record::from_bytes);
            // A proxy without shared data leaves each worker to itself, and so does a record that other
            // workers have ended already, whose newer configuration is about to come here too.
            let shared = read.shared && !read.is_ended();
            let known = if shared { read.value } else { watch.record.take() };
            let mut record = known.unwrap_or_else(|| self.fresh(guard));
            let before = record.to_bytes();
            record.add(&watch.pending.borrow());
            let Self { clock, .. } = *self;
            let known_for = watch.known.known_for(record.round, clock.now);
            let moment = Moment { now: clock.now, wall: clock.wall, known_for, alone };
            let change = record.look(guard, &moment);
            let after = record.to_bytes();
            let writes = shared && (after != before || read.ticket.is_none());
            if writes && !self.host.set_shared(&watch.key, &after, read.ticket) {
                watch.record.replace(Record::from_bytes(&before));
                continue;
            }
            watch.pending.take();
            watch.known.known_for(record.round, clock.now);
            if known_round.is_some_and(|known| known != record.round) {
                // Who was heard before says something new in another phase, however soon.
                self.forget_users();
            }
            watch.record.replace(Some(record));
            if let Some(Change { event, figures }) = change {
                self.log_guard(guard, event, &figures);
            }
            return;
        }
    }

    /// Of this version and of stable, which it is compared with.
    fn forget_users(&self) {
        let versions = self.rollout.state.versions();
        for version in [self.version, self.config().stable] {
            if let Some(state) = versions.get(version) {
                state.recent.take();
            }
        }
    }

    fn fresh(&self, guard: &Guard) -> Record {
        Record::new(guard, self.clock.now.saturating_sub(LOOK))
    }
}
