//! How a request ended, who answered it, and whether that is the version's fault.

use super::series::Source;

/// What is known of a response while it goes by.
#[derive(Clone, Copy, Debug, Default)]
pub struct Outcome {
    /// `None`: there was no answer.
    pub status: Option<u16>,
    /// Whether the answer was sent to its end.
    pub ended: bool,
    /// The bytes of the answer's body that came by.
    pub body: u64,
    /// gRPC requests carry their real status beside the HTTP one.
    pub grpc: bool,
    pub grpc_status: Option<u8>,
    /// What kind of request it was.
    pub request: RequestKind,
    /// Nanoseconds from the request's headers to the answer's, where somebody wants to know, and as far
    /// as the client had no part in it.
    pub waited: Option<u64>,
}

/// What an outcome must know of its request.
#[derive(Clone, Copy, Debug, Default)]
pub struct RequestKind {
    /// An OPTIONS request, which other filters like to answer.
    pub options: bool,
    /// A tunnel, whose length and end say nothing of the version.
    pub connect: bool,
    /// Whether a body follows, for which the client may take its time.
    pub has_body: bool,
}

/// What an outcome says of the version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    pub source: Source,
    /// Whether it speaks of the version at all: its upstream answered, or the proxy could not get an answer
    /// from it.
    pub counts: bool,
    pub failed: bool,
}

/// What the proxy says where the version is at fault for an answer of the proxy's own, or for one that
/// broke off (Envoy's response code details).
const AT_FAULT: [&str; 6] = [
    "no_healthy_upstream",
    "response_timeout",
    "cluster_not_found",
    "maintenance_mode",
    STREAM_IDLE,
    MAX_DURATION,
];

/// The start of all that Envoy says of resets and timeouts of an upstream.
const UPSTREAM: &str = "upstream_";

/// Envoy's word for an answer that an upstream gave.
const VIA_UPSTREAM: &str = "via_upstream";

/// Nothing went by for too long, or it took too long altogether. Before the answer the status says whose
/// fault it is: 408 the client's, 504 the upstream's.
const STREAM_IDLE: &str = "stream_idle_timeout";
const MAX_DURATION: &str = "max_duration_timeout";

/// The bytes of a body that a proxy takes from an upstream in any case. Within these no client, however
/// slowly it reads, makes an upstream wait.
const ALWAYS_TAKEN: u64 = 65_536;

impl Outcome {
    /// Whether the connection now speaks another protocol (a WebSocket, a tunnel), so that its length and its
    /// end say nothing of the version.
    pub fn is_tunnel(&self) -> bool {
        self.status == Some(101)
            || self.request.connect && self.status.is_some_and(|status| status < 300)
    }

    /// What it says of the version. `details` are asked only where an answer is not plainly good.
    pub fn judge(&self, details: impl FnOnce() -> Option<Vec<u8>>) -> Verdict {
        // Where the client went before there was an answer, nobody gave one in the upstream's place.
        let none = Verdict { source: Source::Upstream, counts: false, failed: false };
        let Some(status) = self.status else { return none };
        let answered = |failed| Verdict { source: Source::Upstream, counts: true, failed };
        // UNKNOWN, DEADLINE_EXCEEDED, INTERNAL, UNAVAILABLE, DATA_LOSS.
        let grpc_failed = self.grpc && matches!(self.grpc_status, Some(2 | 4 | 13 | 14 | 15));
        let failed = status >= 500 || grpc_failed;
        let grpc_good = !self.grpc || self.grpc_status.is_none_or(|status| status == 0);
        let usual = status < 300 || status == 304;
        let whole = self.ended || self.is_tunnel();
        if usual && whole && grpc_good && !self.request.options {
            return answered(false);
        }
        let details = details().unwrap_or_default();
        let at_fault = details.starts_with(UPSTREAM.as_bytes())
            || AT_FAULT.iter().any(|known| known.as_bytes() == details);
        if !whole {
            // An answer of the proxy's own is always whole, so this one began at the upstream.
            let hangs = [STREAM_IDLE, MAX_DURATION].iter().any(|it| it.as_bytes() == details);
            return answered(failed || at_fault && !(hangs && self.body >= ALWAYS_TAKEN));
        }
        if details == VIA_UPSTREAM.as_bytes() || at_fault && failed {
            return answered(failed);
        }
        Verdict { source: Source::Proxy, counts: false, failed: false }
    }

    /// Whether the version took longer than `limit` nanoseconds to answer.
    pub fn is_slower_than(&self, limit: u64) -> bool {
        !self.is_tunnel() && self.waited.is_some_and(|waited| waited > limit)
    }
}

