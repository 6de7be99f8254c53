//! The guard, the health check and the ramp as what they are: state machines over a clock and counters they
//! are handed, here with simulated time and events in any order.

#[path = "guard/bytes.rs"]
mod bytes;
#[path = "guard/evidence.rs"]
mod evidence;
#[path = "guard/machine.rs"]
mod machine;
#[path = "guard/users.rs"]
mod users;

use cohort::config::{Config, Guard, Health, Rollout};
use cohort::engine::{split_in_force, HealthState, HealthStatus, Hold};
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

const START: u64 = 1_795_255_200_000;

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(512) })]

    /// A record of a health check survives being written and read; anything else is no record.
    #[test]
    fn records_survive_the_shared_data(
        status in 0u8..3, against in 0u32.., next in 0u64..,
        noise in proptest::collection::vec(0u8.., 0..30),
    ) {
        let status = [HealthStatus::Unknown, HealthStatus::Healthy, HealthStatus::Unhealthy][status as usize];
        let checkup = HealthState { status, against, next };
        prop_assert_eq!(HealthState::from_bytes(&checkup.to_bytes()), Some(checkup));
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
