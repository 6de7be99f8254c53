//! The attributes of a cookie that we hand out: `pin.cookie` and `anonymousId.cookie`.

use crate::http::cookie::SameSite;
use crate::http::SetCookie;

use super::text::{has_control, is_label, COOKIE_NAME};
use crate::document::node::{Node, Problems};
use crate::document::scalar::{whole_seconds, LONGEST};
use crate::document::shape::{shape, words, Kind, Scalar, Text};

words! {
    SAME_SITE, same_site: SameSite {
        "Strict" => SameSite::Strict, "Lax" => SameSite::Lax, "None" => SameSite::None
    }
}

shape! {
    /// A cookie that is handed out.
    COOKIE, CookieKeys: "Cookie", "an object with the cookie's name" {
        /// The cookie's name.
        name = "name": required Kind::Text(&COOKIE_NAME),
        /// The paths for which browsers send it back.
        path = "path": default Kind::Text(&COOKIE_PATH) => Scalar::Text("/"),
        /// The domain for which browsers send it back, its subdomains included; absent, the host alone.
        domain = "domain": optional Kind::Text(&DOMAIN),
        /// How long browsers keep it; absent, until they are closed.
        max_age = "maxAge": optional whole_seconds(1000, LONGEST),
        /// Whether browsers send it over https only; absent, if the request came over https.
        secure = "secure": optional Kind::Flag,
        /// Whether scripts in the page cannot see it.
        http_only = "httpOnly": default Kind::Flag => Scalar::Flag(true),
        /// Whether browsers send it with requests from other sites; None needs https.
        same_site = "sameSite": default SAME_SITE => Scalar::Text("Lax"),
        /// Whether browsers keep one for each site that embeds the page; needs https.
        partitioned = "partitioned": default Kind::Flag => Scalar::Flag(false),
    }
}

pub(super) fn check(node: &Node<'_>, problems: &mut Problems<'_>) -> Option<SetCookie> {
    let keys = CookieKeys::of(node);
    let (path, domain, secure) = (keys.path, keys.domain, keys.secure);
    let name = keys.name.text().unwrap_or_default();
    let same_site = same_site(keys.same_site);
    let partitioned = keys.partitioned.flag();
    let has_prefix = |prefix: &str| {
        name.get(..prefix.len()).is_some_and(|head| head.eq_ignore_ascii_case(prefix))
    };
    let host_only = has_prefix("__Host-");
    let why = if same_site == Some(SameSite::None) {
        Some("because sameSite is None")
    } else if partitioned == Some(true) {
        Some("because partitioned is true")
    } else if host_only || has_prefix("__Secure-") {
        Some("because of the cookie's name")
    } else {
        None
    };
    if let (Some(why), Some(false)) = (why, secure.flag()) {
        problems.add(secure, "false", &format!("true, {why}"));
    }
    if host_only && path.text().is_some_and(|path| path != "/") {
        problems.add(path, &path.value.shown(), "/, because of the cookie's name");
    }
    if host_only && !domain.is_absent() {
        problems.add(domain, "a domain", "none, because of the cookie's name");
    }
    Some(SetCookie {
        name: keys.name.string()?,
        path: path.string()?,
        domain: domain.string(),
        max_age: keys.max_age.number().map(|length| length / 1000),
        // Browsers drop such a cookie without `Secure`, also one that came over http.
        secure: secure.flag().or(why.map(|_| true)),
        http_only: keys.http_only.flag()?,
        same_site: same_site?,
        partitioned: partitioned?,
    })
}

/// A `Path` attribute.
static COOKIE_PATH: Text = Text::new(
    "a path that starts with /, without ; and control characters",
    "^/[^;\\u0000-\\u001f\\u007f]*$",
    |text| text.starts_with('/') && !text.contains(';') && !has_control(text),
);

/// A `Domain` attribute: a host name.
static DOMAIN: Text = Text::new(
    "a host name in lower case, such as example.com",
    "^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?)*$",
    is_domain,
)
.with_guess(|text| {
    Some(text.trim_matches('.').to_ascii_lowercase()).filter(|text| is_domain(text))
});

fn is_domain(text: &str) -> bool {
    text.len() <= 253 && text.split('.').all(is_label)
}
