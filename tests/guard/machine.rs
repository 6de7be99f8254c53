//! The state machine under any order of ticks: a proxy whose workers share one record, each with a clock of its
//! own. First every order of a few events, then long random ones.

use cohort::config::Guard;
use cohort::engine::guard::{
    Cause, Change, Event, Heard, Moment, Pair, Phase, Record, Sufferers, Totals,
};
use cohort::engine::Hold;
use proptest::prelude::*;

use super::{guard, START};

const RETRY: u64 = 4_000;

/// Short times, and a false trip a day, so that a few events take a version through every phase.
fn short() -> Guard {
    guard(&format!(
        r#""window": "1s", "retryAfter": "{}s", "oneFalseTripIn": "1d", "maxFailureRatio": 0.05"#,
        RETRY / 1000
    ))
}

/// A worker: its clock, what it heard and has not shared yet, and what it read and has not written yet.
#[derive(Clone, Default)]
struct Worker {
    /// How much its clock is ahead of the first worker's; never more than a minute.
    ahead: u64,
    heard: Heard,
    known: Option<(u32, u64)>,
    read: Option<(Record, u32)>,
    hold: Hold,
}

/// A proxy, and what has happened to the version in it.
#[derive(Clone)]
struct Proxy {
    now: u64,
    record: Record,
    ticket: u32,
    workers: Vec<Worker>,
    /// What really happened, by the time of one clock.
    events: Vec<(u64, Event)>,
    /// How many users have met a failure.
    users: u32,
    /// Good answers and failures that were shared since the last event.
    trial: (u64, u64),
}

/// What can happen next.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// A worker begins its tick: it reads the record.
    Read(usize),
    /// It ends it: it adds what it heard, looks, and writes, unless another one has.
    Write(usize),
    Time(u64),
    /// A worker hears of four users of the version, all well or all failing, and of ten of stable.
    Good(usize),
    Bad(usize),
}

impl Proxy {
    fn new(guard: &Guard, ahead: &[u64]) -> Self {
        let worker = |ahead: &u64| Worker { ahead: *ahead, ..Worker::default() };
        Self {
            now: START,
            record: Record::new(guard, START),
            ticket: 1,
            workers: ahead.iter().map(worker).collect(),
            events: Vec::new(),
            users: 0,
            trial: (0, 0),
        }
    }

    fn hear(&mut self, worker: usize, good: u64, bad: u64, stable: u64) {
        let heard = &mut self.workers[worker].heard;
        let version = Totals { answers: good + bad, failures: bad, slow: 0 };
        let more = Pair { version, stable: Totals { answers: stable, ..Totals::default() } };
        heard.answered = heard.answered.and(more);
        for _ in 0..bad.min(16) {
            self.users += 1;
            heard.sufferers[0].add(self.users);
        }
    }

    /// The half of a tick that changes something, and what must hold of any change.
    fn write(&mut self, guard: &Guard, worker: usize) {
        let Some((before, ticket)) = self.workers[worker].read.take() else { return };
        let now = self.now + self.workers[worker].ahead;
        let at = &mut self.workers[worker];
        let known_for = match at.known {
            Some((round, since)) if round == before.round && since <= now => now - since,
            _ => {
                at.known = Some((before.round, now));
                0
            }
        };
        let mut record = before.clone();
        let heard = at.heard.clone();
        record.add(guard, &heard, now);
        // The wall clock says anything.
        let wall = now.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 20;
        let moment = Moment { now, wall, known_for, alone: false };
        let rests = heard.is_empty() && record.summary(guard).rests(guard, &moment);
        let change = record.look(guard, &moment);
        assert!(!rests || (change.is_none() && record == before), "it rests, but {record:?}");
        if ticket != self.ticket {
            // Another one was first; what was heard stays for the next tick.
            return;
        }
        at.heard = Heard::default();
        at.known =
            at.known.filter(|(round, _)| *round == record.round).or(Some((record.round, now)));
        at.hold = record.hold();
        self.record = Record::from_bytes(&record.to_bytes()).expect("a record is one once written");
        assert_eq!(
            self.record.to_bytes()[..],
            record.to_bytes()[..],
            "read and written again it is the same"
        );
        self.ticket += 1;
        let version = heard.answered.version;
        self.trial.0 += version.answers - version.failures;
        self.trial.1 += version.failures;
        if let Some(change) = change {
            self.happened(&before, &record, change);
        }
    }

