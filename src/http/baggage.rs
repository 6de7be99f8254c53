//! The `baggage` header (W3C Baggage, sections 3.2 and 3.3): members of our own among those of others.

/// The most bytes of a baggage header that every platform must carry (W3C Baggage, section 3.3.2).
pub const BYTE_LIMIT: usize = 8192;

/// The most members of a baggage header that every platform must carry.
pub const MEMBER_LIMIT: usize = 64;

/// Every member of a baggage header line: the whole member, trimmed, and its key and value without
/// properties. Pieces that are empty are left out; one without `=` has the empty value.
pub fn members(line: &[u8]) -> impl Iterator<Item = Member<'_>> + '_ {
    line.split(|&byte| byte == b',').map(<[u8]>::trim_ascii).filter(|text| !text.is_empty()).map(
        |text| {
            let pair = text.split(|&byte| byte == b';').next().unwrap_or_default();
            let mut halves = pair.splitn(2, |&byte| byte == b'=');
            let key = halves.next().unwrap_or_default().trim_ascii();
            let value = halves.next().unwrap_or_default().trim_ascii();
            Member { text, key, value }
        },
    )
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
    /// The key as a reader that percent-decodes keys sees it (OpenTelemetry's Python and JavaScript
    /// do, the specification does not), so that no spelling of our key passes for somebody else's.
    pub fn decoded_key(&self) -> Vec<u8> {
        percent_decode(self.key)
    }
}

fn percent_decode(text: &[u8]) -> Vec<u8> {
    let hex = |byte: &u8| (*byte as char).to_digit(16).map(|digit| digit as u8);
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&first, tail)) = rest.split_first() {
        let escaped = match (first, tail) {
            (b'%', [high, low, ..]) => hex(high).zip(hex(low)).map(|(high, low)| high << 4 | low),
            _ => None,
        };
        match escaped {
            Some(byte) => {
                out.push(byte);
                rest = tail.get(2..).unwrap_or_default();
            }
            None => {
                out.push(first);
                rest = tail;
            }
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
