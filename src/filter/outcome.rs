//! How a request ended, and whether that is the version's fault.

/// What is known of a response while it goes by.
#[derive(Clone, Copy, Debug, Default)]
pub struct Outcome {
    /// `None`: there was no answer.
    pub status: Option<u16>,
    /// Whether the answer was sent to its end.
    pub ended: bool,
    /// gRPC requests carry their real status beside the HTTP one.
    pub grpc: bool,
    pub grpc_status: Option<u8>,
}

/// Response flags of Envoy that blame the upstream: no healthy upstream, request timeout, local and
/// remote reset, connection failure, connection termination, overflow, retries exhausted, maximum
/// stream duration, upstream protocol error (`CoreResponseFlag` 1 to 7, 15, 19, 23).
const UPSTREAM_FLAGS: u64 = 0xfe | 1 << 15 | 1 << 19 | 1 << 23;

/// The client went away (`CoreResponseFlag::DownstreamConnectionTermination`).
const CLIENT_WENT: u64 = 1 << 14;

impl Outcome {
    /// Whether this is an answer at all; a client that went away before it is none.
    pub fn is_answer(&self) -> bool {
        self.status.is_some()
    }

    /// Whether the connection now speaks another protocol (a WebSocket), so that its length and its
    /// end say nothing of the version.
    pub fn is_upgrade(&self) -> bool {
        self.status == Some(101)
    }

    /// Whether the guard counts this as failed (design.md section 7). `flags` is asked only for an
    /// answer that broke off.
    pub fn is_failure(&self, flags: impl FnOnce() -> Option<u64>) -> bool {
        let Some(status) = self.status else { return false };
        // UNKNOWN, DEADLINE_EXCEEDED, INTERNAL, UNAVAILABLE, DATA_LOSS.
        let grpc_failed = self.grpc && matches!(self.grpc_status, Some(2 | 4 | 13 | 14 | 15));
        if status >= 500 || grpc_failed {
            return true;
        }
        if self.ended || self.is_upgrade() {
            return false;
        }
        flags().is_some_and(|flags| flags & CLIENT_WENT == 0 && flags & UPSTREAM_FLAGS != 0)
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
    use super::number;

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
}
