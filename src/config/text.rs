//! What is written as a string: names, and text that goes into HTTP.

use crate::http::headers::is_token_byte;
use crate::http::{cookie, HeaderName, Network};

use super::read::Text;
use super::shape::text;

text! {
    /// A rollout's, a version's or a rule's name: goes into headers, cookies and metrics as it is.
    Name: "1 to 63 lower-case letters, digits and hyphens, with a letter or digit at either end",
    "^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$",
    |text| {
        let alphanumeric = |byte: Option<&u8>| byte.is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
        let bytes = text.as_bytes();
        let inside = bytes.iter().all(|byte| *byte == b'-' || alphanumeric(Some(byte)));
        bytes.len() <= 63 && inside && alphanumeric(bytes.first()) && alphanumeric(bytes.last())
    }
}

text! {
    /// A segment's name.
    Label: "1 to 63 characters", "^.{1,63}$",
    |text| (1..=63).contains(&text.chars().count()) && !has_control(text)
}

text! {
    /// The name of something that is declared elsewhere in the configuration.
    Reference: "a name", "", |_| true
}

text! {
    /// A text that is not empty.
    Filled: "a string that is not empty", ".",
    |text| !text.is_empty()
}

text! {
    /// A cookie's name: an RFC 9110 token.
    CookieName: "a cookie name of 1 to 256 letters, digits and !#$%&'*+-.^_`|~",
    "^[-!#$%&'*+.^_`|~0-9A-Za-z]{1,256}$",
    |text| text.len() <= 256 && cookie::is_name(text)
}

text! {
    /// A query parameter's name, as it stands in a URL.
    QueryName: "a query parameter's name as it stands in a URL, without & = # and spaces",
    "^[^&=#\\u0000-\\u0020\\u007f]+$",
    |text| !text.is_empty() && !has_control(text) && !text.contains(['&', '=', '#', ' '])
}

text! {
    /// A header's value.
    HeaderValue: "text without control characters and without spaces at either end",
    "^([^\\u0000-\\u0020\\u007f]([^\\u0000-\\u001f\\u007f]*[^\\u0000-\\u0020\\u007f])?)?$",
    |text| !has_control(text) && text.trim_matches(' ') == text
}

text! {
    /// An Envoy cluster's name.
    ClusterName: "a cluster's name, without control characters and spaces",
    "^[^\\u0000-\\u0020\\u007f]+$",
    is_visible
}

text! {
    /// The value of a `host` header.
    Authority: "a host, without control characters and spaces",
    "^[^\\u0000-\\u0020\\u007f]+$",
    is_visible
}

/// An HTTP method.
pub(super) struct Method(pub(super) String);

impl Text for Method {
    const ALLOWED: &'static str = "a method in upper case, such as GET";
    const PATTERN: &'static str = "^[-A-Z0-9!#$%&'*+.^_`|~]+$";

    fn parse(text: &str) -> Option<Self> {
        let token = |byte: u8| is_token_byte(byte) && !byte.is_ascii_lowercase();
        (!text.is_empty() && text.bytes().all(token)).then(|| Self(text.to_owned()))
    }

    fn meant(text: &str) -> Option<String> {
        Self::parse(&text.to_ascii_uppercase()).map(|method| method.0)
    }
}

/// Whether a header's value or a cookie's attribute would be torn by `text`.
pub(super) fn has_control(text: &str) -> bool {
    text.chars().any(char::is_control)
}

/// Whether `text` is one word.
pub(super) fn is_visible(text: &str) -> bool {
    !text.is_empty() && !has_control(text) && !text.contains(' ')
}

impl Text for String {
    const ALLOWED: &'static str = "a string";

    fn parse(text: &str) -> Option<Self> {
        Some(text.to_owned())
    }
}

impl Text for Network {
    const ALLOWED: &'static str = "an address or a network in CIDR notation, such as 10.0.0.0/8";
    const PATTERN: &'static str = "^[0-9A-Fa-f:.]+(/[0-9]{1,3})?$";

    fn parse(text: &str) -> Option<Self> {
        Self::parse(text)
    }
}

/// What an RFC 9110 token of up to 256 bytes is, for editors.
const TOKEN: &str = "^[-!#$%&'*+.^_`|~0-9A-Za-z]{1,256}$";

impl Text for HeaderName {
    const ALLOWED: &'static str = "a header name of 1 to 256 letters, digits and !#$%&'*+-.^_`|~";
    const PATTERN: &'static str = TOKEN;

    fn parse(text: &str) -> Option<Self> {
        Self::new(text)
    }
}

/// A header that we set or remove: none that HTTP or the proxy itself lives by.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct OwnHeader(pub(super) HeaderName);

/// Headers that HTTP, the proxy, or the parts of this filter that share a header with others live by.
const TAKEN: [&str; 17] = [
    "host",
    "connection",
    "content-length",
    "transfer-encoding",
    "te",
    "trailer",
    "upgrade",
    "keep-alive",
    "proxy-connection",
    "proxy-authorization",
    "authorization",
    "cookie",
    "set-cookie",
    "baggage",
    "expect",
    "x-request-id",
    "date",
];

impl Text for OwnHeader {
    const ALLOWED: &'static str = "a header name of 1 to 256 letters, digits and !#$%&'*+-.^_`|~ \
        that neither HTTP nor the proxy needs for itself (host, connection, cookie, authorization, baggage, \
        x-request-id, x-forwarded-*, x-envoy-* and the like)";
    const PATTERN: &'static str = TOKEN;

    fn parse(text: &str) -> Option<Self> {
        let name = HeaderName::new(text)?;
        let taken = TAKEN.contains(&name.as_str())
            || name.as_str().starts_with("x-forwarded-")
            || name.as_str().starts_with("x-envoy-");
        (!taken).then_some(Self(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_what_a_label_of_a_host_name_is() {
        let long = "a".repeat(63);
        for good in ["a", "0", "a-b", "checkout-v2", &long] {
            assert!(Name::parse(good).is_some(), "{good}");
        }
        let too_long = "a".repeat(64);
        for bad in ["", "-", "-a", "a-", "A", "a_b", "a.b", "é", "a b", &too_long] {
            assert!(Name::parse(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn a_header_that_the_proxy_needs_is_not_ours_to_set() {
        for bad in [
            ":authority",
            ":path",
            "Host",
            "Cookie",
            "set-cookie",
            "X-Forwarded-For",
            "x-envoy-retry-on",
            "Transfer-Encoding",
            "authorization",
            "",
            "x y",
            "x\r\ny",
        ] {
            assert!(OwnHeader::parse(bad).is_none(), "{bad}");
        }
        assert_eq!(
            OwnHeader::parse("X-Cohort-Checkout").map(|name| name.0.to_string()),
            Some("x-cohort-checkout".into())
        );
    }

    #[test]
    fn nothing_that_tears_a_header_is_a_value() {
        for bad in ["a\r\nb", "a\0", "a\tb", " a", "a ", "\u{7f}"] {
            assert!(HeaderValue::parse(bad).is_none(), "{bad:?}");
        }
        for good in ["", "on", "a b", "grün"] {
            assert!(HeaderValue::parse(good).is_some(), "{good:?}");
        }
    }
}
