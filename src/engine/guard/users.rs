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

/// What tells users apart, in 20 bits: the group of places that is the user's, and a tag within it. So two
/// who are one where answers count are one among the sufferers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Name(u32);

impl Name {
    fn of(user: u32) -> Self {
        let mixed = user.wrapping_mul(0x9e37_79b9);
        let tag = mixed & ((1 << TAG) - 1);
        Self((mixed >> 16 & ((1 << GROUP) - 1)) << TAG | tag)
    }

    pub fn number(self) -> u32 {
        self.0
    }

    /// The name of this number, if it is one.
    pub fn read(number: u32) -> Option<Self> {
        (number < 1 << (GROUP + TAG)).then_some(Self(number))
    }

    fn group(self) -> usize {
        (self.0 >> TAG) as usize
    }

    /// In the upper bits, where a place has it.
    fn tag(self) -> u32 {
        self.0 << TIME
    }
}

/// The bits that name a group of places.
const GROUP: u32 = (USERS / WAYS).ilog2();

/// The bits that name a user within one.
const TAG: u32 = u32::BITS - TIME;

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
        let name = Name::of(user);
        let (first, tag) = (name.group() * WAYS, name.tag());
        let Some(places) = self.places.get_mut(first..first + WAYS) else { return true };
        let known = |place: &u32| *place != 0 && *place >> TIME == tag >> TIME;
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
                *place = (tag | time).max(1);
            }
        }
        !fresh
    }
}

/// The users whose bad answers counted last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sufferers {
    /// Newest first; from `many` on there is none.
    names: [Name; Self::MOST],
    many: usize,
}

impl Sufferers {
    /// How many are remembered.
    pub const MOST: usize = 16;

    /// The fewest users without whom nothing is taken out.
    const FEWEST: usize = 3;

    pub fn add(&mut self, user: u32) {
        self.push(Name::of(user));
    }

    #[inline(never)]
    pub(super) fn push(&mut self, name: Name) {
        self.names.copy_within(..Self::MOST - 1, 1);
        if let Some(newest) = self.names.first_mut() {
            *newest = name;
        }
        self.many = Self::MOST.min(self.many + 1);
    }

    /// Adds all of `others`, as newer ones.
    pub fn append(&mut self, others: &Self) {
        others.names().iter().rev().for_each(|name| self.push(*name));
    }

    pub fn is_empty(&self) -> bool {
        self.many == 0
    }

    /// Newest first.
    pub(super) fn names(&self) -> &[Name] {
        self.names.get(..self.many).unwrap_or_default()
    }

    /// Whether they are enough users, none of whom is behind more than half of it.
    #[inline(never)]
    pub fn are_many(&self) -> bool {
        let names = self.names();
        let of = |name: &Name| names.iter().filter(|other| *other == name).count();
        let most = names.iter().map(of).max().unwrap_or(0);
        // Each user once: where it stands first.
        let first =
            |(at, name): &(usize, &Name)| names.iter().position(|it| it == *name) == Some(*at);
        let users = names.iter().enumerate().filter(first).count();
        users >= Self::FEWEST && most * 2 <= names.len()
    }
}
