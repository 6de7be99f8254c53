//! The `baggage` header (W3C Baggage, sections 3.2 and 3.3): members of our own among those of others.

/// The most bytes of a baggage header that every platform must carry (W3C Baggage, section 3.3.2).
pub const BYTE_LIMIT: usize = 8192;

/// The most members of a baggage header that every platform must carry.
pub const MEMBER_LIMIT: usize = 64;

/// How the keys of our own members begin; the rollout's name follows.
pub const PREFIX: &[u8] = b"cohort-";

/// Every member of a baggage header line: the whole member, trimmed, and its key and value without
/// properties. Pieces that are empty are left out; one without `=` has the empty value.
pub fn members(line: &[u8]) -> impl Iterator<Item = Member<'_>> + '_ {
    line.split(|&byte| byte == b',').filter_map(|text| {
        let text = text.trim_ascii();
        let (pair, _) = halves(text, b';');
        let (key, value) = halves(pair, b'=');
        let member = Member { text, key: key.trim_ascii(), value: value.trim_ascii() };
        (!text.is_empty()).then_some(member)
    })
}

/// What stands before and after the first `between`; nothing is after where there is none.
fn halves(text: &[u8], between: u8) -> (&[u8], &[u8]) {
    let at = text.iter().position(|&byte| byte == between).unwrap_or(text.len());
    let (before, after) = text.split_at_checked(at).unwrap_or((text, &[]));
    (before, after.get(1..).unwrap_or_default())
}

/// One member of a baggage header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member<'a> {
    /// The member with its properties, as it stands.
    pub text: &'a [u8],
    pub key: &'a [u8],
    pub value: &'a [u8],
}

impl Member<'_> {
    /// The key as the most forgiving reader down the line might see it, so that no spelling of ours
    /// passes for somebody else's.
    ///
    /// The specification reads a key as it stands. OpenTelemetry's Python and .NET percent-decode it,
    /// read `+` as a space and take white space off both ends, Unicode's included, and write the result
    /// down for the next hop. A key that was encoded several times is decoded as often.
    ///
    /// ```
    /// use cohort::http::baggage::members;
    /// let keys = b"cohort%2Dcart=b,+cohort-cart=b,%C2%A0cohort-cart%1f=b,cohort%25252Dcart=b";
    /// assert!(members(keys).all(|member| member.decoded_key() == b"cohort-cart"));
    /// ```
    pub fn decoded_key(&self) -> Vec<u8> {
        let decoded = percent_decode(self.key);
        let around = |c: char| c.is_whitespace() || c.is_control() || c == '+';
        String::from_utf8_lossy(&decoded).trim_matches(around).as_bytes().to_vec()
    }
}

/// Decodes until nothing is left to decode, in one pass: each byte that completes an escape takes its
/// place at once, and may complete another.
fn percent_decode(text: &[u8]) -> Vec<u8> {
    let hex = |byte: u8| (byte as char).to_digit(16).map(|digit| digit as u8);
    let mut out = Vec::with_capacity(text.len());
    for &byte in text {
        out.push(byte);
        while let [.., b'%', high, low] = *out.as_slice() {
            let Some((high, low)) = hex(high).zip(hex(low)) else { break };
            out.truncate(out.len() - 3);
            out.push(high << 4 | low);
        }
    }
    out
}

/// A baggage header line under construction.
#[derive(Debug, Default)]
pub struct Builder {
    line: Vec<u8>,
    count: usize,
}

impl Builder {
    /// Adds a member as it stands.
    pub fn keep(&mut self, member: &[u8]) {
        if self.count > 0 {
            self.line.push(b',');
        }
        self.line.extend_from_slice(member);
        self.count += 1;
    }

    /// Adds `key=value` if the header stays within the specification's limits, and says whether.
    pub fn add(&mut self, key: &str, value: &str) -> bool {
        let length = self.line.len() + key.len() + value.len() + 2;
        let fits = length <= BYTE_LIMIT && self.count < MEMBER_LIMIT;
        if fits {
            self.keep(format!("{key}={value}").as_bytes());
        }
        fits
    }

    /// The header's value; empty if there is no member.
    pub fn finish(self) -> Vec<u8> {
        self.line
    }
}
