//! Keys to put through a rollout, and how a request carries one.

use std::io::Write;
use std::net::{IpAddr, Ipv4Addr};

use smallvec::SmallVec;

use crate::cli::style::plain;
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
    /// The lines of `text`, without a byte order mark.
    pub fn lines(text: Vec<u8>) -> Self {
        let mut at = 0;
        let mut lines = Vec::new();
        let mark = if text.starts_with(MARK) { MARK.len() } else { 0 };
        for line in text.split_inclusive(|&byte| byte == b'\n') {
            let content = line.strip_suffix(b"\n").unwrap_or(line);
            let content = content.strip_suffix(b"\r").unwrap_or(content);
            let skip = if at == 0 { mark } else { 0 };
            if content.len() > skip {
                lines.push((at + skip, at + content.len()));
            }
            at += line.len();
        }
        Self::Lines(text, lines)
    }

    /// The values of a column of the CSV `text`; else why there are none.
    pub fn column(text: &[u8], column: &str) -> Result<Self, String> {
        let text = text.strip_prefix(MARK).unwrap_or(text);
        let first = text.split(|&byte| byte == b'\n').next().unwrap_or_default();
        let number = column.parse::<usize>().ok().filter(|number| *number > 0);
        let mut reader = csv::ReaderBuilder::new()
            .has_headers(number.is_none())
            .delimiter(separator(first).unwrap_or(b','))
            .flexible(true)
            .from_reader(text);
        let wrong = |error: csv::Error| format!("found text that is no CSV ({error})");
        let position = match number {
            Some(number) => number - 1,
            None => {
                let names = reader.byte_headers().map_err(wrong)?;
                let position = names.iter().position(|name| name.trim_ascii() == column.as_bytes());
                position.ok_or_else(|| {
                    let names: Vec<String> =
                        names.iter().map(|name| name.escape_ascii().to_string()).collect();
                    format!("found no column {}, allowed: {}", plain(column), names.join(", "))
                })?
            }
        };
        let (mut keys, mut lines) = (Vec::new(), Vec::new());
        let mut record = csv::ByteRecord::new();
        while reader.read_byte_record(&mut record).map_err(wrong)? {
            let Some(value) = record.get(position) else {
                let line = record.position().map_or(0, csv::Position::line);
                return Err(format!(
                    "line {line}: found {} columns, allowed: {column} or more",
                    record.len()
                ));
            };
            if !value.is_empty() {
                lines.push((keys.len(), keys.len() + value.len()));
                keys.extend_from_slice(value);
            }
        }
        Ok(Self::Lines(keys, lines))
    }

    /// The first line, if the lines look like those of a CSV.
    pub fn looks_like_csv(&self) -> Option<&[u8]> {
        let Self::Lines(text, lines) = self else { return None };
        let mut some = lines.iter().take(20).filter_map(|&(start, end)| text.get(start..end));
        let first = some.next()?;
        let separator = separator(first)?;
        let count = |line: &[u8]| line.iter().filter(|&&byte| byte == separator).count();
        let many = lines.len() > 1 && some.all(|line| count(line) == count(first));
        many.then_some(first)
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
        match self {
            Self::MadeUp(_) => carrier.make_up(position, key),
            Self::Lines(text, lines) => {
                let line = usize::try_from(position).ok().and_then(|position| lines.get(position));
                let line = line.and_then(|&(start, end)| text.get(start..end));
                key.extend_from_slice(line.unwrap_or_default());
            }
        }
    }

    /// Whether a key is what `carrier` yields, and not what it carries: a made-up text matches no
    /// `capture`.
    pub fn are_captured(&self, carrier: &Carrier<'_>) -> bool {
        matches!(self, Self::MadeUp(_)) && carrier.captures
    }

    /// The first key that `carrier` cannot carry as it is.
    pub fn unfit(&self, carrier: &Carrier<'_>) -> Option<&[u8]> {
        let Self::Lines(text, lines) = self else { return None };
        lines.iter().filter_map(|&(start, end)| text.get(start..end)).find(|key| !carrier.fits(key))
    }
}

/// A byte order mark in UTF-8.
const MARK: &[u8] = b"\xef\xbb\xbf";

/// What separates the columns of a line.
fn separator(line: &[u8]) -> Option<u8> {
    [b',', b';', b'\t'].into_iter().find(|separator| line.contains(separator))
}

fn address(key: &[u8]) -> Option<IpAddr> {
    std::str::from_utf8(key).ok()?.parse().ok()
}

/// What carries a key in a made-up request: one of the places where the rollout looks for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Carrier<'a> {
    /// Where each part of the key stands: one place, several for an `all`, none where there is no key. The
    /// parts of one key are separated by tabs.
    places: Vec<Place<'a>>,
    /// Whether a `capture` reads the key out of what is carried.
    captures: bool,
}

