//! A request and its answer as lines of an input.

use super::exchange::{details, get, Ending, Exchange, Lines, Reply};

/// Collects lines `name: value`: first of the request, after an empty line of its trailers, after another
/// of the answer, after a third of the answer's trailers.
pub struct Draft {
    parts: [Lines; 4],
    part: usize,
}

impl Draft {
    pub fn new() -> Self {
        Self { parts: Default::default(), part: 0 }
    }

    pub fn line(&mut self, line: &[u8]) {
        if line.is_empty() {
            self.part = (self.part + 1).min(self.parts.len() - 1);
            return;
        }
        let at = line.iter().position(|byte| *byte == b':').unwrap_or(line.len());
        let (name, value) = line.split_at(at);
        // What no proxy lets through.
        let value = value.iter().skip(1).copied().filter(|byte| !matches!(byte, 0 | b'\r'));
        self.parts[self.part].push((name.to_ascii_lowercase(), value.collect()));
    }

    /// The exchange as far as it was written. `flags` choose the response code details; where they are odd
    /// the answer breaks off, and 255 is a client that went away.
    pub fn exchange(self, status: u8, flags: u8) -> Exchange {
        let [request, request_trailers, headers, trailers] = self.parts;
        let mut exchange = get("/checkout");
        exchange.state.request.extend(request);
        exchange.state.request_trailers = request_trailers;
        if flags == 255 {
            return Exchange { ending: Ending::Aborted, ..exchange };
        }
        let mut reply = Reply::new(u16::from(status) * 4);
        (reply.headers, reply.trailers) = (headers, trailers);
        let known = [
            details::UPSTREAM,
            details::RESET_BEFORE_HEADERS,
            details::RESET_AFTER_HEADERS,
            details::IDLE,
            details::CLIENT_WENT,
            details::DENIED,
            "no_healthy_upstream",
            "",
        ];
        reply.details = known[usize::from(flags / 2) % known.len()];
        reply.ended = flags.is_multiple_of(2);
        exchange.reply(reply)
    }
}
