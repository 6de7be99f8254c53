//! The configurations of each plugin that are alive in this worker, and which of them is in force.
//!
//! A proxy keeps a configuration that a newer one replaced until its last stream has ended. It may refuse
//! the newer one after all, and then drops it. It may also take the older one up again, and then does not
//! configure it anew. So the newest is not for ever the one that came last.

use std::cell::RefCell;
use std::rc::Rc;

use crate::config::Millis;

use super::loaded::LoadedConfig;
use super::Identity;

thread_local! {
    /// In the order in which they came into force in this worker.
    static ALIVE: RefCell<Vec<Rc<LoadedConfig>>> = const { RefCell::new(Vec::new()) };
}

/// The configuration of a plugin that is in force in this worker.
pub fn newest(identity: &Identity) -> Option<Rc<LoadedConfig>> {
    last(identity, |_| true)
}

/// The last that came into force of those configurations of a plugin that have this fingerprint.
pub fn with_fingerprint(identity: &Identity, fingerprint: u64) -> Option<Rc<LoadedConfig>> {
    last(identity, |loaded| loaded.fingerprint == fingerprint)
}

fn last(identity: &Identity, is_it: impl Fn(&LoadedConfig) -> bool) -> Option<Rc<LoadedConfig>> {
    ALIVE.with_borrow(|alive| {
        let mut alive = alive.iter().rev();
        alive.find(|it| it.identity == *identity && is_it(it)).map(Rc::clone)
    })
}

/// Puts a configuration in force in this worker, in the place of the one that was.
pub fn put_in_force(loaded: &Rc<LoadedConfig>, now: Millis) {
    let before = newest(&loaded.identity).filter(|before| !Rc::ptr_eq(before, loaded));
    ALIVE.with_borrow_mut(|alive| {
        alive.retain(|it| !Rc::ptr_eq(it, loaded));
        alive.push(Rc::clone(loaded));
    });
    if let Some(before) = before {
        before.give_way(loaded, now);
        loaded.note_connection(before.newest_connection.get());
    }
    loaded.come_back();
}

/// Forgets a configuration that no context of the proxy has any more. What was in force before it is in
/// force again, if it is still alive; that one is the answer, and `None` where the plugin is gone.
pub fn forget(loaded: &Rc<LoadedConfig>, now: Millis) -> Option<Rc<LoadedConfig>> {
    let was_in_force = newest(&loaded.identity).is_some_and(|it| Rc::ptr_eq(&it, loaded));
    ALIVE.with_borrow_mut(|alive| alive.retain(|it| !Rc::ptr_eq(it, loaded)));
    let newest = newest(&loaded.identity)?;
    if was_in_force {
        loaded.give_way(&newest, now);
        newest.come_back();
    }
    Some(newest)
}
