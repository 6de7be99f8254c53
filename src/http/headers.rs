//! A header map, and the names in it.

use std::fmt;

/// A header name as the proxy holds it: lower case, RFC 9110 section 5.6.2 token.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HeaderName(Box<str>);

impl HeaderName {
    /// The name in lower case; `None` if it is empty, longer than 256 bytes or not a token.
    pub fn new(name: &str) -> Option<Self> {
        let good = !name.is_empty() && name.len() <= 256 && name.bytes().all(is_token_byte);
        good.then(|| Self(name.to_ascii_lowercase().into()))
    }

    /// The name, in lower case.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for HeaderName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Whether RFC 9110 lets `byte` stand in a token (a header name, a cookie name, a baggage key).
pub fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// A name as every reader of it down the line might spell it: lower case, and each byte that is
/// neither letter nor digit a hyphen.
///
/// CGI and WSGI turn `x-cohort-checkout` and `x_cohort_checkout` into the same variable, so a client's
/// `x_cohort_checkout` must count as a copy of ours.
pub fn fold(name: &[u8]) -> impl Iterator<Item = u8> + Clone + '_ {
    name.iter().map(
        |&byte| {
            if byte.is_ascii_alphanumeric() {
                byte.to_ascii_lowercase()
            } else {
                b'-'
            }
        },
    )
}

/// A header map read from the proxy, pseudo-headers included, in the order of the request.
///
/// Owns one buffer; names and values are ranges of it, so that reading a request allocates no more
/// than this.
#[derive(Clone, Debug, Default)]
pub struct Headers {
    bytes: Vec<u8>,
    fields: Vec<Field>,
}

/// Where one header stands in the buffer: the name from `name`, the value from `value`, up to `end`.
#[derive(Clone, Copy, Debug)]
struct Field {
    name: u32,
    name_len: u32,
    value: u32,
    value_len: u32,
}

impl Headers {
    /// Reads the proxy-wasm encoding of a map: a little-endian `u32` count, then for each pair the two
    /// lengths, then for each pair name, NUL, value, NUL.
    ///
    /// Bytes that do not hold what they announce end the map there: what was read stays.
    pub fn from_wire(bytes: Vec<u8>) -> Self {
        let word = |at: usize| -> Option<u32> {
            let word = bytes.get(at..at.checked_add(4)?)?;
            Some(u32::from_le_bytes(word.try_into().ok()?))
        };
        let count = word(0).unwrap_or(0) as usize;
        // A pair takes ten bytes at least, so a forged count cannot ask for more memory than was sent.
        let mut fields = Vec::with_capacity(count.min(bytes.len() / 10));
        let mut at = count.saturating_mul(8).saturating_add(4);
        for pair in 0..count {
            let lengths = 4 + pair * 8;
            let (Some(name_len), Some(value_len)) = (word(lengths), word(lengths + 4)) else {
                break;
            };
            let name = at;
            let value = name.saturating_add(name_len as usize).saturating_add(1);
            let end = value.saturating_add(value_len as usize);
            if end > bytes.len() {
                break;
            }
            fields.push(Field { name: name as u32, name_len, value: value as u32, value_len });
            at = end + 1;
        }
        Self { bytes, fields }
    }

    /// Every header, name and value, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> + '_ {
        self.fields.iter().map(|field| {
            (self.slice(field.name, field.name_len), self.slice(field.value, field.value_len))
        })
    }

    /// The first value of `name`, which is in lower case.
    pub fn first(&self, name: &str) -> Option<&[u8]> {
        let field = self.fields.iter().find(|field| self.is(field, name))?;
        Some(self.slice(field.value, field.value_len))
    }

    /// Every value of `name`, which is in lower case, in order.
    pub fn all<'a, 'n>(&'a self, name: &'n str) -> impl Iterator<Item = &'a [u8]> + use<'a, 'n> {
        self.fields
            .iter()
            .filter(move |field| self.is(field, name))
            .map(|field| self.slice(field.value, field.value_len))
    }

    #[inline]
    fn is(&self, field: &Field, name: &str) -> bool {
        field.name_len as usize == name.len()
            && self.slice(field.name, field.name_len) == name.as_bytes()
    }

    #[inline]
    fn slice(&self, at: u32, len: u32) -> &[u8] {
        let at = at as usize;
        self.bytes.get(at..at + len as usize).unwrap_or_default()
    }
}

impl<N: AsRef<[u8]>, V: AsRef<[u8]>> FromIterator<(N, V)> for Headers {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(pairs: I) -> Self {
        let mut headers = Self::default();
        for (name, value) in pairs {
            let (name, value) = (name.as_ref(), value.as_ref());
            let at = headers.bytes.len() as u32;
            headers.bytes.extend(name.iter().map(u8::to_ascii_lowercase));
            headers.bytes.extend_from_slice(value);
            headers.fields.push(Field {
                name: at,
                name_len: name.len() as u32,
                value: at + name.len() as u32,
                value_len: value.len() as u32,
            });
        }
        headers
    }
}
