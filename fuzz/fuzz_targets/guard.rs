//! Any order of events at a guard: a tripped version is out, and with `retryAfter` it comes back.
#![no_main]

use std::sync::LazyLock;

use cohort::config::{Config, Guard};
use cohort::engine::guard::{Heard, Moment, Phase, Record};
use cohort::engine::Hold;
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
    let mut now = 1_795_255_200_000_u64;
    let mut record = Record::new(guard, now);
    // Since when the one worker has known of the round.
    let mut known = (record.round, now);
    let mut tick = |record: &mut Record, heard: &Heard, now: u64| {
        let before = record.clone();
        record.add(guard, heard, now);
        if known.1 > now {
            known.1 = now;
        }
        let known_for = now - known.1;
        let change = record.look(guard, &Moment { now, wall: now, known_for, alone: false });
        assert_eq!(change.is_some(), record.round != before.round);
        assert_eq!(change.is_some(), record.phase != before.phase, "an event without a change");
        assert!(before.first_trip.is_none() || record.first_trip == before.first_trip);
        if before.phase == Phase::Out && record.phase != Phase::Out {
            assert!(known_for >= RETRY_AFTER);
        }
        if known.0 != record.round {
            known = (record.round, now);
        }
        // As workers share it: what the bytes do not hold brings no trip nearer, and is lost once only.
        let bytes = record.to_bytes();
        let read = Record::from_bytes(&bytes).expect("a record");
        assert_eq!(*read.to_bytes(), *bytes);
        assert_eq!(
            (read.phase, read.round, read.first_trip),
            (record.phase, record.round, record.first_trip)
        );
        assert!(read.nearness(guard) <= record.nearness(guard));
        assert!(record.nearness(guard) <= 1000);
        *record = read;
    };
    for (user, event) in events.chunks_exact(3).enumerate() {
        let (count, part) = (u64::from(event[1]), u64::from(event[2]).min(u64::from(event[1])));
        let mut heard = Heard::default();
        match event[0] % 6 {
            0 => now += count * 20 + part,
            1 => now -= count * 20,
            2 => heard.answered.version.answers = count,
            3 => {
                (heard.answered.version.answers, heard.answered.version.failures) = (count, part);
                heard.sufferers[0].add(user as u32);
            }
            4 => (heard.answered.stable.answers, heard.answered.stable.failures) = (count, part),
            _ => {
                (heard.answered.version.answers, heard.answered.version.slow) = (count, part);
                heard.sufferers[1].add(user as u32);
            }
        }
        tick(&mut record, &heard, now);
    }
    // From now on all goes well. What came last may trip it once more; then it is out, tried, and in again.
    let end = now + 60_000;
    while now < end {
        now += 250;
        let mut heard = Heard::default();
        heard.answered.stable.answers = 10;
        if record.hold() != Hold::Out {
            heard.answered.version.answers = 50;
        }
        tick(&mut record, &heard, now);
    }
    assert_eq!(record.hold(), Hold::In);
});