    fn happened(&mut self, before: &Record, after: &Record, Change { event, .. }: Change) {
        assert_eq!(after.round, before.round + 1);
        let known = Record::from_bytes(&before.to_bytes());
        assert_eq!(known.as_ref(), Some(before), "a record survives being written and read");
        let last = self.events.last().copied();
        match event {
            Event::Tripped(cause) => {
                assert_eq!(cause, Cause::Failures);
                assert!(matches!(before.phase, Phase::In | Phase::Probing));
                assert!(self.trial.1 > 0, "{:?}", self.events);
                assert!(after.first_trip.is_some());
            }
            Event::Probing => {
                let Some((since, Event::Tripped(_))) = last else { panic!("{:?}", self.events) };
                let out_for = self.now - since;
                assert!(out_for >= RETRY, "tried again after {out_for} ms: {:?}", self.events);
            }
            Event::Returned => {
                assert!(matches!(last, Some((_, Event::Probing))), "{:?}", self.events);
                let (good, bad) = self.trial;
                assert!(bad == 0 || good > 0, "back after {bad} failures and no success");
            }
        }
        if before.first_trip.is_some() {
            assert_eq!(after.first_trip, before.first_trip, "a ramp ends once");
        }
        self.trial = (0, 0);
        self.events.push((self.now, event));
    }

    fn step(&mut self, guard: &Guard, step: Step) {
        match step {
            Step::Read(worker) => {
                let read = (self.record.clone(), self.ticket);
                self.workers[worker].read = Some(read);
            }
            Step::Write(worker) => self.write(guard, worker),
            Step::Time(millis) => self.now += millis,
            Step::Good(worker) => self.hear(worker, 4, 0, 10),
            Step::Bad(worker) => self.hear(worker, 0, 4, 10),
        }
    }

    fn tick(&mut self, guard: &Guard, worker: usize) {
        self.step(guard, Step::Read(worker));
        self.step(guard, Step::Write(worker));
        if self.workers[worker].read.is_none() {
            let hold = self.record.hold();
            assert_eq!(self.workers[worker].hold, hold, "a tick alone takes what holds");
        }
    }

    /// Time goes by, with a tick of each worker in every quarter of a second.
    fn pass(&mut self, guard: &Guard, millis: u64, mut each: impl FnMut(&mut Self)) {
        for _ in 0..millis / 250 {
            self.now += 250;
            each(self);
            for worker in 0..self.workers.len() {
                self.tick(guard, worker);
            }
        }
    }
}

/// Every order of `left` more steps.
fn every_order(guard: &Guard, proxy: &Proxy, left: u32, orders: &mut u64) {
    if left == 0 {
        *orders += 1;
        return;
    }
    let workers = 0..proxy.workers.len();
    let halves = workers.clone().map(|at| match proxy.workers[at].read {
        Some(_) => Step::Write(at),
        None => Step::Read(at),
    });
    let hears = workers.flat_map(|at| [Step::Good(at), Step::Bad(at)]);
    let times = [Step::Time(250), Step::Time(RETRY - 250), Step::Time(RETRY)];
    for step in halves.chain(hears).chain(times) {
        let mut next = proxy.clone();
        next.step(guard, step);
        every_order(guard, &next, left - 1, orders);
    }
}

/// Proxies at the moments that matter: fresh, about to trip, out, on trial, in again.
fn moments(guard: &Guard, ahead: &[u64]) -> Vec<Proxy> {
    let fresh = Proxy::new(guard, ahead);
    let mut failing = fresh.clone();
    failing.pass(guard, 250, |proxy| proxy.hear(0, 0, 4, 10));
    let mut out = fresh.clone();
    out.pass(guard, 2_000, |proxy| proxy.hear(0, 0, 4, 10));
    assert_eq!(out.record.phase, Phase::Out, "{:?}", out.events);
    let mut trial = out.clone();
    trial.pass(guard, RETRY, |_| ());
    assert_eq!(trial.record.phase, Phase::Probing, "{:?}", trial.events);
    let mut back = trial.clone();
    back.pass(guard, 8_000, |proxy| proxy.hear(1, 4, 0, 10));
    assert_eq!(back.record.phase, Phase::In, "{:?}", back.events);
    vec![fresh, failing, out, trial, back]
}

