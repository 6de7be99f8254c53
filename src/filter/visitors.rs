//! Visitors who bring no id: requests of one client that come together are one visitor's.
//!
//! A page's first requests come in parallel, before any answer can bring the id. They come on one connection,
//! so the worker that has the connection remembers for some seconds what it gave whom.

use std::cell::{OnceCell, RefCell};
use std::net::IpAddr;

use sha2::{Digest, Sha256};

use crate::config::Millis;
use crate::engine::Surroundings;
use crate::http::Headers;

use super::Host;

/// How long an id is given to further requests of the same client.
const TOGETHER: Millis = 10_000;

/// How many clients may share a place of the table before the oldest makes room.
const WAYS: usize = 4;

/// How many places the table has: as many as a byte has values.
const PLACES: usize = 256;

/// How many ids may be on their way to their visitors' browsers.
const UNSENT: usize = 256;

/// An anonymous id as bits.
pub type Id = [u8; 16];

/// The ids that a worker has given out in the last seconds.
#[derive(Debug, Default)]
pub struct Visitors {
    /// [`WAYS`] for each place; empty until the first visitor comes.
    recent: RefCell<Vec<Recent>>,
    /// Ids that no answer has brought to the browser yet, oldest first.
    unsent: RefCell<Vec<Unsent>>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Recent {
    /// Names the client.
    client: [u8; 16],
    id: Id,
    since: Millis,
}

#[derive(Clone, Copy, Debug)]
struct Unsent {
    connection: u64,
    id: Id,
    since: Millis,
}

fn is_recent(since: Millis, now: Millis) -> bool {
    now.checked_sub(since).is_some_and(|age| age < TOGETHER)
}

impl Visitors {
    /// The id of `client`: the one that it was given some seconds ago, else a new one.
    fn id(&self, client: [u8; 16], now: Millis, random: impl FnOnce() -> Option<Id>) -> Option<Id> {
        let mut recent = self.recent.borrow_mut();
        if recent.is_empty() {
            recent.resize(PLACES * WAYS, Recent::default());
        }
        let [place, ..] = client;
        let ways = recent.chunks_exact_mut(WAYS).nth(usize::from(place))?;
        let known = ways.iter().find(|it| it.client == client && is_recent(it.since, now));
        if let Some(known) = known {
            return Some(known.id);
        }
        let id = random()?;
        let oldest = ways.iter_mut().min_by_key(|it| (is_recent(it.since, now), it.since))?;
        *oldest = Recent { client, id, since: now };
        Some(id)
    }

    /// Notes that `id` was given to a request on `connection`, and that its answer is to bring it.
    pub fn note_unsent(&self, connection: u64, id: Id, now: Millis) {
        let mut unsent = self.unsent.borrow_mut();
        unsent.retain(|it| is_recent(it.since, now) && it.id != id);
        if unsent.len() >= UNSENT {
            unsent.remove(0);
        }
        unsent.push(Unsent { connection, id, since: now });
    }

    /// Whether `id` was given to a request on the same connection whose answer never left: the proxy followed a
    /// redirect itself, and this is the request that came of it.
    pub fn is_unsent(
        &self,
        id: &Id,
        now: Millis,
        connection: impl FnOnce() -> Option<u64>,
    ) -> bool {
        let unsent = self.unsent.borrow();
        let known = unsent.iter().find(|it| it.id == *id && is_recent(it.since, now));
        known.is_some_and(|it| connection() == Some(it.connection))
    }

    /// Whether any id is on its way.
    pub fn has_unsent(&self) -> bool {
        !self.unsent.borrow().is_empty()
    }

    /// Notes that an answer has brought `id`, or could not.
    pub fn settle(&self, id: &Id) {
        self.unsent.borrow_mut().retain(|it| it.id != *id);
    }
}

/// What a decision may need of a request's surroundings, with the worker's memory of visitors.
pub struct Client<'a, H> {
    pub host: &'a H,
    pub headers: &'a Headers,
    pub visitors: &'a Visitors,
    pub now: Millis,
    pub connection: OnceCell<Option<u64>>,
}

impl<H: Host> Surroundings for Client<'_, H> {
    fn client_address(&self) -> Option<IpAddr> {
        self.host.client_address()
    }

    fn connection_id(&self) -> Option<u64> {
        *self.connection.get_or_init(|| self.host.connection_id())
    }

    fn peer_principal(&self) -> Option<Vec<u8>> {
        self.host.peer_principal()
    }

    fn random(&self) -> Option<Id> {
        self.host.random()
    }

    fn new_id(&self, cookie: &str) -> Option<Id> {
        match self.connection_id() {
            Some(connection) => {
                let client = self.name(connection, cookie);
                self.visitors.id(client, self.now, || self.host.random())
            }
            None => self.host.random(),
        }
    }
}

