//! What is written as a string: names, and text that goes into HTTP.

use crate::http::headers::{fold, is_token_byte};
use crate::http::{cookie, HeaderName, Network};

use crate::document::node::Node;
use crate::document::shape::{Kind, Text};

/// A rollout's, a version's or a rule's name: goes into headers, cookies and metrics as it is.
pub(super) static NAME: Text = Text::new(
    "1 to 63 lower-case letters, digits and hyphens, with a letter or digit at either end",
    "^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$",
    is_label,
);

/// Whether `text` is what a label of a host name is, in lower case.
pub(super) fn is_label(text: &str) -> bool {
    let alphanumeric =
        |byte: Option<&u8>| byte.is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    let bytes = text.as_bytes();
    let inside = bytes.iter().all(|byte| *byte == b'-' || alphanumeric(Some(byte)));
    bytes.len() <= 63 && inside && alphanumeric(bytes.first()) && alphanumeric(bytes.last())
}

/// A segment's name.
pub(super) static SEGMENT_NAME: Text = Text::new("1 to 63 characters", "^.{1,63}$", |text| {
    (1..=63).contains(&text.chars().count()) && !has_control(text)
});

/// The name of something that is declared elsewhere in the configuration.
pub(super) static REFERENCE: Text = Text::new("a name", "", |_| true);

/// Any text.
pub(super) static ANY: Text = Text::new("a string", "", |_| true);

/// A text that is not empty.
pub(super) static FILLED: Text =
    Text::new("a string that is not empty", ".", |text| !text.is_empty());

/// A cookie's name: an RFC 9110 token.
pub(super) static COOKIE_NAME: Text =
    Text::new("a cookie name of 1 to 256 letters, digits and !#$%&'*+-.^_`|~", TOKEN, |text| {
        text.len() <= 256 && cookie::is_name(text)
    });

/// A query parameter's name, as it stands in a URL.
pub(super) static QUERY_NAME: Text = Text::new(
    "a query parameter's name as it stands in a URL, without & = # and spaces",
    "^[^&=#\\u0000-\\u0020\\u007f]+$",
    |text| is_visible(text) && !text.contains(['&', '=', '#']),
);

/// A header's value.
pub(super) static HEADER_VALUE: Text = Text::new(
    "text without control characters and without spaces at either end",
    "^([^\\u0000-\\u0020\\u007f]([^\\u0000-\\u001f\\u007f]*[^\\u0000-\\u0020\\u007f])?)?$",
    |text| !has_control(text) && !text.starts_with(' ') && !text.ends_with(' '),
);

/// An Envoy cluster's name.
pub(super) static CLUSTER_NAME: Text = Text::new(
    "a cluster's name, without control characters and spaces",
    "^[^\\u0000-\\u0020\\u007f]+$",
    is_visible,
);

/// The value of a `host` header.
pub(super) static AUTHORITY: Text = Text::new(
    "a host, without control characters and spaces",
    "^[^\\u0000-\\u0020\\u007f]+$",
    is_visible,
);

/// An HTTP method.
pub(super) static METHOD: Text =
    Text::new("a method in upper case, such as GET", "^[-A-Z0-9!#$%&'*+.^_`|~]+$", is_method)
        .with_guess(|text| Some(text.to_ascii_uppercase()).filter(|text| is_method(text)));

fn is_method(text: &str) -> bool {
    let token = |byte: u8| is_token_byte(byte) && !byte.is_ascii_lowercase();
    !text.is_empty() && text.bytes().all(token)
}

/// An address or a range of them.
pub(super) static NETWORK: Text = Text::new(
    "an address or a network in CIDR notation, such as 10.0.0.0/8",
    "^[0-9A-Fa-f:.]+(/[0-9]{1,3})?$",
    |text| Network::parse(text).is_some(),
);

/// One network or more.
pub(super) const NETWORKS: Kind = Kind::List(&ONE_NETWORK, 1);
const ONE_NETWORK: Kind = Kind::Text(&NETWORK);

/// [`NETWORKS`] that are given.
pub(super) fn networks(node: &Node<'_>) -> Option<Vec<Network>> {
    if !node.is_given() {
        return None;
    }
    Some(node.entries().iter().filter_map(|entry| Network::parse(entry.text()?)).collect())
}

/// A header's name that is given.
pub(super) fn header(node: &Node<'_>) -> Option<HeaderName> {
    HeaderName::new(node.text()?)
}

