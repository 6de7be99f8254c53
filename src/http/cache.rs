//! Which answers a cache that many users share may keep (RFC 9111).

use super::Headers;

/// Whether a shared cache may keep an answer and give it to other users, so that it must not carry a cookie.
///
/// `now` is the time in seconds since the Unix epoch. An answer that says nothing of caches counts as one that
/// they leave alone, as most do; a permanent redirect is one that they keep.
pub fn is_shared(status: Option<u16>, headers: &Headers, now: u64) -> bool {
    // It freshens an answer that a cache already has, cookies included.
    if status == Some(304) {
        return true;
    }
    let control = Control::of(headers, "cache-control");
    let targeted =
        ["cdn-cache-control", "surrogate-control"].map(|name| Control::of(headers, name));
    if control.is_public || targeted.iter().any(|control| control.is_fresh && !control.is_kept_out)
    {
        return true;
    }
    if control.is_kept_out || control.is_stale {
        return false;
    }
    control.is_fresh
        || headers.first("expires").and_then(instant).is_some_and(|expires| expires > now)
        || matches!(status, Some(301 | 308))
}

/// What the lines of a `cache-control`, or one that speaks to some caches only (RFC 9213), say together.
#[derive(Default)]
struct Control {
    /// `public`, `s-maxage` or `immutable`.
    is_public: bool,
    /// `private` or `no-store`.
    is_kept_out: bool,
    /// It may be used for some time.
    is_fresh: bool,
    /// It may not be used without a question, or no longer.
    is_stale: bool,
}

impl Control {
    fn of(headers: &Headers, name: &str) -> Self {
        let mut control = Self::default();
        for directive in headers.all(name).flat_map(|line| line.split(|&byte| byte == b',')) {
            let mut parts = directive.splitn(2, |&byte| byte == b'=');
            let name = parts.next().unwrap_or_default().trim_ascii().to_ascii_lowercase();
            let value = parts.next().map(<[u8]>::trim_ascii);
            match name.as_slice() {
                b"public" | b"immutable" => control.is_public = true,
                b"s-maxage" => {
                    control.is_public = true;
                    control.is_fresh |= is_long(value);
                }
                b"max-age" if is_long(value) => control.is_fresh = true,
                b"max-age" => control.is_stale = true,
                // With a list of fields they speak of those alone.
                b"private" if value.is_none() => control.is_kept_out = true,
                b"no-store" => control.is_kept_out = true,
                b"no-cache" if value.is_none() => control.is_stale = true,
                _ => {}
            }
        }
        control
    }
}

/// Whether a number of seconds is more than none.
fn is_long(value: Option<&[u8]>) -> bool {
    value.is_some_and(|value| value.iter().any(|byte| (b'1'..=b'9').contains(byte)))
}

/// The instant that an HTTP date names (RFC 9110, section 5.6.7), in seconds since the Unix epoch: of the form
/// that everybody sends, `Sun, 06 Nov 1994 08:49:37 GMT`.
fn instant(date: &[u8]) -> Option<u64> {
    const MONTHS: &[u8] = b"JanFebMarAprMayJunJulAugSepOctNovDec";
    let text = date.trim_ascii();
    let number = |from: usize, to: usize| -> Option<u64> {
        std::str::from_utf8(text.get(from..to)?).ok()?.parse().ok()
    };
    let (day, year) = (number(5, 7)?, number(12, 16)?);
    let month = MONTHS.chunks(3).position(|month| Some(month) == text.get(8..11))? as u64;
    let seconds = number(17, 19)? * 3600 + number(20, 22)? * 60 + number(23, 25)?;
    // The days since the 1st of March of the year 0, for the leap day is then the last of its year.
    let (year, month) =
        if month < 2 { (year.checked_sub(1)?, month + 10) } else { (year, month - 2) };
    let days = year * 365 + year / 4 - year / 100 + year / 400 + (month * 153 + 2) / 5 + day;
    Some(days.checked_sub(719_469)? * 86_400 + seconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_date_is_seconds_since_1970() {
        for (date, seconds) in [
            ("Thu, 01 Jan 1970 00:00:00 GMT", Some(0)),
            ("Sun, 06 Nov 1994 08:49:37 GMT", Some(784_111_777)),
            ("Tue, 29 Feb 2000 23:59:59 GMT", Some(951_868_799)),
            ("Wed, 01 Mar 2000 00:00:00 GMT", Some(951_868_800)),
            ("Thu, 26 Nov 2026 09:00:00 GMT", Some(1_795_683_600)),
            ("Mon, 01 Jan 1900 00:00:00 GMT", None),
            ("0", None),
            ("-1", None),
            ("", None),
            ("Thu, 26 Nov 2026", None),
        ] {
            assert_eq!(instant(date.as_bytes()), seconds, "{date}");
        }
    }

    #[test]
    fn an_answer_that_a_shared_cache_may_keep_is_told_from_others() {
        let future = "Fri, 27 Nov 2026 09:00:00 GMT";
        let shared: &[(u16, &[(&str, &str)])] = &[
            (304, &[]),
            (304, &[("cache-control", "private")]),
            (200, &[("cache-control", "public")]),
            (200, &[("cache-control", "max-age=60, PUBLIC")]),
            (200, &[("cache-control", "s-maxage=1")]),
            (200, &[("cache-control", "S-MaxAge = 10")]),
            (200, &[("cache-control", "max-age=31536000,immutable")]),
            (200, &[("cache-control", "no-transform"), ("cache-control", " public ")]),
            (200, &[("cache-control", "max-age=60")]),
            (200, &[("cache-control", "private=\"x-a\", max-age=60")]),
            (200, &[("cdn-cache-control", "max-age=60"), ("cache-control", "no-store")]),
            (200, &[("surrogate-control", "max-age=60")]),
            (200, &[("expires", future)]),
            (301, &[]),
            (308, &[]),
        ];
        let others: &[(u16, &[(&str, &str)])] = &[
            (200, &[]),
            (404, &[]),
            (302, &[]),
            (200, &[("cache-control", "private, max-age=60")]),
            (200, &[("cache-control", "no-store")]),
            (200, &[("cache-control", "no-cache")]),
            (200, &[("cache-control", "max-age=0, must-revalidate")]),
            (200, &[("cache-control", "no-transform")]),
            (200, &[("cache-control", "x-public, republic")]),
            (200, &[("cdn-cache-control", "no-store, max-age=60")]),
            (200, &[("expires", "0")]),
            (200, &[("expires", "Thu, 26 Nov 2026 08:59:59 GMT")]),
            (200, &[("expires", future), ("cache-control", "no-cache")]),
            (301, &[("cache-control", "no-store")]),
            (308, &[("cache-control", "max-age=0")]),
        ];
        for (cases, wanted) in [(shared, true), (others, false)] {
            for (status, pairs) in cases {
                let headers: Headers = pairs.iter().copied().collect();
                assert_eq!(
                    is_shared(Some(*status), &headers, 1_795_683_600),
                    wanted,
                    "{status} {pairs:?}"
                );
            }
        }
    }
}
