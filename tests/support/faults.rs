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

/// Which statuses a call may be answered with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Statuses {
    /// Whatever number.
    Any,
    /// Those that the SDK takes for the call: on any other one it panics (docs/design.md).
    OfTheSdk,
}

/// Answers host calls with an error in the proxy's place.
#[derive(Clone, Debug)]
pub struct Faults {
    pub dice: Dice,
    /// How many of a hundred calls fail.
    pub percent: u64,
    /// Whether the clock jumps about as well.
    pub clock: bool,
    pub statuses: Statuses,
}

/// Any number may be a status.
const ANY: &[u32] = &[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 99, u32::MAX];

impl Faults {
    /// The status in place of what the proxy would answer to `call`; `None` leaves it to the proxy.
    pub fn answer(&mut self, call: &str) -> Option<u32> {
        if !self.dice.falls(self.percent, 100) {
            return None;
        }
        let among = match self.statuses {
            Statuses::Any => ANY,
            Statuses::OfTheSdk => of_the_sdk(call),
        };
        (!among.is_empty()).then(|| *self.dice.pick(among))
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

/// The errors that the filter hears of without a panic: any number where it makes the call itself, else what the
/// SDK lists.
fn of_the_sdk(call: &str) -> &'static [u32] {
    match call {
        "clock_time_get"
        | "environ_get"
        | "random_get"
        | "proxy_get_log_level"
        | "proxy_get_header_map_pairs"
        | "proxy_get_header_map_value"
        | "proxy_remove_header_map_value" => ANY,
        "proxy_get_property" => &[1, 3, 10],
        "proxy_get_buffer_bytes" | "proxy_get_shared_data" | "proxy_record_metric" => &[1],
        "proxy_set_shared_data" => &[8],
        "proxy_get_metric" | "proxy_increment_metric" => &[1, 2],
        "proxy_http_call" => &[2, 10],
        _ => &[],
    }
}
