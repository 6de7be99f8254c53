//! The guard's record of one version: begun, looked at every tick, ended.

use crate::config::{Guard, Millis};
use crate::engine::guard::{Change, Moment, Record};

use super::super::heard::GuardWatch;
use super::{Clock, Host, SharedRecord, WatchedVersion, TRIES};

/// How often a worker looks; what it heard before its first look came in a block that long.
const LOOK: Millis = 250;

impl<H: Host> WatchedVersion<'_, H> {
    /// Reads the record as it stands, where one that was ended begins anew.
    pub(super) fn begin_guard(&self, guard: &Guard, watch: &GuardWatch) {
        let read = SharedRecord::<Record>::begin(self.host, &watch.place);
        if read.shared {
            let record = read.value.unwrap_or_else(|| self.fresh(guard));
            watch.known.known_for(record.round, self.clock.now);
            watch.record.replace(Some(record));
            watch.ticket.set(None);
        }
    }

    /// One exchange: what this worker heard goes into the record, which is looked at and written back if
    /// nobody else has written meanwhile. Says whether there was anything to do.
    pub(super) fn tick_guard(&self, guard: &Guard, watch: &GuardWatch) -> bool {
        let Self { clock, .. } = *self;
        let known_round = watch.known.round();
        for _ in 0..TRIES {
            let mut read =
                SharedRecord::<Record>::read_after(self.host, &watch.place, watch.ticket.get());
            // A proxy without shared data leaves each worker to itself, and so does a record that other
            // workers have ended already, whose newer configuration is about to come here too.
            let shared = read.shared && !read.is_ended();
            let knows = !shared || read.is_unchanged;
            if read.is_unchanged && self.rests(guard, watch) {
                return false;
            }
            let known = if knows { watch.record.take() } else { read.value.take() };
            let mut record = known.unwrap_or_else(|| self.fresh(guard));
            record.add(&watch.pending.borrow());
            let alone = self.rollout.is_stable_without_share(clock.wall);
            let known_for = watch.known.known_for(record.round, clock.now);
            let moment = Moment { now: clock.now, wall: clock.wall, known_for, alone };
            let change = record.look(guard, &moment);
            let after = record.to_bytes();
            let writes = shared && read.bytes() != Some(&after);
            if writes && !read.write_bytes(self.host, &after) {
                watch.record.replace(read.bytes().and_then(Record::from_bytes));
                watch.ticket.set(None);
                continue;
            }
            // One's own writing changes the ticket too.
            watch.ticket.set(read.ticket().filter(|_| shared && !writes));
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
            return true;
        }
        true
    }

    /// Whether this worker heard nothing, and the record that it knows has nothing due.
    fn rests(&self, guard: &Guard, watch: &GuardWatch) -> bool {
        let Clock { now, wall } = self.clock;
        let record = watch.record.borrow();
        let Some(record) = record.as_ref().filter(|_| watch.pending.borrow().is_empty()) else {
            return false;
        };
        let known_for = watch.known.known_for(record.round, now);
        record.rests(guard, &Moment { now, wall, known_for, alone: false })
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
