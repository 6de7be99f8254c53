//! The guard's record of one version: begun, looked at every tick, ended.

use crate::config::Guard;
use crate::engine::guard::{Change, Moment, Record, TICK};

use super::super::heard::GuardWatch;
use super::{Clock, Host, SharedRecord, WatchedVersion, TRIES};

impl<H: Host> WatchedVersion<'_, H> {
    /// Reads the record as it stands, where one that was ended begins anew.
    pub(super) fn begin_guard(&self, guard: &Guard, watch: &GuardWatch) {
        let read = SharedRecord::<Record>::begin(self.host, &watch.place);
        if read.shared {
            let record = read.value().unwrap_or_else(|| self.fresh(guard));
            watch.known.known_for(record.round, self.clock.now);
            watch.summary.set(record.summary(guard));
            watch.ticket.set(None);
        }
    }

    /// One exchange: what this worker heard goes into the record, which is looked at and written back if
    /// nobody else has written meanwhile. Says whether what is told of the version has changed.
    pub(super) fn tick_guard(&self, guard: &Guard, watch: &GuardWatch) -> bool {
        let Self { clock, .. } = *self;
        let known_round = watch.known.round();
        let told = watch.summary.get().told();
        for _ in 0..TRIES {
            let read = SharedRecord::<Record>::read(self.host, &watch.place);
            let is_unchanged = read.ticket().is_some() && read.ticket() == watch.ticket.get();
            if is_unchanged && self.rests(guard, watch) {
                return false;
            }
            // A proxy without shared data leaves each worker to itself, and so does a record that other
            // workers have ended already, whose newer configuration is about to come here too.
            let shared = read.shared && !read.is_ended();
            let known = if shared { read.value() } else { self.own(guard, watch) };
            let mut record = known.unwrap_or_else(|| self.fresh(guard));
            record.add(guard, &watch.pending.borrow(), clock.now);
            let alone = self.rollout.is_stable_without_share(clock.wall);
            let known_for = watch.known.known_for(record.round, clock.now);
            let moment = Moment { now: clock.now, wall: clock.wall, known_for, alone };
            let change = record.look(guard, &moment);
            let after = record.to_bytes();
            let writes = shared && read.bytes() != Some(&after);
            if writes && !read.write_bytes(self.host, &after) {
                let others = read.value();
                watch.summary.set(others.map(|record| record.summary(guard)).unwrap_or_default());
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
            watch.summary.set(record.summary(guard));
            watch.own.replace((!shared).then(|| Box::new(record)));
            if let Some(Change { event, figures }) = change {
                self.log_guard(guard, event, &figures);
            }
            break;
        }
        watch.summary.get().told() != told
    }

    /// Whether this worker heard nothing, and the record that it knows has nothing due.
    fn rests(&self, guard: &Guard, watch: &GuardWatch) -> bool {
        let Clock { now, wall } = self.clock;
        let known = watch.summary.get();
        let known_for = watch.known.known_for(known.round, now);
        watch.pending.borrow().is_empty()
            && known.rests(guard, &Moment { now, wall, known_for, alone: false })
    }

    /// The record of a worker that is left to itself: at first it stands where the shared one stood.
    fn own(&self, guard: &Guard, watch: &GuardWatch) -> Option<Record> {
        let known = || Record::resume(guard, &watch.summary.get(), self.clock.now);
        watch.own.take().map(|record| *record).or_else(|| watch.known.round().map(|_| known()))
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
        Record::new(guard, self.clock.now.saturating_sub(TICK))
    }
}
