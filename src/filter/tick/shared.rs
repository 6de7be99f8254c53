//! Records in the proxy's shared data: how one begins, is read, and ends.

use crate::engine::guard::Record;
use crate::engine::{CheckState, HealthState};

use super::super::host::Shared;
use super::Host;

/// How often a conditional write is tried again when another worker was first. After that it waits for the next
/// tick or answer; nothing that a guard has heard is lost.
pub const TRIES: usize = 4;

/// What the shared data holds of a version.
pub trait Stored: Sized {
    fn from_bytes(bytes: &[u8]) -> Option<Self>;
    fn to_bytes(&self) -> Vec<u8>;
}

macro_rules! stored {
    ($($name:ty),+) => {
        $(impl Stored for $name {
            fn from_bytes(bytes: &[u8]) -> Option<Self> {
                Self::from_bytes(bytes)
            }

            fn to_bytes(&self) -> Vec<u8> {
                (*self).to_bytes()
            }
        })+
    };
}

stored!(Record, HealthState, CheckState);

/// A record as it was read from the shared data.
pub struct SharedRecord<T> {
    pub value: Option<T>,
    pub ticket: Option<u32>,
    /// Whether there is shared data at all.
    pub shared: bool,
}

impl<T: Stored> SharedRecord<T> {
    pub fn read(host: &impl Host, key: &str) -> Self {
        let (bytes, ticket, shared) = match host.shared(key) {
            Shared::Missing => (Vec::new(), None, true),
            Shared::Value(bytes, ticket) => (bytes, Some(ticket), true),
            Shared::Unavailable => (Vec::new(), None, false),
        };
        Self { value: T::from_bytes(&bytes), ticket, shared }
    }

    /// Whether the record is one that was ended, and so is empty.
    pub fn is_ended(&self) -> bool {
        self.value.is_none() && self.ticket.is_some()
    }

    /// The record that a rollout begins with: as it stands, where one that was ended begins anew. `None` where
    /// there is no shared data.
    pub fn begin(host: &impl Host, key: &str, fresh: impl FnOnce() -> T) -> Option<T> {
        let read = Self::read(host, key);
        if !read.shared {
            return None;
        }
        let is_ended = read.is_ended();
        let record = read.value.unwrap_or_else(fresh);
        if is_ended {
            // Should another worker have been first, the next tick reads what it wrote.
            host.set_shared(key, &record.to_bytes(), read.ticket);
        }
        Some(record)
    }

    /// Ends the record of a rollout that is no longer in force as it was.
    pub fn end(host: &impl Host, key: &str) {
        let read = Self::read(host, key);
        if read.value.is_some() {
            host.set_shared(key, &[], read.ticket);
        }
    }
}