#[test]
fn no_order_of_ticks_shortens_a_hold_out_or_ends_a_failing_trial_well() {
    let guard = short();
    let mut orders = 0;
    for ahead in [[0, 0], [59_999, 0]] {
        for moment in moments(&guard, &ahead) {
            every_order(&guard, &moment, 4, &mut orders);
        }
    }
    println!("{orders} orders of events");
    assert!(orders > 40_000, "{orders}");
}

fn step(workers: usize) -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..workers).prop_map(Step::Read),
        4 => (0..workers).prop_map(Step::Write),
        2 => (1_u64..600).prop_map(Step::Time),
        1 => (1_u64..2 * RETRY).prop_map(Step::Time),
        2 => (0..workers).prop_map(Step::Good),
        3 => (0..workers).prop_map(Step::Bad),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(256) })]

    /// Whatever came before: what must hold of a change holds, all workers come to the same, and once a
    /// version goes well it is back.
    #[test]
    fn in_any_order_with_any_skew_a_version_that_goes_well_is_in_again(
        ahead in proptest::collection::vec(0_u64..60_000, 1..5),
        steps in proptest::collection::vec(step(4), 0..200),
    ) {
        let guard = short();
        let mut proxy = Proxy::new(&guard, &ahead);
        for step in steps {
            let at = |worker: usize| worker % ahead.len();
            proxy.step(&guard, match step {
                Step::Read(worker) => Step::Read(at(worker)),
                Step::Write(worker) => Step::Write(at(worker)),
                Step::Good(worker) => Step::Good(at(worker)),
                Step::Bad(worker) => Step::Bad(at(worker)),
                time => time,
            });
        }
        // Only what passes through a trial, or all of it, is answered; all of it well.
        proxy.pass(&guard, 4 * RETRY + 20_000, |proxy| {
            let through = proxy.workers[0].hold != Hold::Out;
            proxy.hear(0, if through { 50 } else { 0 }, 0, 10);
        });
        for worker in &proxy.workers {
            prop_assert_eq!(worker.hold, Hold::In, "after {:?}", proxy.events);
        }
    }

    /// A clock that goes back, as one that is not monotonic may, lengthens a hold-out and never shortens it,
    /// and does not keep the version out for ever.
    #[test]
    fn a_clock_that_goes_back_shortens_no_hold_out(
        back in proptest::collection::vec((0_u64..40, 0_u64..10_000_000), 0..6),
    ) {
        let guard = short();
        let mut proxy = Proxy::new(&guard, &[0]);
        proxy.pass(&guard, 2_000, |proxy| proxy.hear(0, 0, 4, 10));
        prop_assert_eq!(proxy.record.phase, Phase::Out);
        let mut out_for = proxy.now - proxy.events[0].0;
        for look in 0..1_000 {
            if let Some((_, by)) = back.iter().find(|(at, _)| *at == look) {
                proxy.now -= by;
            }
            proxy.now += 250;
            out_for += 250;
            // The model's own account of time is of the clock that went back; ours is not.
            if let Some((at, _)) = proxy.events.last_mut() {
                *at = (*at).min(proxy.now.saturating_sub(out_for));
            }
            proxy.tick(&guard, 0);
            if proxy.record.phase == Phase::Probing {
                break;
            }
        }
        prop_assert!(out_for >= RETRY, "out for {}", out_for);
        prop_assert_eq!(proxy.record.phase, Phase::Probing, "it is tried again some day");
    }

    /// Anything else than a record is none.
    #[test]
    fn what_is_no_record_is_not_read(noise in proptest::collection::vec(any::<u8>(), 0..600), cut in 1_usize..200) {
        prop_assert_eq!(Record::from_bytes(&noise), None);
        let bytes = Record::new(&short(), START).to_bytes();
        prop_assert_eq!(Record::from_bytes(&bytes[..bytes.len() - cut.min(bytes.len())]), None);
        prop_assert_eq!(Record::from_bytes(&[&bytes[..], &noise[..noise.len().min(1)]].concat()).is_some(), noise.is_empty());
    }
}

