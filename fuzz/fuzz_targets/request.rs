//! Any request, answer and host faults through the whole filter, against the fake proxy of the tests.
//!
//! The first bytes say what the host does; then each line is `name: value` of the request, after an empty
//! line of its trailers, after another of the answer.
#![no_main]

mod support;

use libfuzzer_sys::fuzz_target;
use support::exchange::{get, Ending, Reply};
use support::faults::{Dice, Faults};
use support::native::NativeVm;
use support::rig::Worker;

const FULL: &str = include_str!("../../tests/cases/full.json");

fuzz_target!(|bytes: &[u8]| {
    let Some((&[percent, seed, status, flags], rest)) = bytes.split_first_chunk::<4>() else {
        return;
    };
    let mut worker = Worker::<NativeVm>::with(FULL);
    let mut exchange = get("/checkout");
    let mut reply = Reply::new(u16::from(status) * 4);
    let mut part = 0;
    for line in rest.split(|byte| *byte == b'\n') {
        if line.is_empty() {
            part += 1;
            continue;
        }
        let at = line.iter().position(|byte| *byte == b':').unwrap_or(line.len());
        let (name, value) = line.split_at(at);
        let value: Vec<u8> =
            value.iter().skip(1).copied().filter(|byte| !matches!(byte, 0 | b'\r')).collect();
        let pair = (name.to_ascii_lowercase(), value);
        match part {
            0 => exchange.state.request.push(pair),
            1 => exchange.state.request_trailers.push(pair),
            2 => reply.headers.push(pair),
            _ => reply.trailers.push(pair),
        }
    }
    reply.flags = u64::from(flags) << 8;
    reply.ended = flags % 2 == 0;
    exchange.ending = if flags == 255 { Ending::Aborted } else { Ending::Answer(reply) };
    let faulty = percent > 100;
    if faulty {
        let faults = Faults {
            dice: Dice(seed.into()),
            percent: u64::from(percent) - 100,
            clock: seed % 2 == 0,
        };
        worker.world.state().faults = Some(faults);
    }
    let forged = exchange.state.request.clone();
    let seen = worker.send(exchange.clone());
    worker.world.state().faults = None;
    if faulty {
        return;
    }
    // At most one version, whatever was sent, and nothing of the client's under another spelling.
    let versions: Vec<_> =
        seen.request.iter().filter(|(name, _)| name == b"x-cohort-checkout").collect();
    assert!(versions.len() <= 1, "{versions:?}");
    for (_, version) in versions {
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
    let others = |lines: &[(Vec<u8>, Vec<u8>)]| -> Vec<(Vec<u8>, Vec<u8>)> {
        lines.iter().filter(|(name, _)| !ours(name)).cloned().collect()
    };
    assert_eq!(others(&forged), others(&seen.request));
    // The same again decides the same, but for what the cookies changed.
    let again = worker.send(exchange);
    assert_eq!(again.request_trailers, seen.request_trailers);
});
