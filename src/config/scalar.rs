//! Numbers with a unit and a range.

/// A point in time or a length of it, in milliseconds; points count from the Unix epoch.
pub type Millis = u64;

/// A share of a whole in millionths: 0 to 1,000,000, so that 0.05 is 50,000.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ratio(u32);

impl Ratio {
    /// The ratio of `millionths`; `None` above 1.
    pub const fn from_millionths(millionths: u32) -> Option<Self> {
        if millionths <= 1_000_000 {
            Some(Self(millionths))
        } else {
            None
        }
    }

    /// Millionths, 0 to 1,000,000.
    pub const fn millionths(self) -> u32 {
        self.0
    }
}