#[test]
fn one_user_alone_takes_nothing_out_and_neither_do_two() {
    for (users, wanted) in [(1, false), (2, false), (3, true)] {
        let guard = short();
        let mut proxy = Proxy::new(&guard, &[0]);
        for look in 0..400_u32 {
            proxy.now += 250;
            let answered = Pair {
                version: Totals { answers: 1, failures: 1, slow: 0 },
                stable: Totals { answers: 10, ..Totals::default() },
            };
            let mut sufferers = <[Sufferers; 2]>::default();
            sufferers[0].add(look % users);
            let heard = &mut proxy.workers[0].heard;
            heard.answered = heard.answered.and(answered);
            heard.sufferers[0].append(&sufferers[0]);
            proxy.tick(&guard, 0);
            if !proxy.events.is_empty() {
                break;
            }
        }
        assert_eq!(!proxy.events.is_empty(), wanted, "{users} users: {:?}", proxy.events);
    }
}

#[test]
fn min_requests_are_counted_within_the_window() {
    let guard = guard(r#""minRequests": 50, "window": "30s", "oneFalseTripIn": "1d""#);
    let mut proxy = Proxy::new(&guard, &[0]);
    proxy.pass(&guard, 12_000, |proxy| proxy.hear(0, 0, 1, 10));
    assert!(proxy.events.is_empty(), "{:?}", proxy.events);
    // What is older than the window is not among them.
    proxy.pass(&guard, 31_000, |_| ());
    proxy.pass(&guard, 12_000, |proxy| proxy.hear(0, 0, 1, 10));
    assert!(proxy.events.is_empty(), "{:?}", proxy.events);
    proxy.pass(&guard, 500, |proxy| proxy.hear(0, 0, 1, 10));
    assert_eq!(proxy.events.len(), 1);
}

#[test]
fn a_version_of_which_nothing_was_heard_rests_until_something_is_due() {
    let guard = short();
    for proxy in moments(&guard, &[0, 0]) {
        let mut record = proxy.record;
        let at = |now| Moment { now, wall: now, ..Moment::default() };
        let now = proxy.now + 250;
        record.look(&guard, &at(now));
        // A trial is looked at all the time.
        let can_rest = record.phase != Phase::Probing;
        let known = record.summary(&guard);
        assert_eq!(known.hold(), record.hold());
        assert_eq!(known.rests(&guard, &at(now)), can_rest, "{record:?}");
        // One that is out rests until it is tried again, any other for a window at most.
        let is_out = record.phase == Phase::Out;
        assert_eq!(known.rests(&guard, &at(now + 1_000)), is_out, "{record:?}");
        assert!(!known.rests(&guard, &at(0)), "another clock: {record:?}");
        let stable = Totals { answers: 1, ..Totals::default() };
        record.add(
            &guard,
            &Heard { answered: Pair { stable, ..Pair::default() }, ..Heard::default() },
            now,
        );
        let rests = record.summary(&guard).rests(&guard, &at(now));
        assert_eq!(rests, is_out, "{record:?}");
    }
}

#[test]
fn without_retry_after_nothing_brings_it_back() {
    let guard = guard("");
    let mut proxy = Proxy::new(&guard, &[0]);
    proxy.pass(&guard, 3_000, |proxy| proxy.hear(0, 0, 4, 10));
    assert_eq!(proxy.record.phase, Phase::Out);
    for _ in 0..100 {
        proxy.now += 86_400_000;
        proxy.tick(&guard, 0);
    }
    assert_eq!(proxy.events.len(), 1);
}

#[test]
fn a_version_at_weight_100_is_judged_by_its_limit_alone() {
    let guard = guard("");
    for (failures, alone, wanted) in [(4, true, true), (0, true, false), (4, false, false)] {
        let mut record = Record::new(&guard, START);
        let mut changed = false;
        for look in 1..=40 {
            let answered = Pair {
                version: Totals { answers: 4, failures, slow: 0 },
                stable: Totals::default(),
            };
            let mut heard = Heard { answered, ..Heard::default() };
            (0..4).for_each(|user| heard.sufferers[0].add(user));
            let now = START + look * 250;
            record.add(&guard, &heard, now);
            changed |=
                record.look(&guard, &Moment { now, wall: now, known_for: 0, alone }).is_some();
        }
        assert_eq!(changed, wanted, "{failures} of 4 fail, alone: {alone}");
    }
}