/// A place in a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place<'a> {
    Header(&'a str),
    Cookie(&'a str),
    Query(&'a str),
    Address,
    Host,
}

impl<'a> Carrier<'a> {
    /// The simplest place where `rollout` looks for a key.
    pub fn of(rollout: &'a Rollout) -> Self {
        let sources = rollout.hash_key.iter().map(|source| {
            let mut carrier = Self { places: Vec::new(), captures: false };
            carrier.add(source);
            carrier
        });
        let id = rollout
            .anonymous_id
            .iter()
            .map(|cookie| Self { places: vec![Place::Cookie(&cookie.name)], captures: false });
        let simplest = sources.chain(id).min_by_key(|carrier| {
            let kind = carrier.places.first().map_or(0, Place::rank);
            (carrier.captures, carrier.places.len(), kind)
        });
        simplest.unwrap_or(Self { places: Vec::new(), captures: false })
    }

    fn add(&mut self, source: &'a KeySource) {
        let (place, capture) = match source {
            KeySource::Header(name, capture) => (Place::Header(name.as_str()), capture),
            KeySource::Cookie(name, capture) => (Place::Cookie(name), capture),
            KeySource::Query(name, capture) => (Place::Query(name), capture),
            KeySource::Address => (Place::Address, &None),
            KeySource::Host => (Place::Host, &None),
            KeySource::All(sources) => return sources.iter().for_each(|source| self.add(source)),
        };
        self.places.push(place);
        self.captures |= capture.is_some();
    }

    /// The parts of `key`, and where each stands.
    fn parts<'k>(
        &self,
        key: &'k [u8],
    ) -> impl Iterator<Item = (Place<'a>, &'k [u8])> + use<'_, 'a, 'k> {
        let is_whole = self.places.len() < 2;
        let parts = key.split(move |&byte| byte == b'\t' && !is_whole);
        self.places.iter().copied().zip(parts)
    }

    fn fits(&self, key: &[u8]) -> bool {
        let count = self.parts(key).filter(|(place, part)| place.fits(part)).count();
        let tabs = key.iter().filter(|&&byte| byte == b'\t').count();
        count == self.places.len() && (count < 2 || tabs + 1 == count)
    }

    /// Writes the made-up key of number `position`.
    fn make_up(&self, position: u64, key: &mut Vec<u8>) {
        // Writing to a Vec cannot fail.
        if self.places.is_empty() {
            let _ = write!(key, "user-{position}");
        }
        for (number, place) in self.places.iter().enumerate() {
            if number > 0 {
                key.push(b'\t');
            }
            let _ = match place {
                Place::Address => {
                    write!(key, "{}", Ipv4Addr::from(0x0a00_0000_u32.wrapping_add(position as u32)))
                }
                _ => write!(key, "user-{position}"),
            };
        }
    }

    /// A GET with `key` and nothing else; the address beside it, if that is the key.
    pub fn request(&self, key: &[u8], scratch: &mut Vec<u8>) -> (Headers, Option<IpAddr>) {
        let mut client = None;
        let mut host: &[u8] = b"localhost";
        let mut own: SmallVec<[(&str, &[u8]); 2]> = SmallVec::new();
        scratch.clear();
        // The path first and a cookie line for each cookie behind it, each up to its end.
        scratch.push(b'/');
        for (place, part) in self.parts(key) {
            if let Place::Query(name) = place {
                scratch.push(if scratch.contains(&b'?') { b'&' } else { b'?' });
                scratch.extend_from_slice(name.as_bytes());
                scratch.push(b'=');
                scratch.extend_from_slice(part);
            }
        }
        let mut ends: SmallVec<[usize; 2]> = SmallVec::from_slice(&[scratch.len()]);
        for (place, part) in self.parts(key) {
            match place {
                Place::Header(name) => own.push((name, part)),
                Place::Cookie(name) => {
                    scratch.extend_from_slice(name.as_bytes());
                    scratch.push(b'=');
                    scratch.extend_from_slice(part);
                    ends.push(scratch.len());
                }
                Place::Query(_) => {}
                Place::Address => client = address(part),
                Place::Host => host = part,
            }
        }
        let mut start = 0;
        for (line, end) in ends.into_iter().enumerate() {
            let text = scratch.get(start..end).unwrap_or_default();
            own.push((if line == 0 { ":path" } else { "cookie" }, text));
            start = end;
        }
        let plain: [(&str, &[u8]); 2] = [(":method", b"GET"), (":authority", host)];
        (plain.into_iter().chain(own).collect(), client)
    }
}

impl Place<'_> {
    /// Simpler is lower: a header takes any bytes.
    fn rank(&self) -> u8 {
        match self {
            Self::Header(_) => 0,
            Self::Cookie(_) => 1,
            Self::Query(_) => 2,
            Self::Address => 3,
            Self::Host => 4,
        }
    }

    /// Whether `part` arrives here as it is.
    fn fits(&self, part: &[u8]) -> bool {
        match self {
            Self::Header(_) => true,
            Self::Cookie(_) => {
                !part.contains(&b';')
                    && part.trim_ascii().len() == part.len()
                    && !part.starts_with(b"\"")
            }
            Self::Query(_) => !part.iter().any(|byte| b"&#".contains(byte)),
            Self::Address => address(part).is_some(),
            // In lower case, and what looks like a port is none of it.
            Self::Host => !part.iter().any(|byte| byte.is_ascii_uppercase() || *byte == b':'),
        }
    }
}

