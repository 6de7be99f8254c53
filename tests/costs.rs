//! What a request costs, counted and not timed: host calls, the interpreter's fuel, allocations.
//!
//! `cargo test --test costs -- --nocapture` prints the table. A ceiling is a tenth above what was measured.
#![allow(unsafe_code, reason = "an allocator that counts")]

#[path = "costs/configurations.rs"]
mod configurations;
#[path = "costs/files.rs"]
mod files;
#[path = "costs/floods.rs"]
mod floods;
#[path = "costs/growth.rs"]
mod growth;
#[macro_use]
mod support;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::fmt::Write;
use std::net::IpAddr;

use cohort::config::Config;
use cohort::engine::guard::{Heard, Moment, Record, Totals};
use cohort::engine::{decide, Plan, Request, Standing, Surroundings};
use cohort::http::Headers;

use support::growth::{browser, for_any_host, for_hosts, Cost};
use support::*;

struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
    static ALLOCATED: Cell<u64> = const { Cell::new(0) };
}

fn count(bytes: usize) {
    ALLOCATIONS.with(|count| count.set(count.get() + 1));
    ALLOCATED.with(|sum| sum.set(sum.get() + bytes as u64));
}

// SAFETY: hands everything on to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        unsafe { System.dealloc(at, layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size.saturating_sub(layout.size()));
        unsafe { System.realloc(at, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// A way of using the filter, and what a request of it may cost.
struct Kind {
    name: &'static str,
    config: String,
    request: Exchange,
    /// Host calls, in order of their names: in the request, in the response, at the end.
    calls: [&'static str; 3],
    /// Of the interpreter, for a whole request.
    fuel: u64,
    /// Of the decision alone.
    allocations: u64,
}

const RULES: &str = r#""rules": [
    {"name": "a", "match": [{"header": {"x-country": {"in": ["US", "CA"]}}}], "version": "canary"},
    {"name": "b", "match": [{"cookie": {"plan": {"exact": "beta"}}}], "version": "canary"},
    {"name": "c", "match": [{"path": {"prefix": "/beta"}, "not": {"path": {"suffix": ".js"}}}], "version": "canary"}]"#;

const REQUEST: &str = "clock_time_get 1, proxy_get_current_time_nanoseconds 1, proxy_get_header_map_pairs 1, proxy_replace_header_map_value 1";
const RESPONSE: &str = "proxy_get_header_map_value 1";
/// With a look at what caches may do, and at the time for it.
const HANDED_OUT: &str = "proxy_add_header_map_value 1, proxy_get_current_time_nanoseconds 1, proxy_get_header_map_pairs 1, proxy_get_header_map_value 1";
const END: &str = "clock_time_get 1, proxy_increment_metric 2, proxy_record_metric 1";

fn kinds() -> Vec<Kind> {
    vec![
        Kind {
            name: "no rollouts",
            config: r#"{"rollouts": []}"#.into(),
            request: browser("/"),
            calls: ["", "", ""],
            fuel: 3_300,
            allocations: 0,
        },
        Kind {
            name: "no rollout matches",
            config: checkout(r#""match": [{"host": {"exact": "other.example"}}]"#),
            request: browser("/"),
            calls: ["clock_time_get 1, proxy_get_current_time_nanoseconds 1, proxy_get_header_map_pairs 1", "", ""],
            fuel: 8_900,
            allocations: 0,
        },
        Kind {
            name: "minimal",
            config: checkout(""),
            request: browser("/"),
            calls: [REQUEST, RESPONSE, END],
            fuel: 12_000,
            allocations: 0,
        },
        Kind {
            name: "three rules",
            config: checkout(RULES),
            request: browser("/"),
            calls: [REQUEST, RESPONSE, END],
            fuel: 15_200,
            allocations: 0,
        },
        Kind {
            name: "overrides",
            config: checkout(r#""overrides": {"header": "x-canary", "query": "canary", "cookie": "canary"}"#),
            request: browser("/?a=1"),
            calls: [REQUEST, RESPONSE, END],
            fuel: 14_300,
            allocations: 0,
        },
        Kind {
            name: "a pin, kept",
            config: checkout(r#""pin": {"versions": ["stable", "canary"], "cookie": {"name": "p"}}"#),
            request: browser("/").cookie("p=canary"),
            calls: [REQUEST, RESPONSE, END],
            fuel: 13_700,
            allocations: 0,
        },
        Kind {
            name: "a pin, handed out",
            config: checkout(r#""pin": {"versions": ["stable", "canary"], "cookie": {"name": "p"}}"#),
            request: browser("/"),
            calls: [REQUEST, HANDED_OUT, END],
            fuel: 20_500,
            allocations: 1,
        },
        Kind {
            name: "a signed pin, handed out",
            config: checkout(
                r#""pin": {"versions": ["stable", "canary"], "cookie": {"name": "p"}, "signingKey": "c2l4dGVlbi1ieXRlcy1vci1tb3JlLW9mLXJhbmRvbQ=="}"#,
            ),
            request: browser("/"),
            calls: [REQUEST, HANDED_OUT, END],
            fuel: 38_000,
            allocations: 3,
        },
        Kind {
            name: "guard and answer headers",
            config: checkout(
                r#""guard": {"maxFailureRatio": 0.05}, "output": {"responseHeader": "x-got", "reasonHeader": "x-why"}"#,
            ),
            request: browser("/"),
            calls: [REQUEST, "proxy_get_header_map_value 1, proxy_replace_header_map_value 2", END],
            fuel: 12_400,
            allocations: 0,
        },
        Kind {
            name: "an anonymous id, issued",
            config: checkout(r#""anonymousId": {"cookie": {"name": "anon"}}"#)
                .replace(r#""header": "x-user-id""#, r#""header": "x-nobody""#),
            request: browser("/"),
            calls: [
                // The connection and the address tell whose it is; further requests of the same client share it.
                "clock_time_get 1, proxy_get_current_time_nanoseconds 1, proxy_get_header_map_pairs 1, \
                 proxy_get_property 2, proxy_replace_header_map_value 2",
                HANDED_OUT,
                END,
            ],
            // A hash tells the client from others.
            fuel: 54_000,
            allocations: 3,
        },
        Kind {
            name: "everything",
            config: include_str!("cases/full.json").into(),
            request: browser("/checkout/pay?a=1"),
            calls: [
                "clock_time_get 1, proxy_get_current_time_nanoseconds 1, proxy_get_header_map_pairs 1, \
                 proxy_get_property 1, proxy_replace_header_map_value 3",
                // How long the version took, for its guard.
                "clock_time_get 1, proxy_get_header_map_value 1, proxy_replace_header_map_value 2",
                END,
            ],
            fuel: 27_500,
            allocations: 5,
        },
    ]
}

/// The host calls of one request by phase, after the first few requests.
fn calls<R: Rig>(kind: &Kind) -> [String; 3] {
    let mut worker = Worker::<R>::with(&kind.config);
    for _ in 0..3 {
        worker.send(kind.request.clone());
    }
    worker.world.take_counts();
    let shown = |worker: &Worker<R>| {
        let counts = worker.world.take_counts();
        let counts: Vec<String> =
            counts.iter().map(|(name, count)| format!("{name} {count}")).collect();
        counts.join(", ")
    };
    let open = worker.begin(kind.request.clone());
    let request = shown(&worker);
    worker.on(&open, Event::ResponseHeaders { end: false });
    // The answer's headers are empty here: its status cannot be read, and is none.
    let response = shown(&worker);
    worker.end(open);
    [request, response, shown(&worker)]
}

/// The same, of a request that is answered 200.
fn calls_of_a_whole_request<R: Rig>(kind: &Kind) -> String {
    let mut worker = Worker::<R>::with(&kind.config);
    for _ in 0..3 {
        worker.send(kind.request.clone());
    }
    worker.world.take_counts();
    worker.send(kind.request.clone());
    let counts = worker.world.take_counts();
    counts.iter().map(|(name, count)| format!("{name} {count}")).collect::<Vec<_>>().join(", ")
}

/// The sum of the calls of several phases.
fn sum(phases: &[&str; 3]) -> String {
    let mut sums = std::collections::BTreeMap::<&str, u64>::new();
    for call in phases.iter().flat_map(|phase| phase.split(", ")).filter(|call| !call.is_empty()) {
        let (name, count) = call.split_once(' ').expect("a name and a count");
        *sums.entry(name).or_default() += count.parse::<u64>().expect("a count");
    }
    sums.iter().map(|(name, count)| format!("{name} {count}")).collect::<Vec<_>>().join(", ")
}

#[test]
fn a_request_makes_the_host_calls_that_it_must_and_no_others() {
    for kind in kinds() {
        assert_eq!(calls::<Native>(&kind)[0], kind.calls[0], "{}, request", kind.name);
        assert_eq!(calls::<Native>(&kind)[1], kind.calls[1], "{}, response", kind.name);
        for whole in
            [calls_of_a_whole_request::<Native>(&kind), calls_of_a_whole_request::<Wasm>(&kind)]
        {
            assert_eq!(whole, sum(&kind.calls), "{}", kind.name);
        }
    }
}

/// The interpreter's fuel for one request.
fn fuel(config: &str, request: &Exchange) -> u64 {
    Cost::of(config, request).fuel
}

struct Nowhere;

impl Surroundings for Nowhere {
    fn client_address(&self) -> Option<IpAddr> {
        Some(IpAddr::from([203, 0, 113, 9]))
    }

    fn random(&self) -> Option<[u8; 16]> {
        Some([7; 16])
    }
}

/// The allocations of one decision of every rollout that matches, without reading the header map.
fn allocations(config: &str, request: &Exchange) -> u64 {
    let plan = Plan::new(Config::from_json(config.as_bytes()).expect("a good configuration"));
    let headers: Headers = request.state.request.iter().cloned().collect();
    let turn = Cell::new(0);
    let decide_all = || {
        let request = Request::new(&plan, &headers, &Nowhere);
        for position in plan.candidates(|| request.host()) {
            let rollout = &plan.rollouts()[position];
            if rollout.applies(&request) {
                let standing = Standing { split: &rollout.split, holds: &[], turn: &turn };
                let decision = decide(plan.config(), rollout, &standing, &request, &mut ());
                std::hint::black_box(&decision);
            }
        }
    };
    decide_all();
    let before = ALLOCATIONS.with(Cell::get);
    decide_all();
    ALLOCATIONS.with(Cell::get) - before
}

/// What the proxy hands over and takes is the proxy's; between the two nothing is allocated.
#[test]
fn a_look_at_a_version_under_guard_allocates_nothing() {
    let config = for_any_host(1).replace(
        r#""hashKey""#,
        r#""guard": {"maxFailureRatio": 0.05, "slowerThan": "500ms", "maxSlowRatio": 0.05}, "hashKey""#,
    );
    let config = Config::from_json(config.as_bytes()).expect("a good configuration");
    let guard = config.rollouts[0].guard.as_ref().expect("a guard");
    let mut bytes = Record::new(guard, 0).to_bytes();
    let mut changes = 0;
    let before = ALLOCATIONS.with(Cell::get);
    for look in 1..=1_000 {
        let mut heard = Heard::default();
        heard.answered.stable.answers = 90;
        heard.answered.version =
            Totals { answers: 10, failures: u64::from(look > 500) * 10, slow: look % 2 };
        (0..10).for_each(|user| heard.sufferers[0].add(look as u32 * 10 + user));
        let mut record = Record::from_bytes(&bytes).expect("a record");
        let now = look * 250;
        record.add(guard, &heard, now);
        let moment = Moment { now, wall: now, known_for: 0, alone: false };
        changes += usize::from(record.look(guard, &moment).is_some());
        std::hint::black_box(record.summary(guard));
        bytes = record.to_bytes();
    }
    assert_eq!(ALLOCATIONS.with(Cell::get) - before, 0);
    assert_eq!(changes, 1, "it tripped among them");
}

#[test]
fn a_request_spends_no_more_than_its_ceiling() {
    let mut table = format!("{:<28}{:>10}{:>10}{:>14}\n", "kind", "fuel", "ceiling", "allocations");
    let mut over = Vec::new();
    for kind in kinds() {
        let spent = fuel(&kind.config, &kind.request);
        let allocated = allocations(&kind.config, &kind.request);
        writeln!(table, "{:<28}{spent:>10}{:>10}{allocated:>14}", kind.name, kind.fuel).unwrap();
        if spent > ceiling(kind.fuel) || allocated > kind.allocations {
            over.push(kind.name);
        }
    }
    println!("{table}");
    assert!(over.is_empty(), "over the ceiling: {over:?}\n{table}");
}

/// The ceilings are for the module as `wasm-opt` leaves it; without it a request spends up to a third more.
fn ceiling(optimised: u64) -> u64 {
    if support::module::is_optimised() {
        optimised
    } else {
        optimised * 4 / 3
    }
}

#[test]
fn a_long_text_is_looked_for_at_the_cost_of_a_short_one() {
    for ignore_case in [false, true] {
        let of = |length: usize| {
            let part = format!(
                r#"{{"contains": "{}b", "ignoreCase": {ignore_case}}}"#,
                "a".repeat(length)
            );
            let rule = format!(
                r#""rules": [{{"name": "r", "match": [{{"header": {{"x-h": {part}}}}}], "version": "canary"}}]"#
            );
            fuel(&checkout(&rule), &browser("/").header("x-h", "a".repeat(8192)))
        };
        let (short, long) = (of(20), of(2000));
        println!("contains in 8 KiB, ignoreCase {ignore_case}: {short} fuel for 21 letters, {long} for 2,001");
        assert!(long <= short * 2, "{short}, {long}");
    }
}

#[test]
fn a_pass_through_request_touches_nothing() {
    for config in
        [r#"{"rollouts": []}"#.to_owned(), checkout(r#""match": [{"path": {"exact": "/a"}}]"#)]
    {
        let mut worker = Worker::<Wasm>::with(&config);
        worker.world.take_counts();
        worker.send(browser("/"));
        let counts = worker.world.take_counts();
        for call in [
            "proxy_replace_header_map_value",
            "proxy_remove_header_map_value",
            "proxy_increment_metric",
        ] {
            assert_eq!(counts.get(call), None, "{counts:?}");
        }
    }
}

#[test]
fn the_module_is_small() {
    let size = support::module::bytes().len();
    println!("{size} bytes");
    let limit = if support::module::is_optimised() { 400 } else { 500 };
    assert!(size < limit * 1024, "{size} bytes");
}
