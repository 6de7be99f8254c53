//! The test itself: its vectors, its mean over all outcomes, and what no answers can do to it.

use cohort::config::{Guard, Ratio};
use cohort::engine::guard::{
    ln_e_value, remember, Answered, Block, Bounds, Change, Evidence, From, Heard, Moment, Pair,
    Record, Remembered, Sufferers, Totals,
};
use proptest::prelude::*;

use super::{guard, START};

fn of(answers: f64, bad: f64) -> Answered {
    Answered { answers, bad }
}

fn near(actual: f64, wanted: f64) -> bool {
    (actual - wanted).abs() <= 1e-9 * wanted.abs().max(1.0)
}

#[test]
fn a_block_s_e_value_is_what_the_vectors_say() {
    let vectors = [
        ([1.0, 1.0, 9.0, 0.0], 0.95, 0.001, 2.0, 2.590086695753),
        ([1.0, 0.0, 9.0, 0.0], 0.95, 0.001, 2.0, -1.993420685782),
        ([10.0, 10.0, 90.0, 0.0], 0.95, 0.001, 2.0, 25.900866957532),
        ([10.0, 10.0, 90.0, 90.0], 0.95, 0.001, 2.0, -385.807660657225),
        ([5.0, 1.0, 45.0, 1.0], 0.2, 0.01, 2.0, 0.438867076509),
        ([50.0, 5.0, 450.0, 5.0], 0.11, 0.01, 1.0, 5.240909957651),
        ([9.0, 9.0, 1.0, 0.0], 0.98, 0.02, 2.0, 2.460496981756),
        ([1.0, 1.0, 1.0, 0.0], 0.95, 0.001, 2.0, 1.019782900203),
    ];
    for ([ours, bad, theirs, their_bad], share, stable, times, wanted) in vectors {
        let value = ln_e_value(of(ours, bad), of(theirs, their_bad), share, stable, times);
        assert!(near(value, wanted), "{value} is not {wanted}");
    }
}

/// One answer of the version and nine good ones of stable for each look; when all fail after `good`
/// looks, the sums of the evidence after the last four of them.
fn whole_run(good: u64, bad: u64) -> Vec<f64> {
    let bounds = Bounds::new(Ratio::from_millionths(50_000).unwrap(), 2_000, 365 * 86_400_000, 1);
    let mut evidence = Evidence::begin(&bounds, From::Start);
    let mut known = Remembered::default();
    (1..=good + bad)
        .map(|look| {
            let version = of(1.0, f64::from(u8::from(look > good)));
            let block = Block { version, stable: of(9.0, 0.0), length: 250, alone: false };
            evidence.hear(&bounds, &block, known);
            known = remember(known, &block);
            evidence.sums()[0]
        })
        .collect()
}

#[test]
fn a_version_that_only_fails_is_sure_to_at_the_fourth_look() {
    for (sum, wanted) in
        whole_run(0, 4).into_iter().zip([1.540820e-2, 1.012599e-1, 7.055607e-1, 2.957])
    {
        // The vectors have seven digits, and four.
        let slack = if wanted > 1.0 { 5e-4 } else { 5e-7 };
        assert!((sum / wanted - 1.0).abs() < slack, "{sum} is not {wanted}");
    }
}

#[test]
fn after_a_thousand_good_looks_it_takes_eight() {
    let sums = whole_run(1_000, 8);
    assert!((sums[999] / 2.354153e-6 - 1.0).abs() < 5e-7, "{}", sums[999]);
    assert!(sums[1_006] < 1.0 && sums[1_007] >= 1.0, "{:?}", &sums[1_000..]);
}

/// A record that is handed one block a look.
pub struct Played {
    pub record: Record,
    guard: Guard,
    now: u64,
}

impl Played {
    pub fn new(guard: Guard) -> Self {
        Self { record: Record::new(&guard, START), guard, now: START }
    }

    pub fn look(&mut self, answered: Pair) -> Option<Change> {
        self.now += 250;
        let mut users = Sufferers::default();
        for user in 0..answered.version.failures.max(answered.version.slow).min(16) {
            users.add(user as u32 + 1);
        }
        let heard = Heard { answered, sufferers: [users, users] };
        self.record.add(&self.guard, &heard, self.now);
        let moment = Moment { now: self.now, wall: self.now, ..Moment::default() };
        self.record.look(&self.guard, &moment)
    }
}

