//! Any bytes as a configuration: a configuration that can be worked with, or problems that say where.
#![no_main]

use cohort::bucket::Weight;
use cohort::config::Config;
use cohort::engine::Plan;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    match Config::from_json(bytes) {
        Ok(config) => {
            for rollout in &config.rollouts {
                assert!(rollout.versions.len() >= 2);
                assert!(rollout.stable < rollout.versions.len());
                let shares =
                    (0..rollout.versions.len()).map(|version| rollout.split.weight(version));
                let sum: u32 = shares.map(Weight::thousandths).sum();
                assert_eq!(sum, Weight::FULL.thousandths(), "the shares are everybody");
                let buckets = rollout.scheme.buckets();
                for bucket in [0, 1, buckets / 2, buckets - 1] {
                    assert!(rollout.split.owner(bucket) < rollout.versions.len());
                }
            }
            // The same text says the same again.
            let again = Config::from_json(bytes).expect("it was good a moment ago");
            let prints = |config: &Config| -> Vec<u64> {
                config.rollouts.iter().map(|rollout| rollout.fingerprint).collect()
            };
            assert_eq!(prints(&config), prints(&again));
            let plan = Plan::new(config);
            for position in plan.candidates(|| Some(b"shop.example.com")) {
                assert!(position < plan.rollouts().len());
            }
        }
        Err(problems) => {
            assert!(!problems.is_empty(), "refused without a reason");
            for problem in problems {
                let line = problem.to_string();
                assert!(line.starts_with('$'), "{line}");
                assert!(line.contains(": found ") && line.contains(", allowed: "), "{line}");
                assert!(!line.contains('\n'), "one line each: {line}");
            }
        }
    }
});
