//! Values of the command line: texts to what they stand for, or what is allowed.

use crate::bucket::Weight;
use crate::config;
use crate::document::numbers::number;

/// What a request asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Url {
    pub scheme: String,
    pub authority: String,
    /// Path and query.
    pub target: String,
}

pub fn url(text: &str) -> Result<Url, String> {
    let allowed = "a URL is http:// or https://, a host, and maybe a path and query";
    let (scheme, rest) = text.split_once("://").ok_or(allowed)?;
    if !["http", "https"].contains(&scheme) {
        return Err(allowed.into());
    }
    let rest = rest.split('#').next().unwrap_or_default();
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, target) = rest.split_at(end);
    if authority.is_empty() || text.contains(char::is_whitespace) {
        return Err(allowed.into());
    }
    let target = if target.starts_with('/') { target.to_owned() } else { format!("/{target}") };
    Ok(Url { scheme: scheme.into(), authority: authority.into(), target })
}

pub fn version_weight(text: &str) -> Result<(String, Weight), String> {
    let allowed = "a percentage from 0 to 100 with at most three decimals";
    let (version, weight) =
        text.split_once('=').ok_or("a version, an equals sign and a weight, such as canary=25")?;
    let found = |meant: &str| format!("found {weight:?}, allowed: {allowed}{meant}");
    let percent = |text: &str| {
        let thousandths = (number(text)? * 1000.0).round();
        let is_exact =
            (0.0..=100_000.0).contains(&thousandths) && number(text) == Some(thousandths / 1000.0);
        Weight::from_thousandths(is_exact.then_some(thousandths as u32)?)
    };
    match percent(weight) {
        Some(weight) => Ok((version.to_owned(), weight)),
        None => Err(match weight.strip_suffix('%').filter(|bare| percent(bare).is_some()) {
            Some(bare) => found(&format!(" (did you mean {bare}?)")),
            None => found(""),
        }),
    }
}

pub fn version_text(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((version, text)) if !text.is_empty() => Ok((version.to_owned(), text.to_owned())),
        _ => Err("a version, an equals sign and a text, such as canary=2.4.1".into()),
    }
}

pub fn header(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once(':').ok_or("a header is a name, a colon and a value")?;
    match crate::http::HeaderName::new(name.trim()) {
        Some(name) => Ok((name.as_str().to_owned(), value.trim().to_owned())),
        None => Err("the name of a header has letters, digits and hyphens".into()),
    }
}

pub fn method(text: &str) -> Result<String, String> {
    let good = !text.is_empty() && text.bytes().all(crate::http::headers::is_token_byte);
    if good {
        Ok(text.to_owned())
    } else {
        Err("a method is one word".into())
    }
}

pub fn instant(text: &str) -> Result<config::Millis, String> {
    config::parse_instant(text).ok_or_else(|| "an instant is like 2026-11-21T10:00:00Z".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_cut_into_what_a_request_carries() {
        let parts =
            |text| url(text).map(|url| format!("{} {} {}", url.scheme, url.authority, url.target));
        assert_eq!(
            parts("https://a.example:8443/b?c=d#e").as_deref(),
            Ok("https a.example:8443 /b?c=d")
        );
        assert_eq!(parts("http://a.example").as_deref(), Ok("http a.example /"));
        assert_eq!(parts("http://[::1]?x=y").as_deref(), Ok("http [::1] /?x=y"));
        for bad in ["a.example/b", "ftp://a.example/", "https:///b", "https://a b/"] {
            assert!(parts(bad).is_err(), "{bad}");
        }
    }
}
