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
pub fn fold(name: &[u8]) -> impl DoubleEndedIterator<Item = u8> + Clone + '_ {
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
    /// The lengths of the names as bits, so that most names that are not there need no search.
    lengths: u64,
}

/// The length of a name as one bit of a set; those past the last bit share it.
pub fn length_bit(length: usize) -> u64 {
    1 << length.min(63)
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
        let Some((count, rest)) = bytes.split_first_chunk() else { return Self::default() };
        let count = u32::from_le_bytes(*count) as usize;
        // A pair takes ten bytes at least, so a forged count cannot ask for more memory than was sent.
        let mut fields = Vec::with_capacity(count.min(bytes.len() / 10));
        let mut lengths = 0;
        let mut at = count.saturating_mul(8).saturating_add(4);
        for pair in rest.chunks_exact(8).take(count) {
            let [a, b, c, d, e, f, g, h] = *pair else { break };
            let name_len = u32::from_le_bytes([a, b, c, d]);
            let value_len = u32::from_le_bytes([e, f, g, h]);
            let name = at;
            let value = name.saturating_add(name_len as usize).saturating_add(1);
            let end = value.saturating_add(value_len as usize);
            if end > bytes.len() {
                break;
            }
            lengths |= length_bit(name_len as usize);
            fields.push(Field { name: name as u32, name_len, value: value as u32, value_len });
            at = end + 1;
        }
        Self { bytes, fields, lengths }
    }

    /// No headers yet, with room for so many of them that have so many bytes together.
    pub fn with_room(count: usize, bytes: usize) -> Self {
        Self { bytes: Vec::with_capacity(bytes), fields: Vec::with_capacity(count), lengths: 0 }
    }

    /// Adds a line; its name is kept in lower case.
    pub fn push(&mut self, name: &[u8], value: &[u8]) {
        let at = self.bytes.len();
        self.bytes.extend_from_slice(name);
        if let Some(name) = self.bytes.get_mut(at..) {
            name.make_ascii_lowercase();
        }
        self.bytes.extend_from_slice(value);
        self.lengths |= length_bit(name.len());
        self.fields.push(Field {
            name: at as u32,
            name_len: name.len() as u32,
            value: (at + name.len()) as u32,
            value_len: value.len() as u32,
        });
    }

    /// Every header, name and value, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> + '_ {
        self.fields.iter().map(|field| {
            (self.slice(field.name, field.name_len), self.slice(field.value, field.value_len))
        })
    }

    /// The first value of `name`, which is in lower case.
    pub fn first(&self, name: &str) -> Option<&[u8]> {
        if self.lengths & length_bit(name.len()) == 0 {
            return None;
        }
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
            headers.push(name.as_ref(), value.as_ref());
        }
        headers
    }
}

#[cfg(test)]
mod tests {
    use super::Headers;

    /// A header map as [`Headers::from_wire`] reads it.
    fn to_wire(pairs: &[(&str, &str)]) -> Vec<u8> {
        let mut wire = (pairs.len() as u32).to_le_bytes().to_vec();
        for (name, value) in pairs {
            wire.extend((name.len() as u32).to_le_bytes());
            wire.extend((value.len() as u32).to_le_bytes());
        }
        for text in pairs.iter().flat_map(|(name, value)| [name, value]) {
            wire.extend(text.as_bytes());
            wire.push(0);
        }
        wire
    }

    /// A map that says it has `count` pairs.
    fn wire(count: u32, pairs: &[(&str, &str)]) -> Vec<u8> {
        let mut wire = to_wire(pairs);
        wire[..4].copy_from_slice(&count.to_le_bytes());
        wire
    }

    #[test]
    fn every_header_of_the_wire_is_found_whatever_the_length_of_its_name() {
        let names: Vec<String> = (1..200).map(|length| "n".repeat(length)).collect();
        let pairs: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "v")).collect();
        let read = Headers::from_wire(wire(199, &pairs));
        let collected: Headers = pairs.iter().copied().collect();
        for headers in [&read, &collected] {
            assert!(headers.iter().eq(pairs.iter().map(|(n, v)| (n.as_bytes(), v.as_bytes()))));
            for name in &names {
                assert_eq!(headers.first(name), Some(&b"v"[..]), "{}", name.len());
                assert_eq!(headers.first(&name.replace('n', "m")), None);
            }
            assert_eq!(headers.first(&"n".repeat(200)), None);
        }
    }

    #[test]
    fn the_first_of_several_lines_comes_first() {
        let headers = Headers::from_wire(wire(3, &[("a", "1"), ("b", ""), ("a", "2")]));
        assert_eq!(headers.first("a"), Some(&b"1"[..]));
        assert_eq!(headers.first("b"), Some(&b""[..]));
        assert!(headers.all("a").eq([&b"1"[..], b"2"]));
    }

    #[test]
    fn what_was_read_before_the_wire_lies_stays() {
        let good = wire(2, &[("a", "1"), ("b", "2")]);
        let count = |bytes: Vec<u8>| Headers::from_wire(bytes).iter().count();
        assert_eq!(count(good.clone()), 2);
        for short in 0..good.len() {
            assert!(count(good[..short].to_vec()) < 2 || short + 1 == good.len(), "{short}");
        }
        // A count that is too high moves where the texts are looked for.
        assert!(count(wire(u32::MAX, &[("a", "1")])) == 0);
        let mut long = good;
        long[4..8].copy_from_slice(&u32::MAX.to_le_bytes());
        assert_eq!(count(long), 0);
    }
}
