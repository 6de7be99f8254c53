//! Both versions fail alike, but not independently: outages that they share, bursts, pods that restart, users
//! who try again and again.

use std::collections::VecDeque;
use std::f64::consts::TAU;

use cohort::engine::guard::{Pair, Totals};

use super::{Poisson, Random, Rule, LOOK};

/// What fails in a scenario, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scenario {
    /// The share of failures wanders between 0.2 and 8 % within twenty minutes.
    Drift,
    /// Outages of both, of 8 s on average, six an hour; the version feels them so many looks earlier.
    Outage { earlier: usize },
    /// Failures come in batches, at one moment or over two looks.
    Batches { spread: bool },
    /// A user who fails tries again twice a second.
    Retry { once: bool },
    /// Twenty pods, each of which is dead for so many looks once an hour.
    Pods { dead: u64 },
    /// Sessions of a minute; for one of 200 users most requests fail.
    Sessions { once: bool },
    /// What both need hangs; the version gives up after a second, stable after fifteen.
    Hang,
}

impl Scenario {
    pub const ALL: [(&str, Self); 14] = [
        ("the share of errors drifts from 0.2 to 8 % within 20 min", Self::Drift),
        ("shared outages, 20 to 100 % errors, mean 8 s, 6 an hour", Self::Outage { earlier: 0 }),
        ("… the version feels them 0.25 s earlier", Self::Outage { earlier: 1 }),
        ("… 0.5 s earlier", Self::Outage { earlier: 2 }),
        ("… 1 s earlier", Self::Outage { earlier: 4 }),
        ("failures in batches at one moment", Self::Batches { spread: false }),
        ("… spread over two looks", Self::Batches { spread: true }),
        ("one user fails up to 100 times in a row, 2/s", Self::Retry { once: false }),
        ("… users counted once", Self::Retry { once: true }),
        ("20 pods, each dead for 2 s once an hour", Self::Pods { dead: 8 }),
        ("… for 1 s", Self::Pods { dead: 4 }),
        ("sessions of a minute at 1/s; 1 of 200 users fails 80 %", Self::Sessions { once: false }),
        ("… users counted once", Self::Sessions { once: true }),
        ("shared hang; the version times out after 1 s, stable after 15 s", Self::Hang),
    ];
}

/// What a version fails with where nothing happens.
const USUAL: f64 = 0.002;

/// In how many looks a user counts once.
const ONCE_IN: u64 = 10_000 / LOOK;

/// How often each rule takes the version out in so many hours, each of which begins a rollout.
pub fn alarms(
    scenario: Scenario,
    rate: f64,
    weight: f64,
    hours: u64,
    rules: &mut [Box<dyn Rule>],
) -> Vec<u64> {
    super::alarms(rules, hours, |hour| {
        let mut world = World::new(scenario, rate, weight, hour);
        move |look| {
            world.pass(look);
            world.answered
        }
    })
}

/// One hour of a scenario.
struct World {
    scenario: Scenario,
    rate: f64,
    weight: f64,
    random: Random,
    /// How many requests each version gets between two looks.
    requests: [Poisson; 2],
    answered: Pair,
    phase: f64,
    walk: f64,
    outage: Outage,
    /// What the version failed with at the last looks.
    history: [f64; 16],
    /// The rest of a batch, by version.
    rest: [u64; 2],
    users: Vec<User>,
    /// Whose pod is dead until when.
    dead: Vec<(bool, u64)>,
    /// What is answered later: when, whether by the version, and how much.
    late: VecDeque<(u64, bool, u64)>,
}

/// From when to when, in looks, and how much fails.
struct Outage {
    next: u64,
    until: u64,
    share: f64,
}

/// Somebody who comes back.
struct User {
    canary: bool,
    broken: bool,
    next: u64,
    left: u64,
    counted: Option<u64>,
}

impl World {
    fn new(scenario: Scenario, rate: f64, weight: f64, hour: u64) -> Self {
        let mut random = Random(hour.wrapping_mul(0x1234_5678_9abc) + 99);
        let phase = random.unit() * TAU;
        let next = (random.wait(600.0) * 4.0) as u64;
        let each = [weight, 1.0 - weight].map(|share| Poisson::new(rate * share * 0.25));
        Self {
            scenario,
            rate,
            weight,
            random,
            requests: each,
            answered: Pair::default(),
            phase,
            walk: 0.0,
            outage: Outage { next, until: 0, share: 0.0 },
            history: [USUAL; 16],
            rest: [0; 2],
            users: Vec::new(),
            dead: Vec::new(),
            late: VecDeque::new(),
        }
    }

    fn totals(&mut self, canary: bool) -> &mut Totals {
        if canary {
            &mut self.answered.version
        } else {
            &mut self.answered.stable
        }
    }

    fn add(&mut self, canary: bool, answers: u64, failures: u64) {
        let totals = self.totals(canary);
        totals.answers += answers;
        totals.failures += failures;
    }

    /// What comes until the next look.
    fn pass(&mut self, look: u64) {
        match self.scenario {
            Scenario::Sessions { once } => return self.sessions(look, once),
            Scenario::Hang => return self.hang(look),
            _ => {}
        }
        let shares = self.shares(look);
        for (canary, share) in [(true, shares[0]), (false, shares[1])] {
            let answers = self.requests[usize::from(!canary)].draw(&mut self.random);
            let failures = self.random.of(answers, share);
            self.add(canary, answers, failures);
        }
        match self.scenario {
            Scenario::Batches { .. } | Scenario::Retry { .. } => self.batches(look),
            _ => {}
        }
    }

