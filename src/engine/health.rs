//! The health check of a version's cluster, as a state machine over answers and a clock.

use crate::config::{Health, Millis};

use super::Hold;

/// By so much two workers may differ in what time it is when they look.
const SKEW: Millis = 10_000;

/// Whether what is to be done at `next`, and then in every `interval`, is due. It is as well where the clock went
/// back, so that nobody waits for a time long past.
pub(super) fn is_due(next: Millis, interval: Millis, now: Millis) -> bool {
    now >= next || next - now > interval.saturating_add(SKEW)
}

/// What is known of a version's cluster.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HealthStatus {
    /// Nothing yet: the first answer decides alone.
    #[default]
    Unknown,
    Healthy,
    Unhealthy,
}

/// The memory of one health check, shared by all workers of a proxy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HealthState {
    pub status: HealthStatus,
    /// How many answers in a row have spoken against `status`.
    pub against: u32,
    /// When the next poll is due.
    pub next: Millis,
}

impl HealthState {
    /// Whether the version takes part in traffic: until it is known to be unhealthy.
    pub fn hold(&self) -> Hold {
        match self.status {
            HealthStatus::Unknown | HealthStatus::Healthy => Hold::In,
            HealthStatus::Unhealthy => Hold::Out,
        }
    }

    /// The record of a worker that takes the poll which is due at `now`; `None` if none is.
    ///
    /// A poll is due as well where the clock went back, so that none waits for a time long past.
    pub fn poll(&self, health: &Health, now: Millis) -> Option<Self> {
        let due = is_due(self.next, health.interval, now);
        due.then(|| Self { next: now.saturating_add(health.interval), ..*self })
    }

    /// The record after an answer, and whether the status changed.
    pub fn answered(&self, health: &Health, good: bool) -> (Self, bool) {
        let (threshold, other) = match (self.status, good) {
            (HealthStatus::Unknown, true) => (1, HealthStatus::Healthy),
            (HealthStatus::Unknown, false) => (1, HealthStatus::Unhealthy),
            (HealthStatus::Healthy, false) => (health.unhealthy_threshold, HealthStatus::Unhealthy),
            (HealthStatus::Unhealthy, true) => (health.healthy_threshold, HealthStatus::Healthy),
            (HealthStatus::Healthy, true) | (HealthStatus::Unhealthy, false) => {
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

    /// The state as a record that workers share.
    pub fn to_bytes(self) -> Vec<u8> {
        let status = match self.status {
            HealthStatus::Unknown => 0,
            HealthStatus::Healthy => 1,
            HealthStatus::Unhealthy => 2,
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
            0 => HealthStatus::Unknown,
            1 => HealthStatus::Healthy,
            2 => HealthStatus::Unhealthy,
            _ => return None,
        };
        let next = Millis::from_le_bytes(next.try_into().ok()?);
        Some(Self { status, against: u32::from_le_bytes(*against), next })
    }
}
