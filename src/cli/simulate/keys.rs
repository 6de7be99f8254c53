//! Keys to put through a rollout, and how a request carries one.

use std::io::Write;
use std::net::{IpAddr, Ipv4Addr};

use crate::config::{KeySource, Rollout};
use crate::http::Headers;

/// The keys of a simulation.
#[derive(Debug)]
pub enum Keys {
    /// `user-0`, `user-1` and so on.
    MadeUp(u64),
    /// The lines of a file that are not empty, as bytes: the text and where each begins and ends.
    Lines(Vec<u8>, Vec<(usize, usize)>),
}

impl Keys {
    /// The lines of `text`.
    pub fn lines(text: Vec<u8>) -> Self {
        let mut at = 0;
        let mut lines = Vec::new();
        for line in text.split_inclusive(|&byte| byte == b'\n') {
            let content = line.strip_suffix(b"\n").unwrap_or(line);
            let content = content.strip_suffix(b"\r").unwrap_or(content);
            if !content.is_empty() {
                lines.push((at, at + content.len()));
            }
            at += line.len();
        }
        Self::Lines(text, lines)
    }

    pub fn count(&self) -> u64 {
        match self {
            Self::MadeUp(count) => *count,
            Self::Lines(_, lines) => lines.len() as u64,
        }
    }

    /// Writes the key at `position` into `key`, as `carrier` needs it.
    pub fn write(&self, position: u64, carrier: &Carrier<'_>, key: &mut Vec<u8>) {
        key.clear();
        // Writing to a Vec cannot fail.
        match self {
            Self::MadeUp(_) if *carrier == Carrier::Address => {
                let address = Ipv4Addr::from(0x0a00_0000_u32.wrapping_add(position as u32));
                let _ = write!(key, "{address}");
            }
            Self::MadeUp(_) => {
                let _ = write!(key, "user-{position}");
            }
            Self::Lines(text, lines) => {
                let line = usize::try_from(position).ok().and_then(|position| lines.get(position));
                let line = line.and_then(|&(start, end)| text.get(start..end));
                key.extend_from_slice(line.unwrap_or_default());
            }
        }
    }

    /// The first key that `carrier` cannot carry as it is.
    pub fn unfit(&self, carrier: &Carrier<'_>) -> Option<&[u8]> {
        let Self::Lines(text, lines) = self else { return None };
        let fits = |key: &[u8]| match carrier {
            Carrier::Header(_) | Carrier::Nothing => true,
            Carrier::Cookie(_) => {
                !key.contains(&b';')
                    && key.trim_ascii().len() == key.len()
                    && !key.starts_with(b"\"")
            }
            Carrier::Query(_) => !key.iter().any(|byte| b"&#".contains(byte)),
            Carrier::Address => address(key).is_some(),
        };
        lines.iter().filter_map(|&(start, end)| text.get(start..end)).find(|key| !fits(key))
    }
}

fn address(key: &[u8]) -> Option<IpAddr> {
    std::str::from_utf8(key).ok()?.parse().ok()
}

/// What carries a key in a made-up request: one of the places where the rollout looks for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carrier<'a> {
    Header(&'a str),
    Cookie(&'a str),
    Query(&'a str),
    Address,
    /// The rollout has no key.
    Nothing,
}

impl<'a> Carrier<'a> {
    /// The simplest place where `rollout` looks for a key.
    pub fn of(rollout: &'a Rollout) -> Self {
        let sources = rollout.hash_key.iter().map(|source| match source {
            KeySource::Header(name) => Self::Header(name.as_str()),
            KeySource::Cookie(name) => Self::Cookie(name),
            KeySource::Query(name) => Self::Query(name),
            KeySource::Address => Self::Address,
        });
        let id = rollout.anonymous_id.iter().map(|cookie| Self::Cookie(&cookie.name));
        sources.chain(id).min_by_key(|carrier| carrier.rank()).unwrap_or(Self::Nothing)
    }

    /// Simpler is lower: a header takes any bytes.
    fn rank(&self) -> u8 {
        match self {
            Self::Header(_) => 0,
            Self::Cookie(_) => 1,
            Self::Query(_) => 2,
            Self::Address => 3,
            Self::Nothing => 4,
        }
    }

    /// A GET with `key` and nothing else; the address beside it, if that is the key.
    pub fn request(&self, key: &[u8], scratch: &mut Vec<u8>) -> (Headers, Option<IpAddr>) {
        scratch.clear();
        let (name, prefix): (&str, [&[u8]; 3]) = match *self {
            Self::Header(name) => (name, [b"", b"", b""]),
            Self::Cookie(name) => ("cookie", [name.as_bytes(), b"=", b""]),
            Self::Query(name) => (":path", [b"/?", name.as_bytes(), b"="]),
            Self::Address | Self::Nothing => (":scheme", [b"https", b"", b""]),
        };
        prefix.iter().for_each(|part| scratch.extend_from_slice(part));
        let carried = !matches!(self, Self::Address | Self::Nothing);
        if carried {
            scratch.extend_from_slice(key);
        }
        let plain: &[(&str, &[u8])] =
            &[(":method", b"GET"), (":authority", b"localhost"), (":path", b"/")];
        let headers = plain
            .iter()
            .filter(|(known, _)| *known != name)
            .copied()
            .chain([(name, scratch.as_slice())])
            .collect();
        (headers, (*self == Self::Address).then(|| address(key)).flatten())
    }
}

impl std::fmt::Display for Carrier<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Header(name) => write!(f, "header {name}"),
            Self::Cookie(name) => write!(f, "cookie {name}"),
            Self::Query(name) => write!(f, "query parameter {name}"),
            Self::Address => f.write_str("client address"),
            Self::Nothing => f.write_str("nothing: the rollout has no key"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lines_of_a_file_are_keys_but_for_empty_ones() {
        let keys = Keys::lines(b"a\r\n\nb c\n\xff".to_vec());
        let mut key = Vec::new();
        let all: Vec<Vec<u8>> = (0..keys.count())
            .map(|position| {
                keys.write(position, &Carrier::Nothing, &mut key);
                key.clone()
            })
            .collect();
        assert_eq!(all, [b"a".to_vec(), b"b c".to_vec(), b"\xff".to_vec()]);
    }

    #[test]
    fn a_key_that_would_arrive_as_another_is_unfit() {
        let unfit = |key: &str, carrier: Carrier<'_>| {
            Keys::lines(key.as_bytes().to_vec()).unfit(&carrier).is_some()
        };
        for key in ["a;b", " a", "\"a\""] {
            assert!(unfit(key, Carrier::Cookie("uid")), "{key}");
            assert!(!unfit(key, Carrier::Header("x-user-id")), "{key}");
        }
        assert!(unfit("a&b", Carrier::Query("uid")) && unfit("a#b", Carrier::Query("uid")));
        assert!(unfit("a", Carrier::Address) && !unfit("2001:db8::1", Carrier::Address));
    }
}
