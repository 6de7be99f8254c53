//! The record as it lies in the proxy's shared data: small, and read as it was written.

use cohort::config::Guard;
use cohort::engine::guard::{Heard, Moment, Pair, Phase, Record, Totals};
use proptest::prelude::*;

use super::{guard, START};

fn two_causes() -> Guard {
    guard(
        r#""maxFailureRatio": 0.05, "slowerThan": "500ms", "maxSlowRatio": 0.05, "retryAfter": "10s""#,
    )
}

/// A look, a quarter of a second after the last one, at what came meanwhile.
fn look(guard: &Guard, record: &mut Record, looks: u64, heard: &Heard) {
    let now = START + looks * 250;
    record.add(guard, heard, now);
    record.look(guard, &Moment { now, wall: now, known_for: 10_000, alone: false });
}

/// What comes in a quarter of a second: so many answers of the version, of which each `bad`-th fails and is
/// slow, and nine times as many of stable, of which each thousandth does.
fn heard(answers: u64, bad: u64, looks: u64) -> Heard {
    let totals = |answers: u64, every: u64| {
        let bad = (looks + 1) * answers / every - looks * answers / every;
        Totals { answers, failures: bad, slow: bad }
    };
    let answered = Pair { version: totals(answers, bad), stable: totals(9 * answers, 1_000) };
    let mut heard = Heard { answered, ..Heard::default() };
    for user in 0..answered.version.failures.min(16) {
        let user = (looks * 16 + user) as u32;
        heard.sufferers.iter_mut().for_each(|sufferers| sufferers.add(user));
    }
    heard
}

/// The specification's 256 bytes for a version, here with both causes and every user known by name.
#[test]
fn a_record_is_at_most_256_bytes_with_up_to_20_000_requests_a_second() {
    let guard = two_causes();
    let mut longest = Vec::new();
    for rate in [20, 200, 2_000, 20_000] {
        for bad in [1, 2, 10, 50, 1_000] {
            let mut record = Record::new(&guard, START);
            let lengths = (0..4 * 600).map(|looks| {
                look(&guard, &mut record, looks, &heard((rate / 40).max(1), bad, looks));
                record.to_bytes().len()
            });
            longest.push((lengths.max().expect("it was looked at"), rate, bad));
        }
    }
    println!("bytes, requests a second, one bad answer of so many: {longest:?}");
    assert!(longest.iter().all(|(bytes, ..)| *bytes <= 256), "{longest:?}");
    let idle = Record::new(&super::guard(""), START).to_bytes().len();
    println!("{idle} bytes of a version that nothing is known of");
    assert!(idle <= 80, "{idle}");
}

/// What the bytes do not hold delays a trip by a look at most, and never brings one forward.
#[test]
fn a_record_that_is_written_and_read_at_every_look_trips_when_one_that_is_not_does() {
    let guard = two_causes();
    for (answers, bad) in [(1, 1), (5, 2), (20, 5), (20, 10), (50, 9), (200, 9)] {
        let trip = |written: bool| {
            let mut record = Record::new(&guard, START);
            (0..40_000).find(|looks| {
                if written {
                    record = Record::from_bytes(&record.to_bytes()).expect("a record");
                }
                look(&guard, &mut record, *looks, &heard(answers, bad, *looks));
                record.phase == Phase::Out
            })
        };
        let (kept, written) = (trip(false), trip(true));
        println!("{answers} answers a look, one of {bad} bad: out at look {kept:?}, {written:?}");
        let (kept, written) = (kept.expect("it trips"), written.expect("it trips"));
        assert!(kept <= written && written <= kept + 1, "{kept} {written}");
    }
}

/// A count: often small, sometimes more than a proxy lives to see.
fn count() -> impl Strategy<Value = u64> {
    prop_oneof![3 => 0..300_u64, 1 => 0..1_u64 << 40]
}

fn totals() -> impl Strategy<Value = Totals> {
    (count(), count(), count()).prop_map(|(answers, failures, slow)| Totals {
        answers,
        failures: failures.min(answers),
        slow: slow.min(answers),
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(512) })]

    /// Any counts, any users, any clock, in any phase: what was written is read, and says the same.
    #[test]
    fn a_record_survives_the_shared_data(
        steps in proptest::collection::vec((totals(), totals(), any::<u32>(), 0_u32..40, any::<u64>(), any::<bool>()), 0..12),
    ) {
        let guard = two_causes();
        let fresh = Record::new(&guard, START).to_bytes();
        let mut record = Record::from_bytes(&fresh).expect("a record");
        for (version, stable, user, users, clock, far) in steps {
            let mut heard = Heard { answered: Pair { version, stable }, ..Heard::default() };
            (0..users).for_each(|more| heard.sufferers[0].add(user.wrapping_add(more)));
            let now = if far { clock } else { START + clock % 100_000 };
            record.add(&guard, &heard, now);
            record.look(&guard, &Moment { now, wall: clock, known_for: clock % 20_000, alone: far });
            let bytes = record.to_bytes();
            let read = Record::from_bytes(&bytes).expect("a record");
            prop_assert_eq!(&read.to_bytes()[..], &bytes[..]);
            prop_assert_eq!(read.phase, record.phase);
            prop_assert_eq!(read.round, record.round);
            prop_assert_eq!(read.first_trip, record.first_trip);
            prop_assert_eq!(read.figures(&guard, now), record.figures(&guard, now));
            prop_assert!(read.nearness(&guard) <= record.nearness(&guard));
            prop_assert!(record.nearness(&guard) <= read.nearness(&guard) + 1);
            record = read;
        }
        // As much as there is room for.
        let most = Totals { answers: u64::MAX, failures: u64::MAX, slow: u64::MAX };
        for _ in 0..2 {
            record.add(&guard, &Heard { answered: Pair { version: most, stable: most }, ..Heard::default() }, START);
            let bytes = record.to_bytes();
            prop_assert_eq!(Record::from_bytes(&bytes), Some(record.clone()));
        }
    }

    /// Noise is no record, unless it is exactly what one is written as.
    #[test]
    fn what_is_read_is_written_the_same(noise in proptest::collection::vec(any::<u8>(), 0..120), at in 0_usize..60, byte in any::<u8>()) {
        let mut bytes = Record::new(&two_causes(), START).to_bytes().to_vec();
        if let Some(place) = bytes.get_mut(at) {
            *place = byte;
        }
        for bytes in [&bytes[..], &noise] {
            if let Some(read) = Record::from_bytes(bytes) {
                prop_assert_eq!(&read.to_bytes()[..], bytes);
            }
        }
    }
}
