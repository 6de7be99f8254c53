//! A configuration and a request to a decision. Pure: what comes from outside is handed in.

mod analysis;
mod condition;
mod decide;
pub mod guard;
mod health;
mod overrides;
mod pin;
mod plan;
mod ramp;
mod request;
mod verdict;

pub use analysis::{Answer, CheckEvent, CheckState, Look, Unusable, LONGEST_ANSWER};
pub use decide::{decide, Standing};
pub use health::{HealthState, HealthStatus};
pub use plan::{Owner, Plan};
pub use ramp::split_in_force;
pub use request::{Issued, Request, Surroundings};
pub use verdict::{
    Brought, Decision, Hold, Ignored, Override, PinSeen, Reason, Saw, Source, Unmet, Verdict,
    Witness,
};
