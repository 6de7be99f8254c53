//! Users in place of requests: of each only the first answer in ten seconds counts, and no single one
//! takes a version out.

use crate::config::Millis;

/// How long one answer of a user stands for all of that user's.
const ONCE_IN: Millis = 10_000;

/// How many users of one version are remembered.
const USERS: usize = 256;

/// Among how many places a user's are.
const WAYS: usize = 4;

/// How fine the time of a place is, in milliseconds as a power of two.
const FINE: u32 = 6;

/// The bits of a place that hold its time; the others tell users apart.
const TIME: u32 = 18;

/// The users whose answers counted of late, of one version in one worker: 1 KiB.
///
/// Each user's hash names four places, which hold the users who were seen last, the newest first. So a
/// user who asks without end keeps his place, and is counted once in ten seconds. With more than 256
/// users in ten seconds, one who comes seldom may be counted more often.
#[derive(Clone, Debug)]
pub struct Recent {
    places: [u32; USERS],
}

impl Default for Recent {
    fn default() -> Self {
        Self { places: [0; USERS] }
    }
}

impl Recent {
    /// Whether an answer to `user` at `now` counts. It is asked for good answers and bad ones alike.
    #[inline(never)]
    pub fn counts(&mut self, user: u32, now: Millis) -> bool {
        let time = (now >> FINE) as u32 & ((1 << TIME) - 1);
        let mixed = user.wrapping_mul(0x9e37_79b9);
        let first = (mixed as usize >> 16) % (USERS / WAYS) * WAYS;
        let name = mixed << TIME;
        let Some(places) = self.places.get_mut(first..first + WAYS) else { return true };
        let known = |place: &u32| *place != 0 && *place >> TIME == name >> TIME;
        let at = places.iter().position(known);
        let (at, fresh) = match at.and_then(|at| Some((at, *places.get(at)?))) {
            Some((at, place)) => {
                let age = time.wrapping_sub(place) & ((1 << TIME) - 1);
                (at, Millis::from(age) << FINE < ONCE_IN)
            }
            None => (WAYS - 1, false),
        };
        // The newest first.
        if let Some(seen) = places.get_mut(..=at) {
            seen.rotate_right(1);
        }
        if !fresh {
            if let Some(place) = places.first_mut() {
                // A place of 0 is free.
                *place = (name | time).max(1);
            }
        }
        !fresh
    }
}

/// The users whose bad answers counted last, oldest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sufferers(pub(super) Vec<u32>);

impl Sufferers {
    /// How many are remembered.
    pub const MOST: usize = 16;

    /// The fewest users without whom nothing is taken out.
    const FEWEST: usize = 3;

    #[inline(never)]
    pub fn add(&mut self, user: u32) {
        if self.0.len() >= Self::MOST {
            self.0.remove(0);
        }
        self.0.push(user);
    }

    /// Adds all of `others`, as newer ones.
    pub fn append(&mut self, others: &Self) {
        for user in &others.0 {
            self.add(*user);
        }
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether they are enough users, none of whom is behind more than half of it.
    #[inline(never)]
    pub fn are_many(&self) -> bool {
        let of = |user: &u32| self.0.iter().filter(|other| *other == user).count();
        let most = self.0.iter().map(of).max().unwrap_or(0);
        // Each user once: where it stands first.
        let first =
            |(at, user): &(usize, &u32)| self.0.iter().position(|it| it == *user) == Some(*at);
        let users = self.0.iter().enumerate().filter(first).count();
        users >= Self::FEWEST && most * 2 <= self.0.len()
    }
}