#[test]
fn the_record_comes_to_what_the_test_alone_does() {
    let answered = |failures| Pair {
        version: Totals { answers: 1, failures, slow: 0 },
        stable: Totals { answers: 9, ..Totals::default() },
    };
    let mut played = Played::new(guard(r#""count": "requests""#));
    assert!((1..=3).all(|_| played.look(answered(1)).is_none()));
    assert!(played.look(answered(1)).is_some(), "at the fourth look");
    let mut played = Played::new(guard(r#""count": "requests""#));
    assert!((1..=1_000).all(|_| played.look(answered(0)).is_none()));
    assert!((1..=7).all(|_| played.look(answered(1)).is_none()));
    assert!(played.look(answered(1)).is_some(), "at look 1,008");
}

/// The logarithm of the mean of `e^value` over how many of `answers` are bad, each with the probability
/// `share`.
fn ln_mean(answers: usize, share: f64, value: impl Fn(f64) -> f64) -> f64 {
    let mut ways = 0.0;
    let mut terms = Vec::with_capacity(answers + 1);
    for bad in 0..=answers {
        if bad > 0 {
            ways += ((answers - bad + 1) as f64 / bad as f64).ln();
        }
        // 0 · ln 0 is 0 here: what cannot be is left out below.
        let times = |count: usize, log: f64| if count == 0 { 0.0 } else { count as f64 * log };
        let chance = ways + times(bad, share.ln()) + times(answers - bad, (1.0 - share).ln());
        if chance > f64::NEG_INFINITY {
            terms.push(chance + value(bad as f64));
        }
    }
    let most = terms.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    most + terms.iter().map(|term| (term - most).exp()).sum::<f64>().ln()
}

/// Whatever both versions really do, as long as it is allowed, the e-value of a block is 1 on average, at
/// most. Computed over every outcome, not sampled.
#[test]
fn the_mean_of_the_e_value_is_never_above_one() {
    let (mut cases, mut worst) = (0, 0.0_f64);
    for times in [1.0, 1.5, 2.0, 10.0, 1000.0] {
        for ours in [1_usize, 2, 5, 20, 100] {
            for theirs in [1_usize, 3, 19, 100, 500] {
                for stable in [1e-4, 0.003, 0.05, 0.3, 0.7] {
                    for worse in [1.5, 5.0, 50.0, 2000.0] {
                        let odds = times * stable / (1.0 - stable) * worse;
                        let share = odds / (1.0 + odds);
                        let value = |bad, their_bad| {
                            let (ours, theirs) =
                                (of(ours as f64, bad), of(theirs as f64, their_bad));
                            ln_e_value(ours, theirs, share, stable, times)
                        };
                        let none = value(0.0, 0.0);
                        for really in [0.0, 1e-5, 1e-3, 0.01, 0.05, 0.1, 0.3, 0.5, 0.8, 0.99, 1.0] {
                            let theirs_mean = ln_mean(theirs, really, |bad| value(0.0, bad) - none);
                            for inside in [1.0, 0.7, 0.2] {
                                let edge = if really == 1.0 {
                                    1.0
                                } else {
                                    let odds = times * really / (1.0 - really);
                                    odds / (1.0 + odds)
                                };
                                let ours_mean =
                                    ln_mean(ours, edge * inside, |bad| value(bad, 0.0) - none);
                                worst = worst.max((ours_mean + theirs_mean + none).exp());
                                cases += 1;
                            }
                        }
                    }
                }
            }
        }
    }
    println!("{cases} cases: the largest mean is {worst:.12}");
    assert_eq!(cases, 82_500);
    assert!(worst <= 1.0 + 1e-9, "{worst}");
}

/// Any number of answers, and how many of them were bad: none, some, or all.
fn answered() -> impl Strategy<Value = Answered> {
    answered_below(34)
}

/// The same, with fewer answers than this power of two.
fn answered_below(power: u32) -> impl Strategy<Value = Answered> {
    (0..power, 0.0..1.0_f64, 0_u8..3).prop_map(|(size, part, kind)| {
        let answers = (part * f64::from(size).exp2()).floor();
        let bad = match kind {
            0 => 0.0,
            1 => answers,
            _ => (answers * part).floor(),
        };
        of(answers, bad)
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(512) })]

    #[test]
    fn evidence_stays_between_zero_and_one(
        limit in 0_u32..=1_000_000,
        times in 1_000_u32..=1_000_000,
        years in 1_u64..3650,
        causes in 1_usize..3,
        from in prop_oneof![Just(From::Start), Just(From::Trial)],
        blocks in proptest::collection::vec((answered(), answered(), 0_u64..100_000_000, any::<bool>()), 1..60),
    ) {
        let bounds = Bounds::new(Ratio::from_millionths(limit).unwrap(), times, years * 86_400_000, causes);
        let mut evidence = Evidence::begin(&bounds, from);
        let mut known = Remembered::default();
        for (version, stable, length, alone) in blocks {
            let block = Block { version, stable, length, alone };
            let before = evidence;
            evidence.hear(&bounds, &block, known);
            known = remember(known, &block);
            for sum in evidence.sums() {
                prop_assert!((0.0..=4.0).contains(&sum), "{:?}", evidence);
            }
            if version.answers == 0.0 {
                prop_assert_eq!(evidence, before, "without answers of the version nothing is known of it");
            }
            prop_assert!(evidence.nearness(&bounds, from) <= 1000);
            prop_assert!(!evidence.is_sure() || evidence.nearness(&bounds, from) == 1000);
        }
    }

    /// An outage that both share never speaks against the version more than one that it has alone. With a thousand
    /// million answers in one block, which is seconds, the sums of logarithms are too coarse for that.
    #[test]
    fn more_failures_of_stable_never_speak_against_the_version(
        version in answered_below(24), stable in answered_below(24), before in answered_below(24), more in 0.0..1.0_f64,
        limit in 1_u32..900_000, length in 0_u64..30_000,
    ) {
        prop_assume!(stable.answers >= 1.0);
        let bounds = Bounds::new(Ratio::from_millionths(limit).unwrap(), 2_000, 86_400_000, 1);
        let worse_stable = of(stable.answers, stable.bad + ((stable.answers - stable.bad) * more).floor());
        let [one, other] = [stable, worse_stable].map(|stable| {
            let mut evidence = Evidence::begin(&bounds, From::Start);
            evidence.hear(&bounds, &Block { version, stable, length, alone: false }, before);
            evidence.sums()[0]
        });
        prop_assert!(other <= one * (1.0 + 1e-9), "{} after {}", other, one);
    }
}
