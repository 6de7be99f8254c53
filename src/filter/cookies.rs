//! Cookies that an answer hands out: the ids of new visitors and pins.

use crate::config::{Mode, Rollout};
use crate::engine::Request;
use crate::http::{cache, cookie, Headers, SetCookie};

use super::loaded::LoadedConfig;
use super::series::IgnoredKind;
use super::visitors::{read_id, Id};
use super::Host;

/// The most cookies that one answer hands out. Proxies and clients take no more than some hundred header lines.
const MOST: usize = 20;

/// The cookies that the answer to one request is to hand out.
#[derive(Debug, Default)]
pub struct Cookies {
    /// Pins, in the configuration's order, then ids.
    list: Vec<Handout>,
}

#[derive(Debug)]
struct Handout {
    /// The value of `set-cookie`.
    line: String,
    /// The rollout whose pin this is.
    rollout: Option<usize>,
    /// The anonymous id that this brings.
    id: Option<Id>,
}

impl Cookies {
    /// Adds the pin of the rollout at `position`. A browser keeps no cookies from a preflight.
    pub fn add_pin(
        &mut self,
        position: usize,
        cookie: &SetCookie,
        value: &str,
        request: &Request<'_>,
    ) {
        if !request.is_preflight() {
            let line = cookie.header(value, request.is_https(), request.host());
            self.list.push(Handout { line, rollout: Some(position), id: None });
        }
    }

    /// Adds the ids that were made for `request`, and puts them among the request's own cookies, so that the
    /// next pass, the next proxy and the application know the visitor from the first request on. `decided` are
    /// the rollouts that the request was decided for.
    pub fn add_ids<'a>(
        &mut self,
        host: &impl Host,
        loaded: &LoadedConfig,
        request: &Request<'_>,
        decided: impl Iterator<Item = &'a Rollout>,
        now: u64,
    ) {
        let visitors = &loaded.visitors;
        let mut line: Option<Vec<u8>> = None;
        for issued in request.issued().iter().filter(|issued| issued.hand_out) {
            let name = &issued.cookie.name;
            line = Some(match &line {
                None => cookie::with(request.headers().all("cookie"), name, &issued.id),
                Some(line) => cookie::with(std::iter::once(line.as_slice()), name, &issued.id),
            });
            self.add_id(issued.cookie, issued.id.as_bytes(), request);
            if let Some((connection, id)) =
                request.connection_id().zip(read_id(issued.id.as_bytes()))
            {
                visitors.note_unsent(connection, id, now);
            }
        }
        if let Some(line) = line {
            host.set_request_header("cookie", &line);
            return;
        }
        if !visitors.has_unsent() {
            return;
        }
        // The id of a request that the proxy redirected itself: no answer has brought it yet.
        for cookie in
            decided.filter(|it| it.mode == Mode::Enforce).filter_map(|it| it.anonymous_id.as_ref())
        {
            let Some(text) = request.cookie(&cookie.name) else { continue };
            let Some(id) = read_id(text) else { continue };
            let is_new = self.list.iter().all(|other| other.id != Some(id));
            if is_new && visitors.is_unsent(&id, now, || request.connection_id()) {
                self.add_id(cookie, text, request);
            }
        }
    }

    fn add_id(&mut self, cookie: &SetCookie, text: &[u8], request: &Request<'_>) {
        let value = String::from_utf8_lossy(text);
        let line = cookie.header(&value, request.is_https(), request.host());
        self.list.push(Handout { line, rollout: None, id: read_id(text) });
    }

    /// Whether there is nothing to hand out.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Hands them out on an answer with these `headers`, if no cache can give that to others.
    pub fn hand_out(
        &mut self,
        host: &impl Host,
        loaded: &LoadedConfig,
        status: Option<u16>,
        headers: &Headers,
    ) {
        let is_shared = cache::is_shared(status, headers, host.now() / 1_000_000_000);
        let count = self.list.len();
        // An id goes out in any case, for all else goes by it.
        let ids = self.list.iter().filter(|handout| handout.rollout.is_none()).count();
        let pins = MOST.saturating_sub(ids);
        for (number, handout) in self.list.drain(..).enumerate() {
            if let Some(id) = &handout.id {
                loaded.visitors.settle(id);
            }
            if is_shared {
                continue;
            }
            match handout.rollout.filter(|_| number >= pins) {
                None => host.add_response_header("set-cookie", &handout.line),
                Some(rollout) => {
                    if let Some(rollout) = loaded.rollout(rollout) {
                        rollout.requests(host).ignored(host, IgnoredKind::Pin);
                    }
                }
            }
        }
        if !is_shared && count > MOST && !loaded.has_said_too_many_cookies.replace(true) {
            log::warn!(
                "{count} cookies were to go out on one answer: {MOST} did, the other pins wait for the \
                 next answers (cohort_ignored_total, what=pin, counts them; this is said once)"
            );
        }
    }
}
