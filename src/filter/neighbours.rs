//! Other plugins of this filter in the same worker, and what they tell each other of a stream.

use std::cell::{Cell, RefCell};

use crate::http::headers::fold;
use crate::http::HeaderName;

use super::{Host, Identity};

/// How the names of the headers begin that are ours by default.
const PREFIX: &[u8] = b"x-cohort-";

thread_local! {
    static PLUGINS: RefCell<Vec<Identity>> = const { RefCell::new(Vec::new()) };
    /// Whether there are several: then they may be in one chain.
    static SEVERAL: Cell<bool> = const { Cell::new(false) };
}

/// Notes that this worker has a plugin.
pub fn note(identity: &Identity) {
    PLUGINS.with_borrow_mut(|plugins| {
        if !plugins.contains(identity) {
            plugins.push(identity.clone());
        }
        SEVERAL.set(plugins.len() > 1);
    });
}

/// Whether a header is ours by its name alone, in any spelling.
pub fn is_ours(name: &[u8]) -> bool {
    name.len() >= PREFIX.len() && fold(name).take(PREFIX.len()).eq(PREFIX.iter().copied())
}

/// Tells other plugins on the same stream that a decision wrote `header`. One without a configuration would take
/// it for a client's.
pub fn tell_header(host: &impl Host, header: &HeaderName) {
    if SEVERAL.get() && is_ours(header.as_str().as_bytes()) {
        host.mark(header.as_str());
    }
}

/// The same of the baggage member under `key`.
pub fn tell_member(host: &impl Host, key: &str) {
    if SEVERAL.get() {
        host.mark("baggage");
        host.mark(key);
    }
}
