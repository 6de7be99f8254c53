//! Any sequence of events in a proxy, with the filter as a library and as the module that ships: the same comes out.
//!
//! An input is lines. `name: value` and empty lines write a request and its answer (as for `request`); the
//! others say what happens. A byte after the sign says more, and is 0 where there is none:
//!
//! | sign | what |
//! |---|---|
//! | `>` | sends what was written, from begin to end: status, response flags, tens of milliseconds it takes |
//! | `(` | the same, but it goes on until `)`, which ends the one begun first |
//! | `+` | time goes by, in twentieths of a second, with ticks |
//! | `?` | health checks are answered: 0 without a status, even ones well, odd ones badly |
//! | `#` | another configuration |
//! | `!` | what the host has not, as bits: 2 randomness, 4 the clusters of health checks |
#![no_main]

mod support;

use std::collections::BTreeMap;

use libfuzzer_sys::fuzz_target;
use support::exchange::Seen;
use support::lines::Draft;
use support::module::Wasm;
use support::native::NativeVm;
use support::rig::{Rig, Worker};
use support::world::{SentCall, World};

/// Everything at once, short enough to trip, be tried again and come back within one input.
const FIRST: &str = r#"{"rollouts": [{"name": "checkout",
    "versions": [{"name": "stable", "cluster": "v1"}, {"name": "canary", "weight": 40, "cluster": "v2",
        "requestHeaders": {"x-feature": "on"}}],
    "hashKey": [{"header": "x-user-id"}, {"cookie": "uid"}, {"query": "uid"}],
    "anonymousId": {"cookie": {"name": "id"}},
    "pin": {"cookie": {"name": "pin"}, "generation": "g", "signingKey": "c2l4dGVlbi1ieXRlcy1vci1tb3JlLW9mLXJhbmRvbQ=="},
    "overrides": {"header": "x-canary", "cookie": "canary", "values": {"always": "canary", "never": "stable"}},
    "inherit": {"addresses": ["203.0.113.0/24"], "baggage": true},
    "rules": [{"name": "beta", "match": [{"header": {"x-country": {"regex": "^(US|CA)"}}}], "version": "canary"}],
    "guard": {"window": "2s", "minRequests": 2, "maxFailureRatio": 0.05, "slowerThan": "100ms", "maxSlowRatio": 0.2,
        "retryAfter": "1s"},
    "health": {"canary": {"cluster": "v2", "path": "/ready", "interval": "500ms", "timeout": "100ms"}},
    "output": {"clusterHeader": "x-cohort-cluster", "reasonHeader": "x-why", "baggage": true}}]}"#;

/// What `#` may choose: another split, the first one, nobody's, and two that are refused.
fn configuration(number: u8) -> String {
    match number % 5 {
        0 => FIRST.replace("\"weight\": 40", "\"weight\": 60"),
        1 => FIRST.into(),
        2 => r#"{"rollouts": []}"#.into(),
        3 => FIRST.replace("\"weight\": 40", "\"weight\": 101"),
        _ => String::new(),
    }
}

/// Everything that came out.
#[derive(Debug, PartialEq)]
struct Record {
    taken: Vec<bool>,
    seen: Vec<Seen>,
    calls: Vec<SentCall>,
    metrics: String,
    shared: BTreeMap<Vec<u8>, (Vec<u8>, u32)>,
    periods: BTreeMap<(u32, u32), u64>,
    log: Vec<(u32, String)>,
}

fuzz_target!(|bytes: &[u8]| {
    // The library keeps a thread's newest configuration, as a VM does.
    let native = std::thread::scope(|scope| scope.spawn(|| play::<NativeVm>(bytes)).join());
    let native = native.expect("the library lives");
    let module = play::<Wasm>(bytes);
    assert_eq!(native.seen, module.seen);
    assert_eq!(native, module);
});

fn play<R: Rig>(input: &[u8]) -> Record {
    let world = World::new();
    world.state().log_level = 0;
    let mut worker = Worker::<R>::start(&world);
    let mut taken = vec![worker.configure(FIRST)];
    let (mut seen, mut calls) = (Vec::new(), Vec::new());
    let (mut draft, mut open) = (Draft::new(), std::collections::VecDeque::new());
    // What takes the module long.
    let (mut streams, mut ticks, mut changes) = (24, 80, 3);
    for line in input.split(|byte| *byte == b'\n') {
        let said = |at: usize| line.get(at).copied().unwrap_or(0);
        match said(0) {
            sign @ (b'>' | b'(') if streams > 0 => {
                streams -= 1;
                let whole = std::mem::replace(&mut draft, Draft::new());
                let exchange = whole.exchange(said(1), said(2)).takes(u64::from(said(3)) * 10);
                let begun = worker.begin(exchange);
                if sign == b'(' {
                    open.push_back(begun);
                } else {
                    seen.push(worker.finish(begun));
                }
            }
            b')' => seen.extend(open.pop_front().map(|begun| worker.finish(begun))),
            b'+' => {
                let quarters = u64::from(said(1)).div_ceil(5).min(ticks);
                ticks -= quarters;
                worker.pass((u64::from(said(1)) * 50).min(quarters * 250));
            }
            b'?' => {
                for call in world.take_calls() {
                    if worker.knows(&call) {
                        let status = if said(1) % 2 == 0 { 200 } else { 503 };
                        worker.answer(&call, Some(status).filter(|_| said(1) > 0));
                    }
                    calls.push(call);
                }
            }
            b'#' if changes > 0 => {
                changes -= 1;
                taken.push(worker.configure(configuration(said(1))));
            }
            b'!' => {
                let mut state = world.state();
                state.random = (said(1) & 2 == 0).then_some(7);
                let unknown = (said(1) & 4 != 0).then(|| "v2".to_owned());
                state.unknown_clusters = unknown.into_iter().collect();
            }
            _ => draft.line(line),
        }
    }
    seen.extend(open.into_iter().map(|begun| worker.finish(begun)));
    let mut state = world.state();
    calls.append(&mut state.calls);
    let (shared, periods) = (state.shared.clone(), state.tick_periods.clone());
    let (log, metrics) = (std::mem::take(&mut state.log), state.metrics.to_string());
    Record { taken, seen, calls, metrics, shared, periods, log }
}