/// What an RFC 9110 token of up to 256 bytes is, for editors.
pub(super) const TOKEN: &str = "^[-!#$%&'*+.^_`|~0-9A-Za-z]{1,256}$";

/// A header's name that a request can have. Proxies hold the host under a name of its own.
const READ_HEADER: Text = Text::new(
    "a header name of 1 to 256 letters, digits and !#$%&'*+-.^_`|~ other than host",
    TOKEN,
    |text| HeaderName::new(text).is_some() && !is_host(text),
)
.in_any_case();

/// A header's name that a request can have.
pub(super) static HEADER_NAME: Text = READ_HEADER;

/// The same of a header that a key is read from.
pub(super) static KEY_HEADER: Text =
    READ_HEADER.with_guess(|text| is_host(text).then(|| r#"{"host": true}"#.to_owned()));

/// The same of a header that a condition looks at.
pub(super) static CONDITION_HEADER: Text =
    READ_HEADER.with_guess(|text| is_host(text).then(|| "the condition's own key host".to_owned()));

/// Whether `text` is the name of the header that no filter sees.
pub(super) fn is_host(text: &str) -> bool {
    text.eq_ignore_ascii_case("host")
}

/// The name of a header that we set or remove: none that HTTP or the proxy itself lives by.
pub(super) static OWN_HEADER: Text = Text::new(
    "a header name of 1 to 256 letters, digits and !#$%&'*+-.^_`|~ \
    that neither HTTP nor the proxy needs for itself (host, connection, cookie, authorization, baggage, \
    x-request-id, x-forwarded-*, x-envoy-* and the like)",
    TOKEN,
    |text| HeaderName::new(text).is_some_and(|name| !is_taken(&name)),
)
.in_any_case();

/// Whether `name` is that of such a header in some spelling, for a client's copies are removed in every
/// spelling: `_method` would take `:method` along.
fn is_taken(name: &HeaderName) -> bool {
    let name: String = fold(name.as_str().as_bytes()).map(char::from).collect();
    is_framing(&name)
        || TAKEN.contains(&name.as_str())
        || name.starts_with("x-forwarded-")
        || name.starts_with("x-envoy-")
}

/// Whether `name`, in lower case, says where a message ends, whom it is for, or what becomes of its connection.
pub(super) fn is_framing(name: &str) -> bool {
    const FRAMING: [&str; 10] = [
        "host",
        "connection",
        "content-length",
        "transfer-encoding",
        "te",
        "trailer",
        "upgrade",
        "keep-alive",
        "proxy-connection",
        "expect",
    ];
    FRAMING.contains(&name)
}

/// Further headers that HTTP, the proxy, or the parts of this filter that share a header with others live by,
/// folded.
const TAKEN: [&str; 16] = [
    "proxy-authorization",
    "authorization",
    "cookie",
    "set-cookie",
    "baggage",
    "x-request-id",
    "date",
    "content-type",
    "forwarded",
    "via",
    "-authority",
    "-method",
    "-path",
    "-protocol",
    "-scheme",
    "-status",
];

/// Whether a header's value or a cookie's attribute would be torn by `text`.
pub(super) fn has_control(text: &str) -> bool {
    text.chars().any(char::is_control)
}

/// Whether `text` is one word.
pub(super) fn is_visible(text: &str) -> bool {
    !text.is_empty() && !has_control(text) && !text.contains(' ')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_what_a_label_of_a_host_name_is() {
        let long = "a".repeat(63);
        for good in ["a", "0", "a-b", "checkout-v2", &long] {
            assert!((NAME.good)(good), "{good}");
        }
        let too_long = "a".repeat(64);
        for bad in ["", "-", "-a", "a-", "A", "a_b", "a.b", "é", "a b", &too_long] {
            assert!(!(NAME.good)(bad), "{bad}");
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
            "-path",
            "_Method",
            "~authority",
            "content_length",
            "X_Forwarded.For",
            "x_request_id",
            "Set_Cookie",
            "",
            "x y",
            "x\r\ny",
        ] {
            assert!(!(OWN_HEADER.good)(bad), "{bad}");
        }
        assert!((OWN_HEADER.good)("X-Cohort-Checkout"));
    }

    #[test]
    fn nothing_that_tears_a_header_is_a_value() {
        for bad in ["a\r\nb", "a\0", "a\tb", " a", "a ", "\u{7f}"] {
            assert!(!(HEADER_VALUE.good)(bad), "{bad:?}");
        }
        for good in ["", "on", "a b", "grün"] {
            assert!((HEADER_VALUE.good)(good), "{good:?}");
        }
    }
}
