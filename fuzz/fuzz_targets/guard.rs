//! Any order of events at a guard: a tripped version is out, and with `retryAfter` it comes back.
#![no_main]

use std::sync::LazyLock;

use cohort::config::{Config, Guard};
use cohort::engine::{Hold, Latch, Phase, Totals, Watch};
use libfuzzer_sys::fuzz_target;

/// Short times: an input of a few hundred bytes then sees every phase, and the good end is soon reached.
static GUARD: LazyLock<Guard> = LazyLock::new(|| {
    let config = br#"{"rollouts": [{"name": "r", "versions": [{"name": "a"}, {"name": "b", "weight": 1}],
        "hashKey": [{"cookie": "uid"}], "guard": {"window": "3s", "minRequests": 50, "maxFailureRatio": 0.05,
        "slowerThan": "1s", "maxSlowRatio": 0.2, "retryAfter": "5s"}}]}"#;
    let config = Config::from_json(config).expect("a good configuration");
    config.rollouts.into_iter().next().and_then(|rollout| rollout.guard).expect("a guard")
});

const RETRY_AFTER: u64 = 5_000;

fuzz_target!(|events: &[u8]| {
    let guard = &*GUARD;
    let (mut watch, mut latch) = (Watch::default(), Latch::default());
    let (mut canary, mut stable) = (Totals::default(), Totals::default());
    let mut now = 1_795_255_200_000u64;
    let tick = |watch: &mut Watch, latch: &mut Latch, now, canary, stable| {
        watch.observe(guard.window, now, canary, stable);
        let before = *latch;
        if let Some((next, _)) = latch.step(guard, now, &watch.figures(latch.counts_from())) {
            assert_ne!(next.phase, before.phase, "an event without a change");
            assert!(before.first_trip.is_none() || next.first_trip == before.first_trip);
            *latch = next;
        }
        assert_eq!(Latch::from_bytes(&latch.to_bytes()), Some(*latch));
        if let Phase::Out { since } = latch.phase {
            assert!(since <= now && now < since.saturating_add(RETRY_AFTER));
        }
    };
    for event in events.chunks_exact(3) {
        let (count, part) = (u64::from(event[1]), u64::from(event[2]).min(u64::from(event[1])));
        match event[0] % 6 {
            0 => now += count * 20 + part,
            1 => now -= count * 20,
            2 => canary.answers += count,
            3 => {
                (canary.answers, canary.failures) = (canary.answers + count, canary.failures + part)
            }
            4 => {
                (stable.answers, stable.failures) = (stable.answers + count, stable.failures + part)
            }
            _ => (canary.answers, canary.slow) = (canary.answers + count, canary.slow + part),
        }
        tick(&mut watch, &mut latch, now, canary, stable);
    }
    // From now on all goes well. What came last may trip it once more; then it is out, tried, and in again.
    let end = now + 3 * RETRY_AFTER;
    while now < end {
        now += 250;
        if latch.hold() != Hold::Out {
            canary.answers += 5;
        }
        tick(&mut watch, &mut latch, now, canary, stable);
    }
    assert_eq!(latch.hold(), Hold::In);
});