/// Reads a decimal number out of a header's bytes; `None` where there is another byte, or the number is
/// past what `T` holds.
pub fn number<T: TryFrom<u32>>(bytes: &[u8]) -> Option<T> {
    let digits = bytes.trim_ascii();
    let number = digits.iter().try_fold(0_u32, |number, byte| {
        let digit = char::from(*byte).to_digit(10)?;
        number.checked_mul(10)?.checked_add(digit)
    });
    number.filter(|_| !digits.is_empty())?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_digits_and_nothing_else() {
        assert_eq!(number::<u16>(b"200"), Some(200));
        assert_eq!(number::<u16>(b" 0 "), Some(0));
        assert_eq!(number::<u16>(b"65535"), Some(65_535));
        for bad in [&b""[..], b" ", b"2 0", b"-1", b"+1", b"1.0", b"65536", b"4294967296", b"\xff"]
        {
            assert_eq!(number::<u16>(bad), None, "{}", bad.escape_ascii());
        }
    }

    /// Source, whether it counts, whether it failed.
    fn verdict(outcome: Outcome, details: &str) -> (Source, bool, bool) {
        let Verdict { source, counts, failed } = outcome.judge(|| Some(details.into()));
        (source, counts, failed)
    }

    fn whole(status: u16) -> Outcome {
        Outcome { status: Some(status), ended: true, ..Outcome::default() }
    }

    fn broken(status: u16, body: u64) -> Outcome {
        Outcome { status: Some(status), body, ..Outcome::default() }
    }

    const FAILED: (Source, bool, bool) = (Source::Upstream, true, true);
    const GOOD: (Source, bool, bool) = (Source::Upstream, true, false);
    const ANOTHER: (Source, bool, bool) = (Source::Proxy, false, false);

    #[test]
    fn a_plainly_good_answer_is_not_looked_at_closer() {
        for status in [200, 204, 206, 304, 101] {
            let verdict = whole(status).judge(|| panic!("{status} was looked at"));
            assert_eq!((verdict.source, verdict.counts, verdict.failed), GOOD);
        }
        let none = Outcome::default().judge(|| panic!("there was no answer"));
        assert!(!none.counts);
    }

    #[test]
    fn what_the_upstream_answered_counts_and_what_another_filter_did_does_not() {
        for (status, wanted) in
            [(200, GOOD), (302, GOOD), (404, GOOD), (500, FAILED), (503, FAILED)]
        {
            assert_eq!(verdict(whole(status), VIA_UPSTREAM), wanted, "{status}");
        }
        for (status, details) in [
            (403, "rbac_access_denied_matched_policy[none]"),
            (401, "jwt_authn_access_denied{Jwt_is_missing}"),
            (429, "local_rate_limited"),
            (503, "fault_filter_abort"),
            (302, "oauth.redirected_to_login"),
            (500, ""),
            (503, "direct_response"),
            (408, "stream_idle_timeout"),
            (408, "max_duration_timeout"),
        ] {
            assert_eq!(verdict(whole(status), details), ANOTHER, "{details}");
        }
        let preflight = RequestKind { options: true, ..RequestKind::default() };
        assert_eq!(verdict(Outcome { request: preflight, ..whole(200) }, "cors_response"), ANOTHER);
        assert_eq!(verdict(Outcome { request: preflight, ..whole(200) }, VIA_UPSTREAM), GOOD);
    }

    #[test]
    fn what_the_proxy_could_not_get_from_the_version_is_the_version_s_failure() {
        for (status, details) in [
            (503, "no_healthy_upstream"),
            (503, "upstream_reset_before_response_started{connection_termination}"),
            (504, "response_timeout"),
            (504, "upstream_per_try_timeout"),
            (504, "stream_idle_timeout"),
            (504, "max_duration_timeout"),
            (503, "cluster_not_found"),
        ] {
            assert_eq!(verdict(whole(status), details), FAILED, "{details}");
        }
    }

    #[test]
    fn an_answer_that_breaks_off_or_hangs_is_a_failure_and_a_client_that_goes_or_reads_slowly_is_none(
    ) {
        for details in [
            "upstream_reset_after_response_started{connection_termination}",
            "response_timeout",
            "upstream_max_stream_duration_reached",
            "stream_idle_timeout",
            "max_duration_timeout",
        ] {
            assert_eq!(verdict(broken(200, 100), details), FAILED, "{details}");
        }
        for details in ["downstream_remote_disconnect", "http2.remote_reset", "", VIA_UPSTREAM] {
            assert_eq!(verdict(broken(200, 100), details), GOOD, "{details}");
        }
        // So much has come that the client may be the one who is waited for.
        assert_eq!(verdict(broken(200, 100_000), "stream_idle_timeout"), GOOD);
        assert_eq!(verdict(broken(200, 100_000), "max_duration_timeout"), GOOD);
        let reset = "upstream_reset_after_response_started{connection_termination}";
        assert_eq!(verdict(broken(200, 100_000), reset), FAILED);
        assert_eq!(verdict(broken(101, 0), "stream_idle_timeout"), GOOD);
    }

    #[test]
    fn a_grpc_status_counts_by_who_gave_it() {
        let grpc = |status| Outcome { grpc: true, grpc_status: Some(status), ..whole(200) };
        assert_eq!(verdict(grpc(0), ""), GOOD);
        assert_eq!(verdict(grpc(14), VIA_UPSTREAM), FAILED);
        assert_eq!(verdict(grpc(5), VIA_UPSTREAM), GOOD);
        assert_eq!(verdict(grpc(14), "no_healthy_upstream"), FAILED);
        assert_eq!(verdict(grpc(7), "rbac_access_denied_matched_policy[none]"), ANOTHER);
    }
}
