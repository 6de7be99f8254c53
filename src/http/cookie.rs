//! Cookies in and out (RFC 6265, sections 4.1 and 5.4).

use std::fmt::Write;

/// Every cookie of a `cookie` header line, name and value, in order.
///
/// White space around a pair is not part of it, nor are the quotes around a quoted value. A piece
/// without `=` is not a cookie.
pub fn pairs(line: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> + '_ {
    let mut rest = Some(line);
    std::iter::from_fn(move || loop {
        let line = rest?;
        let end = line.iter().position(|&byte| byte == b';');
        rest = end.and_then(|end| line.get(end + 1..));
        let piece = end.and_then(|end| line.get(..end)).unwrap_or(line);
        let Some(at) = piece.iter().position(|&byte| byte == b'=') else { continue };
        let name = piece.get(..at)?.trim_ascii();
        let value = piece.get(at + 1..)?.trim_ascii();
        let quoted = value.strip_prefix(b"\"").and_then(|value| value.strip_suffix(b"\""));
        return Some((name, quoted.unwrap_or(value)));
    })
}

/// Whether `text` can be a cookie's name: a token, not empty.
pub fn is_name(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(super::headers::is_token_byte)
}

/// Whether a cookie for `domain` may come from `host` (RFC 6265, section 5.1.3).
///
/// ```
/// use cohort::http::cookie::is_within;
/// assert!(is_within(b"shop.example.com", "example.com") && is_within(b"example.com", "example.com"));
/// assert!(!is_within(b"shop.example.de", "example.com") && !is_within(b"badexample.com", "example.com"));
/// assert!(!is_within(b"10.0.0.1", "0.0.1") && is_within(b"10.0.0.1", "10.0.0.1"));
/// ```
pub fn is_within(host: &[u8], domain: &str) -> bool {
    let Some(below) = host.strip_suffix(domain.as_bytes()) else { return false };
    let is_address = super::address::parse(host).is_some();
    below.is_empty() || (below.ends_with(b".") && !is_address)
}

/// `lines` without the cookies called `name`, and with one of that name and value at the end, as one line.
///
/// ```
/// use cohort::http::cookie::with;
/// let lines = [&b"a=1; id=; b"[..], b" c=\xff;id=x ; ;"];
/// assert_eq!(with(lines.into_iter(), "id", "7"), b"a=1; b; c=\xff; id=7");
/// assert_eq!(with([].into_iter(), "id", "7"), b"id=7");
/// ```
pub fn with<'a>(lines: impl Iterator<Item = &'a [u8]>, name: &str, value: &str) -> Vec<u8> {
    let mut out = Vec::new();
    for piece in lines.flat_map(|line| line.split(|&byte| byte == b';')).map(<[u8]>::trim_ascii) {
        let is_it = pairs(piece).any(|(other, _)| other == name.as_bytes());
        if !piece.is_empty() && !is_it {
            out.extend_from_slice(piece);
            out.extend_from_slice(b"; ");
        }
    }
    out.extend_from_slice(name.as_bytes());
    out.push(b'=');
    out.extend_from_slice(value.as_bytes());
    out
}

/// RFC 6265bis `SameSite`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SameSite {
    Strict,
    Lax,
    None,
}

/// A cookie that we hand out: its name and attributes, not its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetCookie {
    pub name: String,
    /// `Path`, never empty.
    pub path: String,
    pub domain: Option<String>,
    /// `Max-Age` in seconds; `None` is a session cookie.
    pub max_age: Option<u64>,
    /// `None`: `Secure` when the request came over https.
    pub secure: Option<bool>,
    pub http_only: bool,
    pub same_site: SameSite,
    pub partitioned: bool,
}

/// How long the attributes of a cookie are together, with a domain as most are.
const ATTRIBUTES: usize = 128;

impl SetCookie {
    /// The value of a `set-cookie` header that hands out `value`; `https` tells how the request came, `host` to
    /// whom, in lower case and without a port.
    ///
    /// A browser refuses a cookie for a domain that the host is not in, so that it is then for the host alone.
    pub fn header(&self, value: &str, https: bool, host: Option<&[u8]>) -> String {
        // The attributes have room too, so that it grows for a long domain only.
        let size = self.name.len() + value.len() + self.path.len() + ATTRIBUTES;
        let mut out = String::with_capacity(size);
        out.extend([self.name.as_str(), "=", value, "; Path=", &self.path]);
        let fits = |domain: &&String| host.is_some_and(|host| is_within(host, domain));
        if let Some(domain) = self.domain.as_ref().filter(fits) {
            out.extend(["; Domain=", domain]);
        }
        if let Some(seconds) = self.max_age {
            // Writing to a String cannot fail.
            let _ = write!(out, "; Max-Age={seconds}");
        }
        // Browsers refuse `SameSite=None` and `Partitioned` without `Secure`.
        let needs_secure = self.same_site == SameSite::None || self.partitioned;
        if self.secure.unwrap_or(https || needs_secure) {
            out.push_str("; Secure");
        }
        if self.http_only {
            out.push_str("; HttpOnly");
        }
        out.push_str(match self.same_site {
            SameSite::Strict => "; SameSite=Strict",
            SameSite::Lax => "; SameSite=Lax",
            SameSite::None => "; SameSite=None",
        });
        if self.partitioned {
            out.push_str("; Partitioned");
        }
        out
    }
}
