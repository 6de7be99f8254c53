//! A plan of what goes wrong, from a seed.

/// One step of the splitmix64 generator.
pub fn splitmix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Random numbers for tests, the same for the same seed.
#[derive(Clone, Debug)]
pub struct Dice(pub u64);

impl Dice {
    pub fn next(&mut self) -> u64 {
        splitmix(&mut self.0)
    }

    /// From 0 to `end` - 1.
    pub fn below(&mut self, end: u64) -> u64 {
        self.next() % end.max(1)
    }

    /// True `part` times of `whole`.
    pub fn falls(&mut self, part: u64, whole: u64) -> bool {
        self.below(whole) < part
    }

    pub fn pick<'a, T>(&mut self, among: &'a [T]) -> &'a T {
        &among[self.below(among.len() as u64) as usize]
    }
}

/// Answers host calls with whatever status.
#[derive(Clone, Debug)]
pub struct Faults {
    pub dice: Dice,
    /// How many of a hundred calls fail.
    pub percent: u64,
    /// Whether the clock jumps about as well.
    pub clock: bool,
}

impl Faults {
    /// The status in place of what the proxy would answer; `None` leaves it to the proxy.
    pub fn answer(&mut self) -> Option<u32> {
        if !self.dice.falls(self.percent, 100) {
            return None;
        }
        Some(*self.dice.pick(&[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 99, u32::MAX]))
    }

    /// What the clock shows instead.
    pub fn time(&mut self) -> Option<u64> {
        if !self.clock || !self.dice.falls(self.percent, 100) {
            return None;
        }
        let any = self.dice.next();
        Some(*self.dice.pick(&[0, 1, u64::MAX, u64::MAX - 1, any, 1_795_255_200_000_000_000]))
    }
}
