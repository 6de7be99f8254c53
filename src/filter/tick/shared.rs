//! Records in the proxy's shared data: how one begins, is read, and ends.

use std::cell::Cell;
use std::marker::PhantomData;

use crate::engine::guard::Record;
use crate::engine::{CheckState, HealthState};

use super::super::host::Shared;
use super::Host;

/// How often a conditional write is tried again when another worker was first. After that it waits for the next
/// tick or answer; nothing that a guard has heard is lost.
pub const TRIES: usize = 4;

/// How many configurations have their own record under one key. Ended ones have none; should there be more, as
/// those of plugins that were taken away, the one that was not written for longest goes.
const MOST: usize = 4;

/// The bytes before a record: its fingerprint and its length.
const HEAD: usize = 8 + 2;

/// What the shared data holds of a version.
pub trait Stored: Sized {
    fn from_bytes(bytes: &[u8]) -> Option<Self>;
    fn to_bytes(&self) -> impl AsRef<[u8]>;
}

macro_rules! stored {
    ($($name:ty),+) => {
        $(impl Stored for $name {
            fn from_bytes(bytes: &[u8]) -> Option<Self> {
                Self::from_bytes(bytes)
            }

            fn to_bytes(&self) -> impl AsRef<[u8]> {
                (*self).to_bytes()
            }
        })+
    };
}

stored!(Record, HealthState, CheckState);

/// Where a record stands: a key that every configuration has alike, since no proxy lets go of a key, and in
/// what lies there by the fingerprint of what was configured.
#[derive(Debug)]
pub struct Place {
    key: String,
    fingerprint: u64,
    /// Whether this worker has seen the record there. Where it has and finds none, others have ended it.
    seen: Cell<bool>,
}

impl Place {
    pub fn new(key: String, fingerprint: u64) -> Self {
        Self { key, fingerprint, seen: Cell::default() }
    }
}

/// A record as it was read from the shared data.
pub struct SharedRecord<'a, T> {
    place: &'a Place,
    /// What lies under the key, and the ticket for writing in its place.
    found: Option<(Vec<u8>, u32)>,
    /// Whether there is shared data at all.
    pub shared: bool,
    stored: PhantomData<T>,
}

impl<'a, T: Stored> SharedRecord<'a, T> {
    pub fn read(host: &impl Host, place: &'a Place) -> Self {
        let (found, shared) = match host.shared(&place.key) {
            Shared::Missing => (None, true),
            Shared::Value(bytes, ticket) => (Some((bytes, ticket)), true),
            Shared::Unavailable => (None, false),
        };
        let read = Self { place, found, shared, stored: PhantomData };
        place.seen.set(place.seen.get() || read.bytes().is_some());
        read
    }

    /// The ticket of what was read; another one says that somebody has written.
    pub fn ticket(&self) -> Option<u32> {
        self.found.as_ref().map(|(_, ticket)| *ticket)
    }

    /// The record as it was read.
    pub fn bytes(&self) -> Option<&[u8]> {
        let (bytes, _) = self.found.as_ref()?;
        let own = entries(bytes).find(|(fingerprint, _)| *fingerprint == self.place.fingerprint);
        Some(own?.1)
    }

    /// What stands there; `None` also for what is no record.
    pub fn value(&self) -> Option<T> {
        self.bytes().and_then(T::from_bytes)
    }

    /// The same, when what was configured comes into force: a record that was ended begins anew.
    pub fn begin(host: &impl Host, place: &'a Place) -> Self {
        place.seen.set(false);
        Self::read(host, place)
    }

    /// Whether the record was there and another worker has ended it.
    pub fn is_ended(&self) -> bool {
        self.shared && self.bytes().is_none() && self.place.seen.get()
    }

    /// Writes where nobody has written since the reading, and says whether that was so.
    pub fn write(&self, host: &impl Host, value: &T) -> bool {
        self.write_bytes(host, value.to_bytes().as_ref())
    }

    /// The same of a value as bytes.
    pub fn write_bytes(&self, host: &impl Host, value: &[u8]) -> bool {
        let written = self.replace(host, Some(value));
        self.place.seen.set(self.place.seen.get() || written);
        written
    }

    /// Ends the record of a rollout that is no longer in force as it was.
    pub fn end(host: &impl Host, place: &'a Place) {
        let read = Self::read(host, place);
        if read.bytes().is_some() {
            read.replace(host, None);
        }
    }

    fn replace(&self, host: &impl Host, value: Option<&[u8]>) -> bool {
        let Place { key, fingerprint, .. } = self.place;
        let (bytes, ticket) = match &self.found {
            Some((bytes, ticket)) => (bytes.as_slice(), Some(*ticket)),
            None => (&[][..], None),
        };
        let own = |(other, _): &(u64, &[u8])| other == fingerprint;
        let others = || entries(bytes).filter(|entry| !own(entry));
        let room = MOST - usize::from(value.is_some());
        let kept = others().skip(others().count().saturating_sub(room));
        let mut after = Vec::with_capacity(bytes.len() + value.map_or(0, <[u8]>::len) + HEAD);
        for (fingerprint, value) in kept.chain(value.map(|value| (*fingerprint, value))) {
            after.extend(fingerprint.to_le_bytes());
            after.extend((value.len() as u16).to_le_bytes());
            after.extend(value);
        }
        host.set_shared(key, &after, ticket)
    }
}

/// What lies under a key: for each configuration its fingerprint, the length of its record, and the record.
/// What somebody else wrote ends it.
fn entries(mut bytes: &[u8]) -> impl Iterator<Item = (u64, &[u8])> {
    std::iter::from_fn(move || {
        let (fingerprint, rest) = bytes.split_first_chunk::<8>()?;
        let (length, rest) = rest.split_first_chunk::<2>()?;
        let (value, rest) = rest.split_at_checked(usize::from(u16::from_le_bytes(*length)))?;
        bytes = rest;
        Some((u64::from_le_bytes(*fingerprint), value))
    })
}