impl<H: Host> Client<'_, H> {
    /// Names the client to whom an id in `cookie` belongs. A balancer carries many people on one connection:
    /// they differ by what it says of them, or by their browsers. It is a hash that nobody can aim at another's.
    fn name(&self, connection: u64, cookie: &str) -> [u8; 16] {
        let mut hash = Sha256::new();
        let mut add = |part: &[u8]| {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part);
        };
        add(&connection.to_be_bytes());
        add(cookie.as_bytes());
        add(self.host.client_address().map(|it| it.to_string()).unwrap_or_default().as_bytes());
        for name in ["x-forwarded-for", "user-agent"] {
            add(name.as_bytes());
            self.headers.all(name).for_each(&mut add);
        }
        hash.finalize().first_chunk().copied().unwrap_or_default()
    }
}

/// The bits of an id as we write it: 32 hexadecimal digits in lower case.
pub fn read_id(text: &[u8]) -> Option<Id> {
    let digit = |byte: &u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let mut id = Id::default();
    if text.len() != id.len() * 2 {
        return None;
    }
    for (byte, pair) in id.iter_mut().zip(text.chunks(2)) {
        *byte = digit(pair.first()?)? << 4 | digit(pair.last()?)?;
    }
    Some(id)
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    fn name(number: u32) -> [u8; 16] {
        Sha256::digest(number.to_be_bytes()).first_chunk().copied().unwrap()
    }

    fn ask(visitors: &Visitors, client: u32, now: Millis, next: &Cell<u8>) -> Id {
        let random = || {
            next.set(next.get().wrapping_add(1));
            Some([next.get(); 16])
        };
        visitors.id(name(client), now, random).unwrap()
    }

    #[test]
    fn one_client_has_one_id_for_ten_seconds_and_no_longer() {
        let (visitors, next) = (Visitors::default(), Cell::new(0));
        let first = ask(&visitors, 1, 1_000, &next);
        assert_ne!(ask(&visitors, 2, 1_000, &next), first);
        for later in [1_000, 5_000, 10_999] {
            assert_eq!(ask(&visitors, 1, later, &next), first, "at {later}");
        }
        assert_ne!(ask(&visitors, 1, 11_000, &next), first, "no request makes it live longer");
        let second = ask(&visitors, 1, 12_000, &next);
        assert_ne!(ask(&visitors, 1, 500, &next), second, "a clock that was set back");
    }

    #[test]
    fn the_table_keeps_to_its_size_and_forgets_the_oldest_first() {
        let (visitors, next) = (Visitors::default(), Cell::new(0));
        for client in 0..50_000 {
            ask(&visitors, client, 1_000 + Millis::from(client / 100), &next);
        }
        let table = visitors.recent.borrow().len();
        assert_eq!(table, PLACES * WAYS);
        let before = next.get();
        ask(&visitors, 49_999, 1_500, &next);
        assert_eq!(next.get(), before, "the newest is still there");
        for number in 0..1_000_u64 {
            visitors.note_unsent(number, (u128::from(number)).to_be_bytes(), 1_000);
        }
        let unsent = visitors.unsent.borrow().len();
        assert_eq!(unsent, UNSENT);
    }

    #[test]
    fn an_id_that_never_left_is_known_on_its_own_connection_only() {
        let visitors = Visitors::default();
        let id = [7; 16];
        visitors.note_unsent(3, id, 1_000);
        let is_unsent = |id: &Id, now, connection| visitors.is_unsent(id, now, || connection);
        assert!(is_unsent(&id, 10_999, Some(3)));
        assert!(!is_unsent(&id, 11_000, Some(3)) && !is_unsent(&id, 1_000, Some(4)));
        assert!(!is_unsent(&id, 1_000, None) && !is_unsent(&[8; 16], 1_000, Some(3)));
        visitors.settle(&id);
        assert!(!is_unsent(&id, 1_000, Some(3)) && !visitors.has_unsent());
    }

    #[test]
    fn an_id_is_read_as_it_is_written() {
        assert_eq!(read_id(b"000102030405060708090a0b0c0d0eff").unwrap()[13..], [13, 14, 255]);
        for bad in [&b""[..], b"00", b"000102030405060708090A0B0C0D0EFF", &[b'g'; 32], &[b'0'; 33]]
        {
            assert_eq!(read_id(bad), None, "{}", bad.escape_ascii());
        }
    }
}
