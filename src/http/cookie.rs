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

impl SetCookie {
    /// The value of a `set-cookie` header that hands out `value`; `https` tells how the request came.
    pub fn header(&self, value: &str, https: bool) -> String {
        let mut out = format!("{}={value}; Path={}", self.name, self.path);
        if let Some(domain) = &self.domain {
            // Writing to a String cannot fail.
            let _ = write!(out, "; Domain={domain}");
        }
        if let Some(seconds) = self.max_age {
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
