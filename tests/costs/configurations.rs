//! What a configuration costs: to read, to have, to be replaced.

use super::*;

/// Fuel for each byte of a configuration that is loaded.
const LOADING: u64 = 500;

/// A new machine that has read `config`, whether it was accepted, and the fuel for each byte.
pub fn read(config: &str) -> (Worker<Wasm>, bool, f64) {
    let mut worker = Worker::<Wasm>::start(&World::new());
    let before = worker.rig.fuel();
    let accepted = worker.configure(config);
    let spent = (worker.rig.fuel() - before) as f64 / config.len() as f64;
    (worker, accepted, spent)
}

#[test]
fn a_file_that_is_none_of_ours_is_refused_at_a_cost_that_grows_with_its_length_alone() {
    let keys = |count: usize| {
        let keys: Vec<String> = (0..count).map(|n| format!(r#""k{n:05}": {{}}"#)).collect();
        let segments = format!(r#"{{"rollouts": [], "segments": {{{}}}}}"#, keys.join(","));
        [format!("{{{}}}", keys.join(",")), segments].map(|config| read(&config).2)
    };
    for (few, many) in keys(1_000).into_iter().zip(keys(10_000)) {
        println!("{few:.0} fuel a byte, of ten times as many {many:.0}");
        assert!(many < 1.25 * few, "{many}, {few}");
    }
}

#[test]
fn a_large_configuration_is_read_at_once_and_makes_its_time_series_bit_by_bit() {
    let guard = r#""guard": {"maxFailureRatio": 0.05}, "hashKey""#;
    let config = for_hosts(1_000).replace(r#""hashKey""#, guard);
    let (mut worker, accepted, spent) = read(&config);
    assert!(accepted);
    println!("{spent:.0} fuel a byte of configuration");
    assert!(spent <= ceiling(LOADING) as f64, "{spent}");
    let counts = worker.world.take_counts();
    assert_eq!(counts.get("proxy_define_metric"), None, "{counts:?}");
    // One guarded version each, and the sign of life.
    assert_eq!(counts["proxy_get_shared_data"], 1_000 + 1, "{counts:?}");
    worker.pass(50);
    let counts = worker.world.take_counts();
    // Two gauges of each version, two causes for which one of them trips and its evidence; whether it is valid.
    assert_eq!(counts["proxy_define_metric"], 100 * 7 + 1, "{counts:?}");
    worker.pass(3_000);
    worker.world.take_counts();
    worker.tick();
    let counts = worker.world.take_counts();
    for (call, number) in [
        // The record of each, the sign of life, and which configuration is in force.
        ("proxy_get_shared_data", Some(1_000 + 2)),
        // A hundred rollouts look at their five gauges, whichever's turn it is; none says something else.
        ("proxy_get_metric", Some(100 * 5 + 1)),
        ("proxy_record_metric", None),
        ("proxy_define_metric", None),
    ] {
        assert_eq!(counts.get(call).copied(), number, "{call}: {counts:?}");
    }
}

/// Fuel for a tick of a version under guard: of which nothing was heard, so that it rests, and of which something was.
const TICKS: [u64; 2] = [3_100, 12_400];

/// Bytes of the record of a version under guard, in the proxy's shared data, and of what says whose it is.
const RECORD: usize = 256 + 10;

#[test]
fn a_look_costs_a_little_more_where_something_was_heard() {
    const ROLLOUTS: u64 = 10;
    let guard = r#""guard": {"slowerThan": "500ms", "maxSlowRatio": 0.05}, "hashKey""#;
    let config = for_any_host(ROLLOUTS as usize).replace(r#""hashKey""#, guard);
    let mut worker = Worker::<Wasm>::with(&config);
    worker.pass(3_000);
    let mut looks = Vec::new();
    for (heard, after) in [(0, 250), (0, 2_000), (1, 1_000), (10, 1_000), (100, 1_000)] {
        for user in 0..heard {
            worker.send(browser("/").replace("x-user-id", format!("user-{heard}-{user}")));
        }
        worker.world.advance(after);
        let before = worker.rig.fuel();
        worker.tick();
        looks.push((heard, after, (worker.rig.fuel() - before) / ROLLOUTS));
        worker.pass(3_000);
    }
    println!("fuel of a look, by what was heard and how long after the last: {looks:?}");
    let [rest, heard] = TICKS.map(ceiling);
    for (answers, _, fuel) in looks {
        let most = if answers == 0 { rest } else { heard };
        assert!(fuel <= most, "{answers} answers: {fuel}");
    }
    let state = worker.world.state();
    let is_record = |key: &[u8]| key.windows(7).any(|part| part == b"/guard/");
    let records = state.shared.iter().filter(|(key, _)| is_record(key));
    let sizes: Vec<usize> = records.map(|(_, (record, _))| record.len()).collect();
    assert_eq!(sizes.len() as u64, ROLLOUTS);
    assert!(sizes.iter().all(|size| *size <= RECORD), "{sizes:?}");
}

#[test]
fn memory_stays_where_it_is_over_many_requests_and_configurations() {
    let mut worker = Worker::<Wasm>::with(include_str!("../cases/full.json"));
    let request = browser("/checkout/pay?a=1");
    let mut after_warming_up = 0;
    for round in 0..60 {
        for number in 0..25 {
            worker.send(request.clone().replace("x-user-id", format!("user-{round}-{number}")));
        }
        let weight = format!("\"weight\": {}", 1 + round % 7);
        let config = include_str!("../cases/full.json").replace("\"weight\": 5", &weight);
        assert!(worker.configure(config));
        worker.pass(250);
        // By then the tables of visitors and of users are full.
        if round == 19 {
            after_warming_up = worker.rig.memory();
        }
    }
    assert_eq!(worker.rig.memory(), after_warming_up, "1,000 requests and 40 configurations more");
}

#[test]
fn a_configuration_leaves_nothing_behind_in_the_proxy() {
    let guarded = |weight: u32| {
        checkout(r#""guard": {"maxFailureRatio": 0.05}"#).replace("50", &weight.to_string())
    };
    let mut worker = Worker::<Wasm>::with(&guarded(50));
    worker.send(browser("/"));
    worker.world.take_counts();
    assert!(worker.configure(guarded(20)));
    worker.send(browser("/"));
    let counts = worker.world.take_counts();
    assert_eq!(counts.get("proxy_define_metric"), None, "a new handle for each: {counts:?}");
    let periods: Vec<u64> = worker.world.state().tick_periods.values().copied().collect();
    assert!(
        matches!(periods[..], [0, newest] if newest > 0),
        "the first one's, the second one's: {periods:?}"
    );
}
