//! The health check of a version's cluster, as a state machine over answers and a clock.

use crate::config::{Health, Millis};

use super::Hold;

/// What is known of a version's cluster.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Status {
    /// Nothing yet: the first answer decides alone.
    #[default]
    Unknown,
    Healthy,
    Unhealthy,
}

/// The memory of one health check, shared by all workers of a proxy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Checkup {
    pub status: Status,
    /// How many answers in a row have spoken against `status`.
    pub against: u32,
    /// When the next poll is due.
    pub next: Millis,
}

impl Checkup {
    /// Whether the version takes part in traffic: until it is known to be unhealthy.
    pub fn hold(&self) -> Hold {
        match self.status {
            Status::Unknown | Status::Healthy => Hold::In,
            Status::Unhealthy => Hold::Out,
        }
    }

    /// The record of a worker that takes the poll which is due at `now`; `None` if none is.
    ///
    /// A poll is due as well where the clock went back, so that none waits for a time long past.
    pub fn poll(&self, health: &Health, now: Millis) -> Option<Self> {
        let due = now >= self.next || self.next - now > health.interval;
        due.then(|| Self { next: now.saturating_add(health.interval), ..*self })
    }

    /// The record after an answer, and whether the status changed.
    pub fn answered(&self, health: &Health, good: bool) -> (Self, bool) {
        let (threshold, other) = match (self.status, good) {
            (Status::Unknown, true) => (1, Status::Healthy),
            (Status::Unknown, false) => (1, Status::Unhealthy),
            (Status::Healthy, false) => (health.unhealthy_threshold, Status::Unhealthy),
            (Status::Unhealthy, true) => (health.healthy_threshold, Status::Healthy),
            (Status::Healthy, true) | (Status::Unhealthy, false) => {
                return (Self { against: 0, ..*self }, false);
            }
        };
        let against = self.against.saturating_add(1);
        if against >= threshold {
            (Self { status: other, against: 0, ..*self }, true)
        } else {
            (Self { against, ..*self }, false)
        }
    }

    /// The checkup as a record that workers share.
    pub fn to_bytes(self) -> Vec<u8> {
        let status = match self.status {
            Status::Unknown => 0,
            Status::Healthy => 1,
            Status::Unhealthy => 2,
        };
        let mut bytes = vec![status];
        bytes.extend_from_slice(&self.against.to_le_bytes());
        bytes.extend_from_slice(&self.next.to_le_bytes());
        bytes
    }

    /// Reads a record; `None` if it is not one.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (&status, rest) = bytes.split_first()?;
        let (against, next) = rest.split_first_chunk::<4>()?;
        let status = match status {
            0 => Status::Unknown,
            1 => Status::Healthy,
            2 => Status::Unhealthy,
            _ => return None,
        };
        let next = Millis::from_le_bytes(next.try_into().ok()?);
        Some(Self { status, against: u32::from_le_bytes(*against), next })
    }
}
