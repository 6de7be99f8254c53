//! One attacker who makes a version fail for keys of his own, on a proxy whose other users are well.

use cohort::config::Millis;
use cohort::engine::guard::{Heard, Moment, Phase, Recent, Record};

use super::{guard, Poisson, Random, LOOK};

const WORKERS: usize = 2;
const USERS: u64 = 10_000;
/// How long he tries.
const TRIES: Millis = 600_000;
/// How often a user counts.
const ONCE_IN: Millis = 10_000;

/// Whether `keys` keys take out a version of `weight` percent at `rate` requests a second of others. Each of
/// them fails at every worker as often as it counts: all at once, or one after the other.
fn trips(weight: u64, rate: f64, keys: u64, at_once: bool, seed: u64) -> bool {
    let guard = guard("");
    let mut random = Random(seed * 7_919 + 13);
    let arrivals = Poisson::new(rate * LOOK as f64 / 1000.0 / WORKERS as f64);
    let mut record = Record::new(&guard, 0);
    let mut recent: Vec<[Recent; 2]> = (0..WORKERS).map(|_| Default::default()).collect();
    for look in 1..=TRIES / LOOK {
        let now = look * LOOK;
        for [canary, stable] in &mut recent {
            let mut heard = Heard::default();
            for _ in 0..arrivals.draw(&mut random) {
                let (user, fails) = (random.below(USERS), random.unit() < 0.001);
                let ours = user < USERS * weight / 100;
                let (recent, totals) = if ours {
                    (&mut *canary, &mut heard.answered.version)
                } else {
                    (&mut *stable, &mut heard.answered.stable)
                };
                if recent.counts(user as u32, now) {
                    totals.answers += 1;
                    totals.failures += u64::from(fails);
                    if ours && fails {
                        heard.sufferers[0].add(user as u32);
                    }
                }
            }
            for key in 0..keys {
                let turn = if at_once { 0 } else { key * ONCE_IN / keys / LOOK };
                if (look + ONCE_IN / LOOK - turn) % (ONCE_IN / LOOK) != 1 {
                    continue;
                }
                let user = (USERS + key) as u32;
                if canary.counts(user, now) {
                    heard.answered.version.answers += 1;
                    heard.answered.version.failures += 1;
                    heard.sufferers[0].add(user);
                }
            }
            record.add(&guard, &heard, now);
            record.look(&guard, &Moment { now, wall: now, known_for: 0, alone: false });
            if record.phase == Phase::Out {
                return true;
            }
        }
    }
    false
}

/// The fewest keys that take the version out within ten minutes in most of `plays` plays.
pub fn fewest(weight: u64, rate: f64, at_once: bool, plays: u64) -> u64 {
    let enough = |keys: u64| {
        let won = (0..plays).filter(|seed| trips(weight, rate, keys, at_once, *seed)).count();
        won as u64 * 2 > plays
    };
    let mut most = 1;
    while !enough(most) {
        most *= 2;
    }
    let mut least = most / 2 + 1;
    while least < most {
        let middle = (least + most) / 2;
        if enough(middle) {
            most = middle;
        } else {
            least = middle + 1;
        }
    }
    most
}