    /// What the version and stable fail with.
    fn shares(&mut self, look: u64) -> [f64; 2] {
        match self.scenario {
            Scenario::Drift => {
                self.walk = self.walk * 0.9995 + (self.random.unit() - 0.5) * 0.03;
                let turn = (self.phase + look as f64 / 4800.0 * TAU).sin();
                let share = (0.013_f64.ln() + 1.85 * turn + self.walk).exp().min(0.5);
                [share, share]
            }
            Scenario::Outage { earlier } => {
                self.begin_outage(look, |random| 0.2 + 0.8 * random.unit());
                let share = if look < self.outage.until { self.outage.share } else { USUAL };
                let at = look as usize;
                self.history[at % 16] = share;
                [share, self.history[(at - earlier.min(at)) % 16]]
            }
            Scenario::Pods { dead } => {
                let ours = ((20.0 * self.weight).round() as u64).max(1);
                let each = [(true, ours), (false, 20 - ours)];
                for (canary, pods) in each {
                    if self.random.unit() < pods as f64 / 14_400.0 {
                        self.dead.push((canary, look + dead));
                    }
                }
                self.dead.retain(|(_, until)| *until > look);
                each.map(|(canary, pods)| {
                    let dead = self.dead.iter().filter(|(whose, _)| *whose == canary).count();
                    (USUAL + dead as f64 / pods as f64).min(1.0)
                })
            }
            _ => [USUAL, USUAL],
        }
    }

    fn begin_outage(&mut self, look: u64, share: impl Fn(&mut Random) -> f64) {
        if look >= self.outage.next {
            let until = look + (self.random.wait(8.0) * 4.0) as u64 + 1;
            let share = share(&mut self.random);
            let next = until + (self.random.wait(600.0) * 4.0) as u64;
            self.outage = Outage { next, until, share };
        }
    }

    /// Half a percent of failures in batches; or users who try again.
    fn batches(&mut self, look: u64) {
        for canary in [true, false] {
            let share = if canary { self.weight } else { 1.0 - self.weight };
            let batches = self.arrivals(0.005 * self.rate * share * 0.25 / 2.2);
            let rest = std::mem::take(&mut self.rest[usize::from(canary)]);
            self.add(canary, rest, rest);
            for _ in 0..batches {
                let size = (1.0 - self.random.unit()).powf(-1.0 / 1.5) as u64;
                let size = size.clamp(1, 100);
                match self.scenario {
                    Scenario::Batches { spread: false } => self.add(canary, size, size),
                    Scenario::Batches { spread: true } => {
                        self.add(canary, size - size / 2, size - size / 2);
                        self.rest[usize::from(canary)] += size / 2;
                    }
                    _ => self.users.push(User {
                        canary,
                        broken: true,
                        next: look,
                        left: size,
                        counted: None,
                    }),
                }
            }
        }
        let once = self.scenario == Scenario::Retry { once: true };
        let mut users = std::mem::take(&mut self.users);
        for user in users.iter_mut().filter(|user| user.next <= look) {
            (user.left, user.next) = (user.left - 1, look + 2);
            if user.counts(look, once) {
                self.add(user.canary, 1, 1);
            }
        }
        users.retain(|user| user.left > 0);
        self.users = users;
    }

    fn sessions(&mut self, look: u64, once: bool) {
        for _ in 0..self.arrivals(self.rate / 60.0 * 0.25) {
            let (canary, broken) = (self.random.unit() < self.weight, self.random.unit() < 0.005);
            let next = look + (self.random.wait(60.0) * 4.0) as u64 + 1;
            self.users.push(User { canary, broken, next, left: 0, counted: None });
        }
        let mut users = std::mem::take(&mut self.users);
        users.retain(|user| user.next > look);
        for user in &mut users {
            if self.random.unit() < 0.25 {
                let fails = self.random.unit() < if user.broken { 0.8 } else { 0.001 };
                if user.counts(look, once) {
                    self.add(user.canary, 1, u64::from(fails));
                }
            }
        }
        self.users = users;
    }

    fn hang(&mut self, look: u64) {
        self.begin_outage(look, |_| 1.0);
        for canary in [true, false] {
            let answers = self.requests[usize::from(!canary)].draw(&mut self.random);
            if look < self.outage.until {
                self.late.push_back((look + if canary { 4 } else { 60 }, canary, answers));
            } else {
                let failures = self.random.of(answers, USUAL);
                self.add(canary, answers, failures);
            }
        }
        let mut late = std::mem::take(&mut self.late);
        late.retain(|(at, canary, answers)| {
            if *at == look {
                self.add(*canary, *answers, *answers);
            }
            *at > look
        });
        self.late = late;
    }

    /// How many come that do so `mean` times on average.
    fn arrivals(&mut self, mean: f64) -> u64 {
        let (mut count, mut at) = (0, self.random.wait(1.0));
        while at < mean {
            count += 1;
            at += self.random.wait(1.0);
        }
        count
    }
}

impl User {
    /// Whether an answer at this look counts.
    fn counts(&mut self, look: u64, once: bool) -> bool {
        let fresh = self.counted.is_none_or(|at| look >= at + ONCE_IN);
        let counts = !once || fresh;
        if counts {
            self.counted = Some(look);
        }
        counts
    }
}
