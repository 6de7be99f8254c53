//! The guard, the health check and the ramp as what they are: state machines over a clock and counters they
//! are handed, here with simulated time and events in any order.

use cohort::config::{Config, Guard, Health, Rollout};
use cohort::engine::{
    split_in_force, Event, Figures, HealthState, HealthStatus, Hold, Latch, Phase, Totals, Watch,
};
use proptest::prelude::*;

/// A rollout with this guard.
fn rollout(rest: &str) -> Rollout {
    let config = format!(
        r#"{{"rollouts": [{{"name": "r", "versions": [{{"name": "stable"}}, {{"name": "canary", "weight": 10}}],
            "hashKey": [{{"header": "x-user-id"}}], {rest}}}]}}"#
    );
    let config = Config::from_json(config.as_bytes());
    config.unwrap_or_else(|problems| panic!("{problems:?}")).rollouts.remove(0)
}

fn guard(rest: &str) -> Guard {
    rollout(&format!(r#""guard": {{{rest}}}"#)).guard.expect("a guard")
}

const USUAL: &str =
    r#""window": "30s", "minRequests": 50, "maxFailureRatio": 0.05, "timesWorseThanStable": 2"#;

/// One proxy's guard of one version: what every worker does at a tick.
struct Desk {
    guard: Guard,
    watch: Watch,
    latch: Latch,
    canary: Totals,
    stable: Totals,
    events: Vec<(u64, Event)>,
}

impl Desk {
    fn new(guard: Guard) -> Self {
        Self {
            guard,
            watch: Watch::default(),
            latch: Latch::default(),
            canary: Totals::default(),
            stable: Totals::default(),
            events: Vec::new(),
        }
    }

    fn tick(&mut self, now: u64) -> Option<Event> {
        self.watch.observe(self.guard.window, now, self.canary, self.stable);
        let figures = self.watch.figures(self.latch.counts_from());
        let (next, event) = self.latch.step(&self.guard, now, &figures)?;
        self.latch = next;
        self.events.push((now, event));
        Some(event)
    }

    fn answer(totals: &mut Totals, failed: bool, slow: bool) {
        totals.answers += 1;
        totals.failures += u64::from(failed);
        totals.slow += u64::from(slow);
    }
}

/// What happens to a proxy between two ticks.
#[derive(Clone, Debug)]
enum Happening {
    /// Milliseconds go by.
    Time(u64),
    /// The clock goes back, as after a correction.
    Back(u64),
    Canary {
        answers: u64,
        failures: u64,
        slow: u64,
    },
    Stable {
        answers: u64,
        failures: u64,
    },
    /// The proxy begins its counters anew.
    Reset,
}

fn happening() -> impl Strategy<Value = Happening> {
    prop_oneof![
        8 => (0u64..20_000).prop_map(Happening::Time),
        1 => (0u64..100_000_000).prop_map(Happening::Time),
        1 => (1u64..1_000_000).prop_map(Happening::Back),
        6 => (0u64..200, 0u64..200, 0u64..200).prop_map(|(answers, failures, slow)| Happening::Canary {
            answers, failures: failures.min(answers), slow: slow.min(answers)
        }),
        6 => (0u64..200, 0u64..200).prop_map(|(answers, failures)| Happening::Stable {
            answers, failures: failures.min(answers)
        }),
        1 => Just(Happening::Reset),
    ]
}

const START: u64 = 1_795_255_200_000;

impl Desk {
    /// Lets it happen, and ticks.
    fn live(&mut self, now: &mut u64, happening: &Happening) {
        match happening {
            Happening::Time(millis) => *now += millis,
            Happening::Back(millis) => *now = now.saturating_sub(*millis),
            Happening::Canary { answers, failures, slow } => {
                self.canary.answers += answers;
                self.canary.failures += failures;
                self.canary.slow += slow;
            }
            Happening::Stable { answers, failures } => {
                self.stable.answers += answers;
                self.stable.failures += failures;
            }
            Happening::Reset => (self.canary, self.stable) = Default::default(),
        }
        self.tick(*now);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(512) })]

    /// Whatever came before: once a version goes well, or nobody asks for it, it comes back.
    #[test]
    fn with_retry_after_no_version_is_out_for_ever(
        happenings in proptest::collection::vec(happening(), 0..60),
        answers in 0u64..100,
    ) {
        let mut desk = Desk::new(guard(&format!(r#"{USUAL}, "retryAfter": "5m""#)));
        let mut now = START;
        for happening in &happenings {
            desk.live(&mut now, happening);
        }
        let until = now + 2 * (300_000 + 30_000) + 300_000 + 1_000;
        while now < until {
            now += 250;
            // Only what passes through a probe, or all of it, is answered; all of it well.
            if desk.latch.hold() != Hold::Out {
                desk.canary.answers += answers;
            }
            desk.stable.answers += 10;
            desk.tick(now);
        }
        prop_assert_eq!(desk.latch.hold(), Hold::In, "after {:?}", desk.events);
    }

    /// It is out from the trip on for as long as was asked, and a breach while it probes is a trip.
    #[test]
    fn a_tripped_version_is_out_until_its_time(
        happenings in proptest::collection::vec(happening(), 1..80),
        retries in proptest::bool::ANY,
    ) {
        let retry = if retries { r#", "retryAfter": "5m""# } else { "" };
        let mut desk = Desk::new(guard(&format!("{USUAL}{retry}")));
        let (mut now, mut out_since, mut went_back) = (START, None, false);
        for happening in &happenings {
            let before = desk.latch;
            went_back |= matches!(happening, Happening::Back(_));
            desk.live(&mut now, happening);
            if let (Some(since), false) = (out_since, went_back) {
                let due = retries && now >= since + 300_000;
                prop_assert_eq!(desk.latch.hold() == Hold::Out, !due, "since {} at {}", since, now);
            }
            if !retries && before.hold() == Hold::Out {
                prop_assert_eq!(desk.latch, before, "without retryAfter nothing brings it back");
            }
            out_since = match desk.latch.phase {
                Phase::Out { since } => Some(since),
                _ => None,
            };
            if out_since.is_none() {
                went_back = false;
            }
            prop_assert!(desk.latch.phase == Phase::In || desk.latch.first_trip.is_some());
        }
    }

    /// It trips only on figures that breach what is configured, and always on them.
    #[test]
    fn it_trips_exactly_on_a_breach(
        answers in 0u64..400, failures in 0u64..400, slow in 0u64..400,
        stable_answers in 0u64..400, stable_failures in 0u64..400,
    ) {
        let guard = guard(&format!(r#"{USUAL}, "slowerThan": "500ms", "maxSlowRatio": 0.2"#));
        let version = Totals { answers, failures: failures.min(answers), slow: slow.min(answers) };
        let stable =
            Totals { answers: stable_answers, failures: stable_failures.min(stable_answers), slow: 0 };
        let share = |part: u64, whole: u64| part as f64 / (whole as f64).max(1.0);
        let ours = share(version.failures, answers);
        let theirs = share(stable.failures, stable_answers);
        let fails = ours > 0.05 && ours > 2.0 * theirs + 1e-9;
        let drags = share(version.slow, answers) > 0.2 + 1e-9;
        let close = (ours - 2.0 * theirs).abs() < 1e-6;
        let figures = Figures { version, stable, over: 1000 };
        let tripped = Latch::default().step(&guard, START, &figures).is_some();
        if !close {
            prop_assert_eq!(tripped, answers >= 50 && (fails || drags), "{:?}", figures);
        }
    }

    /// The window sees no more than came within it and a part of it, and no less than came within it.
    #[test]
    fn the_window_holds_what_came_within_it(
        steps in proptest::collection::vec((1u64..3_000, 0u64..50), 1..400),
    ) {
        let window = 30_000;
        let (mut watch, mut now, mut total) = (Watch::default(), START, Totals::default());
        watch.observe(window, now, total, Totals::default());
        let mut history = vec![];
        for (millis, answers) in steps {
            now += millis;
            total.answers += answers;
            history.push((now, answers));
            watch.observe(window, now, total, Totals::default());
            let since = |from: u64| -> u64 {
                history.iter().filter(|(at, _)| *at > from).map(|(_, answers)| answers).sum()
            };
            let seen = watch.figures(0).version.answers;
            // The near edge is the newest sample as old as the window; samples are a step or a part apart.
            let slack = 3_000 + window / Watch::PARTS;
            prop_assert!(seen >= since(now - window), "{} of {}", seen, since(now - window));
            prop_assert!(seen <= since(now - window - slack), "{}", seen);
        }
    }

    /// A record survives being written and read; anything else is no record.
    #[test]
    fn records_survive_the_shared_data(
        phase in 0u8..3, since in 1u64..u64::MAX, first in 1u64..u64::MAX, tripped in proptest::bool::ANY,
        status in 0u8..3, against in 0u32.., next in 0u64..,
        noise in proptest::collection::vec(0u8.., 0..30),
    ) {
        let phase = [Phase::In, Phase::Out { since }, Phase::Probing { since }][phase as usize];
        let latch = Latch { phase, first_trip: tripped.then_some(first) };
        prop_assert_eq!(Latch::from_bytes(&latch.to_bytes()), Some(latch));
        let status = [HealthStatus::Unknown, HealthStatus::Healthy, HealthStatus::Unhealthy][status as usize];
        let checkup = HealthState { status, against, next };
        prop_assert_eq!(HealthState::from_bytes(&checkup.to_bytes()), Some(checkup));
        if let Some(read) = Latch::from_bytes(&noise) {
            prop_assert_eq!(noise.len(), 17);
            prop_assert_eq!(Latch::from_bytes(&read.to_bytes()), Some(read));
        }
        if let Some(read) = HealthState::from_bytes(&noise) {
            prop_assert_eq!(read.to_bytes(), noise);
        }
    }

    /// A cluster that answers well for long enough is in traffic, one that answers badly is not.
    #[test]
    fn health_follows_the_answers(answers in proptest::collection::vec(proptest::bool::ANY, 0..60)) {
        let health = health();
        let mut checkup = HealthState::default();
        let mut run = (true, 0);
        for (number, good) in answers.into_iter().enumerate() {
            let before = checkup;
            let (next, changed) = checkup.answered(&health, good);
            checkup = next;
            run = if run.0 == good { (good, run.1 + 1) } else { (good, 1) };
            prop_assert_eq!(changed, before.status != checkup.status);
            let decided = number == 0
                || good && run.1 >= health.healthy_threshold
                || !good && run.1 >= health.unhealthy_threshold;
            if decided {
                prop_assert_eq!(checkup.hold(), if good { Hold::In } else { Hold::Out });
            } else {
                prop_assert_eq!(checkup.hold(), before.hold());
            }
        }
    }

    /// A poll is sent once an interval, however many workers ask and however the clock jumps.
    #[test]
    fn polls_are_an_interval_apart(steps in proptest::collection::vec((0u64..3_000, 0u64..20), 1..300)) {
        let health = health();
        let (mut checkup, mut now) = (HealthState::default(), START);
        let mut last: Option<u64> = None;
        for (millis, back) in steps {
            let jumps = back == 0;
            now = if jumps { now - 50_000 } else { now + millis };
            match checkup.poll(&health, now) {
                Some(next) => {
                    let since = last.map(|last| now.abs_diff(last));
                    prop_assert!(since.is_none_or(|since| since >= health.interval), "{:?}", since);
                    checkup = next;
                    last = Some(now);
                    prop_assert_eq!(checkup.poll(&health, now), None, "once for all workers");
                }
                None => {
                    let waits = now.abs_diff(last.expect("the first is due at once"));
                    prop_assert!(waits <= health.interval, "waits for {}", waits);
                }
            }
        }
    }

    /// Two proxies with the same configuration and clock have the same weights at every instant.
    #[test]
    fn two_proxies_agree_on_the_ramp(at in 0u64..10_000_000) {
        let (one, other) = (rollout(RAMP), rollout(RAMP));
        let now = START + at;
        let weight = |rollout: &Rollout, stopped| split_in_force(rollout, now, stopped).weight(1).thousandths();
        prop_assert_eq!(weight(&one, None), weight(&other, None));
        let wanted = match at {
            ..=59_999 => 10_000,
            60_000..=659_999 => 5_000,
            660_000..=3_659_999 => 25_000,
            _ => 100_000,
        };
        prop_assert_eq!(weight(&one, None), wanted);
        prop_assert_eq!(weight(&one, Some(START + 700_000)), wanted.min(if at < 60_000 { 10_000 } else { 25_000 }));
    }
}

const RAMP: &str = r#""ramp": {"start": "2026-11-21T10:01:00Z", "steps": [
    {"after": "0s", "weights": {"canary": 5}}, {"after": "10m", "weights": {"canary": 25}},
    {"after": "1h", "weights": {"canary": 100}}]}"#;

fn health() -> Health {
    rollout(r#""health": {"canary": {"cluster": "c"}}"#).health.remove(0)
}

/// Uniform numbers from 0 to 1, the same for the same seed.
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64
    }

    fn falls(&mut self, probability: f64) -> bool {
        self.next() < probability
    }
}

/// Traffic for `seconds` at `rate` a second, of which `share` goes to the canary; the version's answers fail
/// with the two probabilities. Answers with when it first tripped, in milliseconds from the start.
fn simulate(
    desk: &mut Desk,
    seed: u64,
    seconds: u64,
    rate: u64,
    share: f64,
    fails: (f64, f64),
) -> Option<u64> {
    let mut noise = Noise(seed);
    for tick in 0..seconds * 4 {
        for _ in 0..rate / 4 {
            if noise.falls(share) && desk.latch.hold() == Hold::In {
                Desk::answer(&mut desk.canary, noise.falls(fails.0), false);
            } else {
                Desk::answer(&mut desk.stable, noise.falls(fails.1), false);
            }
        }
        desk.tick(START + tick * 250);
    }
    desk.events
        .iter()
        .find(|(_, event)| matches!(event, Event::Tripped(_)))
        .map(|(at, _)| at - START)
}

#[test]
fn a_healthy_canary_is_not_rolled_back_in_an_hour_of_noise_at_stable_s_failure_rate() {
    // Both fail as often, one in a thousand, at 200 requests a second of which a tenth is the canary's.
    for seed in 0..5 {
        let mut desk = Desk::new(guard(USUAL));
        let tripped = simulate(&mut desk, seed, 3600, 200, 0.1, (0.001, 0.001));
        assert_eq!(tripped, None, "seed {seed}");
    }
}

#[test]
fn a_failing_canary_is_out_within_seconds() {
    for seed in 0..20 {
        let mut desk = Desk::new(guard(USUAL));
        let tripped = simulate(&mut desk, seed, 60, 200, 0.1, (0.5, 0.001)).expect("a trip");
        // 50 answers at 20 a second.
        assert!((1_500..=4_500).contains(&tripped), "after {tripped} ms, seed {seed}");
    }
}

#[test]
fn a_shared_dependency_that_fails_rolls_nothing_back() {
    for (seed, fails) in [0.1, 0.3, 0.5, 0.9, 1.0].into_iter().enumerate() {
        let mut desk = Desk::new(guard(USUAL));
        let tripped = simulate(&mut desk, seed as u64, 600, 200, 0.1, (fails, fails));
        assert_eq!(tripped, None, "both fail {fails} of the time");
    }
}

#[test]
fn a_handful_of_errors_with_little_traffic_rolls_nothing_back() {
    // One request a second and a third of it to the canary: some ten in a window, and half of them fail.
    for seed in 0..5 {
        let mut desk = Desk::new(guard(USUAL));
        assert_eq!(simulate(&mut desk, seed, 3600, 4, 0.08, (0.5, 0.0)), None, "seed {seed}");
    }
}

#[test]
fn a_tripped_version_that_stays_broken_lets_few_users_meet_it() {
    let mut desk = Desk::new(guard(&format!(r#"{USUAL}, "retryAfter": "5m""#)));
    let mut noise = Noise(3);
    let mut met = 0;
    for tick in 0..4 * 3600u64 {
        for _ in 0..50 {
            let canary = noise.falls(0.1);
            let through = match desk.latch.hold() {
                Hold::In => true,
                Hold::Probing => noise.falls(0.1),
                Hold::Out => false,
            };
            if canary && through {
                Desk::answer(&mut desk.canary, noise.falls(0.5), false);
                met += 1;
            } else {
                Desk::answer(&mut desk.stable, noise.falls(0.001), false);
            }
        }
        desk.tick(START + tick * 250);
    }
    // Of 72,000 who would have: some 50 at first, and some five at each of the eleven probes.
    assert!(met < 300, "{met} requests met it");
    let trips = desk.events.iter().filter(|(_, event)| matches!(event, Event::Tripped(_))).count();
    assert!((10..=12).contains(&trips), "{trips} trips");
}