impl std::fmt::Display for Carrier<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.places.is_empty() {
            return f.write_str("nothing: the rollout has no key");
        }
        for (number, place) in self.places.iter().enumerate() {
            if number > 0 {
                f.write_str(" and ")?;
            }
            match place {
                Place::Header(name) => write!(f, "header {name}")?,
                Place::Cookie(name) => write!(f, "cookie {name}")?,
                Place::Query(name) => write!(f, "query parameter {name}")?,
                Place::Address => f.write_str("client address")?,
                Place::Host => f.write_str("host")?,
            }
        }
        Ok(())
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
                keys.write(position, &carrier(&[]), &mut key);
                key.clone()
            })
            .collect();
        assert_eq!(all, [b"a".to_vec(), b"b c".to_vec(), b"\xff".to_vec()]);
    }

    fn all(keys: &Keys) -> Vec<String> {
        let mut key = Vec::new();
        let one = |position| {
            keys.write(position, &carrier(&[]), &mut key);
            String::from_utf8_lossy(&key).into_owned()
        };
        (0..keys.count()).map(one).collect()
    }

    #[test]
    fn a_byte_order_mark_is_no_part_of_a_key() {
        assert_eq!(all(&Keys::lines(b"\xef\xbb\xbfa\nb".to_vec())), ["a", "b"]);
        assert_eq!(all(&Keys::lines(b"\xef\xbb\xbf\nb".to_vec())), ["b"]);
    }

    #[test]
    fn a_column_of_a_csv_is_found_by_its_name_or_its_number() {
        let text = b"\xef\xbb\xbfname,id\r\n\"Li, Ann\",u-1\r\nBo,\"u \"\"2\"\"\"\r\n,\r\n";
        assert_eq!(all(&Keys::column(text, "id").unwrap()), ["u-1", "u \"2\""]);
        assert_eq!(all(&Keys::column(b"a;b\nc;d\n", "2").unwrap()), ["b", "d"]);
        assert_eq!(all(&Keys::column(b"x\ty\n1\t2\n", "y").unwrap()), ["2"]);
        let no = |column| Keys::column(text, column).unwrap_err();
        assert_eq!(no("uid"), "found no column uid, allowed: name, id");
        assert_eq!(no("3"), "line 1: found 2 columns, allowed: 3 or more");
    }

    #[test]
    fn lines_of_a_csv_are_told_from_keys() {
        let looks = |text: &str| Keys::lines(text.into()).looks_like_csv().is_some();
        for csv in ["id,name\n1,a\n2,b\n", "a;b\nc;d\n", "a\tb\nc\td\n"] {
            assert!(looks(csv), "{csv}");
        }
        for keys in ["a\nb\n", "a,b\n", "a,b\nc\n", "", "a,b,c\nd,e\n"] {
            assert!(!looks(keys), "{keys}");
        }
    }

    #[test]
    fn a_key_that_would_arrive_as_another_is_unfit() {
        let unfit = |key: &str, places: &[Place<'static>]| {
            Keys::lines(key.as_bytes().to_vec()).unfit(&carrier(places)).is_some()
        };
        let header = Place::Header("x-user-id");
        for key in ["a;b", " a", "\"a\""] {
            assert!(unfit(key, &[Place::Cookie("uid")]), "{key}");
            assert!(!unfit(key, &[header]), "{key}");
        }
        assert!(unfit("a&b", &[Place::Query("uid")]) && unfit("a#b", &[Place::Query("uid")]));
        assert!(unfit("a", &[Place::Address]) && !unfit("2001:db8::1", &[Place::Address]));
        assert!(unfit("A.example", &[Place::Host]) && !unfit("a.example", &[Place::Host]));
        assert!(!unfit("a\tb", &[header]) && !unfit("a\tb", &[header, Place::Query("q")]));
        assert!(unfit("a", &[header, Place::Host]) && unfit("a\tb\tc", &[header, Place::Host]));
    }

    #[test]
    fn each_part_of_a_key_stands_in_its_place() {
        let places = [
            Place::Query("q"),
            Place::Header("x-a"),
            Place::Cookie("c"),
            Place::Query("r"),
            Place::Cookie("d"),
            Place::Host,
            Place::Address,
        ];
        let (headers, address) =
            carrier(&places).request(b"1\t2\t3\t4\t5\th.example\t10.0.0.1", &mut Vec::new());
        assert_eq!(headers.first(":path"), Some(&b"/?q=1&r=4"[..]));
        assert_eq!(headers.first("x-a"), Some(&b"2"[..]));
        assert_eq!(headers.all("cookie").collect::<Vec<_>>(), [b"c=3", b"d=5"]);
        assert_eq!(headers.first(":authority"), Some(&b"h.example"[..]));
        assert_eq!(address, "10.0.0.1".parse().ok());
    }

    fn carrier<'a>(places: &[Place<'a>]) -> Carrier<'a> {
        Carrier { places: places.to_vec(), captures: false }
    }
}
