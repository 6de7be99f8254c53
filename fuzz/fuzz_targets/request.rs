//! Any request, answer and host faults through the whole filter, against the fake proxy of the tests.
//!
//! The first bytes say what the host does; then each line is `name: value` of the request, after an empty
//! line of its trailers, after another of the answer, after a third of the answer's trailers.
//!
//! The configuration is read once: what a stream leaves behind is counters, and no decision reads those. Of
//! the inputs with faults one in 256 has a proxy of its own, which nobody has asked anything yet: the filter
//! defines its metrics with the first request.
#![no_main]

mod support;

use std::cell::RefCell;

use libfuzzer_sys::fuzz_target;
use support::exchange::Lines;
use support::faults::{Dice, Faults, Statuses};
use support::lines::Draft;
use support::native::NativeVm;
use support::rig::Worker;
use support::world::START;

const FULL: &str = include_str!("../../tests/cases/full.json");

/// The greatest first byte that means no faults; above it, so many more of a hundred calls fail.
const NO_FAULTS: u8 = 100;

thread_local! {
    static WORKER: RefCell<Worker<NativeVm>> = RefCell::new(Worker::with(FULL));
}

fuzz_target!(|bytes: &[u8]| {
    let Some((head @ &[percent, seed, ..], rest)) = bytes.split_first_chunk::<4>() else {
        return;
    };
    if percent > NO_FAULTS && seed == 255 {
        // The filter keeps a thread's newest configuration, so a proxy of its own is in a thread of its own.
        std::thread::scope(|scope| {
            scope.spawn(|| pass(&mut Worker::with(FULL), *head, rest)).join()
        })
        .expect("the proxy lives");
    } else {
        WORKER.with_borrow_mut(|worker| pass(worker, *head, rest));
    }
});

fn pass(worker: &mut Worker<NativeVm>, head: [u8; 4], rest: &[u8]) {
    let [percent, seed, status, flags] = head;
    let mut draft = Draft::new();
    rest.split(|byte| *byte == b'\n').for_each(|line| draft.line(line));
    let exchange = draft.exchange(status, flags);
    let faulty = percent > NO_FAULTS;
    {
        let mut state = worker.world.state();
        (state.now, state.random) = (START * 1_000_000, Some(7));
        state.log.clear();
        state.faults = faulty.then(|| Faults {
            dice: Dice(seed.into()),
            percent: u64::from(percent - NO_FAULTS),
            clock: seed % 2 == 0,
            statuses: Statuses::Any,
        });
    }
    let forged = exchange.state.request.clone();
    let seen = worker.send(exchange.clone());
    if faulty {
        worker.world.state().faults = None;
        return;
    }
    // At most one version, whatever was sent, and nothing of the client's under another spelling.
    let versions: Vec<_> =
        seen.request.iter().filter(|(name, _)| name == b"x-cohort-checkout").collect();
    assert!(versions.len() <= 1, "{versions:?}");
    for (_, version) in &versions {
        assert!(*version == b"stable" || *version == b"canary", "{version:?}");
    }
    let folded = |name: &[u8]| cohort::http::fold(name).eq(b"x-cohort-cluster".iter().copied());
    for (name, value) in seen.request.iter().filter(|(name, _)| folded(name)) {
        assert_eq!(name, b"x-cohort-cluster");
        assert!(value == b"checkout-v1" || value == b"checkout-v2", "{value:?}");
    }
    // What is not ours comes through as it was.
    let ours = |name: &[u8]| {
        let folded: Vec<u8> = cohort::http::fold(name).collect();
        [&b"x-cohort-"[..], b"x-feature-new-cart", b"x-canary-secret", b"baggage"]
            .iter()
            .any(|our| folded.starts_with(our))
    };
    let others = |lines: &[(Vec<u8>, Vec<u8>)]| -> Lines {
        lines.iter().filter(|(name, _)| !ours(name)).cloned().collect()
    };
    assert_eq!(others(&forged), others(&seen.request));
    // The same again, with the same random bytes, comes out the same.
    worker.world.state().random = Some(7);
    assert_eq!(worker.send(exchange), seen);
}
