//! The guard: watches a version and takes it out of traffic (design.md section 7).
//!
//! All of it is pure: clocks and answers are handed in. [`Record`] is what is known of a version and the
//! state machine; [`Evidence`] is the test; [`Recent`] says whose answers count.

mod bytes;
mod evidence;
mod figures;
mod record;
mod summary;
mod users;

pub use bytes::Bytes;
pub use evidence::{ln_e_value, remember, Answered, Block, Bounds, Evidence, From, Remembered};
pub use figures::{Figures, Pair, Totals, Window, TICK};
pub use record::{Cause, Change, Event, Heard, Moment, Phase, Record};
pub use summary::Summary;
pub use users::{Recent, Sufferers};
